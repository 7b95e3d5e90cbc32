//! The servers of a run, such as the control socket and the metrics. One thread runs them all, apart from the threads
//! that receive.

use std::io;
use std::pin::Pin;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
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
    running: Option<Running>,
}

struct Running {
    runtime: Handle,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Services {
    /// Starts a server, and the thread with the first one.
    ///
    /// # Errors
    /// The thread or what it waits with cannot be made.
    pub fn add(&mut self, server: Server) -> io::Result<()> {
        let running = match self.running.take() {
            Some(running) => running,
            None => Running::start()?,
        };
        self.running.insert(running).runtime.spawn(server);
        Ok(())
    }
}

impl Running {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("services".to_owned()).spawn(move || {
            // An error says that the other side is gone, which ends the servers too.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(PATIENCE);
        })?;
        Ok(Self { runtime: handle, stop, thread })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let Some(Running { stop, thread, .. }) = self.running.take() else { return };
        let _ = stop.send(());
        // A panic of a server was reported by the panic hook.
        let _ = thread.join();
    }
}
