//! `receiver send`: the test sender's command line.

mod feed;
mod leg;

use std::fmt::Display;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, ValueEnum};
use receiver_send::feed::{FeedConfig, FeedError, FeedSender};
use receiver_send::probe::PROBE_LEN;
use receiver_send::{Burst, Load, LoadConfig, SendConfig, SendError, Sender, StreamSpec, StreamSpecs};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::signals;
use super::values::{count, duration, rate, size, whole};
use feed::FeedArgs;

/// Send test datagrams to a group, from any source and in exact numbers
///
/// The payload holds a sequence number and the time of sending. Each source address and source port is a flow with its
/// own stream id and sequence. Addresses that the interface does not own are spoofed with complete Ethernet frames.
/// These need CAP_NET_RAW, as VLAN tags do.
///
/// `--engine xdp` is for load: an XDP program in the kernel makes the frames of a mix of streams, millions per second
/// on each CPU. The interface must accept redirected frames. veth does while its other end has an XDP program in the
/// driver, or `gro on`.
///
/// `--feed` makes the datagrams of a sequenced protocol on one leg or several, each with its own loss, reordering,
/// delay and duplication. The report lists what was lost on each leg and on all legs.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct SendArgs {
    /// Interface to send on
    #[arg(short, long, value_name = "IFACE")]
    interface: String,
    /// Engine that sends: UDP and packet sockets, or an XDP program in the kernel
    #[arg(long, value_enum, default_value_t = Engine::Socket)]
    engine: Engine,
    /// Group to send to, IPv4 or IPv6
    #[arg(short, long, required_unless_present_any = ["streams", "protocol"])]
    group: Option<IpAddr>,
    /// UDP port to send to
    #[arg(short, long, required_unless_present_any = ["streams", "protocol"], value_parser = whole::<u16>)]
    port: Option<u16>,
    /// Stream of a mix, with its weight; repeat it. Replaces group, port and source. Engine xdp only
    #[arg(long = "stream", value_name = "S@G:PORT=WEIGHT", conflicts_with_all = ["group", "port", "sources"])]
    streams: Vec<StreamSpecs>,
    /// Source address; for several, repeat it or separate them by commas. Default: the interface's own
    #[arg(short, long = "source", value_name = "SOURCE", value_delimiter = ',')]
    sources: Vec<IpAddr>,
    /// Source port, or the first and the last of a range: 4000 or 4000-4003. Each is a flow. Default: any free port
    #[arg(long, value_name = "PORT[-PORT]", value_parser = source_port_range)]
    source_port: Option<(u16, u16)>,
    /// Number of source ports of each source. Each is a flow, so that flows spread over queues
    #[arg(long, value_name = "N", value_parser = whole::<u16>)]
    source_ports: Option<u16>,
    /// Packets per second over all flows, such as 1000, 10k or 2M; 0 means as fast as possible
    #[arg(short, long, value_name = "PPS", default_value_t = 1000, value_parser = rate::<u64>)]
    rate: u64,
    /// Stop after exactly N packets, over all flows, such as 1000, 10k or 2M
    #[arg(short, long, value_name = "N", value_parser = count::<u64>)]
    count: Option<u64>,
    /// Stop after this time, such as 10 or 0.5 (seconds), 500ms, 8s or 1m30s
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Bytes of UDP payload. Above the MTU only sources that the interface owns can send, as IP fragments
    #[arg(long, value_name = "BYTES", default_value_t = PROBE_LEN, value_parser = size::<usize>)]
    size: usize,
    /// IP time to live, or IPv6 hop limit
    #[arg(long, default_value_t = 16, value_parser = whole::<u8>)]
    ttl: u8,
    /// Number of threads; each sends its own flows
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<usize>)]
    threads: usize,
    /// CPUs for the threads, one for each. Default: the first ones that the process may use. Engine xdp only
    #[arg(long, value_name = "CPU", value_delimiter = ',', value_parser = whole::<usize>)]
    cpus: Vec<usize>,
    /// Packets passed to the kernel at once. Default: 64 without a rate, otherwise those due in 0.1 ms. Engine xdp:
    /// packets of a burst, together with --every
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    burst: Option<usize>,
    /// Send a burst from each thread at line rate at this interval, instead of a rate, such as 100 (microseconds),
    /// 100us or 2ms. Engine xdp only
    #[arg(long, value_name = "TIME", value_parser = microseconds, requires = "burst", conflicts_with = "rate")]
    every: Option<Duration>,
    /// VLAN id, or outer and inner id with a dot between them: 100 or 100.200
    #[arg(long, value_name = "ID[.ID]", value_parser = vlan)]
    vlan: Option<Tags>,
    /// Send complete frames for the interface's own addresses as well
    #[arg(long)]
    spoof: bool,
    /// Let complete frames skip the queueing discipline: they are faster, and captures on this interface miss them
    #[arg(long)]
    bypass_qdisc: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    feed: FeedArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Exact, on any interface, at moderate rates
    Socket,
    /// In the kernel, for load
    Xdp,
}

