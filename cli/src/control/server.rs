//! Serves the clients of the control socket. One that hangs, floods or sends garbage costs the others nothing: a line
//! and the time for it are bounded, a request is read when the reply to the one before it was written, and what all
//! clients have not read yet is bounded together.

use std::io::{self, Write};
use std::os::unix::net::UnixListener as StdListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::execute;
use super::protocol::{Kind, LONGEST_REQUEST, Refusal, Request, VERSION, done, refused};
use super::session::Session;
use super::socket::ControlSocket;
use crate::event::Event;
use crate::instance::Instance;
use crate::services::Server;
use crate::signals;

/// Clients that are served at once.
const MOST_CLIENTS: usize = 128;
/// Bytes of replies that may wait for their readers, of all clients together.
const MOST_WAITING: usize = 64 << 20;
/// How long a client may take from the first byte of a line to its end.
const LINE_TIME: Duration = Duration::from_secs(10);
/// How long a client may read nothing of a reply.
const READ_TIME: Duration = Duration::from_secs(10);
/// Bytes that are read from a client at once.
const BUFFER: usize = 8 << 10;
/// The pause after a connection could not be accepted: there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the clients of a run share.
pub struct Control {
    name: Option<String>,
    /// Empty while the run starts.
    instance: OnceLock<Instance>,
    /// Ends the run, also while it starts.
    events: Sender<Event>,
    /// One change at a time: the threads for blocking calls stay free for those who only read.
    changing: Mutex<()>,
    waiting: AtomicUsize,
}

impl Control {
    /// Of a run that is about to start.
    pub fn new(name: Option<String>, events: Sender<Event>) -> Arc<Self> {
        Arc::new(Self {
            name,
            instance: OnceLock::new(),
            events,
            changing: Mutex::default(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// The run has started: requests are done from now on.
    pub fn started(&self, instance: Instance) {
        // A run starts once.
        let _ = self.instance.set(instance);
    }

    /// Serves the socket, and removes it at the end.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn server(self: Arc<Self>, socket: ControlSocket) -> io::Result<Server> {
        let listener = socket.listener()?;
        Ok(Box::pin(async move {
            if let Err(error) = self.serve(listener).await {
                tracing::error!("the control socket is closed: {error}");
            }
            drop(socket);
        }))
    }

    async fn serve(self: Arc<Self>, listener: StdListener) -> io::Result<()> {
        let listener = UnixListener::from_std(listener)?;
        let places = Arc::new(Semaphore::new(MOST_CLIENTS));
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot accept a client of the control socket: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match admit(&stream, &places) {
                Ok(place) => drop(tokio::spawn(Arc::clone(&self).client(stream, place))),
                Err(refusal) => turn_away(stream, &refusal),
            }
        }
    }

    /// Serves one client until it goes.
    async fn client(self: Arc<Self>, stream: UnixStream, _place: OwnedSemaphorePermit) {
        let (reader, mut writer) = stream.into_split();
        let mut lines = Lines(BufReader::with_capacity(BUFFER, reader));
        let mut session = Session::default();
        loop {
            let line = match lines.next().await {
                Ok(Some(line)) => line,
                Ok(None) => return,
                Err(refusal) => {
                    let _ = write(&mut writer, &refused(&refusal)).await;
                    return;
                }
            };
            let (reply, is_last) = match Request::parse(&line) {
                Ok(Request::Stop {}) => (done(&serde_json::json!({"stopping": true})), true),
                Ok(request) => (self.reply(request, &mut session).await, false),
                Err(refusal) => (refused(&refusal), false),
            };
            drop(line);
            let written = self.write(&mut writer, reply).await;
            if is_last {
                // A run that is ending has the same flag after a signal.
                signals::hurry();
                let _ = self.events.send(Event::Signal);
            }
            if written.is_err() {
                return;
            }
        }
    }

    /// The line of the reply.
    async fn reply(&self, request: Request, session: &mut Session) -> Vec<u8> {
        if request == (Request::Hello {}) {
            return done(&self.hello());
        }
        let Some(instance) = self.instance.get().cloned() else {
            let error = "the run is still starting; ask again, or stop it".to_owned();
            return refused(&Refusal { error, kind: Kind::Starting });
        };
        let turn = if execute::is_change(&request) { Some(self.changing.lock().await) } else { None };
        let mut own = std::mem::take(session);
        let executed = tokio::task::spawn_blocking(move || {
            let reply = execute::reply(&instance, &request, &mut own);
            (reply, own)
        });
        let reply = match executed.await {
            Ok((reply, own)) => {
                *session = own;
                reply
            }
            // A panic, which ends the run.
            Err(error) => refused(&Refusal { error: format!("the request failed: {error}"), kind: Kind::Failed }),
        };
        drop(turn);
        reply
    }

    fn hello(&self) -> serde_json::Value {
        serde_json::json!({
            "protocol": VERSION,
            "version": env!("CARGO_PKG_VERSION"),
            "name": self.name,
            "pid": std::process::id(),
            "started": self.instance.get().is_some(),
        })
    }

    /// Writes a reply, or a refusal in its place if too many bytes wait already.
    async fn write(&self, writer: &mut OwnedWriteHalf, reply: Vec<u8>) -> io::Result<()> {
        let before = self.waiting.fetch_add(reply.len(), Ordering::Relaxed);
        let _leaves = Leaves { waiting: &self.waiting, bytes: reply.len() };
        if before > 0 && before + reply.len() > MOST_WAITING {
            drop(reply);
            let error = "too many bytes of replies wait for clients that do not read them; ask again soon".to_owned();
            return write(writer, &refused(&Refusal { error, kind: Kind::Busy })).await;
        }
        write(writer, &reply).await
    }
}

/// Takes bytes from those that wait when it is dropped.
struct Leaves<'a> {
    waiting: &'a AtomicUsize,
    bytes: usize,
}

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A place for a client that may have one.
fn admit(stream: &UnixStream, places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    let own = geteuid().as_raw();
    let user = stream.peer_cred().map(|credentials| credentials.uid());
    if !user.as_ref().is_ok_and(|&user| user == own || user == 0) {
        let user = user.map_or_else(|error| error.to_string(), |user| user.to_string());
        let error =
            format!("this run is that of user {own}, and the client is user {user}; ask as that user or as root");
        return Err(Refusal { error, kind: Kind::NotPermitted });
    }
    Arc::clone(places).try_acquire_owned().map_err(|_| {
        let error = format!("this run has {MOST_CLIENTS} clients already, and serves no more at once; close some");
        Refusal { error, kind: Kind::TooManyClients }
    })
}

/// Closes the connection with the reason, which a new connection has room for.
fn turn_away(stream: UnixStream, refusal: &Refusal) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(&refused(refusal));
    }
}

