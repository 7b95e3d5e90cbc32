//! One episode: it starts the receiver and the senders, carries out the plan, ends everything in order, and judges.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::consumer::Consumer;
use crate::ground::Ground;
use crate::leaking::{Leaked, Leaking};
use crate::model::{Judgement, LOST, Losses, Model};
use crate::operation::Operation;
use crate::plan::{Plan, Subscribed, of_file};
use crate::sender::Sender;
use crate::stream::{Filter, GROUPS, MOVING, OF_FILE, SECOND_LEG, STREAMS};
use crate::subject::{Figures, Resources, Start, Subject};

/// How long the episode waits for what must happen. Only the end of the wait is a fault, never its length.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Kibibytes by which the memory of the process may grow in an episode.
const MEMORY_SPAN: u64 = 32 << 10;
/// Descriptors by which it may grow.
const DESCRIPTOR_SPAN: u64 = 4;
/// Packets of a stream before the latest one that may still be on their way, by the kernel path.
const GUARD: u64 = 64;
/// Rounds before the latest one whose packets have surely been processed: with one queue, and with several.
const ROUNDS_BACK: [u64; 2] = [32, 1_000];
/// What an episode found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is wrong. Nothing, if all is well.
    pub faults: Vec<String>,
    /// Operations by name.
    pub operations: BTreeMap<&'static str, u64>,
    /// Packets that were sent.
    pub sent: u64,
    /// Packets that came.
    pub came: u64,
    /// Packets that came altered, or twice.
    pub spoiled: u64,
    /// What the model found.
    pub judgement: Judgement,
    /// What the consumer that leaks did.
    pub leaked: Leaked,
    /// What the ledger could not account for.
    pub unaccounted: u64,
    /// By how many kibibytes memory grew.
    pub memory: i64,
    /// By how many descriptors the process grew.
    pub descriptors: i64,
}

/// What an episode works with.
pub struct Episode {
    pub(crate) plan: Plan,
    pub(crate) ground: Ground,
    pub(crate) sender: Sender,
    pub(crate) consumer: Consumer,
    pub(crate) model: Model,
    pub(crate) start: Start,
    /// `None` between two processes.
    pub(crate) subject: Option<Subject>,
    /// The consumer that leaks.
    leaking: Option<Leaking>,
    /// Clients that misbehave and stay.
    pub(crate) clients: Vec<UnixStream>,
    /// Packets that came before this process, unless some were lost with the consumer's socket.
    pub(crate) came_before: Option<u64>,
    /// Memory and descriptors of this process at its start.
    fresh: Resources,
    // The last field: it is removed when all else has ended.
    _folder: Folder,
}

/// Carries out a plan. The consumer overlooks every `blind`-th packet, unless that is 0.
pub fn run(plan: &Plan, program: &Path, blind: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut episode = match Episode::begin(plan, program, blind) {
        Ok(episode) => episode,
        Err(error) => {
            outcome.faults.push(format!("the episode cannot begin: {error:#}"));
            return outcome;
        }
    };
    let ended = episode.perform(&mut outcome).and_then(|()| episode.finish(&mut outcome));
    if let Err(error) = ended {
        let log = episode.subject.as_ref().map(Subject::errors).unwrap_or_default();
        outcome.faults.push(format!("{error:#}\n  the receiver's log:{log}"));
    }
    outcome
}

impl Episode {
    fn begin(plan: &Plan, program: &Path, blind: u64) -> Result<Self> {
        let ground = Ground::new(plan.family, plan.queues, plan.whole_checksums)?;
        let folder = Folder::new()?;
        let disk = plan.full_disk.then(|| folder.disk()).transpose()?;
        let start = Start {
            program: program.to_owned(),
            mode: plan.mode,
            config: folder.0.join("config.toml"),
            control: folder.0.join("control"),
            output: folder.0.join("output"),
            second_output: disk.map(|disk| disk.join("payloads")),
            recording: plan.recording.then(|| folder.0.join("recording.pcapng")),
            options: plan.options,
        };
        let consumer = Consumer::start(&start.output, plan.seed, blind)?;
        let sender = Sender::start(&ground.tx, plan)?;
        let leaking = plan.leaks.then(|| Leaking::start(plan)).transpose()?;
        let mut this = Self {
            plan: plan.clone(),
            ground,
            sender,
            consumer,
            model: Model::new(Subscribed::at_the_start(3), plan.feed.then_some(SECOND_LEG)),
            start,
            subject: None,
            leaking,
            clients: Vec::new(),
            came_before: None,
            fresh: Resources::default(),
            _folder: folder,
        };
        this.write_config(3)?;
        this.start_subject()?;
        Ok(this)
    }

