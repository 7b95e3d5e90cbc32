//! What a new configuration changes while the run goes on: the difference as steps, none of which disturbs what stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use receiver::{SourceFilter, Subscription};
use serde::Serialize;

use super::feed::FeedEntry;
use super::file::SinkEntry;
use crate::log::Level;

/// A configuration in effect: command line, file and environment together.
#[derive(Clone, Debug, Default)]
pub struct Effective {
    /// What is joined.
    pub subscriptions: Vec<Wanted>,
    /// The feeds of the file.
    pub feeds: Vec<FeedEntry>,
    /// Where data goes: the sinks of the file.
    pub sinks: Vec<SinkEntry>,
    /// The value of each key as text.
    pub options: BTreeMap<String, String>,
    /// The level of the log that the options ask for, for a reload.
    pub level: Option<Level>,
}

/// A subscription of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What it asks for.
    pub subscription: Subscription,
}

/// A subscription of the configuration in effect, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// As the configuration has it.
    pub wanted: Wanted,
    /// As it is now: a client may have changed its sources. `None` if a client has left it.
    pub live: Option<Subscription>,
}

/// The way from one configuration to the next. Numbers are positions in the lists of [`plan`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Pairs of old and new: the subscriptions that stay, with or without a change.
    pub kept: Vec<(usize, usize)>,
    /// Those of `kept` whose sources change.
    pub changed: Vec<(usize, usize)>,
    /// Pairs that did not change, and that a client has left: they stay left.
    pub absent: Vec<(usize, usize)>,
    /// New ones.
    pub joined: Vec<usize>,
    /// Old ones.
    pub left: Vec<usize>,
    /// What is to be done, in this order.
    pub steps: Vec<Step>,
}

/// One change of the receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Joins new subscriptions.
    Join(Vec<usize>),
    /// Leaves old ones.
    Leave(Vec<usize>),
    /// Replaces the sources, or the blocked sources, of an old one.
    SetSources(usize, BTreeSet<IpAddr>),
}

/// What a reload did. The names are part of the control protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReloadReport {
    /// Subscriptions that were joined.
    pub joined: Vec<String>,
    /// Subscriptions that were left.
    pub left: Vec<String>,
    /// Subscriptions whose sources changed, as they are now.
    pub changed: Vec<String>,
    /// Subscriptions that have another name, as they are now.
    pub renamed: Vec<String>,
    /// How many others stay as they were.
    pub kept: usize,
    /// Options that took effect.
    pub options: Vec<String>,
    /// Options and sinks that changed in the file, and keep their value until the next start.
    pub needs_restart: Vec<String>,
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (joined, left, changed, renamed) =
            (self.joined.len(), self.left.len(), self.changed.len(), self.renamed.len());
        write!(f, "{joined} joined, {left} left, {changed} changed, {renamed} renamed, {} kept", self.kept)
    }
}

/// The way from the configuration in effect to a new one.
pub fn plan(old: &[Current], new: &[Wanted]) -> Plan {
    let (kept, absent) = pairs(old, new);
    let changed: Vec<(usize, usize)> =
        kept.iter().copied().filter(|&(from, to)| old[from].wanted.subscription != new[to].subscription).collect();
    let stays: (BTreeSet<usize>, BTreeSet<usize>) = kept.iter().chain(&absent).copied().unzip();
    let left: Vec<usize> = (0..old.len()).filter(|at| !stays.0.contains(at) && old[*at].live.is_some()).collect();
    let joined: Vec<usize> = (0..new.len()).filter(|at| !stays.1.contains(at)).collect();
    let steps = steps(old, new, &changed, &joined, &left);
    Plan { kept, changed, absent, joined, left, steps }
}

/// Positions in the old and in the new list.
type Pairs = Vec<(usize, usize)>;

/// Pairs of old and new subscriptions of the same group and port that are the same one: by all of it, else by name,
/// else by the sources that they share. The second list are those that did not change, and that a client has left.
fn pairs(old: &[Current], new: &[Wanted]) -> (Pairs, Pairs) {
    let mut by_content: BTreeMap<String, usize> = BTreeMap::new();
    for (at, current) in old.iter().enumerate() {
        by_content.insert(current.wanted.subscription.to_string(), at);
    }
    let (mut kept, mut absent) = (Vec::new(), Vec::new());
    let (mut taken_old, mut taken_new) = (BTreeSet::new(), BTreeSet::new());
    for (to, wanted) in new.iter().enumerate() {
        if let Some(&from) = by_content.get(&wanted.subscription.to_string()) {
            taken_old.insert(from);
            taken_new.insert(to);
            match old[from].live {
                Some(_) => kept.push((from, to)),
                None => absent.push((from, to)),
            }
        }
    }
    let mut open: BTreeMap<(IpAddr, u16), Vec<usize>> = BTreeMap::new();
    for (from, current) in old.iter().enumerate() {
        if current.live.is_some() && !taken_old.contains(&from) {
            open.entry(place(&current.wanted.subscription)).or_default().push(from);
        }
    }
    for by_name in [true, false] {
        for (to, wanted) in new.iter().enumerate() {
            let Some(candidates) = open.get_mut(&place(&wanted.subscription)) else { continue };
            if taken_new.contains(&to) {
                continue;
            }
            let fits = candidates.iter().position(|&from| {
                let is_named = wanted.name.is_some() && wanted.name == old[from].wanted.name;
                (is_named || !by_name) && can_become(&old[from], &wanted.subscription)
            });
            if let Some(at) = fits {
                kept.push((candidates.remove(at), to));
                taken_new.insert(to);
            }
        }
    }
    (kept, absent)
}

