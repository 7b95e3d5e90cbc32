//! What a file holds besides the units of its sink: the bytes that begin and end it, and their compression.

use std::io;

use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

/// The level of compression, which keeps up with one writing thread: zstd's own default is 3, its fastest is 1.
const LEVEL: i32 = 1;

/// The bytes around the units of a file which is a whole of its own.
pub trait Content: Send {
    /// Begins each file.
    fn header(&mut self) -> Vec<u8>;

    /// Ends a file, if there is room on the disk.
    fn trailer(&mut self) -> Vec<u8>;
}

/// How the files of a sink are written.
#[derive(Default)]
pub struct Format {
    /// Begins and ends each file. Without it a file that is there already is appended to.
    pub content: Option<Box<dyn Content>>,
    /// Compresses what is written.
    pub frames: Option<Frames>,
    /// The most bytes of one write, if it is not that of a pipe. Large writes go past the page cache then, unless they
    /// are compressed.
    pub group: Option<usize>,
}

/// Frames of zstd. Each is complete in itself, so that a file is readable up to its last whole frame.
pub struct Frames {
    compressor: Compressor<'static>,
    frame: Vec<u8>,
}

impl Frames {
    /// # Errors
    /// There is no memory for it.
    pub fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Self { compressor, frame: Vec::new() })
    }

    /// The frame of these bytes.
    ///
    /// # Errors
    /// That of the compressor.
    pub fn of(&mut self, bytes: &[u8]) -> io::Result<&[u8]> {
        self.frame.clear();
        self.frame.reserve(compress_bound(bytes.len()));
        self.compressor.compress_to_buffer(bytes, &mut self.frame)?;
        Ok(&self.frame)
    }
}
