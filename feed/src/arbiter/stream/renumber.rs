//! From one numbering to the next: what may come is held until nobody goes on with the current one.

use super::super::epoch::{Origin, Upcoming};
use super::super::event::{Delivery, Event, Gap, Hold, LegId, LegLoss};
use super::super::held::{Held, HeldDatagram};
use super::super::lag::Arrivals;
use super::super::leg::Leg;
use super::super::shared::Shared;
use super::Stream;
use crate::protocol::{Kind, Packet};

impl<H: AsRef<[u8]> + Clone> Stream<H> {
    /// The leg follows the current numbering, if it did not before.
    pub(super) fn enter_current<L>(&mut self, leg: LegId, first: u64, sink: &mut impl FnMut(Delivery<L, H>)) {
        let position = &mut self.legs[leg.index()];
        if position.epoch != Some(self.epoch) {
            position.enter(self.epoch, first);
        }
        if position.upcoming.take().is_some()
            && self.upcoming.as_mut().is_some_and(|upcoming| upcoming.leave(leg))
            && self.upcoming.as_ref().is_some_and(|upcoming| upcoming.origin != Origin::Stated)
        {
            self.upcoming = None;
        }
        if self.legs[leg.index()].lost == Some(LegLoss::Astray) {
            self.regain(leg, sink);
        }
    }

    /// Holds a datagram of the numbering that may come.
    #[expect(clippy::too_many_arguments, reason = "one call, whose arguments have nothing in common")]
    pub(super) fn join<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        leg: LegId,
        first: u64,
        now_ns: u64,
        packet: &Packet,
        datagram: L,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        let Some(upcoming) = &mut self.upcoming else { return };
        let position = &mut self.legs[leg.index()];
        let end = first.saturating_add(packet.count.into());
        upcoming.observe(leg, position.upcoming, first, end);
        let sent_ns = packet.sent_ns.unwrap_or(0);
        // A first sequence number, sent later than all before it.
        if packet.kind == Kind::Reset {
            upcoming.origin = Origin::Stated;
        } else if first <= 1 && sent_ns > self.newest_sent_ns {
            upcoming.confirm();
        }
        upcoming.first_sent_ns = upcoming.first_sent_ns.min(sent_ns);
        upcoming.sent_ns = upcoming.sent_ns.max(sent_ns);
        let skipped = position.upcoming.map_or(0, |next| first.saturating_sub(next));
        position.upcoming = Some(position.upcoming.unwrap_or(end).max(end));
        if packet.count == 0 {
            if packet.kind == Kind::Heartbeat {
                self.statistics.heartbeats += 1;
                self.emit(sink, Event::Heartbeat { leg, next: first });
            }
            return;
        }
        position.statistics.datagrams += 1;
        position.statistics.missing += skipped;
        if upcoming.astray {
            upcoming.held = Held::default();
            (upcoming.first, upcoming.horizon) = (first, end);
        }
        let new = end - first - upcoming.held.overlap(first, end);
        position.statistics.duplicates += end - first - new;
        if new == 0 {
            self.statistics.duplicates += 1;
        } else if upcoming.held.len() >= shared.config.held {
            position.statistics.dropped += 1;
        } else {
            position.statistics.first_arrivals += new;
            let datagram = datagram.hold();
            let held = HeldDatagram { first, end, skip: 0, leg, arrived_ns: now_ns, noticed_ns: now_ns, datagram };
            upcoming.held.insert(held);
            self.statistics.held_peak = self.statistics.held_peak.max(upcoming.held.len() as u64);
        }
    }

    pub(super) fn abandon(&mut self, upcoming: Upcoming<H>) {
        drop(upcoming);
        for leg in &mut self.legs {
            leg.upcoming = None;
        }
    }

    /// Follows the numbering that may come once nobody goes on with the current one.
    pub(super) fn advance_epoch<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        now_ns: u64,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        let Some(upcoming) = &self.upcoming else { return };
        let config = shared.config;
        let waited = now_ns.saturating_sub(upcoming.since_ns);
        if !upcoming.confirmed() {
            if waited > config.leg_timeout_ns
                && let Some(upcoming) = self.upcoming.take()
            {
                self.abandon(upcoming);
            }
            return;
        }
        let stays = |leg: &Leg| leg.lost.is_none() && leg.epoch == Some(self.epoch) && leg.upcoming.is_none();
        let over = waited > config.window_ns;
        if !self.legs.iter().any(stays) || (over && upcoming.origin == Origin::Stated) {
            self.begin_epoch(shared, now_ns, sink);
        } else if over && !upcoming.astray {
            for index in 0..self.legs.len() {
                if self.legs[index].upcoming.is_some() && self.legs[index].lost.is_none() {
                    self.lose(LegId::new(index as u8), LegLoss::Astray, sink);
                }
            }
            if let Some(upcoming) = &mut self.upcoming {
                upcoming.astray = true;
                upcoming.held = Held::default();
            }
        }
    }

    fn begin_epoch<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        now_ns: u64,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        let Some(upcoming) = self.upcoming.take() else { return };
        let config = shared.config;
        // Whoever could fill the gaps of the current numbering has left it.
        self.deliver_held(sink);
        while self.next < self.horizon {
            let gap = self.front_gap(now_ns);
            self.declare(config, gap, sink);
            self.deliver_held(sink);
        }
        self.tail_since_ns = None;
        let jump = upcoming.origin == Origin::Ahead && upcoming.first > self.next;
        if jump {
            self.horizon = upcoming.horizon;
            let gap = Gap::new(self.next, upcoming.first, upcoming.since_ns);
            self.declare(config, gap, sink);
        } else {
            while !self.missing.is_empty() {
                self.lose_gap(sink);
            }
            self.epoch += 1;
            (self.next, self.horizon, self.swept_next) = (upcoming.first, upcoming.horizon, upcoming.first);
            (self.ended, self.end_reported) = (None, false);
            (self.epoch_since_ns, self.reset_sent_ns) = (upcoming.since_ns, upcoming.first_sent_ns);
            self.statistics.resets += 1;
            self.statistics.first_sequence = upcoming.first;
            self.media.clear();
            self.arrivals = self.arrivals.take().map(|_| Arrivals::default());
            self.emit(sink, Event::Reset { next: upcoming.first });
        }
        self.newest_sent_ns = upcoming.sent_ns;
        for index in 0..self.legs.len() {
            let leg = &mut self.legs[index];
            let Some(next) = leg.upcoming.take() else { continue };
            if jump && leg.epoch == Some(self.epoch) {
                leg.skip_to(upcoming.first, now_ns);
                leg.next = leg.next.max(next);
            } else {
                leg.enter(self.epoch, next);
            }
            leg.sent_ns = upcoming.sent_ns;
            if leg.lost.is_some() {
                self.regain(LegId::new(index as u8), sink);
            }
        }
        self.held = upcoming.held;
        self.settle(shared, now_ns, sink);
    }
}