    /// Starts a process, and waits until it receives.
    pub(crate) fn start_subject(&mut self) -> Result<()> {
        self.came_before = Some(self.consumer.received().packets);
        self.subject = Some(Subject::start(&self.ground, &self.start)?);
        let unwanted: Vec<usize> = (0..STREAMS).filter(|&stream| !self.model.wants(stream)).collect();
        for stream in unwanted {
            self.model.relax(stream, self.frontier(stream));
            self.model.expect(stream, self.sender.after_now(stream));
        }
        self.end_outage(Duration::from_millis(500), |_| true)?;
        self.fresh = self.subject()?.resources()?;
        Ok(())
    }

    fn perform(&mut self, outcome: &mut Outcome) -> Result<()> {
        for step in self.plan.steps.clone() {
            std::thread::sleep(step.pause);
            let name = step.operation.name();
            let done = self.operate(step.operation);
            let done = done.with_context(|| format!("step {} failed: {:?}", step.number, step.operation))?;
            *outcome.operations.entry(name).or_default() += u64::from(done);
        }
        Ok(())
    }

    /// Ends the senders, waits for the last packets, puts the subscriptions back, ends the process, and judges.
    fn finish(&mut self, outcome: &mut Outcome) -> Result<()> {
        self.await_flow()?;
        self.clients.clear();
        let ends = self.sender.stop();
        if let Some(leaking) = self.leaking.take() {
            outcome.leaked = leaking.finish()?;
            outcome.faults.append(&mut outcome.leaked.faults);
        }
        let figures = self.drain()?;
        for (stream, end) in ends.into_iter().enumerate() {
            self.model.relax(stream, end);
        }
        let losses = self.losses(&figures)?;
        self.model.end_epoch(losses);
        self.restore()?;
        self.compare_resources(outcome)?;
        let subject = self.subject.take().context("a process runs")?;
        let (status, summary, log) = subject.stop()?;
        self.judge(outcome, &figures, &summary);
        outcome.sent = ends.iter().sum();
        if log.contains("panicked") {
            outcome.faults.push(format!("the receiver panicked:{log}"));
        }
        // A sink that could not write is reported by the exit code.
        let is_right = status.success() || (self.plan.full_disk && status.code() == Some(1));
        if !is_right {
            outcome.faults.push(format!("the receiver ended with {status}:{log}"));
        }
        if let Err(error) = self.ground.wait_until_clean(PATIENCE) {
            outcome.faults.push(format!("the interface is not clean after the end: {error:#}"));
        }
        if self.start.control.exists() {
            outcome.faults.push("the control socket is left behind".to_owned());
        }
        Ok(())
    }

    fn judge(&self, outcome: &mut Outcome, figures: &Figures, summary: &Value) {
        let received = self.consumer.received().clone();
        outcome.judgement = self.model.judge(&received);
        outcome.faults.append(&mut outcome.judgement.faults);
        outcome.faults.extend(received.faults);
        outcome.came = received.packets;
        outcome.spoiled = received.duplicates + received.wrong;
        let last = Figures::read(summary);
        outcome.unaccounted = last.unaccounted.unwrap_or(0);
        if last.unaccounted != Some(0) {
            outcome.faults.push(format!("unaccounted is {}: {}", summary["unaccounted"], summary["ledger"]));
        }
        if summary["packets"].as_u64() != Some(last.packets) {
            let shown = &summary["packets"];
            outcome.faults.push(format!("the summary shows {shown} packets, and the ledger {}", last.packets));
        }
        if !self.is_balanced(figures) {
            outcome.faults.push(format!(
                "the run handed {} datagrams over; its sink wrote {} and dropped {}",
                figures.packets, figures.written, figures.dropped
            ));
        }
        if let Some(before) = self.came_before
            && received.packets - before != figures.written
        {
            outcome.faults.push(format!(
                "the sink wrote {} datagrams, and {} came",
                figures.written,
                received.packets - before
            ));
        }
    }

    /// Returns true if the sink took all that was handed over. A feed passes on what it gets from one leg alone.
    fn is_balanced(&self, figures: &Figures) -> bool {
        self.plan.feed || figures.packets == figures.written + figures.dropped
    }

    /// Waits until nothing moves any more.
    fn drain(&mut self) -> Result<Figures> {
        let deadline = Instant::now() + PATIENCE;
        let (mut before, mut quiet) = (None, 0);
        loop {
            std::thread::sleep(Duration::from_millis(150));
            let came = self.consumer.received().packets;
            let figures = self.subject()?.figures()?;
            let state = (came, figures.packets, figures.written, figures.dropped, figures.in_flight);
            let is_still = figures.in_flight == 0 && self.is_balanced(&figures);
            quiet = if is_still && before == Some(state) { quiet + 1 } else { 0 };
            if quiet >= 3 {
                return Ok(figures);
            }
            before = Some(state);
            if Instant::now() > deadline {
                bail!("the receiver does not come to rest: {figures}");
            }
        }
    }

