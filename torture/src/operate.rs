//! How each operation is done, and what the model then expects.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::{Value, json};

use crate::episode::{Episode, PATIENCE};
use crate::frames::send_query;
use crate::operation::{Client, Operation};
use crate::plan::{Subscribed, of_file};
use crate::program::{Foreign, detach};
use crate::stream::{Filter, OF_FILE, SOURCES, STREAMS, stream};

/// After memberships were restored, the receiver checks them more often for two seconds: Linux may lose some again.
const SETTLE: Duration = Duration::from_millis(2_300);
/// After a change that takes no memberships along.
const SHORT_SETTLE: Duration = Duration::from_millis(700);
/// Clients that misbehave and stay.
const MOST_CLIENTS: usize = 10;
/// Memory that is left, in bytes: less than the stack of a thread, and than a ring.
const LITTLE_MEMORY: u64 = 1 << 20;
/// A group that only one operation asks for.
const EXTRA: [&str; 2] = ["10.9.0.1@232.9.9.9:5077", "[2001:db8:9::1]@[ff3e::9:99]:5077"];

impl Episode {
    /// Does an operation. Returns false if it does not apply to the episode's mode.
    pub(crate) fn operate(&mut self, operation: Operation) -> Result<bool> {
        match operation {
            Operation::Join { .. }
            | Operation::Leave { .. }
            | Operation::Block { .. }
            | Operation::Unblock { .. }
            | Operation::SetSources { .. } => return self.change(operation),
            // Without a change nothing would show that the reload is over.
            Operation::Hangup { mask } if of_file(mask) == self.model.subscribed.filters[OF_FILE] => return Ok(false),
            Operation::Reload { mask } | Operation::Hangup { mask } => {
                self.write_config(mask)?;
                self.change(operation)?;
                self.model.subscribed.file = mask;
            }
            Operation::BadReload { kind } => self.reload_wrong_file(kind)?,
            Operation::Flap { rx, time } => {
                self.outage(|this| {
                    this.ground.set_up(rx, false)?;
                    std::thread::sleep(time);
                    this.ground.set_up(rx, true)
                })?;
            }
            Operation::Remake { same_index } => self.outage(|this| this.ground.remake(same_index))?,
            Operation::Rename => self.rename()?,
            Operation::Move { up, time } => self.outage(|this| this.ground.move_away_and_back(up, time))?,
            Operation::Mtu { bytes } => {
                let before = self.begin_outage()?;
                let has_changed = self.ground.set_mtu(bytes)?;
                let events = before.event("mtu_changed");
                self.end_outage(SHORT_SETTLE, |now| !has_changed || now.event("mtu_changed") > events)?;
            }
            Operation::Addresses { time } => {
                self.begin_outage()?;
                self.ground.remove_addresses()?;
                std::thread::sleep(time);
                self.ground.restore_addresses()?;
                self.end_outage(SETTLE, |_| true)?;
            }
            Operation::Queues { count } => {
                self.begin_outage()?;
                self.ground.set_queues(count);
                self.end_outage(SETTLE, |_| true)?;
            }
            Operation::Query { querier } => send_query(&self.ground.tx, querier)?,
            Operation::Suspend { time } => {
                self.subject()?.signal(Signal::STOP)?;
                std::thread::sleep(time);
                self.subject()?.signal(Signal::CONT)?;
            }
            Operation::Kill => self.kill_and_restart()?,
            Operation::Stall { time } => self.consumer.stall(time),
            Operation::Slow { time } => self.consumer.slow_down(time),
            Operation::CloseConsumer { time } => {
                self.begin_outage()?;
                self.consumer.close_for(time);
                // Packets in the queue of the socket went with it.
                self.came_before = None;
                self.end_outage(Duration::ZERO, |_| true)?;
            }
            Operation::Misbehave { client } => self.misbehave(client)?,
            Operation::Descriptors => self.exhaust_descriptors()?,
            Operation::LockedMemory => self.remake_without_locked_memory()?,
            Operation::Memory => self.remake_without_memory()?,
            Operation::Detach => return self.detach_for(None),
            Operation::Foreign { time } => return self.detach_for(Some(time)),
        }
        Ok(true)
    }

    /// Does what takes the link down, and waits until the receiver has recorded the outage and recovered.
    fn outage(&mut self, fault: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let before = self.begin_outage()?.count("link_outages");
        fault(self)?;
        self.end_outage(SETTLE, |now| now.count("link_outages") > before)
    }

