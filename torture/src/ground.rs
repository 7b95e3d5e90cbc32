//! The ground of an episode: three namespaces and a veth pair, which operations delete, rename, move and change.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netlab::{Channels, End, LinkOptions, Namespace, connect, move_interface, prepare};
use serde_json::Value;

use crate::stream::{Family, Filter, GROUPS, SOURCES};

/// The sending end.
pub const TX: &str = "veth-tx";
/// The name of the receiving end at first.
const RX: &str = "veth-rx";

/// The namespaces and what is in them.
pub struct Ground {
    /// The receiver's namespace.
    pub rx: Namespace,
    /// The senders' namespace.
    pub tx: Namespace,
    /// A namespace to which the receiving end moves at times.
    elsewhere: Namespace,
    /// The name of the receiving end now.
    pub rx_name: String,
    family: Family,
    queues: u32,
    /// Senders compute whole UDP checksums.
    whole_checksums: bool,
}

/// What the kernel reports of an interface.
pub struct LinkReport {
    /// The XDP program that is attached.
    pub has_program: bool,
    /// The MTU.
    pub mtu: u64,
    /// Packets that could not be sent.
    pub tx_dropped: u64,
}

impl Ground {
    /// Makes the namespaces and the link.
    pub fn new(family: Family, queues: u32, whole_checksums: bool) -> Result<Self> {
        let this = Self {
            rx: Namespace::new("torture-rx")?,
            tx: Namespace::new("torture-tx")?,
            elsewhere: Namespace::new("torture-elsewhere")?,
            rx_name: RX.to_owned(),
            family,
            queues,
            whole_checksums,
        };
        this.make_link()?;
        Ok(this)
    }

    fn make_link(&self) -> Result<()> {
        connect(
            End { namespace: &self.rx, interface: &self.rx_name },
            End { namespace: &self.tx, interface: TX },
            LinkOptions { rx_queues: self.queues, tx_queues: self.queues, mtu: 1500 },
        )?;
        self.address_rx()?;
        self.address_tx()
    }

    /// Deletes the link and makes it again, under the index that it had or another one.
    pub fn remake(&self, same_index: bool) -> Result<()> {
        let index = self.rx.interface_index(&self.rx_name)?.to_string();
        self.rx.ip(&["link", "del", &self.rx_name])?;
        if !same_index {
            return self.make_link();
        }
        let queues = self.queues.to_string();
        let each = ["numrxqueues", &queues, "numtxqueues", &queues];
        let mut add = vec!["link", "add", "name", &self.rx_name, "index", &index];
        add.extend(each);
        add.extend(["type", "veth", "peer", "name", TX]);
        add.extend(each);
        self.rx.ip(&add)?;
        move_interface(&self.rx, End { namespace: &self.tx, interface: TX })?;
        prepare(End { namespace: &self.tx, interface: TX })?;
        prepare(End { namespace: &self.rx, interface: &self.rx_name })?;
        self.address_rx()?;
        self.address_tx()
    }

    /// Gives the receiving end its address.
    pub fn address_rx(&self) -> Result<()> {
        self.address(&self.rx, &self.rx_name, &[self.family.receiver()])
    }

    fn address_tx(&self) -> Result<()> {
        let sources: Vec<IpAddr> = (0..SOURCES).map(|source| self.family.source(source)).collect();
        self.address(&self.tx, TX, &sources)?;
        self.tx.set_feature(TX, "tx-checksum-ip-generic", !self.whole_checksums)?;
        Ok(())
    }

    fn address(&self, namespace: &Namespace, interface: &str, addresses: &[IpAddr]) -> Result<()> {
        for address in addresses {
            let address = format!("{address}/{}", self.family.prefix());
            let mut words = vec!["address", "replace", &address, "dev", interface];
            words.extend((self.family == Family::V6).then_some("nodad"));
            namespace.ip(&words)?;
        }
        if self.family == Family::V4 {
            namespace.ip(&["route", "replace", "224.0.0.0/4", "dev", interface])?;
        }
        Ok(())
    }