/// Writes for as long as the client reads.
async fn write(writer: &mut OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match timeout(READ_TIME, writer.write(bytes)).await?? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

/// The lines of a client.
struct Lines(BufReader<OwnedReadHalf>);

impl Lines {
    /// The next line without its newline; `None` if the client has gone. Waits for its first byte for ever.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        match self.0.fill_buf().await {
            Ok(bytes) if !bytes.is_empty() => {}
            _ => return Ok(None),
        }
        timeout(LINE_TIME, self.rest()).await.unwrap_or_else(|_| {
            let error = format!("the request did not end within {} s; end it with a newline", LINE_TIME.as_secs());
            Err(Refusal { error, kind: Kind::TooSlow })
        })
    }

    async fn rest(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        let mut line = Vec::new();
        loop {
            let bytes = match self.0.fill_buf().await {
                Ok(bytes) if !bytes.is_empty() => bytes,
                _ => return Ok(None),
            };
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if line.len() + part.len() > LONGEST_REQUEST {
                let error = format!("the request is longer than {LONGEST_REQUEST} bytes; split it");
                return Err(Refusal { error, kind: Kind::TooLong });
            }
            line.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.0.consume(used);
            if end.is_some() {
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Client, ClientError, Selection};
    use crate::services::Services;
    use serde_json::Value;
    use std::path::PathBuf;
    use std::sync::mpsc;

    /// The control socket of a run that never finishes its start.
    fn starting(test: &str) -> (Services, Selection) {
        let path: PathBuf = std::env::temp_dir().join(format!("receiver-server-{}-{test}", std::process::id()));
        let socket = ControlSocket::open(&path, "another run").expect("a socket");
        let (events, _) = mpsc::channel();
        let server = Control::new(Some("a".into()), events).server(socket).expect("a server");
        let mut services = Services::default();
        services.add(server).expect("a thread");
        (services, Selection { name: None, control: Some(path) })
    }

    fn kind(reply: Result<Value, ClientError>) -> Kind {
        match reply {
            Err(ClientError::Refused(refusal)) => refusal.kind,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_run_that_starts_refuses_all_but_hello() {
        let (services, selection) = starting("start");
        let mut client = Client::connect(&selection).expect("it listens");
        let hello = client.request(&Request::Hello {}).expect("a reply");
        assert_eq!((&hello["protocol"], &hello["name"], &hello["started"]), (&1.into(), &"a".into(), &false.into()));
        for request in [Request::List {}, Request::Reload {}, Request::Leave { subscription: "a".into() }] {
            assert_eq!(kind(client.request(&request)), Kind::Starting);
        }
        client.request(&Request::Hello {}).expect("the connection is still there");
        drop(services);
        let path = selection.control.expect("a path");
        assert!(!path.exists(), "the socket goes with the run");
        assert!(matches!(client.request(&Request::Hello {}), Err(ClientError::Lost { .. })));
    }

    #[test]
    fn one_client_too_many_gets_the_reason() {
        let (_services, selection) = starting("clients");
        let connect = || Client::connect(&selection).expect("it listens");
        let mut clients: Vec<Client> = (0..MOST_CLIENTS).map(|_| connect()).collect();
        for client in &mut clients {
            client.request(&Request::Hello {}).expect("a reply");
        }
        assert_eq!(kind(connect().request(&Request::Hello {})), Kind::TooManyClients);
        clients[7].request(&Request::Hello {}).expect("the others stay");
        clients.clear();
        // The run notices a client that goes a moment later.
        while connect().request(&Request::Hello {}).is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn replies_that_nobody_reads_are_bounded() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (events, _) = mpsc::channel();
            let control = Control::new(None, events);
            let (near, far) = UnixStream::pair().expect("a pair");
            let (_, mut writer) = near.into_split();
            let mut lines = BufReader::new(far).lines();
            // As if others waited.
            control.waiting.store(MOST_WAITING, Ordering::Relaxed);
            control.write(&mut writer, done(&"x".repeat(1000))).await.expect("written");
            let reply = lines.next_line().await.expect("a line").expect("a line");
            assert!(reply.contains("\"kind\":\"busy\""), "{reply}");
            assert_eq!(control.waiting.load(Ordering::Relaxed), MOST_WAITING);
            control.waiting.store(0, Ordering::Relaxed);
            control.write(&mut writer, done(&"x")).await.expect("written");
            assert_eq!(lines.next_line().await.expect("a line").as_deref(), Some(r#"{"ok":true,"result":"x"}"#));
        });
    }
}