#[derive(Clone, Debug)]
struct Tags(Vec<u16>);

/// Sends as asked, until done, SIGINT or SIGTERM, and prints the report.
///
/// # Errors
/// A [`SendError`], whose `exit_code()` is that of the process, or another error, which is exit code 1.
pub fn run(args: SendArgs) -> anyhow::Result<()> {
    let json = args.json;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signals::end_by(signal, &stop)?;
    }
    match args.engine {
        Engine::Socket if args.feed.is_asked_for() => print(&FeedSender::new(feed_config(args)?)?.run(&stop)?, json)?,
        Engine::Socket => print(&Sender::new(config(args)?)?.run(&stop)?, json)?,
        Engine::Xdp => print(&Load::new(load_config(args)?)?.run(&stop)?, json)?,
    }
    Ok(())
}

fn config(args: SendArgs) -> Result<SendConfig, SendError> {
    let other = |what| SendError::OtherEngine { what, engine: "xdp" };
    let (Some(group), Some(port)) = (args.group, args.port) else { return Err(other("a mix of streams")) };
    if args.every.is_some() {
        return Err(other("a repeated burst"));
    }
    if !args.cpus.is_empty() {
        return Err(other("the choice of CPUs"));
    }
    let (source_port, source_ports) = source_ports(&args)?;
    let mut config = SendConfig::new(args.interface, group, port);
    config.sources = args.sources;
    (config.traffic.source_port, config.traffic.source_ports) = (source_port, source_ports);
    config.traffic.rate = args.rate;
    config.traffic.count = args.count;
    config.traffic.duration = args.duration;
    config.traffic.size = args.size;
    config.traffic.ttl = args.ttl;
    config.traffic.threads = args.threads;
    config.burst = args.burst;
    config.vlan = args.vlan.map(|tags| tags.0).unwrap_or_default();
    config.spoof = args.spoof;
    config.bypass_qdisc = args.bypass_qdisc;
    Ok(config)
}

fn feed_config(args: SendArgs) -> Result<FeedConfig, SendError> {
    if !args.cpus.is_empty() {
        return Err(SendError::OtherEngine { what: "the choice of CPUs", engine: "xdp" });
    }
    let source_port = match args.source_port {
        Some((first, last)) if last > first => return Err(FeedError::SourcePorts.into()),
        first => first.map(|(first, _)| first),
    };
    let mut config = args.feed.config(args.interface)?;
    (config.rate, config.count, config.duration) = (args.rate, args.count, args.duration);
    (config.ttl, config.source_port) = (args.ttl, source_port);
    config.vlan = args.vlan.map(|tags| tags.0).unwrap_or_default();
    (config.spoof, config.bypass_qdisc) = (args.spoof, args.bypass_qdisc);
    Ok(config)
}

fn load_config(args: SendArgs) -> Result<LoadConfig, SendError> {
    let other = |what| SendError::OtherEngine { what, engine: "socket" };
    if args.feed.is_asked_for() {
        return Err(other("a feed"));
    }
    if args.vlan.is_some() {
        return Err(other("a VLAN tag"));
    }
    if args.bypass_qdisc {
        return Err(other("bypassing the queueing discipline, which redirected frames do not pass,"));
    }
    let (source_port, source_ports) = source_ports(&args)?;
    let streams = match (args.group, args.port) {
        (Some(group), Some(port)) => {
            let sources =
                if args.sources.is_empty() { vec![None] } else { args.sources.into_iter().map(Some).collect() };
            sources.into_iter().map(|source| StreamSpec { source, group, port, weight: 1 }).collect()
        }
        _ => args.streams.into_iter().flat_map(|specs| specs.0).collect(),
    };
    let mut config = LoadConfig::new(args.interface, streams);
    (config.traffic.source_port, config.traffic.source_ports) = (source_port, source_ports);
    config.traffic.count = args.count;
    config.traffic.duration = args.duration;
    config.traffic.size = args.size;
    config.traffic.ttl = args.ttl;
    config.traffic.threads = args.threads;
    config.cpus = args.cpus;
    match (args.burst, args.every) {
        (Some(packets), Some(every)) => {
            let packets = u32::try_from(packets).unwrap_or(0);
            config.burst = Some(Burst { packets, every });
        }
        (Some(_), None) => return Err(SendError::BurstShape),
        _ => config.traffic.rate = args.rate,
    }
    Ok(config)
}

