//! The tables of a transport stream: PAT and PMT (ISO/IEC 13818-1, section 2.4.4), and SDT (ETSI EN 300 468, section
//! 5.2.3), each in one packet with the continuity counter 0.

use receiver_feed::protocol::TS_PACKET_LEN;

pub(super) const PAT_PID: u16 = 0;
pub(super) const SDT_PID: u16 = 0x11;
pub(super) const PMT_PID: u16 = 0x100;
/// Data and clock.
pub(super) const DATA_PID: u16 = 0x101;

const STREAM_ID: u16 = 1;
const NETWORK_ID: u16 = 1;
const PROGRAM: u16 = 1;
/// PES packets with private data.
const PRIVATE_PES: u8 = 0x06;
const PROVIDER: &[u8] = b"receiver send";
const SERVICE: &[u8] = b"Test";

/// PAT, PMT and SDT.
pub(super) fn packets() -> [[u8; TS_PACKET_LEN]; 3] {
    let pat = [PROGRAM.to_be_bytes(), pid(PMT_PID)].concat();
    // The clock's PID, no descriptors, and one stream without descriptors.
    let pmt = [&pid(DATA_PID)[..], &[0xf0, 0, PRIVATE_PES], &pid(DATA_PID), &[0xf0, 0]].concat();
    // Digital television.
    let mut name = vec![1, PROVIDER.len() as u8];
    name.extend_from_slice(PROVIDER);
    name.push(SERVICE.len() as u8);
    name.extend_from_slice(SERVICE);
    let descriptor = [&[0x48, name.len() as u8][..], &name].concat();
    let mut sdt = NETWORK_ID.to_be_bytes().to_vec();
    sdt.push(0xff);
    sdt.extend_from_slice(&PROGRAM.to_be_bytes());
    // No schedule, running, not scrambled.
    sdt.extend_from_slice(&[0xfc, 0x80, descriptor.len() as u8]);
    sdt.extend_from_slice(&descriptor);
    [
        packet(PAT_PID, &section(0x00, STREAM_ID, &pat)),
        packet(PMT_PID, &section(0x02, PROGRAM, &pmt)),
        packet(SDT_PID, &section(0x42, STREAM_ID, &sdt)),
    ]
}

fn pid(pid: u16) -> [u8; 2] {
    (0xe000 | pid).to_be_bytes()
}

/// A section with the long header: version 0, in force, the only one.
fn section(table: u8, extension: u16, body: &[u8]) -> Vec<u8> {
    let length = (5 + body.len() + 4) as u16;
    let mut section = vec![table];
    section.extend_from_slice(&(0xb000 | length).to_be_bytes());
    section.extend_from_slice(&extension.to_be_bytes());
    section.extend_from_slice(&[0xc1, 0, 0]);
    section.extend_from_slice(body);
    section.extend_from_slice(&crc32(&section).to_be_bytes());
    section
}

fn packet(pid: u16, section: &[u8]) -> [u8; TS_PACKET_LEN] {
    let mut packet = [0xff; TS_PACKET_LEN];
    let [high, low] = pid.to_be_bytes();
    // A section begins here, at once.
    packet[..5].copy_from_slice(&[0x47, high | 0x40, low, 0x10, 0]);
    packet[5..5 + section.len()].copy_from_slice(section);
    packet
}

/// CRC-32 of ISO/IEC 13818-1, annex A.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte) << 24,
            |crc, _| {
                if crc >> 31 != 0 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 }
            },
        )
    })
}
