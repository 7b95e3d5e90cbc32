//! `receiver replay`: sends the multicast packets of capture files again, with the gaps between them.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use clap::Args;
use etherparse::checksum::Sum16BitWords;
use receiver_capture::{Captured, addresses, network};
use receiver_send::{ReplayReport, ReplaySender, Rewrite, RewriteRule};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::analyze::read;
use crate::cpus::{CpuList, Placement, Priority};
use crate::errors::UsageError;
use crate::ethernet::group_mac;
use crate::{outlet, signals};

/// Packets that are read ahead, in batches.
const BATCH: usize = 256;
const BATCHES: usize = 64;
/// The number of UDP in an IP header.
const UDP: u8 = 17;
const ETHERNET: i32 = 1;

/// Send the multicast packets of capture files again, with the gaps between them
///
/// Reads what `receiver analyze` reads. Frames are sent as they were captured, with two exceptions: a MAC source that
/// is missing is the interface's, and a UDP checksum that was left to the network card is completed. --rewrite changes
/// addresses, ports and VLAN tags, with their checksums. Packets to other addresses than groups, and packets without
/// UDP, are left out. Takes CAP_NET_RAW.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct ReplayArgs {
    /// Capture files, sent one after the other. `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Interface to send on
    #[arg(short, long, value_name = "IFACE")]
    interface: String,
    /// How many times as fast as they were captured, such as 2 or 0.5; `max` sends without gaps
    #[arg(long, value_name = "N|max", default_value = "1", value_parser = speed)]
    speed: Speed,
    /// Begin again at the end, until SIGINT or SIGTERM
    #[arg(long = "loop")]
    repeats: bool,
    /// Change what frames have: group=232.1.1.1:5000->232.9.9.9:6000, source=A->B, port=A->B (of the group), mac=A->B
    /// (of the sender), vlan=A->B. May be repeated; `*` before the arrow is any value
    ///
    /// Ports may be left out of `group` and `source`. The MAC address of a group follows it. `vlan` changes the outermost
    /// tag; `none` is no tag. IPv6 addresses stand in brackets. Of each kind of rule the first one that fits the frame as
    /// it was captured applies. Checksums are adjusted: a wrong one stays wrong. Quote the rule: a shell takes > for a
    /// redirection. Nothing is sent unless all rules are valid.
    #[arg(long, value_name = "RULE", value_parser = str::parse::<RewriteRule>)]
    rewrite: Vec<RewriteRule>,
    /// Send frames of a recording that were not delivered as well, see `receiver record --capture`
    #[arg(long)]
    undelivered: bool,
    /// CPU of the thread that sends, such as 2; the thread that reads is kept off it
    #[arg(long, value_name = "CPU", value_parser = str::parse::<CpuList>)]
    cpu: Option<CpuList>,
    /// Real-time priority of the thread that sends, 1 to 99 (SCHED_FIFO). Takes CAP_SYS_NICE or RLIMIT_RTPRIO. With gaps
    /// below 80 µs the thread never sleeps, and the kernel stops it for a part of each second unless
    /// kernel.sched_rt_runtime_us is -1
    #[arg(long, value_name = "fifo:N", value_parser = str::parse::<Priority>)]
    priority: Option<Priority>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    Times(f64),
    Max,
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(times) if (0.001..=1_000_000.0).contains(&times) => Ok(Speed::Times(times)),
        _ => Err("a speed is a number from 0.001 to 1000000, or max".to_owned()),
    }
}

/// Frames that follow each other, with their times in nanoseconds.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    frames: Vec<(Option<u64>, usize)>,
}

/// The report, with what was not sent.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    sent: &'a ReplayReport,
    /// Packets of the files that are no multicast UDP.
    left_out: u64,
    /// Frames of recordings that were not delivered, unless `--undelivered` takes them.
    undelivered: u64,
    /// Packets that a rule changed.
    rewritten: u64,
}

/// What became of the packets of the files.
#[derive(Default)]
struct Read {
    left_out: AtomicU64,
    undelivered: AtomicU64,
    rewritten: AtomicU64,
}

/// Sends the files.
///
/// # Errors
/// A file cannot be read, or the kernel refuses to send.
pub fn run(args: ReplayArgs) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signals::end_by(signal, &stop)?;
    }
    let mut rewrite = Rewrite::new(args.rewrite.clone()).map_err(|error| UsageError(error.to_string()))?;
    // Before the first thread starts.
    let placement = Placement::prepare(args.cpu.clone(), args.priority, false)?;
    let mut sender = ReplaySender::new(&args.interface)?;
    let were_read = Read::default();
    let mut pace = Pace::default();
    while {
        pass(&args, &placement, &mut sender, &mut pace, &mut rewrite, &were_read, &stop)?;
        args.repeats && sender.report().packets > 0 && !stop.load(Relaxed)
    } {}
    let report = Report {
        sent: sender.report(),
        left_out: were_read.left_out.into_inner(),
        undelivered: were_read.undelivered.into_inner(),
        rewritten: were_read.rewritten.into_inner(),
    };
    let text = if args.json { serde_json::to_string(&report)? } else { report.words(!args.rewrite.is_empty()) };
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