    /// Sets one end up or down.
    pub fn set_up(&self, rx: bool, up: bool) -> Result<()> {
        let (namespace, name) = if rx { (&self.rx, self.rx_name.as_str()) } else { (&self.tx, TX) };
        namespace.ip(&["link", "set", name, if up { "up" } else { "down" }])?;
        // Routes and IPv6 addresses go with a link that goes down.
        match (up, rx) {
            (true, true) => self.address_rx(),
            (true, false) => self.address_tx(),
            (false, _) => Ok(()),
        }
    }

    /// Gives the receiving end another name.
    pub fn rename(&mut self) -> Result<()> {
        let name = if self.rx_name == RX { "feed0" } else { RX };
        self.rx.ip(&["link", "set", &self.rx_name, "name", name])?;
        name.clone_into(&mut self.rx_name);
        Ok(())
    }

    /// Moves the receiving end to another namespace and back. There it is up for a moment if `up`.
    pub fn move_away_and_back(&self, up: bool, time: Duration) -> Result<()> {
        let name = self.rx_name.as_str();
        move_interface(&self.rx, End { namespace: &self.elsewhere, interface: name })?;
        if up {
            self.elsewhere.ip(&["link", "set", name, "up"])?;
        }
        std::thread::sleep(time);
        move_interface(&self.elsewhere, End { namespace: &self.rx, interface: name })?;
        prepare(End { namespace: &self.rx, interface: name })?;
        self.address_rx()
    }

    /// Sets the MTU of both ends, as far as the kernel allows. Returns true if that of the receiving end has changed.
    pub fn set_mtu(&self, mtu: u32) -> Result<bool> {
        let before = self.report(true)?.mtu;
        let mtu = mtu.to_string();
        let set = |namespace: &Namespace, name: &str| namespace.ip(&["link", "set", name, "mtu", &mtu]).is_ok();
        // XDP without several buffers refuses a large MTU at either end.
        if set(&self.rx, &self.rx_name) {
            set(&self.tx, TX);
        }
        Ok(self.report(true)?.mtu != before)
    }

    /// Takes the addresses of the family off the receiving end, or IPv6 as a whole.
    pub fn remove_addresses(&self) -> Result<()> {
        match self.family {
            Family::V4 => self.rx.ip(&["address", "flush", "dev", &self.rx_name]).map(drop)?,
            Family::V6 => self.disable_ipv6("1")?,
        }
        Ok(())
    }

    /// Puts them back.
    pub fn restore_addresses(&self) -> Result<()> {
        if self.family == Family::V6 {
            self.disable_ipv6("0")?;
        }
        self.address_rx()
    }

    fn disable_ipv6(&self, value: &str) -> Result<()> {
        Ok(self.rx.sysctl(&format!("net/ipv6/conf/{}/disable_ipv6", self.rx_name), value)?)
    }

    /// Changes the number of queues, as far as the kernel allows.
    pub fn set_queues(&self, count: u32) {
        // The kernel attaches XDP only where the other end sends by no more queues than there are here.
        let tx = |count| self.tx.set_channels(TX, Channels::Tx, count);
        let rx = |count| self.rx.set_channels(&self.rx_name, Channels::Rx, count);
        if count > 1 {
            let _ = rx(count).and_then(|()| tx(count));
        } else {
            let _ = tx(count).and_then(|()| rx(count));
        }
    }

    /// What the kernel reports of an end.
    pub fn report(&self, rx: bool) -> Result<LinkReport> {
        let (namespace, name) = if rx { (&self.rx, self.rx_name.as_str()) } else { (&self.tx, TX) };
        let text = namespace.ip(&["-s", "-j", "link", "show", "dev", name])?;
        let all: Value = serde_json::from_str(&text).with_context(|| format!("`ip -j` wrote no JSON: {text}"))?;
        let link = &all[0];
        Ok(LinkReport {
            has_program: !link["xdp"].is_null(),
            mtu: link["mtu"].as_u64().context("`ip -j` reports no MTU")?,
            tx_dropped: link["stats64"]["tx"]["dropped"].as_u64().context("`ip -j` reports no dropped packets")?,
        })
    }

