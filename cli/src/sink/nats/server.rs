//! A NATS server: its address, and where the credentials are. The credentials themselves are never part of a text.

use std::time::Duration;

use receiver_feed::protocol::AnyProtocol;

/// How the address of a server begins.
pub const SCHEME: &str = "nats://";
/// The port of a NATS server.
pub const PORT: u16 = 4222;
/// The environment variables with a password and a token.
pub const PASSWORD_VARIABLE: &str = "RECEIVER_NATS_PASSWORD";
pub const TOKEN_VARIABLE: &str = "RECEIVER_NATS_TOKEN";

/// A server, and how a client proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// An address or a host's name, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The user. The password is in `password_file`, or in [`PASSWORD_VARIABLE`].
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<String>,
    /// The file with the token. Without it the token is in [`TOKEN_VARIABLE`], if that is set.
    pub token_file: Option<String>,
    /// A file with credentials, as `nsc` writes it.
    pub creds: Option<String>,
    /// The file with the seed of an NKey.
    pub nkey: Option<String>,
    /// True if TLS is required. A server that requires it gets it anyway.
    pub tls: bool,
    /// The file with the certificates to trust, beside those of the system.
    pub ca: Option<String>,
    /// The files with the client's certificate and its key.
    pub cert: Option<String>,
    pub key: Option<String>,
}

impl Server {
    /// Host and port.
    pub fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Its options as a target has them.
    pub fn options(&self, mut add: impl FnMut(&str, Option<String>)) {
        for (key, value) in [
            ("user", &self.user),
            ("password_file", &self.password_file),
            ("token_file", &self.token_file),
            ("creds", &self.creds),
            ("nkey", &self.nkey),
            ("ca", &self.ca),
            ("cert", &self.cert),
            ("key", &self.key),
        ] {
            add(key, value.clone());
        }
        add("tls", self.tls.then(|| "yes".to_owned()));
    }
}

/// A stream of JetStream to publish to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsTarget {
    /// The server.
    pub server: Server,
    /// The stream.
    pub stream: String,
    /// The subject of each datagram, with variables such as `{port}`.
    pub subject: String,
    /// The most messages that wait for their acknowledgement.
    pub window: u32,
    /// True if the receiving threads wait while the buffer is full. Otherwise datagrams are dropped.
    pub blocks: bool,
    /// Where message ids come from.
    pub dedup: Dedup,
    /// True if a stream that is missing is created.
    pub create: bool,
    /// The time in which a stream that is created recognizes duplicates.
    pub dedup_window: Duration,
    /// How long the oldest message may wait for its acknowledgement until the connection is given up.
    pub timeout: Duration,
    /// How long the end of a run waits for acknowledgements.
    pub flush: Duration,
    /// True if each message names the one before it, and the server refuses it behind any other.
    pub strict: bool,
}

impl NatsTarget {
    /// Messages that may wait in the client in each direction: more than can be in flight, so that neither side waits
    /// and no acknowledgement is dropped.
    pub fn capacity(&self) -> usize {
        2 * self.window as usize + 256
    }
}

/// Where the id of a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedup {
    /// The feed's sequence if the subscription is part of a feed; otherwise a number of this run.
    Auto,
    /// A hash of the payload.
    Content,
    /// The sequence of this protocol, without a feed.
    Protocol(AnyProtocol),
}
