//! The CPUs of the workers: governor, isolation, the NIC's interrupts, and the NUMA node.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rustix::thread::sched_getaffinity;

use crate::cpus::CpuList;
use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

#[derive(Clone, Debug, Default, PartialEq)]
struct Facts {
    interface: String,
    /// Words that begin `receiver run` for the interface.
    run: String,
    /// The CPUs of the workers, and true if they were named.
    cpus: BTreeSet<usize>,
    are_named: bool,
    /// The governor of each CPU that has one.
    governors: BTreeMap<usize, String>,
    isolated: BTreeSet<usize>,
    /// The CPUs of each of the NIC's interrupts.
    interrupts: BTreeMap<u32, BTreeSet<usize>>,
    /// All CPUs that are online.
    online: BTreeSet<usize>,
    /// The NIC's NUMA node, and its CPUs.
    node: Option<(u32, BTreeSet<usize>)>,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let (cpus, are_named) = match &subject.cpus {
        Some(cpus) => (set_of(cpus), true),
        // Those that this process may run on.
        None => (sched_getaffinity(None).map(|allowed| set_of(&CpuList::from(&allowed))).unwrap_or_default(), false),
    };
    let facts =
        Facts { interface: subject.name().to_owned(), run: subject.run_command(), cpus, are_named, ..Facts::default() };
    judge(&gather(Path::new("/"), subject.relations.device.as_deref(), facts))
}

fn set_of(list: &CpuList) -> BTreeSet<usize> {
    list.cpus().iter().copied().collect()
}

/// Reads `/sys` and `/proc` below a root. `device` is the NIC's folder.
fn gather(root: &Path, device: Option<&Path>, mut facts: Facts) -> Facts {
    let read = |path: &Path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let system = root.join("sys/devices/system");
    let list = |text: String| CpuList::of_kernel(&text).map(|list| set_of(&list)).unwrap_or_default();
    for &cpu in &facts.cpus {
        if let Some(governor) = read(&system.join(format!("cpu/cpu{cpu}/cpufreq/scaling_governor"))) {
            facts.governors.insert(cpu, governor);
        }
    }
    facts.isolated = read(&system.join("cpu/isolated")).map(list).unwrap_or_default();
    facts.online = read(&system.join("cpu/online")).map(list).unwrap_or_default();
    let Some(device) = device.map(|device| root.join(device.strip_prefix("/").unwrap_or(device))) else { return facts };
    for entry in fs::read_dir(device.join("msi_irqs")).into_iter().flatten().flatten() {
        let Some(irq) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let of = |name: &str| read(&root.join(format!("proc/irq/{irq}/{name}"))).filter(|text| !text.is_empty());
        if let Some(text) = of("effective_affinity_list").or_else(|| of("smp_affinity_list")) {
            facts.interrupts.insert(irq, list(text));
        }
    }
    let node: Option<u32> = read(&device.join("numa_node")).and_then(|text| text.parse().ok());
    facts.node = node.and_then(|node| {
        let cpus = read(&system.join(format!("node/node{node}/cpulist"))).map(list)?;
        Some((node, cpus))
    });
    facts
}

