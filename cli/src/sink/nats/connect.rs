//! Connects to a NATS server, by a client that never connects again on its own: what an old connection holds back must
//! not reach the server behind what a new one sends.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::server::{PASSWORD_VARIABLE, Server, TOKEN_VARIABLE};

/// The longest wait for a connection.
const CONNECTING: Duration = Duration::from_secs(5);
/// How often the client asks if the server is still there.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Longer than any run: there is no second connection of one client.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The runtime of a client.
///
/// # Errors
/// A sentence with the reason: its thread cannot be started.
pub fn runtime() -> Result<Runtime, String> {
    let mut builder = Builder::new_multi_thread();
    let built = builder.worker_threads(1).thread_name("nats").enable_all().build();
    built.map_err(|error| format!("cannot start a runtime for NATS: {error}"))
}

/// What becomes of a connection.
#[derive(Default)]
pub struct Health {
    is_lost: AtomicBool,
    error: Mutex<Option<String>>,
    /// The connection is lost, or somebody wants to end a wait.
    pub changed: Notify,
}

impl Health {
    /// Returns true if the connection is lost.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// The last error that the server has sent.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn observe(&self, event: &Event) {
        match event {
            Event::Disconnected | Event::Closed => {
                self.is_lost.store(true, Ordering::Release);
                self.changed.notify_one();
            }
            Event::ServerError(error) => {
                *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
            _ => {}
        }
    }
}

/// Connects, once. `capacity` is the number of messages that may wait in the client in each direction.
///
/// # Errors
/// A sentence that names the server, the reason and the remedy.
pub async fn connect(server: &Server, capacity: usize, health: Arc<Health>) -> Result<Client, String> {
    let address = server.address();
    let is_first = AtomicBool::new(true);
    let options = ConnectOptions::new()
        .name("receiver")
        .connection_timeout(CONNECTING)
        .request_timeout(Some(CONNECTING))
        .ping_interval(PING_EVERY)
        .client_capacity(capacity)
        .subscription_capacity(capacity)
        .ignore_discovered_servers()
        .reconnect_delay_callback(move |_| if is_first.swap(false, Ordering::Relaxed) { Duration::ZERO } else { NEVER })
        .event_callback(move |event| {
            health.observe(&event);
            std::future::ready(())
        });
    let options = with_credentials(server, with_tls(server, options))?;
    options.connect(format!("nats://{address}")).await.map_err(|error| {
        let remedy = match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                "check user, password, token or credentials"
            }
            ConnectErrorKind::Tls => "check `tls`, `ca`, `cert` and `key`",
            ConnectErrorKind::Dns | ConnectErrorKind::ServerParse => "check the name of the host",
            _ => "start it with `nats-server -js`, or check host and port",
        };
        format!("cannot connect to the NATS server {address}: {error}; {remedy}")
    })
}

fn with_tls(server: &Server, options: ConnectOptions) -> ConnectOptions {
    let mut options = options.require_tls(server.tls || server.ca.is_some() || server.cert.is_some());
    if let Some(ca) = &server.ca {
        options = options.add_root_certificates(PathBuf::from(ca));
    }
    if let (Some(cert), Some(key)) = (&server.cert, &server.key) {
        options = options.add_client_certificate(PathBuf::from(cert), PathBuf::from(key));
    }
    options
}

fn with_credentials(server: &Server, options: ConnectOptions) -> Result<ConnectOptions, String> {
    if let Some(path) = &server.creds {
        let text = secret("creds", path)?;
        return options.credentials(&text).map_err(|error| {
            format!("the credentials in {path} cannot be used: {error}; write them anew, as `nsc generate creds` does")
        });
    }
    if let Some(path) = &server.nkey {
        return Ok(options.nkey(secret("nkey", path)?));
    }
    if let Some(user) = &server.user {
        let password = match &server.password_file {
            Some(path) => secret("password_file", path)?,
            None => variable(PASSWORD_VARIABLE).ok_or_else(|| {
                format!("user={user} has no password; write password_file=PATH, or set {PASSWORD_VARIABLE}")
            })?,
        };
        return Ok(options.user_and_password(user.clone(), password));
    }
    let token = match &server.token_file {
        Some(path) => Some(secret("token_file", path)?),
        None => variable(TOKEN_VARIABLE),
    };
    Ok(token.into_iter().fold(options, ConnectOptions::token))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn secret(key: &str, path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {path}: {error}; write the path of a readable file behind `{key}`"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