/// The first source port, and how many.
fn source_ports(args: &SendArgs) -> Result<(Option<u16>, u16), SendError> {
    match args.source_port {
        Some((first, last)) if last > first && args.source_ports.is_some() => Err(SendError::SourcePortsTwice),
        // 0 to 65535 is one more than fits; port 0 is refused later.
        Some((first, last)) if last > first => Ok((Some(first), (last - first).saturating_add(1))),
        first => Ok((first.map(|(first, _)| first), args.source_ports.unwrap_or(1))),
    }
}

fn print<R: Serialize + Display>(report: &R, json: bool) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a, R> {
        r#type: &'static str,
        #[serde(flatten)]
        report: &'a R,
    }
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &Line { r#type: "send", report })?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    out.flush()
}

/// A length of time, in microseconds if it has no unit.
fn microseconds(text: &str) -> Result<Duration, String> {
    match whole::<u64>(text) {
        Ok(microseconds) => Ok(Duration::from_micros(microseconds)),
        Err(_) => duration(text),
    }
}

fn source_port_range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is not a port number, 1 to 65535"));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        return Err(format!("the range ends before it begins; write {last}-{first}"));
    }
    Ok((first, last))
}

fn vlan(text: &str) -> Result<Tags, String> {
    let id = |text: &str| text.parse::<u16>().map_err(|_| format!("`{text}` is not a VLAN id, 1 to 4094"));
    text.split('.').map(id).collect::<Result<_, _>>().map(Tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        send: SendArgs,
    }

    fn words(more: &str) -> Result<SendArgs, clap::Error> {
        let words = format!("send -i veth0 --group 232.1.1.1 --port 5000 {more}");
        Cli::try_parse_from(words.split_whitespace()).map(|cli| cli.send)
    }

    fn parse(more: &str) -> SendConfig {
        config(words(more).expect(more)).expect(more)
    }

    #[test]
    fn forms() {
        let config = parse("--source 10.0.0.1 --source 10.0.0.2,10.0.0.3 --vlan 100.200 --duration 0.5");
        assert_eq!(config.sources.len(), 3);
        assert_eq!(config.vlan, [100, 200]);
        assert_eq!(config.traffic.duration, Some(Duration::from_millis(500)));
        assert_eq!((config.traffic.source_port, config.traffic.source_ports), (None, 1));
        let config = parse("--source-port 4000-4003");
        assert_eq!((config.traffic.source_port, config.traffic.source_ports), (Some(4000), 4));
        let config = parse("--source-port 4000 --source-ports 8");
        assert_eq!((config.traffic.source_port, config.traffic.source_ports), (Some(4000), 8));
    }

    #[test]
    fn values_have_units() {
        let config = parse("--rate 2M/s -c 10k -d 1m30s --size 1.5kB");
        assert_eq!((config.traffic.rate, config.traffic.count), (2_000_000, Some(10_000)));
        assert_eq!((config.traffic.duration, config.traffic.size), (Some(Duration::from_secs(90)), 1_500));
        for (every, expected) in [("100", 100), ("100us", 100), ("2ms", 2_000), ("1e-4", 100)] {
            let args = words(&format!("--engine xdp --burst 1k --every {every}")).expect(every);
            assert_eq!((args.burst, args.every), (Some(1_000), Some(Duration::from_micros(expected))), "{every}");
        }
    }

    #[test]
    fn a_word_for_a_number_is_answered_in_words() {
        for option in [
            "--source-port",
            "--source-ports",
            "--rate",
            "--count",
            "--duration",
            "--size",
            "--ttl",
            "--threads",
            "--cpus",
            "--burst",
            "--vlan",
        ] {
            let error = words(&format!("{option} 12x")).expect_err(option).to_string();
            assert!(error.contains(option) && !error.contains("invalid digit"), "{error}");
        }
        let error = words("--rate 10kbit").expect_err("a unit").to_string();
        let says = "invalid value '10kbit' for '--rate <PPS>': `10kbit` is not a number of packets per second, such as";
        assert!(error.contains(says), "{error}");
        let streams = ["send", "-i", "veth0", "--stream", "10.0.0.1@232.1.1.1:5000=1x"];
        let error = Cli::try_parse_from(streams).err().expect("a weight").to_string();
        assert!(!error.contains("invalid digit"), "{error}");
    }

    #[test]
    fn refusals_are_usage_errors() {
        for wrong in [
            "--source-port 5-4",
            "--source-port x",
            "--vlan a",
            "--vlan 1.70000",
            "--duration -1",
            "--duration nan",
            "--source host",
            "--port 70000",
        ] {
            assert_eq!(words(wrong).expect_err(wrong).exit_code(), 2, "{wrong}");
        }
        let twice = config(words("--source-port 1-4 --source-ports 2").expect("each is right"));
        assert_eq!(twice.expect_err("refused").exit_code(), 2);
    }
}
