//! The options of `receiver run`, and the receiver that they configure.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, Args, FromArgMatches};
use receiver::{Builder, BusyPoll, DropUnwanted, ModeRequest, Queues, ReceiveMode, Receiver, Subscription, Vlan};
use receiver_feed::arbiter::PathClass;
use receiver_feed::protocol::AnyProtocol;

use super::subscriptions;
use crate::capture::Capture;
use crate::config::{Configured, FeedEntry, SinkEntry, Wanted, positive_time};
use crate::cpus::{CpuList, Priority};
use crate::errors::UsageError;
use crate::feeds::{Fec, FeedOptions, FeedRequest, path_class};
use crate::metrics::MetricsAddress;
use crate::signals::Hangup;
use crate::sink::{self, OutputFormat, SinkRequest};
use crate::values::{count, duration, duration_within, instance_name, mode, one_of, positive_count, size};
use crate::view;

/// Busy polling takes up to 64 packets from the device at once, for up to 50 µs in one call.
const BUSY_POLL: BusyPoll = BusyPoll { budget: 64, microseconds: 50 };

const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
/// About 30 years, which every clock can hold.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1_000_000_000);

/// Receive multicast streams, filter them by source in XDP, and show their rates
///
/// A terminal shows a table that is updated in place; otherwise each interval prints a line. Ctrl-C and SIGTERM end the
/// run with a summary; so does SIGHUP, unless there is a configuration to read again or a file:PATH to reopen. Bits and
/// bytes are those of the UDP payload.
///
/// In the XDP modes (all but socket) the frames of a subscription do not reach other programs on this host, unless
/// --share is given.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct RunArgs {
    // The text is no doc comment: rustdoc would take the brackets for links.
    #[arg(
        value_name = "SUBSCRIPTION",
        required_unless_present_any = ["subscription_file", "config"],
        help = "SOURCE[,SOURCE...]@GROUP:PORT, GROUP:PORT for any source, or !SOURCE[,...]@GROUP:PORT for any other \
                source. IPv6 addresses in brackets: [2001:db8::1]@[ff3e::1]:5000. VLC's udp://@GROUP:PORT \
                 is accepted as well"
    )]
    subscriptions: Vec<String>,
    /// Read the options, subscriptions and sinks from FILE (TOML); `receiver config example` prints one. Options given
    /// here override those in FILE; subscriptions and sinks given here are added. SIGHUP reads FILE again
    #[arg(long, value_name = "FILE", env = "RECEIVER_CONFIG", help_heading = "Instance")]
    pub config: Option<PathBuf>,
    /// Name of this run among those on this host: a letter, then letters, digits, `-`, `_` or `.`
    #[arg(
        short, long,
        value_name = "NAME",
        value_parser = instance_name,
        env = "RECEIVER_NAME",
        help_heading = "Instance",
    )]
    pub name: Option<String>,
    /// Control socket for `receiver ctl`, in place of the one that a run with a name has in the runtime directory
    #[arg(long, value_name = "PATH", help_heading = "Instance")]
    pub control: Option<PathBuf>,
    /// Keep all capabilities of the process, such as those of root. Otherwise the run keeps those that its mode takes.
    /// A program that uses the same groups, and that starts later, is named only if all are kept
    #[arg(long, help_heading = "Instance")]
    keep_capabilities: bool,
    /// Serve metrics (OpenMetrics) at http://ADDRESS:PORT/metrics; PORT alone is on 127.0.0.1
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_parser = str::parse::<MetricsAddress>,
        help_heading = "Instance",
    )]
    pub metrics: Option<MetricsAddress>,
    /// Metrics have labels of their own for up to N subscriptions; the others are one sum, `subscription="other"`
    #[arg(
        long,
        value_name = "N",
        default_value = "1000",
        value_parser = count::<usize>,
        help_heading = "Instance",
    )]
    pub metrics_subscriptions: usize,
    /// Read more subscriptions from FILE, one per line; a # begins a comment. `-` is standard input
    #[arg(long = "subscriptions", value_name = "FILE", id = "subscription_file", help_heading = "Subscriptions")]
    pub subscription_file: Option<PathBuf>,
    /// Interface to receive on
    #[arg(
        short,
        long,
        value_name = "IFACE",
        required_unless_present = "config",
        env = "RECEIVER_INTERFACE",
        help_heading = "Interface and mode"
    )]
    interface: Option<String>,
    /// Receive mode: auto (the first of these that is available), zero-copy, mapped, copy, generic or socket (no XDP,
    /// no privilege)
    #[arg(
        short, long,
        default_value = "auto",
        value_parser = mode(),
        hide_possible_values = true,
        env = "RECEIVER_MODE",
        help_heading = "Interface and mode",
    )]
    mode: ModeRequest,
    /// Fail if no XDP mode is available: `auto` never falls back to `socket`
    #[arg(long, help_heading = "Interface and mode")]
    require_xdp: bool,
    /// Receive queues to serve: all, the first N, or a LIST such as 0,2 (a list of one: `2,`)
    #[arg(
        long,
        value_name = "all|N|LIST",
        default_value = "all",
        value_parser = str::parse::<Queues>,
        help_heading = "Interface and mode",
    )]
    queues: Queues,
    /// When to drop frames of a subscribed group from unwanted sources: always, unless-shared (pass them to the kernel
    /// while another program has joined the group) or never (always pass them). Has no effect in mode socket
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "unless-shared",
        value_parser = one_of::<DropUnwanted>(["always", "unless-shared", "never"]),
        hide_possible_values = true,
        help_heading = "Interface and mode",
    )]
    drop_unwanted: DropUnwanted,
    /// Let other programs on this host receive the same packets: the kernel gets each one too. Takes mode mapped. IP
    /// fragments, packets with IP options and packets longer than a frame then reach the other programs only
    #[arg(long, help_heading = "Interface and mode")]
    share: bool,
    /// VLAN id that frames must carry, or outer and inner id with a dot between them: 100 or 200.100
    #[arg(long, value_name = "ID[.ID]", value_parser = str::parse::<Vlan>, help_heading = "Interface and mode")]
    vlan: Option<Vlan>,
    /// Stop after this time, such as 10 or 0.5 (seconds), 500ms, 8s or 1m30s
    #[arg(short, long, value_name = "TIME", value_parser = duration, help_heading = "End of the run")]
    pub duration: Option<Duration>,
    /// Stop after exactly N datagrams, such as 1000, 10k or 2M
    #[arg(short, long, value_name = "N", value_parser = positive_count::<u64>, help_heading = "End of the run")]
    pub count: Option<u64>,
    /// Time between two updates, from 10ms on, such as 0.5 (seconds) or 1m
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1s",
        value_parser = interval,
        env = "RECEIVER_INTERVAL",
        help_heading = "Display and log"
    )]
    pub interval: Duration,
    /// Show the run as auto (a table on a terminal, otherwise lines), dashboard (the whole terminal, with keys: sort,
    /// filter, block, help), table or lines
    #[arg(
        long,
        value_enum,
        value_name = "VIEW",
        default_value_t,
        hide_possible_values = true,
        conflicts_with_all = ["json", "hex"],
        help_heading = "Display and log"
    )]
    pub view: view::Choice,
    /// Write one JSON object per line; its `type` is start, interval or summary
    #[arg(long, conflicts_with = "hex", help_heading = "Display and log")]
    pub json: bool,
    /// Write the JSON summary to FILE as well, at the end of the run; the content of FILE is replaced
    #[arg(long, value_name = "FILE", help_heading = "Display and log")]
    pub summary: Option<PathBuf>,
    /// Pass the payloads on to TARGET, once or several times: a file, `-` (standard output), a UDP relay, a Unix socket
    ///
    /// PATH, or file:PATH?rotate=1GiB&every=1h&keep=24: the payloads, one after the other, are appended to a file; one
    /// that rotates gets the time added to its name, or has it there as %Y%m%d-%H%M%S. A FIFO may get its reader later.
    /// `-`: standard output; all else goes to standard error. udp://GROUP:PORT?interface=NAME or udp://HOST:PORT: each
    /// datagram is sent on, 5ms after it came (delay=20ms), with ttl=16, source=ADDRESS and loop=yes on request.
    /// unix:PATH: a Unix datagram socket. nats://HOST:PORT/STREAM: NATS JetStream (docs/nats.md). pcapng:FILE: a
    /// recording, see --record. framed:FILE or framed:-: records with metadata, see --output-format. discard: nowhere.
    /// With only=SUBSCRIPTION, a sink takes that one alone.
    ///
    /// SIGHUP has each file:PATH and recording turn, or be opened anew. `-` with options: --output=-?limit=1MiB.
    ///
    /// A sink is opened once the receiver runs: a start that fails leaves files unchanged. Up to 64 MiB (limit=64MiB)
    /// wait for a slow or failing sink; further datagrams are dropped whole and counted under its name. The end of the
    /// run waits for a reader as long as it takes something within a second.
    #[arg(short, long, value_name = "TARGET", help_heading = "Sinks")]
    pub output: Vec<OsString>,
    /// Form of standard output: raw (payloads, with --output -) or framed (records with metadata, losses and statistics)
    ///
    /// A framed stream is for a reader in another language: docs/framed.md describes each byte. It is --output framed:-,
    /// which is added if no --output is standard output.
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        hide_possible_values = true,
        help_heading = "Sinks"
    )]
    pub output_format: OutputFormat,
    /// Record the packets to FILE as pcapng, once or several times; `-` is standard output
    ///
    /// Short for --output pcapng:FILE, and with its options behind a question mark:
    /// FILE?rotate=1GiB&every=1h&keep=24&compress=zstd&comments=yes. Times have nanoseconds. A packet that follows lost
    /// ones has their number with it (epb_dropcount), and statistics blocks count what came, was lost and was written.
    /// A frame of XDP is written as it came; a payload of a UDP socket gets headers that are rebuilt.
    ///
    /// Each file is a whole of its own, and readable up to its last whole packet at any time. A file of that name which
    /// is there already is kept, under the name of a finished one. SIGHUP begins the next file. A name that ends with
    /// .zst is compressed.
    #[arg(long, value_name = "FILE", help_heading = "Sinks")]
    pub record: Vec<String>,
    /// What recordings hold: wanted, blocked (what XDP dropped: unwanted sources, malformed frames), passed (what XDP
    /// left to the kernel), lost (wanted, but a mapped ring had no room), all, or verdicts such as dropped_blocked,
    /// with commas between them
    ///
    /// All but `wanted` are frames that no worker gets: the XDP program copies them, cut to 2,016 bytes. In the file
    /// they are an interface of their own, and the verdict is the comment of each. Takes a mode with XDP.
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "wanted",
        value_parser = str::parse::<Capture>,
        help_heading = "Sinks",
    )]
    pub capture: Capture,
    /// Dump each datagram in hexadecimal; the line of each interval goes to standard error
    #[arg(long, help_heading = "Display and log")]
    pub hex: bool,
    /// Check the streams of `receiver send` for loss, reordering and duplicates, and measure their latency
    #[arg(long, help_heading = "Sinks")]
    pub probe: bool,
    /// Poll without sleeping: the lowest latency, for one whole CPU per queue. With AF_XDP the kernel polls the device
    /// in the same calls; mode mapped has none, so that auto goes on to copy unless --share is given, and mode generic
    /// takes AF_XDP in place of its mapped rings
    #[arg(long, help_heading = "Receiving")]
    pub busy_poll: bool,
    /// CPUs of the workers, such as 2 or 2,4-7: the first queue's worker runs on the first CPU, and so on; other
    /// threads are kept off them. Workers share CPUs if there are fewer
    #[arg(long, value_name = "LIST", value_parser = str::parse::<CpuList>, help_heading = "CPUs")]
    pub cpus: Option<CpuList>,
    /// Real-time priority of the workers, 1 to 99 (SCHED_FIFO). Takes CAP_SYS_NICE or RLIMIT_RTPRIO
    #[arg(long, value_name = "fifo:N", value_parser = str::parse::<Priority>, help_heading = "CPUs")]
    pub priority: Option<Priority>,
    /// Do not verify IPv4 header and UDP checksums of frames from XDP. Mode generic still verifies them, except on a
    /// hardware NIC
    #[arg(long, help_heading = "Receiving")]
    no_verify_checksum: bool,
    /// Take the time of each datagram in the XDP program or the kernel, not when its batch is read
    #[arg(long, help_heading = "Receiving")]
    pub timestamps: bool,
    /// Log every verdict of the XDP program to standard error. This is slow; the summary counts verdicts that were not
    /// logged
    #[arg(long, help_heading = "Display and log")]
    pub trace_verdicts: bool,
    /// Entries of the XDP filter for each IP version: one for each source, group and port. Default: twice as many as
    /// needed, at least 4096
    #[arg(long, value_name = "N", value_parser = count::<u32>, help_heading = "Memory")]
    max_flows: Option<u32>,
    /// Slots of each queue's RX ring, a power of two. Default: 2048
    #[arg(long, value_name = "SLOTS", value_parser = count::<u32>, help_heading = "Memory")]
    ring_size: Option<u32>,
    /// Frames of each queue, a power of two, at least four times the ring, or twice in modes mapped and
    /// generic. Default: as few
    #[arg(long, value_name = "N", value_parser = count::<u32>, help_heading = "Memory")]
    frames: Option<u32>,
    /// Bytes of a frame, 2048 or 4096; 256 of them are reserved. Default: 2048
    #[arg(long, value_name = "BYTES", value_parser = frame_size, help_heading = "Memory")]
    frame_size: Option<u32>,
    /// Bytes of copied payloads that may be held at once. Default: 64 MiB
    #[arg(long, value_name = "BYTES", value_parser = size::<u64>, help_heading = "Memory")]
    copy_limit: Option<u64>,
    /// Bytes of receive buffer of each kernel socket. Default: 8 MiB
    #[arg(long, value_name = "BYTES", value_parser = size::<usize>, help_heading = "Memory")]
    socket_buffer: Option<usize>,
    /// Take all subscriptions as legs of one feed of this protocol: each message reaches the sinks once and in order,
    /// gaps are counted and logged. [[feed]] in a configuration takes some as legs
    #[arg(
        long,
        value_name = "PROTOCOL",
        value_parser = one_of::<AnyProtocol>(AnyProtocol::names()),
        help_heading = "Feeds",
    )]
    feed: Option<AnyProtocol>,
    /// How long a feed waits for a missing message while a leg may still deliver it. Default: 10ms
    #[arg(long, value_name = "TIME", value_parser = positive_time, help_heading = "Feeds")]
    feed_window: Option<Duration>,
    /// Path differential of the legs by SMPTE ST 2022-7: A (10 ms), B (50 ms), C (450 ms), C-high-rate (150 ms) or D
    /// (150 µs)
    #[arg(long, value_name = "CLASS", value_parser = path_class, help_heading = "Feeds")]
    feed_class: Option<PathClass>,
    /// The legs of the feed have parity by ST 2022-1 (rtp, and mpeg-ts in RTP), from which lost packets are made again:
    /// columns on the port of each leg plus 2, rows on plus 4. These are joined too
    #[arg(long, requires = "feed", help_heading = "Feeds")]
    feed_fec: bool,
    /// Allow any-source subscriptions in 232.0.0.0/8 and ff3x::/32, which are for named sources (RFC 4607)
    #[arg(long, help_heading = "Subscriptions")]
    allow_asm_in_ssm_range: bool,
    /// The run is one of `receiver record`: it ends with a sentence about what was recorded.
    #[arg(skip)]
    pub ends_with_words: bool,
    /// The configuration file, once it was read.
    #[arg(skip)]
    configured: Option<Arc<Configured>>,
}

