//! The feeds of a run: which subscriptions are the legs of which feed.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use receiver::{Handle, Subscription};

use crate::config::Wanted;
use crate::errors::UsageError;
use crate::feeds::{Fec, FeedRequest, Feeds, Leg, Legs, MOST_LEGS, Members};
use crate::sink::{FeedOrigin, Origin};
use crate::units;

/// The feeds that are asked for, once the receiver is open. `None` if there are none.
///
/// # Errors
/// As [`legs`]; the subscriptions cannot be read.
pub fn open(requests: &[FeedRequest], wanted: &[Wanted], handle: &Handle) -> anyhow::Result<Option<Feeds>> {
    if requests.is_empty() {
        return Ok(None);
    }
    let ids: Vec<_> = handle.subscriptions()?.iter().map(|report| report.id).collect();
    let mut feeds = Feeds::default();
    for (request, positions) in requests.iter().zip(legs(requests, wanted)?) {
        let leg = |at: usize| {
            let Wanted { name, subscription } = wanted[at].clone();
            (ids[at], Leg { name, subscription })
        };
        let legs = positions.iter().copied().map(leg).collect();
        let parity = parity(request, &positions, wanted).map(|at| ids[at]).collect();
        feeds.add(request, Members { legs, parity })?;
    }
    Ok(Some(feeds))
}

/// What is subscribed, by name and feed.
///
/// # Errors
/// As [`legs`].
pub fn origins(requests: &[FeedRequest], wanted: &[Wanted]) -> Result<Vec<Origin>, UsageError> {
    let plain = |Wanted { name, subscription }: &Wanted| Origin {
        subscription: subscription.clone(),
        name: name.clone(),
        feed: None,
    };
    let mut origins: Vec<Origin> = wanted.iter().map(plain).collect();
    for (request, legs) in requests.iter().zip(legs(requests, wanted)?) {
        let first = &wanted[legs[0]].subscription;
        let (name, protocol) = (request.name.clone(), request.protocol);
        let feed = FeedOrigin { name, protocol, group: first.group(), port: first.port() };
        legs.into_iter().for_each(|leg| origins[leg].feed = Some(feed.clone()));
    }
    Ok(origins)
}

/// The positions of the subscriptions with these names.
fn named<'a>(names: &'a [String], wanted: &'a [Wanted]) -> impl Iterator<Item = usize> {
    names.iter().filter_map(|name| wanted.iter().position(|wanted| wanted.name.as_ref() == Some(name)))
}

/// The legs of a feed, as positions in the list of subscriptions.
fn positions(request: &FeedRequest, wanted: &[Wanted]) -> Vec<usize> {
    let is_named = |at: &usize| wanted[*at].name.as_ref().is_some_and(|name| request.fec.names().contains(name));
    match (&request.legs, &request.fec) {
        (Legs::Named(names), _) => named(names, wanted).collect(),
        (Legs::All, Fec::NextPorts) => {
            let media = media(wanted);
            (0..wanted.len()).filter(|&at| media.contains(&key(&wanted[at].subscription))).collect()
        }
        (Legs::All, _) => (0..wanted.len()).filter(|at| !is_named(at)).collect(),
    }
}

fn key(subscription: &Subscription) -> (IpAddr, u16) {
    (subscription.group(), subscription.port())
}

/// The groups and ports that carry media: all but those of the parity of another one.
fn media(wanted: &[Wanted]) -> HashSet<(IpAddr, u16)> {
    let mut keys: Vec<_> = wanted.iter().map(|wanted| key(&wanted.subscription)).collect();
    keys.sort_unstable();
    let mut media = HashSet::new();
    for (group, port) in keys {
        let before = Fec::PORTS.into_iter().filter_map(|distance| port.checked_sub(distance));
        if !before.into_iter().any(|port| media.contains(&(group, port))) {
            media.insert((group, port));
        }
    }
    media
}

