//! The plan of an episode, drawn from its seed: the receiver's mode, the family, and the operations with the pauses
//! between them.

use std::fmt;
use std::time::Duration;

use crate::frames::Querier;
use crate::operation::{Client, Operation};
use crate::random::Random;
use crate::stream::{Family, Filter, GROUPS, MOVING, OF_FILE, Role, role};

/// How long the operations of an episode take, about.
const LENGTH: Duration = Duration::from_secs(17);
/// The most operations after which the receiver waits longer each time before it attaches its program again.
const MOST_DETACHED: usize = 2;
/// Percent of all operations after which the receiver has to recover.
const DISRUPTIONS: u64 = 15;
/// Both sources.
const BOTH: u8 = 3;

/// Packets are shared with the kernel. This takes mode mapped.
const SHARE: &[&str] = &["--share"];
/// Options that change how the receiver works, and not what it delivers.
const OPTIONS: [&[&str]; 8] = [
    &[],
    &[],
    &[],
    SHARE,
    &["--timestamps"],
    &["--drop-unwanted", "always"],
    &["--drop-unwanted", "never"],
    &["--no-verify-checksum"],
];

/// An operation with its place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number, from 1.
    pub number: usize,
    /// The pause before it.
    pub pause: Duration,
    /// What is done.
    pub operation: Operation,
}

/// What an episode does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// All else follows from it.
    pub seed: u64,
    /// The receive mode.
    pub mode: &'static str,
    /// The IP version.
    pub family: Family,
    /// Queues of the link.
    pub queues: u32,
    /// Senders compute whole UDP checksums.
    pub whole_checksums: bool,
    /// A second sink writes to a disk that is full soon.
    pub full_disk: bool,
    /// The streams of group 0 are the legs of a feed.
    pub feed: bool,
    /// The packets are recorded as well.
    pub recording: bool,
    /// A consumer of the library leaks packets, on another link.
    pub leaks: bool,
    /// Further options of the command.
    pub options: &'static [&'static str],
    /// The operations in their order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::part(seed, 0);
        let mut plan = Self {
            seed,
            mode: random.pick(&["mapped", "copy", "generic", "socket"]),
            family: random.pick(&[Family::V4, Family::V6]),
            queues: random.pick(&[1, 1, 2]),
            whole_checksums: random.chance(50),
            full_disk: random.chance(25),
            feed: random.chance(20),
            recording: random.chance(20),
            leaks: random.chance(25),
            options: random.pick(&OPTIONS),
            steps: Vec::new(),
        };
        if plan.mode != "mapped" && plan.options == SHARE {
            plan.options = &[];
        }
        let mut subscribed = Subscribed::at_the_start(BOTH);
        let mut length = Duration::ZERO;
        while length < LENGTH {
            let number = plan.steps.len() + 1;
            // Each step has its own numbers: one that is left out changes no other.
            let mut random = Random::part(seed, number as u64);
            let pause = Duration::from_millis(random.within(50..900));
            let operation = draw(&mut random, &subscribed, &plan);
            subscribed.follow(operation);
            length += pause + operation.cost();
            plan.steps.push(Step { number, pause, operation });
        }
        plan
    }

    /// The same plan with these steps alone.
    #[must_use]
    pub fn keeping(&self, numbers: &[usize]) -> Self {
        let steps = self.steps.iter().filter(|step| numbers.contains(&step.number)).copied().collect();
        Self { steps, ..self.clone() }
    }

    /// The numbers of its steps.
    pub fn numbers(&self) -> Vec<usize> {
        self.steps.iter().map(|step| step.number).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, mode, family, queues, .. } = self;
        write!(f, "episode {seed}: mode {mode}, {family:?}, {queues} queues")?;
        for (is_so, words) in [
            (self.whole_checksums, "whole checksums"),
            (self.full_disk, "a disk that is full"),
            (self.feed, "a feed of two legs"),
            (self.recording, "a recording"),
            (self.leaks, "a consumer that leaks"),
        ] {
            if is_so {
                write!(f, ", {words}")?;
            }
        }
        write!(f, "{}", self.options.iter().map(|word| format!(" {word}")).collect::<String>())?;
        for Step { number, pause, operation } in &self.steps {
            write!(f, "\n  {number:>2}. after {} ms: {operation:?}", pause.as_millis())?;
        }
        Ok(())
    }
}