    /// Subscribes what the process began with, so that its descriptors can be compared.
    fn restore(&mut self) -> Result<()> {
        let wanted = Subscribed::at_the_start(3);
        for group in MOVING {
            let (now, then) = (self.model.subscribed.filters[group], wanted.filters[group]);
            if now != Filter::Absent && now != then {
                self.operate(Operation::Leave { group })?;
            }
            if then != Filter::Absent && now != then {
                self.operate(Operation::Join { group, filter: then })?;
            }
        }
        if self.model.subscribed.filters[OF_FILE] != wanted.filters[OF_FILE] {
            self.operate(Operation::Reload { mask: 3 })?;
        }
        Ok(())
    }

    fn compare_resources(&mut self, outcome: &mut Outcome) -> Result<()> {
        let fresh = self.fresh;
        let deadline = Instant::now() + PATIENCE;
        // Threads of clients that have gone end a moment later.
        let now = loop {
            let now = self.subject()?.resources()?;
            if now.descriptors <= fresh.descriptors + DESCRIPTOR_SPAN || Instant::now() > deadline {
                break now;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        outcome.memory = now.memory as i64 - fresh.memory as i64;
        outcome.descriptors = now.descriptors as i64 - fresh.descriptors as i64;
        if now.memory > fresh.memory + MEMORY_SPAN {
            outcome.faults.push(format!("memory grew from {} KiB to {} KiB", fresh.memory, now.memory));
        }
        if now.descriptors > fresh.descriptors + DESCRIPTOR_SPAN {
            let (before, now) = (fresh.descriptors, now.descriptors);
            outcome.faults.push(format!("open descriptors grew from {before} to {now}"));
        }
        Ok(())
    }

    /// The process.
    pub(crate) fn subject(&mut self) -> Result<&mut Subject> {
        self.subject.as_mut().context("no process runs")
    }

    /// Writes the configuration file, with these sources of the file's group.
    pub(crate) fn write_config(&self, mask: u8) -> Result<()> {
        let filters = Subscribed::at_the_start(mask).filters;
        let mut text = String::new();
        for (group, filter) in filters.into_iter().enumerate().filter(|(_, filter)| *filter != Filter::Absent) {
            // The legs of a feed are two subscriptions.
            let parts = if group == 0 && self.plan.feed { [1, 2].map(Filter::Include).to_vec() } else { vec![filter] };
            for (number, filter) in parts.into_iter().enumerate() {
                let address = self.plan.family.subscription(group, filter);
                text += &format!("[[subscription]]\nname = \"group-{group}-{number}\"\naddress = \"{address}\"\n");
            }
        }
        if self.plan.feed {
            text += "[[feed]]\nprotocol = \"rtp\"\nlegs = [\"group-0-0\", \"group-0-1\"]\n";
        }
        debug_assert_eq!(filters[OF_FILE], of_file(mask));
        self.write_config_text(&text)
    }

    /// Replaces the configuration file.
    pub(crate) fn write_config_text(&self, text: &str) -> Result<()> {
        let new = self.start.config.with_extension("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &self.start.config)).context("cannot write a file")
    }

    /// Lost packets by cause, as counted until now.
    fn losses(&self, figures: &Figures) -> Result<Losses> {
        let mut losses: Losses = LOST.iter().map(|&cause| (cause, figures.count(cause))).collect();
        losses.insert("sink", figures.dropped);
        losses.insert("sending interface", self.ground.report(false)?.tx_dropped);
        Ok(losses)
    }

    /// The first packet of a stream that may not have been processed yet.
    pub(crate) fn frontier(&self, stream: usize) -> u64 {
        let (round, highest) = {
            let received = self.consumer.received();
            (received.round, received.streams[stream].highest)
        };
        let back = ROUNDS_BACK[usize::from(self.plan.queues > 1)];
        let processed = self.sender.at_round(stream, round.saturating_sub(back));
        // The packets of a stream all come by one queue.
        if self.model.wants(stream) { (highest.unwrap_or(0) + 1).saturating_sub(GUARD) } else { processed }
    }

    /// Waits until a packet of each wanted stream has come that was sent after now.
    pub(crate) fn await_flow(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let marks = self.marks();
        loop {
            let silent = self.silent(&marks);
            if silent.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let figures = self.subject()?.figures()?;
                bail!("nothing came of streams {silent:?} for {} s: {figures}", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The first packet of each wanted stream that is surely sent after this moment.
    fn marks(&self) -> Vec<(usize, u64)> {
        self.model.wanted().map(|stream| (stream, self.sender.after_now(stream))).collect()
    }

    /// Streams of which nothing came from these packets on.
    fn silent(&self, marks: &[(usize, u64)]) -> Vec<usize> {
        let received = self.consumer.received();
        let silent = marks.iter().filter(|(stream, mark)| received.streams[*stream].highest.is_none_or(|h| h < *mark));
        silent.map(|(stream, _)| *stream).collect()
    }

    /// Ends the epoch, before something that may lose packets without a count. Returns the figures before it.
    pub(crate) fn begin_outage(&mut self) -> Result<Figures> {
        self.await_flow()?;
        let ends: Vec<(usize, u64)> = self.model.wanted().map(|stream| (stream, self.frontier(stream))).collect();
        // What is processed until here is in the counters that are read now.
        let figures = self.subject()?.figures()?;
        let losses = self.losses(&figures)?;
        for (stream, end) in ends {
            self.model.relax(stream, end);
        }
        self.model.end_epoch(losses);
        Ok(figures)
    }

    /// Waits until the receiver has recovered, and stays so for this time. Then an epoch begins.
    pub(crate) fn end_outage(&mut self, settle: Duration, has_noticed: impl Fn(&Figures) -> bool) -> Result<()> {
        ensure!(!self.model.is_whole(), "an epoch goes on");
        let deadline = Instant::now() + PATIENCE;
        let mut marks = self.marks();
        let mut since: Option<(Instant, u64)> = None;
        loop {
            let figures = self.subject()?.figures()?;
            let silent = self.silent(&marks);
            let not_joined = self.ground.not_joined(&self.model.subscribed.filters)?;
            let is_well = figures.link_up && has_noticed(&figures) && not_joined.is_empty() && silent.is_empty();
            let outages = figures.count("link_outages");
            since = match since {
                Some((since, before)) if is_well && before == outages => {
                    if since.elapsed() >= settle {
                        break;
                    }
                    Some((since, before))
                }
                _ => is_well.then(|| (Instant::now(), outages)),
            };
            if is_well {
                // The next look wants newer packets.
                marks = self.marks();
            }
            if Instant::now() > deadline {
                let subscribed = self.model.subscribed.filters;
                bail!(
                    "the receiver has not recovered within {} s: streams {silent:?} are silent; the outage was \
                     noticed: {}; the kernel lacks {not_joined:?}; subscribed: {subscribed:?}; {figures}",
                    PATIENCE.as_secs(),
                    has_noticed(&figures)
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.await_flow()?;
        let figures = self.subject()?.figures()?;
        let losses = self.losses(&figures)?;
        self.model.begin_epoch(losses);
        for (stream, first) in self.marks() {
            self.model.expect(stream, first);
        }
        Ok(())
    }

    /// What the run lists.
    pub(crate) fn listed(&mut self) -> Result<[Filter; GROUPS]> {
        let list = self.subject()?.demand(&serde_json::json!({"request": "list"}))?;
        let mut listed = [Filter::Absent; GROUPS];
        let family = self.plan.family;
        for entry in list["subscriptions"].as_array().into_iter().flatten() {
            let text = entry["subscription"].as_str().unwrap_or_default();
            let group = (0..GROUPS).find(|&group| text.ends_with(&family.group_and_port(group)));
            let group = group.with_context(|| format!("the run lists {text}, to which nobody subscribed"))?;
            let sources = entry["sources"].as_array().into_iter().flatten();
            let mut mask = 0;
            for address in sources.filter_map(Value::as_str) {
                mask |= (0..8).find(|&n| family.source(n).to_string() == address).map_or(0, |n| 1 << n);
            }
            listed[group] = match listed[group] {
                _ if entry["filter_mode"] == "exclude" => Filter::Exclude(mask),
                Filter::Include(more) => Filter::Include(mask | more),
                _ => Filter::Include(mask),
            };
        }
        Ok(listed)
    }

    /// Compares what the run lists with the model.
    pub(crate) fn check_list(&mut self) -> Result<()> {
        let listed = self.listed()?;
        ensure!(
            listed == self.model.subscribed.filters,
            "the run lists {listed:?}, and has been asked for {:?}",
            self.model.subscribed.filters
        );
        Ok(())
    }
}

/// A folder with a small disk in it, perhaps. Dropping this value removes both.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("receiver-torture-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }

    /// Mounts a file system of 256 KiB.
    fn disk(&self) -> Result<PathBuf> {
        let path = self.0.join("disk");
        fs::create_dir(&path)?;
        let options = ["-t", "tmpfs", "-o", "size=256k", "tmpfs"];
        let status = Command::new("mount").args(options).arg(&path).status().context("cannot run `mount`")?;
        ensure!(status.success(), "cannot mount a small file system on {} ({status})", path.display());
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let disk = self.0.join("disk");
        if disk.exists() {
            let _ = Command::new("umount").arg("--lazy").arg(&disk).status();
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}
