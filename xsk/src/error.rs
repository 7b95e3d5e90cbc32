//! Errors of setting up and using a socket, each with its remedy.

use super::config::BindMode;
use super::errno::Errno;

/// A failure to set up or to use an AF_XDP socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AF_XDP on {interface}{}, queue {queue}, {mode} mode: {cause}{}", mtu_clause(self), remedy_clause(self))]
pub struct Error {
    /// The interface's name, from [`BindConfig::interface_name`](super::BindConfig::interface_name).
    pub interface: String,
    /// The queue.
    pub queue: u32,
    /// The configured mode.
    pub mode: BindMode,
    /// The interface's MTU, if it is the reason for packets in several buffers.
    pub multi_buffer: Option<u32>,
    /// What failed.
    #[source]
    pub cause: Cause,
    /// The caller's explanation and remedy, which [`Error::explained`] adds.
    pub known: Option<String>,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The configuration is invalid for every interface. The text names the value and the remedy.
    #[error("{0}")]
    Config(String),
    /// A system call failed.
    #[error("{call} failed: {errno}")]
    System {
        /// The call.
        call: Call,
        /// The error number.
        errno: Errno,
    },
    /// The kernel bound the socket in another mode (`XDP_OPTIONS`).
    #[error("the kernel bound the socket in another mode")]
    OtherMode,
}

/// A system call, and its socket option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// socket(2) with `AF_XDP`.
    Socket,
    /// mmap(2) of the packet memory.
    MapUmem,
    /// setsockopt(2) `XDP_UMEM_REG`.
    UmemReg,
    /// setsockopt(2) `XDP_UMEM_FILL_RING`.
    FillRing,
    /// setsockopt(2) `XDP_UMEM_COMPLETION_RING`.
    CompletionRing,
    /// setsockopt(2) `XDP_RX_RING`.
    RxRing,
    /// getsockopt(2) `XDP_MMAP_OFFSETS`.
    MmapOffsets,
    /// mmap(2) of a ring.
    MapRing,
    /// bind(2).
    Bind,
    /// getsockopt(2) `XDP_OPTIONS`.
    Options,
    /// setsockopt(2) `SO_PREFER_BUSY_POLL`.
    PreferBusyPoll,
    /// setsockopt(2) `SO_BUSY_POLL`.
    BusyPoll,
    /// setsockopt(2) `SO_BUSY_POLL_BUDGET`.
    BusyPollBudget,
    /// getsockopt(2) `XDP_STATISTICS`.
    Statistics,
    /// poll(2), or the pending error of the socket (`SO_ERROR`).
    Poll,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Socket => "socket(AF_XDP)",
            Self::MapUmem => "mmap of the packet memory",
            Self::UmemReg => "setsockopt(XDP_UMEM_REG)",
            Self::FillRing => "setsockopt(XDP_UMEM_FILL_RING)",
            Self::CompletionRing => "setsockopt(XDP_UMEM_COMPLETION_RING)",
            Self::RxRing => "setsockopt(XDP_RX_RING)",
            Self::MmapOffsets => "getsockopt(XDP_MMAP_OFFSETS)",
            Self::MapRing => "mmap of a ring",
            Self::Bind => "bind",
            Self::Options => "getsockopt(XDP_OPTIONS)",
            Self::PreferBusyPoll => "setsockopt(SO_PREFER_BUSY_POLL)",
            Self::BusyPoll => "setsockopt(SO_BUSY_POLL)",
            Self::BusyPollBudget => "setsockopt(SO_BUSY_POLL_BUDGET)",
            Self::Statistics => "getsockopt(XDP_STATISTICS)",
            Self::Poll => "poll",
        })
    }
}

