//! `receiver doctor`: what keeps this host from receiving, in words, each with a command that helps.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use receiver::{Queues, Subscription, Vlan};

use crate::cpus::CpuList;
use crate::values::duration_within;
use print::Counts;
use subject::Subject;
use target::{Request, Target};

mod checks;
mod line;
mod listen;
mod nftables;
mod print;
mod subject;
mod target;
mod trial;

/// The longest time to listen: a membership that no querier asks for ends after 260 s (RFC 3376, section 8.4).
const LONGEST_WAIT: Duration = Duration::from_secs(260);

/// Check what keeps this host from receiving, and name the command that helps
///
/// Each line is ok, warn or fail; skipped lines name what was not looked at, and why. The command fails if a line is
/// fail. Nothing is changed for good: for moments the modes with XDP are tried, which can interrupt the link of some
/// NICs, and the subscriptions are joined and counted. With --no-probe no XDP program is attached.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct DoctorArgs {
    /// Interface to examine
    #[arg(short, long, value_name = "IFACE", env = "RECEIVER_INTERFACE")]
    interface: String,
    /// Subscriptions that are to be received, as in `receiver run`: [SOURCE[,SOURCE...]@]GROUP:PORT
    #[arg(value_name = "SUBSCRIPTION")]
    subscriptions: Vec<String>,
    /// VLAN tag that the frames carry, or two as OUTER.INNER
    #[arg(long, value_name = "ID")]
    vlan: Option<Vlan>,
    /// Receive queues that are to be served: `all`, the first N, or a list such as 0,2
    #[arg(long, value_name = "QUEUES", default_value = "all")]
    queues: Queues,
    /// CPUs of the workers, as in `receiver run --cpus`
    #[arg(long, value_name = "LIST")]
    cpus: Option<CpuList>,
    /// Time to listen for a querier and for the subscriptions, up to 260s
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = wait)]
    wait: Duration,
    /// Attach no XDP program
    #[arg(long)]
    no_probe: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn wait(text: &str) -> Result<Duration, String> {
    duration_within(text, Duration::ZERO, LONGEST_WAIT)
}

/// Examines and prints.
///
/// # Errors
/// There is no such interface, a subscription is invalid, standard output is closed, or a check failed.
pub fn run(args: DoctorArgs) -> anyhow::Result<()> {
    let parse = |text: &String| text.parse::<Subscription>().map_err(receiver::Error::from);
    let request = Request {
        subscriptions: args.subscriptions.iter().map(parse).collect::<Result<_, _>>()?,
        vlan: args.vlan,
        queues: args.queues,
        cpus: args.cpus,
        wait: args.wait,
        probe: !args.no_probe,
    };
    let subject = Subject::new(Target::look_up(&args.interface, request)?);
    let (mut lines, mut counts) = (Vec::new(), Counts::default());
    for check in checks::ALL {
        for line in (check.run)(&subject) {
            counts.add(line.outcome);
            if !args.json {
                print::line(&mut io::stdout().lock(), check.name, &line)?;
            }
            lines.push((check.name, line));
        }
    }
    let mut out = io::stdout().lock();
    if args.json {
        print::json(&mut out, &subject, &lines, counts)?;
    } else {
        print::counts(&mut out, counts)?;
    }
    out.flush()?;
    match counts.fail {
        0 => Ok(()),
        1 => bail!("a check failed"),
        several => bail!("{several} checks failed"),
    }
}
