//! Large writes past the page cache (O_DIRECT). They take whole blocks, so the bytes behind the last whole block stay
//! in memory until more follow, or until the file's owner writes them in the usual way.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Offset, length and memory of each write are multiples of this: the block of common file systems. Disks have the same
/// or smaller ones.
pub const BLOCK: usize = 4096;
/// Fewer bytes are written in the usual way.
const WORTH_IT: usize = 128 << 10;

/// The direct way to a file, beside its descriptor for usual writes.
pub struct Direct {
    file: File,
    memory: Vec<u8>,
    /// Where the blocks begin in the memory.
    start: usize,
    /// Bytes at the beginning of the blocks that the file does not have yet.
    tail: usize,
    /// Where the tail belongs in the file: at its end.
    end: u64,
    /// Usual writes only, after a failure.
    is_off: bool,
    /// The file system refuses such writes.
    is_refused: bool,
}

impl Direct {
    /// The file behind a descriptor. `None` if its file system has no such way.
    pub fn of(file: impl AsFd) -> Option<Self> {
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).ok()?.into();
        Some(Self { file, memory: Vec::new(), start: 0, tail: 0, end: 0, is_off: false, is_refused: false })
    }

    /// Returns true if this number of bytes is to be written by this way.
    pub fn takes(&self, bytes: usize) -> bool {
        !self.is_off && !self.is_refused && self.tail + bytes >= WORTH_IT
    }

    /// Bytes that the file does not have yet.
    pub fn tail(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.tail]
    }

    /// The file has the tail, or nobody wants it any more.
    pub fn forget_tail(&mut self) {
        self.tail = 0;
    }

    /// After a usual write that succeeded: this way may be tried again.
    pub fn recover(&mut self) {
        self.is_off = false;
    }

    /// Writes the tail and these bytes up to the last whole block. The rest is the new tail. Without a tail the file's
    /// length is `end`, a multiple of [`BLOCK`].
    ///
    /// # Errors
    /// The file ends where it ended before, and the tail is as it was.
    pub fn write(&mut self, bytes: &[u8], end: u64) -> io::Result<()> {
        if self.tail == 0 {
            self.end = end;
        }
        let total = self.tail + bytes.len();
        self.make_room(total);
        let (start, tail) = (self.start, self.tail);
        self.memory[start + tail..start + total].copy_from_slice(bytes);
        let whole = total / BLOCK * BLOCK;
        if let Err(error) = self.file.write_all_at(&self.memory[start..start + whole], self.end) {
            self.is_off = true;
            self.is_refused |=
                [Errno::INVAL, Errno::OPNOTSUPP].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
            self.file.set_len(self.end)?;
            return Err(error);
        }
        self.memory.copy_within(start + whole..start + total, start);
        (self.tail, self.end) = (total - whole, self.end + whole as u64);
        Ok(())
    }

    /// Has memory for this number of bytes, and keeps the tail.
    fn make_room(&mut self, bytes: usize) {
        if self.start + bytes <= self.memory.len() {
            return;
        }
        let mut memory = vec![0; bytes.next_power_of_two() + 2 * BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        memory[start..start + self.tail].copy_from_slice(self.tail());
        (self.memory, self.start) = (memory, start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn blocks_and_the_tail_are_all_bytes_in_their_order(
            lengths in proptest::collection::vec(1_usize..400_000, 1..6),
            settles in any::<u8>(),
        ) {
            let path = std::env::temp_dir().join(format!("receiver-direct-{}", std::process::id()));
            let file = File::create(&path).expect("a file");
            let mut direct = Direct::of(&file).expect("a file system with O_DIRECT, such as ext4");
            let (mut expected, mut end) = (Vec::new(), 0);
            for (nth, length) in lengths.into_iter().enumerate() {
                let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + nth) as u8).collect();
                expected.extend_from_slice(&bytes);
                // Up to the next block in the usual way, as after a tail that was written so.
                let first = (end as usize).wrapping_neg() % BLOCK;
                let first = if direct.tail().is_empty() { first.min(length) } else { 0 };
                file.write_all_at(&bytes[..first], end).expect("written");
                end += first as u64;
                if first < length {
                    direct.write(&bytes[first..], end).expect("written");
                    end = fs::metadata(&path).expect("a file").len();
                }
                prop_assert_eq!(end as usize + direct.tail().len(), expected.len());
                prop_assert!(direct.tail().len() < BLOCK);
                if settles & 1 << (nth % 8) != 0 {
                    file.write_all_at(direct.tail(), end).expect("written");
                    end += direct.tail().len() as u64;
                    direct.forget_tail();
                }
            }
            file.write_all_at(direct.tail(), end).expect("written");
            let found = fs::read(&path).expect("a file");
            fs::remove_file(&path).expect("removed");
            prop_assert!(found == expected);
        }
    }
}
