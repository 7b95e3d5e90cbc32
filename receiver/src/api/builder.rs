//! Sets up a receiver: the builder, and the order in which everything is opened.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use receiver_membership::{InterfaceRef, MembershipSet, Subscription};
use receiver_xsk::{BusyPoll, HugePages};

use crate::api::config::ReceiverConfig;
use crate::api::error::Error;
use crate::api::handle::Handle;
use crate::api::mode::{ModeRequest, ReceiveMode, fallback_warning};
use crate::api::queues::Queues;
use crate::api::receiver::Receiver;
use crate::api::tap::Tap;
use crate::api::tap_config::TapConfig;
use crate::api::vlan::Vlan;
use crate::engine::control::others::Others;
use crate::engine::control::{Control, ControlParts, membership_interface, named_sources};
use crate::engine::guard::Guard;
use crate::engine::link;
use crate::engine::lock::lock;
use crate::engine::mode_selection::{Attached, ModeSelection, take_several_buffers};
use crate::engine::others::DropUnwanted;
use crate::engine::queue_monitor::QueueMonitor;
use crate::engine::shared::Shared;
use crate::engine::worker::Worker;
use crate::paths::af_xdp::AfXdp;
use crate::paths::frame::FrameOptions;
use crate::paths::kernel::KernelSockets;
use crate::paths::mapped::Mapped;
use crate::paths::queue::QueuePath;
use crate::program::Program;
use crate::stats::host_counters::HostCounters;
use receiver_host::Interface;

/// Sets up a [`Receiver`]. Each setter fills the field of [`ReceiverConfig`] with its name.
///
/// ```no_run
/// # fn main() -> Result<(), receiver::Error> {
/// use receiver::{Queues, ReceiveMode, Receiver};
///
/// let receiver = Receiver::builder("eth1")
///     .subscribe("10.0.0.1,10.0.0.2@232.1.1.1:5000".parse()?)
///     .subscribe("[2001:db8::1]@[ff3e::1]:5000".parse()?)
///     .mode(ReceiveMode::Copy)
///     .queues(Queues::First(2))
///     .timestamps(true)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    config: ReceiverConfig,
    cancel: Option<Arc<AtomicBool>>,
    thread_start: Option<ThreadStart>,
}

/// What the receiver's own thread calls first.
#[derive(Clone)]
struct ThreadStart(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for ThreadStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ThreadStart")
    }
}

impl Receiver {
    /// Begins to set up a receiver on an interface.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), receiver::Error> {
    /// use receiver::{Receiver, Wait};
    ///
    /// let mut receiver = Receiver::builder("eth1").subscribe("10.0.0.1@232.1.1.1:5000".parse()?).build()?;
    /// loop {
    ///     receiver.poll(Wait::Forever, |datagram| println!("{} bytes", datagram.payload().len()))?;
    /// }
    /// # }
    /// ```
    pub fn builder(interface: &str) -> Builder {
        Builder::from_config(ReceiverConfig { interface: interface.to_owned(), ..ReceiverConfig::default() })
    }

    /// Opens a receiver as configured.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn from_config(config: ReceiverConfig) -> Result<Self, Error> {
        Builder::from_config(config).build()
    }
}

impl Builder {
    /// A builder that begins with this configuration.
    pub fn from_config(config: ReceiverConfig) -> Self {
        Self { config, cancel: None, thread_start: None }
    }

    /// The configuration as it is now.
    pub fn config(&self) -> &ReceiverConfig {
        &self.config
    }

    /// Adds a subscription that is joined at the start.
    pub fn subscribe(mut self, subscription: Subscription) -> Self {
        self.config.subscriptions.push(subscription);
        self
    }

    /// Adds several subscriptions that are joined at the start.
    pub fn subscribe_all(mut self, subscriptions: impl IntoIterator<Item = Subscription>) -> Self {
        self.config.subscriptions.extend(subscriptions);
        self
    }

    /// The receive mode. Default: [`ModeRequest::Auto`], the fastest mode that is available.
    pub fn mode(mut self, mode: impl Into<ModeRequest>) -> Self {
        self.config.mode = mode.into();
        self
    }

