//! What a driver reports by the ethtool ioctl (ethtool -l, -g, -k, -T, -x), which rtnetlink does not replace. Each
//! answer is `None` or empty if the driver does not report it. Needs no privilege.
#![allow(unsafe_code)] // The ioctl; no library of the workspace offers it safely and without a runtime.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketType, socket};

/// Commands of include/uapi/linux/ethtool.h.
const ETHTOOL_GRINGPARAM: u32 = 0x10;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GRXFHINDIR: u32 = 0x38;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GET_TS_INFO: u32 = 0x41;
/// The string set of feature names (`ETH_SS_FEATURES`).
const FEATURES: u32 = 4;
/// Upper bound of the number of features; Linux 6.18 has 64.
const MOST_FEATURES: usize = 256;
/// Words of a feature's name (`ETH_GSTRING_LEN`).
const NAME_WORDS: usize = 8;
/// Upper bound of the entries of an indirection table.
const MOST_ENTRIES: usize = 1 << 16;

/// The receive rings of a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingDepth {
    /// Descriptors of each receive ring.
    pub receive: u32,
    /// The largest number that the driver accepts.
    pub most: u32,
}

/// The receive queues in use (ethtool -l).
pub(crate) fn receive_queues(name: &str) -> Option<u32> {
    // struct ethtool_channels: cmd, the largest rx, tx, other and combined counts, then the counts in use.
    let mut words = [0; 9];
    words[0] = ETHTOOL_GCHANNELS;
    // SAFETY: the kernel writes an ethtool_channels, which is nine words.
    unsafe { ask(name, &mut words) }.ok()?;
    Some(words[5].saturating_add(words[8]))
}

/// The depth of the receive rings (ethtool -g).
pub fn ring_depth(name: &str) -> Option<RingDepth> {
    // struct ethtool_ringparam: cmd, the largest rx, mini, jumbo and tx rings, then those in use.
    let mut words = [0; 9];
    words[0] = ETHTOOL_GRINGPARAM;
    // SAFETY: the kernel writes an ethtool_ringparam, which is nine words.
    unsafe { ask(name, &mut words) }.ok()?;
    (words[1] > 0).then_some(RingDepth { receive: words[5], most: words[1] })
}

/// The index of the NIC's clock, `/dev/ptpN` (ethtool -T).
pub fn clock_index(name: &str) -> Option<u32> {
    // struct ethtool_ts_info: cmd, so_timestamping, phc_index, and eight words more.
    let mut words = [0; 11];
    words[0] = ETHTOOL_GET_TS_INFO;
    // SAFETY: the kernel writes an ethtool_ts_info, which is eleven words.
    unsafe { ask(name, &mut words) }.ok()?;
    u32::try_from(words[2].cast_signed()).ok()
}

/// The queue of each entry of the RSS indirection table (ethtool -x).
pub fn indirection_table(name: &str) -> Option<Vec<u32>> {
    // struct ethtool_rxfh_indir: cmd, size, and the entries. A size of 0 asks for the size.
    let mut words = vec![ETHTOOL_GRXFHINDIR, 0];
    // SAFETY: for a size of 0 the kernel writes the size alone.
    unsafe { ask(name, &mut words) }.ok()?;
    let size = words[1] as usize;
    if size == 0 || size > MOST_ENTRIES {
        return None;
    }
    words.resize(2 + size, 0);
    // SAFETY: the kernel refuses a size below its own, and writes no more entries than its own size, for which there
    // is room.
    unsafe { ask(name, &mut words) }.ok()?;
    Some(words.split_off(2))
}

/// Each feature by its name, and whether it is on (ethtool -k).
pub fn features(name: &str) -> BTreeMap<String, bool> {
    read_features(name).unwrap_or_default()
}

fn read_features(name: &str) -> io::Result<BTreeMap<String, bool>> {
    // struct ethtool_sset_info: cmd, reserved, a mask of 64 bits, and a count for each bit that was set.
    let mask = (1_u64 << FEATURES).to_ne_bytes();
    let half = |at: usize| u32::from_ne_bytes([mask[at], mask[at + 1], mask[at + 2], mask[at + 3]]);
    let mut info = [ETHTOOL_GSSET_INFO, 0, half(0), half(4), 0];
    // SAFETY: one bit is set, so the kernel writes one count, for which there is room.
    unsafe { ask(name, &mut info) }?;
    let count = info[4] as usize;
    if count > MOST_FEATURES {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    // struct ethtool_gstrings: cmd, set, length, and 32 bytes for each string.
    let mut strings = vec![0; 3 + MOST_FEATURES * NAME_WORDS];
    (strings[0], strings[1], strings[2]) = (ETHTOOL_GSTRINGS, FEATURES, info[4]);
    // SAFETY: the number of features is a constant of the kernel that runs, and there is room for as many names.
    unsafe { ask(name, &mut strings) }?;
    // struct ethtool_gfeatures: cmd, size, and for each 32 features the words available, requested, active, fixed.
    let blocks = MOST_FEATURES / 32;
    let mut bits = vec![0; 2 + 4 * blocks];
    (bits[0], bits[1]) = (ETHTOOL_GFEATURES, blocks as u32);
    // SAFETY: the kernel writes at most as many blocks as the size names, for which there is room.
    unsafe { ask(name, &mut bits) }?;
    let is_on = |feature: usize| bits[2 + 4 * (feature / 32) + 2] >> (feature % 32) & 1 == 1;
    let name_of = |feature: usize| {
        let words = &strings[3 + feature * NAME_WORDS..][..NAME_WORDS];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|&byte| byte != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok((0..count).map(|feature| (name_of(feature), is_on(feature))).filter(|(name, _)| !name.is_empty()).collect())
}

/// One request: the first word is the command, and the kernel writes its answer over the words.
///
/// # Safety
/// There is a word for each that the kernel writes in answer to this command.
unsafe fn ask(name: &str, words: &mut [u32]) -> io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: ifreq is integers, arrays and pointers, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // All but the last byte, so that the name ends with a zero.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: SIOCETHTOOL reads the ifreq, and reads and writes through its pointer what the caller has made room for.
    // Both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_features_and_no_rings() {
        let features = features("lo");
        assert!(features.contains_key("rx-gro") && features.contains_key("rx-lro"), "{features:?}");
        assert_eq!(features.get("loopback"), Some(&true), "the loopback interface has it always on");
        assert_eq!((ring_depth("lo"), indirection_table("lo")), (None, None));
    }

    #[test]
    fn an_interface_that_is_not_there_reports_nothing() {
        let name = "no-such-if0";
        assert_eq!((receive_queues(name), ring_depth(name), clock_index(name)), (None, None, None));
        assert!(features(name).is_empty());
    }
}
