//! Input that may be compressed with zstd, as it is recognized by its first bytes.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The first bytes of a frame (RFC 8878, section 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The content of the input.
pub struct Content<'a> {
    /// To be read.
    pub bytes: Box<dyn Read + Send + 'a>,
    /// Becomes true if the last frame is not whole. What could be decompressed is in `bytes`.
    pub is_cut_off: Arc<AtomicBool>,
}

impl<'a> Content<'a> {
    /// # Errors
    /// The input cannot be read, or there is no memory for the decompressor.
    pub fn of(input: impl Read + Send + 'a) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(256 << 10, input);
        let is_cut_off = Arc::new(AtomicBool::new(false));
        let bytes: Box<dyn Read + Send + 'a> = if input.fill_buf()?.starts_with(&MAGIC) {
            let decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            Box::new(Frames { decoder, is_cut_off: Arc::clone(&is_cut_off) })
        } else {
            Box::new(input)
        };
        Ok(Self { bytes, is_cut_off })
    }
}

struct Frames<R: BufRead> {
    decoder: zstd::stream::read::Decoder<'static, R>,
    is_cut_off: Arc<AtomicBool>,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.decoder.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.is_cut_off.store(true, Relaxed);
                Ok(0)
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> (Vec<u8>, bool) {
        let mut content = Content::of(input).expect("an input");
        let mut bytes = Vec::new();
        content.bytes.read_to_end(&mut bytes).expect("bytes");
        (bytes, content.is_cut_off.load(Relaxed))
    }

    #[test]
    fn frames_are_read_one_after_the_other_and_a_cut_one_is_noticed() {
        let frame = |text: &str| zstd::bulk::compress(text.as_bytes(), 1).expect("a frame");
        let both = [frame("one, "), frame("two")].concat();
        assert_eq!(read(&both), (b"one, two".to_vec(), false));
        let (bytes, is_cut_off) = read(&both[..both.len() - 1]);
        assert!(bytes.starts_with(b"one, ") && is_cut_off);
        assert_eq!(read(b"plain"), (b"plain".to_vec(), false));
        assert_eq!(read(b""), (Vec::new(), false));
    }
}
