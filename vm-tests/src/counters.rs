//! What both interfaces count on the way from the sender to the receiver. The growth during a test names where packets
//! stayed.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use netlab::{Lab, Namespace};
use serde_json::Value;

/// A snapshot of all counters, or their growth since another one.
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads the kernel's counters of both interfaces, of the sender's queueing discipline, and those of the drivers.
    pub fn read(lab: &Lab) -> Result<Self> {
        let mut all = BTreeMap::new();
        for (end, namespace, interface) in
            [("sender", lab.tx(), lab.tx_interface()), ("receiver", lab.rx(), lab.rx_interface())]
        {
            link(&mut all, end, namespace, interface)?;
            queueing(&mut all, end, namespace, interface);
            for (name, count) in namespace.driver_counters(interface)? {
                all.insert(format!("{end} driver {name}"), count);
            }
        }
        Ok(Self(all))
    }

    /// What was counted since an earlier snapshot.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |name| earlier.0.get(name).copied().unwrap_or(0);
        Self(self.0.iter().map(|(name, count)| (name.clone(), count.saturating_sub(before(name)))).collect())
    }
}

impl fmt::Display for Counters {
    /// All that are not 0. Counts of bytes are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self
            .0
            .iter()
            .filter(|(name, count)| **count > 0 && !name.contains("bytes"))
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        f.write_str(&counts.join(", "))
    }
}

/// The kernel's counters of an interface.
fn link(all: &mut BTreeMap<String, u64>, end: &str, namespace: &Namespace, interface: &str) -> Result<()> {
    let text = namespace.ip(&["-statistics", "-json", "link", "show", "dev", interface])?;
    let links: Value = serde_json::from_str(&text).context("ip wrote no JSON")?;
    for way in ["rx", "tx"] {
        for (name, count) in links[0]["stats64"][way].as_object().into_iter().flatten() {
            all.extend(count.as_u64().map(|count| (format!("{end} {way} {name}"), count)));
        }
    }
    Ok(())
}

/// What the queueing discipline dropped, if the program `tc` is there.
fn queueing(all: &mut BTreeMap<String, u64>, end: &str, namespace: &Namespace, interface: &str) {
    let Ok(output) = namespace.command("tc").args(["-s", "-json", "qdisc", "show", "dev", interface]).output() else {
        return;
    };
    let disciplines: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    for discipline in disciplines.as_array().into_iter().flatten() {
        for name in ["drops", "overlimits", "requeues"] {
            let count = discipline[name].as_u64().unwrap_or(0);
            *all.entry(format!("{end} qdisc {name}")).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_growth_has_the_counters_that_grew() {
        let of = |counts: &[(&str, u64)]| {
            Counters(counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect())
        };
        let before = of(&[("sender tx packets", 7), ("receiver rx dropped", 1)]);
        let now = of(&[("sender tx packets", 9), ("sender tx bytes", 500), ("receiver rx dropped", 1), ("new", 2)]);
        assert_eq!(now.since(&before).to_string(), "new 2, sender tx packets 2");
    }
}
