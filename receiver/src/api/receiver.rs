//! The receiver: how it is set up, and what it is made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Datagram;
use crate::api::error::Error;
use crate::api::handle::Handle;
use crate::api::mode::{ModeRequest, ReceiveMode, fallback_warning};
use crate::api::queues::Queues;
use crate::api::vlan::Vlan;
use crate::engine::control::others::{self, Others};
use crate::engine::control::{Control, Opened, Recipe, check_range, membership_interface, named_sources};
use crate::engine::filter::Table;
use crate::engine::guard::Guard;
use crate::engine::link;
use crate::engine::lock::lock;
use crate::engine::mode_selection::{Ladder, Rings, Rungs, take_several_buffers};
use crate::engine::others::DropUnwanted;
use crate::engine::shared::Shared;
use crate::engine::worker::{Wait, Worker, WorkerOptions};
use crate::paths::kernel::KernelSide;
use crate::program::Config;
use crate::stats::host_counters::HostCounters;
use receiver_host::Interface;
use receiver_membership::Subscription;
use receiver_membership::udp::SocketOptions;
use receiver_membership::{InterfaceRef, MembershipSet, Options as MembershipOptions};
use receiver_xsk::{BusyPoll, HugePages};

/// SO_RCVBUF is a C int, and the kernel doubles it.
const MAX_SOCKET_BUFFER: usize = 1 << 30;

/// Sets up a [`Receiver`].
#[derive(Clone, Debug)]
pub struct Builder {
    interface: String,
    subscriptions: Vec<Subscription>,
    mode: ModeRequest,
    require_xdp: bool,
    queues: Queues,
    program: Config,
    rings: Rings,
    verify_checksums: bool,
    copy_limit: u64,
    socket_buffer: usize,
    allow_asm_in_ssm_range: bool,
    drop_unwanted: DropUnwanted,
    cancel: Option<Arc<AtomicBool>>,
}

/// A running receiver: its workers, and a handle to steer it. Dropping it leaves all groups and the interface as it was.
pub struct Receiver {
    workers: Vec<Worker>,
    handle: Handle,
    next: usize,
}

