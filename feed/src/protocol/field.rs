//! Fields of headers whose length was checked once.

use super::error::ParseError;

/// The first `N` bytes, or [`ParseError::Short`].
#[inline]
pub(super) fn header<const N: usize>(payload: &[u8]) -> Result<&[u8; N], ParseError> {
    payload.first_chunk().ok_or(ParseError::Short { needed: N, actual: payload.len() })
}

/// `N` bytes at `offset`. Offsets are constants within the header, so the check is gone after inlining.
#[inline(always)]
fn at<const N: usize>(header: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[offset..offset + N]);
    bytes
}

macro_rules! fields {
    ($($name:ident $from:ident $type:ty;)*) => {$(
        #[inline(always)]
        pub(super) fn $name(header: &[u8], offset: usize) -> $type {
            <$type>::$from(at(header, offset))
        }
    )*};
}

fields! {
    be16 from_be_bytes u16;
    be32 from_be_bytes u32;
    be64 from_be_bytes u64;
    le16 from_le_bytes u16;
    le32 from_le_bytes u32;
    le64 from_le_bytes u64;
}

/// Checks a length that the header states against the datagram's. A datagram may be longer: some senders pad.
#[inline]
pub(super) fn check_length(stated: usize, payload: &[u8], header: usize) -> Result<(), ParseError> {
    if stated < header || stated > payload.len() {
        return Err(ParseError::Length { stated, actual: payload.len() });
    }
    Ok(())
}

/// Nanoseconds since 1970 from two fields.
#[inline]
pub(super) fn time(seconds: u32, nanoseconds: u32) -> u64 {
    u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds)
}