fn place(subscription: &Subscription) -> (IpAddr, u16) {
    (subscription.group(), subscription.port())
}

/// Returns true if a change of sources leads from one to the other, and something of it stays.
fn can_become(current: &Current, to: &Subscription) -> bool {
    let Some(live) = &current.live else { return false };
    if live.filter().is_exclude() != to.filter().is_exclude() {
        return false;
    }
    to.filter().is_exclude() || !live.filter().sources().is_disjoint(to.filter().sources())
}

fn steps(old: &[Current], new: &[Wanted], changed: &[(usize, usize)], joined: &[usize], left: &[usize]) -> Vec<Step> {
    let live = |at: usize| old[at].live.as_ref().expect("only what is joined is left or changed");
    // What is taken until something is left or changed, by group and port.
    let mut released: BTreeMap<(IpAddr, u16), Vec<(usize, SourceFilter)>> = BTreeMap::new();
    for &at in left {
        released.entry(place(live(at))).or_default().push((at, live(at).filter().clone()));
    }
    for &(from, to) in changed {
        let gone = live(from).filter().sources() - new[to].subscription.filter().sources();
        if !live(from).filter().is_exclude() && !gone.is_empty() {
            released.entry(place(live(from))).or_default().push((from, SourceFilter::Include(gone)));
        }
    }
    let must_wait = |at: (IpAddr, u16), own: Option<usize>, filter: &SourceFilter| {
        released.get(&at).into_iter().flatten().any(|(of, other)| {
            Some(*of) != own
                && (other.is_exclude() || filter.is_exclude() || !other.sources().is_disjoint(filter.sources()))
        })
    };
    let (mut at_once, mut shrunk, mut grown) = (Vec::new(), Vec::new(), Vec::new());
    for &(from, to) in changed {
        let (before, after) = (live(from).filter().sources(), new[to].subscription.filter().sources());
        if before == after {
            continue;
        }
        let full = Step::SetSources(from, after.clone());
        let gained = SourceFilter::Include(after - before);
        if live(from).filter().is_exclude() || !must_wait(place(live(from)), Some(from), &gained) {
            at_once.push(full);
            continue;
        }
        let both = before & after;
        if both != *before {
            shrunk.push(Step::SetSources(from, both));
        }
        grown.push(full);
    }
    let (late, early): (Vec<usize>, Vec<usize>) = joined
        .iter()
        .copied()
        .partition(|&to| must_wait(place(&new[to].subscription), None, new[to].subscription.filter()));
    let mut steps = Vec::new();
    // What can be refused comes first, while it can be undone without a loss.
    steps.extend((!early.is_empty()).then_some(Step::Join(early)));
    steps.extend(at_once);
    steps.extend(shrunk);
    steps.extend((!left.is_empty()).then(|| Step::Leave(left.to_vec())));
    steps.extend(grown);
    steps.extend((!late.is_empty()).then_some(Step::Join(late)));
    steps
}

/// The sinks after a reload: those that run, with the subscriptions that the new configuration gives them. The second
/// list names what needs a restart.
pub fn merge_sinks(old: &[SinkEntry], new: &[SinkEntry]) -> (Vec<SinkEntry>, Vec<String>) {
    let shown = |entry: &SinkEntry| format!("sink {}", entry.name.as_ref().unwrap_or(&entry.target));
    let is_same = |one: &SinkEntry, other: &SinkEntry| (&one.name, &one.target) == (&other.name, &other.target);
    let (mut sinks, mut needs_restart) = (Vec::new(), Vec::new());
    for entry in old {
        match new.iter().find(|other| is_same(entry, other)) {
            // A sink that takes some subscriptions cannot begin to take all, of which more may be joined.
            Some(other) if entry.subscriptions.is_none() || other.subscriptions.is_some() => sinks.push(other.clone()),
            _ => {
                needs_restart.push(shown(entry));
                sinks.push(entry.clone());
            }
        }
    }
    for entry in new.iter().filter(|entry| !old.iter().any(|other| is_same(entry, other))) {
        if !needs_restart.contains(&shown(entry)) {
            needs_restart.push(shown(entry));
        }
    }
    (sinks, needs_restart)
}

/// The feeds that are not the same in both: none of them can change while the run goes on.
pub fn changed_feeds(old: &[FeedEntry], new: &[FeedEntry]) -> Vec<String> {
    let is_in = |one: &FeedEntry, all: &[FeedEntry]| all.iter().any(|other| one.request == other.request);
    let gone = old.iter().filter(|entry| !is_in(entry, new));
    let come = new.iter().filter(|entry| !is_in(entry, old));
    let names: BTreeSet<String> = gone.chain(come).map(|entry| format!("feed {}", entry.request.name)).collect();
    names.into_iter().collect()
}

/// The keys whose values differ, of those in either configuration.
pub fn changed_options(old: &Effective, new: &Effective) -> Vec<String> {
    let keys: BTreeSet<&String> = old.options.keys().chain(new.options.keys()).collect();
    keys.into_iter().filter(|key| old.options.get(*key) != new.options.get(*key)).cloned().collect()
}

#[cfg(test)]
mod tests;
