//! `receiver membership`: the groups that are joined on an interface, from the kernel's own tables.

use std::io::{self, Write};
use std::net::IpAddr;

use anyhow::Context;
use clap::Args;
use receiver::Interface;
use receiver_membership::InterfaceRef;
use receiver_membership::querier::{Compatibility, compatibility};
use receiver_membership::tables::{KernelGroup, KernelMode, KernelTables};
use serde::Serialize;

/// Show the groups that all programs have joined on an interface
///
/// Prints the mode and the sources of each group, and the compatibility mode of IGMP and MLD. The kernel counts the
/// members of a group for each interface; it does not report which program they belong to.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct MembershipArgs {
    /// Interface to show
    #[arg(short, long, value_name = "IFACE", env = "RECEIVER_INTERFACE")]
    interface: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads the tables and prints them.
///
/// # Errors
/// The interface does not exist, a table cannot be read, or standard output is closed.
pub fn run(args: MembershipArgs) -> anyhow::Result<()> {
    let interface = Interface::lookup(&args.interface)?;
    let interface = InterfaceRef::new(interface.index, interface.name);
    let tables = KernelTables::read().context("could not read the kernel's tables of groups (/proc/net/igmp)")?;
    let compatibility = compatibility(&interface).context("could not read /proc/net/igmp")?;
    let mut out = io::stdout().lock();
    if args.json {
        print_json(&mut out, &tables, &compatibility)?;
    } else {
        print_text(&mut out, &tables, &compatibility)?;
    }
    out.flush()?;
    Ok(())
}

fn print_text(out: &mut impl Write, tables: &KernelTables, compatibility: &Compatibility) -> io::Result<()> {
    let interface = &compatibility.interface;
    let igmp = compatibility.igmp.map_or_else(|| "none (no IPv4 here)".to_owned(), |version| version.to_string());
    writeln!(out, "{interface}: IGMP {}, MLD {}", igmp.trim_start_matches("IGMP"), mld(compatibility))?;
    for warning in compatibility.warnings(None) {
        writeln!(out, "warning: {warning}")?;
    }
    let mut rows = vec![["group", "mode", "members", "report in", "sources"].map(str::to_owned)];
    rows.extend(tables.on(interface.index).map(|group| {
        [
            group.group.to_string(),
            group.mode().to_string(),
            group.users.to_string(),
            group.timer.map_or_else(|| "-".to_owned(), |timer| format!("{:.2} s", timer.as_secs_f64())),
            sources(group),
        ]
    }));
    let mut widths = [0; 5];
    for row in &rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(text, width)| format!("{text:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    if tables.on(interface.index).any(|group| group.mode() == KernelMode::Unclear) {
        writeln!(
            out,
            "INCLUDE?: these sources are joined; the kernel does not report whether a member takes all sources as well"
        )?;
    }
    if tables.on(interface.index).any(|group| group.mode() == KernelMode::Hidden) {
        writeln!(
            out,
            "?: the kernel shows no sources of this IP version here, because the group that was joined last has none"
        )?;
    }
    if tables.not_understood > 0 {
        writeln!(out, "{} lines of the kernel's tables were not understood", tables.not_understood)?;
    }
    Ok(())
}

fn mld(compatibility: &Compatibility) -> String {
    match compatibility.mld {
        None => "none (no IPv6 here)".to_owned(),
        Some(mld) => {
            let version = match mld.forced {
                Some(version) => format!("v{version} forced"),
                None => "mode not reported by the kernel".to_owned(),
            };
            format!("{version} (reports sent: {} MLDv1, {} MLDv2)", mld.v1_reports, mld.v2_reports)
        }
    }
}

/// The sources, each with the number of members that include or exclude it, unless that is one.
fn sources(group: &KernelGroup) -> String {
    let shown = group.sources.iter().map(|source| {
        let mut text = source.source.to_string();
        let include = group.mode() != KernelMode::Exclude;
        if include && source.included != 1 || !include && (source.included, source.excluded) != (0, 1) {
            text = format!("{text} ({} include, {} exclude)", source.included, source.excluded);
        }
        text
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[derive(Serialize)]
struct Shown<'a> {
    r#type: &'static str,
    interface: &'a str,
    index: u32,
    igmp: Option<String>,
    igmp_forced: Option<u32>,
    mld: Option<ShownMld>,
    warnings: Vec<String>,
    groups: Vec<ShownGroup>,
    lines_not_understood: usize,
}

#[derive(Serialize)]
struct ShownMld {
    forced: Option<u32>,
    v1_reports_sent: u64,
    v2_reports_sent: u64,
}

#[derive(Serialize)]
struct ShownGroup {
    group: IpAddr,
    /// "include", "exclude", or "unclear".
    mode: &'static str,
    members: u64,
    report_due_seconds: Option<f64>,
    last_reporter: bool,
    sources: Vec<ShownSource>,
}

#[derive(Serialize)]
struct ShownSource {
    source: IpAddr,
    included: u64,
    excluded: u64,
}

fn print_json(out: &mut impl Write, tables: &KernelTables, compatibility: &Compatibility) -> io::Result<()> {
    let interface = &compatibility.interface;
    let group = |group: &KernelGroup| ShownGroup {
        group: group.group,
        mode: match group.mode() {
            KernelMode::Include => "include",
            KernelMode::Exclude => "exclude",
            KernelMode::Unclear | KernelMode::Hidden => "unclear",
        },
        members: group.users,
        report_due_seconds: group.timer.map(|timer| timer.as_secs_f64()),
        last_reporter: group.last_reporter,
        sources: group
            .sources
            .iter()
            .map(|s| ShownSource { source: s.source, included: s.included, excluded: s.excluded })
            .collect(),
    };
    let shown = Shown {
        r#type: "membership",
        interface: &interface.name,
        index: interface.index,
        igmp: compatibility.igmp.map(|version| version.to_string()),
        igmp_forced: compatibility.igmp_forced,
        mld: compatibility.mld.map(|mld| ShownMld {
            forced: mld.forced,
            v1_reports_sent: mld.v1_reports,
            v2_reports_sent: mld.v2_reports,
        }),
        warnings: compatibility.warnings(None).iter().map(ToString::to_string).collect(),
        groups: tables.on(interface.index).map(group).collect(),
        lines_not_understood: tables.not_understood,
    };
    serde_json::to_writer(&mut *out, &shown)?;
    writeln!(out)
}