impl Report<'_> {
    fn words(&self, has_rules: bool) -> String {
        let mut text = self.sent.to_string();
        if has_rules {
            text += &format!("; {} rewritten", self.rewritten);
        }
        if self.left_out > 0 {
            text += &format!("; {} packets of the files left out: no multicast UDP", self.left_out);
        }
        if self.undelivered > 0 {
            text += &format!("; {} that were not delivered left out (--undelivered sends them)", self.undelivered);
        }
        text
    }
}

/// Sends all files once.
fn pass(
    args: &ReplayArgs,
    placement: &Placement,
    sender: &mut ReplaySender,
    pace: &mut Pace,
    rewrite: &mut Rewrite,
    were_read: &Read,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let (batches, read_ahead) = sync_channel::<Batch>(BATCHES);
    let mac = sender.mac();
    pace.begin();
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let sent = placement.enter(0).and_then(|()| send_batches(args.speed, &read_ahead, sender, pace, stop));
            // The reader reads nothing more once nobody takes it.
            stop.fetch_or(sent.is_err(), Relaxed);
            sent
        });
        let was_read = read_files(args, mac, &batches, rewrite, were_read, stop);
        drop(batches);
        let sent = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sent.and(was_read)
    })
}

fn send_batches(
    speed: Speed,
    read_ahead: &Receiver<Batch>,
    sender: &mut ReplaySender,
    pace: &mut Pace,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    for batch in read_ahead {
        let mut start = 0;
        let frames: Vec<(Option<Duration>, &[u8])> = batch
            .frames
            .iter()
            .map(|&(time, end)| {
                let frame = &batch.bytes[start..end];
                start = end;
                (pace.due(time, speed), frame)
            })
            .collect();
        if !sender.send_all(&frames, stop)? {
            break;
        }
    }
    Ok(())
}

fn read_files(
    args: &ReplayArgs,
    mac: [u8; 6],
    batches: &SyncSender<Batch>,
    rewrite: &mut Rewrite,
    were_read: &Read,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut batch = Batch::default();
    for path in &args.files {
        let end = read(path, args.undelivered, |packet| {
            if stop.load(Relaxed) {
                return;
            }
            let start = batch.bytes.len();
            if !ethernet(&packet, mac, &mut batch.bytes) {
                were_read.left_out.fetch_add(1, Relaxed);
                return;
            }
            if !rewrite.is_empty() && rewrite.apply(&mut batch.bytes, start) {
                were_read.rewritten.fetch_add(1, Relaxed);
            }
            batch.frames.push((packet.time_ns, batch.bytes.len()));
            if batch.frames.len() == BATCH {
                // Nobody takes it once sending has failed, which that side reports.
                let _ = batches.send(std::mem::take(&mut batch));
            }
        })?;
        were_read.undelivered.fetch_add(end.left_out, Relaxed);
        if let Some(problem) = end.problem {
            let name = crate::files::input(path);
            outlet::print(&format!("receiver: {name}: {problem}; what came before is sent"));
        }
    }
    let _ = batches.send(batch);
    Ok(())
}