impl RunArgs {
    /// The options of a command line, and of the configuration file that it names.
    ///
    /// # Errors
    /// The command line is not one of `receiver run`.
    pub fn of(matches: &ArgMatches, configured: Configured) -> anyhow::Result<Self> {
        let run = matches.subcommand_matches("run").expect("the command line is one of `receiver run`");
        let mut args = Self::from_arg_matches(run)?;
        args.set_file(configured);
        Ok(args)
    }

    /// Takes the configuration file whose options these are.
    pub fn set_file(&mut self, configured: Configured) {
        self.configured = Some(Arc::new(configured));
    }

    /// The configuration file as it was read, if there is one.
    pub fn file(&self) -> Option<&Configured> {
        self.configured.as_deref()
    }

    /// The interface, if one is named.
    pub fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    /// The receive mode that is asked for.
    pub fn mode(&self) -> ModeRequest {
        self.mode
    }

    /// Returns true if no capability is to be given up. The thread of the log of verdicts gives up none.
    pub fn keeps_all_capabilities(&self) -> bool {
        self.keep_capabilities || self.trace_verdicts
    }

    /// What is joined at the start: that of the command line, of the configuration, and of the list.
    ///
    /// # Errors
    /// As [`RunArgs::builder`].
    pub fn wanted(&self) -> anyhow::Result<Vec<Wanted>> {
        let file = self.file().map(|configured| &configured.file);
        let mut wanted = subscriptions::all(&self.subscriptions, self.subscription_file.as_deref(), file)?;
        super::feeds::add_parity(&self.feeds()?, &mut wanted)?;
        Ok(wanted)
    }

