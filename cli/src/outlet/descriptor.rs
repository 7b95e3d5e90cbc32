//! Writes to a file, a pipe or a terminal.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::chunk::Batch;
use super::device::{Device, Gate, Trouble};
use super::direct::{BLOCK, Direct};
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
    /// Takes large writes.
    direct: Option<Direct>,
    /// Units that end in the tail of `direct`, and the bytes of the first of them that the file has.
    unfinished: (usize, usize),
    /// Where the finished units ended before the last call that wrote. `None` if nothing was written.
    before: Option<u64>,
}

impl Opened {
    /// Takes a file that is open for writing.
    ///
    /// # Errors
    /// The kernel does not report its kind.
    pub fn new(file: File) -> io::Result<Self> {
        let is_regular = file.metadata()?.is_file();
        Ok(Self { is_regular, file, group: PIPE_BUF, direct: None, unfinished: (0, 0), before: None })
    }

    /// A regular file gets units in writes of up to this number of bytes.
    #[must_use]
    pub fn in_groups_of(self, bytes: usize) -> Self {
        Self { group: if self.is_regular { bytes } else { PIPE_BUF }, ..self }
    }

    /// Large writes to a regular file go past the page cache, where the file system lets them. Nobody else may append
    /// to the file.
    #[must_use]
    pub fn directly(self) -> Self {
        Self { direct: if self.is_regular { Direct::of(&self.file) } else { None }, ..self }
    }

    /// Units at the end of those that were taken which are not written yet.
    pub fn unfinished(&self) -> usize {
        self.unfinished.0
    }

    /// Writes the unfinished units.
    ///
    /// # Errors
    /// They are still unfinished.
    pub fn settle(&mut self) -> io::Result<()> {
        let tail = self.direct.as_ref().map_or(&[][..], Direct::tail);
        if !tail.is_empty() {
            let tail = tail.to_vec();
            self.before = Some(self.finished_end()?);
            self.write_bytes(&tail).map_err(|(done, error)| self.cut_back(done).err().unwrap_or(error))?;
            self.forget_unfinished();
        }
        Ok(())
    }

    /// Removes what the last call has written, and what is unfinished.
    ///
    /// # Errors
    /// The file could not be cut.
    pub fn take_back(&mut self) -> io::Result<()> {
        self.forget_unfinished();
        match self.before.take().filter(|_| self.is_regular) {
            Some(end) => self.file.set_len(end),
            None => Ok(()),
        }
    }

    /// Removes what is unfinished.
    ///
    /// # Errors
    /// The file could not be cut.
    pub fn drop_unfinished(&mut self) -> io::Result<()> {
        if self.unfinished.0 > 0 {
            let end = self.finished_end()?;
            self.forget_unfinished();
            self.file.set_len(end)?;
        }
        Ok(())
    }

    /// Where the last finished unit ends.
    fn finished_end(&self) -> io::Result<u64> {
        Ok(self.length()? - self.unfinished.1 as u64)
    }

    fn forget_unfinished(&mut self) {
        self.unfinished = (0, 0);
        if let Some(direct) = &mut self.direct {
            direct.forget_tail();
        }
    }

    /// Returns true for a regular file.
    pub fn is_regular(&self) -> bool {
        self.is_regular
    }

    /// Its length in bytes, without those of unfinished units.
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
        if self.direct.as_ref().is_some_and(|direct| direct.takes(bytes.len())) {
            return self.write_directly(batch, units);
        }
        self.settle()?;
        if self.group > PIPE_BUF {
            self.before = Some(self.length()?);
        }
        match self.write_bytes(bytes) {
            Ok(()) => {
                if let Some(direct) = &mut self.direct {
                    direct.recover();
                }
                Ok(units)
            }
            Err((done, error)) => self.whole(batch, done, error),
        }
    }

    /// Writes units up to the last whole block. Those that end behind it are unfinished.
    fn write_directly(&mut self, batch: Batch<'_>, units: usize) -> io::Result<usize> {
        let length = self.length()?;
        let before = self.finished_end()?;
        let bytes = batch.bytes_of(units);
        // Bytes up to the next block. A file with a tail ends with a block.
        let first = (length as usize).wrapping_neg() % BLOCK;
        if first > 0
            && let Err((done, error)) = self.write_bytes(&bytes[..first])
        {
            self.before = Some(before);
            return self.whole(batch, done, error);
        }
        let Some(direct) = &mut self.direct else { return Ok(0) };
        if direct.write(&bytes[first..], length + first as u64).is_err() {
            self.cut_back(first)?;
            // The next write goes the usual way: it takes what fits, or reports the error.
            return Ok(0);
        }
        let written = bytes.len() - direct.tail().len();
        let finished = batch.fitting(written).min(units);
        self.unfinished = (units - finished, written - batch.bytes_of(finished).len());
        self.before = Some(before);
        Ok(units)
    }

    /// Writes all of the bytes, or, to a regular file, none of them.
    ///
    /// # Errors
    /// They were not written.
    pub fn write_whole(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.settle()?;
        self.before = Some(self.length()?);
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
