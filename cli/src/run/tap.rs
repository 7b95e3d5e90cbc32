//! The thread that reads the tap, and gives its frames to the recordings.

use receiver::{Error, Tap, Wait};

use crate::sink::FrameSink;

/// Reads until the receiver is shut down. A recording that has ended ends the run elsewhere.
pub fn record(mut tap: Tap, mut recordings: Vec<Box<dyn FrameSink>>) {
    loop {
        let polled = tap.poll(Wait::Forever, |frame| recordings.iter_mut().for_each(|one| one.take(&frame)));
        recordings.iter_mut().for_each(|one| one.end_batch());
        match polled {
            Ok(_) => {}
            Err(Error::Stopped) => return,
            Err(error) => {
                tracing::warn!("frames that were not delivered are no longer recorded: {error}");
                return;
            }
        }
    }
}
