//! The servers of a run, such as the control socket and the metrics. One thread runs them all, apart from the threads
//! that receive.

use std::io;
use std::pin::Pin;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

/// A server: it serves until it is dropped. It may use tokio's input, output and time. Calls that can take longer than
/// a millisecond, such as a join, go to `spawn_blocking`.
pub type Server = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Threads that may work for clients at once.
const BLOCKING_THREADS: usize = 4;
/// How long the end of a run waits for answers that are under way.
const PATIENCE: Duration = Duration::from_millis(100);

/// The servers that run. Dropped, it stops them.
#[derive(Default)]
pub struct Services {
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Services {
    /// Starts the servers; without any, no thread.
    ///
    /// # Errors
    /// The thread or what it waits with cannot be made.
    pub fn start(servers: Vec<Server>) -> io::Result<Self> {
        if servers.is_empty() {
            return Ok(Self::default());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("services".to_owned()).spawn(move || {
            for server in servers {
                runtime.spawn(server);
            }
            // An error says that the other side is gone, which ends the servers too.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(PATIENCE);
        })?;
        Ok(Self { running: Some((stop, thread)) })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let Some((stop, thread)) = self.running.take() else { return };
        let _ = stop.send(());
        // A panic of a server was reported by the panic hook.
        let _ = thread.join();
    }
}
