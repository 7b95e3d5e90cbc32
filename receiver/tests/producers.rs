//! Several CPUs feed one mapped ring at once: live frames on two of them, the interface's NAPI on one or the other.
//! Every payload is checked, and each packet came once or is counted as dropped.

#[path = "verdicts/handle.rs"]
mod handle;
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use handle::Handle;
use netlab::Lab;
use receiver::{ReceiveMode, Receiver, Verdict, Wait};
use rustix::process::Pid;
use support::frame::{Frame, FrameSocket};
use support::numbered::{Tally, mixed, payload};
use support::threads::{Ending, pin};
use support::{causes, open, subscription};

/// Packets to take at least.
const ENOUGH: u64 = 1_000_000;
/// Each sender's packets are a part of that.
const SHARE: u64 = ENOUGH / 200;
/// Two send live frames, one on each CPU. The third sends through the veth.
const SENDERS: usize = 3;
const NAPI: u32 = 2;
/// How long the senders go on at most: on a busy machine they get a small part of the two CPUs.
const LONGEST: Duration = Duration::from_secs(300);
/// How long the NAPI stays on a CPU.
const STAY: Duration = Duration::from_millis(3);

/// Copies of a packet that are sent in one go.
fn copies(sender: u32, number: u64) -> u64 {
    if sender == NAPI { 1 } else { 1 + mixed(number) % 64 }
}

fn frame(sender: u32, number: u64) -> Frame {
    Frame::udp("10.0.0.1:4000", "232.1.1.1:5000", &payload(sender, number))
}

/// The names of other labs' interfaces differ, as their NAPI threads have them.
fn lab() -> Lab {
    Lab::builder().rx_interface(&format!("rx{}", std::process::id())).build().expect("lab")
}

fn receiver(lab: &Lab, mode: ReceiveMode) -> Receiver {
    open(lab, |builder| builder.subscribe(subscription("10.0.0.1@232.1.1.1:5000")).mode(mode).verify_checksums(true))
        .expect("receiver")
}

/// Sends from all until enough was taken. `moves` puts the third sender's NAPI on a CPU.
fn feed(lab: &Lab, mut receiver: Receiver, moves: impl Fn(usize) + Sync) {
    let (done, sent) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; SENDERS]);
    let send = |sender: u32, send: &mut dyn FnMut(&[u8], u32)| {
        for number in 0.. {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let (frame, copies) = (frame(sender, number), copies(sender, number));
            if frame.looks_partial() {
                continue;
            }
            send(&frame.bytes, copies as u32);
            sent[sender as usize].fetch_add(copies, Ordering::Relaxed);
        }
    };
    let mut tally = Tally::<SENDERS>::default();
    thread::scope(|scope| {
        for sender in 0..NAPI {
            let (send, lab) = (&send, lab);
            scope.spawn(move || {
                lab.rx().enter().expect("the namespace");
                pin(None, sender as usize);
                let handle = Handle::of(lab.rx_interface());
                send(sender, &mut |frame, copies| {
                    handle.run_live(frame, copies);
                    // The consumer has no CPU of its own.
                    thread::yield_now();
                });
            });
        }
        let (send, moves) = (&send, &moves);
        scope.spawn(move || {
            let socket = FrameSocket::open(lab);
            let (mut cpu, mut since, mut burst) = (0, Instant::now(), 0);
            send(NAPI, &mut |frame, _| {
                if since.elapsed() > STAY {
                    (cpu, since) = (1 - cpu, Instant::now());
                    moves(cpu);
                }
                socket.send(frame);
                burst += 1;
                // Fewer than the veth's own ring holds.
                if burst % 64 == 0 {
                    thread::sleep(Duration::from_micros(50));
                }
            });
        });
        let _ending = Ending(&done);
        let start = Instant::now();
        let is_enough = |tally: &Tally<SENDERS>| tally.total() >= ENOUGH && tally.taken.iter().all(|&n| n >= SHARE);
        while !is_enough(&tally) && start.elapsed() < LONGEST {
            let each = |datagram: receiver::Datagram<'_>| _ = tally.take(datagram.payload(), copies);
            receiver.poll(Wait::For(Duration::from_millis(10)), each).expect("poll");
        }
        println!("{:?} taken in {:?}, {} changes of sender", tally.taken, start.elapsed(), tally.changes);
    });
    let mut each = |datagram: receiver::Datagram<'_>| _ = tally.take(datagram.payload(), copies);
    while receiver.poll(Wait::For(Duration::from_millis(100)), &mut each).expect("poll") > 0 {}
    let ledger = receiver.handle().ledger().expect("ledger");
    let message = causes(&ledger);
    let [mapped, full, busy] =
        [Verdict::Mapped, Verdict::DroppedRingFull, Verdict::DroppedRingBusy].map(|verdict| ledger.verdict(verdict));
    let sent = sent.map(AtomicU64::into_inner);
    println!("{sent:?} sent; {mapped} mapped, {full} ring full, {busy} ring busy");
    assert_eq!((tally.total(), ledger.unaccounted()), (mapped, 0), "{message}");
    assert_eq!((ledger.delivered(), ledger.count("udp_checksum")), (mapped, Some(0)), "{message}");
    // What the veth itself dropped never came to the program.
    let dropped = sent.iter().sum::<u64>() - (mapped + full + busy);
    assert_eq!(dropped, dropped_by_veth(lab), "{message}");
    assert!(tally.taken.iter().all(|&taken| taken >= SHARE) && tally.total() >= ENOUGH, "{:?}", tally.taken);
    assert!(tally.changes > 100, "the senders hardly took turns: {}", tally.changes);
}

/// Frames that found no room in the veth's ring, as the sending end counts them.
fn dropped_by_veth(lab: &Lab) -> u64 {
    let shown = lab.tx().ip(&["-statistics", "-json", "link", "show", "dev", lab.tx_interface()]).expect("ip");
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    shown[0]["stats64"]["tx"]["dropped"].as_u64().expect("a count")
}

/// The senders need both CPUs: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn runs_where_the_frame_was_sent(mode: ReceiveMode) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = lab();
    let receiver = receiver(&lab, mode);
    feed(&lab, receiver, |cpu| pin(None, cpu));
}

/// A veth's NAPI runs where the frame was sent.
#[test]
fn napi_follows_the_sender_between_two_cpus() {
    runs_where_the_frame_was_sent(ReceiveMode::Mapped);
}

/// In generic mode each CPU runs the program on the frames in its own backlog: those that were sent there.
#[test]
fn generic_xdp_runs_on_the_cpu_that_has_the_frame() {
    runs_where_the_frame_was_sent(ReceiveMode::Generic);
}

#[test]
fn threaded_napi_is_moved_between_two_cpus() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = lab();
    let receiver = receiver(&lab, ReceiveMode::Mapped);
    let set = format!("mount -t sysfs sysfs /sys && echo 1 >/sys/class/net/{}/threaded", lab.rx_interface());
    let done = lab.rx().command("unshare").args(["--mount", "sh", "-c", &set]).output().expect("unshare");
    assert!(done.status.success(), "{done:?}");
    let thread = napi_thread(lab.rx_interface());
    feed(&lab, receiver, |cpu| pin(Some(thread), cpu));
}

/// The kernel's thread for the interface's only NAPI.
fn napi_thread(interface: &str) -> Pid {
    let begins = format!("napi/{interface}-");
    let threads = std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        name.starts_with(&begins).then(|| Pid::from_raw(id)).flatten()
    });
    let threads: Vec<Pid> = threads.collect();
    assert_eq!(threads.len(), 1, "{begins}");
    threads[0]
}