    /// What SIGHUP does to a run with these sinks.
    pub fn hangup(&self, sinks: &[SinkRequest]) -> Hangup {
        if self.config.is_some() || sinks.iter().any(SinkRequest::reopens) { Hangup::Reloads } else { Hangup::Ends }
    }

    /// The sinks that are asked for, not yet opened.
    ///
    /// # Errors
    /// A text is no target, or the targets do not fit together.
    pub fn sinks(&self) -> Result<Vec<SinkRequest>, UsageError> {
        let configured = self.file().map(|configured| configured.file.sinks.as_slice()).unwrap_or_default();
        let more = configured.iter().map(configured_sink).collect::<Result<_, _>>()?;
        let recordings = self.record.iter().map(|file| format!("pcapng:{file}").into());
        let outputs: Vec<OsString> =
            self.output_format.apply(self.output.clone()).into_iter().chain(recordings).collect();
        let requests = sink::requests(&outputs, more, self.hex)?;
        if self.capture != Capture::default() && !requests.iter().any(SinkRequest::is_recording) {
            let text = format!("--capture {} takes a recording; add --record FILE", self.capture);
            return Err(UsageError(text));
        }
        Ok(requests)
    }

    /// The feeds that are asked for.
    ///
    /// # Errors
    /// There are feeds on the command line and in the configuration.
    pub fn feeds(&self) -> Result<Vec<FeedRequest>, UsageError> {
        let defaults = FeedOptions { window: self.feed_window, class: self.feed_class, ..FeedOptions::default() };
        let configured = self.file().map(|configured| configured.file.feeds.as_slice()).unwrap_or_default();
        match (self.feed, configured) {
            (Some(protocol), []) if self.feed_fec && !FeedRequest::can_have_parity(&protocol) => {
                let text = format!("--feed-fec is for rtp and mpeg-ts, not for {protocol}; remove it");
                Err(UsageError(text))
            }
            (Some(protocol), []) => {
                let fec = if self.feed_fec { Fec::NextPorts } else { Fec::None };
                Ok(vec![FeedRequest::of_all(protocol, defaults, fec)])
            }
            (Some(_), _) => Err(UsageError("--feed and [[feed]] exclude each other; remove one of them".to_owned())),
            (None, _) => {
                let with_defaults = |entry: &FeedEntry| {
                    let request = entry.request.clone();
                    FeedRequest { options: request.options.or(&defaults), ..request }
                };
                Ok(configured.iter().map(with_defaults).collect())
            }
        }
    }

