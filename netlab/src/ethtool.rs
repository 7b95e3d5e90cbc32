//! Sets the number of queues, GRO and other features of an interface, and reads its driver's counters, by ethtool's
//! ioctl. So no test needs the program `ethtool`.

#![allow(unsafe_code)] // The ioctl; rustix has no safe call for it.

use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketType, socket};

use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// Commands of include/uapi/linux/ethtool.h.
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_SGRO: u32 = 0x2c;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_SFEATURES: u32 = 0x3b;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_SCHANNELS: u32 = 0x3d;
/// The string set of counter names (`ETH_SS_STATS`).
const STATISTICS: u32 = 1;
/// The string set of feature names (`ETH_SS_FEATURES`).
const FEATURES: u32 = 4;
/// Upper bound of the number of features; Linux 6.18 has 64.
const MOST_FEATURES: usize = 128;
/// Upper bound of the number of names in a set.
const MOST_NAMES: usize = 1024;
/// Upper bound of the length of an interface's name, without the final zero (`IFNAMSIZ - 1`).
const MAX_NAME: usize = 15;

/// A kind of queues. Most drivers have pairs (`Combined`); veth counts each direction separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// Receive queues.
    Rx,
    /// Transmit queues.
    Tx,
    /// Pairs of a receive and a transmit queue.
    Combined,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx_count: u32,
    tx_count: u32,
    other_count: u32,
    combined_count: u32,
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// `struct ethtool_sset_info` for one string set.
#[repr(C)]
struct EthtoolSsetInfo {
    cmd: u32,
    reserved: u32,
    mask: u64,
    count: u32,
}

/// `struct ethtool_gstrings`.
#[repr(C)]
struct EthtoolStrings {
    cmd: u32,
    set: u32,
    count: u32,
    names: [[u8; 32]; MOST_NAMES],
}

/// `struct ethtool_stats`.
#[repr(C)]
struct EthtoolStatistics {
    cmd: u32,
    count: u32,
    values: [u64; MOST_NAMES],
}

/// `struct ethtool_sfeatures`: for each 32 features, which to change and which of them to turn on.
#[repr(C)]
struct EthtoolFeatures {
    cmd: u32,
    blocks: u32,
    features: [[u32; 2]; MOST_FEATURES / 32],
}

/// Structures that SIOCETHTOOL may be given: the kernel reads and writes no byte beyond them for the command in their
/// first field.
///
/// # Safety
///
/// The type has the layout of the kernel's structure for every command that this file puts into it, and any bytes are a
/// value of it.
unsafe trait Request {}
// SAFETY: `struct ethtool_channels` for GCHANNELS and SCHANNELS; numbers alone.
unsafe impl Request for EthtoolChannels {}
// SAFETY: `struct ethtool_value` for SGRO; numbers alone.
unsafe impl Request for EthtoolValue {}
// SAFETY: `struct ethtool_sset_info` with room for the one count that is asked for; numbers alone.
unsafe impl Request for EthtoolSsetInfo {}
// SAFETY: `struct ethtool_gstrings` with room for `MOST_NAMES` names, which is checked against the kernel's count
// before.
unsafe impl Request for EthtoolStrings {}
// SAFETY: `struct ethtool_stats` with room for `MOST_NAMES` counters, which is checked against the kernel's count
// before.
unsafe impl Request for EthtoolStatistics {}
// SAFETY: `struct ethtool_sfeatures`, which the kernel only reads; numbers alone.
unsafe impl Request for EthtoolFeatures {}

impl Namespace {
    /// Sets a number of queues (`ethtool -L`). The other numbers stay.
    ///
    /// # Errors
    ///
    /// [`Error::Ethtool`] with the kernel's answer: `EINVAL` above the driver's limit or, on veth, where XDP rules it
    /// out.
    pub fn set_channels(&self, interface: &str, which: Channels, count: u32) -> Result<()> {
        let set = || {
            let mut channels = EthtoolChannels { cmd: ETHTOOL_GCHANNELS, ..Default::default() };
            ask(interface, &mut channels)?;
            channels.cmd = ETHTOOL_SCHANNELS;
            *match which {
                Channels::Rx => &mut channels.rx_count,
                Channels::Tx => &mut channels.tx_count,
                Channels::Combined => &mut channels.combined_count,
            } = count;
            ask(interface, &mut channels)
        };
        self.run(set)?
            .map_err(|source| self.ethtool_error(interface, format!("set {which:?} queues to {count}"), source))
    }

