//! The cost of a verdict by the number of entries, by BPF_PROG_TEST_RUN. It uses one frame again and again, so its
//! entry is in the cache.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use anyhow::{Result, bail};
use netlab::Lab;
use receiver::internals::{Attach, PartialChecksums, Program};
use receiver::{Interface, ReceiverConfig};
use receiver_common::{FlowAction, GroupAction};
use receiver_xsk::{BindConfig, BindMode, XskSocket};
use serde::Serialize;

use crate::baseline::{Baseline, DROP_ALL, REDIRECT_ONLY};
use crate::frames;
use crate::lab::{Bench, GROUP, PORT};
use crate::report::Table;
use crate::statistics::{self, Ratio, median};

const REPEAT: u32 = 1_000_000;
const ENTRIES: [u32; 4] = [1, 1_000, 65_536, 1_000_000];
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0, 1);
const OTHER_GROUP: Ipv4Addr = Ipv4Addr::new(232, 1, 1, 2);
const OTHER_GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0, 2);
/// The group with one entry, which blocks.
const BLOCKING: Ipv4Addr = Ipv4Addr::new(232, 1, 1, 3);
const BLOCKING_V6: Ipv6Addr = Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0, 0, 3);
const DROP: u32 = 1;
const PASS: u32 = 2;
const REDIRECT: u32 = 4;

/// The cost of one verdict at one number of entries.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub verdict: &'static str,
    /// `None` for the baselines, which have no entries.
    pub entries: Option<u32>,
    /// The median.
    pub nanoseconds: f64,
    pub rounds: Vec<f64>,
}

impl Cost {
    fn new(verdict: &'static str, entries: Option<u32>, rounds: Vec<f64>) -> Self {
        Self { verdict, entries, nanoseconds: median(&rounds), rounds }
    }
}

/// Measures in a separate lab whose sending end is down.
pub fn measure(bench: &Bench, rounds: usize) -> Result<Vec<Cost>> {
    let lab = Lab::new()?;
    lab.tx().ip(&["link", "set", lab.tx_interface(), "down"])?;
    let mut costs = baselines(&lab, rounds)?;
    costs.extend(lab.rx().run(|| verdicts(bench, lab.rx_interface(), rounds))??);
    Ok(costs)
}

fn baselines(lab: &Lab, rounds: usize) -> Result<Vec<Cost>> {
    lab.rx().run(|| {
        let interface = Interface::lookup(lab.rx_interface())?;
        let frame = frames::v4(source(1), GROUP, PORT);
        [(DROP_ALL, DROP), (REDIRECT_ONLY, REDIRECT)]
            .into_iter()
            .map(|(name, action)| {
                let mut baseline = Baseline::load(name)?;
                baseline.attach(interface.index)?;
                let socket = XskSocket::bind(&BindConfig::new(interface.index, &*interface.name, 0, BindMode::Copy))?;
                baseline.set_socket(0, socket.as_fd())?;
                let run = || took(action, baseline.test(&frame, interface.index, REPEAT)?);
                let times = std::iter::repeat_with(run).take(rounds).collect::<Result<_>>()?;
                Ok(Cost::new(name, None, times))
            })
            .collect()
    })?
}

