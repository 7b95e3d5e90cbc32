//! The figures of all episodes.

use std::collections::BTreeMap;
use std::fmt;

use crate::episode::Outcome;
use crate::leaking::Leaked;
use crate::model::Losses;
use crate::plan::Plan;

/// What all episodes found together.
#[derive(Debug, Default)]
pub struct Report {
    episodes: u64,
    failed: Vec<u64>,
    kinds: BTreeMap<String, u64>,
    operations: BTreeMap<&'static str, u64>,
    sent: u64,
    came: u64,
    demanded: u64,
    missing: u64,
    uncounted: u64,
    forbidden: u64,
    wrong: u64,
    spoiled: u64,
    unaccounted: u64,
    losses: Losses,
    leaking: Leaked,
    memory: i64,
    descriptors: i64,
}

impl Report {
    /// Adds an episode.
    pub fn add(&mut self, plan: &Plan, outcome: &Outcome) {
        self.episodes += 1;
        self.failed.extend((!outcome.faults.is_empty()).then_some(plan.seed));
        *self.kinds.entry(format!("{} {:?}", plan.mode, plan.family)).or_default() += 1;
        for (name, count) in &outcome.operations {
            *self.operations.entry(name).or_default() += count;
        }
        let judgement = &outcome.judgement;
        self.sent += outcome.sent;
        self.came += outcome.came;
        self.spoiled += outcome.spoiled;
        self.demanded += judgement.demanded;
        self.missing += judgement.missing;
        self.uncounted += judgement.uncounted;
        self.forbidden += judgement.forbidden;
        self.wrong += judgement.wrong;
        self.unaccounted += outcome.unaccounted;
        for (cause, count) in &judgement.losses {
            *self.losses.entry(cause).or_default() += count;
        }
        let Leaked { sent, shown, kept, refused, leaked, faults: _ } = &outcome.leaked;
        self.leaking.sent += sent;
        self.leaking.shown += shown;
        self.leaking.kept += kept;
        self.leaking.refused += refused;
        self.leaking.leaked += leaked;
        self.memory = self.memory.max(outcome.memory);
        self.descriptors = self.descriptors.max(outcome.descriptors);
    }

    /// Returns true if all is well.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty() && self.episodes > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.operations.values().sum();
        writeln!(f, "episodes                    {}", self.episodes)?;
        writeln!(f, "  by mode and family        {}", list(&self.kinds))?;
        writeln!(f, "operations                  {total}")?;
        writeln!(f, "  by kind                   {}", list(&self.operations))?;
        writeln!(f, "packets sent                {}", self.sent)?;
        writeln!(f, "packets delivered           {}", self.came)?;
        writeln!(f, "packets that had to arrive  {}", self.demanded)?;
        writeln!(f, "  lost for a counted cause  {}", self.missing)?;
        writeln!(f, "  lost without one          {}", self.uncounted)?;
        writeln!(f, "packets to be kept away     {}", self.forbidden)?;
        writeln!(f, "  delivered all the same    {}", self.wrong)?;
        writeln!(f, "altered or twice            {}", self.spoiled)?;
        writeln!(f, "counted losses by cause     {}", list(&self.losses))?;
        let Leaked { sent, shown, kept, refused, leaked, .. } = &self.leaking;
        writeln!(f, "to consumers that leak      {sent} sent, {shown} shown, {kept} kept, {refused} refused")?;
        writeln!(f, "  kept for ever             {leaked}")?;
        writeln!(f, "unaccounted                 {}", self.unaccounted)?;
        writeln!(f, "largest growth              {} KiB, {} descriptors", self.memory, self.descriptors)?;
        write!(f, "failed episodes             {}", self.failed.len())?;
        for seed in &self.failed {
            write!(f, "\n  cargo xtask torture --episode {seed}")?;
        }
        Ok(())
    }
}

fn list<K: fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    let words: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
