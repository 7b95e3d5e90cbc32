//! The causes of losses, and counts by cause.

/// Where a sequence number was lost, in the order of its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LossCause {
    /// Before this host: the sender, or the network of the leg.
    Network,
    /// The network interface, or the kernel before XDP and the sockets.
    Nic,
    /// Between the XDP program and the receiver: a ring was full, or frames ran out.
    Ring,
    /// A socket's receive buffer was full.
    Socket,
    /// The application: it kept too much, or was too slow to take it.
    Consumer,
    /// The counters do not decide.
    Unknown,
}

impl LossCause {
    /// Number of causes.
    pub const COUNT: usize = Self::ALL.len();
    /// All, in their order.
    pub const ALL: [Self; 6] = [Self::Network, Self::Nic, Self::Ring, Self::Socket, Self::Consumer, Self::Unknown];
    /// Those that this host counts, in the order of the way.
    pub const LOCAL: [Self; 4] = [Self::Nic, Self::Ring, Self::Socket, Self::Consumer];

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Nic => "nic",
            Self::Ring => "ring",
            Self::Socket => "socket",
            Self::Consumer => "consumer",
            Self::Unknown => "unknown",
        }
    }
}

/// Sequence numbers by the cause of their loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses([u64; LossCause::COUNT]);

impl Losses {
    /// How many were lost there.
    #[must_use]
    pub const fn count(&self, cause: LossCause) -> u64 {
        self.0[cause as usize]
    }

    /// All causes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each cause, and how many were lost there.
    pub fn iter(&self) -> impl Iterator<Item = (LossCause, u64)> {
        LossCause::ALL.into_iter().zip(self.0)
    }

    /// The same with another total: what is new has no cause yet, and what came late after all is taken back.
    #[must_use]
    pub fn fitted(mut self, total: u64) -> Self {
        match total.checked_sub(self.total()) {
            Some(new) => self.add(LossCause::Unknown, new),
            None => {
                self.take_back(self.total() - total);
            }
        }
        self
    }

    pub(super) fn add(&mut self, cause: LossCause, count: u64) {
        self.0[cause as usize] += count;
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    /// Removes up to `count` losses that came late after all, from the network first.
    pub(super) fn take_back(&mut self, mut count: u64) {
        use LossCause::{Consumer, Network, Nic, Ring, Socket, Unknown};
        for cause in [Network, Unknown, Nic, Ring, Socket, Consumer] {
            let part = count.min(self.count(cause));
            self.0[cause as usize] -= part;
            count -= part;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_each() {
        let names = LossCause::ALL.map(LossCause::name);
        assert_eq!(names, ["network", "nic", "ring", "socket", "consumer", "unknown"]);
        assert!(LossCause::LOCAL.iter().all(|cause| LossCause::ALL[*cause as usize] == *cause));
    }

    #[test]
    fn fits_any_total() {
        let mut losses = Losses::default();
        losses.add(LossCause::Network, 3);
        losses.add(LossCause::Ring, 5);
        let counts = |total| LossCause::ALL.map(|cause| losses.fitted(total).count(cause));
        assert_eq!(counts(10), [3, 0, 5, 0, 0, 2]);
        assert_eq!(counts(7), [2, 0, 5, 0, 0, 0]);
        assert_eq!(counts(4), [0, 0, 4, 0, 0, 0]);
        assert_eq!(counts(0), [0; 6]);
    }
}