/// The subscriptions that carry the parity of a feed with these legs.
fn parity<'a>(request: &'a FeedRequest, legs: &'a [usize], wanted: &'a [Wanted]) -> impl Iterator<Item = usize> + 'a {
    let next: HashSet<_> = match request.fec {
        Fec::NextPorts => legs.iter().flat_map(|&leg| next_ports(&wanted[leg].subscription)).collect(),
        _ => HashSet::new(),
    };
    let of_next = (0..wanted.len()).filter(move |&at| next.contains(&key(&wanted[at].subscription)));
    named(request.fec.names(), wanted).chain(of_next)
}

/// The groups and ports of the parity of a subscription.
fn next_ports(media: &Subscription) -> impl Iterator<Item = (IpAddr, u16)> {
    let (group, port) = key(media);
    Fec::PORTS.into_iter().filter_map(move |distance| Some((group, port.checked_add(distance)?)))
}

/// Adds the subscriptions of parity that feeds ask for, from the sources of each leg, unless they are there.
///
/// # Errors
/// A leg has a port without a next one.
pub fn add_parity(requests: &[FeedRequest], wanted: &mut Vec<Wanted>) -> Result<(), UsageError> {
    let mut known: HashSet<_> = wanted.iter().map(|wanted| key(&wanted.subscription)).collect();
    let mut more = Vec::new();
    for request in requests.iter().filter(|request| request.fec == Fec::NextPorts) {
        for leg in positions(request, wanted) {
            let media = &wanted[leg].subscription;
            for (group, port) in next_ports(media).filter(|key| known.insert(*key)) {
                let subscription = Subscription::new(group, port, media.filter().clone());
                let refused =
                    |error| UsageError(format!("feed {} has no parity on port {port}: {error}", request.name));
                more.push(Wanted { name: None, subscription: subscription.map_err(refused)? });
            }
        }
    }
    wanted.extend(more);
    Ok(())
}

/// The legs of each feed, as positions in the list of subscriptions.
///
/// # Errors
/// A feed has no legs or too many, or a subscription is a leg of two feeds.
pub fn legs(requests: &[FeedRequest], wanted: &[Wanted]) -> Result<Vec<Vec<usize>>, UsageError> {
    let mut taken: HashMap<usize, &str> = HashMap::new();
    let mut all = Vec::with_capacity(requests.len());
    for request in requests {
        let (name, legs) = (&request.name, positions(request, wanted));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feeds::FeedOptions;

    fn wanted(texts: &[&str]) -> Vec<Wanted> {
        let one = |text: &&str| Wanted { name: None, subscription: text.parse().expect("a subscription") };
        texts.iter().map(one).collect()
    }

    #[test]
    fn parity_is_joined_beside_its_media_once() {
        let request = FeedRequest::of_all("rtp".parse().expect("rtp"), FeedOptions::default(), Fec::NextPorts);
        let requests = [request];
        let mut all =
            wanted(&["10.0.0.1@232.1.1.1:5000", "10.0.0.1,10.0.0.2@232.1.1.2:5000", "10.0.0.9@232.1.1.2:5004"]);
        add_parity(&requests, &mut all).expect("ports");
        let texts: Vec<String> = all.iter().skip(3).map(|wanted| wanted.subscription.to_string()).collect();
        let expected = ["10.0.0.1@232.1.1.1:5002", "10.0.0.1@232.1.1.1:5004", "10.0.0.1,10.0.0.2@232.1.1.2:5002"];
        assert_eq!(texts, expected);
        let again = all.clone();
        add_parity(&requests, &mut all).expect("ports");
        assert_eq!(all, again, "nothing twice");
        assert_eq!(legs(&requests, &all).expect("legs"), [[0, 1]]);
        assert_eq!(parity(&requests[0], &[0, 1], &all).collect::<Vec<_>>(), [2, 3, 4, 5]);
        // A reader of the last ports has no parity there.
        let mut last = wanted(&["10.0.0.1@232.1.1.1:65534"]);
        add_parity(&requests, &mut last).expect("ports");
        assert_eq!(last.len(), 1);
    }
}
