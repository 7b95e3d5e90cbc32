//! The events that the main thread of `receiver run` waits for.

/// Sent by the threads that watch signals, receive and write.
pub enum Event {
    /// SIGINT, SIGTERM or SIGHUP: the run ends.
    Signal,
    /// SIGHUP, where it does not end the run: the configuration is read again.
    Hangup,
    /// SIGWINCH.
    Resized,
    /// The run must end: a receiving thread is done, writing has failed, or a thread has panicked.
    Done,
}
