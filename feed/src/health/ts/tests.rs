//! Transport streams made packet by packet, with one fault each.

use proptest::prelude::*;

use super::psi::crc32;
use super::{TsConfig, TsHealth, TsReport};

const MS: u64 = 1_000_000;

/// A packet with a payload, filled up with 0xff.
fn packet(pid: u16, counter: u8, start: bool, payload: &[u8]) -> [u8; 188] {
    let mut bytes = [0xff; 188];
    let start = if start { 0x40 } else { 0 };
    bytes[..4].copy_from_slice(&[0x47, start | (pid >> 8) as u8, pid as u8, 0x10 | counter & 0x0f]);
    bytes[4..4 + payload.len()].copy_from_slice(payload);
    bytes
}

/// A packet with a clock reference of `pcr` units of 27 MHz, and no payload.
fn clock(pid: u16, counter: u8, pcr: u64, discontinuity: bool) -> [u8; 188] {
    let mut bytes = packet(pid, counter, false, &[]);
    let (base, extension) = (pcr / 300, pcr % 300);
    let flags = 0x10 | if discontinuity { 0x80 } else { 0 };
    bytes[3] = 0x20 | counter;
    bytes[4..10].copy_from_slice(&[
        183,
        flags,
        (base >> 25) as u8,
        (base >> 17) as u8,
        (base >> 9) as u8,
        (base >> 1) as u8,
    ]);
    bytes[10..12].copy_from_slice(&[(base as u8) << 7 | 0x7e | (extension >> 8) as u8, extension as u8]);
    bytes
}

/// A section with its header and CRC, behind a pointer field.
fn section(table_id: u8, extension: u16, body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 9) as u16;
    let (length, extension) = ((0xb000 | length).to_be_bytes(), extension.to_be_bytes());
    let mut bytes = [&[table_id][..], &length, &extension, &[0xc1, 0, 0], body].concat();
    bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
    [vec![0], bytes].concat()
}