/// What a run has subscribed, and what its configuration file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// Of each group.
    pub filters: [Filter; GROUPS],
    /// The sources of the file's group.
    pub file: u8,
}

impl Subscribed {
    /// What a run begins with, if its file has these sources.
    pub fn at_the_start(file: u8) -> Self {
        let [first, second] = [Filter::Include(BOTH), Filter::Include(1)];
        Self { filters: [first, second, Filter::Absent, Filter::Exclude(0), of_file(file)], file }
    }

    /// What an operation asks for: the group and its new filter. `None` if it changes no subscription, or is not done
    /// in this state, and `Some(Err)` if the receiver has to refuse it.
    pub fn asked(&self, operation: Operation) -> Option<(usize, Result<Filter, ()>)> {
        let (group, filter) = match operation {
            Operation::Join { group, filter } => match (self.filters[group], filter) {
                (Filter::Absent, _) => (group, Ok(filter)),
                // A second subscription of other sources would be legal.
                (Filter::Include(there), Filter::Include(more)) if there & more == 0 => return None,
                _ => (group, Err(())),
            },
            Operation::Leave { group } => {
                (group, if self.filters[group] == Filter::Absent { Err(()) } else { Ok(Filter::Absent) })
            }
            Operation::Block { group, source } => (group, self.with_block(group, source, true)),
            Operation::Unblock { group, source } => (group, self.with_block(group, source, false)),
            Operation::SetSources { group, mask } => (
                group,
                match self.filters[group] {
                    Filter::Absent => Err(()),
                    Filter::Include(_) => Ok(Filter::Include(mask)),
                    Filter::Exclude(_) => Ok(Filter::Exclude(mask)),
                },
            ),
            Operation::Reload { mask } | Operation::Hangup { mask } => (OF_FILE, Ok(of_file(mask))),
            _ => return None,
        };
        Some((group, filter))
    }

    fn with_block(&self, group: usize, source: usize, block: bool) -> Result<Filter, ()> {
        match self.filters[group] {
            Filter::Exclude(mask) if (mask & (1 << source) == 0) == block => Ok(Filter::Exclude(mask ^ (1 << source))),
            _ => Err(()),
        }
    }

    fn follow(&mut self, operation: Operation) {
        if let Some((group, Ok(filter))) = self.asked(operation) {
            self.filters[group] = filter;
        }
        match operation {
            Operation::Reload { mask } | Operation::Hangup { mask } => self.file = mask,
            Operation::Kill => *self = Self::at_the_start(self.file),
            _ => {}
        }
    }
}

/// The filter of the file's group with these sources.
pub fn of_file(mask: u8) -> Filter {
    if mask == 0 { Filter::Absent } else { Filter::Include(mask) }
}

