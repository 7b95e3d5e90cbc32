//! Keys from the bytes of a terminal in raw mode.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;

use crate::top::keys::Key;

/// How long the rest of an escape sequence may take. Without it, the byte was the Escape key.
pub const ESCAPE: Duration = Duration::from_millis(50);
/// The longest sequence of one key.
const LONGEST: usize = 16;

/// Keys of a terminal.
pub struct Input {
    terminal: OwnedFd,
    waiting: Vec<u8>,
}

impl Input {
    /// Of the terminal that the keys come from.
    ///
    /// # Errors
    /// There is none.
    pub fn open() -> io::Result<Self> {
        Ok(Self { terminal: super::controlling()?, waiting: Vec::new() })
    }

    /// To wait for.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.terminal.as_fd()
    }

    /// Returns true if a sequence has begun and not ended. After [`ESCAPE`], [`Input::give_up`] ends it.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The keys that have come. `None` if the terminal is gone.
    pub fn read(&mut self) -> Option<Vec<Key>> {
        let mut bytes = [0; 1024];
        match rustix::io::read(&self.terminal, &mut bytes) {
            Ok(0) => None,
            Ok(count) => {
                self.waiting.extend_from_slice(&bytes[..count]);
                Some(keys(&mut self.waiting))
            }
            Err(Errno::INTR | Errno::AGAIN) => Some(Vec::new()),
            Err(_) => None,
        }
    }

    /// No more bytes of the sequence came: its first one was a key of its own.
    pub fn give_up(&mut self) -> Vec<Key> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let first = self.waiting.remove(0);
        let mut all = if first == 0x1b { vec![Key::Escape] } else { Vec::new() };
        all.extend(keys(&mut self.waiting));
        all
    }
}

/// Takes the whole keys from the front of the bytes.
fn keys(bytes: &mut Vec<u8>) -> Vec<Key> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match next(&bytes[at..]) {
            Next::Key(key, length) => {
                all.push(key);
                at += length;
            }
            Next::Nothing(length) => at += length,
            Next::More if bytes.len() - at >= LONGEST => at += 1,
            Next::More => break,
        }
    }
    bytes.drain(..at);
    all
}

enum Next {
    /// A key of this number of bytes.
    Key(Key, usize),
    /// Bytes that are no key.
    Nothing(usize),
    /// The sequence is not over.
    More,
}

fn next(bytes: &[u8]) -> Next {
    let key = match bytes[0] {
        0x1b => return sequence(bytes),
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x7f | 0x08 => Key::Backspace,
        control @ 0x01..=0x1a => Key::Control((b'a' + control - 1) as char),
        0x00..0x20 => return Next::Nothing(1),
        0x20..0x7f => Key::Char(bytes[0] as char),
        first => {
            let length = match first {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                _ => return Next::Nothing(1),
            };
            let Some(part) = bytes.get(..length) else { return Next::More };
            return match std::str::from_utf8(part).ok().and_then(|text| text.chars().next()) {
                Some(character) => Next::Key(Key::Char(character), length),
                None => Next::Nothing(1),
            };
        }
    };
    Next::Key(key, 1)
}

/// After ESC: `[` or `O`, parameters, and a final byte (ECMA-48).
fn sequence(bytes: &[u8]) -> Next {
    let (Some(second), rest) = (bytes.get(1), bytes.get(2..).unwrap_or_default()) else { return Next::More };
    if !matches!(second, b'[' | b'O') {
        return Next::Key(Key::Escape, 1);
    }
    let Some(end) = rest.iter().position(|byte| (0x40..0x7f).contains(byte)) else { return Next::More };
    let length = end + 3;
    let key = match (rest[end], &rest[..end]) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) => Key::Home,
        (b'F', _) => Key::End,
        (b'Z', _) => Key::BackTab,
        (b'~', b"1" | b"7") => Key::Home,
        (b'~', b"4" | b"8") => Key::End,
        (b'~', b"5") => Key::PageUp,
        (b'~', b"6") => Key::PageDown,
        _ => return Next::Nothing(length),
    };
    Next::Key(key, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(bytes: &[u8]) -> (Vec<Key>, usize) {
        let mut waiting = bytes.to_vec();
        (keys(&mut waiting), waiting.len())
    }

    /// The keys of bytes that come in pieces of this length.
    fn in_pieces(bytes: &[u8], length: usize) -> (Vec<Key>, usize) {
        let (mut waiting, mut all) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(length) {
            waiting.extend_from_slice(piece);
            all.extend(keys(&mut waiting));
        }
        (all, waiting.len())
    }

    /// Each is one key.
    const TYPED: [&str; 9] = ["q", "\r", "\x03", "ä", "€", "\x1b[A", "\x1bOB", "\x1b[5~", "\x1b[1;5C"];

    #[test]
    fn keys_of_terminals() {
        assert_eq!(
            of(b"q\x03\r\x7f\t"),
            (vec![Key::Char('q'), Key::Control('c'), Key::Enter, Key::Backspace, Key::Tab], 0)
        );
        assert_eq!(
            of(b"\x1b[A\x1bOB\x1b[5~\x1b[Z\x1b[1;5C\x1b[3~x"),
            (vec![Key::Up, Key::Down, Key::PageUp, Key::BackTab, Key::Right, Key::Char('x')], 0)
        );
        assert_eq!(of("ä€".as_bytes()), (vec![Key::Char('ä'), Key::Char('€')], 0));
        assert_eq!(of(b"\x1bq"), (vec![Key::Escape, Key::Char('q')], 0));
        assert_eq!(of(b"a\x1b[1"), (vec![Key::Char('a')], 3), "the rest may come");
        assert_eq!(of(&[0xff, b'b', 0xc3]), (vec![Key::Char('b')], 1));
    }

    proptest! {
        #[test]
        fn any_bytes_make_keys_and_leave_little(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (_, left) = of(&bytes);
            prop_assert!(left < LONGEST);
            let (_, left) = in_pieces(&bytes, LONGEST - 4);
            prop_assert!(left < LONGEST);
        }

        #[test]
        fn keys_that_come_in_pieces_are_the_same(
            typed in proptest::collection::vec(proptest::sample::select(&TYPED[..]), 0..30),
            length in 1_usize..20,
        ) {
            let bytes = typed.concat();
            prop_assert_eq!(of(bytes.as_bytes()).0.len(), typed.len());
            prop_assert_eq!(in_pieces(bytes.as_bytes(), length), of(bytes.as_bytes()));
        }
    }
}
