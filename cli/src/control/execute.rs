//! What each request does. Each is done wholly or refused, and then changes nothing.

use std::net::IpAddr;

use receiver::{Error, Subscription, SubscriptionId, SubscriptionReport};
use serde_json::json;

use super::protocol::{Kind, Refusal, Request, done, refused};
use super::reports::{self, Entry};
use super::session::Session;
use crate::errors::describe;
use crate::hints::hint;
use crate::instance::{Instance, ReloadError};
use crate::{log, values};

/// The most subscriptions that a message lists.
const MOST_LISTED: usize = 8;

/// Returns true for a request that changes something, and may take long.
pub fn is_change(request: &Request) -> bool {
    match request {
        Request::Hello {}
        | Request::List {}
        | Request::Stats {}
        | Request::Feeds {}
        | Request::Ledger {}
        | Request::Mode {}
        | Request::Evidence {} => false,
        Request::Join { .. }
        | Request::Leave { .. }
        | Request::Block { .. }
        | Request::Unblock { .. }
        | Request::SetSources { .. }
        | Request::LogLevel { .. }
        | Request::Reload {}
        | Request::Stop {} => true,
    }
}

/// Does a request, which may wait. Returns the line of the reply.
pub fn reply(instance: &Instance, request: &Request, session: &mut Session) -> Vec<u8> {
    let result = execute(instance, request, session);
    if is_change(request) {
        let text = String::from_utf8(request.to_line()).unwrap_or_default();
        match &result {
            Ok(_) => tracing::info!("a client of the control socket changed the run: {}", text.trim_end()),
            Err(refusal) => tracing::info!("a client was refused: {}: {refusal}", text.trim_end()),
        }
    }
    result.unwrap_or_else(|refusal| refused(&refusal))
}

fn execute(instance: &Instance, request: &Request, session: &mut Session) -> Result<Vec<u8>, Refusal> {
    let turn = is_change(request).then(|| instance.turn());
    let handle = instance.handle();
    match request {
        Request::List {} => Ok(done(&reports::list(instance)?)),
        Request::Stats {} => reports::stats(instance, session),
        Request::Feeds {} => reports::feeds(instance, session),
        Request::Ledger {} => Ok(done(&reports::ledger(instance)?)),
        Request::Mode {} => Ok(done(&reports::mode(instance))),
        Request::Evidence {} => Ok(done(&reports::evidence(instance)?)),
        Request::Join { subscription, name } => join(instance, subscription, name.as_deref()),
        Request::Leave { subscription } => {
            let found = find(instance, subscription)?;
            let entry = Entry::new(instance, &found);
            handle.leave(found.id)?;
            instance.names().remove(found.id);
            Ok(done(&entry))
        }
        Request::Block { subscription, source } => {
            change(instance, subscription, |id| handle.block(id, unmapped(*source)))
        }
        Request::Unblock { subscription, source } => {
            change(instance, subscription, |id| handle.unblock(id, unmapped(*source)))
        }
        Request::SetSources { subscription, sources } => {
            change(instance, subscription, |id| handle.set_sources(id, sources.clone()))
        }
        Request::LogLevel { level } => {
            let level: log::Level = level.parse().map_err(|error| Refusal { error, kind: Kind::InvalidRequest })?;
            log::set_level(level);
            Ok(done(&json!({"level": log::level().to_string()})))
        }
        Request::Reload {} => {
            // A reload is a change, so that it has the turn.
            let turn = turn.unwrap_or_else(|| instance.turn());
            Ok(done(&instance.reload(&turn)?))
        }
        // The server has done both.
        Request::Hello {} | Request::Stop {} => Ok(done(&json!({}))),
    }
}

fn join(instance: &Instance, text: &str, name: Option<&str>) -> Result<Vec<u8>, Refusal> {
    let subscription: Subscription = text.parse().map_err(Error::from)?;
    if let Some(name) = name {
        values::name(name).map_err(|reason| {
            let error = format!("`{}` is no name: {reason}", receiver::printable(name, 80));
            Refusal { error, kind: Kind::InvalidRequest }
        })?;
        let taken = instance.names().id(name);
        if let Some(id) = taken {
            let error = format!("subscription {} has the name {name} already; choose another name", id.number());
            return Err(Refusal { error, kind: Kind::NameTaken });
        }
    }
    let id = instance.handle().join(&subscription)?;
    if let Some(name) = name {
        // Nobody else gives names while this has its turn.
        instance.names().set(id, name);
    }
    instance.joined(id, &subscription);
    Ok(done(&current(instance, id)?))
}

