//! Who else receives: an XDP program, another member of the group, a receiver that runs.

use std::os::fd::{AsFd, AsRawFd};

use netlab::Lab;
use rustix::process::Signal;

use crate::WANTED;
use crate::answer::{Answer, QUICK, assert_mended, command, doctor, quick};
use crate::command::{Folder, Run, send};
use crate::support::members::Member;

/// Programs that are not the receiver's.
static FOREIGN: &[u8] = aya::include_bytes_aligned!("../../../receiver-ebpf/object/baseline.bpf.o");

#[test]
fn another_xdp_program() {
    let lab = Lab::new().expect("lab");
    quick(&lab, &[]).assert_ok("occupied");
    // A receiver's own is no fault, and is not disturbed.
    let (run, _) = Run::joined(&lab, &["--mode", "copy", WANTED]);
    let answer = doctor(&lab, &["--wait", "0.05", WANTED]);
    let (text, _) = answer.line("occupied", "ok");
    assert!(text.contains(&format!("receiver (pid {})", run.child.id())), "{text}");
    answer.assert_ok("sharing");
    assert!(answer.line("modes", "skipped").0.contains("has an XDP program already"));
    assert!(answer.line("stages", "skipped").0.contains("may take the packets"));
    drop(run);
    // A foreign one, which this process holds, and then nobody.
    let mut ebpf = aya::Ebpf::load(FOREIGN).expect("load");
    let program: &mut aya::programs::Xdp = ebpf.program_mut("drop_all").expect("program").try_into().expect("XDP");
    program.load().expect("load");
    attach(&lab, program.fd().expect("loaded").as_fd().as_raw_fd());
    let answer = quick(&lab, &[]);
    let (text, remedy) = answer.line("occupied", "fail");
    assert!(text.contains("`drop_all`, held by "), "{text}");
    assert_eq!(remedy, format!("kill {}", std::process::id()));
    drop(ebpf);
    assert_mended(&lab, &[], "occupied", "fail", "which no process holds");
}

/// Attaches a program by netlink, as `ip link set veth-rx xdp` does: no link holds it.
fn attach(lab: &Lab, program: i32) {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink};
    let index = lab.rx().interface_index("veth-rx").expect("an index");
    // Protocol 0 is NETLINK_ROUTE. struct nlmsghdr: RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK. struct ifinfomsg. IFLA_XDP
    // (nested): IFLA_XDP_FD.
    let mut message = Vec::new();
    for word in [44, 19 | 5 << 16, 1, 0, 0, index, 0, 0, 12 | (43 | 1 << 15) << 16, 8 | 1 << 16, program as u32] {
        message.extend_from_slice(&u32::to_le_bytes(word));
    }
    let answer = lab.rx().run(|| {
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
        rustix::net::sendto(&socket, &message, SendFlags::empty(), &kernel)?;
        let mut answer = [0; 512];
        rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
        rustix::io::Result::Ok(i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]))
    });
    assert_eq!(answer.expect("run"), Ok(0), "the kernel's answer");
}

#[test]
fn another_member_of_the_group_is_named() {
    let lab = Lab::new().expect("lab");
    let _member = Member::join(&lab, "232.1.1.1", 5000);
    let answer = quick(&lab, &[WANTED]);
    let (text, remedy) = answer.line("sharing", "warn");
    assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
    assert_eq!(remedy, format!("receiver run -i veth-rx --share {WANTED}"));
    quick(&lab, &["10.0.0.1@232.1.1.2:5000"]).assert_ok("sharing");
}

/// A receiver that is stopped while packets come loses some, and its own counters show where.
#[test]
fn a_receiver_that_runs_and_loses() {
    let lab = Lab::new().expect("lab");
    let runtime = Folder::new();
    let environment = [("RUNTIME_DIRECTORY", runtime.0.to_str().expect("UTF-8"))];
    let look = || {
        let mut command = command(&lab, &QUICK);
        Answer::of(&command.env("RUNTIME_DIRECTORY", &runtime.0).output().expect("the doctor runs"))
    };
    let arguments = ["-n", "feed", "--mode", "copy", "--duration", "600", WANTED];
    let (run, _) = Run::joined_in(&lab, &arguments, &environment);
    let answer = look();
    assert_eq!(answer.line("running", "ok").0, "feed runs on veth-rx, and has lost nothing");
    run.signal(Signal::STOP);
    send(&lab, &["10.0.0.1"], 20_000);
    run.signal(Signal::CONT);
    let answer = look();
    let (text, remedy) = answer.line("running", "fail");
    assert!(text.starts_with("feed has lost ") && text.contains("its ring was full"), "{text}");
    assert_eq!(remedy, "receiver run -i veth-rx --name feed --ring-size 16384 SUBSCRIPTION");
    drop(run);
    assert!(look().line("running", "ok").0.starts_with("no receiver with a control socket"));
    // A run in another network, whose interface has the same name.
    let other = Lab::new().expect("lab");
    let (_run, _) = Run::joined_in(&other, &arguments, &environment);
    assert!(look().line("running", "ok").0.starts_with("no receiver with a control socket"));
}