    /// The groups and sources of these filters that the kernel's tables lack.
    pub fn not_joined(&self, filters: &[Filter; GROUPS]) -> Result<Vec<String>> {
        let (groups, sources) = self.tables()?;
        // Linux shows no source of an interface while its latest group has none: a group of any source, that of an IPv6
        // address which came after the groups, or 224.0.0.1, which a link that comes up joins again.
        let mut lines = groups.lines().skip_while(|line| !line.contains(self.rx_name.as_str()));
        let latest = if self.family == Family::V4 { lines.nth(1) } else { lines.next() };
        let is_of_the_kernel = latest.is_some_and(|line| line.contains(SOLICITED_NODE) || line.contains(ALL_SYSTEMS));
        let is_hidden = sources.lines().nth(1).is_none() && (filters.contains(&Filter::Exclude(0)) || is_of_the_kernel);
        let mut missing = Vec::new();
        for (group, filter) in filters.iter().enumerate().filter(|(_, filter)| **filter != Filter::Absent) {
            let address = self.family.group(group);
            if !groups.contains(&in_table(address)) {
                missing.push(address.to_string());
            }
            let named = filter.named().filter(|_| matches!(filter, Filter::Include(_)));
            for source in named.map(|source| self.family.source(source)) {
                let words = [in_hexadecimal(address), in_hexadecimal(source)];
                let is_shown = sources.lines().any(|line| words.iter().all(|word| line.contains(word.as_str())));
                let is_joined = is_shown || is_hidden && self.is_accepted(address, source);
                if !is_joined {
                    missing.push(format!("{source} of {address}"));
                }
            }
        }
        Ok(missing)
    }

    /// Asks the kernel's route look-up for received packets, which knows sources that the tables hide. It does so for
    /// IPv4 alone.
    fn is_accepted(&self, group: IpAddr, source: IpAddr) -> bool {
        let (group, source) = (group.to_string(), source.to_string());
        self.family == Family::V6
            || self.rx.ip(&["route", "get", &group, "from", &source, "iif", &self.rx_name]).is_ok()
    }

    /// The kernel's tables of groups and of sources.
    fn tables(&self) -> Result<(String, String)> {
        let names = match self.family {
            Family::V4 => ["igmp", "mcfilter"],
            Family::V6 => ["igmp6", "mcfilter6"],
        };
        let read = || names.map(|name| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")));
        let [groups, sources] = self.rx.run(read)?;
        Ok((groups.context("cannot read the groups")?, sources.context("cannot read the sources")?))
    }

    /// Waits until nothing of a receiver is left in its namespace.
    ///
    /// # Errors
    /// What is left.
    pub fn wait_until_clean(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let left = self.left_behind()?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("left behind: {}", left.join(", "));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn left_behind(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        if self.report(true)?.has_program {
            left.push(format!("an XDP program on {}", self.rx_name));
        }
        let (groups, sources) = self.tables()?;
        for group in 0..GROUPS {
            if groups.contains(&in_table(self.family.group(group))) {
                left.push(format!("a membership of {}", self.family.group(group)));
            }
        }
        // The first line has the names of the columns.
        left.extend(sources.lines().skip(1).map(|line| format!("a source filter: {line}")));
        let count = |name: &'static str| -> Result<usize> {
            let read = || std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
            Ok(self.rx.run(read)?.with_context(|| format!("cannot read /proc/net/{name}"))?.lines().skip(1).count())
        };
        for name in ["udp", "udp6"] {
            match count(name)? {
                0 => {}
                sockets => left.push(format!("{sockets} sockets in /proc/net/{name}")),
            }
        }
        Ok(left)
    }
}

/// 224.0.0.1 as igmp shows it.
const ALL_SYSTEMS: &str = "010000E0";
/// How solicited-node groups (RFC 4291, section 2.7.1) begin in igmp6.
const SOLICITED_NODE: &str = "ff0200000000000000000001ff";

/// An address as mcfilter and mcfilter6 show it.
fn in_hexadecimal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{:#010x}", address.to_bits()),
        IpAddr::V6(address) => format!("{:032x}", address.to_bits()),
    }
}

/// A group as igmp and igmp6 show it.
fn in_table(group: IpAddr) -> String {
    match group {
        IpAddr::V4(address) => format!("{:08X}", address.to_bits().swap_bytes()),
        IpAddr::V6(_) => in_hexadecimal(group),
    }
}
