//! `receiver interfaces`: the interfaces of this host, what they can do, and who has XDP there.

mod modes;

use std::io::{self, Write};

use anyhow::Context;
use clap::Args;
use receiver::inspect::xdp_holder;
use receiver::{Holder, Interface, Lack, printable};
use receiver_host::{XDP, XDP_PROGRAM, XdpFeatures};
use serde::Serialize;

use crate::view::reasons;
use modes::{Answer, Modes, expected, in_words, refused, tried};

/// Show interfaces, the receive modes that each can have, and who has XDP there
///
/// The modes are those that the driver and the kernel report (Linux 6.3 or newer); nothing on the interfaces is
/// changed. With --probe each mode is tried, and the answer is sure. Names on the command line add the reasons against
/// modes.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct InterfacesArgs {
    /// Interfaces to show. Default: all but the loopback interface
    #[arg(value_name = "IFACE")]
    names: Vec<String>,
    /// Try each mode on the named interfaces: an XDP program is attached for a moment, for which some NICs take their
    /// link down
    #[arg(long, requires = "names")]
    probe: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Characters of a name that are shown; the kernel allows 15 bytes.
const LONGEST_NAME: usize = 80;

/// An interface and what is known of it.
struct Seen {
    interface: Interface,
    modes: Modes,
    holder: Option<Holder>,
}

/// Looks at the interfaces and prints them.
///
/// # Errors
/// An interface does not exist, the kernel does not list them, or standard output is closed.
pub fn run(args: &InterfacesArgs) -> anyhow::Result<()> {
    let interfaces = if args.names.is_empty() {
        let all = Interface::all().context("could not list the interfaces")?;
        all.into_iter().filter(|interface| !interface.loopback).collect()
    } else {
        args.names.iter().map(|name| Interface::lookup(name)).collect::<Result<Vec<_>, _>>()?
    };
    let seen: Vec<Seen> = interfaces.into_iter().map(|interface| look(interface, args.probe)).collect();
    let mut out = io::stdout().lock();
    match args.json {
        true => print_json(&mut out, &seen, args.probe)?,
        false => print_text(&mut out, &seen, args)?,
    }
    Ok(out.flush()?)
}

fn look(interface: Interface, probe: bool) -> Seen {
    let holder = xdp_holder(&interface);
    let modes = match probe {
        true => tried(&interface),
        // A kernel that does not answer leaves the modes unknown.
        false => expected(&interface, XdpFeatures::read(interface.index).ok().flatten(), holder.as_ref()),
    };
    Seen { interface, modes, holder }
}

fn state(interface: &Interface) -> &'static str {
    match (interface.up, interface.carrier) {
        (false, _) => "down",
        (true, false) => "no carrier",
        (true, true) => "up",
    }
}

fn print_text(out: &mut impl Write, seen: &[Seen], args: &InterfacesArgs) -> io::Result<()> {
    let mut rows = vec![["interface", "driver", "state", "MTU", "queues", "modes", "XDP"].map(str::to_owned)];
    rows.extend(seen.iter().map(|Seen { interface, modes, holder }| {
        [
            // A name can hold what a terminal would act on.
            printable(&interface.name, LONGEST_NAME),
            interface.driver.clone().unwrap_or_else(|| "-".to_owned()),
            state(interface).to_owned(),
            interface.mtu.to_string(),
            interface.queues.to_string(),
            in_words(modes),
            holder.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        ]
    }));
    let mut widths = [0; 7];
    for row in &rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(widths).map(|(text, width)| format!("{text:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
        let named = number.checked_sub(1).filter(|_| !args.names.is_empty()).and_then(|number| seen.get(number));
        let refused = named.map(|seen| refused(&seen.modes)).unwrap_or_default();
        for reason in reasons(&refused) {
            writeln!(out, "  {reason}")?;
        }
    }
    if !args.probe
        && let lack @ Lack::Capabilities(_) = Lack::of(&XDP)
    {
        let program = XDP_PROGRAM.iter().all(|capability| capability.is_held());
        let modes = if program { "zero-copy and copy" } else { "with XDP" };
        writeln!(out, "the modes {modes} are not for this process: {lack}")?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Shown<'a> {
    r#type: &'static str,
    /// True if each mode was tried.
    probed: bool,
    interfaces: Vec<ShownInterface<'a>>,
}

#[derive(Serialize)]
struct ShownInterface<'a> {
    name: &'a str,
    index: u32,
    driver: Option<&'a str>,
    /// "up", "down" or "no carrier".
    state: &'static str,
    mtu: u32,
    queues: u32,
    multicast: bool,
    modes: Vec<ShownMode<'a>>,
    xdp: Option<ShownHolder<'a>>,
}

#[derive(Serialize)]
struct ShownMode<'a> {
    mode: &'static str,
    /// `null` if it is not known.
    available: Option<bool>,
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct ShownHolder<'a> {
    program: u32,
    name: Option<&'a str>,
    link: Option<u32>,
    processes: Vec<ShownProcess<'a>>,
    /// False if `/proc` does not show the descriptors of all processes.
    processes_complete: bool,
}

#[derive(Serialize)]
struct ShownProcess<'a> {
    pid: u32,
    name: &'a str,
}

fn print_json(out: &mut impl Write, seen: &[Seen], probed: bool) -> io::Result<()> {
    let shown = Shown { r#type: "interfaces", probed, interfaces: seen.iter().map(shown).collect() };
    serde_json::to_writer(&mut *out, &shown)?;
    writeln!(out)
}

fn shown(Seen { interface, modes, holder }: &Seen) -> ShownInterface<'_> {
    let modes = modes.iter().map(|(mode, answer)| {
        let (available, reason) = match answer {
            Answer::Yes => (Some(true), None),
            Answer::No(reason) => (Some(false), Some(reason.as_str())),
            Answer::Unknown => (None, None),
        };
        ShownMode { mode: mode.name(), available, reason }
    });
    ShownInterface {
        name: &interface.name,
        index: interface.index,
        driver: interface.driver.as_deref(),
        state: state(interface),
        mtu: interface.mtu,
        queues: interface.queues,
        multicast: interface.multicast,
        modes: modes.collect(),
        xdp: holder.as_ref().map(|holder| ShownHolder {
            program: holder.program,
            name: holder.name.as_deref(),
            link: holder.link,
            processes: holder.processes.iter().map(|p| ShownProcess { pid: p.pid, name: &p.name }).collect(),
            processes_complete: holder.is_complete,
        }),
    }
}
