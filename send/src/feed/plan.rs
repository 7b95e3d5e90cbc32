//! Which messages are in which packet of which leg, and what happens to it. Pure: no time, no bytes.

use super::build::Sizes;
use super::config::FeedConfig;
use super::losses::{Gaps, Losses};
use super::span::Span;
use crate::impair::{Fate, Fates};
use crate::random::{Purpose, Random};

/// One packet of one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) leg: usize,
    pub(super) stream: usize,
    /// Position of its first message in the stream, from 0.
    pub(super) position: u64,
    pub(super) count: u32,
    /// Bytes of all messages before.
    pub(super) offset: u64,
    pub(super) fate: Fate,
    /// Nothing of its stream follows.
    pub(super) is_last: bool,
}

/// Makes the packets of all legs, message by message.
#[derive(Debug)]
pub(super) struct Planner {
    streams: Vec<Stream>,
    legs: Vec<Leg>,
    /// The stream whose turn it is.
    turn: usize,
    /// Messages that are still to be made.
    left: u64,
    spans: Spans,
}

/// What packets have in common.
#[derive(Debug)]
struct Spans {
    /// Sequence numbers of a packet.
    messages: Span,
    sizes: Sizes,
    exclusive: bool,
}

#[derive(Debug)]
struct Stream {
    made: u64,
    quota: u64,
    losses: Losses,
}

#[derive(Debug)]
struct Leg {
    fates: Fates,
    packing: Random,
    /// Packets so far, whatever their fate.
    packets: u64,
    /// Of each stream: the packet that is being filled.
    open: Vec<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    position: u64,
    offset: u64,
    have: u32,
    want: u32,
    /// The packet's number in its stream.
    number: u64,
    was_lost: bool,
}

impl Planner {
    /// `messages` is how many sequence numbers a packet covers.
    pub(super) fn new(config: &FeedConfig, messages: Span, sizes: Sizes) -> Self {
        let streams = u64::from(config.streams);
        let total = config.total();
        let quota = |stream: u64| total.map_or(u64::MAX, |total| total / streams + u64::from(stream < total % streams));
        let legs = config.legs.iter().enumerate().map(|(number, leg)| {
            let lane = if config.repack { number as u64 } else { 0 };
            let packing = Random::new(config.seed, Purpose::Packing, lane);
            let open = |stream| Open {
                position: 0,
                offset: 0,
                have: 0,
                want: wanted(packing, messages, stream, 0),
                number: 0,
                was_lost: false,
            };
            Leg {
                fates: Fates::new(config.seed, number as u64, &leg.impairment),
                packing,
                packets: 0,
                open: (0..streams).map(open).collect(),
            }
        });
        let stream = |stream| Stream { made: 0, quota: quota(stream), losses: Losses::new(config.legs.len()) };
        Self {
            streams: (0..streams).map(stream).collect(),
            legs: legs.collect(),
            turn: 0,
            left: total.unwrap_or(u64::MAX),
            spans: Spans { messages, sizes, exclusive: config.exclusive_loss },
        }
    }

    /// Messages that are still to be made.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Makes up to this many messages, and hands out the packets that they complete.
    pub(super) fn advance(&mut self, messages: u64, mut packet: impl FnMut(Planned)) {
        for _ in 0..messages.min(self.left) {
            let at = self.turn;
            self.turn = (at + 1) % self.streams.len();
            self.left -= 1;
            let stream = &mut self.streams[at];
            stream.made += 1;
            let is_last = stream.made == stream.quota;
            for (number, leg) in self.legs.iter_mut().enumerate() {
                leg.open[at].have += 1;
                if is_last || leg.open[at].have == leg.open[at].want {
                    packet(close(stream, leg, number, at, is_last, &self.spans));
                }
            }
            let floor = self.legs.iter().map(|leg| leg.open[at].position).min().unwrap_or(0);
            stream.losses.settle(floor);
        }
    }

    /// Ends each stream that has begun with one more message, so that its last packet is known as such.
    pub(super) fn finish(&mut self, packet: impl FnMut(Planned)) {
        if self.streams.iter().any(|stream| stream.made == 0) {
            self.turn = 0;
        }
        // Streams begin and end in turn, so those that have a turn left are the next ones.
        self.left = 0;
        for stream in &mut self.streams {
            let goes_on = stream.made > 0 && stream.made < stream.quota;
            stream.quota = stream.made + u64::from(goes_on);
            self.left += u64::from(goes_on);
        }
        self.advance(self.left, packet);
    }

    /// Messages of a stream so far.
    pub(super) fn made(&self, stream: usize) -> u64 {
        self.streams[stream].made
    }

    /// The position that comes next on a leg, and whether the leg lost the packet before.
    pub(super) fn next(&self, leg: usize, stream: usize) -> (u64, bool) {
        let open = &self.legs[leg].open[stream];
        (open.position, open.was_lost)
    }

    /// What a leg lost of a stream.
    pub(super) fn lost_on(&self, leg: usize, stream: usize) -> &Gaps {
        self.streams[stream].losses.of_leg(leg)
    }

    /// What all legs lost of a stream.
    pub(super) fn lost(&self, stream: usize) -> &Gaps {
        self.streams[stream].losses.of_all()
    }
}

