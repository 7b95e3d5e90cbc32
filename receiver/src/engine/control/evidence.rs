//! Collects evidence of missing datagrams: on request, for [`Evidence`], and at each join, for a warning of sources
//! that the reverse path filter drops.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use super::Control;
use crate::api::error::Error;
use crate::api::evidence::{Evidence, MOST_NAMED, Observed, listed, reverse_path_remedy};
use crate::api::mode::ReceiveMode;
use crate::engine::filter::SubscriptionId;
use crate::engine::lock::lock;
use receiver_membership::InterfaceRef;
use receiver_membership::Subscription;

/// The largest number of sources that are checked: each costs a system call.
const MOST_CHECKED: usize = 1024;

impl Control {
    /// Collects evidence for the subscriptions that have received nothing.
    pub fn evidence(&self) -> Result<Evidence, Error> {
        let silent: Vec<_> =
            self.subscriptions_with_unwanted()?.into_iter().filter(|(report, _)| report.packets == 0).collect();
        if silent.is_empty() {
            return Ok(Evidence::default());
        }
        let ledger = self.ledger()?;
        let interface = self.interface();
        let inner = lock(&self.inner);
        let joined_on = inner.membership.interface().clone();
        let stopped = inner.stopped;
        let other_ports = match &inner.program {
            Some(program) => program.other_ports()?,
            None => Vec::new(),
        };
        drop(inner);
        let tables = self.host.as_ref().filter(|_| !stopped).and_then(|host| host.tables().ok());
        let dropped = ledger.host().is_some_and(|host| host.reverse_path > 0);
        let refused = match dropped && !stopped {
            true => self
                .refused_sources(silent.iter().flat_map(|(report, _)| named_sources(&report.subscription)), &joined_on),
            false => BTreeSet::new(),
        };
        let observed = Observed {
            mode: self.mode,
            share: self.config.share,
            interface: &interface.name,
            joined_on: &joined_on,
            vlan: self.config.vlan,
            ledger: &ledger,
            elapsed: self.host.as_ref().map(|host| host.elapsed()).unwrap_or_default(),
            tables,
            other_ports,
            silent,
            refused: refused.into_iter().map(IpAddr::from).take(MOST_NAMED).collect(),
        };
        Ok(observed.explain())
    }

    /// Warns of those among `sources`, just added to a subscription, that the reverse path filter drops.
    pub fn check_sources(&self, id: SubscriptionId, sources: &BTreeSet<IpAddr>) {
        let subscription = self.shared.filter.read(|table| table.subscription(id).cloned());
        if let Some(subscription) = subscription {
            self.check_reverse_path(
                named_sources(&subscription).filter(|(source, _)| sources.contains(&(*source).into())),
            );
        }
    }

    /// Warns of (source, group) pairs that the reverse path filter drops, in one warning. To be called after they were
    /// joined, in the receiver's network namespace.
    pub fn check_reverse_path(&self, joined: impl Iterator<Item = (Ipv4Addr, Ipv4Addr)>) {
        let mut joined = joined.peekable();
        if joined.peek().is_none() {
            return;
        }
        let interface = self.membership_interface();
        if rp_filter(&interface.name) == 0 {
            return;
        }
        let sources: Vec<IpAddr> =
            self.refused_sources(&mut joined, &interface).into_iter().map(IpAddr::from).collect();
        if sources.is_empty() {
            return;
        }
        let named = listed(&sources[..sources.len().min(MOST_NAMED)]);
        let more = match sources.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more if joined.next().is_some() => format!(" and at least {more} more"),
            more => format!(" and {more} more"),
        };
        let lost = match self.mode {
            ReceiveMode::Socket => "nothing of them is received",
            _ if self.config.share => "the other programs on the host receive nothing of them",
            _ => "their fragments and packets with IP options are lost",
        };
        self.warn(format!(
            "the reverse path filter (rp_filter) of {} refuses packets from {named}{more}, to which no route leads \
             there: {lost}; {}",
            interface.name,
            reverse_path_remedy(&interface.name, &sources)
        ));
    }

    /// Those of the first 1,024 sources that the kernel refuses.
    fn refused_sources(
        &self,
        joined: impl Iterator<Item = (Ipv4Addr, Ipv4Addr)>,
        interface: &InterfaceRef,
    ) -> BTreeSet<Ipv4Addr> {
        let Some(host) = &self.host else { return BTreeSet::new() };
        let mut checked = BTreeSet::new();
        joined
            .filter(|(source, _)| checked.insert(*source))
            .take(MOST_CHECKED)
            .filter(|(source, group)| host.refuses(*source, *group, interface.index).unwrap_or(false))
            .map(|(source, _)| source)
            .collect()
    }
}

/// The IPv4 sources that a source-specific subscription names, each with the group.
pub(crate) fn named_sources(subscription: &Subscription) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> + '_ {
    let included = !subscription.filter().is_exclude();
    let sources = subscription.filter().sources().iter().filter(move |_| included);
    sources.filter_map(|source| match (source, subscription.group()) {
        (IpAddr::V4(source), IpAddr::V4(group)) => Some((*source, group)),
        _ => None,
    })
}

/// The reverse path filter's value for an interface: the larger of its own and that of `all` (ip-sysctl.rst); 0 is off.
fn rp_filter(interface: &str) -> u32 {
    let of = |name: &str| -> u32 {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    of("all").max(of(interface))
}
