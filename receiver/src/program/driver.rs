//! Known limits of drivers that their errors do not explain, and what to do about them. Drivers that are not listed may
//! have limits as well.

use rustix::io::Errno;

/// When a limit takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The kernel refuses to attach the XDP program in native mode.
    Attach,
    /// The kernel refuses to bind a socket in zero-copy mode, with this error number, or with any.
    ZeroCopy(Option<Errno>),
    /// Packets flow, and no error is reported.
    Running,
}

/// One limit of one driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The driver's name, as `ethtool -i` prints it.
    pub driver: &'static str,
    /// When it takes effect.
    pub when: When,
    /// The limit.
    pub limit: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// All known limits. Those that this project's tests have met are marked; the others are from the drivers' sources and
/// their users' reports.
pub const LIMITS: &[Limit] = &[
    // Seen here, Linux 6.18.
    Limit {
        driver: "veth",
        when: When::ZeroCopy(Some(Errno::OPNOTSUPP)),
        limit: "veth has no zero-copy receive",
        remedy: "use mode mapped or copy",
    },
    // Seen here, QEMU, Linux 6.1 and 6.12 (refused), 7.3 (works; with MTU 9000 refused).
    Limit {
        driver: "virtio_net",
        when: When::ZeroCopy(Some(Errno::OPNOTSUPP)),
        limit: "virtio_net has zero-copy receive in Linux 7.3, not in 6.12, and only of packets that fit one buffer",
        remedy: "boot a newer kernel and take an MTU of 1500, or use mode mapped or copy",
    },
    // Seen here, QEMU, Linux 7.3.
    Limit {
        driver: "virtio_net",
        when: When::ZeroCopy(Some(Errno::INVAL)),
        limit: "virtio_net does zero-copy only on a device that uses the kernel's DMA interface",
        remedy: "start the virtual machine with iommu_platform=on,disable-legacy=on for this device, or use mode \
                 mapped or copy",
    },
    // Seen here, QEMU, Linux 7.3 on aarch64: there the module's own memory is not in the kernel's linear mapping.
    Limit {
        driver: "virtio_net",
        when: When::ZeroCopy(Some(Errno::NOMEM)),
        limit: "the kernel has not enough memory, or virtio_net is a module on aarch64, where it does zero-copy only \
                after a boot with nokaslr",
        remedy: "use smaller rings and fewer frames, or use mode mapped or copy",
    },
    Limit {
        driver: "virtio_net",
        when: When::Attach,
        limit: "virtio_net takes XDP only if the host lets it turn off its merging of packets (ctrl_guest_offloads), \
                and beyond an MTU of about 3500 only with mergeable buffers (mrg_rxbuf) and Linux 6.3",
        remedy: "start the virtual machine with guest_tso4=off,guest_tso6=off,guest_ufo=off,guest_ecn=off for this \
                 device, lower the MTU, or use mode generic",
    },
    Limit {
        driver: "ena",
        when: When::Attach,
        limit: "ena takes XDP only if at most half of the channels are in use",
        remedy: "halve them: ethtool -L IFACE combined N (ethtool -l prints how many there can be)",
    },
    Limit {
        driver: "gve",
        when: When::ZeroCopy(None),
        limit: "gve takes a zero-copy socket only while an XDP program is attached (as this receiver does), and not \
                in each of its queue formats",
        remedy: "use mode mapped or copy",
    },
    Limit {
        driver: "ice",
        when: When::Attach,
        limit: "ice takes frames of 3 KB at most with a program for single buffers",
        remedy: "lower the MTU to 3000 (ip link set IFACE mtu 3000), or use mode generic",
    },
    Limit {
        driver: "ice",
        when: When::ZeroCopy(Some(Errno::INVAL)),
        limit: "ice takes frames of 3 KB at most with a socket for single buffers",
        remedy: "lower the MTU to 3000 (ip link set IFACE mtu 3000), or use mode generic",
    },
    Limit {
        driver: "i40e",
        when: When::Running,
        limit: "i40e was seen to ignore ntuple rules that are added while an AF_XDP socket is bound",
        remedy: "add them (ethtool -N) before the receiver starts",
    },
];

/// The known limit of attaching to this driver.
pub fn attach(driver: Option<&str>) -> Option<&'static Limit> {
    of(driver).find(|limit| limit.when == When::Attach)
}

/// The known limit of this driver that explains an error of a zero-copy bind.
pub fn zero_copy(driver: Option<&str>, said: Errno) -> Option<&'static Limit> {
    of(driver).find(|limit| matches!(limit.when, When::ZeroCopy(errno) if errno.is_none_or(|errno| errno == said)))
}

/// The known limits of this driver that cause no error.
pub fn silent(driver: Option<&str>) -> impl Iterator<Item = &'static Limit> {
    of(driver).filter(|limit| limit.when == When::Running)
}

fn of(driver: Option<&str>) -> impl Iterator<Item = &'static Limit> {
    LIMITS.iter().filter(move |limit| Some(limit.driver) == driver)
}

impl std::fmt::Display for Limit {
    /// The limit, and what to do.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.limit, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_found_by_driver_and_answer() {
        let virtio = |errno| zero_copy(Some("virtio_net"), errno).map(|limit| limit.remedy).unwrap_or_default();
        assert!(virtio(Errno::INVAL).contains("iommu_platform"));
        assert!(virtio(Errno::OPNOTSUPP).contains("newer kernel"));
        assert_eq!(virtio(Errno::BUSY), "");
        assert!(zero_copy(Some("gve"), Errno::NXIO).is_some(), "whatever it says");
        assert!(attach(Some("ena")).is_some_and(|limit| limit.remedy.contains("ethtool -L")));
        assert_eq!((attach(Some("veth")), attach(None), zero_copy(None, Errno::INVAL)), (None, None, None));
        assert_eq!(silent(Some("i40e")).count(), 1);
    }

    #[test]
    fn each_driver_tells_one_thing_for_one_answer() {
        for (index, limit) in LIMITS.iter().enumerate().filter(|(_, limit)| limit.when != When::Running) {
            let same = |other: &&Limit| (other.driver, other.when) == (limit.driver, limit.when);
            assert_eq!(LIMITS[index + 1..].iter().find(same), None);
        }
    }
}