/// Ends the packet that a leg is filling, and begins the next one.
fn close(stream: &mut Stream, leg: &mut Leg, number: usize, at: usize, is_last: bool, spans: &Spans) -> Planned {
    let open = &mut leg.open[at];
    let range = (open.position, open.position + u64::from(open.have));
    // Only between two others a loss shows as a gap, and a late packet as late.
    let is_edge = is_last || open.position == 0;
    let fate = match leg.fates.of(leg.packets) {
        _ if is_edge => Fate::Sent,
        Fate::Lost if spans.exclusive && stream.losses.are_lost_elsewhere(number, range) => Fate::Sent,
        fate => fate,
    };
    if fate == Fate::Lost {
        stream.losses.lose(number, range);
    }
    leg.packets += 1;
    let planned = Planned {
        leg: number,
        stream: at,
        position: open.position,
        count: open.have,
        offset: open.offset,
        fate,
        is_last,
    };
    open.offset += spans.sizes.of_all(at as u32, range);
    (open.position, open.have, open.number, open.was_lost) = (range.1, 0, open.number + 1, fate == Fate::Lost);
    open.want = wanted(leg.packing, spans.messages, at as u64, open.number);
    planned
}

/// How many sequence numbers a packet is to have.
fn wanted(random: Random, messages: Span, stream: u64, number: u64) -> u32 {
    let more = u64::from(messages.most - messages.least) + 1;
    messages.least + random.below(stream << 40 ^ number, more) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Leg as LegConfig;
    use proptest::prelude::*;

    fn config(legs: usize, loss: &str) -> FeedConfig {
        let leg = |number| {
            let mut leg = LegConfig::new([232, 1, 1, number].into(), 5000);
            leg.impairment.loss = loss.parse().expect("a share");
            (leg.impairment.reorder, leg.impairment.duplicate) =
                ("1%".parse().expect("a share"), "1%".parse().expect("a share"));
            leg
        };
        FeedConfig::new("veth0", "moldudp64".parse().expect("a name"), (0..legs as u8).map(leg).collect())
    }

    fn planner(config: &FeedConfig) -> Planner {
        let packing = config.messages.unwrap_or(Span::one(1));
        let sizes = Sizes { random: Random::new(config.seed, Purpose::Size, 0), span: Span::new(1, 9), packing };
        Planner::new(config, packing, sizes)
    }

    proptest! {
        #[test]
        fn every_message_is_in_one_packet_of_each_leg(
            legs in 1usize..4, streams in 1u32..5, count in 1u64..600, most in 1u32..9, step in 1u64..100,
            stop_after in prop::option::of(0u64..500), repack: bool, exclusive: bool, seed: u64,
        ) {
            let mut config = config(legs, "20%");
            (config.streams, config.count, config.messages) = (streams, Some(count), Some(Span::new(1, most)));
            (config.repack, config.exclusive_loss, config.seed) = (repack, exclusive && legs > 1, seed);
            let mut planner = planner(&config);
            let mut packets = Vec::new();
            while planner.left() > 0 {
                let made: u64 = (0..streams as usize).map(|stream| planner.made(stream)).sum();
                if stop_after.is_some_and(|after| made >= after) {
                    planner.finish(|packet| packets.push(packet));
                } else {
                    planner.advance(step, |packet| packets.push(packet));
                }
            }
            let made: u64 = (0..streams as usize).map(|stream| planner.made(stream)).sum();
            prop_assert!(made == count || stop_after.is_some());
            for stream in 0..streams as usize {
                let mut kept_by_some = vec![false; planner.made(stream) as usize];
                for leg in 0..legs {
                    let of_leg: Vec<_> = packets.iter().filter(|p| (p.leg, p.stream) == (leg, stream)).collect();
                    let mut next = 0;
                    for packet in &of_leg {
                        prop_assert_eq!(packet.position, next);
                        prop_assert!((1..=most).contains(&packet.count));
                        next += u64::from(packet.count);
                        if packet.fate != Fate::Lost {
                            kept_by_some[packet.position as usize..next as usize].fill(true);
                        }
                    }
                    prop_assert_eq!(next, planner.made(stream));
                    for edge in [of_leg.first(), of_leg.last()].into_iter().flatten() {
                        prop_assert_eq!(edge.fate, Fate::Sent);
                    }
                    prop_assert_eq!(of_leg.iter().filter(|packet| packet.is_last).count(), usize::from(next > 0));
                    let lost: u64 =
                        of_leg.iter().filter(|p| p.fate == Fate::Lost).map(|packet| u64::from(packet.count)).sum();
                    prop_assert_eq!(planner.lost_on(leg, stream).missing, lost);
                }
                let missing = kept_by_some.iter().filter(|kept| !**kept).count() as u64;
                prop_assert_eq!(planner.lost(stream).missing, missing);
                prop_assert!(!config.exclusive_loss || missing == 0);
            }
        }
    }

    #[test]
    fn a_seed_decides_what_is_lost() {
        let lost = |seed, step| {
            let mut config = config(2, "1%");
            (config.count, config.seed) = (Some(100_000), seed);
            let mut planner = planner(&config);
            while planner.left() > 0 {
                planner.advance(step, |_| {});
            }
            (planner.lost_on(0, 0).clone(), planner.lost_on(1, 0).clone(), planner.lost(0).clone())
        };
        let (a, b, both) = lost(7, 1);
        assert_eq!((a.missing, b.missing, both.missing), (1_026, 1_012, 7));
        assert_eq!(lost(7, 64), (a, b, both), "it does not matter how fast the packets are made");
        assert_ne!(lost(8, 64), lost(7, 64));
    }
}