impl Builder {
    fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            subscriptions: Vec::new(),
            mode: ModeRequest::Auto,
            require_xdp: false,
            queues: Queues::All,
            program: Config::default(),
            rings: Rings::default(),
            verify_checksums: true,
            copy_limit: 64 << 20,
            socket_buffer: SocketOptions::default().receive_buffer,
            allow_asm_in_ssm_range: false,
            drop_unwanted: DropUnwanted::default(),
            cancel: None,
        }
    }

    /// Adds a subscription that is joined at the start.
    pub fn subscribe(mut self, subscription: Subscription) -> Self {
        self.subscriptions.push(subscription);
        self
    }

    /// The mode. Default: the fastest there is.
    pub fn mode(mut self, mode: impl Into<ModeRequest>) -> Self {
        self.mode = mode.into();
        self
    }

    /// Refuse to fall back from XDP to mode `socket`: [`Error::XdpRequired`] names the reason of each mode. Default:
    /// no. Mode [`ModeRequest::Auto`] warns of a fall back ([`Handle::warnings`]).
    pub fn require_xdp(mut self, require: bool) -> Self {
        self.require_xdp = require;
        self
    }

    /// The receive queues. Default: all.
    pub fn queues(mut self, queues: Queues) -> Self {
        self.queues = queues;
        self
    }

    /// The VLAN tags that frames must carry. Default: none, and tagged frames pass to the kernel.
    pub fn vlan(mut self, vlan: Option<Vlan>) -> Self {
        self.program.vlan = vlan;
        self
    }

    /// How many (source, group, port) entries of each family the XDP filter holds. Default: 65,536.
    pub fn max_flows(mut self, entries: u32) -> Self {
        self.program.max_flows = entries;
        self
    }

    /// Verify IPv4 header and UDP checksums of XDP's frames. Default: yes. The kernel path's are always verified, and
    /// so are those of generic mode, unless the interface is a NIC on a bus: of datagrams that GRO joined in a list
    /// (`rx-gro-list`), a wrong checksum is the only sign.
    pub fn verify_checksums(mut self, verify: bool) -> Self {
        self.verify_checksums = verify;
        self
    }

    /// Take each datagram's time in the XDP program, or in the kernel for its sockets. Default: no, the time is that of
    /// the batch. Needs Linux 6.1 for XDP.
    /// The first datagrams of a kernel socket can carry the time of the read: the kernel begins to stamp with a delay.
    pub fn timestamps(mut self, take: bool) -> Self {
        self.program.stamp = take;
        self
    }

    /// Log every verdict of the XDP program to `tracing`, by its name. Slow: at high rates some are lost, and counted
    /// ([`Ledger::unlogged`](crate::Ledger::unlogged)). Default: no.
    pub fn trace_verdicts(mut self, trace: bool) -> Self {
        self.program.trace = trace;
        self
    }

    /// Ask the kernel to poll the device from the worker's own system calls (SO_PREFER_BUSY_POLL, Linux 5.11).
    pub fn busy_poll(mut self, busy_poll: Option<BusyPoll>) -> Self {
        self.rings.busy_poll = busy_poll;
        self
    }

    /// Slots of each queue's RX ring, a power of two: so many packets can wait for the worker. Fewer are faster, as frames
    /// are used again sooner. The fill ring has twice as many. Default: 2,048.
    pub fn ring_size(mut self, slots: u32) -> Self {
        self.rings.ring_size = slots;
        self
    }

    /// Frames of each queue, a power of two, at least four times the RX ring. Default: 8,192.
    pub fn frames(mut self, frames: u32) -> Self {
        self.rings.frames = frames;
        self
    }

    /// Bytes of a frame, 2,048 or 4,096; 256 of them are not for the packet. Default: 2,048.
    pub fn frame_size(mut self, bytes: u32) -> Self {
        self.rings.frame_size = bytes;
        self
    }

    /// Take huge pages for the frames where the system has reserved some. Default: try.
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.rings.huge_pages = huge_pages;
        self
    }

    /// Bytes of copied payloads that may be held at once, by all owned datagrams together. Default: 64 MiB.
    pub fn copy_limit(mut self, bytes: u64) -> Self {
        self.copy_limit = bytes;
        self
    }

    /// Bytes of receive buffer to ask for, for each socket of the kernel path, up to 1 GiB. Default: 8 MiB.
    pub fn socket_buffer(mut self, bytes: usize) -> Self {
        self.socket_buffer = bytes;
        self
    }

    /// Allow any-source subscriptions in 232.0.0.0/8 and ff3x::/32. Default: no (RFC 4607).
    pub fn allow_asm_in_ssm_range(mut self, allow: bool) -> Self {
        self.allow_asm_in_ssm_range = allow;
        self
    }

    /// What becomes of frames of subscribed groups whose source is not wanted, in XDP modes. Default: they are dropped,
    /// unless another program on the host has joined the group.
    pub fn drop_unwanted(mut self, policy: DropUnwanted) -> Self {
        self.drop_unwanted = policy;
        self
    }

    /// A flag that ends [`Builder::build`] early once it is true, also in the middle of joining: everything is undone, and
    /// the error is [`Error::Cancelled`]. Joining 10,000 groups takes seconds; a signal handler can set the flag meanwhile.
    pub fn cancel(mut self, flag: Arc<AtomicBool>) -> Self {
        self.cancel = Some(flag);
        self
    }

    /// Returns [`Error::Cancelled`] if the cancel flag is set.
    fn check_cancelled(&self) -> Result<(), Error> {
        match &self.cancel {
            Some(flag) if flag.load(Ordering::Relaxed) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }

    /// Opens everything, in this order: look, load the XDP program, attach it, fill and bind the AF_XDP sockets, hand them
    /// to the program, join.
    ///
    /// XDP needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and, for the packet memory, CAP_IPC_LOCK or a large
    /// RLIMIT_MEMLOCK; with CAP_PERFMON a verdict costs half. Mode `socket` needs nothing.
    ///
    /// Each group and port takes a descriptor as long as half of the soft limit (RLIMIT_NOFILE) lasts. Before groups
    /// share descriptors, the soft limit of the process is raised to the hard one, which is logged at level info.
    ///
    /// # Errors
    /// Whatever is wrong with the request is told before anything is changed; whatever the machine refuses is undone.
    pub fn build(self) -> Result<Receiver, Error> {
        let interface = self.check()?;
        let host = HostCounters::open(interface.index)
            .inspect_err(|error| tracing::debug!("the host's counters cannot be read: {error}"))
            .ok();
        let mut warnings = Vec::new();
        let joined = self.membership_interface(&interface, &mut warnings)?;
        self.check_cancelled()?;
        let ladder = Ladder { interface: &interface, program: &self.program, rings: &self.rings };
        let Rungs { mode, refused, program, sockets } = ladder.climb(self.mode, self.require_xdp, &self.queues)?;
        let kernel_is_untagged = self.program.vlan.is_some() && joined.index == interface.index;
        if let (ReceiveMode::Socket, true, Some(reason)) = (mode, kernel_is_untagged, warnings.first()) {
            // The last rung of `auto`: it would hear the untagged streams of the same groups alone.
            return Err(Error::ModeUnavailable { mode, name: interface.name, reason: reason.clone() });
        }
        if mode == ReceiveMode::Socket && !refused.is_empty() {
            warnings.push(fallback_warning(&interface.name, &refused));
        }
        let queues: Vec<u32> = sockets.iter().map(|(queue, _)| *queue).collect();
        let shared = Arc::new(Shared::new(&queues, self.copy_limit)?);
        for (cell, (_, socket)) in shared.queues.iter().zip(&sockets) {
            *lock(&cell.monitor) = Some(socket.monitor()?);
        }
        let mut kernel = Some(KernelSide::new(Arc::clone(&shared))?);
        let options = MembershipOptions {
            socket: SocketOptions {
                receive_buffer: self.socket_buffer,
                timestamps: self.program.stamp,
                ..SocketOptions::default()
            },
            allow_asm_in_ssm_range: self.allow_asm_in_ssm_range,
            ..MembershipOptions::default()
        };
        let recipe = Recipe { program: self.program.clone(), rings: self.rings, membership: options.clone() };
        let membership = MembershipSet::new(joined, options);
        let (others, blind) = Others::open(self.drop_unwanted);
        warnings.extend(blind.filter(|_| program.is_some()));
        let may_be_joined = mode == ReceiveMode::Generic && !interface.physical;
        let opened = Opened {
            interface,
            mode,
            refused,
            warnings,
            program,
            several_buffers: take_several_buffers(&sockets),
            membership,
            recipe,
            host,
            allow_asm_in_ssm_range: self.allow_asm_in_ssm_range,
            others,
        };
        let control = Arc::new(Control::new(shared, opened));
        let guard = Arc::new(Guard::new(Arc::clone(&control)));
        let options = WorkerOptions {
            verify_checksums: self.verify_checksums || may_be_joined,
            stamp: self.program.stamp,
            vlan: self.program.vlan,
            reserve: self.rings.frames / 2,
            kernel_is_untagged,
        };
        let mut workers: Vec<Worker> = sockets
            .into_iter()
            .enumerate()
            .map(|(index, (_, socket))| Worker::new(Arc::clone(&guard), index, Some(socket), kernel.take(), options))
            .collect();
        if let Some(kernel) = kernel {
            workers.push(Worker::new(guard, 0, None, Some(kernel), options));
        }
        // From here on dropping the workers undoes everything.
        control.cancel_joins_by(self.cancel.clone());
        control.join_all(&self.subscriptions, &|| self.check_cancelled().is_err())?;
        control.cancel_joins_by(None);
        for warning in control.warnings() {
            tracing::warn!("{warning}");
        }
        control.check_reverse_path(self.subscriptions.iter().flat_map(named_sources));
        control.look_at_others();
        others::watch(&control)?;
        link::watch(&control)?;
        Ok(Receiver { workers, handle: Handle { control }, next: 0 })
    }

    /// All that can be said before anything is changed.
    fn check(&self) -> Result<Interface, Error> {
        let mut table = Table::default();
        for subscription in &self.subscriptions {
            check_range(subscription, self.allow_asm_in_ssm_range)?;
            table.check(subscription)?;
            table.insert(subscription, 0);
        }
        if self.require_xdp && self.mode == ModeRequest::Exactly(ReceiveMode::Socket) {
            let reason = "it has no XDP, which is required; ask for another mode, or do not require XDP";
            return Err(Error::Option { option: "mode", value: "socket".into(), reason });
        }
        let power = "must be a power of two, 64 to 1048576";
        for (option, value) in [("ring size", self.rings.ring_size), ("frames", self.rings.frames)] {
            if !value.is_power_of_two() || !(64..=1 << 20).contains(&value) {
                return Err(Error::Option { option, value: value.to_string(), reason: power });
            }
        }
        if self.rings.frames < 4 * self.rings.ring_size {
            let reason = "must be at least four times the ring size: a ring's worth each for the kernel's two rings, \
                          and as many again for datagrams that are kept";
            return Err(Error::Option { option: "frames", value: self.rings.frames.to_string(), reason });
        }
        if self.program.max_flows == 0 || self.program.max_flows > 1 << 24 {
            let reason = "must be 1 to 16777216 entries";
            return Err(Error::Option { option: "max flows", value: self.program.max_flows.to_string(), reason });
        }
        if self.socket_buffer > MAX_SOCKET_BUFFER {
            let reason = "must be at most 1073741824 bytes";
            return Err(Error::Option { option: "socket buffer", value: self.socket_buffer.to_string(), reason });
        }
        let interface = Interface::lookup(&self.interface)?;
        interface.require_multicast()?;
        Ok(interface)
    }

    /// Where the groups are joined: the VLAN's own interface if there is one, so that reports carry the tag.
    fn membership_interface(&self, interface: &Interface, warnings: &mut Vec<String>) -> Result<InterfaceRef, Error> {
        let own = InterfaceRef::new(interface.index, &interface.name);
        let Some(vlan) = self.program.vlan else { return Ok(own) };
        if let Some(found) = membership_interface(interface, Some(vlan))? {
            return Ok(found);
        }
        let reason = format!(
            "there is no VLAN interface for tag {vlan} on {0}; make one with: ip link add link {0} name {0}.{1} type \
             vlan id {1}, and bring it up",
            interface.name,
            vlan.outer(),
        );
        if self.mode == ModeRequest::Exactly(ReceiveMode::Socket) {
            return Err(Error::ModeUnavailable { mode: ReceiveMode::Socket, name: interface.name.clone(), reason });
        }
        warnings
            .push(format!("{reason}; until then membership reports leave untagged, and fragments are not received"));
        Ok(own)
    }
}

