//! What a driver's XDP can do, as the driver reports it to the kernel: the generic netlink family `netdev` (Linux 6.3).

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

/// `struct nlmsghdr` and `struct genlmsghdr`, in bytes.
const HEADER: usize = 16 + 4;
const NLM_F_REQUEST: u16 = 1;
/// An error number takes the place of an answer.
const NLMSG_ERROR: u16 = 2;
/// The family of the controller, which knows the ids of the others.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// The bits of `enum netdev_xdp_act`.
const BASIC: u64 = 1;
const REDIRECT: u64 = 1 << 1;
const XSK_ZEROCOPY: u64 = 1 << 3;
const RX_SG: u64 = 1 << 5;

/// What the driver of an interface reports of its XDP in native mode. Some of it can depend on settings.
///
/// ```no_run
/// let interface = receiver_host::Interface::lookup("eth1").expect("an interface");
/// if let Some(features) = receiver_host::XdpFeatures::read(interface.index)? {
///     println!("{}: native XDP {}", interface.name, features.native);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct XdpFeatures {
    /// True if a program can be attached in the driver, and can pass and drop.
    pub native: bool,
    /// True if a program there can redirect, as to an AF_XDP socket.
    pub redirect: bool,
    /// True if AF_XDP sockets can have zero-copy receive.
    pub zero_copy: bool,
    /// True if packets may have several buffers.
    pub several_buffers: bool,
}

impl XdpFeatures {
    /// Reads the features of an interface, by its index, in the calling thread's network namespace. `None` before Linux
    /// 6.3. Needs no privilege, and changes nothing.
    ///
    /// # Errors
    /// As send(2) and recv(2), and ENODEV if there is no such interface.
    pub fn read(interface: u32) -> io::Result<Option<Self>> {
        let mut socket = Socket::new(NETLINK_GENERIC)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let family = match ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"netdev\0") {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            answer => find(&answer?, CTRL_ATTR_FAMILY_ID).and_then(|id| Some(u16::from_ne_bytes(id.try_into().ok()?))),
        };
        let family = family.ok_or_else(unexpected)?;
        let answer = ask(&socket, family, NETDEV_CMD_DEV_GET, NETDEV_A_DEV_IFINDEX, &interface.to_ne_bytes())?;
        let bits = find(&answer, NETDEV_A_DEV_XDP_FEATURES).and_then(|bits| bits.try_into().ok());
        Ok(Some(Self::of(u64::from_ne_bytes(bits.ok_or_else(unexpected)?))))
    }

    fn of(bits: u64) -> Self {
        let has = |bit| bits & bit != 0;
        let native = has(BASIC);
        Self { native, redirect: has(REDIRECT), zero_copy: has(XSK_ZEROCOPY), several_buffers: has(RX_SG) }
    }
}

/// Sends one request with one attribute. Returns the answer's attributes.
fn ask(socket: &Socket, family: u16, command: u8, attribute: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let attribute_length = 4 + value.len();
    let length = HEADER + attribute_length.next_multiple_of(4);
    let mut request = Vec::with_capacity(length);
    request.extend((length as u32).to_ne_bytes());
    request.extend([family, NLM_F_REQUEST].iter().flat_map(|number| number.to_ne_bytes()));
    // The sequence number and the port, which matter to nobody: each request is answered before the next one.
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend([attribute_length as u16, attribute].iter().flat_map(|number| number.to_ne_bytes()));
    request.extend(value);
    request.resize(length, 0);
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    parse(&answer)
}

/// The attributes of an answer.
fn parse(answer: &[u8]) -> io::Result<Vec<u8>> {
    let number = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let length = number(0).map(u32::from_ne_bytes).ok_or_else(unexpected)? as usize;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    if kind == Some(NLMSG_ERROR) {
        let error = number(16).map(i32::from_ne_bytes).ok_or_else(unexpected)?;
        return Err(io::Error::from_raw_os_error(error.wrapping_neg()));
    }
    answer.get(HEADER..length).map(<[u8]>::to_vec).ok_or_else(unexpected)
}

/// The value of an attribute. What is damaged ends the list.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    /// The bits of a type that are flags.
    const FLAGS: u16 = 0xc000;
    loop {
        let length = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..length)?;
        if kind & !FLAGS == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer about XDP features has another form")
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [(4 + value.len()) as u16, kind].iter().flat_map(|number| number.to_ne_bytes()).collect();
        let all: &mut Vec<u8> = &mut bytes;
        all.extend(value);
        all.resize(all.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn bits_and_attributes() {
        let all = XdpFeatures::of(0x2b);
        assert!(all.native && all.redirect && all.zero_copy && all.several_buffers);
        assert_eq!(XdpFeatures::of(0), XdpFeatures::default());
        let list = [attribute(1, b"abc"), attribute(0x4003, &[7; 8])].concat();
        assert_eq!((find(&list, 1), find(&list, 3), find(&list, 4)), (Some(&b"abc"[..]), Some(&[7; 8][..]), None));
    }

    #[test]
    fn the_loopback_interface_has_no_native_xdp() {
        // None on old kernels.
        assert_ne!(XdpFeatures::read(1).expect("an answer").map(|features| features.native), Some(true));
        let error = XdpFeatures::read(u32::MAX / 2);
        assert!(matches!(&error, Ok(None)) || error.is_err(), "{error:?}");
    }

    proptest! {
        #[test]
        fn nothing_from_the_kernel_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), wanted in 0_u16..8) {
            let _ = (parse(&bytes), find(&bytes, wanted));
        }
    }
}