    /// How the run is to be shown.
    pub fn view(&self, stdout_is_taken: bool) -> view::Request {
        let Self { json, view, interval, ref summary, .. } = *self;
        view::Request { json, view, interval, summary: summary.clone(), stdout_is_taken }
    }

    /// Returns true if the kernel is to poll the device: mode `mapped` has no AF_XDP socket for it.
    fn kernel_polls(&self) -> bool {
        self.busy_poll && !self.share && self.mode != ModeRequest::Exactly(ReceiveMode::Mapped)
    }

    /// The receiver that the options describe, with these subscriptions, not yet opened.
    ///
    /// # Errors
    /// A usage error if there is no interface.
    pub fn builder(&self, wanted: &[Wanted]) -> anyhow::Result<Builder> {
        let missing = || UsageError("there is no interface; name one with -i, or in the configuration".to_owned());
        Ok(self.receiver(self.interface().ok_or_else(missing)?, wanted.iter().map(|wanted| &wanted.subscription)))
    }

    /// The receiver on an interface, with these subscriptions.
    pub fn receiver<'a>(&self, interface: &str, all: impl IntoIterator<Item = &'a Subscription>) -> Builder {
        let mut builder = Receiver::builder(interface)
            .mode(self.mode)
            .require_xdp(self.require_xdp)
            .queues(self.queues.clone())
            .vlan(self.vlan)
            .drop_unwanted(self.drop_unwanted)
            .verify_checksums(!self.no_verify_checksum)
            .timestamps(self.timestamps)
            .trace_verdicts(self.trace_verdicts)
            .busy_poll(self.kernel_polls().then_some(BUSY_POLL))
            .share(self.share)
            .tap(self.capture.tap())
            .allow_asm_in_ssm_range(self.allow_asm_in_ssm_range);
        if let Some(entries) = self.max_flows {
            builder = builder.max_flows(entries);
        }
        if let Some(slots) = self.ring_size {
            builder = builder.ring_size(slots);
        }
        if let Some(frames) = self.frames {
            builder = builder.frames(frames);
        }
        if let Some(bytes) = self.frame_size {
            builder = builder.frame_size(bytes);
        }
        if let Some(bytes) = self.copy_limit {
            builder = builder.copy_limit(bytes);
        }
        if let Some(bytes) = self.socket_buffer {
            builder = builder.socket_buffer(bytes);
        }
        builder.subscribe_all(all.into_iter().cloned())
    }
}