/// A section of a table of several: its version, number and last number.
fn part(version: u8, number: u8, last: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = section(0, 99, body);
    bytes[6..9].copy_from_slice(&[0xc1 | version << 1, number, last]);
    let end = bytes.len() - 4;
    let crc = crc32(&bytes[1..end]);
    bytes[end..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Program 7 with its PMT on PID 0x100.
fn pat() -> Vec<u8> {
    section(0, 99, &[0, 0, 0xe0, 0x10, 0, 7, 0xe1, 0x00])
}

/// Clock and H.264 on PID 0x101, AAC on PID 0x102.
fn pmt() -> Vec<u8> {
    let streams = [0x1b, 0xe1, 0x01, 0xf0, 0x00, 0x0f, 0xe1, 0x02, 0xf0, 0x03, 0x0a, 0x01, 0x00];
    section(2, 7, &[&[0xe1, 0x01, 0xf0, 0x00][..], &streams].concat())
}

fn sdt() -> Vec<u8> {
    let descriptor = [&[0x48, 14, 1, 4][..], b"ACME", &[7, 0x15], b"Stra\xc3\x9f"].concat();
    section(0x42, 99, &[&[0, 1, 0xff, 0, 7, 0xfc, 0x80, 16][..], &descriptor].concat())
}

fn pts_packet(pid: u16, counter: u8) -> [u8; 188] {
    packet(pid, counter, true, &[0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1])
}

/// A sound stream of `length` milliseconds, changed by `fault`, which sees the time in ms, and the packets due then.
fn run(config: TsConfig, length: u64, mut fault: impl FnMut(u64, &mut Vec<[u8; 188]>)) -> TsReport {
    let mut health = TsHealth::new(config);
    let mut counters = [0u8; 0x200];
    let mut next = |pid: u16| {
        let counter = &mut counters[usize::from(pid)];
        *counter = (*counter + 1) & 0x0f;
        *counter
    };
    for ms in 0..length {
        let mut due = Vec::new();
        if ms % 100 == 0 {
            due.push(packet(0, next(0), true, &pat()));
            due.push(packet(0x100, next(0x100), true, &pmt()));
            due.push(packet(0x11, next(0x11), true, &sdt()));
        }
        if ms % 40 == 0 {
            due.push(clock(0x101, counters_last(&mut next, 0x101), ms * 27_000, false));
        }
        if ms % 20 == 0 {
            due.push(pts_packet(0x101, next(0x101)));
            due.push(pts_packet(0x102, next(0x102)));
        }
        due.push(packet(0x101, next(0x101), false, &ms.to_be_bytes()));
        fault(ms, &mut due);
        health.observe(due.as_flattened(), ms * MS);
    }
    health.report()
}

/// The counter of a packet without payload is that of the packet before: step on, and 15 times more.
fn counters_last(next: &mut impl FnMut(u16) -> u8, pid: u16) -> u8 {
    (0..16).map(|_| next(pid)).last().unwrap_or_default()
}

#[test]
fn a_sound_stream_has_no_errors_and_is_described() {
    let report = run(TsConfig::default().precise_arrivals(), 3_000, |_, _| ());
    assert_eq!((report.errors.priority_1(), report.errors.priority_2()), (0, 0), "{:?}", report.errors);
    assert_eq!(report.transport_stream_id, Some(99));
    let [program] = &report.programs[..] else { panic!("{:?}", report.programs) };
    assert_eq!((program.number, program.pmt_pid, program.pcr_pid), (7, 0x100, Some(0x101)));
    assert_eq!(
        program.streams.iter().map(|stream| (stream.stream_type, stream.pid)).collect::<Vec<_>>(),
        [(0x1b, 0x101), (0x0f, 0x102)]
    );
    assert_eq!((program.service.as_deref(), program.provider.as_deref()), (Some("Straß"), Some("ACME")));
    let clock = report.pids.iter().find_map(|pid| pid.pcr).unwrap();
    assert_eq!((clock.count, clock.max_interval_ns, clock.jitter_ns), (75, 40 * MS, 0));
    // Between two references: 40 packets each ms, and the ones with presentation times and the clock; tables sometimes.
    let packets = clock.bit_rate / 8 / 188 / 25;
    assert!((45..=48).contains(&packets), "{packets}");
    assert_eq!(TsHealth::new(TsConfig::default()).report().errors.pcr_accuracy, None, "not measurable");
}

#[test]
fn continuity_loss_duplicates_and_discontinuity() {
    let lost = run(TsConfig::default(), 1_000, |ms, due| due.retain(|packet| ms != 500 || packet[2] != 0x01));
    assert_eq!(lost.errors.continuity, 1);
    let pid = lost.pids.iter().find(|pid| pid.pid == 0x101).unwrap();
    assert_eq!((pid.continuity_errors, pid.missing), (1, 2), "a frame's start, and the packet of its ms");

    let repeat = |times: usize| {
        run(TsConfig::default(), 1_000, move |ms, due| {
            let last = due[due.len() - 1];
            due.extend(std::iter::repeat_n(last, if ms == 501 { times } else { 0 }));
        })
    };
    assert_eq!((repeat(1).errors.continuity, repeat(1).pids.iter().map(|pid| pid.duplicates).sum::<u64>()), (0, 1));
    assert_eq!(repeat(2).errors.continuity, 1, "one repetition is legal");

    let signalled = run(TsConfig::default(), 1_000, |ms, due| {
        if ms == 501 {
            due.clear();
        } else if ms == 502 {
            due.insert(0, clock(0x101, due[0][3] & 0x0f, 1_000_000_000, true));
            due.remove(1);
        } else if ms > 502 {
            due.retain(|packet| packet[3] & 0x20 == 0);
        }
    });
    assert_eq!((signalled.errors.continuity, signalled.errors.pcr_discontinuity), (0, 0));
}

#[test]
fn sync_is_lost_after_two_and_found_after_five() {
    let report = run(TsConfig::default(), 1_000, |ms, due| {
        if (500..503).contains(&ms) {
            due.iter_mut().for_each(|packet| packet[0] = 0x48);
        }
    });
    assert_eq!((report.errors.sync_loss, report.errors.sync_byte >= 3, report.errors.continuity), (1, true, 0));
    let mut health = TsHealth::new(TsConfig::default());
    health.observe(&packet(0x101, 0, false, &[])[..100], 0);
    assert_eq!(health.report().errors.sync_byte, 1);
}

#[test]
fn tables_that_do_not_come() {
    let without = |pid: u8| {
        run(TsConfig::default(), 2_000, move |_, due| {
            due.retain(|packet| packet[2] != pid || packet[1] == 0x41 && pid == 0)
        })
        .errors
    };
    let pat = without(0);
    assert!(pat.pat >= 3 && pat.pmt == 0, "{pat:?}");
    let pmt = run(TsConfig::default(), 2_000, |_, due| due.retain(|packet| packet[1..3] != [0x41, 0x00])).errors;
    assert!(pmt.pmt >= 3 && pmt.pat == 0, "{pmt:?}");
    let damaged = run(TsConfig::default(), 1_000, |ms, due| {
        if ms == 300 {
            due[0][15] ^= 1;
        }
    });
    assert_eq!(damaged.errors.crc, 1);
    let audio = |packet: &[u8; 188]| packet[2] == 0x02;
    let short = TsConfig::default().pid_period_ns(1_000 * MS);
    let gone = run(short, 3_000, |ms, due| due.retain(|packet| ms < 500 || !audio(packet)));
    assert!(gone.errors.pid >= 1 && gone.errors.pts >= 1, "{:?}", gone.errors);
}

#[test]
fn clocks_that_are_late_jump_or_jitter() {
    let is_clock = |packet: &[u8; 188]| packet[3] & 0x20 != 0;
    let late =
        run(TsConfig::default(), 2_000, |ms, due| due.retain(|packet| !(500..700).contains(&ms) || !is_clock(packet)));
    assert_eq!((late.errors.pcr_repetition, late.errors.pcr_discontinuity), (1, 1));
    let jump = run(TsConfig::default(), 1_000, |ms, due| {
        for packet in due.iter_mut().filter(|packet| ms == 520 && is_clock(packet)) {
            *packet = clock(0x101, packet[3] & 0x0f, 5_000_000_000, false);
        }
    });
    assert_eq!(jump.errors.pcr_discontinuity, 2, "there and back");

    // 600 ns late each second time.
    let mut health = TsHealth::new(TsConfig::default().precise_arrivals());
    for at in 0..50u64 {
        health.observe(&clock(0x101, 0, at * 27_000 * 40, false), at * 40 * MS + at % 2 * 600);
    }
    let report = health.report();
    assert_eq!(report.errors.pcr_accuracy, Some(49));
    let pcr = report.pids[0].pcr.unwrap();
    assert_eq!((pcr.max_deviation_ns, pcr.jitter_ns > 500), (600, true));
    let wrapped = [(1u64 << 33) * 300 - 540_000, 540_000].map(|pcr| clock(0x101, 0, pcr, false));
    let mut health = TsHealth::new(TsConfig::default());
    health.observe(&wrapped[0], 0);
    health.observe(&wrapped[1], 40 * MS);
    assert_eq!((health.report().errors.pcr_discontinuity, health.report().pids[0].pcr.unwrap().jitter_ns), (0, 0));
}

#[test]
fn errors_and_scrambling() {
    let marked = run(TsConfig::default(), 1_000, |ms, due| {
        if ms == 501 {
            due[0][1] |= 0x80;
        }
    });
    assert_eq!((marked.errors.transport, marked.errors.continuity), (1, 1));
    let scrambled = run(TsConfig::default(), 2_000, |_, due| {
        due.iter_mut().filter(|packet| packet[2] == 0x02).for_each(|packet| packet[3] |= 0x80);
    });
    assert!(scrambled.errors.cat >= 2, "no CAT says how: {:?}", scrambled.errors);
    let conditional = run(TsConfig::default(), 2_000, |ms, due| {
        due.iter_mut().filter(|packet| packet[2] == 0x02).for_each(|packet| packet[3] |= 0x80);
        if ms == 0 {
            due.push(packet(1, 0, true, &section(1, 0xffff, &[])));
        }
    });
    assert_eq!(conditional.errors.cat, 0);
}

#[test]
fn rate_and_null_packets() {
    let report = run(TsConfig::default(), 2_200, |_, due| due.extend([packet(0x1fff, 0, false, &[]); 9]));
    assert_eq!(report.null_packets, 2_200 * 9);
    let rate = report.bit_rate.unwrap();
    assert!((10_150 * 188 * 8..10_250 * 188 * 8).contains(&rate), "{rate}");
}

#[test]
fn a_section_over_several_packets() {
    let mut body = [&[0xe1, 0x01, 0xf0, 0x00][..]].concat();
    for pid in 0..100u8 {
        body.extend_from_slice(&[0x0f, 0xe2, pid, 0xf0, 0x00]);
    }
    let bytes = section(2, 7, &body);
    let mut health = TsHealth::new(TsConfig::default());
    health.observe(&packet(0, 0, true, &pat()), 0);
    for (counter, part) in bytes.chunks(184).enumerate() {
        health.observe(&packet(0x100, counter as u8, counter == 0, part), 0);
    }
    let report = health.report();
    assert_eq!((report.errors.crc, report.programs[0].streams.len()), (0, 100));
}

#[test]
fn a_table_of_several_sections_drops_the_programs_that_it_no_longer_lists() {
    let mut health = TsHealth::new(TsConfig::default());
    let mut counter = 0;
    let mut programs = |parts: &[Vec<u8>]| {
        for part in parts {
            health.observe(&packet(0, counter, true, part), 0);
            counter += 1;
        }
        health.report().programs.iter().map(|program| program.number).collect::<Vec<_>>()
    };
    let [one, two, three] = [1, 2, 3].map(|number| [0, number, 0xe1, number]);
    assert_eq!(programs(&[part(1, 0, 1, &one), part(1, 1, 1, &two)]), [1, 2]);
    assert_eq!(programs(&[part(2, 1, 1, &three)]), [1, 2, 3], "not whole yet");
    assert_eq!(programs(&[part(2, 0, 1, &one)]), [1, 3]);
    assert_eq!(programs(&[part(3, 0, 0, &two)]), [2]);
    assert_eq!(programs(&[part(3, 0, 0, &two), part(4, 0, 0, &three)]), [3]);
}

#[test]
fn programs_are_bounded() {
    let mut health = TsHealth::new(TsConfig::default());
    for at in 0..100u16 {
        let entries = (0..40u16).flat_map(|entry| {
            let [high, low] = (1 + at * 40 + entry).to_be_bytes();
            [high, low, 0xe1, 0x00]
        });
        let body: Vec<u8> = entries.collect();
        health.observe(&packet(0, at as u8, true, &part(1, at as u8, 255, &body)), 0);
    }
    assert_eq!((health.report().programs.len(), health.report().errors.crc), (1024, 0));
}

#[test]
fn a_changed_pmt_is_read_and_an_unchanged_one_keeps_its_period() {
    let changed = section(2, 7, &[0xe1, 0x02, 0xf0, 0x00, 0x0f, 0xe1, 0x02, 0xf0, 0x00]);
    let report = run(TsConfig::default(), 2_000, |ms, due| {
        for packet in due.iter_mut().filter(|packet| ms >= 1_000 && packet[1..3] == [0x41, 0x00]) {
            packet[4..4 + changed.len()].copy_from_slice(&changed);
            packet[4 + changed.len()..].fill(0xff);
        }
    });
    assert_eq!((report.errors.pmt, report.errors.crc), (0, 0));
    assert_eq!((report.programs[0].pcr_pid, report.programs[0].streams.len()), (Some(0x102), 1));
}

#[test]
fn the_crc_is_that_of_the_standard() {
    // The check value of CRC-32/MPEG-2.
    assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
}

proptest! {
    #[test]
    fn any_packets_are_taken(
        packets in prop::collection::vec((0usize..9, any::<prop::sample::Index>(), any::<u8>(), 0u64..200), 1..80),
    ) {
        let mut health = TsHealth::new(TsConfig::default());
        let mut now = 0;
        for (which, at, value, pause) in packets {
            now += pause * MS;
            let mut bytes = match which {
                0 => packet(0, value, true, &pat()),
                1 => packet(0x100, value, true, &pmt()),
                2 => packet(0x11, value, true, &sdt()),
                3 => clock(0x101, value & 0x0f, now * 27, false),
                4 => pts_packet(0x101, value),
                _ => packet(value.into(), value, value & 1 != 0, &[value; 184]),
            };
            bytes[at.index(188)] = value;
            health.observe(&bytes, now);
        }
        let _ = health.report();
    }
}
