//! `receiver run` as a service of systemd: what it reports to a service manager's socket, and when its heartbeat ends.
//! Needs root.

mod command;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use command::{PATIENCE, Run, Scratch, WANTED, send};
use netlab::Lab;
use rustix::process::Signal;

/// The service manager's limit between two heartbeats; they come twice as often.
const LIMIT: Duration = Duration::from_secs(1);
const LIMIT_MICROSECONDS: &str = "1000000";
const HEARTBEAT: &str = "WATCHDOG=1";

/// The service manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: Scratch,
}

impl Manager {
    fn new() -> Self {
        let path = Scratch::new();
        Self { socket: UnixDatagram::bind(&path.0).expect("a socket"), path }
    }

    /// The next message, if one comes within this time.
    fn next(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).expect("a timeout");
        let mut buffer = [0; 10_000];
        match self.socket.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8(buffer[..length].to_vec()).expect("text")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits for a message with this part. Returns it.
    fn wait_for(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while Instant::now() < deadline {
            if let Some(message) = self.next(Duration::from_millis(100)) {
                if message.contains(part) {
                    return message;
                }
                seen.push(message);
            }
        }
        panic!("no `{part}` came, but {seen:?}");
    }

    /// Waits until no heartbeat comes for three times the limit.
    fn wait_for_silence(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Instant::now();
        while last.elapsed() < 3 * LIMIT {
            if self.next(Duration::from_millis(100)).is_some_and(|message| message.contains(HEARTBEAT)) {
                last = Instant::now();
                assert!(last < deadline, "the heartbeat does not end");
            }
        }
    }

    fn run(&self, lab: &Lab, arguments: &[&str], more: &[(&str, &str)]) -> Run {
        let environment: Vec<_> = [("NOTIFY_SOCKET", self.path.name())].iter().chain(more).copied().collect();
        Run::start_in(lab, arguments, &environment)
    }
}

#[test]
fn the_manager_learns_of_the_start_the_rates_and_the_end() {
    let lab = Lab::new().expect("a lab");
    let manager = Manager::new();
    let run = manager.run(&lab, &["--mode", "mapped", "239.1.1.1:5001", WANTED], &[]);
    let first = manager.next(PATIENCE).expect("a message");
    assert_eq!(first, "READY=1\nSTATUS=veth-rx, mapped: 2 subscriptions joined\n");
    let joined = lab.rx().run(|| fs::read_to_string("/proc/thread-self/net/igmp")).expect("run").expect("a file");
    assert!(joined.contains("010101E8"), "it was ready before it had joined: {joined}");
    send(&lab, &["10.0.0.1", "10.0.0.3"], 2000);
    let status = manager.wait_for("1 of 2 subscriptions silent");
    assert!(status.starts_with("STATUS=veth-rx, mapped: ") && status.ends_with("; 0 dropped\n"), "{status}");
    assert!(status.contains("packets/s, ") && !status.contains(": 0 packets/s"), "{status}");
    manager.wait_for("2 of 2 subscriptions silent");
    run.signal(Signal::TERM);
    let last = manager.wait_for("STOPPING=1");
    assert!(last.contains("STATUS=stopping"), "{last}");
    let (out, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert_eq!(manager.next(Duration::from_millis(10)), None, "a heartbeat that nobody asked for");
}

#[test]
fn the_manager_learns_why_a_start_failed() {
    let lab = Lab::new().expect("a lab");
    let manager = Manager::new();
    let (_, err, code) = manager.run(&lab, &["--subscriptions", "/nowhere"], &[]).end();
    assert_eq!(code, Some(1), "{err}");
    let message = manager.next(PATIENCE).expect("a message");
    assert!(message.starts_with("STATUS=") && message.contains("/nowhere"), "{message}");
    let (_, _, code) = manager.run(&lab, &["--require-xdp", "--mode", "socket", WANTED], &[]).end();
    let message = manager.next(PATIENCE).expect("a message");
    assert!(code != Some(0) && message.starts_with("STATUS=") && !message.contains("READY"), "{message}");
}

#[test]
fn a_process_that_is_stopped_has_no_heartbeat() {
    let lab = Lab::new().expect("a lab");
    let manager = Manager::new();
    let mut run =
        manager.run(&lab, &["--interval", "1000", "--mode", "copy", WANTED], &[("WATCHDOG_USEC", LIMIT_MICROSECONDS)]);
    manager.wait_for("READY=1");
    for _ in 0..4 {
        manager.wait_for(HEARTBEAT);
    }
    run.signal(Signal::STOP);
    manager.wait_for_silence();
    run.signal(Signal::CONT);
    manager.wait_for(HEARTBEAT);
    run.signal(Signal::TERM);
    assert_eq!(run.end_unread(), Some(0));
}

/// Without the variable nobody watches, and the variable of another process is not for this one.
#[test]
fn without_a_watchdog_of_its_own_a_process_sends_no_heartbeat() {
    for environment in [&[][..], &[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]] {
        let lab = Lab::new().expect("a lab");
        let manager = Manager::new();
        let mut run = manager.run(&lab, &["--mode", "socket", WANTED], environment);
        manager.wait_for("READY=1");
        for _ in 0..3 {
            let message = manager.next(PATIENCE).expect("a status");
            assert!(!message.contains(HEARTBEAT), "{message}");
        }
        run.signal(Signal::TERM);
        assert_eq!(run.end_unread(), Some(0));
    }
}

#[test]
fn a_receiving_thread_that_is_stuck_ends_the_heartbeat() {
    for (mode, thread) in [("mapped", "queue-0"), ("copy", "queue-0"), ("socket", "socket")] {
        let lab = Lab::new().expect("a lab");
        let (manager, file) = (Manager::new(), Scratch::with(""));
        let hang = format!("{thread}:{}", file.name());
        let mut run = manager.run(
            &lab,
            &["--mode", mode, "--output", "discard:", WANTED],
            &[("WATCHDOG_USEC", LIMIT_MICROSECONDS), ("RECEIVER_HANG", &hang)],
        );
        manager.wait_for("READY=1");
        for _ in 0..4 {
            manager.wait_for(HEARTBEAT);
        }
        send(&lab, &["10.0.0.1"], 1);
        manager.wait_for(&format!("STATUS=thread {thread} is stuck"));
        manager.wait_for_silence();
        fs::remove_file(&file.0).expect("the file");
        manager.wait_for(HEARTBEAT);
        manager.wait_for("subscription silent");
        run.signal(Signal::TERM);
        assert_eq!(run.end_unread(), Some(0), "mode {mode}");
    }
}

#[test]
fn a_main_thread_that_is_stuck_ends_the_heartbeat() {
    let lab = Lab::new().expect("a lab");
    let (manager, file) = (Manager::new(), Scratch::new());
    let hang = format!("main:{}", file.name());
    let environment = [("WATCHDOG_USEC", LIMIT_MICROSECONDS), ("RECEIVER_HANG", &hang)];
    let mut run = manager.run(&lab, &["--mode", "socket", WANTED], &environment);
    manager.wait_for(HEARTBEAT);
    manager.wait_for(HEARTBEAT);
    fs::write(&file.0, "").expect("a file");
    manager.wait_for_silence();
    fs::remove_file(&file.0).expect("the file");
    manager.wait_for(HEARTBEAT);
    run.signal(Signal::TERM);
    assert_eq!(run.end_unread(), Some(0));
}
