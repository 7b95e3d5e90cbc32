//! The program on a veth with two queues and no traffic, and a socket in the XSKMAP for the first queue.

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use netlab::Lab;
use receiver::internals::{Attach, Buffers, PartialChecksums, Program, RingShape};
use receiver::{Interface, ReceiverConfig, TapConfig, Vlan};
use receiver_common::Verdict;
use receiver_xsk::{BindConfig, BindMode, XskSocket};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::oracle::{Filter, action};
use crate::table::{OWN_MAC, Row, SLOTS};

/// The queue for which the XSKMAP holds nothing.
pub const QUEUE_WITHOUT_SOCKET: u32 = 1;

/// What the program is loaded with.
#[derive(Clone, Debug)]
pub struct Config {
    pub vlan: Option<Vlan>,
    pub stamp: bool,
    pub pass_partial: bool,
    pub trace: bool,
    pub max_flows: u32,
    pub tap: Option<TapConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self { vlan: None, stamp: false, pass_partial: false, trace: false, max_flows: 65_536, tap: None }
    }
}

impl Config {
    fn load(&self, interface: &Interface) -> Program {
        self.load_with(interface, None)
    }

    /// With mapped rings of this shape in place of AF_XDP sockets, if there is one.
    pub fn load_with(&self, interface: &Interface, rings: Option<&RingShape>) -> Program {
        let mut config = ReceiverConfig::default();
        config.vlan = self.vlan;
        config.timestamps = self.stamp;
        config.trace_verdicts = self.trace;
        config.max_flows = Some(self.max_flows);
        config.tap = self.tap;
        let checksums = if self.pass_partial { PartialChecksums::Pass } else { PartialChecksums::Redirect };
        Program::load_with(interface, &config, checksums, rings).expect("the program loads")
    }
}

/// The program under test.
pub struct Bench {
    pub program: Program,
    /// As it was before the program was attached.
    pub interface: Interface,
    pub socket: XskSocket,
}

impl Bench {
    /// Sets all up in a namespace of its own, with the table's filter, and runs the test on a thread inside.
    pub fn run(config: &Config, test: impl FnOnce(&mut Bench) + Send) {
        Self::run_with(CapabilitySet::all(), config, test);
    }

    /// As [`Bench::run`], with no other capabilities than these: CAP_PERFMON makes another program.
    pub fn run_with(kept: CapabilitySet, config: &Config, test: impl FnOnce(&mut Bench) + Send) {
        Self::in_lab_with(kept, config, |lab, bench| {
            // What the kernel says by itself (IPv6 neighbours, MLD) would be counted as well.
            lab.tx().ip(&["link", "set", lab.tx_interface(), "down"]).expect("the link down");
            // What came in before is on its way no longer once the counts stand still.
            loop {
                let before = bench.counts();
                thread::sleep(Duration::from_millis(50));
                if bench.counts() == before {
                    break;
                }
            }
            test(bench);
        });
    }

    /// As [`Bench::run`], with the link up.
    pub fn in_lab(config: &Config, test: impl FnOnce(&Lab, &mut Bench) + Send) {
        Self::in_lab_with(CapabilitySet::all(), config, test);
    }

    fn in_lab_with(kept: CapabilitySet, config: &Config, test: impl FnOnce(&Lab, &mut Bench) + Send) {
        let lab = Lab::builder().queues(2).build().expect("root, and iproute2");
        let mac = OWN_MAC.map(|byte| format!("{byte:02x}")).join(":");
        lab.rx().ip(&["link", "set", lab.rx_interface(), "address", &mac]).expect("the MAC address");
        let make = || {
            let held = capabilities(None).expect("capget").effective;
            keep_capabilities(held & kept);
            Self::new(&lab, config)
        };
        // On a thread of its own, as capabilities are a thread's: the test needs what is given up here.
        let mut bench = lab.rx().run(make).expect("the namespace");
        lab.rx().run(|| test(&lab, &mut bench)).expect("the namespace");
    }

    fn new(lab: &Lab, config: &Config) -> Self {
        let interface = Interface::lookup(lab.rx_interface()).expect("the interface");
        let mut program = config.load(&interface);
        program.attach(&interface, Attach::Native).expect("the program is attached");
        let socket = XskSocket::bind(&BindConfig::new(interface.index, &interface.name, 0, BindMode::Copy));
        let socket = socket.expect("an AF_XDP socket");
        program.set_socket(0, socket.as_fd()).expect("the socket is in the XSKMAP");
        Filter::of_the_table().install(&mut program);
        Self { program, interface, socket }
    }

    /// Puts the entry for frames over several buffers in place of the other.
    pub fn take_several_buffers(&mut self) {
        self.program.detach().expect("the program is detached");
        self.program.set_buffers(Buffers::Several).expect("the other entry loads");
        self.program.attach(&self.interface, Attach::Native).expect("the other entry is attached");
    }

    /// Runs the row's frame, and tells what is wrong, if anything is.
    pub fn check(&mut self, row: &Row) -> Option<String> {
        let (verdicts, blocked) = self.counts();
        let ran = self.program.test(&row.frame, &self.interface, row.queue, 1).expect(&row.name);
        let (verdicts_after, blocked_after) = self.counts();

        let moved: Vec<(Verdict, u64)> = Verdict::ALL
            .into_iter()
            .map(|verdict| (verdict, verdicts_after[verdict as usize] - verdicts[verdict as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        let slots: Vec<(u32, u64)> = (0..SLOTS)
            .map(|slot| (slot, blocked_after[slot as usize] - blocked[slot as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        let as_wanted = moved == [(row.verdict, 1)]
            && slots == Vec::from_iter(row.slot.map(|slot| (slot, 1)))
            && ran.action == action(row.verdict);
        (!as_wanted).then(|| {
            let Row { name, verdict, slot, .. } = row;
            format!("{name}: wanted {verdict:?} slot {slot:?}, got {moved:?} slots {slots:?} action {}", ran.action)
        })
    }

    /// Frames by verdict, and the first group slots.
    pub fn counts(&self) -> ([u64; Verdict::COUNT], [u64; SLOTS as usize]) {
        let blocked = std::array::from_fn(|slot| self.program.blocked(slot as u32).expect("a slot"));
        (self.program.verdicts().expect("the counts"), blocked)
    }
}

/// With CAP_PERFMON, and without.
#[cfg(not(target_arch = "aarch64"))]
pub const PRIVILEGES: [CapabilitySet; 2] = [CapabilitySet::all(), XDP_CAPABILITIES];
/// On aarch64 the verifier rejects the program without CAP_PERFMON.
#[cfg(target_arch = "aarch64")]
pub const PRIVILEGES: [CapabilitySet; 1] = [CapabilitySet::all()];

/// What README names as needed.
pub const XDP_CAPABILITIES: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW).union(CapabilitySet::BPF).union(CapabilitySet::IPC_LOCK);

/// Leaves the calling thread these capabilities only.
pub fn keep_capabilities(kept: CapabilitySet) {
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
        .expect("capset");
}