/// Changes a subscription. The reply shows it as it is afterwards.
fn change(
    instance: &Instance,
    text: &str,
    change: impl FnOnce(SubscriptionId) -> Result<(), Error>,
) -> Result<Vec<u8>, Refusal> {
    let id = find(instance, text)?.id;
    change(id)?;
    Ok(done(&current(instance, id)?))
}

fn current(instance: &Instance, id: SubscriptionId) -> Result<Entry, Refusal> {
    let all = instance.handle().subscriptions()?;
    let report = all.iter().find(|report| report.id == id).ok_or(Error::UnknownSubscription { id: id.number() })?;
    Ok(Entry::new(instance, report))
}

/// The subscription that a text means: by its name, its id, as it is written, or as the only one of a group and port.
fn find(instance: &Instance, text: &str) -> Result<SubscriptionReport, Refusal> {
    let named = instance.names().id(text);
    let all = instance.handle().subscriptions()?;
    let only = |id: SubscriptionId| all.iter().find(|report| report.id == id);
    let number = text.parse::<u32>().ok();
    let found = named.and_then(only).or_else(|| all.iter().find(|report| Some(report.id.number()) == number));
    if let Some(found) = found {
        return Ok(found.clone());
    }
    let shown = receiver::printable(text, 200);
    let unknown = |error: String| Refusal { error, kind: Kind::UnknownSubscription };
    let Ok(written) = text.parse::<Subscription>() else {
        let rule = "give the name, the id or the text of one that `list` shows";
        return Err(unknown(format!("no subscription of this run is called `{shown}`; {rule}")));
    };
    if let Some(found) = all.iter().find(|report| report.subscription == written) {
        return Ok(found.clone());
    }
    let is_bare = written.filter().is_exclude() && written.filter().sources().is_empty();
    let of_group = |report: &&SubscriptionReport| {
        let subscription = &report.subscription;
        is_bare && (subscription.group(), subscription.port()) == (written.group(), written.port())
    };
    let candidates: Vec<_> = all.iter().filter(of_group).collect();
    match candidates.as_slice() {
        [] => Err(unknown(format!("this run has no subscription {shown}; `list` shows those that it has"))),
        [one] => Ok((*one).clone()),
        several => {
            let mut listed: Vec<String> =
                several.iter().take(MOST_LISTED).map(|report| Entry::new(instance, report).to_string()).collect();
            if several.len() > MOST_LISTED {
                listed.push(format!("and {} more", several.len() - MOST_LISTED));
            }
            let error = format!("{shown} means several subscriptions: {}; give an id or a name", listed.join("; "));
            Err(Refusal { error, kind: Kind::Ambiguous })
        }
    }
}

/// ::ffff:10.0.0.1 is 10.0.0.1, as in a subscription.
fn unmapped(source: IpAddr) -> IpAddr {
    source.to_canonical()
}

impl From<ReloadError> for Refusal {
    fn from(error: ReloadError) -> Self {
        let kind = match &error {
            ReloadError::NoFile => Kind::Unavailable,
            ReloadError::Invalid(_) | ReloadError::Refused(_) => Kind::Failed,
        };
        Self { error: error.to_string(), kind }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Subscription(_) => Kind::InvalidRequest,
            Error::Overlap { .. } => Kind::Overlap,
            Error::UnknownSubscription { .. } => Kind::UnknownSubscription,
            Error::WrongFilterMode { .. } => Kind::WrongFilterMode,
            Error::SourceState { .. } => Kind::NoChange,
            Error::Stopped => Kind::Stopping,
            _ => Kind::Failed,
        };
        let error = anyhow::Error::from(error);
        Self { error: format!("{}{}", describe(&error), hint(&error).unwrap_or_default()), kind }
    }
}
