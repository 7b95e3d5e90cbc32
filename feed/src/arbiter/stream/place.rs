//! Which numbering a datagram belongs to: the current one, one that may come, or none.

use super::super::config::Config;
use super::super::epoch::Origin;
use super::super::event::LegId;
use super::super::shared::{Belongs, Shared};
use super::Stream;
use crate::protocol::{Kind, Packet};

/// How far behind its leg's position a datagram is still a plain duplicate (RFC 3550, appendix A.1: MAX_MISORDER).
const MISORDER: u64 = 100;
/// How far apart legs may be whose packets are aligned by their RTP timestamps.
const MEDIA_JUMP: u64 = 1 << 18;

impl<H: AsRef<[u8]> + Clone> Stream<'_, H> {
    /// Decides which numbering a datagram belongs to.
    pub(super) fn belongs(&self, shared: &Shared<'_>, leg: LegId, packet: &Packet, now_ns: u64) -> Belongs {
        let (config, width, wire) = (shared.config, shared.width, packet.first);
        let (position, rest) = (&self.legs[leg.index()], &self.rest.legs[leg.index()]);
        let current = position.epoch == Some(self.cursor.epoch);
        let data = packet.count > 0 && matches!(packet.kind, Kind::Data | Kind::Reset);
        if let Some(sent_ns) = packet.sent_ns {
            let old = sent_ns.saturating_add(config.old_ns) < self.cursor.newest_sent_ns;
            if (old && self.another_is_live(config, leg, now_ns)) || (!current && sent_ns < self.rest.reset_sent_ns) {
                return Belongs::Nowhere;
            }
        }
        let sent_after = |other_ns: u64| packet.sent_ns.is_none_or(|sent_ns| sent_ns > other_ns);
        // The numbering that may come: the leg goes on there, or it begins there.
        let upcoming = self.rest.upcoming.as_ref().and_then(|upcoming| {
            let reference = rest.upcoming.unwrap_or(upcoming.horizon);
            let first = width.extend(wire, reference)?;
            let low = reference.min(upcoming.first).saturating_sub(MISORDER);
            let fits = first >= low && first <= reference.saturating_add(config.max_jump);
            fits.then_some(first)
        });
        if packet.kind == Kind::Reset {
            let reference = if current { position.next } else { self.cursor.next };
            let recent = now_ns.saturating_sub(self.rest.epoch_since_ns) <= config.leg_timeout_ns;
            // The leg states another reset: the numbering that may come is over.
            let again = self.rest.upcoming.as_ref().zip(rest.upcoming).is_some_and(|(upcoming, next)| {
                packet.sent_ns.is_some_and(|sent_ns| sent_ns > upcoming.sent_ns) && wire < next
            });
            return match (upcoming, width.extend(wire, reference)) {
                (Some(_), _) if again => Belongs::New(Origin::Stated, wire),
                (Some(first), _) => Belongs::Upcoming(first),
                // The flag stays on the first few datagrams of a numbering.
                (None, Some(first)) if first >= reference && first <= reference.saturating_add(config.max_jump) => {
                    Belongs::Current(first)
                }
                // A copy of what began the current numbering.
                (None, Some(first))
                    if !sent_after(if current { position.sent_ns } else { self.cursor.newest_sent_ns }) =>
                {
                    Belongs::Current(first)
                }
                // Another leg's copy, which may be packed otherwise and so be sent later.
                (None, Some(first)) if !current && first == self.rest.statistics.first_sequence && recent => {
                    Belongs::Current(first)
                }
                _ => Belongs::New(Origin::Stated, wire),
            };
        }
        let stated = self.rest.upcoming.as_ref().filter(|upcoming| upcoming.origin == Origin::Stated);
        if let (Some(_), Some(first)) = (rest.upcoming, upcoming) {
            // What was sent before, sent anew after all else: another reset, whose statement the leg has lost.
            let again = stated.zip(packet.sent_ns).is_some_and(|(stated, sent_ns)| {
                let count = u64::from(packet.count);
                sent_ns > stated.sent_ns && stated.held.overlap(first, first.saturating_add(count)) == count
            });
            let restarted = again && data && shared.restarts;
            return if restarted { Belongs::New(Origin::Back, wire) } else { Belongs::Upcoming(first) };
        }
        // Whatever was sent after the reset is of the next numbering.
        if let (Some(stated), Some(first), Some(sent_ns)) = (stated, upcoming, packet.sent_ns)
            && sent_ns >= stated.first_sent_ns
        {
            return Belongs::Upcoming(first);
        }
        if current {
            let Some(first) = width.extend(wire, position.next) else {
                return self.out_of_place(upcoming, data, wire, shared);
            };
            if first == position.next {
                return Belongs::Current(first);
            }
            let end = first.saturating_add(packet.count.into());
            let ahead = first > position.next.max(self.cursor.horizon).saturating_add(config.max_jump);
            let again = first < position.next && rest.has_sent(position, first, end);
            let newer = packet.sent_ns.is_some() && position.sent_ns > 0 && sent_after(position.sent_ns);
            let far = position.next.saturating_sub(first) > MISORDER;
            let restarted = again && data && shared.restarts && (newer || (packet.sent_ns.is_none() && far));
            return match (ahead, restarted) {
                (false, false) => Belongs::Current(first),
                (true, _) if upcoming.is_none() && data && self.rest.upcoming.is_none() => {
                    Belongs::New(Origin::Ahead, first)
                }
                _ => self.out_of_place(upcoming, data, wire, shared),
            };
        }
        if position.epoch.is_none() {
            let by_time = packet.media_time.and_then(|time| self.rest.media.resolve(wire, time));
            let jump = if by_time.is_some() { MEDIA_JUMP.max(config.max_jump) } else { config.max_jump };
            let Some(first) = by_time.or_else(|| width.extend(wire, self.cursor.next)) else { return Belongs::Nowhere };
            return match upcoming {
                _ if first <= self.cursor.horizon.saturating_add(jump) => Belongs::Current(first),
                Some(first) => Belongs::Upcoming(first),
                None if data && self.rest.upcoming.is_none() => Belongs::New(Origin::Ahead, first),
                None => Belongs::Nowhere,
            };
        }
        // The leg was in the numbering before: it goes on there, or it comes over.
        let Some(first) = width.extend(wire, self.cursor.next) else { return Belongs::Nowhere };
        let before = width.extend(wire, position.next).map_or(u64::MAX, |first| first.abs_diff(position.next));
        let stays = packet.sent_ns.is_none() && before <= MISORDER && before <= first.abs_diff(self.cursor.next);
        if stays { Belongs::Nowhere } else { Belongs::Current(first) }
    }

    fn out_of_place(&self, upcoming: Option<u64>, data: bool, wire: u64, shared: &Shared<'_>) -> Belongs {
        match (upcoming, &self.rest.upcoming) {
            (Some(first), _) => Belongs::Upcoming(first),
            (None, Some(other)) if other.confirmed() => Belongs::Nowhere,
            _ if data && shared.restarts => Belongs::New(Origin::Back, wire),
            _ => Belongs::Nowhere,
        }
    }

    fn another_is_live(&self, config: &Config, leg: LegId, now_ns: u64) -> bool {
        self.legs.iter().enumerate().any(|(index, other)| {
            index != leg.index()
                && other.epoch == Some(self.cursor.epoch)
                && other.lost.is_none()
                && now_ns.saturating_sub(other.last_ns) <= config.leg_timeout_ns
                && other.sent_ns.saturating_add(config.old_ns) >= self.cursor.newest_sent_ns
        })
    }
}
