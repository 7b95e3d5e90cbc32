//! Where datagrams come from, for code that runs on a live receiver and on a recording.

use crate::api::datagram::Datagram;
use crate::api::error::Error;
use crate::api::receiver::Receiver;
use crate::engine::worker::{Wait, Worker};

/// A source of datagrams: a [`Receiver`], a [`Worker`] of it, or, with the feature `recording`, a `Recording`. So that
/// a back test and a live run share one loop:
///
/// ```
/// use receiver::{DatagramSource, Error, Wait};
///
/// fn bytes(source: &mut dyn DatagramSource) -> Result<usize, Error> {
///     let mut bytes = 0;
///     loop {
///         match source.receive(Wait::Forever, &mut |datagram| bytes += datagram.payload().len()) {
///             Ok(_) => {}
///             Err(Error::Stopped) => return Ok(bytes),
///             Err(error) => return Err(error),
///         }
///     }
/// }
/// ```
pub trait DatagramSource {
    /// Gives the consumer the datagrams that are there, up to some thousands, and waits for the first one if it may.
    /// Returns the number of datagrams; 0 when the wait was over or a signal came.
    ///
    /// # Errors
    /// [`Error::Stopped`] at the end: of the receiver, or of the recording.
    fn receive(&mut self, wait: Wait, consumer: &mut dyn FnMut(Datagram<'_>)) -> Result<usize, Error>;
}

impl DatagramSource for Worker {
    fn receive(&mut self, wait: Wait, consumer: &mut dyn FnMut(Datagram<'_>)) -> Result<usize, Error> {
        self.poll(wait, consumer)
    }
}

impl DatagramSource for Receiver {
    fn receive(&mut self, wait: Wait, consumer: &mut dyn FnMut(Datagram<'_>)) -> Result<usize, Error> {
        self.poll(wait, consumer)
    }
}
