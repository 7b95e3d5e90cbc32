//! `receiver conformance`: checks the required membership table on this host.

use std::io::{self, Write};

use anyhow::{Context, bail};
use clap::Args;
use netlab::Lab;
use receiver::Interface;
use receiver_membership::conformance::{self, Answer, Family, RowResult};
use receiver_membership::{InterfaceRef, OptionStyle};
use serde::Serialize;

/// Check the required membership table on this host
///
/// Prints the required answer, the receiver's answer and the kernel's own answer for each row of RFC 3678's table. Both
/// IP versions and all option styles are checked. The command fails if an answer of the receiver is not the required
/// one.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct ConformanceArgs {
    /// Interface to use: for moments, one documentation group of each IP version is joined on it. Default: a private
    /// network namespace, so that nothing is joined on this machine's links
    #[arg(short, long, value_name = "IFACE")]
    interface: Option<String>,
    /// Print one JSON object per line: each row, then a summary
    #[arg(long)]
    json: bool,
}

/// Runs the table and prints it.
///
/// # Errors
/// There is no interface to use, standard output is closed, or an answer of the receiver is not the required one.
pub fn run(args: ConformanceArgs) -> anyhow::Result<()> {
    let (place, results) = match &args.interface {
        Some(name) => {
            let interface = Interface::lookup(name)?;
            let place = format!("on interface {name}, where groups are joined and left again");
            (place, conformance::run(&InterfaceRef::new(interface.index, name))?)
        }
        None => {
            let results = in_private_network()?;
            ("in a private network namespace: nothing is joined on this machine's links".to_owned(), results)
        }
    };
    let differing = results.iter().filter(|result| !result.is_as_required()).count();
    let mut out = io::stdout().lock();
    if args.json {
        print_json(&mut out, &place, &results)?;
    } else {
        print_text(&mut out, &place, &results)?;
    }
    out.flush()?;
    if differing > 0 {
        bail!("{differing} of {} answers differ from what is required", results.len());
    }
    Ok(())
}

/// Runs the table in a network of two namespaces and a veth pair, which ends with this process.
fn in_private_network() -> anyhow::Result<Vec<RowResult>> {
    const HELP: &str = "cannot create a private network namespace; run as root, or name an interface with -i";
    let lab = match Lab::new() {
        Ok(lab) => lab,
        // An ordinary user needs a user namespace as well. A process can enter one only while it has one thread.
        Err(first) => {
            netlab::enter_user_namespace().with_context(|| format!("{first}")).context(HELP)?;
            Lab::new().context(HELP)?
        }
    };
    let index = lab.rx().interface_index(lab.rx_interface())?;
    let interface = InterfaceRef::new(index, lab.rx_interface());
    Ok(lab.rx().run(|| conformance::run(&interface))??)
}

fn options(family: Family, style: OptionStyle) -> &'static str {
    match (style, family) {
        (OptionStyle::Mcast, _) => "MCAST_*",
        (OptionStyle::ProtocolSpecific, Family::V4) => "IP_*",
        (OptionStyle::ProtocolSpecific, Family::V6) => "IPV6_* and MCAST_*",
        (OptionStyle::FullStateProtocolSpecific, Family::V4) => "IP_MSFILTER",
        (OptionStyle::FullState | OptionStyle::FullStateProtocolSpecific, _) => "MCAST_MSFILTER",
    }
}

