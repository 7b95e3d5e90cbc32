//! A reload: reads the configuration again, and takes the steps that lead to it. A step that is refused undoes the ones
//! before it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use receiver::{Error, Handle, Subscription, SubscriptionId};

use super::Instance;
use crate::config::{
    Current, Effective, Plan, ReloadReport, Step, Wanted, changed_feeds, changed_options, merge_sinks, plan,
};
use crate::errors::describe;
use crate::{log, service};

/// Keys whose new value takes effect at once: together they give the level of the log.
const LEVEL: [&str; 3] = ["log", "verbose", "quiet"];

/// Reads and checks the configuration.
pub type Read = Box<dyn Fn() -> anyhow::Result<Effective> + Send + Sync>;

/// The configuration in effect, and the way to read it again.
pub struct Configuration {
    read: Read,
    state: Mutex<State>,
}

struct State {
    effective: Effective,
    /// The subscriptions of `effective`, in its order.
    ids: Vec<SubscriptionId>,
}

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The run has no configuration.
    #[error("this run has no configuration file; start it with --config FILE")]
    NoFile,
    /// The configuration has faults; nothing was changed.
    #[error("{0}")]
    Invalid(String),
    /// The receiver refused a change.
    #[error("{0}")]
    Refused(String),
}

/// Reloads the configuration of a run. The caller has the turn.
fn reload(instance: &Instance, configuration: &Configuration) -> Result<ReloadReport, ReloadError> {
    let _reloading = service::reloading();
    let new = (configuration.read)().map_err(|error| ReloadError::Invalid(describe(&error)))?;
    let mut state = configuration.state.lock().unwrap_or_else(PoisonError::into_inner);
    let old = current(instance.handle(), &state)?;
    refuse_names(instance, &state, &new)?;
    let plan = plan(&old, &new.subscriptions);
    let ids = match apply(instance.handle(), &state.ids, &old, &new.subscriptions, &plan) {
        Ok(ids) => ids,
        Err(undone) => {
            for &(at, id) in &undone.rejoined {
                instance.names().remove(state.ids[at]);
                state.ids[at] = id;
                if let Some(name) = &old[at].wanted.name {
                    instance.names().set(id, name);
                }
                if let Some(live) = &old[at].live {
                    instance.joined(id, live);
                }
            }
            route(instance, &state);
            return Err(ReloadError::Refused(undone.to_string()));
        }
    };
    let mut report = report(&old, &new.subscriptions, &plan);
    rename(instance, &state.ids, &ids, &old, &new.subscriptions, &plan);
    state.ids = ids;
    for &at in &plan.joined {
        instance.joined(state.ids[at], &new.subscriptions[at].subscription);
    }
    take_options(&mut state, new, &mut report);
    route(instance, &state);
    Ok(report)
}

/// The subscriptions of the configuration as they are now.
fn current(handle: &Handle, state: &State) -> Result<Vec<Current>, ReloadError> {
    let reports = handle.subscriptions().map_err(|error| ReloadError::Refused(error.to_string()))?;
    let live: std::collections::HashMap<_, _> =
        reports.into_iter().map(|report| (report.id, report.subscription)).collect();
    let all = state.effective.subscriptions.iter().zip(&state.ids);
    Ok(all.map(|(wanted, id)| Current { wanted: wanted.clone(), live: live.get(id).cloned() }).collect())
}

/// A name that a client gave to another subscription cannot be given again.
fn refuse_names(instance: &Instance, state: &State, new: &Effective) -> Result<(), ReloadError> {
    let names = instance.names();
    for name in new.subscriptions.iter().filter_map(|wanted| wanted.name.as_deref()) {
        if let Some(id) = names.id(name).filter(|id| !state.ids.contains(id)) {
            let remedy = "leave that one, or choose another name";
            let message = format!("subscription {} was joined with the name {name}; {remedy}", id.number());
            return Err(ReloadError::Refused(message));
        }
    }
    Ok(())
}

fn rename(
    instance: &Instance,
    before: &[SubscriptionId],
    after: &[SubscriptionId],
    old: &[Current],
    new: &[Wanted],
    plan: &Plan,
) {
    let mut names = instance.names();
    for &at in &plan.left {
        names.remove(before[at]);
    }
    let renamed = renamed(old, new, plan);
    // All of them before any gets its new name: two may exchange theirs.
    for &(from, _) in &renamed {
        names.remove(before[from]);
    }
    for to in renamed.into_iter().map(|(_, to)| to).chain(plan.joined.iter().copied()) {
        if let Some(name) = &new[to].name {
            names.set(after[to], name);
        }
    }
}

