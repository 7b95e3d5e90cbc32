//! A veth pair between two namespaces.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// Time limit for a link to get a carrier after both ends are up. It usually takes milliseconds.
const CARRIER_WAIT: Duration = Duration::from_secs(10);

/// One end of a link: a namespace, and the name of the interface there.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// The interface's namespace.
    pub namespace: &'a Namespace,
    /// The interface's name, at most 15 bytes.
    pub interface: &'a str,
}

/// The configuration of a veth pair, the same for both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkOptions {
    /// Receive queues, 1 to 4096 (`numrxqueues`).
    pub rx_queues: u32,
    /// Transmit queues, 1 to 4096 (`numtxqueues`). The kernel attaches XDP to an end only if it has as many receive
    /// queues as the other has transmit queues.
    pub tx_queues: u32,
    /// Largest IP packet in bytes, 1280 (IPv6 asks for it) to 65535. XDP without multi-buffer support takes about 3500
    /// at most.
    pub mtu: u32,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self { rx_queues: 1, tx_queues: 1, mtu: 1500 }
    }
}

impl LinkOptions {
    fn check(&self) -> Result<()> {
        let within = |what, range, value: u32, allowed: std::ops::RangeInclusive<u32>| {
            if allowed.contains(&value) { Ok(()) } else { Err(Error::Range { what, range, value }) }
        };
        within("the number of receive queues", "1 to 4096", self.rx_queues, 1..=4096)?;
        within("the number of transmit queues", "1 to 4096", self.tx_queues, 1..=4096)?;
        within("the MTU", "1280 to 65535", self.mtu, 1280..=65535)
    }
}

/// Joins two namespaces by a veth pair, brings both ends up and waits for their carrier. No address is set, not even
/// IPv6's own link-local one; duplicate address detection and reverse path filters are off, so that addresses serve at
/// once and packets of foreign sources arrive.
///
/// # Errors
///
/// Those of [`Namespace::ip`] and [`Namespace::sysctl`], [`Error::Range`], [`Error::NoCarrier`].
pub fn connect(a: End<'_>, b: End<'_>, options: LinkOptions) -> Result<()> {
    options.check()?;
    let (rx_queues, tx_queues) = (options.rx_queues.to_string(), options.tx_queues.to_string());
    let mtu = options.mtu.to_string();
    let each = ["mtu", &mtu, "numrxqueues", &rx_queues, "numtxqueues", &tx_queues];
    let mut add = vec!["link", "add", "name", a.interface];
    add.extend(each);
    add.extend(["type", "veth", "peer", "name", b.interface, "netns", "/proc/self/fd/0"]);
    add.extend(each);
    a.namespace.ip_with(b.namespace, &add)?;
    bring_up(a, b)
}

/// Moves an interface into a namespace. It keeps its name.
///
/// # Errors
///
/// Those of [`Namespace::ip`].
pub fn move_interface(from: &Namespace, to: End<'_>) -> Result<()> {
    from.ip_with(to.namespace, &["link", "set", "dev", to.interface, "netns", "/proc/self/fd/0"]).map(drop)
}

/// Brings up the ends that [`connect`] made.
pub(crate) fn bring_up(a: End<'_>, b: End<'_>) -> Result<()> {
    prepare(a)?;
    prepare(b)?;
    wait_for_carrier(a)?;
    wait_for_carrier(b)
}

/// Brings up one end as [`connect`] does, with the same settings. It does not wait for a carrier.
///
/// # Errors
///
/// Those of [`Namespace::ip`] and [`Namespace::sysctl`].
pub fn prepare(end: End<'_>) -> Result<()> {
    // The stricter of `all` and the interface's own value rules.
    end.namespace.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
    end.namespace.sysctl(&format!("net/ipv4/conf/{}/rp_filter", end.interface), "0")?;
    end.namespace.sysctl(&format!("net/ipv6/conf/{}/accept_dad", end.interface), "0")?;
    end.namespace.ip(&["link", "set", "dev", end.interface, "addrgenmode", "none"])?;
    end.namespace.ip(&["link", "set", "dev", end.interface, "up"])?;
    Ok(())
}

fn wait_for_carrier(end: End<'_>) -> Result<()> {
    let deadline = Instant::now() + CARRIER_WAIT;
    loop {
        let state = end.namespace.ip(&["-oneline", "link", "show", "dev", end.interface])?;
        if state.contains("LOWER_UP") && state.contains("state UP") {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::NoCarrier {
                name: end.namespace.name().to_owned(),
                interface: end.interface.to_owned(),
                seconds: CARRIER_WAIT.as_secs(),
                state: state.trim().to_owned(),
            });
        }
        sleep(Duration::from_millis(5));
    }
}