fn judge(facts: &Facts) -> Vec<Line> {
    let Facts { interface, cpus, online, .. } = facts;
    let named = |cpus: &BTreeSet<usize>| cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let mut lines = Vec::new();
    let slow: BTreeSet<&str> =
        facts.governors.values().map(String::as_str).filter(|governor| *governor != "performance").collect();
    if !slow.is_empty() {
        let governors = slow.into_iter().collect::<Vec<_>>().join(", ");
        let text = format!("CPUs change their frequency (governor {governors}), which costs time at each wake-up");
        let remedy = "echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor";
        lines.push(Line::warn(text).remedy(remedy));
    }
    if let Some((node, of_node)) = facts.node.as_ref().filter(|(_, of_node)| !of_node.is_empty()) {
        let far: BTreeSet<usize> = cpus.difference(of_node).copied().collect();
        let near = || named(of_node);
        if !far.is_empty() {
            let text =
                format!("{interface} is on NUMA node {node}, and CPUs {} are not: memory is further away", named(&far));
            lines.push(Line::warn(text).remedy(format!("{} --cpus {} SUBSCRIPTION", facts.run, near())));
        }
    }
    if facts.are_named {
        let others: BTreeSet<usize> = online.difference(cpus).copied().collect();
        let shared: BTreeSet<usize> = cpus.difference(&facts.isolated).copied().collect();
        if !shared.is_empty() {
            let list = named(&shared);
            let text = format!("CPUs {list} are not isolated (isolcpus): other programs interrupt the workers there");
            let line = Line::warn(text);
            lines.push(match others.is_empty() {
                true => line,
                false => line.remedy(format!(
                    "systemctl set-property --runtime system.slice AllowedCPUs={0} && systemctl set-property --runtime \
                     user.slice AllowedCPUs={0}",
                    named(&others)
                )),
            });
        }
        for (irq, of_irq) in &facts.interrupts {
            if of_irq.is_disjoint(cpus) {
                continue;
            }
            let text = format!("interrupt {irq} of {interface} is served by CPUs {}, which workers use", named(of_irq));
            let line = Line::warn(text);
            lines.push(match others.first() {
                Some(other) => line.remedy(format!("echo {other} > /proc/irq/{irq}/smp_affinity_list")),
                None => line,
            });
        }
    }
    if lines.is_empty() {
        lines.push(Line::ok(format!("workers run on CPUs {}", named(cpus))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Ok, Warn};
    use std::path::PathBuf;

    /// A folder with files. Dropping this value removes it.
    struct Root(PathBuf);

    impl Root {
        fn with(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("receiver-doctor-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                fs::write(path, format!("{text}\n")).expect("a file");
            }
            Self(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn lines(name: &str, cpus: &[usize], are_named: bool, files: &[(&str, &str)]) -> Vec<Line> {
        let root = Root::with(name, files);
        let facts = Facts {
            interface: "eth1".to_owned(),
            run: "receiver run -i eth1".to_owned(),
            cpus: cpus.iter().copied().collect(),
            are_named,
            ..Facts::default()
        };
        judge(&gather(&root.0, Some(Path::new("/sys/bus/pci/devices/0000:01:00.0")), facts))
    }

    const NUMA: [(&str, &str); 4] = [
        ("sys/bus/pci/devices/0000:01:00.0/numa_node", "1"),
        ("sys/devices/system/node/node1/cpulist", "4-7"),
        ("sys/devices/system/cpu/online", "0-7"),
        ("sys/devices/system/cpu/isolated", "6-7"),
    ];

    #[test]
    fn governors() {
        let file = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
        assert_eq!(outcomes(&lines("fast", &[0], false, &[(file, "performance")])), [Ok]);
        assert_eq!(outcomes(&lines("other", &[1], false, &[(file, "powersave")])), [Ok], "no worker's CPU");
        let slow = lines("slow", &[0], false, &[(file, "powersave")]);
        assert!(slow[0].remedy.as_ref().is_some_and(|remedy| remedy.contains("scaling_governor")), "{slow:?}");
    }

    #[test]
    fn nodes_isolation_and_interrupts() {
        assert_eq!(outcomes(&lines("near", &[6, 7], true, &NUMA)), [Ok]);
        let far = lines("far", &[0, 6], false, &NUMA);
        assert_eq!(far[0].remedy.as_deref(), Some("receiver run -i eth1 --cpus 4,5,6,7 SUBSCRIPTION"));
        let shared = lines("shared", &[5, 6], true, &NUMA);
        assert_eq!(outcomes(&shared), [Warn]);
        assert!(shared[0].text.starts_with("CPUs 5 are not isolated"), "{shared:?}");
        let irq = [
            ("sys/bus/pci/devices/0000:01:00.0/msi_irqs/33", "msix"),
            ("sys/bus/pci/devices/0000:01:00.0/msi_irqs/34", "msix"),
            ("proc/irq/33/effective_affinity_list", "6"),
            ("proc/irq/34/smp_affinity_list", "2-3"),
        ];
        let busy = lines("busy", &[6, 7], true, &[&NUMA[..], &irq].concat());
        assert_eq!(
            (outcomes(&busy), busy[0].remedy.as_deref()),
            (vec![Warn], Some("echo 0 > /proc/irq/33/smp_affinity_list"))
        );
    }
}