/// Pairs of old and new: those that stay with another name.
fn renamed(old: &[Current], new: &[Wanted], plan: &Plan) -> Vec<(usize, usize)> {
    plan.kept.iter().copied().filter(|&(from, to)| old[from].wanted.name != new[to].name).collect()
}

/// Has each sink take the subscriptions that the configuration names.
fn route(instance: &Instance, state: &State) {
    let Some(mut sinks) = instance.sinks() else { return };
    for entry in &state.effective.sinks {
        let (Some(name), Some(taken)) = (&entry.name, &entry.subscriptions) else { continue };
        let is_taken = |wanted: &Wanted| wanted.name.as_ref().is_some_and(|name| taken.contains(name));
        let all = state.effective.subscriptions.iter().zip(&state.ids);
        let ids: Vec<_> = all.filter(|(wanted, _)| is_taken(wanted)).map(|(_, &id)| id).collect();
        sinks.route(name, &ids);
    }
}

fn report(old: &[Current], new: &[Wanted], plan: &Plan) -> ReloadReport {
    let shown = |wanted: &Wanted| match &wanted.name {
        Some(name) => format!("{name} {}", wanted.subscription),
        None => wanted.subscription.to_string(),
    };
    let renamed: Vec<usize> = renamed(old, new, plan).into_iter().map(|(_, to)| to).collect();
    let changed: BTreeSet<usize> = plan.changed.iter().map(|&(_, to)| to).collect();
    let touched: BTreeSet<usize> = changed.iter().chain(&renamed).copied().collect();
    ReloadReport {
        joined: plan.joined.iter().map(|&at| shown(&new[at])).collect(),
        left: plan.left.iter().map(|&at| shown(&old[at].wanted)).collect(),
        changed: changed.iter().map(|&at| shown(&new[at])).collect(),
        renamed: renamed.iter().map(|&at| shown(&new[at])).collect(),
        kept: plan.kept.len() - touched.len(),
        ..ReloadReport::default()
    }
}

/// Takes what can change while the run goes on, and names the rest.
fn take_options(state: &mut State, new: Effective, report: &mut ReloadReport) {
    for key in changed_options(&state.effective, &new) {
        if LEVEL.contains(&key.as_str()) {
            if let Some(value) = new.options.get(&key) {
                state.effective.options.insert(key.clone(), value.clone());
            }
            report.options.push(key);
        } else {
            report.needs_restart.push(key);
        }
    }
    if !report.options.is_empty() {
        log::set_level(new.level.unwrap_or(log::Level::WARN));
    }
    let (sinks, needs_restart) = merge_sinks(&state.effective.sinks, &new.sinks);
    state.effective.sinks = sinks;
    report.needs_restart.extend(needs_restart);
    // The feeds in effect stay as they are.
    report.needs_restart.extend(changed_feeds(&state.effective.feeds, &new.feeds));
    state.effective.subscriptions = new.subscriptions;
}

/// What steers subscriptions: the receiver, and in tests a model of it.
trait Steer {
    type Id: Copy;

    fn join(&self, subscriptions: &[Subscription]) -> Result<Vec<Self::Id>, Error>;
    fn leave(&self, ids: &[Self::Id]) -> Result<(), Error>;
    fn set_sources(&self, id: Self::Id, sources: BTreeSet<IpAddr>) -> Result<(), Error>;
}

impl Steer for Handle {
    type Id = SubscriptionId;

    fn join(&self, subscriptions: &[Subscription]) -> Result<Vec<SubscriptionId>, Error> {
        self.join_all(subscriptions)
    }

    fn leave(&self, ids: &[SubscriptionId]) -> Result<(), Error> {
        self.leave_all(ids)
    }

    fn set_sources(&self, id: SubscriptionId, sources: BTreeSet<IpAddr>) -> Result<(), Error> {
        Handle::set_sources(self, id, sources)
    }
}

/// A change that was refused, after what had been done was undone.
#[derive(Debug)]
struct Undone<Id> {
    error: Box<Error>,
    /// Old subscriptions that were left and joined again, with their new ids.
    rejoined: Vec<(usize, Id)>,
    /// What could not be undone.
    failed: Vec<Error>,
}

impl<Id> std::fmt::Display for Undone<Id> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.error)?;
        match self.rejoined.len() {
            0 => write!(f, "; the configuration in effect stays")?,
            count => write!(f, "; the configuration in effect was restored: {count} were left and joined again")?,
        }
        for error in &self.failed {
            write!(f, "; a change could not be undone: {error}")?;
        }
        Ok(())
    }
}