/// A sink of the configuration.
///
/// # Errors
/// Its target is no target.
pub fn configured_sink(entry: &SinkEntry) -> Result<SinkRequest, UsageError> {
    let request = SinkRequest::parse(entry.name.as_deref(), entry.target.as_ref())?;
    Ok(if entry.subscriptions.is_some() { request.routed() } else { request })
}

fn interval(text: &str) -> Result<Duration, String> {
    duration_within(text, SHORTEST_INTERVAL, LONGEST_INTERVAL)
}

fn frame_size(text: &str) -> Result<u32, String> {
    match size(text) {
        Ok(bytes @ (2048 | 4096)) => Ok(bytes),
        _ => Err("a frame has 2048 or 4096 bytes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        run: RunArgs,
    }

    fn parse(words: &str) -> Result<RunArgs, clap::Error> {
        Cli::try_parse_from(format!("run -i veth0 {words}").split_whitespace()).map(|cli| cli.run)
    }

    #[test]
    fn forms_of_queues() {
        let queues = str::parse::<Queues>;
        assert_eq!(queues("all"), Ok(Queues::All));
        assert_eq!(queues("4"), Ok(Queues::First(4)));
        assert_eq!(queues("0,2"), Ok(Queues::These(vec![0, 2])));
        assert_eq!(queues("2,"), Ok(Queues::These(vec![2])));
        for wrong in ["", "0", ",", "a", "1,,2", "-1"] {
            assert!(queues(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_runs() {
        for name in ["a", "Channel-7", "x_1.b"] {
            assert_eq!(instance_name(name), Ok(name.to_owned()));
        }
        for wrong in ["", "1a", "-a", ".a", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(instance_name(wrong).is_err(), "{wrong}");
        }
        let error = parse("232.1.1.1:1 -n 100").expect_err("a number").to_string();
        assert!(error.contains("for a number of datagrams write -c 100"), "{error}");
        assert_eq!(parse("232.1.1.1:1 -c 100").expect("a count").count, Some(100));
    }

    #[test]
    fn a_word_for_a_number_is_answered_in_words() {
        for option in [
            "--duration",
            "--count",
            "--interval",
            "--queues",
            "--max-flows",
            "--ring-size",
            "--frames",
            "--frame-size",
            "--copy-limit",
            "--socket-buffer",
        ] {
            let error = parse(&format!("232.1.1.1:1 {option} 12x")).expect_err(option).to_string();
            assert!(error.contains(option) && error.contains("'12x'"), "{error}");
            assert!(!error.contains("invalid digit"), "{error}");
        }
        let error = parse("232.1.1.1:1 --copy-limit 64Mbit").expect_err("a unit").to_string();
        assert!(
            error.contains(
                "invalid value '64Mbit' for '--copy-limit <BYTES>': `64Mbit` is not a number of bytes, such as 2048, \
                 64MiB or 64MB"
            ),
            "{error}"
        );
    }

    #[test]
    fn values_have_units() {
        let args =
            parse("232.1.1.1:1 -d 1m30s -c 2M --interval 500ms --copy-limit 64MiB --ring-size 4Ki").expect("words");
        assert_eq!((args.duration, args.count), (Some(Duration::from_secs(90)), Some(2_000_000)));
        assert_eq!((args.interval, args.copy_limit), (Duration::from_millis(500), Some(64 << 20)));
        assert_eq!(args.ring_size, Some(4096));
    }

    #[test]
    fn wrong_words_are_usage_errors() {
        for wrong in [
            "",
            "232.1.1.1:1 --mode fast",
            "232.1.1.1:1 --drop-unwanted sometimes",
            "232.1.1.1:1 --duration -1",
            "232.1.1.1:1 --interval 0",
            "232.1.1.1:1 --count 0",
            "232.1.1.1:1 --vlan 4095",
            "232.1.1.1:1 --frame-size 1024",
            "232.1.1.1:1 --json --hex",
        ] {
            assert_eq!(parse(wrong).expect_err(wrong).exit_code(), 2, "{wrong}");
        }
        let args = parse("10.0.0.1@10.1.1.1:5000").expect("words that parse");
        assert_eq!(crate::errors::exit_code(&args.wanted().expect_err("no group")), 2);
    }
}
