//! The limit on copied payloads that consumers hold at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;

/// How many bytes of copied payloads may be held at once.
#[derive(Debug)]
pub(crate) struct CopyBudget {
    left: AtomicI64,
}

/// A copy of up to this many bytes takes one allocation, which also holds its share of the budget.
const SMALL: usize = 256;
const LARGE: usize = 2048;

impl CopyBudget {
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(i64::try_from(bytes).unwrap_or(i64::MAX)) })
    }

    /// A copy that counts against the budget until its last `Bytes` is dropped.
    pub fn copy(self: &Arc<Self>, bytes: &[u8]) -> Option<Bytes> {
        if bytes.len() <= SMALL {
            self.inline::<SMALL>(bytes)
        } else if bytes.len() <= LARGE {
            self.inline::<LARGE>(bytes)
        } else {
            self.reserve(bytes.len()).map(|held| Bytes::from_owner(Copied { bytes: bytes.to_vec(), _held: held }))
        }
    }

    fn inline<const N: usize>(self: &Arc<Self>, bytes: &[u8]) -> Option<Bytes> {
        let _held = self.reserve(N)?;
        let mut copy = Inline { len: bytes.len(), bytes: [0; N], _held };
        copy.bytes[..bytes.len()].copy_from_slice(bytes);
        Some(Bytes::from_owner(copy))
    }

    fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let bytes = bytes as i64;
        if self.left.fetch_sub(bytes, Ordering::Relaxed) < bytes {
            self.left.fetch_add(bytes, Ordering::Relaxed);
            return None;
        }
        Some(Held { budget: Arc::clone(self), bytes })
    }
}

/// A part of the budget, given back on drop.
struct Held {
    budget: Arc<CopyBudget>,
    bytes: i64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

struct Inline<const N: usize> {
    len: usize,
    bytes: [u8; N],
    _held: Held,
}

impl<const N: usize> AsRef<[u8]> for Inline<N> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

struct Copied {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_bounded_and_given_back() {
        let budget = CopyBudget::new(2 * SMALL as u64 + 3000);
        let a = budget.copy(b"one").expect("room");
        let b = budget.copy(&[7; SMALL]).expect("room");
        let c = budget.copy(&[9; 3000]).expect("room");
        assert_eq!((a.as_ref(), b.as_ref(), c.as_ref()), (&b"one"[..], &[7; SMALL][..], &[9; 3000][..]));
        assert!(budget.copy(b"").is_none(), "even an empty payload takes room");
        let clone = a.clone();
        drop(a);
        assert!(budget.copy(b"x").is_none(), "a clone still holds it");
        drop(clone);
        assert_eq!(budget.copy(b"x").expect("room again").as_ref(), b"x");
        drop((b, c));
        assert_eq!(budget.left.load(Ordering::Relaxed), 2 * SMALL as i64 + 3000);
    }
}