fn verdicts(bench: &Bench, name: &str, rounds: usize) -> Result<Vec<Cost>> {
    let interface = Interface::lookup(name)?;
    let most = ENTRIES.into_iter().max().unwrap_or(1);
    // One further entry blocks.
    let mut config = ReceiverConfig::default();
    config.max_flows = Some(most + 1);
    let mut program = Program::load(&interface, &config, PartialChecksums::Redirect)?;
    program.attach(&interface, Attach::Native)?;
    let socket = XskSocket::bind(&BindConfig::new(interface.index, name, 0, BindMode::Copy))?;
    program.set_socket(0, socket.as_fd())?;
    for (slot, group) in (0..).zip([IpAddr::from(GROUP), GROUP_V6.into()]) {
        program.set_group(group, PORT, GroupAction::include(slot))?;
    }
    for (slot, group, from) in
        [(2, IpAddr::from(BLOCKING), IpAddr::from(source(1))), (3, BLOCKING_V6.into(), source_v6(1).into())]
    {
        program.set_group(group, PORT, GroupAction::exclude(slot))?;
        program.set_flow(from, group, PORT, FlowAction::block(slot))?;
    }
    let unnamed = most + 7;
    let cases = [
        ("allowed, v4", REDIRECT, frames::v4(source(1), GROUP, PORT)),
        ("allowed, v6", REDIRECT, frames::v6(source_v6(1), GROUP_V6, PORT)),
        ("blocked, v4", DROP, frames::v4(source(1), BLOCKING, PORT)),
        ("blocked, v6", DROP, frames::v6(source_v6(1), BLOCKING_V6, PORT)),
        ("not included, v4", DROP, frames::v4(source(unnamed), GROUP, PORT)),
        ("not included, v6", DROP, frames::v6(source_v6(unnamed), GROUP_V6, PORT)),
        ("other group, v4", PASS, frames::v4(source(1), OTHER_GROUP, PORT)),
        ("other group, v6", PASS, frames::v6(source_v6(1), OTHER_GROUP_V6, PORT)),
    ];
    let (mut costs, mut there) = (Vec::new(), 0);
    for entries in ENTRIES {
        for number in there + 1..=entries {
            if number % 10_000 == 0 {
                bench.go_on()?;
            }
            program.set_flow(source(number).into(), GROUP.into(), PORT, FlowAction::accept(0))?;
            program.set_flow(source_v6(number).into(), GROUP_V6.into(), PORT, FlowAction::accept(1))?;
        }
        there = entries;
        let mut times = vec![Vec::new(); cases.len()];
        for _ in 0..rounds {
            for ((_, action, frame), times) in cases.iter().zip(&mut times) {
                bench.go_on()?;
                let ran = program.test(frame, &interface, 0, REPEAT)?;
                times.push(took(*action, (ran.action, ran.nanoseconds))?);
            }
        }
        let new = |((verdict, ..), times): (&(&'static str, u32, Vec<u8>), _)| Cost::new(verdict, Some(entries), times);
        costs.extend(cases.iter().zip(times).map(new));
    }
    Ok(costs)
}

/// The time of a run, which must have returned the expected action.
fn took(action: u32, (got, nanoseconds): (u32, u64)) -> Result<f64> {
    if got != action {
        bail!("a frame of the table of rules got action {got} instead of {action}");
    }
    Ok(nanoseconds as f64)
}

fn source(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + number)
}

fn source_v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, (number >> 16) as u16, number as u16)
}

/// Finds a cost by its name.
fn find<'a>(costs: &'a [Cost], verdict: &str, entries: Option<u32>) -> Option<&'a Cost> {
    costs.iter().find(|cost| cost.verdict == verdict && cost.entries == entries)
}

/// The ratio of two costs, within the rounds.
pub fn ratio(costs: &[Cost], of: (&str, Option<u32>), to: (&str, Option<u32>)) -> Option<Ratio> {
    let rounds = |(verdict, entries)| -> Option<Vec<Option<f64>>> {
        Some(find(costs, verdict, entries)?.rounds.iter().copied().map(Some).collect())
    };
    statistics::ratio(&rounds(of)?, &rounds(to)?)
}

pub fn report(costs: &[Cost]) -> String {
    let head: Vec<String> = ENTRIES.iter().map(|entries| format!("{entries} entries")).collect();
    let mut words = vec!["verdict"];
    words.extend(head.iter().map(String::as_str));
    words.push("");
    let mut text = Table::new(&words);
    let shown = |cost: Option<&Cost>| cost.map_or_else(|| "-".to_owned(), |cost| format!("{:.0}", cost.nanoseconds));
    let mut names: Vec<&str> = Vec::new();
    for cost in costs {
        if !names.contains(&cost.verdict) {
            names.push(cost.verdict);
        }
    }
    for name in names {
        let mut line = vec![name.to_owned()];
        match find(costs, name, None) {
            Some(cost) => {
                line.push(format!("{:.0}", cost.nanoseconds));
                line.extend(ENTRIES[1..].iter().map(|_| String::new()));
            }
            None => line.extend(ENTRIES.iter().map(|&entries| shown(find(costs, name, Some(entries))))),
        }
        line.push(String::new());
        text.line(line);
    }
    format!("Nanoseconds a verdict (BPF_PROG_TEST_RUN, its own cost included), by entries of the family\n{text}")
}
