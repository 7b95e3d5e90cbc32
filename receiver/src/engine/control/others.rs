//! Other programs that use this receiver's groups: decides which frames of unwanted sources pass to the kernel for
//! them, and warns. For the modes with XDP; in mode `socket` each program gets its own copy from the kernel.
//!
//! The kernel counts the members of a group on an interface, but does not name them. Members beyond this receiver's own
//! sockets are other programs, or other receivers of this process. The UDP sockets that are bound to the group's port
//! tell who they may be. The thread that follows the link checks every second, and so does each join.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::{Mutex, TryLockError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::fstat;

use super::{Control, Inner};
use crate::api::error::Error;
use crate::engine::filter::FilterTable;
use crate::engine::lock::lock;
use crate::engine::others::sharing::{Change, Reported, User, last_report, uses};
use crate::engine::others::{Process, Tables, holders_of_sockets};
use crate::stats::ledger::kernel_only;
use receiver_host::InterfaceError;

/// The pause after a check, as a multiple of its duration: long tables cost at most a twentieth of a processor.
const PAUSE_FACTOR: u32 = 20;
/// The groups of which the kernel itself is a member on every interface that is up.
const KERNELS_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const KERNELS_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)];

/// Finds other programs that use the groups.
pub(crate) struct Others {
    /// `None` if they cannot be read.
    tables: Option<Tables>,
    /// Never locked by a thread that holds the control's lock and would wait for this one.
    names: Mutex<Names>,
}

/// Who the other programs are.
#[derive(Default)]
struct Names {
    pace: Pace,
    /// The processes that hold each socket, by its inode.
    processes: HashMap<u64, Vec<Process>>,
    reported: Reported,
    /// Why the last check failed. The same failure is reported once.
    failure: Option<String>,
    /// It was reported that frames reach the other programs only.
    has_reported_kernel_only: bool,
}

/// What other programs have joined, and for which groups the XDP program passes unwanted frames.
#[derive(Default)]
pub(super) struct Sharing {
    pace: Pace,
    /// The number of members of each group other than this receiver's sockets, if any; `None` before the first check.
    members: Option<HashMap<IpAddr, u64>>,
    /// True if `members` is newer than what the XDP program does and than `shared`.
    is_newer: bool,
    /// This receiver's groups and ports that other programs have joined.
    shared: BTreeSet<(IpAddr, u16)>,
    /// The groups and ports whose frames of unwanted sources pass to the kernel.
    passing: HashSet<(IpAddr, u16)>,
}

/// When the last check ended, and how long it took.
#[derive(Default)]
struct Pace(Option<(Instant, Duration)>);

impl Pace {
    fn is_due(&self) -> bool {
        self.0.is_none_or(|(at, took)| at.elapsed() >= took * PAUSE_FACTOR)
    }

    fn ended(&mut self, start: Instant) {
        self.0 = Some((Instant::now(), start.elapsed()));
    }

    /// Adds the duration of what the check caused.
    fn took(&mut self, more: Duration) {
        if let Some((_, took)) = &mut self.0 {
            *took += more;
        }
    }
}

impl Others {
    /// Opens the kernel's tables in the calling thread's network namespace. Returns a warning if they cannot be read,
    /// unless packets are shared.
    pub fn open(share: bool) -> (Self, Option<String>) {
        let (tables, warning) = match Tables::open() {
            Ok(tables) => (Some(tables), None),
            // Nobody loses a packet.
            Err(_) if share => (None, None),
            Err(error) => {
                let warning = format!(
                    "the memberships of other programs cannot be read in /proc/net: {error}. Programs that use the \
                     groups of this receiver go unnoticed. Mount /proc, or have no frame dropped for its source"
                );
                (None, Some(warning))
            }
        };
        (Self { tables, names: Mutex::default() }, warning)
    }
}

impl Sharing {
    /// The number of members of the group other than this receiver's sockets; `None` if it is not known.
    pub fn members(&self, group: IpAddr) -> Option<u64> {
        self.members.as_ref().map(|members| members.get(&group).copied().unwrap_or(0))
    }