    /// Asks for a change of a subscription. Streams that it does not concern lose nothing.
    fn change(&mut self, operation: Operation) -> Result<bool> {
        let Some((group, asked)) = self.model.subscribed.asked(operation) else { return Ok(false) };
        let old = self.model.subscribed.filters[group];
        let new = asked.unwrap_or(old);
        let concerned: Vec<usize> = (0..SOURCES)
            .filter(|&source| old.wants(source) != new.wants(source))
            .map(|source| stream(group, source))
            .collect();
        if concerned.iter().any(|&stream| self.model.is_expected(stream)) {
            self.await_flow()?;
        }
        for &stream in &concerned {
            self.model.relax(stream, self.frontier(stream));
        }
        let request = self.request(operation);
        let reply = match operation {
            Operation::Hangup { .. } => self.hang_up(group, new)?,
            _ => self.subject()?.ask(&request)?,
        };
        let is_accepted = reply["ok"] == true;
        // What is so already may be confirmed or refused.
        if asked != Ok(old) {
            ensure!(is_accepted == asked.is_ok(), "{request} with {old:?} was answered {reply}");
        }
        self.model.subscribed.filters[group] = new;
        for &stream in &concerned {
            self.model.expect(stream, self.sender.after_now(stream));
        }
        self.check_list()?;
        Ok(true)
    }

    /// Sends SIGHUP, and waits until the run lists the filter. Returns the reply of a change that comes after it.
    fn hang_up(&mut self, group: usize, filter: Filter) -> Result<Value> {
        self.subject()?.signal(Signal::HUP)?;
        let deadline = Instant::now() + PATIENCE;
        while self.listed()?[group] != filter {
            ensure!(Instant::now() < deadline, "SIGHUP did not make the run subscribe {filter:?} of group {group}");
            std::thread::sleep(Duration::from_millis(10));
        }
        // Changes are made one after another: when this one is answered, the reload is complete.
        self.subject()?.ask(&json!({"request": "log-level", "level": "warn"}))
    }

    fn request(&self, operation: Operation) -> Value {
        let family = self.plan.family;
        match operation {
            Operation::Join { group, filter } => {
                json!({"request": "join", "subscription": family.subscription(group, filter)})
            }
            Operation::Leave { group } => json!({"request": "leave", "subscription": family.group_and_port(group)}),
            Operation::Block { group, source } => {
                let source = family.source(source);
                json!({"request": "block", "subscription": family.group_and_port(group), "source": source})
            }
            Operation::Unblock { group, source } => {
                let source = family.source(source);
                json!({"request": "unblock", "subscription": family.group_and_port(group), "source": source})
            }
            Operation::SetSources { group, mask } => {
                let sources: Vec<_> =
                    (0..SOURCES).filter(|s| mask & (1 << s) != 0).map(|source| family.source(source)).collect();
                json!({"request": "set-sources", "subscription": family.group_and_port(group), "sources": sources})
            }
            _ => json!({"request": "reload"}),
        }
    }

    fn reload_wrong_file(&mut self, kind: u8) -> Result<()> {
        let text = match kind {
            0 => "mode = \"fast\"\n".to_owned(),
            1 => "[[subscription]]\nname = \"x\"\n".to_owned(),
            2 => "\u{0}[[[".to_owned(),
            _ => format!("[[subscription]]\naddress = \"{}:99999\"\n", self.plan.family.group(1)),
        };
        self.write_config_text(&text)?;
        let reply = self.subject()?.ask(&json!({"request": "reload"}))?;
        ensure!(reply["ok"] == false, "a wrong configuration was accepted: {text}: {reply}");
        self.write_config(self.model.subscribed.file)?;
        self.check_list()
    }