impl Error {
    /// Returns the error number, if a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        match self.cause {
            Cause::System { errno, .. } => Some(errno),
            Cause::Config(_) | Cause::OtherMode => None,
        }
    }

    /// Returns true if only this mode is unavailable, so that another mode may work. Other causes affect every mode: a
    /// missing privilege, an invalid configuration, a queue that is in use.
    ///
    /// `EINVAL` from a zero-copy bind counts as unavailable. Drivers return it for an MTU, a frame size or a device
    /// that only their zero-copy path rejects (virtio_net without `iommu_platform`). If the queue does not exist, copy
    /// mode fails too. `EINVAL` also counts for packets in several buffers, which kernels before 6.6 do not support.
    pub fn is_mode_unsupported(&self) -> bool {
        match self.cause {
            Cause::OtherMode => true,
            Cause::System { call: Call::Bind, errno } => {
                errno == Errno::OPNOTSUPP
                    || errno == Errno::KERNEL_NOTSUPP
                    || (errno == Errno::INVAL && (self.mode == BindMode::ZeroCopy || self.multi_buffer.is_some()))
            }
            Cause::System { .. } | Cause::Config(_) => false,
        }
    }

    /// Adds what the caller knows about the driver. In the text it replaces the general [remedy](Self::remedy).
    #[must_use]
    pub fn explained(self, known: impl Into<String>) -> Self {
        Self { known: Some(known.into()), ..self }
    }

    /// Returns the general remedy, if there is one.
    pub fn remedy(&self) -> Option<&'static str> {
        let Cause::System { call, errno } = self.cause else { return None };
        Some(match (call, errno) {
            (Call::Socket, Errno::AFNOSUPPORT) => "this kernel has no AF_XDP; use one built with CONFIG_XDP_SOCKETS",
            (Call::PreferBusyPoll | Call::BusyPoll | Call::BusyPollBudget, Errno::PERM | Errno::ACCESS) => {
                "busy polling needs CAP_NET_ADMIN; grant it, or turn busy polling off"
            }
            (Call::PreferBusyPoll | Call::BusyPollBudget, Errno::NOPROTOOPT) => {
                "preferred busy polling needs Linux 5.11; use a newer kernel, or turn busy polling off"
            }
            (_, Errno::PERM | Errno::ACCESS) => {
                "an AF_XDP socket needs CAP_NET_RAW, and its XDP program CAP_NET_ADMIN and CAP_BPF; run as root or grant \
                 them"
            }
            (Call::UmemReg, Errno::NOBUFS)
            | (Call::UmemReg | Call::MapUmem | Call::MapRing, Errno::NOMEM | Errno::AGAIN) => {
                "the packet memory is locked memory; raise RLIMIT_MEMLOCK (ulimit -l), grant CAP_IPC_LOCK, or use fewer \
                 frames"
            }
            (_, Errno::NOMEM | Errno::NOBUFS) => "the kernel has not enough memory; use smaller rings and fewer frames",
            (Call::UmemReg, Errno::INVAL) => "the kernel rejects this frame size or headroom; use 2048 and 0",
            (Call::Bind, errno) if errno == Errno::OPNOTSUPP || errno == Errno::KERNEL_NOTSUPP => match self.mode {
                BindMode::ZeroCopy if self.multi_buffer.is_some() => {
                    "the driver has no zero-copy receive for packets in several buffers, or none at all; use copy mode, \
                     or lower the MTU so that a packet fits one frame"
                }
                BindMode::ZeroCopy => "the driver has no zero-copy receive; use copy mode",
                BindMode::Copy => "the driver does not support AF_XDP sockets; use a UDP socket",
            },
            (Call::Bind, Errno::INVAL) if self.multi_buffer.is_some() => {
                "packets of this MTU do not fit one frame, and packets in several frames (XDP_USE_SG) need Linux 6.6; \
                 lower the MTU (ip link set IFACE mtu 1500), use frames of 4096 bytes for an MTU of up to 3000, use a newer \
                 kernel, or use a UDP socket"
            }
            (Call::Bind, Errno::INVAL) => match self.mode {
                BindMode::ZeroCopy => {
                    "the queue does not exist (ethtool -l prints their number), or the driver has no zero-copy receive \
                     for this MTU or frame size; use copy mode"
                }
                BindMode::Copy => "the queue does not exist; ethtool -l prints the number of queues",
            },
            (Call::Bind, Errno::BUSY) => {
                "another socket uses this queue, or is still being closed; stop its process or use another queue"
            }
            (Call::Bind, Errno::NODEV) => "this network namespace has no such interface; ip link lists the interfaces",
            (_, Errno::NETDOWN) => "the interface is down or gone; set it up (ip link set IFACE up)",
            _ => return None,
        })
    }
}

