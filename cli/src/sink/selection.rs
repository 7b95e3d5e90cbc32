//! Which subscriptions a sink takes.

use receiver::{Subscription, SubscriptionId};

/// The subscriptions that a sink takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All.
    All,
    /// Those that are named here: a subscription as it is joined, or all of a group and port.
    Only(Vec<Subscription>),
    /// Those that were routed to it by name.
    Routed,
}

impl Selection {
    /// Of the subscriptions that a target names, or all if it names none.
    pub fn new(only: Vec<Subscription>) -> Self {
        if only.is_empty() { Self::All } else { Self::Only(only) }
    }

    /// Returns true if it names the subscription.
    pub fn names(&self, subscription: &Subscription) -> bool {
        let Self::Only(only) = self else { return false };
        only.iter().any(|one| is_named(one, subscription))
    }

    /// The first subscription that it names and nobody has joined.
    pub fn missing(&self, joined: &[(SubscriptionId, Subscription)]) -> Option<&Subscription> {
        let Self::Only(only) = self else { return None };
        only.iter().find(|one| !joined.iter().any(|(_, other)| is_named(one, other)))
    }
}

/// Returns true if a target that names `one` takes the subscription.
fn is_named(one: &Subscription, subscription: &Subscription) -> bool {
    one == subscription || is_whole_group(one) && is_same_group(one, subscription)
}

/// Returns true for `GROUP:PORT`.
fn is_whole_group(subscription: &Subscription) -> bool {
    subscription.filter().is_exclude() && subscription.filter().sources().is_empty()
}

fn is_same_group(one: &Subscription, other: &Subscription) -> bool {
    (one.group(), one.port()) == (other.group(), other.port())
}

/// Which sinks take a subscription: a bit for each sink.
#[derive(Debug, Default)]
pub struct Routes {
    /// The sinks that take all.
    all: u64,
    /// The other sinks, by the number of the subscription.
    some: Vec<u64>,
}

impl Routes {
    /// The sink takes all subscriptions.
    pub fn set_all(&mut self, sink: usize) {
        self.all |= 1 << sink;
    }

    /// The sink takes this subscription as well.
    pub fn add(&mut self, sink: usize, id: SubscriptionId) {
        let number = id.number() as usize;
        if self.some.len() <= number {
            self.some.resize(number + 1, 0);
        }
        self.some[number] |= 1 << sink;
    }

    /// The sink takes these subscriptions and no others.
    pub fn set(&mut self, sink: usize, ids: &[SubscriptionId]) {
        self.all &= !(1 << sink);
        self.some.iter_mut().for_each(|sinks| *sinks &= !(1 << sink));
        ids.iter().for_each(|&id| self.add(sink, id));
    }

    /// The sinks that take a subscription.
    #[inline]
    pub fn of(&self, id: SubscriptionId) -> u64 {
        self.all | self.some.get(id.number() as usize).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_alone_names_all_its_subscriptions() {
        let parse = |text: &str| text.parse::<Subscription>().expect(text);
        let joined = parse("10.0.0.1@232.1.1.1:5000");
        let names = |text: &str| Selection::new(vec![parse(text)]).names(&joined);
        assert!(names("232.1.1.1:5000") && names("10.0.0.1@232.1.1.1:5000"));
        assert!(!names("232.1.1.1:5001") && !names("10.0.0.2@232.1.1.1:5000") && !names("!10.0.0.2@232.1.1.1:5000"));
        assert!(!Selection::All.names(&joined) && !Selection::Routed.names(&joined));
        assert_eq!(Selection::new(vec![parse("232.1.1.2:5000")]).missing(&[]), Some(&parse("232.1.1.2:5000")));
    }
}
