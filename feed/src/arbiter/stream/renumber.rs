//! From one numbering to the next: what may come is held until nobody goes on with the current one.

use super::super::cursor::LegCursor;
use super::super::epoch::{Origin, Upcoming};
use super::super::event::{Delivery, Event, Gap, Hold, LegId, LegLoss};
use super::super::held::{Held, HeldDatagram};
use super::super::leg::Leg;
use super::super::shared::Shared;
use super::Stream;
use crate::protocol::{Kind, Packet};

impl<H: AsRef<[u8]> + Clone> Stream<'_, H> {
    /// The leg follows the current numbering, if it did not before.
    pub(super) fn enter_current<L>(&mut self, leg: LegId, first: u64, sink: &mut impl FnMut(Delivery<L, H>)) {
        let (cursor, rest) = (&mut self.legs[leg.index()], &mut self.rest.legs[leg.index()]);
        if cursor.epoch != Some(self.cursor.epoch) {
            rest.enter(cursor, self.cursor.epoch, first);
        }
        if rest.upcoming.take().is_some()
            && self.rest.upcoming.as_mut().is_some_and(|upcoming| upcoming.leave(leg))
            && self.rest.upcoming.as_ref().is_some_and(|upcoming| upcoming.origin != Origin::Stated)
        {
            self.rest.upcoming = None;
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
        let Some(upcoming) = &mut self.rest.upcoming else { return };
        let position = &mut self.rest.legs[leg.index()];
        let end = first.saturating_add(packet.count.into());
        upcoming.observe(leg, position.upcoming, first, end);
        let sent_ns = packet.sent_ns.unwrap_or(0);
        // A first sequence number, sent later than all before it.
        if packet.kind == Kind::Reset {
            upcoming.origin = Origin::Stated;
        } else if first <= 1 && sent_ns > self.cursor.newest_sent_ns {
            upcoming.confirm();
        }
        upcoming.first_sent_ns = upcoming.first_sent_ns.min(sent_ns);
        upcoming.sent_ns = upcoming.sent_ns.max(sent_ns);
        let skipped = position.upcoming.map_or(0, |next| first.saturating_sub(next));
        position.upcoming = Some(position.upcoming.unwrap_or(end).max(end));
        if packet.count == 0 {
            if packet.kind == Kind::Heartbeat {
                self.rest.statistics.heartbeats += 1;
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
            self.rest.statistics.duplicates += 1;
        } else if upcoming.held.len() >= shared.config.held {
            position.statistics.dropped += 1;
        } else {
            position.statistics.first_arrivals += new;
            let datagram = datagram.hold();
            let held = HeldDatagram { first, end, skip: 0, leg, arrived_ns: now_ns, noticed_ns: now_ns, datagram };
            upcoming.held.insert(held);
            self.rest.statistics.held_peak = self.rest.statistics.held_peak.max(upcoming.held.len() as u64);
        }
    }

    pub(super) fn abandon(&mut self, upcoming: Upcoming<H>) {
        drop(upcoming);
        for leg in &mut self.rest.legs {
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
        let Some(upcoming) = &self.rest.upcoming else { return };
        let config = shared.config;
        let waited = now_ns.saturating_sub(upcoming.since_ns);
        if !upcoming.confirmed() {
            if waited > config.leg_timeout_ns
                && let Some(upcoming) = self.rest.upcoming.take()
            {
                self.abandon(upcoming);
            }
            return;
        }
        let over = waited > config.window_ns;
        // A leg that has not come over from the numbering before may have what the others lost of the current one.
        let late = !over && now_ns.saturating_sub(self.rest.epoch_since_ns) <= config.window_ns;
        let stays = |(cursor, leg): (&LegCursor, &Leg)| {
            let follows = cursor.epoch == Some(self.cursor.epoch) || (late && cursor.epoch.is_some());
            cursor.lost.is_none() && follows && leg.upcoming.is_none()
        };
        if !self.legs.iter().zip(&self.rest.legs).any(stays) || (over && upcoming.origin == Origin::Stated) {
            self.begin_epoch(shared, now_ns, sink);
        } else if over && !upcoming.astray {
            for index in 0..self.legs.len() {
                if self.rest.legs[index].upcoming.is_some() && self.legs[index].lost.is_none() {
                    self.lose(LegId::new(index as u8), LegLoss::Astray, sink);
                }
            }
            if let Some(upcoming) = &mut self.rest.upcoming {
                upcoming.astray = true;
                upcoming.held = Held::default();
            }
        }
    }

    pub(super) fn begin_epoch<L: Hold<Held = H>>(
        &mut self,
        shared: &mut Shared<'_>,
        now_ns: u64,
        sink: &mut impl FnMut(Delivery<L, H>),
    ) {
        let Some(upcoming) = self.rest.upcoming.take() else { return };
        let config = shared.config;
        // Whoever could fill the gaps of the current numbering has left it.
        loop {
            self.deliver_held(sink);
            self.look_at_tail(now_ns);
            let Some(gap) = self.front_gap(true) else { break };
            self.declare(config, gap, sink);
        }
        let jump = upcoming.origin == Origin::Ahead && upcoming.first > self.cursor.next;
        if jump {
            self.cursor.horizon = upcoming.horizon;
            let gap = Gap::new(self.cursor.next, upcoming.first, upcoming.since_ns);
            self.declare(config, gap, sink);
        } else {
            while !self.rest.missing.is_empty() {
                self.lose_gap(sink);
            }
            self.cursor.epoch = self.cursor.epoch.saturating_add(1);
            (self.cursor.next, self.cursor.horizon, *self.swept_next) =
                (upcoming.first, upcoming.horizon, upcoming.first);
            (self.rest.ended, self.rest.end_reported) = (None, false);
            (self.rest.epoch_since_ns, self.rest.reset_sent_ns) = (upcoming.since_ns, upcoming.first_sent_ns);
            self.rest.statistics.resets += 1;
            self.rest.statistics.first_sequence = upcoming.first;
            self.rest.media.clear();
            self.emit(sink, Event::Reset { next: upcoming.first });
        }
        self.cursor.newest_sent_ns = upcoming.sent_ns;
        for index in 0..self.legs.len() {
            let (cursor, leg) = (&mut self.legs[index], &mut self.rest.legs[index]);
            let Some(next) = leg.upcoming.take() else { continue };
            if jump && cursor.epoch == Some(self.cursor.epoch) {
                leg.skip_to(cursor, upcoming.first, now_ns);
                cursor.next = cursor.next.max(next);
            } else {
                leg.enter(cursor, self.cursor.epoch, next);
            }
            cursor.sent_ns = upcoming.sent_ns;
            if cursor.lost.is_some() {
                self.regain(LegId::new(index as u8), sink);
            }
        }
        self.rest.held = upcoming.held;
        self.settle(shared, now_ns, sink);
    }
}