fn mtu_clause(error: &Error) -> String {
    error.multi_buffer.map(|mtu| format!(" (MTU {mtu}: packets in several buffers)")).unwrap_or_default()
}

fn remedy_clause(error: &Error) -> String {
    match &error.known {
        Some(known) => format!(": {known}"),
        None => error.remedy().map(|remedy| format!(": {remedy}")).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::umem::UmemConfig;

    fn bind_failed(errno: Errno, mode: BindMode, multi_buffer: Option<u32>) -> Error {
        let cause = Cause::System { call: Call::Bind, errno };
        Error { interface: "eth1".into(), queue: 0, mode, multi_buffer, cause, known: None }
    }

    #[test]
    fn a_kernel_without_packets_in_several_buffers_is_named() {
        let error = bind_failed(Errno::INVAL, BindMode::Copy, Some(9000));
        let text = error.to_string();
        for part in ["eth1", "MTU 9000", "XDP_USE_SG", "Linux 6.6", "ip link set", "frames of 4096"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(error.is_mode_unsupported(), "mode socket is worth a try");
        let one = bind_failed(Errno::INVAL, BindMode::Copy, None);
        assert!(!one.is_mode_unsupported() && !one.to_string().contains("MTU"), "{one}");
        let zero_copy = bind_failed(Errno::OPNOTSUPP, BindMode::ZeroCopy, Some(9000)).to_string();
        assert!(zero_copy.contains("MTU 9000") && zero_copy.contains("use copy mode"), "{zero_copy}");
    }

    const CALLS: [Call; 15] = [
        Call::Socket,
        Call::MapUmem,
        Call::UmemReg,
        Call::FillRing,
        Call::CompletionRing,
        Call::RxRing,
        Call::MmapOffsets,
        Call::MapRing,
        Call::Bind,
        Call::Options,
        Call::PreferBusyPoll,
        Call::BusyPoll,
        Call::BusyPollBudget,
        Call::Statistics,
        Call::Poll,
    ];
    const ERRNOS: [Errno; 13] = [
        Errno::ACCESS,
        Errno::AFNOSUPPORT,
        Errno::AGAIN,
        Errno::BUSY,
        Errno::INVAL,
        Errno::KERNEL_NOTSUPP,
        Errno::NETDOWN,
        Errno::NOBUFS,
        Errno::NODEV,
        Errno::NOMEM,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::PERM,
    ];

    /// Every text that an error can have.
    fn texts() -> Vec<String> {
        let faulty = UmemConfig { frame_count: 3, ..UmemConfig::default() };
        let mut causes = vec![Cause::OtherMode, Cause::Config(faulty.fault().expect("a fault"))];
        for call in CALLS {
            causes.extend(ERRNOS.map(|errno| Cause::System { call, errno }));
        }
        let mut texts = Vec::new();
        for cause in causes {
            for mode in [BindMode::Copy, BindMode::ZeroCopy] {
                for multi_buffer in [None, Some(9000)] {
                    let cause = cause.clone();
                    let error = Error { interface: "eth1".into(), queue: 3, mode, multi_buffer, cause, known: None };
                    texts.push(error.to_string());
                    texts.push(error.explained("the driver has a limit; use another one").to_string());
                }
            }
        }
        texts
    }

    #[test]
    #[cfg_attr(miri, ignore = "safe code, and long")]
    fn every_text_names_the_socket_and_reads_as_a_sentence() {
        for text in texts() {
            assert!(text.starts_with("AF_XDP on eth1") && text.contains("queue 3, "), "{text}");
            assert!(!text.contains("  ") && !text.contains("::") && !text.contains("of:"), "{text}");
            assert!(!text.ends_with('.') && !text.ends_with(' ') && !text.ends_with(':'), "{text}");
            assert!(!text.contains(" --"), "a library knows no options of a command: {text}");
        }
    }
}
