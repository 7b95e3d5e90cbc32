//! The CPUs and the priority of the threads that receive. What the host refuses is refused before anything is opened.

mod list;
mod priority;

use std::fs;
use std::io;
use std::thread;

use anyhow::{Context, anyhow, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

pub use list::CpuList;
pub use priority::Priority;

/// Where the threads that receive run, and before which other threads.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    cpus: Option<CpuList>,
    priority: Option<Priority>,
}

impl Placement {
    /// Checks that the host grants these, and keeps the calling thread, and those that it starts from now on, off these
    /// CPUs if there are others.
    ///
    /// # Errors
    /// A CPU does not exist, is offline or is not allowed, or the priority is not permitted.
    pub fn prepare(cpus: Option<CpuList>, priority: Option<Priority>, busy_poll: bool) -> anyhow::Result<Self> {
        let allowed = cpus.as_ref().map(|cpus| Host::read()?.check(cpus)).transpose()?;
        let this = Self { cpus, priority };
        if this.cpus.is_none() && priority.is_none() {
            return Ok(this);
        }
        // What the checks do not see, such as a seccomp filter, is seen by a thread that tries it.
        let all = this.cpus.as_ref().map_or(1, |cpus| cpus.cpus().len());
        thread::scope(|scope| scope.spawn(|| (0..all).try_for_each(|index| this.enter(index))).join())
            .map_err(|_| anyhow!("the thread that tries --cpus and --priority panicked"))??;
        if let (Some(cpus), Some(allowed)) = (&this.cpus, allowed) {
            keep_off(cpus, &allowed)?;
        }
        if let Some(warning) = priority.filter(|_| busy_poll).and_then(priority::warning_of_busy_poll) {
            tracing::warn!("{warning}");
        }
        Ok(this)
    }

    /// Places the calling thread, as the thread of the worker with this index.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn enter(&self, index: usize) -> anyhow::Result<()> {
        if let Some(cpu) = self.cpu(index) {
            let mut set = CpuSet::new();
            set.set(cpu);
            sched_setaffinity(None, &set).with_context(|| format!("cannot run on CPU {cpu}"))?;
        }
        if let Some(priority) = self.priority {
            priority.take().map_err(|error| anyhow!(priority.refused(&error)))?;
        }
        Ok(())
    }

    /// The CPU of the worker with this index. Workers share CPUs if there are fewer.
    fn cpu(&self, index: usize) -> Option<usize> {
        let cpus = self.cpus.as_ref()?.cpus();
        cpus.get(index % cpus.len().max(1)).copied()
    }
}

/// Keeps the calling thread off these CPUs. If no other one is allowed, it stays where it is.
fn keep_off(cpus: &CpuList, allowed: &CpuList) -> io::Result<()> {
    let others: CpuList = allowed.cpus().iter().copied().filter(|cpu| !cpus.cpus().contains(cpu)).collect();
    if others.cpus().is_empty() {
        tracing::info!("the other threads share the CPUs {cpus} with the workers: no other CPU is allowed");
        return Ok(());
    }
    let mut set = CpuSet::new();
    others.cpus().iter().for_each(|&cpu| set.set(cpu));
    sched_setaffinity(None, &set)?;
    tracing::info!("the workers run on the CPUs {cpus}, the other threads on the CPUs {others}");
    Ok(())
}

/// The CPUs of this host.
struct Host {
    present: CpuList,
    online: CpuList,
    /// For this thread, by its affinity and its cgroup.
    allowed: CpuList,
}

impl Host {
    fn read() -> anyhow::Result<Self> {
        let list = |name: &str| {
            let path = format!("/sys/devices/system/cpu/{name}");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            CpuList::of_kernel(&text).with_context(|| format!("{path} is not a list of CPUs"))
        };
        let allowed = sched_getaffinity(None).context("cannot read the CPUs of this thread")?;
        Ok(Self { present: list("present")?, online: list("online")?, allowed: (&allowed).into() })
    }

    /// Checks that each CPU can be used. Returns those that are allowed.
    fn check(self, cpus: &CpuList) -> anyhow::Result<CpuList> {
        let Self { present, online, allowed } = self;
        for cpu in cpus.cpus() {
            if !present.cpus().contains(cpu) {
                bail!("CPU {cpu} does not exist: this host has the CPUs {present}");
            }
            if !online.cpus().contains(cpu) {
                bail!(
                    "CPU {cpu} is offline: the CPUs {online} are online. `echo 1 > \
                     /sys/devices/system/cpu/cpu{cpu}/online` as root brings it online"
                );
            }
            if !allowed.cpus().contains(cpu) {
                bail!(
                    "CPU {cpu} is not allowed: the affinity or the cgroup of this process allows the CPUs {allowed}. \
                     Name some of these, or change taskset(1), `CPUAffinity=` or `AllowedCPUs=` of the systemd unit, \
                     or the container's cpuset"
                );
            }
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        CpuList::of_kernel(text).expect(text)
    }

    #[test]
    fn each_reason_is_named_with_the_cpus_that_do() {
        let check = |cpus: &str| {
            let host = Host { present: list("0-7"), online: list("0-5"), allowed: list("0,2-3") };
            host.check(&list(cpus)).map(|allowed| allowed.to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(check("3,0"), Ok("0,2-3".to_owned()));
        for (cpus, parts) in [
            ("0,8", ["CPU 8 does not exist", "the CPUs 0-7"]),
            ("6", ["CPU 6 is offline", "the CPUs 0-5 are online"]),
            ("2,4", ["CPU 4 is not allowed", "allows the CPUs 0,2-3."]),
        ] {
            let error = check(cpus).expect_err(cpus);
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn workers_share_cpus_if_there_are_fewer() {
        let placement = Placement { cpus: Some(list("5,2-3")), priority: None };
        let taken: Vec<_> = (0..5).map(|index| placement.cpu(index)).collect();
        assert_eq!(taken, [5, 2, 3, 5, 2].map(Some));
        assert_eq!(Placement::default().cpu(0), None);
    }
}
