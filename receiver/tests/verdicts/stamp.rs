//! The time that the program writes before a redirected frame.

use std::net::{SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::time::Duration;

use receiver_common::{STAMP_SIZE, Stamp};
use rustix::time::{DynamicClockId, clock_gettime_dynamic};

use crate::bench::{Bench, Config};
use crate::frames::{v4, v6};
use crate::handle::Handle;
use crate::table::{GROUP_V4, GROUP_V6, PORT, WANTED_V4, WANTED_V6};

const STAMPED: Config = Config { vlan: None, stamp: true, pass_partial: false, trace: false, max_flows: 64, tap: None };

#[test]
fn redirected_frames_are_stamped_and_else_unchanged() {
    Bench::run(&STAMPED, |bench| {
        let handle = Handle::of(&bench.interface.name);
        for frame in [v4(WANTED_V4, GROUP_V4, PORT, 18), v6(WANTED_V6, GROUP_V6, PORT, 1000)] {
            let before = tai_ns();
            let (action, output) = handle.output(&frame);
            let after = tai_ns();
            assert_eq!((action, output.len()), (4, STAMP_SIZE + frame.len()));
            let (stamp, rest) = output.split_at(STAMP_SIZE);
            assert_within(read(stamp), before, after);
            assert_eq!(rest, frame);
        }
    });
}

#[test]
fn other_frames_and_other_configurations_are_left_alone() {
    let dropped = v4([10, 0, 0, 2], GROUP_V4, PORT, 18);
    let passed = v4(WANTED_V4, [232, 1, 1, 2], PORT, 18);
    let wanted = v4(WANTED_V4, GROUP_V4, PORT, 18);
    Bench::run(&STAMPED, |bench| {
        let handle = Handle::of(&bench.interface.name);
        assert_eq!(handle.output(&dropped), (1, dropped.clone()));
        assert_eq!(handle.output(&passed), (2, passed.clone()));
    });
    Bench::run(&Config::default(), |bench| {
        assert_eq!(Handle::of(&bench.interface.name).output(&wanted), (4, wanted.clone()));
    });
}

#[test]
fn the_stamp_reaches_the_socket() {
    Bench::in_lab(&STAMPED, |lab, bench| {
        let send = || -> std::io::Result<usize> {
            let group = SocketAddr::from((GROUP_V4, PORT));
            UdpSocket::bind(SocketAddr::from((WANTED_V4, 0)))?.send_to(b"stamp", group)
        };
        let before = tai_ns();
        lab.tx().run(send).expect("the namespace").expect("a datagram sent");
        // Both queues may be chosen by the sender's stack; the second one's frames pass to the kernel.
        let mut stamp = None;
        for _ in 0..50 {
            if bench.socket.wait(Some(Duration::from_millis(100))).expect("the socket") {
                bench.socket.receive(64, |mut received| {
                    stamp = received.metadata::<STAMP_SIZE>().map(|bytes| read(bytes));
                    ControlFlow::Continue(())
                });
                break;
            }
            lab.tx().run(send).expect("the namespace").expect("a datagram sent");
        }
        assert_within(stamp.expect("a redirected datagram"), before, tai_ns());
    });
}

fn read(bytes: &[u8]) -> Stamp {
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    Stamp { magic: word(0), tai_ns: word(8) }
}

fn assert_within(stamp: Stamp, before: u64, after: u64) {
    assert_eq!(stamp.magic, Stamp::MAGIC);
    assert!((before..=after).contains(&stamp.tai_ns), "{before} <= {} <= {after}", stamp.tai_ns);
}

fn tai_ns() -> u64 {
    let now = clock_gettime_dynamic(DynamicClockId::Tai).expect("CLOCK_TAI");
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
