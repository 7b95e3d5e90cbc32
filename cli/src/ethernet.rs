//! Ethernet addresses of groups.

use std::net::IpAddr;

/// The Ethernet address of a group (RFC 1112, section 6.4; RFC 2464, section 7).
pub fn group_mac(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(group) => {
            let [_, second, third, fourth] = group.octets();
            [0x01, 0x00, 0x5e, second & 0x7f, third, fourth]
        }
        IpAddr::V6(group) => {
            let [.., third, second, first, last] = group.octets();
            [0x33, 0x33, third, second, first, last]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_their_ethernet_addresses() {
        let mac = |group: &str| group_mac(group.parse().expect("a group"));
        assert_eq!(mac("239.129.2.3"), [0x01, 0x00, 0x5e, 0x01, 0x02, 0x03]);
        assert_eq!(mac("ff3e::8001:203"), [0x33, 0x33, 0x80, 0x01, 0x02, 0x03]);
    }
}
