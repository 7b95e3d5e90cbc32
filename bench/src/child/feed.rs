//! The consumer of a feed with two legs: each datagram passes through an arbiter, which holds leases.
//!
//! The two legs are two flows of the generator, which numbers both alike. Each leg loses one datagram in a thousand:
//! the consumer leaves it out, so that the receiver and the plain row handle the same frames.

use receiver::{Datagram, OwnedDatagram, Wait, Worker};
use receiver_feed::Bytes;
use receiver_feed::arbiter::{Arbiter, Config, Delivery, Event, Hold, LegId};
use receiver_feed::protocol::{Packet, ParseError, Probe, Protocol, SequenceWidth, StreamKey};
use receiver_send::probe::now_ns;

use super::Arguments;
use super::observer::Shared;

/// The generator's flows have stream ids of their own: here they are one stream.
#[derive(Clone, Copy, Debug)]
struct OneStream;

impl Protocol for OneStream {
    #[inline]
    fn parse(&self, datagram: &[u8]) -> Result<Packet, ParseError> {
        let mut packet = Probe.parse(datagram)?;
        packet.stream = StreamKey::default();
        Ok(packet)
    }

    fn name(&self) -> &'static str {
        Probe.name()
    }

    fn width(&self) -> SequenceWidth {
        Probe.width()
    }

    fn sessions_succeed(&self) -> bool {
        Probe.sessions_succeed()
    }

    fn stream_name(&self, stream: StreamKey) -> String {
        Probe.stream_name(stream)
    }
}

/// A lent datagram, which is held as a lease.
struct Lent<'a>(Datagram<'a>);

impl AsRef<[u8]> for Lent<'_> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}

impl Hold for Lent<'_> {
    type Held = Bytes;

    fn hold(self) -> Bytes {
        // A datagram beyond the limit of copies is lost, and counted by the receiver.
        self.0.into_owned().map(|OwnedDatagram { payload, .. }| payload).unwrap_or_default()
    }
}

/// Returns true for one sequence number in a thousand, without a pattern that a branch predictor learns.
pub fn is_lost(sequence: u64, leg: u64) -> bool {
    (sequence ^ leg << 60).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 < (1 << 32) / 1000
}

/// Consumes until the receiver ends.
pub fn consume(mut worker: Worker, arguments: &Arguments, shared: &Shared) {
    let leader = arguments.source();
    let mut arbiter: Arbiter<OneStream, Bytes> = Arbiter::new(OneStream, Config::new(2));
    let (mut messages, mut missing) = (0, 0);
    loop {
        let polled = worker.poll(Wait::Never, |datagram| {
            let leg = u8::from(datagram.source().ip() != leader);
            let sequence = datagram.payload().get(6..).and_then(|bytes| bytes.first_chunk());
            if sequence.is_some_and(|bytes| is_lost(u64::from_be_bytes(*bytes), leg.into())) {
                return;
            }
            let now = datagram.time().nanoseconds;
            // The receiver counts what is no probe; there is none here.
            let _ = arbiter.push(LegId::new(leg), now, Lent(datagram), |delivery| {
                observe(&delivery, &mut messages, &mut missing);
            });
        });
        let Ok(packets) = polled else { return };
        if packets == 0 && arbiter.next_deadline().is_some() {
            arbiter.poll(now_ns(), |delivery: Delivery<Lent<'_>, Bytes>| {
                observe(&delivery, &mut messages, &mut missing);
            });
        }
        shared.add(packets as u64);
        shared.set_sequenced(messages, missing);
    }
}

#[inline]
fn observe<L: AsRef<[u8]>>(delivery: &Delivery<L, Bytes>, messages: &mut u64, missing: &mut u64) {
    match &delivery.event {
        Event::Data(data) | Event::Recovered(data) => {
            std::hint::black_box(data.datagram.as_ref().len());
            *messages += u64::from(data.count);
            if matches!(delivery.event, Event::Recovered(_)) {
                *missing -= u64::from(data.count);
            }
        }
        Event::Gap(gap) => *missing += gap.to - gap.from,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_leg_loses_one_in_a_thousand_of_its_own() {
        let lost = |leg| (0..1_000_000).filter(|sequence| is_lost(*sequence, leg)).count();
        assert!((900..1_100).contains(&lost(0)) && (900..1_100).contains(&lost(1)));
        let both = (0..1_000_000).filter(|sequence| is_lost(*sequence, 0) && is_lost(*sequence, 1)).count();
        assert!(both < 20, "{both}");
    }
}
