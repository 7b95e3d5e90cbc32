//! A classic BPF filter for one channel, by which an AF_PACKET receiver limits the packets that it gets.

use std::net::Ipv4Addr;

/// One instruction: `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub if_true: u8,
    pub if_false: u8,
    pub value: u32,
}

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_SET: u16 = 0x45;
/// X = 4 * (the low four bits of a byte): an IPv4 header's length.
const LOAD_IP_LENGTH: u16 = 0xb1;
const LOAD_HALF_INDIRECT: u16 = 0x48;
const RETURN: u16 = 0x06;

/// Accepts whole frames of UDP over IPv4 from `source` to `group` and `port`, as tcpdump would compile it.
pub fn channel(source: Ipv4Addr, group: Ipv4Addr, port: u16) -> Vec<Instruction> {
    let tests = [
        (LOAD_HALF, 12, 0x0800),
        (LOAD_BYTE, 23, 17),
        (LOAD_WORD, 26, source.to_bits()),
        (LOAD_WORD, 30, group.to_bits()),
    ];
    let instruction = |code, if_true, if_false, value| Instruction { code, if_true, if_false, value };
    let mut filter = Vec::new();
    for (load, at, value) in tests {
        filter.push(instruction(load, 0, 0, at));
        filter.push(instruction(JUMP_EQUAL, 0, 0, value));
    }
    // No fragments, since their ports are unknown.
    filter.push(instruction(LOAD_HALF, 0, 0, 20));
    filter.push(instruction(JUMP_SET, 0, 0, 0x3fff));
    filter.push(instruction(LOAD_IP_LENGTH, 0, 0, 14));
    filter.push(instruction(LOAD_HALF_INDIRECT, 0, 0, 16));
    filter.push(instruction(JUMP_EQUAL, 0, 0, port.into()));
    filter.push(instruction(RETURN, 0, 0, u32::MAX));
    filter.push(instruction(RETURN, 0, 0, 0));
    let refuse = filter.len() - 1;
    for (at, jump) in filter.iter_mut().enumerate() {
        let to_refuse = (refuse - at).saturating_sub(1) as u8;
        match jump.code {
            JUMP_EQUAL => jump.if_false = to_refuse,
            JUMP_SET => jump.if_true = to_refuse,
            _ => {}
        }
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel would run it.
    fn takes(filter: &[Instruction], frame: &[u8]) -> bool {
        let (mut at, mut a, mut x) = (0, 0u32, 0usize);
        loop {
            let Instruction { code, if_true, if_false, value } = filter[at];
            let offset = value as usize;
            let half = |at: usize| u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
            let jump = |yes: bool| usize::from(if yes { if_true } else { if_false });
            at += 1;
            match code {
                LOAD_WORD => a = half(offset) << 16 | half(offset + 2),
                LOAD_HALF => a = half(offset),
                LOAD_BYTE => a = frame[offset].into(),
                JUMP_EQUAL => at += jump(a == value),
                JUMP_SET => at += jump(a & value != 0),
                LOAD_IP_LENGTH => x = usize::from(frame[offset] & 15) * 4,
                LOAD_HALF_INDIRECT => a = half(x + offset),
                RETURN => return value != 0,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn frame(source: [u8; 4], group: [u8; 4], port: u16) -> Vec<u8> {
        let mut frame = vec![0; 64];
        frame[12] = 8;
        frame[14] = 0x45;
        frame[23] = 17;
        frame[26..30].copy_from_slice(&source);
        frame[30..34].copy_from_slice(&group);
        frame[36..38].copy_from_slice(&port.to_be_bytes());
        frame
    }

    #[test]
    fn the_channel_and_nothing_else() {
        let filter = channel([10, 0, 0, 1].into(), [232, 1, 1, 1].into(), 5000);
        let wanted = frame([10, 0, 0, 1], [232, 1, 1, 1], 5000);
        assert!(takes(&filter, &wanted));
        assert!(!takes(&filter, &frame([10, 0, 0, 2], [232, 1, 1, 1], 5000)));
        assert!(!takes(&filter, &frame([10, 0, 0, 1], [232, 1, 1, 2], 5000)));
        assert!(!takes(&filter, &frame([10, 0, 0, 1], [232, 1, 1, 1], 5001)));
        for (at, value) in [(12, 0x86), (23, 6), (20, 0x20), (21, 1)] {
            let mut other = wanted.clone();
            other[at] = value;
            assert!(!takes(&filter, &other), "byte {at}");
        }
    }
}