    /// If true, mode [`ModeRequest::Auto`] never falls back from XDP to mode `socket`: [`Error::XdpRequired`] then
    /// gives the reason for each mode. Default: false; a fallback is a warning ([`Handle::warnings`]).
    pub fn require_xdp(mut self, require: bool) -> Self {
        self.config.require_xdp = require;
        self
    }

    /// The receive queues to serve. Default: all.
    pub fn queues(mut self, queues: Queues) -> Self {
        self.config.queues = queues;
        self
    }

    /// The VLAN tags that frames must carry. Default: none, and tagged frames pass to the kernel.
    pub fn vlan(mut self, vlan: Option<Vlan>) -> Self {
        self.config.vlan = vlan;
        self
    }

    /// How many (source, group, port) entries of each IP version the XDP filter holds, 1 to 16,777,216. The table
    /// cannot grow later. Default: twice as many as the subscriptions at the start need, at least 4,096. An entry takes
    /// some 130 bytes of kernel memory, and 64 for each CPU.
    pub fn max_flows(mut self, entries: u32) -> Self {
        self.config.max_flows = Some(entries);
        self
    }

    /// If true, IPv4 header and UDP checksums of frames from XDP are verified. Default: true.
    ///
    /// Those of the kernel path are always verified. So are those of mode `generic`, unless the interface is a NIC on a
    /// bus: a wrong checksum is the only sign of datagrams that GRO joined in a list (`rx-gro-list`).
    pub fn verify_checksums(mut self, verify: bool) -> Self {
        self.config.verify_checksums = verify;
        self
    }

    /// If true, the XDP program takes the time of each datagram, or the kernel does for its sockets. Default: false;
    /// the time is then that of the batch. XDP needs Linux 6.1 for it.
    ///
    /// The first datagrams of a kernel socket can carry the time of the read: the kernel begins to stamp with a delay.
    pub fn timestamps(mut self, take: bool) -> Self {
        self.config.timestamps = take;
        self
    }

    /// If true, each verdict of the XDP program is logged to `tracing` (target `receiver::xdp`, level debug). Default:
    /// false. Logging is slow: at high rates verdicts are lost, and counted
    /// ([`Ledger::unlogged`](crate::Ledger::unlogged)).
    pub fn trace_verdicts(mut self, trace: bool) -> Self {
        self.config.trace_verdicts = trace;
        self
    }

    /// Asks the kernel to poll the device within the worker's own system calls (`SO_PREFER_BUSY_POLL`, Linux 5.11).
    /// Default: no.
    ///
    /// The kernel does so for AF_XDP sockets. Mode `mapped` has none and is refused. Mode `generic` then has sockets in
    /// place of its mapped rings: it takes fewer packets per second, and needs the privileges of mode `copy`.
    pub fn busy_poll(mut self, busy_poll: Option<BusyPoll>) -> Self {
        self.config.busy_poll = busy_poll;
        self
    }

    /// Slots of each queue's RX ring: how many packets can wait for the worker. A power of two from 64 to 1,048,576.
    /// Default: 2,048. A small ring is faster, since frames are used again sooner. The fill ring has twice as many
    /// slots.
    pub fn ring_size(mut self, slots: u32) -> Self {
        self.config.ring_size = slots;
        self
    }

    /// Frames of each queue, a power of two up to 1,048,576, at least four times the RX ring, twice with mapped rings
    /// (modes `mapped` and `generic`). Half of them can be kept as owned datagrams. Default: as few as the mode allows.
    pub fn frames(mut self, frames: u32) -> Self {
        self.config.frames = Some(frames);
        self
    }

    /// Bytes of a frame, 2,048 or 4,096, of which 256 are not for the packet. Default: 2,048.
    ///
    /// With mapped rings the MTU at the start decides instead: frames have 2,048 bytes up to an MTU of 1,994, and
    /// 10,240 bytes above that, of which 32 are not for the packet. Packets that are longer take the kernel path.
    pub fn frame_size(mut self, bytes: u32) -> Self {
        self.config.frame_size = bytes;
        self
    }