/// Takes the steps. Returns the ids of the new subscriptions.
fn apply<S: Steer>(
    steer: &S,
    ids: &[S::Id],
    old: &[Current],
    new: &[Wanted],
    plan: &Plan,
) -> Result<Vec<S::Id>, Undone<S::Id>> {
    let mut of_new: Vec<Option<S::Id>> = vec![None; new.len()];
    for &(from, to) in plan.kept.iter().chain(&plan.absent) {
        of_new[to] = Some(ids[from]);
    }
    let mut sources: Vec<BTreeSet<IpAddr>> = old
        .iter()
        .map(|current| current.live.as_ref().map(|live| live.filter().sources().clone()).unwrap_or_default())
        .collect();
    let mut done: Vec<(&Step, BTreeSet<IpAddr>)> = Vec::new();
    for step in &plan.steps {
        let mut before = BTreeSet::new();
        let result = match step {
            Step::Join(all) => {
                let subscriptions: Vec<_> = all.iter().map(|&at| new[at].subscription.clone()).collect();
                steer.join(&subscriptions).map(|joined| {
                    for (&at, id) in all.iter().zip(joined) {
                        of_new[at] = Some(id);
                    }
                })
            }
            Step::Leave(all) => steer.leave(&all.iter().map(|&at| ids[at]).collect::<Vec<_>>()),
            Step::SetSources(at, to) => {
                before = std::mem::replace(&mut sources[*at], to.clone());
                steer.set_sources(ids[*at], to.clone())
            }
        };
        match result {
            Ok(()) => done.push((step, before)),
            Err(error) => return Err(undo(steer, ids, old, &of_new, done, error)),
        }
    }
    Ok(of_new.into_iter().map(|id| id.expect("each new subscription is kept or joined")).collect())
}

fn undo<S: Steer>(
    steer: &S,
    ids: &[S::Id],
    old: &[Current],
    of_new: &[Option<S::Id>],
    done: Vec<(&Step, BTreeSet<IpAddr>)>,
    error: Error,
) -> Undone<S::Id> {
    let mut undone = Undone { error: Box::new(error), rejoined: Vec::new(), failed: Vec::new() };
    for (step, before) in done.into_iter().rev() {
        let result = match step {
            Step::Join(all) => steer.leave(&all.iter().filter_map(|&at| of_new[at]).collect::<Vec<_>>()),
            Step::SetSources(at, _) => steer.set_sources(ids[*at], before),
            Step::Leave(all) => {
                let again: Vec<_> = all.iter().filter_map(|&at| old[at].live.clone()).collect();
                steer.join(&again).map(|joined| undone.rejoined.extend(all.iter().copied().zip(joined)))
            }
        };
        undone.failed.extend(result.err());
    }
    undone
}

impl Instance {
    /// Reloads the configuration. The caller has the [turn](Instance::turn).
    ///
    /// # Errors
    /// The run has no configuration, it has faults, or the receiver refused a change. Nothing has changed then.
    pub fn reload(&self, _turn: &MutexGuard<'_, ()>) -> Result<ReloadReport, ReloadError> {
        let configuration = self.0.configuration.get().ok_or(ReloadError::NoFile)?;
        let result = reload(self, configuration);
        match &result {
            Ok(report) => tracing::info!("the configuration was reloaded: {report}"),
            Err(error) => {
                tracing::error!("the configuration was not reloaded: {}", error.to_string().replace('\n', ";"))
            }
        }
        if let Ok(ReloadReport { needs_restart, .. }) = &result
            && !needs_restart.is_empty()
        {
            tracing::warn!("these keys keep their value until the next start: {}", needs_restart.join(", "));
        }
        result
    }

    /// Sets the configuration in effect, before anything is changed: the names of its subscriptions, and how it is read
    /// again if it can be.
    ///
    /// # Errors
    /// [`receiver::Error::Program`] if the subscriptions cannot be read.
    pub fn configure(&self, read: Option<Read>, effective: Effective) -> Result<(), Error> {
        let ids: Vec<_> = self.handle().subscriptions()?.iter().map(|report| report.id).collect();
        for (wanted, &id) in effective.subscriptions.iter().zip(&ids) {
            if let Some(name) = &wanted.name {
                self.names().set(id, name);
            }
        }
        let state = State { effective, ids };
        route(self, &state);
        if let Some(read) = read {
            // A run has one configuration for its whole life.
            let _ = self.0.configuration.set(Configuration { read, state: Mutex::new(state) });
        }
        Ok(())
    }

    /// What SIGHUP asks for.
    pub fn hangup(&self) {
        if self.0.configuration.get().is_some() {
            // The log has the result.
            let _ = self.reload(&self.turn());
        }
        if let Some(sinks) = self.sinks() {
            sinks.reopen();
        }
    }
}

#[cfg(test)]
mod tests;
