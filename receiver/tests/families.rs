//! An IP version that the interface loses for a while: by an MTU below 1,280, or by `disable_ipv6`. The receiver warns
//! with the remedy, joins its groups again once it is back, and records the outage of that version alone.

mod support;

use netlab::Lab;
use receiver::{LinkLedger, ReceiveMode};
use support::counting::{Counting, is_joined_v6, sending, sending_v6, table};

const V4_JOINED: &str = "0xe8010101 0x0a000001";
const V6_JOINED: &str = "ff3e0000000000000000000000000001";

/// How an interface loses IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Mtu,
    Sysctl,
}

impl By {
    fn lose(self, lab: &Lab) {
        match self {
            Self::Mtu => drop(lab.rx().ip(&["link", "set", "veth-rx", "mtu", "1200"]).expect("mtu")),
            Self::Sysctl => lab.rx().sysctl("net/ipv6/conf/veth-rx/disable_ipv6", "1").expect("disable"),
        }
    }

    fn give_back(self, lab: &Lab) {
        match self {
            Self::Mtu => drop(lab.rx().ip(&["link", "set", "veth-rx", "mtu", "1500"]).expect("mtu")),
            Self::Sysctl => lab.rx().sysctl("net/ipv6/conf/veth-rx/disable_ipv6", "0").expect("enable"),
        }
    }

    /// What the warning names: the cause and the remedy.
    fn message(self) -> [&'static str; 2] {
        match self {
            Self::Mtu => ["its MTU, 1200, is below 1280", "ip link set veth-rx mtu 1280"],
            Self::Sysctl => ["net.ipv6.conf.veth-rx.disable_ipv6 is 1", "Set it to 0"],
        }
    }
}

fn link(counting: &Counting) -> LinkLedger {
    counting.handle.ledger().expect("ledger").link()
}

fn lost_and_back(mode: ReceiveMode, by: By) {
    let lab = Lab::new().expect("lab");
    let counting = Counting::open(&lab, mode);
    let streams = [sending(&lab), sending_v6(&lab)];
    counting.next(Some(false));
    counting.next(Some(true));
    for round in 1..=2 {
        by.lose(&lab);
        counting.wait_until("the warning", || {
            let warnings = counting.handle.warnings();
            let last = warnings.last().cloned().unwrap_or_default();
            warnings.len() == round && by.message().iter().all(|part| last.contains(part))
        });
        counting.next(Some(false));
        assert!(table(lab.rx(), "mcfilter").contains(V4_JOINED));
        assert_eq!(link(&counting).ipv6_outages, round as u64 - 1, "it lasts");
        by.give_back(&lab);
        counting.wait_until("the outage of IPv6 is recorded", || link(&counting).ipv6_outages == round as u64);
        counting.wait_until("the source is joined again", || is_joined_v6(lab.rx(), V6_JOINED));
        counting.next(Some(true));
        counting.next(Some(false));
        assert!(table(lab.rx(), "mcfilter").contains(V4_JOINED));
    }
    for stream in streams {
        drop(stream.stop());
    }
    let link = link(&counting);
    assert_eq!((link.outages, link.ipv4_outages, link.ipv6_outages), (0, 0, 2), "{link:?}");
    assert!(link.ipv6_outage_milliseconds > 0 && link.ipv4_outage_milliseconds == 0, "{link:?}");
    assert_eq!(counting.handle.warnings().len(), 2, "each time once: {:?}", counting.handle.warnings());
    counting.finish();
}

/// A receiver of IPv4 alone has nothing to do with IPv6.
#[test]
fn of_no_concern() {
    let lab = Lab::new().expect("lab");
    let receiver = support::open(&lab, |builder| {
        builder.subscribe(support::subscription("10.0.0.1@232.1.1.1:5000")).mode(ReceiveMode::Socket)
    });
    let counting = Counting::start(receiver.expect("receiver"));
    let stream = sending(&lab);
    By::Mtu.lose(&lab);
    // The interface as the receiver has seen it.
    counting.wait_until("the MTU is noticed", || counting.handle.interface().mtu == 1200);
    By::Mtu.give_back(&lab);
    counting.wait_until("the MTU is noticed", || counting.handle.interface().mtu == 1500);
    counting.next(Some(false));
    drop(stream.stop());
    assert_eq!((link(&counting), counting.handle.warnings()), (LinkLedger::default(), vec![]));
    counting.finish();
}

#[test]
fn mtu_socket() {
    lost_and_back(ReceiveMode::Socket, By::Mtu);
}

#[test]
fn mtu_generic() {
    lost_and_back(ReceiveMode::Generic, By::Mtu);
}

#[test]
fn mtu_copy() {
    lost_and_back(ReceiveMode::Copy, By::Mtu);
}

#[test]
fn mtu_mapped() {
    lost_and_back(ReceiveMode::Mapped, By::Mtu);
}

#[test]
fn disabled_socket() {
    lost_and_back(ReceiveMode::Socket, By::Sysctl);
}

#[test]
fn disabled_generic() {
    lost_and_back(ReceiveMode::Generic, By::Sysctl);
}

#[test]
fn disabled_copy() {
    lost_and_back(ReceiveMode::Copy, By::Sysctl);
}

#[test]
fn disabled_mapped() {
    lost_and_back(ReceiveMode::Mapped, By::Sysctl);
}
