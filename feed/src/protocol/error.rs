//! Why a datagram is not one of its feed.

use thiserror::Error;

/// A malformed datagram. The engine counts it; a parser never panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The datagram ends before the header does.
    #[error("the datagram has {actual} bytes, but its header takes {needed}")]
    Short {
        /// Bytes that the header takes.
        needed: usize,
        /// Bytes of the datagram.
        actual: usize,
    },
    /// The header states a length that the datagram does not have.
    #[error("the header states {stated} bytes, but the datagram has {actual}")]
    Length {
        /// Bytes that the header states.
        stated: usize,
        /// Bytes of the datagram.
        actual: usize,
    },
    /// A field has a value that the protocol does not define.
    #[error("the field `{field}` is {value:#x}, which the protocol does not define")]
    Value {
        /// The field's name in the specification.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The checksum in the header is not that of the datagram.
    #[error("the checksum is {computed:#06x}, but the header states {stated:#06x}")]
    Checksum {
        /// The header's checksum.
        stated: u16,
        /// The datagram's checksum.
        computed: u16,
    },
}
