//! What the sequence numbers of a capture come to, counted without any care for speed or memory: by this the analysis
//! is compared with what other programs read in the same packets.

use std::collections::BTreeSet;

/// Counts of one stream, by the names that `receiver analyze --json` gives them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub packets: u64,
    pub messages: u64,
    pub heartbeats: u64,
    pub first_sequence: u64,
    pub next_sequence: u64,
    pub gaps: u64,
    pub missing: u64,
    pub duplicates: u64,
    pub reordered: u64,
}

/// Counts packets of (first sequence number, how many). A packet without messages states what comes next; it is a
/// heartbeat unless it ends the session.
pub fn count(packets: &[(u64, u64)], ends: u64) -> Counts {
    let first_sequence = packets[0].0;
    let mut counts = Counts { packets: packets.len() as u64, first_sequence, ..Counts::default() };
    let (mut seen, mut next, mut newest) = (BTreeSet::new(), first_sequence, first_sequence);
    for &(first, count) in packets {
        next = next.max(first + count);
        counts.messages += count;
        if count == 0 {
            counts.heartbeats += 1;
            newest = newest.max(first);
            continue;
        }
        let new = (first..first + count).filter(|sequence| seen.insert(*sequence)).count();
        counts.duplicates += u64::from(new == 0);
        counts.reordered += u64::from(new > 0 && first < newest);
        newest = newest.max(first + count);
    }
    counts.heartbeats -= ends;
    counts.next_sequence = next;
    counts.missing = next - first_sequence - seen.len() as u64;
    let begins =
        |sequence: &u64| !seen.contains(sequence) && (*sequence == first_sequence || seen.contains(&(sequence - 1)));
    counts.gaps = (first_sequence..next).filter(begins).count() as u64;
    counts
}

/// The same of 16-bit numbers of single packets, which wrap.
pub fn count_rtp(sequences: &[u64]) -> Counts {
    let mut last = sequences[0];
    let extended = sequences.iter().map(|sequence| {
        last = last.wrapping_add_signed(i64::from((*sequence as u16).wrapping_sub(last as u16) as i16));
        (last, 1)
    });
    let mut counts = count(&extended.collect::<Vec<_>>(), 0);
    counts.messages = 0;
    counts
}
