//! Why a socket could not be had, in words that say what to do about it.

use super::config::BindMode;
use super::errno::Errno;

/// A failure to set up or to use an AF_XDP socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AF_XDP on {interface}{}, queue {queue}, {mode} mode: {cause}{}", mtu_clause(self), remedy_clause(self))]
pub struct Error {
    /// The interface's name, as it was given.
    pub interface: String,
    /// The queue.
    pub queue: u32,
    /// The mode asked for.
    pub mode: BindMode,
    /// The interface's MTU, if packets over several buffers were asked for because of it.
    pub multi_buffer: Option<u32>,
    /// What failed.
    #[source]
    pub cause: Cause,
    /// What the caller knows of the driver that explains the failure, and what to do about it: see
    /// [`Error::explained`].
    pub known: Option<String>,
}

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The configuration makes no sense, whatever the interface; told with what to change.
    #[error("{0}")]
    Config(String),
    /// A system call was refused.
    #[error("{call} said {errno}")]
    System {
        /// The call.
        call: Call,
        /// What it said.
        errno: Errno,
    },
    /// The socket is bound, but the kernel says that its mode is another (`XDP_OPTIONS`).
    #[error("the kernel bound the socket in another mode than was asked for")]
    OtherMode,
}

/// The system call, and the socket option of it.
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
    /// poll(2), or the error that it found waiting at the socket (`SO_ERROR`).
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
    /// What the kernel said, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self.cause {
            Cause::System { errno, .. } => Some(errno),
            Cause::Config(_) | Cause::OtherMode => None,
        }
    }

    /// Is it this mode that can not be had here, so that the next one is worth a try? `false` means that the cause
    /// stands in the way of every mode: a missing privilege, a wrong configuration, a queue that is taken.
    ///
    /// `EINVAL` from a zero-copy bind counts as such: drivers say it for an MTU, a frame size or a device that only
    /// their zero-copy path rejects (virtio_net without `iommu_platform`). If the queue does not exist, copy mode will
    /// say so. So does one with packets over several buffers, which kernels before 6.6 do not know.
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

    /// The same error with what the caller knows of the driver. It replaces the general [remedy](Self::remedy) in the
    /// text.
    #[must_use]
    pub fn explained(self, known: impl Into<String>) -> Self {
        Self { known: Some(known.into()), ..self }
    }

    /// What to do about it in general, where that is known.
    pub fn remedy(&self) -> Option<&'static str> {
        let Cause::System { call, errno } = self.cause else { return None };
        Some(match (call, errno) {
            (Call::Socket, Errno::AFNOSUPPORT) => "this kernel has no AF_XDP; use one built with CONFIG_XDP_SOCKETS",
            (Call::PreferBusyPoll | Call::BusyPoll | Call::BusyPollBudget, Errno::PERM | Errno::ACCESS) => {
                "busy polling needs CAP_NET_ADMIN; grant it, or do without busy polling"
            }
            (Call::PreferBusyPoll | Call::BusyPollBudget, Errno::NOPROTOOPT) => {
                "preferred busy polling needs Linux 5.11; use a newer kernel, or do without busy polling"
            }
            (_, Errno::PERM | Errno::ACCESS) => {
                "an AF_XDP socket needs CAP_NET_RAW, and its XDP program CAP_NET_ADMIN and CAP_BPF; run as root or grant them"
            }
            (Call::UmemReg, Errno::NOBUFS)
            | (Call::UmemReg | Call::MapUmem | Call::MapRing, Errno::NOMEM | Errno::AGAIN) => {
                "the packet memory is locked memory; raise RLIMIT_MEMLOCK (ulimit -l), grant CAP_IPC_LOCK, or take fewer frames"
            }
            (_, Errno::NOMEM | Errno::NOBUFS) => "the kernel has no memory for it; take smaller rings and fewer frames",
            (Call::UmemReg, Errno::INVAL) => "the kernel rejects this frame size or headroom; take 2048 and 0",
            (Call::Bind, errno) if errno == Errno::OPNOTSUPP || errno == Errno::KERNEL_NOTSUPP => match self.mode {
                BindMode::ZeroCopy if self.multi_buffer.is_some() => {
                    "the driver has no zero-copy receive of packets over several buffers, or none at all; use copy mode, or \
                     lower the MTU so that a packet fits one frame"
                }
                BindMode::ZeroCopy => "the driver has no zero-copy receive; use copy mode",
                BindMode::Copy => "the driver takes no AF_XDP socket; use a UDP socket",
            },
            (Call::Bind, Errno::INVAL) if self.multi_buffer.is_some() => {
                "packets of this MTU do not fit one frame, and packets over several (XDP_USE_SG) need Linux 6.6: lower the MTU \
                 (ip link set IFACE mtu 1500), take frames of 4096 bytes for an MTU of up to 3000, use a newer kernel, or use \
                 mode socket"
            }
            (Call::Bind, Errno::INVAL) => match self.mode {
                BindMode::ZeroCopy => {
                    "the queue does not exist (ethtool -l tells how many there are), or the driver can not do zero-copy \
                     with this MTU or frame size; try copy mode"
                }
                BindMode::Copy => "the queue does not exist; ethtool -l tells how many the interface has",
            },
            (Call::Bind, Errno::BUSY) => {
                "another socket is bound to this queue, or is still being closed; stop the other user or take another queue"
            }
            (Call::Bind, Errno::NODEV) => {
                "there is no such interface in this network namespace; ip link shows those there are"
            }
            (_, Errno::NETDOWN) => "the interface is down or gone; ip link set it up",
            _ => return None,
        })
    }
}

fn mtu_clause(error: &Error) -> String {
    error.multi_buffer.map(|mtu| format!(" (MTU {mtu}: packets over several buffers)")).unwrap_or_default()
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

    fn bind_said(errno: Errno, mode: BindMode, multi_buffer: Option<u32>) -> Error {
        let cause = Cause::System { call: Call::Bind, errno };
        Error { interface: "eth1".into(), queue: 0, mode, multi_buffer, cause, known: None }
    }

    #[test]
    fn a_kernel_without_packets_over_several_buffers_is_told_as_such() {
        let error = bind_said(Errno::INVAL, BindMode::Copy, Some(9000));
        let told = error.to_string();
        for part in ["eth1", "MTU 9000", "XDP_USE_SG", "Linux 6.6", "ip link set", "frames of 4096"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(error.is_mode_unsupported(), "mode socket is worth a try");
        let one = bind_said(Errno::INVAL, BindMode::Copy, None);
        assert!(!one.is_mode_unsupported() && !one.to_string().contains("MTU"), "{one}");
        let zero_copy = bind_said(Errno::OPNOTSUPP, BindMode::ZeroCopy, Some(9000)).to_string();
        assert!(zero_copy.contains("MTU 9000") && zero_copy.contains("use copy mode"), "{zero_copy}");
    }
}
