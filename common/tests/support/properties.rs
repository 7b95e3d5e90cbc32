//! What must hold of the parser for every frame; for the property tests and the fuzzer.

use receiver_common::Verdict;
use receiver_common::wire::{self, Network, Udp, VlanTags};

/// Where the payload of a datagram with honest lengths lies in the frame; `None` for any other frame.
///
/// # Panics
/// When a property does not hold.
pub fn payload(frame: &[u8], tags: VlanTags) -> Option<std::ops::Range<usize>> {
    let network = match wire::network(frame, tags) {
        Ok(network) => network,
        Err(verdict) => {
            assert!(
                matches!(verdict, Verdict::DroppedMalformed | Verdict::PassedVlan | Verdict::PassedNotIp),
                "{verdict:?} without a look at IP"
            );
            return None;
        }
    };
    let (Network::V4(offset) | Network::V6(offset)) = network;
    assert_eq!(offset, 14 + 4 * tags.count as usize);
    assert!(frame.len() >= offset);
    let ethertype = u16::from_be_bytes([frame[offset - 2], frame[offset - 1]]);
    match network {
        Network::V4(_) => {
            assert_eq!(ethertype, 0x0800);
            let datagram = needs_no_filter(wire::udp_v4(frame, offset))?;
            let header = &frame[offset..];
            assert_eq!((header[0], header[9], header[16] >> 4), (0x45, 17, 0xe));
            assert_eq!((header[6] & 0x3f, header[7]), (0, 0), "a fragment");
            assert_eq!(datagram.source.to_ne_bytes(), header[12..16]);
            assert_eq!(datagram.group.to_ne_bytes(), header[16..20]);
            let ip_end = offset + usize::from(u16::from_be_bytes([header[2], header[3]]));
            udp_payload(frame, &datagram.udp, offset + 20, ip_end)
        }
        Network::V6(_) => {
            assert_eq!(ethertype, 0x86dd);
            let datagram = needs_no_filter(wire::udp_v6(frame, offset))?;
            let header = &frame[offset..];
            assert_eq!((header[0] >> 4, header[6], header[24]), (6, 17, 0xff));
            assert_eq!(datagram.source.map(u64::to_ne_bytes).concat(), header[8..24]);
            assert_eq!(datagram.group.map(u64::to_ne_bytes).concat(), header[24..40]);
            let ip_end = offset + 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
            udp_payload(frame, &datagram.udp, offset + 40, ip_end)
        }
    }
}

/// Verdicts that only a filter can give must not come from the parser.
fn needs_no_filter<T>(result: Result<T, Verdict>) -> Option<T> {
    let verdict = match result {
        Ok(datagram) => return Some(datagram),
        Err(verdict) => verdict,
    };
    assert!(
        !matches!(
            verdict,
            Verdict::Redirected
                | Verdict::DroppedNotIncluded
                | Verdict::DroppedBlocked
                | Verdict::PassedNoSocket
                | Verdict::PassedOtherGroup
                | Verdict::PassedVlan
                | Verdict::PassedNotIp
        ),
        "{verdict:?} from an IP parser"
    );
    None
}

fn udp_payload(frame: &[u8], udp: &Udp, start: usize, ip_end: usize) -> Option<std::ops::Range<usize>> {
    assert_eq!(udp.offset, start);
    let header = &frame[start..start + 8];
    assert_eq!(udp.source_port.to_ne_bytes(), header[..2]);
    assert_eq!(udp.destination_port.to_ne_bytes(), header[2..4]);
    assert_eq!(udp.len.to_be_bytes(), header[4..6]);
    assert_eq!(udp.checksum.to_ne_bytes(), header[6..]);
    let payload = start + 8..start + usize::from(udp.len);
    let honest = payload.start <= payload.end && payload.end <= ip_end && ip_end <= frame.len();
    assert_eq!(udp.lengths_agree, honest, "payload {payload:?}, IP ends at {ip_end}, frame at {}", frame.len());
    honest.then_some(payload)
}