    /// Turns generic receive offload on or off (`ethtool -K … gro`).
    ///
    /// # Errors
    ///
    /// [`Error::Ethtool`] with the kernel's answer.
    pub fn set_gro(&self, interface: &str, on: bool) -> Result<()> {
        let set = || ask(interface, &mut EthtoolValue { cmd: ETHTOOL_SGRO, data: on.into() });
        self.run(set)?.map_err(|source| self.ethtool_error(interface, format!("set GRO to {on}"), source))
    }

    /// Turns a feature on or off (`ethtool -K`), by the kernel's name, such as `tx-checksum-ip-generic`.
    ///
    /// # Errors
    ///
    /// [`Error::Ethtool`] with the kernel's answer, which is also `EINVAL` if there is no such feature.
    pub fn set_feature(&self, interface: &str, feature: &str, on: bool) -> Result<()> {
        let set = || {
            let bit = feature_bit(interface, feature)?.ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
            let mut request = EthtoolFeatures { cmd: ETHTOOL_SFEATURES, blocks: 0, features: Default::default() };
            let mask = 1 << (bit % 32);
            request.features[bit / 32] = [mask, if on { mask } else { 0 }];
            request.blocks = count(interface, FEATURES)?.div_ceil(32);
            ask(interface, &mut request)
        };
        self.run(set)?.map_err(|source| self.ethtool_error(interface, format!("set {feature} to {on}"), source))
    }

    /// Reads the driver's counters by their names (`ethtool -S`). A driver that has none returns an empty list.
    ///
    /// # Errors
    ///
    /// [`Error::Ethtool`] with the kernel's answer.
    pub fn driver_counters(&self, interface: &str) -> Result<Vec<(String, u64)>> {
        let read = || match names(interface, STATISTICS) {
            Ok(names) if names.is_empty() => Ok(Vec::new()),
            Ok(names) => {
                let request =
                    EthtoolStatistics { cmd: ETHTOOL_GSTATS, count: names.len() as u32, values: [0; MOST_NAMES] };
                let mut request = Box::new(request);
                ask(interface, request.as_mut())?;
                Ok(names.into_iter().zip(request.values).collect())
            }
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        self.run(read)?.map_err(|source| self.ethtool_error(interface, "read the driver's counters".to_owned(), source))
    }

    fn ethtool_error(&self, interface: &str, what: String, source: io::Error) -> Error {
        Error::Ethtool { name: self.name().to_owned(), interface: interface.to_owned(), what, source }
    }
}

/// The number of names in a set.
fn count(interface: &str, set: u32) -> io::Result<u32> {
    let mut info = EthtoolSsetInfo { cmd: ETHTOOL_GSSET_INFO, reserved: 0, mask: 1 << set, count: 0 };
    ask(interface, &mut info)?;
    // The kernel clears the bit of a set that the driver does not have.
    Ok(if info.mask == 0 { 0 } else { info.count })
}

/// The names of a set.
fn names(interface: &str, set: u32) -> io::Result<Vec<String>> {
    let count = count(interface, set)?;
    if count as usize > MOST_NAMES {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let mut strings = Box::new(EthtoolStrings { cmd: ETHTOOL_GSTRINGS, set, count, names: [[0; 32]; MOST_NAMES] });
    ask(interface, strings.as_mut())?;
    let text =
        |name: &[u8; 32]| String::from_utf8_lossy(name.split(|&byte| byte == 0).next().unwrap_or(&[])).into_owned();
    Ok(strings.names.iter().take(count as usize).map(text).collect())
}

/// The number of a feature, by its name.
fn feature_bit(interface: &str, feature: &str) -> io::Result<Option<usize>> {
    let names = names(interface, FEATURES)?;
    if names.len() > MOST_FEATURES {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    Ok(names.iter().position(|name| name == feature))
}

fn ask<T: Request>(interface: &str, request: &mut T) -> io::Result<()> {
    if interface.len() > MAX_NAME {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: ifreq is plain data, for which zeroes are a value.
    let mut ifreq: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in ifreq.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    ifreq.ifr_ifru.ifru_data = (request as *mut T).cast();
    // SAFETY: the kernel reads the ifreq, and reads and writes a T through its pointer, as `Request` promises; both
    // outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut ifreq) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
