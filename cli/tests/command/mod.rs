//! The built command in the lab's receiving namespace, and files for it.
#![allow(dead_code)] // Each test binary uses its part.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver_send::{SendConfig, SendReport, Sender};
use rustix::fs::{FileType, Mode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Two sources of one group and port.
pub const WANTED: &str = "10.0.0.1,10.0.0.2@232.1.1.1:5000";
/// Longer than any run here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Starts the words of a shell in the receiving namespace, on a terminal that `script` gives them. It ends with their
/// exit code, and stops reading from the terminal when nobody reads from its standard output.
pub fn on_a_terminal(lab: &Lab, words: &str) -> Child {
    lab.rx()
        .command("script")
        .args(["-q", "-e", "-c", words, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script (Debian: bsdutils)")
}

/// Starts the words of a shell in the receiving namespace. Returns it, and its standard error.
pub fn shell(lab: &Lab, words: &str) -> (Child, BufReader<ChildStderr>) {
    let mut command = lab.rx().command("sh");
    command.args(["-c", words]).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("sh");
    let err = BufReader::new(child.stderr.take().expect("a pipe"));
    (child, err)
}

/// Reads lines of a receiver's standard error until one reports that its subscription is joined.
pub fn until_subscribed(err: &mut impl BufRead) {
    let mut line = String::new();
    while !line.contains("1 subscription") {
        line.clear();
        assert!(err.read_line(&mut line).expect("standard error") > 0, "it ended");
    }
}

/// The number that an environment variable has, or else the default.
pub fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// A receiver that runs in the lab. Dropping this value kills it.
pub struct Run {
    pub child: Child,
    pub out: BufReader<ChildStdout>,
    pub err: BufReader<ChildStderr>,
}

impl Run {
    pub fn start(lab: &Lab, arguments: &[&str]) -> Self {
        Self::start_in(lab, arguments, &[])
    }

    /// With these environment variables.
    pub fn start_in(lab: &Lab, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
        for (name, value) in environment {
            command.env(name, value);
        }
        command.args(["run", "-i", lab.rx_interface()]).args(arguments);
        Self::spawn(&mut command)
    }

    /// Starts a command that becomes `receiver run`.
    pub fn spawn(command: &mut netlab::Command) -> Self {
        let mut child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the receiver starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let err = BufReader::new(child.stderr.take().expect("a pipe"));
        Self { child, out, err }
    }

    /// As [`Run::start`], and waits until everything is joined. Returns the line that reports it.
    pub fn joined(lab: &Lab, arguments: &[&str]) -> (Self, String) {
        Self::joined_in(lab, arguments, &[])
    }

    /// As [`Run::joined`], with these environment variables.
    pub fn joined_in(lab: &Lab, arguments: &[&str], environment: &[(&str, &str)]) -> (Self, String) {
        Self::start_in(lab, arguments, environment).until_joined()
    }

    /// Waits until everything is joined. Returns the line that reports it.
    pub fn until_joined(mut self) -> (Self, String) {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("standard output");
        if line.is_empty() {
            panic!("it ended: {:?}", self.end());
        }
        (self, line)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("a signal");
    }

    /// Waits for the end while nobody reads what it writes. Returns its exit code.
    pub fn end_unread(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => return status.code(),
                None if Instant::now() < deadline => sleep(Duration::from_millis(10)),
                None => panic!("it does not end while nobody reads"),
            }
        }
    }

    /// Waits for the end. Returns standard output, standard error and the exit code.
    pub fn end(mut self) -> (String, String, Option<i32>) {
        fn all(from: &mut (impl Read + Send)) -> String {
            let mut text = String::new();
            from.read_to_string(&mut text).expect("text");
            text
        }
        let (out, err) = (&mut self.out, &mut self.err);
        let child = &mut self.child;
        // A full pipe would keep the command from ending.
        std::thread::scope(|scope| {
            let (out, err) = (scope.spawn(|| all(out)), scope.spawn(|| all(err)));
            let deadline = Instant::now() + PATIENCE;
            while child.try_wait().expect("a child").is_none() && Instant::now() < deadline {
                sleep(Duration::from_millis(10));
            }
            let hangs = child.try_wait().expect("a child").is_none();
            let _ = child.kill();
            let code = child.wait().expect("a child").code();
            let (out, err) = (out.join().expect("a thread"), err.join().expect("a thread"));
            assert!(!hangs, "it does not end: {out} {err}");
            (out, err, code)
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path. Dropping this value removes its file.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("receiver-run-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    pub fn name(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }

    /// With this content.
    pub fn with(content: impl AsRef<[u8]>) -> Self {
        let this = Self::new();
        fs::write(&this.0, content).expect("a file");
        this
    }

    pub fn fifo() -> Self {
        let this = Self::new();
        rustix::fs::mknodat(rustix::fs::CWD, &this.0, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("mkfifo");
        this
    }

    pub fn read(&self) -> Vec<u8> {
        fs::read(&self.0).expect("the file is there")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A folder. Dropping this value removes it with all that it holds.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = Scratch::new().0.clone();
        fs::create_dir(&path).expect("a folder");
        Self(path)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// As [`Folder::file`], for an argument.
    pub fn text(&self, name: &str) -> String {
        self.file(name).to_str().expect("UTF-8").to_owned()
    }

    /// The names of its files, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A folder that is a file system of its own. Dropping this value removes both.
pub struct Disk(pub Folder);

impl Disk {
    pub fn new(size: &str) -> Self {
        let this = Self(Folder::new());
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&this.0.0).status();
        assert!(mounted.expect("mount").success());
        this
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).status();
    }
}

/// Waits until this is so, and panics if it takes longer than [`PATIENCE`].
pub fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10));
    }
}

/// Sends `count` probes to 232.1.1.1:5000, from each source in turn.
pub fn send(lab: &Lab, sources: &[&str], count: u64) -> SendReport {
    send_with(lab, sources, count, |_| {})
}

pub fn send_with(lab: &Lab, sources: &[&str], count: u64, change: impl FnOnce(&mut SendConfig)) -> SendReport {
    let mut config = SendConfig::new(lab.tx_interface(), IpAddr::from([232, 1, 1, 1]), 5000);
    config.sources = sources.iter().map(|source| source.parse().expect("an address")).collect();
    (config.traffic.rate, config.traffic.count) = (20_000, Some(count));
    change(&mut config);
    let sent = lab.tx().run(|| Sender::new(config)?.run(&AtomicBool::new(false))).expect("the namespace");
    sent.unwrap_or_else(|error| panic!("{error}"))
}

/// A socket of the sending namespace: address 10.0.0.`last`, port 4000.
pub fn source(lab: &Lab, last: u8) -> UdpSocket {
    let socket = lab.tx().run(|| UdpSocket::bind((Ipv4Addr::new(10, 0, 0, last), 4000))).expect("the namespace");
    socket.expect("a socket")
}

/// Sends these payloads from 10.0.0.1.
pub fn send_payloads(lab: &Lab, payloads: &[Vec<u8>]) {
    let socket = source(lab, 1);
    for payload in payloads {
        socket.send_to(payload, "232.1.1.1:5000").expect("sent");
    }
}

pub fn object(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

pub fn last_object(out: &str) -> Value {
    object(out.lines().last().expect("at least one line"))
}

/// Returns true if the ledger that a summary shows as text has this cause.
pub fn is_in_the_ledger(summary: &str, cause: &str) -> bool {
    let causes = summary.lines().find_map(|line| line.strip_prefix("ledger: "));
    causes
        .is_some_and(|causes| causes.split(", ").any(|one| one.split_once(' ').is_some_and(|(name, _)| name == cause)))
}

/// Runs the command to its end.
pub fn output(lab: &Lab, arguments: &[&str]) -> Output {
    let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
    command.arg("run").args(arguments).env_remove("RUST_LOG").output().expect("the receiver runs")
}
