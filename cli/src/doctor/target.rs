//! What is examined: the interface, what is there already, and what shall be received.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use receiver::{Holder, Interface, Queues, Subscription, Vlan, inspect};
use receiver_host::Relations;
use receiver_membership::InterfaceRef;

use crate::cpus::CpuList;

/// What is examined.
pub struct Target {
    /// The interface.
    pub interface: Interface,
    /// The subscriptions that shall be received.
    pub subscriptions: Vec<Subscription>,
    /// Where they are joined: the interface, or the VLAN's own.
    pub joined_on: InterfaceRef,
    /// The VLAN tags that frames must carry.
    pub vlan: Option<Vlan>,
    /// The receive queues that shall be served.
    pub queues: Queues,
    /// The CPUs of the workers, if they are named.
    pub cpus: Option<CpuList>,
    /// How long the doctor listens.
    pub wait: Duration,
    /// True if modes are tried.
    pub probe: bool,
    /// The interfaces above and below.
    pub relations: Relations,
    /// The XDP program that is on the interface already.
    pub holder: Option<Holder>,
}

/// What the command line asks for.
pub struct Request {
    pub subscriptions: Vec<Subscription>,
    pub vlan: Option<Vlan>,
    pub queues: Queues,
    pub cpus: Option<CpuList>,
    pub wait: Duration,
    pub probe: bool,
}

impl Target {
    /// Looks the interface up.
    ///
    /// # Errors
    /// There is no such interface, or the kernel does not answer.
    pub fn look_up(name: &str, request: Request) -> anyhow::Result<Self> {
        let interface = Interface::lookup(name)?;
        let Request { subscriptions, vlan, queues, cpus, wait, probe } = request;
        let tags = vlan.into_iter().flat_map(|vlan| [Some(vlan.outer()), vlan.inner()]).flatten();
        let joined_on = match interface.vlan_interface(tags)? {
            Some((index, name)) => InterfaceRef::new(index, name),
            None => InterfaceRef::new(interface.index, &interface.name),
        };
        let relations = Relations::read(interface.index)?;
        let holder = inspect::xdp_holder(&interface);
        let this = Self { interface, subscriptions, joined_on, vlan, queues, cpus, wait, probe, relations, holder };
        Ok(this)
    }

    /// The name of the interface.
    pub fn name(&self) -> &str {
        &self.interface.name
    }

    /// The IPv4 sources that subscriptions name, each with its group, up to `most`.
    pub fn named_sources(&self, most: usize) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        let pairs = self.subscriptions.iter().filter(|one| !one.filter().is_exclude()).flat_map(|one| {
            one.filter().sources().iter().filter_map(|&source| match (source, one.group()) {
                (IpAddr::V4(source), IpAddr::V4(group)) => Some((source, group)),
                _ => None,
            })
        });
        pairs.take(most).collect()
    }

    /// Returns true if a subscription has this IP version, or if there is none.
    pub fn wants(&self, ipv6: bool) -> bool {
        self.subscriptions.is_empty() || self.subscriptions.iter().any(|one| one.group().is_ipv6() == ipv6)
    }

    /// The words of the command line that begin `receiver run` for this interface.
    pub fn run_command(&self) -> String {
        format!("receiver run -i {}{}", self.name(), self.vlan_option())
    }

    /// The option `--vlan` with a space before it; empty without a tag.
    pub fn vlan_option(&self) -> String {
        self.vlan.map(|vlan| format!(" --vlan {vlan}")).unwrap_or_default()
    }
}

/// No interface has more queues: the kernel numbers them in 16 bits.
const MOST_QUEUES: u32 = 1 << 16;

/// The receive queues that are served of an interface with this number of queues.
pub fn served(queues: &Queues, available: u32) -> BTreeSet<u32> {
    match queues {
        Queues::First(count) => (0..(*count).min(MOST_QUEUES)).collect(),
        Queues::These(numbers) => numbers.iter().copied().collect(),
        _ => (0..available).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_queues_can_be_asked_for() {
        assert_eq!(served(&Queues::All, 2), [0, 1].into());
        assert_eq!(served(&Queues::First(3), 2), [0, 1, 2].into());
        assert_eq!(served(&Queues::These(vec![7, 0, 7]), 2), [0, 7].into());
        assert_eq!(served(&Queues::First(u32::MAX), 2).len(), 65_536);
    }
}
