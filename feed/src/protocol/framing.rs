//! How messages follow each other within a datagram.

/// The delimiter of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Framing {
    /// The header alone does not tell where messages end.
    #[default]
    None,
    /// A big-endian u16 length, then as many bytes.
    Be16,
    /// A big-endian u16 length that counts itself; it is part of the message.
    Be16Inclusive,
    /// A little-endian u16 length, then as many bytes.
    Le16,
    /// A little-endian u16 length that counts itself; it is part of the message.
    Le16Inclusive,
    /// A u8 length that counts itself; it is part of the message.
    U8Inclusive,
    /// Messages of the same length.
    Fixed(u16),
}

/// The messages of one datagram, in order.
#[derive(Clone, Debug)]
#[must_use = "an iterator does nothing until it is used"]
pub struct Messages<'a> {
    rest: &'a [u8],
    left: u32,
    framing: Framing,
}

impl<'a> Messages<'a> {
    /// Up to `count` messages of `body`.
    pub fn new(body: &'a [u8], count: u32, framing: Framing) -> Self {
        Self { rest: body, left: count, framing }
    }

    /// How many messages the header promises beyond those that were taken.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.left
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let be = || self.rest.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes)));
        let le = || self.rest.first_chunk().map(|bytes| usize::from(u16::from_le_bytes(*bytes)));
        let (skip, length, smallest) = match self.framing {
            Framing::None => return None,
            Framing::Be16 => (2, be()?, 0),
            Framing::Le16 => (2, le()?, 0),
            Framing::Be16Inclusive => (0, be()?, 2),
            Framing::Le16Inclusive => (0, le()?, 2),
            Framing::U8Inclusive => (0, usize::from(*self.rest.first()?), 1),
            Framing::Fixed(length) => (0, usize::from(length), 1),
        };
        if length < smallest {
            return None;
        }
        let message = self.rest.get(skip..skip + length)?;
        self.rest = &self.rest[skip + length..];
        self.left -= 1;
        Some(message)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}

impl std::iter::FusedIterator for Messages<'_> {}