    /// Whether the frames take huge pages where the system has reserved some. Default: [`HugePages::Try`].
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.config.huge_pages = huge_pages;
        self
    }

    /// Bytes of copied payloads that all owned datagrams together can hold. Default: 64 MiB.
    pub fn copy_limit(mut self, bytes: u64) -> Self {
        self.config.copy_limit = bytes;
        self
    }

    /// Bytes of receive buffer that each socket of the kernel path asks for, up to 1 GiB. Default: 8 MiB.
    pub fn socket_buffer(mut self, bytes: usize) -> Self {
        self.config.socket_buffer = bytes;
        self
    }

    /// If true, any-source subscriptions in 232.0.0.0/8 and ff3x::/32 are allowed. Default: false (RFC 4607).
    pub fn allow_asm_in_ssm_range(mut self, allow: bool) -> Self {
        self.config.allow_asm_in_ssm_range = allow;
        self
    }

    /// When the XDP program drops frames of subscribed groups from sources that are not wanted. Default:
    /// [`DropUnwanted::UnlessShared`].
    pub fn drop_unwanted(mut self, policy: DropUnwanted) -> Self {
        self.config.drop_unwanted = policy;
        self
    }

    /// If true, the kernel gets each packet too: the other programs on the host, packet captures included, receive as
    /// they would without this receiver. Default: false.
    ///
    /// This takes mode `mapped`. [`ModeRequest::Auto`] then selects it or fails ([`Error::ShareUnavailable`]), and
    /// another mode with XDP is refused; in mode `socket` each program gets its packets anyway.
    ///
    /// Packets of unwanted sources pass to the kernel as well
    /// ([`Verdict::PassedShared`](crate::Verdict::PassedShared)). Malformed packets and those of martian sources are
    /// dropped; the kernel would drop them too.
    ///
    /// The receiver joins its groups without receiving from the kernel, which would deliver each packet a second time.
    /// So what XDP leaves to the kernel reaches the other programs only: IP fragments, packets with IP options or
    /// extension headers, packets that are longer than a frame, and frames on queues that are not served.
    /// [`Ledger::kernel_only`](crate::Ledger::kernel_only) counts them.
    pub fn share(mut self, share: bool) -> Self {
        self.config.share = share;
        self
    }

    /// Has the XDP program copy frames of some verdicts for [`Receiver::take_tap`], before it acts on the verdict: so
    /// they can be seen although XDP drops them. Default: none. A tap costs a frame of another verdict a few
    /// instructions. It takes a mode with XDP: [`ModeRequest::Auto`] never falls back to mode `socket` then.
    pub fn tap(mut self, tap: impl Into<Option<TapConfig>>) -> Self {
        self.config.tap = tap.into();
        self
    }

    /// A flag that ends [`Builder::build`] early once it is true. Everything is then undone, and the error is
    /// [`Error::Cancelled`]. Joining 10,000 groups takes seconds; a signal handler can set the flag meanwhile.
    pub fn cancel(mut self, flag: Arc<AtomicBool>) -> Self {
        self.cancel = Some(flag);
        self
    }

    /// What the thread that follows the link calls first: it gives up capabilities that only [`Builder::build`] needs,
    /// or takes other CPUs. The receiver needs those of its mode to restore itself after an outage of the link.
    pub fn on_thread_start(mut self, call: impl Fn() + Send + Sync + 'static) -> Self {
        self.thread_start = Some(ThreadStart(Arc::new(call)));
        self
    }

    /// Returns [`Error::Cancelled`] if the cancel flag is set.
    fn check_cancelled(&self) -> Result<(), Error> {
        match &self.cancel {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }

    /// Opens the receiver: validates the configuration, looks at the interface, loads and attaches the XDP program,
    /// opens an AF_XDP socket or a mapped ring for each queue, and joins.
    ///
    /// The modes with XDP need CAP_NET_ADMIN and CAP_BPF. AF_XDP sockets also need CAP_NET_RAW and, for the packet
    /// memory, CAP_IPC_LOCK or a large RLIMIT_MEMLOCK. With CAP_PERFMON a verdict costs half. Mode `socket` needs no
    /// privilege.
    ///
    /// Each group and port takes a file descriptor, until half of the soft limit (RLIMIT_NOFILE) is in use. Before
    /// groups share descriptors, the soft limit of the process is raised to the hard one, which is logged at level
    /// info.
    ///
    /// # Errors
    /// [`Error::is_usage`] is true if the configuration is wrong; nothing was changed then. If the machine refuses a
    /// step, the steps before it are undone.
    pub fn build(mut self) -> Result<Receiver, Error> {
        self.config.validate()?;
        let interface = Interface::lookup(&self.config.interface)?;
        interface.require_multicast()?;
        let host = HostCounters::open(interface.index)
            .inspect_err(|error| tracing::debug!("the host's counters cannot be read: {error}"))
            .ok();
        let mut warnings = Vec::new();
        let joined = self.membership_interface(&interface, &mut warnings)?;
        self.check_cancelled()?;
        let selection = ModeSelection { interface: &interface, config: &self.config };
        let Attached { mode, refused, mut program, sockets, rings } = selection.select()?;
        program.as_mut().map_or(Ok(()), Program::follow_log)?;
        let tap = program.as_mut().and_then(Program::take_tap);
        // The kernel shares by itself.
        self.config.share &= mode != ReceiveMode::Socket;
        let kernel_is_untagged = self.config.vlan.is_some() && joined.index == interface.index;
        if let (ReceiveMode::Socket, true, Some(reason)) = (mode, kernel_is_untagged, warnings.first()) {
            // The last mode that `auto` tries: it would receive only the untagged streams of the same groups.
            return Err(Error::ModeUnavailable { mode, name: interface.name, reason: reason.clone() });
        }
        if mode == ReceiveMode::Socket && !refused.is_empty() {
            warnings.push(fallback_warning(&interface.name, &refused));
        }
        let queues: Vec<u32> =
            sockets.iter().map(|(queue, _)| *queue).chain(rings.iter().map(|ring| ring.queue.queue())).collect();
        let shared = Arc::new(Shared::new(&queues, self.config.copy_limit)?);
        for (cell, (_, socket)) in shared.queues.iter().zip(&sockets) {
            *lock(&cell.monitor) = Some(QueueMonitor::Socket(socket.monitor()?));
        }
        for (cell, ring) in shared.queues.iter().zip(&rings) {
            *lock(&cell.monitor) = Some(QueueMonitor::Ring(ring.queue.monitor()));
        }
        let mut kernel = Some(KernelSockets::new(Arc::clone(&shared), kernel_is_untagged)?);
        let membership = MembershipSet::new(joined, self.config.membership());
        let (others, blind) = Others::open(self.config.share);
        warnings.extend(blind.filter(|_| program.is_some()));
        let may_be_joined = mode == ReceiveMode::Generic && !interface.physical;
        let options = FrameOptions {
            verify_checksums: self.config.verify_checksums || may_be_joined,
            stamp: self.config.timestamps,
            vlan: self.config.vlan,
            reserve: self.config.queue_frames(mode) / 2,
        };
        let subscriptions = std::mem::take(&mut self.config.subscriptions);
        let parts = ControlParts {
            config: self.config.clone(),
            interface,
            mode,
            refused,
            warnings,
            program,
            several_buffers: take_several_buffers(&sockets),
            membership,
            host,
            others,
        };
        let control = Arc::new(Control::new(shared, parts));
        let guard = Arc::new(Guard::new(Arc::clone(&control)));
        let shared = || Arc::clone(control.shared());
        let tap = tap.map(|rings| Tap::new(shared(), rings));
        let paths = sockets
            .into_iter()
            .enumerate()
            .map(|(number, (_, socket))| Ok(QueuePath::AfXdp(AfXdp::new(shared(), number, socket, options))));
        let ring_paths = rings
            .into_iter()
            .enumerate()
            .map(|(number, ring)| Mapped::new(shared(), number, ring, options).map(QueuePath::Mapped));
        let paths: Vec<QueuePath> = paths.chain(ring_paths).collect::<Result<_, Error>>()?;
        let mut workers: Vec<Worker> =
            paths.into_iter().map(|path| Worker::new(Arc::clone(&guard), Some(path), kernel.take())).collect();
        if let Some(kernel) = kernel {
            workers.push(Worker::new(guard, None, Some(kernel)));
        }
        // From here on dropping the workers undoes everything.
        control.cancel_joins_by(self.cancel.clone());
        control.join_all(&subscriptions, &|| self.check_cancelled().is_err())?;
        control.cancel_joins_by(None);
        for warning in control.warnings() {
            tracing::warn!("{warning}");
        }
        control.check_reverse_path(subscriptions.iter().flat_map(named_sources));
        control.check_others();
        let first = self.thread_start;
        link::watch(&control, move || first.iter().for_each(|ThreadStart(call)| call()))?;
        Ok(Receiver::new(workers, Handle { control }, tap))
    }

    /// Where the groups are joined: the VLAN's own interface if there is one, so that reports carry the tag.
    fn membership_interface(&self, interface: &Interface, warnings: &mut Vec<String>) -> Result<InterfaceRef, Error> {
        let own = InterfaceRef::new(interface.index, &interface.name);
        let Some(vlan) = self.config.vlan else { return Ok(own) };
        if let Some(found) = membership_interface(interface, Some(vlan))? {
            return Ok(found);
        }
        let reason = format!(
            "there is no VLAN interface for tag {vlan} on {0}; make one with: ip link add link {0} name {0}.{1} type \
             vlan id {1}, and bring it up",
            interface.name,
            vlan.outer(),
        );
        if self.config.mode == ModeRequest::Exactly(ReceiveMode::Socket) {
            return Err(Error::ModeUnavailable { mode: ReceiveMode::Socket, name: interface.name.clone(), reason });
        }
        warnings
            .push(format!("{reason}; until then membership reports leave untagged, and fragments are not received"));
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each setter, by the field that it fills.
    #[test]
    fn each_setter_fills_its_field() {
        type Set = fn(Builder) -> Builder;
        let setters: [(&str, Set); 21] = [
            ("subscriptions", |b| b.subscribe("10.0.0.1@232.1.1.1:5000".parse().expect("a subscription"))),
            ("subscriptions", |b| b.subscribe_all(["239.1.1.1:5000".parse().expect("a subscription")])),
            ("mode", |b| b.mode(ReceiveMode::Generic)),
            ("require_xdp", |b| b.require_xdp(true)),
            ("queues", |b| b.queues(Queues::First(2))),
            ("vlan", |b| b.vlan(Vlan::new(7, None).ok())),
            ("max_flows", |b| b.max_flows(7)),
            ("verify_checksums", |b| b.verify_checksums(false)),
            ("timestamps", |b| b.timestamps(true)),
            ("trace_verdicts", |b| b.trace_verdicts(true)),
            ("busy_poll", |b| b.busy_poll(Some(BusyPoll { budget: 1, microseconds: 2 }))),
            ("ring_size", |b| b.ring_size(64)),
            ("frames", |b| b.frames(256)),
            ("frame_size", |b| b.frame_size(4096)),
            ("huge_pages", |b| b.huge_pages(HugePages::Never)),
            ("copy_limit", |b| b.copy_limit(7)),
            ("socket_buffer", |b| b.socket_buffer(7)),
            ("allow_asm_in_ssm_range", |b| b.allow_asm_in_ssm_range(true)),
            ("drop_unwanted", |b| b.drop_unwanted(DropUnwanted::Always)),
            ("share", |b| b.share(true)),
            ("tap", |b| b.tap(TapConfig::default())),
        ];
        let fields = |builder: &Builder| match serde_json::to_value(builder.config()) {
            Ok(serde_json::Value::Object(fields)) => fields,
            other => panic!("{other:?}"),
        };
        let before = fields(&Receiver::builder("eth1"));
        let mut filled = std::collections::BTreeSet::from(["interface"]);
        assert_eq!(before["interface"], "eth1");
        for (name, set) in setters {
            let after = fields(&set(Receiver::builder("eth1")));
            let changed: Vec<&String> = after.keys().filter(|&field| after[field] != before[field]).collect();
            assert_eq!(changed, [name]);
            filled.insert(name);
        }
        let all: std::collections::BTreeSet<&str> = before.keys().map(String::as_str).collect();
        assert_eq!(filled, all, "a field without a setter");
    }
}