/// Prints the rows as a table. Each column is as wide as its widest text.
fn print_text(out: &mut impl Write, place: &str, results: &[RowResult]) -> io::Result<()> {
    writeln!(out, "Required membership table, {place}.")?;
    writeln!(
        out,
        "After an answer that is not the required one: the state that the kernel holds. s and t are two sources."
    )?;
    let rows: Vec<[String; 5]> = results.iter().map(text_row).collect();
    let header = ["previous", "following", "required", "ours", "bare kernel"].map(str::to_owned);
    let mut widths = [0; 5];
    for row in rows.iter().chain([&header]) {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut last = None;
    for (result, row) in results.iter().zip(&rows) {
        let table = (result.family, result.style);
        if last != Some(table) {
            last = Some(table);
            writeln!(out, "\n{}, {}", result.family, options(result.family, result.style))?;
            print_row(out, &header, &widths)?;
        }
        print_row(out, row, &widths)?;
    }
    let count = |of: fn(&RowResult) -> bool| results.iter().filter(|result| of(result)).count();
    let (ours, kernel) = (count(|o| !o.is_as_required()), count(RowResult::kernel_differs));
    let asked = count(|o| o.kernel.is_some());
    writeln!(out, "\n{} answers: ours differs in {ours}; the bare kernel's in {kernel} of {asked}", rows.len())
}

fn print_row(out: &mut impl Write, row: &[String; 5], widths: &[usize; 5]) -> io::Result<()> {
    let cells: Vec<String> = row.iter().zip(widths).map(|(text, &width)| format!("{text:<width$}")).collect();
    writeln!(out, "  {}", cells.join("  ").trim_end())
}

fn text_row(result: &RowResult) -> [String; 5] {
    let required = Answer::required(result.row);
    let held =
        |state: &Option<_>| state.as_ref().map_or_else(|| "unknown".to_owned(), |state| result.family.symbols(state));
    let ours = if result.is_as_required() {
        result.ours.to_string()
    } else {
        format!("{} {} DIFFERS", result.ours, held(&result.our_state))
    };
    let kernel = match &result.kernel {
        None => "-".to_owned(),
        Some((answer, state)) if result.kernel_differs() => format!("{answer} {}", held(state)),
        Some((answer, _)) => answer.to_string(),
    };
    [result.row.previous_words(), result.row.following.to_string(), required.to_string(), ours, kernel]
}

#[derive(Serialize)]
struct JsonRow {
    r#type: &'static str,
    family: String,
    options: &'static str,
    addition: bool,
    previous: Vec<String>,
    following: String,
    required: String,
    required_state: String,
    ours: String,
    our_state: Option<String>,
    conforms: bool,
    /// `null` where the option style has no such request.
    kernel: Option<String>,
    kernel_state: Option<String>,
}

#[derive(Serialize)]
struct JsonSummary<'a> {
    r#type: &'static str,
    place: &'a str,
    answers: usize,
    ours_differing: usize,
    kernel_asked: usize,
    kernel_differing: usize,
}

fn print_json(out: &mut impl Write, place: &str, results: &[RowResult]) -> io::Result<()> {
    for result in results {
        let symbols = |state| result.family.symbols(state);
        let row = JsonRow {
            r#type: "conformance",
            family: result.family.to_string(),
            options: options(result.family, result.style),
            addition: result.row.addition,
            previous: result.row.previous.iter().map(ToString::to_string).collect(),
            following: result.row.following.to_string(),
            required: Answer::required(result.row).to_string(),
            required_state: symbols(&result.required_state),
            ours: result.ours.to_string(),
            our_state: result.our_state.as_ref().map(symbols),
            conforms: result.is_as_required(),
            kernel: result.kernel.as_ref().map(|(answer, _)| answer.to_string()),
            kernel_state: result.kernel.as_ref().and_then(|(_, state)| state.as_ref()).map(symbols),
        };
        serde_json::to_writer(&mut *out, &row)?;
        writeln!(out)?;
    }
    let count = |of: fn(&RowResult) -> bool| results.iter().filter(|result| of(result)).count();
    let summary = JsonSummary {
        r#type: "conformance-summary",
        place,
        answers: results.len(),
        ours_differing: count(|o| !o.is_as_required()),
        kernel_asked: count(|o| o.kernel.is_some()),
        kernel_differing: count(RowResult::kernel_differs),
    };
    serde_json::to_writer(&mut *out, &summary)?;
    writeln!(out)
}
