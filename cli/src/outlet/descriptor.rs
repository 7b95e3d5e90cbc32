//! Writes to a file, a pipe or a terminal.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::chunk::Batch;
use super::device::{Device, Gate, Trouble};
use super::duplicate;

/// A pipe takes up to PIPE_BUF bytes whole or not at all (pipe(7)), so that the end of a run leaves no half unit in it.
const PIPE_BUF: usize = 4096;

/// The interval at which a thread that waits for room checks if the outlet is closed.
const CLOSED_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

type Open = Box<dyn FnMut() -> io::Result<File> + Send>;

/// A descriptor that is opened once, or anew after each failure.
pub struct Descriptor {
    open: Open,
    file: Option<Opened>,
    on_error: fn(io::Error) -> Trouble,
    waits_for_reader: bool,
}

impl Descriptor {
    /// Opened once. The first failure ends the outlet.
    pub fn once(open: impl FnOnce() -> io::Result<File> + Send + 'static) -> Self {
        let mut open = Some(open);
        let open = move || open.take().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), |open| open());
        Self { open: Box::new(open), file: None, on_error: Trouble::end, waits_for_reader: false }
    }

    /// Standard output. A reader that is gone ends the outlet; other failures are retried.
    pub fn stdout() -> Self {
        let on_error = |error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe => Trouble::end(error),
            _ => Trouble::retry(error),
        };
        Self { open: Box::new(|| duplicate(io::stdout())), file: None, on_error, waits_for_reader: false }
    }

    /// A FIFO, which `open` opens and waits for a reader. A reader that goes is waited for again.
    pub fn fifo(open: impl FnMut() -> io::Result<File> + Send + 'static) -> Self {
        Self { open: Box::new(open), file: None, on_error: Trouble::retry, waits_for_reader: true }
    }
}

impl Device for Descriptor {
    fn open(&mut self) -> Result<(), Trouble> {
        if self.file.is_none() {
            self.file = Some((self.open)().and_then(Opened::new).map_err(self.on_error)?);
        }
        Ok(())
    }

    fn lacks_reader(&self) -> bool {
        self.waits_for_reader && self.file.is_none()
    }

    fn write(&mut self, batch: Batch<'_>, gate: &dyn Gate) -> Result<usize, Trouble> {
        self.open()?;
        let Some(file) = &mut self.file else { return Ok(0) };
        let written = file.write_units(batch, usize::MAX, gate);
        if written.is_err() && self.waits_for_reader {
            self.file = None;
        }
        written.map_err(self.on_error)
    }
}

/// An open file of any kind.
pub struct Opened {
    file: File,
    is_regular: bool,
    /// The most bytes of units in one write to a regular file.
    group: usize,
}

impl Opened {
    /// Takes a file that is open for writing.
    ///
    /// # Errors
    /// The kernel does not report its kind.
    pub fn new(file: File) -> io::Result<Self> {
        Ok(Self { is_regular: file.metadata()?.is_file(), file, group: PIPE_BUF })
    }

    /// A regular file gets units in writes of up to this number of bytes.
    #[must_use]
    pub fn in_groups_of(self, bytes: usize) -> Self {
        Self { group: if self.is_regular { bytes } else { PIPE_BUF }, ..self }
    }

    /// Returns true for a regular file.
    pub fn is_regular(&self) -> bool {
        self.is_regular
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// The kernel does not report it.
    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Writes whole units with up to `most` bytes, or one unit that is longer, and returns their number. A regular file
    /// that takes a part only is cut back to the last whole unit.
    ///
    /// A regular file gets the same small groups as a pipe, unless it was opened with larger ones. The kernel stops a
    /// write between two pages when the process is killed: so at most the unit at that place is torn.
    ///
    /// # Errors
    /// The first unit was not written.
    pub fn write_units(&mut self, batch: Batch<'_>, most: usize, gate: &dyn Gate) -> io::Result<usize> {
        if !self.is_regular && !has_room(&self.file, gate) {
            return Ok(0);
        }
        let units = batch.fitting(most.min(self.group)).max(1);
        let bytes = batch.bytes_of(units);
        match self.write_bytes(bytes) {
            Ok(()) => Ok(units),
            Err((done, error)) => self.whole(batch, done, error),
        }
    }

    /// Writes all of the bytes, or, to a regular file, none of them.
    ///
    /// # Errors
    /// They were not written.
    pub fn write_whole(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_bytes(bytes).map_err(|(done, error)| self.cut_back(done).err().unwrap_or(error))
    }

    /// An error comes with the number of bytes that were written before it.
    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while done < bytes.len() {
            match self.file.write(&bytes[done..]) {
                Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // The next write reports an error.
                    let _ = poll(&mut [PollFd::from_borrowed_fd(self.file.as_fd(), PollFlags::OUT)], None);
                }
                Err(error) => return Err((done, error)),
            }
        }
        Ok(())
    }

    /// After an error behind `done` bytes: the number of whole units in them, or the error if there is none. The bytes
    /// of a torn unit are removed.
    fn whole(&mut self, batch: Batch<'_>, done: usize, error: io::Error) -> io::Result<usize> {
        let units = if done == 0 { 0 } else { batch.fitting(done) };
        self.cut_back(done - batch.bytes_of(units).len())?;
        if units > 0 { Ok(units) } else { Err(error) }
    }

    /// Removes the last bytes of a regular file.
    fn cut_back(&mut self, torn: usize) -> io::Result<()> {
        if torn > 0 && self.is_regular {
            let end = self.file.stream_position()?;
            // Somebody else may have appended since.
            if self.length()? == end {
                let end = end - torn as u64;
                self.file.set_len(end)?;
                self.file.seek(SeekFrom::Start(end))?;
            }
        }
        Ok(())
    }
}

/// Waits until there is room, or an error, which the next write reports. Returns false once the outlet is closed: units
/// that are counted as dropped are not written.
pub fn has_room(to: impl AsFd, gate: &dyn Gate) -> bool {
    while !gate.is_closed() {
        let mut fds = [PollFd::from_borrowed_fd(to.as_fd(), PollFlags::OUT)];
        if poll(&mut fds, Some(&CLOSED_EVERY)) != Ok(0) {
            return !gate.is_closed();
        }
    }
    false
}
