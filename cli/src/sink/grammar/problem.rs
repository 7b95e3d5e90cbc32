//! Why a text is no target. Each message names the reason and the remedy.

use std::net::IpAddr;

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the target {target} is refused: {problem}")]
pub struct TargetError {
    /// The text.
    pub target: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It has no text.
    #[error("it is empty; write a path, -, discard:, udp://HOST:PORT or unix:PATH")]
    Empty,
    /// It has no path.
    #[error("it has no path; write {0}PATH")]
    NoPath(&'static str),
    /// A byte of value 0 cannot be part of a path.
    #[error("a path cannot contain a byte of value 0; remove it")]
    Nul,
    /// No kind of target begins in this way.
    #[error("{0} is no kind of target; write {1}")]
    UnknownKind(String, String),
    /// Options behind a path alone.
    #[error("a path alone takes no options; write file:{0}")]
    OptionsOfPath(String),
    /// A part without `=`.
    #[error("`{0}` is no option; write KEY=VALUE")]
    NoValue(String),
    /// A key that the kind does not have.
    #[error("the key `{key}` is unknown; {remedy}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The nearest key, or all.
        remedy: String,
    },
    /// A key that stands there twice.
    #[error("the key `{0}` has two values; keep one of them")]
    Twice(String),
    /// A value that the key does not take.
    #[error("the value of `{key}` is `{value}`; write {remedy}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What to write.
        remedy: &'static str,
    },
    /// `keep` without anything that finishes a file.
    #[error("`keep` has nothing to count, since no file is ever finished; add rotate=SIZE or every=TIME")]
    KeepAlone,
    /// An option for files alone.
    #[error("`{0}` is for files; remove it, or write {1}PATH")]
    FilesOnly(&'static str, &'static str),
    /// A conversion that the name of a file cannot have.
    #[error("`{0}` in the name is unknown; write %Y, %m, %d, %H, %M, %S, or %% for a percent sign")]
    Conversion(String),
    /// A conversion in a folder's name.
    #[error("a folder of the path contains `%`; write times in the file's name alone, and %% for a percent sign there")]
    TimedFolder,
    /// No host and port.
    #[error("`{0}` is no host and port; write HOST:PORT, with an IPv6 address in brackets")]
    HostPort(String),
    /// A group without an interface.
    #[error("{0} is a group; add interface=NAME, the interface by which it is sent")]
    NoInterface(String),
    /// An option for groups alone.
    #[error("`{0}` is for groups, and {1} is none; remove it")]
    GroupsOnly(&'static str, String),
    /// Source and destination of two families.
    #[error("the source {0} and {1} are of different IP versions; write a source of the same version")]
    Version(IpAddr, String),
    /// Loss and the like beyond a whole.
    #[error("loss, reorder and duplicate add up to more than 100 %; a datagram has one fate, so take less")]
    Shares,
    /// An option of impairments without one.
    #[error("`{0}` has nothing to decide; add loss=SHARE, reorder=SHARE or duplicate=SHARE, or remove it")]
    NothingImpaired(&'static str),
    /// The path of a Unix socket is too long.
    #[error("its path has {0} bytes, and a Unix socket's has up to 107; write a shorter one")]
    LongUnixPath(usize),
    /// A stream without a name.
    #[error("it names no stream; write nats://HOST:PORT/STREAM")]
    NoStream,
    /// A name that no stream can have.
    #[error("`{0}` is no name of a stream; write letters, digits, - and _")]
    StreamName(String),
    /// A password or a token in the text.
    #[error(
        "a user, password or token in an address is visible to others; write user=NAME with password_file=PATH or \
         RECEIVER_NATS_PASSWORD, or token_file=PATH or RECEIVER_NATS_TOKEN"
    )]
    SecretInText,
    /// Two options of which one is enough.
    #[error("`{0}` and `{1}` exclude each other; keep one of them")]
    Exclusive(&'static str, &'static str),
    /// An option that needs another one.
    #[error("`{0}` needs {1} beside it; add it, or remove `{0}`")]
    Needs(&'static str, &'static str),
}
