//! Loss attribution: where each missing sequence number was lost.
//!
//! [`Attribution`] compares losses with the host's drop counters. Both are cumulative counts. The caller reads them
//! together from time to time, and what moved between two readings is compared.
//!
//! # Rules
//!
//! 1. **A counter explains at most what it counted.** Drops count datagrams, losses count sequence numbers. A datagram
//!    holds `messages / datagrams` sequence numbers on average, and at most `largest_datagram`.
//! 2. **No drop, no local loss.** Sequence numbers beyond what all drops together can hold were lost in the network, or
//!    were never sent.
//! 3. **A drop that a loss can explain is that loss.** Drops and losses between the same readings belong together. A
//!    drop may be counted before its loss is noticed, so drops that nothing has claimed wait for a while
//!    ([`Patience::drop_ns`]). The reverse does not happen: read the losses first, then the counters.
//! 4. **No guess.** The counters are shared by all legs of all feeds. A leg's losses get a cause only as far as every
//!    distribution of the drops over the legs and causes agrees. The rest is [`LossCause::Unknown`].
//! 5. **Drops that may be somebody else's** are given as [`Drops::possible`]: they keep losses from being assigned to
//!    the network, and assign them to nothing else.
//! 6. **A sequence number that a feed misses was lost on every leg.** If this host dropped at least one copy, it was
//!    lost there: that loss was avoidable. If it dropped copies in several places, the one nearest to the application
//!    counts. If no leg's copy reached this host, it was lost in the network.
//! 7. **A loss that comes late after all** is taken back, from the network first: it was on its way there.
//!
//! So the counts by cause always add up to the missing sequence numbers, and none of them except `Unknown` is larger
//! than the truth, as far as drops are noticed by the reading after.
//!
//! ```
//! use receiver_feed::attribution::{Attribution, Drops, FeedLosses, LegLosses, LossCause, Patience};
//!
//! let mut attribution = Attribution::new(Patience::default());
//! // A feed with one leg: of 1,000 datagrams with a sequence number each, 10 are missing; the ring dropped 7.
//! let leg = LegLosses { missing: 10, messages: 990, datagrams: 990 };
//! let losses = FeedLosses { missing: 10, largest_datagram: 1, legs: vec![leg] };
//! attribution.observe(0, &Drops::default().with(LossCause::Ring, 7, 0), &[losses]);
//! let by = attribution.feed(0);
//! assert_eq!((by.count(LossCause::Ring), by.count(LossCause::Network), by.total()), (7, 3, 10));
//! ```

mod bounds;
mod cause;
mod drops;
mod engine;
mod recent;

pub use cause::{LossCause, Losses};
pub use drops::Drops;
pub use engine::{Attribution, FeedLosses, LegLosses, Patience};