    fn is_shared(&self, group: IpAddr) -> bool {
        self.members(group) > Some(0)
    }

    /// Forgets a group whose entry was removed from the XDP program.
    pub fn forget(&mut self, group: IpAddr, port: u16) {
        self.shared.remove(&(group, port));
        self.passing.remove(&(group, port));
    }
}

impl Control {
    /// Returns true if frames of unwanted sources pass to the kernel for a group that is about to be joined. Reads the
    /// memberships first, unless that was just done.
    pub(super) fn passes_unwanted(&self, inner: &mut Inner, group: IpAddr, port: u16) -> bool {
        if let Err(error) = self.read_members(inner) {
            tracing::debug!("{error}");
        }
        let sharing = &mut inner.sharing;
        let is_shared = sharing.is_shared(group);
        if is_shared {
            sharing.shared.insert((group, port));
        }
        let passes = self.config.drop_policy().passes(is_shared);
        if passes {
            sharing.passing.insert((group, port));
        }
        passes
    }

    /// Reads the memberships, has the XDP program pass or drop unwanted frames accordingly, and warns of what is new.
    /// Does nothing while another thread does the same.
    pub fn check_others(&self) {
        if !self.has_program() {
            return;
        }
        let mut names = match self.others.names.try_lock() {
            Ok(names) => names,
            Err(TryLockError::Poisoned(names)) => names.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let failure = match self.find_others(&mut names) {
            Ok(()) | Err(Error::Stopped) => None,
            Err(error) => Some(error.to_string()),
        };
        if failure != names.failure
            && let Some(failure) = &failure
        {
            self.warn(failure.clone());
        }
        names.failure = failure;
        if self.config.share && !names.has_reported_kernel_only && self.has_kernel_only_frames() {
            names.has_reported_kernel_only = true;
            self.warn(kernel_only_warning(&self.interface().name));
        }
    }

    fn has_kernel_only_frames(&self) -> bool {
        let inner = lock(&self.inner);
        let verdicts = inner.program.as_ref().and_then(|program| program.verdicts().ok());
        verdicts.is_some_and(|verdicts| kernel_only(&verdicts) > 0)
    }

    fn find_others(&self, names: &mut Names) -> Result<(), Error> {
        let mut inner = self.lock()?;
        let joined = self.share(&mut inner)?;
        let interface = inner.membership.interface().name.clone();
        if joined.is_empty() {
            drop(inner);
            names.processes.clear();
            self.report(names.reported.changes(Default::default()), &interface);
            return Ok(());
        }
        let Some(tables) = self.others.tables.as_ref().filter(|_| names.pace.is_due()) else { return Ok(()) };
        let start = Instant::now();
        let ports: HashSet<u16> = joined.iter().map(|(_, port)| *port).collect();
        let own = inner.inodes(&ports);
        drop(inner);
        let operation = "read the UDP sockets of other programs";
        let failed = |source| InterfaceError::Kernel { name: interface.clone(), operation, source };
        let sockets = tables.udp_sockets(|socket| ports.contains(&socket.port) && !own.contains(&socket.inode));
        let sockets = sockets.map_err(failed)?;
        let there: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
        names.processes.retain(|inode, _| there.contains(inode));
        let unknown: BTreeSet<u64> = there.into_iter().filter(|inode| !names.processes.contains_key(inode)).collect();
        if !unknown.is_empty() {
            let mut found = holders_of_sockets(&unknown);
            // A socket whose process /proc does not show is not searched for again.
            names.processes.extend(unknown.into_iter().map(|inode| (inode, found.remove(&inode).unwrap_or_default())));
        }
        let uses = uses(&joined, &sockets, &names.processes);
        names.pace.ended(start);
        self.report(names.reported.changes(uses), &interface);
        Ok(())
    }

    fn report(&self, (changes, is_last): (Vec<Change>, bool), interface: &str) {
        for change in changes {
            let text = change.text(interface, self.config.drop_policy(), self.config.share);
            // In most cases it is the same group on another port. Then, and if packets are shared, no program misses
            // frames.
            if change.user == User::NoSocket || self.config.share {
                tracing::info!("{text}");
            } else {
                self.warn(text);
            }
        }
        if is_last && !self.config.share {
            self.warn(last_report());
        }
    }

    /// Has the XDP program pass or drop unwanted frames by the memberships as they are now. Returns the groups and
    /// ports that other programs have joined. Visits all groups only if the memberships were read anew, since each join
    /// of one of thousands calls this.
    pub(super) fn share(&self, inner: &mut Inner) -> Result<BTreeSet<(IpAddr, u16)>, Error> {
        self.read_members(inner)?;
        let Inner { program: Some(program), sharing, leaving, .. } = inner else { return Ok(BTreeSet::new()) };
        if std::mem::take(&mut sharing.is_newer) {
            let start = Instant::now();
            leaving.retain(|socket| socket.strong_count() > 0);
            sharing.shared.clear();
            for (group, port) in self.shared.filter.read(FilterTable::groups) {
                let is_shared = sharing.is_shared(group);
                if is_shared {
                    sharing.shared.insert((group, port));
                }
                let passes = self.config.drop_policy().passes(is_shared);
                if passes == sharing.passing.contains(&(group, port)) {
                    continue;
                }
                program.set_shared(group, port, passes).inspect_err(|_| sharing.is_newer = true)?;
                if passes {
                    sharing.passing.insert((group, port));
                } else {
                    sharing.passing.remove(&(group, port));
                }
            }
            sharing.pace.took(start.elapsed());
        }
        Ok(sharing.shared.clone())
    }

    /// Reads how many other members each group has, unless that was just done. The control's lock is held, so that this
    /// receiver's own memberships do not change meanwhile.
    fn read_members(&self, inner: &mut Inner) -> Result<(), Error> {
        let Some(tables) = self.others.tables.as_ref().filter(|_| inner.program.is_some()) else { return Ok(()) };
        if !inner.sharing.pace.is_due() {
            return Ok(());
        }
        let start = Instant::now();
        let interface = inner.membership.interface();
        let mut members = tables.members_on(interface.index).map_err(|source| InterfaceError::Kernel {
            name: interface.name.clone(),
            operation: "read which groups other programs have joined",
            source,
        })?;
        let own = inner.membership.members();
        members.retain(|group, count| {
            let own = own.get(group).filter(|_| !inner.lost.has(*group)).copied().unwrap_or(0);
            *count = count.saturating_sub(own + u64::from(is_kernels(*group)));
            *count > 0
        });
        inner.sharing.members = Some(members);
        inner.sharing.is_newer = true;
        inner.sharing.pace.ended(start);
        Ok(())
    }
}

impl Inner {
    /// The inodes of this receiver's sockets on these ports, including those that only workers still hold.
    fn inodes(&self, ports: &HashSet<u16>) -> HashSet<u64> {
        let leaving = self.leaving.iter().filter_map(Weak::upgrade);
        let sockets = self.sockets.values().cloned().chain(leaving).filter(|socket| ports.contains(&socket.port()));
        sockets.filter_map(|socket| fstat(socket.as_fd()).ok()).map(|status| status.st_ino).collect()
    }
}

/// The warning that the receiver misses what only the kernel's sockets could deliver.
fn kernel_only_warning(interface: &str) -> String {
    format!(
        "IP fragments, packets with IP options or packets that are too long for a frame arrive on {interface}, of this \
         receiver's groups or of others. They pass to the other programs, and do not reach this receiver, which shares \
         its packets. To receive them as well, use mode socket, or do not share"
    )
}

fn is_kernels(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group == KERNELS_V4,
        IpAddr::V6(group) => KERNELS_V6.contains(&group),
    }
}