fn draw(random: &mut Random, subscribed: &Subscribed, plan: &Plan) -> Operation {
    let detached =
        plan.steps.iter().filter(|s| matches!(s.operation, Operation::Detach | Operation::Foreign { .. })).count();
    let milliseconds = |random: &mut Random, range| Duration::from_millis(random.within(range));
    if random.chance(DISRUPTIONS) {
        return match random.below(34) {
            0..5 => Operation::Flap { rx: random.chance(50), time: milliseconds(random, 0..800) },
            5..10 => Operation::Remake { same_index: random.chance(50) },
            10..13 => Operation::Move { up: random.chance(50), time: milliseconds(random, 0..500) },
            13..16 => Operation::Mtu { bytes: random.pick(&[1_280, 1_400, 1_500, 3_000, 9_000]) },
            16..19 => Operation::Addresses { time: milliseconds(random, 0..800) },
            19..22 => Operation::Kill,
            22..24 => Operation::CloseConsumer { time: milliseconds(random, 10..1_000) },
            24..27 if detached < MOST_DETACHED && plan.mode != "socket" => Operation::Detach,
            27..30 if detached < MOST_DETACHED && plan.mode != "socket" => {
                Operation::Foreign { time: milliseconds(random, 100..1_500) }
            }
            30..32 => Operation::LockedMemory,
            32..34 => Operation::Memory,
            _ if plan.queues > 1 => Operation::Queues { count: random.pick(&[1, 2]) },
            _ => Operation::Rename,
        };
    }
    match random.below(82) {
        0..45 => change(random, subscribed),
        45..50 => Operation::Reload { mask: random.below(4) as u8 },
        50..52 => Operation::Hangup { mask: random.below(4) as u8 },
        52..55 => Operation::BadReload { kind: random.below(4) as u8 },
        55..59 => Operation::Rename,
        59..64 => Operation::Query { querier: random.pick(&Querier::ALL) },
        64..68 => Operation::Suspend { time: milliseconds(random, 100..1_500) },
        68..71 => Operation::Stall { time: milliseconds(random, 100..2_000) },
        71..76 => Operation::Misbehave { client: random.pick(&Client::ALL) },
        76..78 => Operation::Descriptors,
        80..82 => Operation::Slow { time: milliseconds(random, 100..2_000) },
        _ => change(random, subscribed),
    }
}

/// A change of a subscription; one in eight is any, which the receiver may have to refuse.
fn change(random: &mut Random, subscribed: &Subscribed) -> Operation {
    let any = random.chance(12);
    loop {
        let group = random.pick(&MOVING);
        let source = random.below(2) as usize;
        let is_named = role(group) == Role::Named;
        let operation = match random.below(5) {
            0 if is_named => Operation::Join { group, filter: Filter::Include(random.within(1..4) as u8) },
            0 => Operation::Join { group, filter: Filter::Exclude(random.below(4) as u8) },
            1 => Operation::Leave { group },
            2 => Operation::Block { group, source },
            3 => Operation::Unblock { group, source },
            _ => Operation::SetSources { group, mask: random.within(u64::from(is_named)..4) as u8 },
        };
        let asked = subscribed.asked(operation);
        if matches!(asked, Some((_, Ok(_)))) || (any && asked.is_some()) {
            return operation;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_and_steps_can_be_left_out() {
        let plan = Plan::of(5);
        assert_eq!(plan, Plan::of(5));
        assert_ne!(plan, Plan::of(6));
        let kept = plan.keeping(&[1, 3]);
        assert_eq!(kept.numbers(), [1, 3]);
        assert_eq!(kept.steps[1], plan.steps[2]);
    }

    #[test]
    fn all_operations_are_drawn() {
        let mut names = std::collections::BTreeSet::new();
        for seed in 0..400 {
            names.extend(Plan::of(seed).steps.iter().map(|step| step.operation.name()));
        }
        assert_eq!(names.len(), 37, "{names:?}");
    }

    #[test]
    fn refusals_are_known() {
        let start = Subscribed::at_the_start(BOTH);
        let asked = |operation| start.asked(operation);
        assert_eq!(asked(Operation::Leave { group: 2 }), Some((2, Err(()))));
        assert_eq!(asked(Operation::Block { group: 1, source: 0 }), Some((1, Err(()))), "named sources");
        assert_eq!(asked(Operation::Block { group: 3, source: 0 }), Some((3, Ok(Filter::Exclude(1)))));
        assert_eq!(asked(Operation::Unblock { group: 3, source: 0 }), Some((3, Err(()))));
        assert_eq!(asked(Operation::Kill), None);
    }
}
