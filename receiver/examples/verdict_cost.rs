//! What the XDP program costs a frame, by verdict and by the number of filter entries: BPF_PROG_TEST_RUN, in a namespace
//! of its own. Needs root.
//!
//! `cargo run --release --example verdict_cost -- [ROUNDS]`
//!
//! Nanoseconds a frame, the least of the rounds. The kernel's own loop is part of each; "not IP" is little else.

#[path = "../tests/support/frames.rs"]
mod frames;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use netlab::Lab;
use receiver::Interface;
use receiver::program::{Attach, Config, Program};
use receiver::xsk::{BindConfig, BindMode, XskSocket};
use receiver_common::{FlowAction, GroupAction};

const REPEAT: u32 = 1_000_000;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(232, 1, 1, 1);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0, 1);
const PORT: u16 = 5000;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let rounds: u32 = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let lab = Lab::new()?;
    lab.tx().ip(&["link", "set", lab.tx_interface(), "down"])?;
    lab.rx().run(|| measure(lab.rx_interface(), rounds))?
}

fn measure(name: &str, rounds: u32) -> Outcome<()> {
    let interface = Interface::lookup(name)?;
    let mut program = Program::load(&interface, &Config::default())?;
    program.attach(&interface, Attach::Native)?;
    let socket = XskSocket::bind(&BindConfig::new(interface.index, name, 0, BindMode::Copy))?;
    program.set_socket(0, socket.as_fd())?;
    program.set_group(GROUP_V4.into(), PORT, GroupAction::include(0))?;
    program.set_group(GROUP_V6.into(), PORT, GroupAction::include(1))?;
    // The second source of each family is blocked; all others are wanted.
    let source = |number: u32| Ipv4Addr::from_bits(0x0a00_0000 + number);
    let source_v6 = |number: u32| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, (number >> 16) as u16, number as u16);
    let v4 = |number, group: Ipv4Addr| frames::v4(source(number).octets(), group.octets(), PORT, 22);
    let v6 = |number| frames::v6(source_v6(number).octets(), GROUP_V6.octets(), PORT, 2);
    let cases = [
        ("redirect, v4", 4, v4(1, GROUP_V4)),
        ("redirect, v6", 4, v6(1)),
        ("drop, not included, v4", 1, v4(0x00ff_0000, GROUP_V4)),
        ("drop, not included, v6", 1, v6(0x00ff_0000)),
        ("drop, blocked, v4", 1, v4(0, GROUP_V4)),
        ("drop, blocked, v6", 1, v6(0)),
        ("pass, other group, v4", 2, v4(1, Ipv4Addr::new(232, 1, 1, 2))),
        ("pass, unicast, v4", 2, v4(1, Ipv4Addr::new(10, 0, 0, 100))),
        ("pass, not IP", 2, frames::other(0x88b5)),
    ];
    println!("{:24} {:>8} {:>8}", "verdict", "flows", "ns");
    let mut entries = 0;
    for flows in [2, 1_000, 65_536] {
        for number in entries..flows {
            let action = if number == 0 { FlowAction::block(0) } else { FlowAction::accept(0) };
            program.set_flow(IpAddr::V4(source(number)), GROUP_V4.into(), PORT, action)?;
            program.set_flow(IpAddr::V6(source_v6(number)), GROUP_V6.into(), PORT, action)?;
        }
        entries = flows;
        for (name, action, frame) in &cases {
            let mut least = u64::MAX;
            for _ in 0..rounds {
                let ran = program.test(frame, &interface, 0, REPEAT)?;
                if ran.action != *action {
                    return Err(format!("{name}: action {} instead of {action}", ran.action).into());
                }
                least = least.min(ran.nanoseconds);
            }
            println!("{name:24} {flows:>8} {least:>8}");
        }
    }
    Ok(())
}
