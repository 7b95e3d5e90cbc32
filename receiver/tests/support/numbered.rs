//! Payloads that prove themselves: length and bytes follow from the sender and the number.

use std::sync::LazyLock;

/// Bytes of sender and number.
const HEAD: usize = 12;
/// The shortest payload, which makes an IPv4 frame of 60 bytes.
const SHORTEST: usize = 18;
const LONGEST: usize = 1400;
/// Random bytes, of which each payload is a part.
static POOL: LazyLock<Vec<u8>> = LazyLock::new(|| (0..1 << 13).flat_map(|at| mixed(at).to_ne_bytes()).collect());

/// A number without a pattern (the last steps of splitmix64).
pub fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The bytes after the head.
fn rest(sender: u32, number: u64) -> &'static [u8] {
    let bits = mixed(number ^ u64::from(sender) << 40);
    let length = SHORTEST - HEAD + bits as usize % (LONGEST - SHORTEST + 1);
    let at = (bits >> 32) as usize % (POOL.len() - LONGEST);
    &POOL[at..at + length]
}

/// The payload of a sender's packet.
pub fn payload(sender: u32, number: u64) -> Vec<u8> {
    [&sender.to_be_bytes()[..], &number.to_be_bytes(), rest(sender, number)].concat()
}

/// The sender and the number, if all bytes are right.
fn parse(payload: &[u8]) -> Option<(u32, u64)> {
    let (sender, after) = payload.split_first_chunk()?;
    let (number, after) = after.split_first_chunk()?;
    let (sender, number) = (u32::from_be_bytes(*sender), u64::from_be_bytes(*number));
    (after == rest(sender, number)).then_some((sender, number))
}

/// What came of each sender, in the order of the ring.
pub struct Tally<const SENDERS: usize> {
    /// The latest number and how often it came, by sender.
    latest: [Option<(u64, u64)>; SENDERS],
    last: usize,
    pub taken: [u64; SENDERS],
    /// How often a packet was another sender's than the one before it.
    pub changes: u64,
}

impl<const SENDERS: usize> Default for Tally<SENDERS> {
    fn default() -> Self {
        Self { latest: [None; SENDERS], last: 0, taken: [0; SENDERS], changes: 0 }
    }
}

impl<const SENDERS: usize> Tally<SENDERS> {
    /// Takes a packet, of which the sender sent this number of copies. A sender's packets keep their order. Returns the
    /// sender.
    pub fn take(&mut self, payload: &[u8], copies: impl Fn(u32, u64) -> u64) -> u32 {
        let Some((sender, number)) = parse(payload) else {
            let head = &payload[..payload.len().min(HEAD)];
            panic!("a torn packet of {} bytes, after {:?}: {head:x?}", payload.len(), self.taken)
        };
        let at = sender as usize;
        let times = match self.latest[at] {
            Some((before, times)) if before == number => times + 1,
            before => {
                assert!(
                    before.is_none_or(|(before, _)| before < number),
                    "{number} of sender {sender} after {before:?}"
                );
                1
            }
        };
        assert!(times <= copies(sender, number), "{number} of sender {sender} came {times} times");
        self.latest[at] = Some((number, times));
        self.taken[at] += 1;
        self.changes += u64::from(at != self.last);
        self.last = at;
        sender
    }

    pub fn total(&self) -> u64 {
        self.taken.iter().sum()
    }
}