/// Appends the packet as an Ethernet frame. Returns false if it is no multicast UDP.
fn ethernet(packet: &Captured<'_>, mac: [u8; 6], out: &mut Vec<u8>) -> bool {
    let Some(ip) = network(packet.link_type, packet.bytes) else { return false };
    let Some((_, group)) = addresses(ip).filter(|(_, group)| group.is_multicast()) else { return false };
    let protocol = if group.is_ipv4() { ip.get(9) } else { ip.get(6) };
    if protocol != Some(&UDP) {
        return false;
    }
    let (start, header) = (out.len(), packet.bytes.len() - ip.len());
    if packet.link_type == ETHERNET {
        out.extend_from_slice(packet.bytes);
        complete_checksum(&mut out[start + header..]);
        let source = &mut out[start + 6..start + 12];
        if source == [0; 6] {
            source.copy_from_slice(&mac);
        }
        return true;
    }
    out.extend(group_mac(group));
    out.extend(mac);
    out.extend(if group.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
    let start = out.len();
    out.extend_from_slice(ip);
    complete_checksum(&mut out[start..]);
    true
}

/// Completes a UDP checksum that was left to the network card: it is the sum of the pseudo-header alone, as in a packet
/// of the same host. A receiver would drop the packet.
fn complete_checksum(ip: &mut [u8]) {
    let is_fragment = |ip: &[u8]| ip[6] & 0x3f != 0 || ip[7] != 0;
    let (at, addresses) = match ip.first().map(|first| first >> 4) {
        Some(4) if ip.len() >= 20 && !is_fragment(ip) => (4 * usize::from(ip[0] & 0xf), 12..20),
        Some(6) if ip.len() >= 40 => (40, 8..40),
        _ => return,
    };
    let Some(&[_, _, _, _, high, low, first, second]) = ip.get(at..at + 8) else { return };
    let Some(datagram) = ip.get(at..at + usize::from(u16::from_be_bytes([high, low]))) else { return };
    let pseudo_header = Sum16BitWords::new().add_slice(&ip[addresses]).add_slice(&[0, UDP, high, low]);
    // Sums are in memory order.
    let checksum = u16::from_ne_bytes([first, second]);
    if datagram.len() >= 8 && checksum == !pseudo_header.ones_complement() {
        let whole = pseudo_header.add_slice(&datagram[..6]).add_slice(&datagram[8..]);
        ip[at + 6..at + 8].copy_from_slice(&whole.to_ones_complement_with_no_zero().to_ne_bytes());
    }
}

/// When each packet is due, in the time since the first one was sent.
#[derive(Debug, Default)]
struct Pace {
    /// The first time of a pass, and where it begins.
    first: Option<u64>,
    start: u64,
    /// The latest time of a pass.
    latest: u64,
    packets: u64,
}

impl Pace {
    /// Begins a pass: one mean gap after the one before.
    fn begin(&mut self) {
        let mean = self.latest.checked_div(self.packets.saturating_sub(1)).unwrap_or(0);
        self.start += self.latest + if self.packets > 0 { mean } else { 0 };
        (self.first, self.latest, self.packets) = (None, 0, 0);
    }

    /// Time does not go back: a packet with an earlier time leaves with the one before. One without a time as well.
    fn due(&mut self, time: Option<u64>, speed: Speed) -> Option<Duration> {
        let first = match time {
            Some(time) => *self.first.get_or_insert(time),
            None => 0,
        };
        self.latest = self.latest.max(time.map_or(0, |time| time.saturating_sub(first)));
        self.packets += 1;
        match speed {
            Speed::Max => None,
            Speed::Times(times) => Some(Duration::from_nanos(((self.start + self.latest) as f64 / times) as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        assert_eq!((speed("max"), speed("0.5")), (Ok(Speed::Max), Ok(Speed::Times(0.5))));
        for wrong in ["", "0", "-1", "nan", "inf", "fast"] {
            assert!(speed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn gaps_are_those_of_the_capture() {
        let mut pace = Pace::default();
        pace.begin();
        let at = |nanoseconds| Some(Duration::from_nanos(nanoseconds));
        let double = Speed::Times(2.0);
        assert_eq!(
            [1000, 3000, 2000, 5000].map(|time| pace.due(Some(time), double)),
            [at(0), at(1000), at(1000), at(2000)]
        );
        assert_eq!(pace.due(None, double), at(2000));
        assert_eq!(pace.due(None, Speed::Max), None);
        // A second pass begins one mean gap later: 4000 ns over 5 gaps.
        pace.begin();
        assert_eq!(pace.due(Some(1000), Speed::Times(1.0)), at(4800));
        assert_eq!(pace.due(Some(2000), Speed::Times(1.0)), at(5800));
    }

    fn captured(link_type: i32, bytes: &[u8]) -> Captured<'_> {
        Captured { link_type, time_ns: None, lost_before: 0, bytes }
    }

    #[test]
    fn packets_become_frames() {
        let mut ip = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 232, 129, 1, 2];
        ip.extend([0; 8]);
        let mut out = Vec::new();
        assert!(ethernet(&captured(101, &ip), [2; 6], &mut out));
        assert_eq!(out[..14], [1, 0, 0x5e, 1, 1, 2, 2, 2, 2, 2, 2, 2, 8, 0]);
        assert_eq!(out[14..], ip);
        let mut frame = out.clone();
        frame[6..12].fill(0);
        let mut again = Vec::new();
        assert!(ethernet(&captured(1, &frame), [2; 6], &mut again));
        assert_eq!(again, out, "a source that is missing is the interface's");
        ip[9] = 2;
        assert!(!ethernet(&captured(101, &ip), [2; 6], &mut out), "IGMP");
        (ip[9], ip[16]) = (17, 10);
        assert!(!ethernet(&captured(101, &ip), [2; 6], &mut out), "unicast");
    }

    #[test]
    fn a_checksum_that_was_left_to_the_card_is_completed() {
        let source: std::net::SocketAddr = "10.0.0.1:4000".parse().expect("an address");
        for (length, group) in [(0, [232, 1, 1, 1]), (5, [232, 1, 1, 1]), (1316, [239, 255, 255, 255])] {
            let mut right = Vec::new();
            let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 1], group, 16).udp(source.port(), 5000);
            builder.write(&mut right, &vec![0xa5; length]).expect("memory");
            let mut partial = right.clone();
            let pseudo = [&right[12..20], &[0, UDP], &right[24..26]].concat();
            let sum: u32 = pseudo.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
            partial[26..28].copy_from_slice(&((sum % 0xffff) as u16).to_be_bytes());
            complete_checksum(&mut partial);
            assert_eq!(partial, right, "{length}");
            let mut wrong = right.clone();
            wrong[26] ^= 1;
            let before = wrong.clone();
            complete_checksum(&mut wrong);
            assert_eq!(wrong, before, "a wrong one stays wrong");
        }
    }
}
