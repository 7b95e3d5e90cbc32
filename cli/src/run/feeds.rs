//! The feeds of a run: which subscriptions are the legs of which feed.

use std::collections::HashMap;

use receiver::Handle;

use super::options::RunArgs;
use crate::config::Wanted;
use crate::errors::UsageError;
use crate::feeds::{FeedRequest, Feeds, Leg, Legs, MOST_LEGS, Members};
use crate::units;

/// The feeds that are asked for, once the receiver is open. `None` if there are none.
///
/// # Errors
/// As [`legs`]; the subscriptions cannot be read.
pub fn open(args: &RunArgs, wanted: &[Wanted], handle: &Handle) -> anyhow::Result<Option<Feeds>> {
    let requests = args.feeds()?;
    if requests.is_empty() {
        return Ok(None);
    }
    let ids: Vec<_> = handle.subscriptions()?.iter().map(|report| report.id).collect();
    let mut feeds = Feeds::default();
    for (request, legs) in requests.iter().zip(legs(&requests, wanted)?) {
        let leg = |at: usize| {
            let Wanted { name, subscription } = wanted[at].clone();
            (ids[at], Leg { name, subscription })
        };
        let legs = legs.into_iter().map(leg).collect();
        let parity = named(&request.fec, wanted).map(|at| ids[at]).collect();
        feeds.add(request, Members { legs, parity })?;
    }
    Ok(Some(feeds))
}

/// The positions of the subscriptions with these names.
fn named<'a>(names: &'a [String], wanted: &'a [Wanted]) -> impl Iterator<Item = usize> {
    names.iter().filter_map(|name| wanted.iter().position(|wanted| wanted.name.as_ref() == Some(name)))
}

/// The legs of each feed, as positions in the list of subscriptions.
///
/// # Errors
/// A feed has no legs or too many, or a subscription is a leg of two feeds.
pub fn legs(requests: &[FeedRequest], wanted: &[Wanted]) -> Result<Vec<Vec<usize>>, UsageError> {
    let mut taken: HashMap<usize, &str> = HashMap::new();
    let mut all = Vec::with_capacity(requests.len());
    for FeedRequest { name, legs, fec, .. } in requests {
        let is_parity = |at: &usize| wanted[*at].name.as_ref().is_some_and(|name| fec.contains(name));
        let legs: Vec<usize> = match legs {
            Legs::All => (0..wanted.len()).filter(|at| !is_parity(at)).collect(),
            Legs::Named(names) => named(names, wanted).collect(),
        };
        if legs.is_empty() {
            return Err(UsageError(format!("feed {name} has no legs; name one or more subscriptions")));
        }
        if legs.len() > MOST_LEGS {
            let count = units::count(legs.len() as u64, "leg");
            let remedy = "name the legs of each feed in a [[feed]] of its own";
            return Err(UsageError(format!("feed {name} has {count}, and a feed has up to {MOST_LEGS}; {remedy}")));
        }
        for &leg in &legs {
            if let Some(other) = taken.insert(leg, name) {
                let subscription = &wanted[leg].subscription;
                let remedy = "name the legs of each feed with `legs`, each once";
                return Err(UsageError(format!(
                    "{subscription} is a leg of feed {other} and of feed {name}; {remedy}"
                )));
            }
        }
        all.push(legs);
    }
    Ok(all)
}
