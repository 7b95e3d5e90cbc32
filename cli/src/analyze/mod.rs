//! `receiver analyze`: the sequence, the gaps and the health of the feeds in capture files.

mod flow;
mod report;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use receiver::Subscription;
use receiver_capture::{Captured, Content, Ended, Frames, LARGEST_BLOCK, packets_within};
use receiver_feed::protocol::AnyProtocol;

use crate::values::duration;
use crate::{files, outlet, privilege};
use flow::{Flow, Settings};
use report::{Analysis, streams};

/// Find gaps, duplicates and bad timing of the feeds in capture files
///
/// Reads pcap and pcapng, also compressed with zstd: Ethernet with or without VLAN tags, Linux cooked captures
/// (`tcpdump -i any`), and plain IP; fragments are put together. A stream is what one source sends to one group and port,
/// apart by session, unit, channel or SSRC.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct AnalyzeArgs {
    /// Capture files; what they hold is taken as one capture, in this order. `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Protocol of the datagrams. Default: RTP and MPEG-TS are recognized; market data must be named
    #[arg(long, value_name = "NAME", value_parser = str::parse::<AnyProtocol>, help = feed_help())]
    feed: Option<AnyProtocol>,
    /// Take only what this subscription would receive; repeat it for several
    #[arg(long, value_name = "SUBSCRIPTION", value_parser = str::parse::<Subscription>)]
    only: Vec<Subscription>,
    /// Take datagrams to unicast addresses as well
    #[arg(long)]
    unicast: bool,
    /// How long a missing packet may be late before it makes a gap, such as 10ms
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = duration)]
    window: Duration,
    /// Take frames of a recording that were not delivered as well, see `receiver record --capture`
    #[arg(long)]
    undelivered: bool,
    /// The capture's times come from hardware: judge the accuracy of PCRs by them
    #[arg(long)]
    precise_times: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn feed_help() -> String {
    let names: Vec<_> = AnyProtocol::names().collect();
    format!("Protocol of the datagrams: {}. Default: RTP and MPEG-TS are recognized", names.join(", "))
}

/// Reads the files, and prints what is in them.
///
/// # Errors
/// A file cannot be read, or is no capture; or standard output cannot be written.
pub fn run(args: AnalyzeArgs) -> anyhow::Result<()> {
    privilege::keep_file_access();
    let analysis = analyze(&args)?;
    for problem in &analysis.problems {
        outlet::print(&format!("receiver: {problem}; what came before is analyzed"));
    }
    let text = if args.json { serde_json::to_string(&analysis)? + "\n" } else { analysis.to_text() };
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough is no fault.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn analyze(args: &AnalyzeArgs) -> anyhow::Result<Analysis> {
    let settings = Settings {
        protocol: args.feed,
        window_ns: u64::try_from(args.window.as_nanos()).unwrap_or(u64::MAX),
        precise_times: args.precise_times,
    };
    let mut flows: BTreeMap<(IpAddr, u16, IpAddr), Flow> = BTreeMap::new();
    let (mut frames, mut left_out, mut undelivered, mut problems) = (Frames::default(), 0, 0, Vec::new());
    let (mut first_ns, mut last_ns) = (None, 0);
    for path in &args.files {
        let end = read(path, args.undelivered, |packet| {
            if let Some(time_ns) = packet.time_ns {
                first_ns.get_or_insert(time_ns);
                // Time does not go back for those who wait.
                last_ns = time_ns.max(last_ns);
            }
            frames.take(&packet, |found| {
                let (source, group, port) = (found.source.ip(), found.destination.ip(), found.destination.port());
                if !is_asked_for(args, source, group, port) {
                    left_out += 1;
                    return;
                }
                let flow = flows.entry((group, port, source)).or_insert_with(|| Flow::new(&settings));
                flow.take(&settings, last_ns, found.payload);
            });
        })?;
        problems.extend(end.problem.map(|problem| format!("{}: {problem}", files::input(path))));
        undelivered += end.left_out;
    }
    flows.values_mut().for_each(Flow::finish);
    Ok(Analysis {
        r#type: "analysis",
        files: args.files.iter().map(|path| path.display().to_string()).collect(),
        seconds: last_ns.saturating_sub(first_ns.unwrap_or(last_ns)) as f64 / 1e9,
        frames: frames.counts,
        left_out,
        undelivered,
        streams: flows.iter().flat_map(|(&(group, port, source), flow)| streams(source, group, port, flow)).collect(),
        problems,
    })
}

/// Reads one file; the message of an error names it.
pub fn read(path: &Path, undelivered: bool, each: impl FnMut(Captured<'_>)) -> anyhow::Result<Ended> {
    let name = files::input(path);
    let input: Box<dyn Read + Send> = if files::is_standard_input(path) {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| anyhow!("cannot open {name}: {error}"))?)
    };
    let found = Content::of(input).map_err(anyhow::Error::from).and_then(|Content { bytes, is_cut_off }| {
        let mut end = packets_within(LARGEST_BLOCK, bytes, undelivered, each)?;
        if is_cut_off.load(Relaxed) {
            end.problem = Some("it ends in the middle of a compressed frame".to_owned());
        }
        Ok(end)
    });
    found.map_err(|error| anyhow!("{name}: {error}"))
}

fn is_asked_for(args: &AnalyzeArgs, source: IpAddr, group: IpAddr, port: u16) -> bool {
    if !args.only.is_empty() {
        return args.only.iter().any(|wanted| {
            let filter = wanted.filter();
            (wanted.group(), wanted.port()) == (group, port)
                && filter.sources().contains(&source) != filter.is_exclude()
        });
    }
    args.unicast || group.is_multicast()
}