impl Receiver {
    /// Begins the setting up of a receiver on an interface.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), receiver::Error> {
    /// use receiver::{Receiver, Wait};
    /// let mut receiver = Receiver::builder("eth1").subscribe("10.0.0.1@232.1.1.1:5000".parse()?).build()?;
    /// loop {
    ///     receiver.poll(Wait::Forever, |datagram| println!("{} bytes", datagram.payload().len()))?;
    /// }
    /// # }
    /// ```
    pub fn builder(interface: &str) -> Builder {
        Builder::new(interface)
    }

    /// A handle that steers this receiver from elsewhere.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Receives from all queues in turn, on this thread. For speed give each queue a thread: [`Receiver::into_workers`].
    ///
    /// # Errors
    /// As [`Worker::poll`].
    pub fn poll(&mut self, wait: Wait, mut consumer: impl FnMut(Datagram<'_>)) -> Result<usize, Error> {
        crate::engine::worker::poll_all(&mut self.workers, &mut self.next, wait, |datagram| {
            consumer(datagram);
            std::ops::ControlFlow::Continue(())
        })
    }

    /// The workers, one for each queue (one alone in mode `socket`), to be driven by a thread each. The receiver shuts
    /// down when the last of them is dropped.
    pub fn into_workers(self) -> Vec<Worker> {
        self.workers
    }

    /// Receives owned datagrams in an async program. Must be called within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// [`Error::NoRuntime`] outside of a tokio runtime with I/O; [`Error::Wait`] when the runtime cannot watch the sockets.
    #[cfg(feature = "tokio")]
    pub fn into_async(self) -> Result<crate::AsyncReceiver, Error> {
        crate::AsyncReceiver::new(self.workers, self.handle)
    }
}