    /// No packet is lost by a new name.
    fn rename(&mut self) -> Result<()> {
        let before = self.subject()?.figures()?.event("renamed");
        self.ground.rename()?;
        let deadline = Instant::now() + PATIENCE;
        while self.subject()?.figures()?.event("renamed") == before {
            ensure!(Instant::now() < deadline, "the receiver does not notice the new name");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn kill_and_restart(&mut self) -> Result<()> {
        self.begin_outage()?;
        self.clients.clear();
        if let Some(subject) = self.subject.take() {
            subject.kill()?;
        }
        self.ground.wait_until_clean(PATIENCE)?;
        // What the new process wants may come from its start on.
        let subscribed = Subscribed::at_the_start(self.model.subscribed.file);
        for stream in 0..STREAMS {
            self.model.relax(stream, self.frontier(stream));
        }
        self.model.subscribed = subscribed;
        self.start_subject()
    }

    fn misbehave(&mut self, client: Client) -> Result<()> {
        let mut stream = self.subject()?.connect()?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        // The run may close such a connection, or read no more from it.
        match client {
            Client::Garbage => drop(stream.write_all(b"garbage \xff\xfe\n\n\n{}\n[1]\n{\"request\":\"lists\"}\n")),
            Client::Hanging => drop(stream.write_all(b"{\"request\":\"li")),
            Client::Flooding => drop(stream.write_all(&b"{\"request\":\"stats\"}\n".repeat(200))),
            Client::Endless => drop(stream.write_all(&vec![b'x'; 300_000])),
            Client::Crowd => {
                let crowd: Vec<_> = (0..40).map_while(|_| self.subject().and_then(|run| run.connect()).ok()).collect();
                std::thread::sleep(Duration::from_millis(200));
                drop(crowd);
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.clients.push(stream);
        if self.clients.len() > MOST_CLIENTS {
            self.clients.remove(0);
        }
        self.check_list()
    }

    /// A request that takes a descriptor is refused and changes nothing, or done.
    fn exhaust_descriptors(&mut self) -> Result<()> {
        let subject = self.subject()?;
        let (pid, count) = (subject.pid()?, subject.resources()?.descriptors);
        let old =
            prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(count), ..limits(pid, "Max open files")? })?;
        let extra = EXTRA[usize::from(self.plan.family == crate::stream::Family::V6)];
        let clients: Vec<_> = (0..3).map(|_| self.subject().and_then(|subject| subject.connect())).collect();
        let reply = self.subject()?.ask(&json!({"request": "join", "subscription": extra}));
        std::thread::sleep(Duration::from_millis(100));
        prlimit(Some(pid), Resource::Nofile, old)?;
        drop(clients);
        if reply?["ok"] == true {
            self.subject()?.demand(&json!({"request": "leave", "subscription": extra}))?;
        }
        self.check_list()
    }

    /// AF_XDP needs memory that it may lock: the receiver tries until it gets it.
    fn remake_without_locked_memory(&mut self) -> Result<()> {
        self.outage(|this| {
            let pid = this.subject()?.pid()?;
            // A hard limit that was lowered could not be raised again without CAP_SYS_RESOURCE.
            let none = Rlimit { current: Some(0), ..limits(pid, "Max locked memory")? };
            let old = prlimit(Some(pid), Resource::Memlock, none)?;
            let made = this.ground.remake(false);
            std::thread::sleep(Duration::from_millis(500));
            prlimit(Some(pid), Resource::Memlock, old)?;
            made
        })
    }

    /// Rings and threads get no memory, and what is small does: the receiver tries until it gets more.
    fn remake_without_memory(&mut self) -> Result<()> {
        self.outage(|this| {
            let pid = this.subject()?.pid()?;
            let now = size(pid)? + LITTLE_MEMORY;
            let none = Rlimit { current: Some(now), ..limits(pid, "Max address space")? };
            let old = prlimit(Some(pid), Resource::As, none)?;
            let made = this.ground.remake(false);
            let clients: Vec<_> = (0..3).map(|_| this.subject().and_then(|subject| subject.connect())).collect();
            std::thread::sleep(Duration::from_millis(500));
            prlimit(Some(pid), Resource::As, old)?;
            drop(clients);
            made
        })
    }

    /// Detaches the program. Another one may take its place for this time.
    fn detach_for(&mut self, foreign: Option<Duration>) -> Result<bool> {
        if self.plan.mode == "socket" {
            return Ok(false);
        }
        self.outage(|this| {
            ensure!(detach(this.subject()?.pid()?)?, "the receiver has no XDP program");
            if let Some(time) = foreign {
                let is_generic = this.plan.mode == "generic";
                let program = Foreign::attach(&this.ground.rx, &this.ground.rx_name, is_generic)?;
                std::thread::sleep(time);
                drop(program);
            }
            Ok(())
        })?;
        Ok(true)
    }
}

/// The address space of a process, in bytes.
fn size(pid: Pid) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmSize:")).context("no VmSize")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("VmSize {line}"))?;
    Ok(kibibytes << 10)
}

/// A limit of a process, by the name that /proc has for it, which is of three words.
fn limits(pid: Pid, name: &str) -> Result<Rlimit> {
    let text = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero()))?;
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let mut words = line.split_whitespace().skip(3).map(|word| word.parse().ok());
    Ok(Rlimit { current: words.next().flatten(), maximum: words.next().flatten() })
}
