//! The dashboard on a terminal, by its keys: `receiver run --view dashboard` and `receiver top`. The built command in
//! two namespaces. Needs root.

mod command;

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::{PATIENCE, Run, Scratch, WANTED, send};
use netlab::Lab;
use rustix::process::{Pid, Signal, kill_process};

const RECEIVER: &str = env!("CARGO_BIN_EXE_receiver");
/// What ends the alternate screen.
const LEFT: &str = "\x1b[?1049l";

/// A terminal of 100 columns and 30 rows, on which a shell shows its settings, runs the command, and shows its exit
/// code and the settings again. Dropping this value kills the command.
struct Terminal {
    script: Child,
    keys: Option<ChildStdin>,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Terminal {
    fn start(lab: &Lab, words: &str, environment: &[(&str, &str)]) -> Self {
        let shell = format!(
            "stty cols 100 rows 30; echo tty=$(tty) before=$(stty -g); \
             sh -c 'echo pid=$$; exec {RECEIVER} {words}'; echo code=$? after=$(stty -g)"
        );
        let mut command = lab.rx().command("script");
        command.args(["-q", "-e", "-c", &shell, "/dev/null"]).env("TERM", "xterm").env("LANG", "C.UTF-8");
        for (name, value) in environment {
            command.env(name, value);
        }
        let mut script = command
            .env_remove("RUST_LOG")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script (Debian: bsdutils)");
        let (keys, mut out) = (script.stdin.take(), script.stdout.take().expect("a pipe"));
        let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sink = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                sink.lock().expect("no panic").extend_from_slice(&bytes[..count]);
            }
        });
        Self { script, keys, shown, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic")).into_owned()
    }

    /// The end of what was shown, for messages.
    fn latest(&self) -> String {
        let text = self.text();
        let from = text.char_indices().rev().nth(3000).map_or(0, |(at, _)| at);
        text[from..].to_owned()
    }

    /// The value behind `name=`.
    fn value(&self, name: &str) -> String {
        let text = self.text();
        let rest = text.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("no {name}: {text}")).1;
        rest.split_whitespace().next().unwrap_or_default().to_owned()
    }

    fn press(&mut self, keys: &str) {
        let pipe = self.keys.as_mut().expect("a pipe");
        pipe.write_all(keys.as_bytes()).and_then(|()| pipe.flush()).expect("the terminal reads");
    }

    /// Waits until the text was shown.
    fn until(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            assert!(Instant::now() < deadline, "{text} does not come: {:?}", self.latest());
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the dashboard shows the text, which may have changed cell by cell: the dashboard is drawn anew again
    /// and again.
    fn until_drawn(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let from = self.shown.lock().expect("no panic").len();
            self.press("\x0c");
            let next = Instant::now() + Duration::from_millis(400);
            while Instant::now() < next {
                if words(&self.shown.lock().expect("no panic")[from..]).contains(text) {
                    return;
                }
                sleep(Duration::from_millis(10));
            }
            assert!(Instant::now() < deadline, "{text} is not drawn: {:?}", self.latest());
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.value("pid").parse().ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a signal");
    }

    /// The terminal's settings now.
    fn settings(&self) -> String {
        let output = Command::new("stty").args(["-g", "-F", &self.value("tty")]).output().expect("stty");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits for the end. Returns the exit code and what was shown after the alternate screen, once the terminal is as
    /// it was before.
    fn end(mut self) -> (String, String) {
        self.until("after=");
        let deadline = Instant::now() + PATIENCE;
        while self.script.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < deadline, "script does not end: {:?}", self.latest());
            sleep(Duration::from_millis(10));
        }
        self.reader.take().map(|reader| reader.join()).transpose().expect("a thread");
        assert_eq!(self.value("before"), self.value("after"), "the settings: {:?}", self.latest());
        let text = self.text();
        let (before, after) = text.rsplit_once(LEFT).unwrap_or_else(|| panic!("the screen is not left: {text:?}"));
        assert!(before.contains("\x1b[?1049h") && before.ends_with("\x1b[?25h"), "the cursor is back: {text:?}");
        (self.value("code"), after.to_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let text = self.text();
        let pid = text.split_once("pid=").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        if let Some(pid) = pid.and_then(Pid::from_raw)
            && !text.contains("after=")
        {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// The words that a terminal would show, each with one space behind it: the dashboard moves the cursor over spaces.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut pieces = text.split("\x1b[");
    let mut all = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(0);
        all.push_str(if piece[end..].starts_with('H') { " " } else { "" });
        all.push_str(piece.get(end + 1..).unwrap_or_default());
    }
    all.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn dashboard(lab: &Lab, more: &str) -> Terminal {
    dashboard_in(lab, more, &[])
}

fn dashboard_in(lab: &Lab, more: &str, environment: &[(&str, &str)]) -> Terminal {
    let words = format!("run -i veth-rx --interval 0.2 --view dashboard {more} 239.1.1.1:6000 {WANTED}");
    Terminal::start(lab, &words, environment)
}

#[test]
fn a_run_is_shown_and_its_keys_work() {
    let lab = Lab::new().expect("a lab");
    let mut terminal = dashboard(&lab, "");
    terminal.until_drawn("2 of 2 never received");
    send(&lab, &["10.0.0.1", "10.0.0.3"], 200);
    terminal.until_drawn("1 of 2 SILENT, 1 never");
    terminal.until_drawn("dropped_not_included");
    // The silent one is the first row and selected.
    terminal.press("b10.0.0.2\r");
    terminal.until_drawn("10.0.0.2 is blocked on 10.0.0.1,10.0.0.2@232.1.1.1:5000");
    terminal.until_drawn("10.0.0.1@232.1.1.1:5000");
    terminal.press("b10.0.0.9\r");
    terminal.until_drawn("10.0.0.9 is none of its sources");
    terminal.press("j\r");
    terminal.until_drawn("why: no frame of group 239.1.1.1, port 6000, arrived");
    terminal.press("/239.1\r");
    terminal.until_drawn("filter `239.1`: 1 (Esc clears)");
    terminal.press("\x1b");
    sleep(Duration::from_millis(200));
    terminal.press("?");
    terminal.until_drawn("The dashboard");
    terminal.press("x5");
    terminal.until_drawn("not zero-copy: AF_XDP on veth-rx");
    terminal.press("q");
    terminal.until_drawn("end the run?");
    terminal.press("n");
    terminal.press("qy");
    let (code, after) = terminal.end();
    assert_eq!(code, "0", "{after}");
    assert!(after.contains("100 packets with 2.20 kB of payload"), "the summary follows: {after}");
}

#[test]
fn any_end_gives_the_terminal_back() {
    let lab = Lab::new().expect("a lab");
    for (what, environment, code) in [
        ("Ctrl-C", &[][..], "0"),
        ("SIGTERM", &[], "0"),
        ("--duration", &[], "0"),
        ("a panic", &[("RECEIVER_PANIC", "dashboard")], "101"),
        ("a panic of a worker", &[("RECEIVER_PANIC", "queue-0")], "101"),
        ("a panic of the main thread", &[("RECEIVER_PANIC", "main")], "101"),
    ] {
        let more = if what == "--duration" { "--duration 1" } else { "" };
        let mut terminal = dashboard_in(&lab, more, environment);
        match what {
            "Ctrl-C" => {
                terminal.until_drawn("never received");
                terminal.press("\x03");
            }
            "SIGTERM" => {
                terminal.until_drawn("never received");
                terminal.signal(Signal::TERM);
            }
            _ => {}
        }
        if code == "101" {
            terminal.until("after=");
            let text = terminal.text();
            // Threads that panic before the dashboard is opened leave no screen behind.
            if text.contains("\x1b[?1049h") {
                let (_, after) = terminal.end();
                assert!(after.contains("this is a fault in the program"), "{what}: {text:?}");
            } else {
                assert_eq!(terminal.value("before"), terminal.value("after"), "{what}: {text:?}");
            }
            assert!(text.contains("code=101"), "{what}: {text:?}");
            continue;
        }
        let (ended, after) = terminal.end();
        assert_eq!(ended, code, "{what}: {after}");
        assert!(after.contains("0 packets with 0 B of payload"), "{what}: {after}");
    }
}

#[test]
fn a_stopped_dashboard_gives_the_terminal_back_meanwhile() {
    let lab = Lab::new().expect("a lab");
    let mut terminal = dashboard(&lab, "");
    terminal.until_drawn("never received");
    let before = terminal.value("before");
    assert_ne!(terminal.settings(), before, "raw mode");
    for by_key in [true, false] {
        if by_key {
            terminal.press("\x1a");
        } else {
            terminal.signal(Signal::TSTP);
        }
        let deadline = Instant::now() + PATIENCE;
        while terminal.settings() != before {
            assert!(Instant::now() < deadline, "by key {by_key}: {:?}", terminal.latest());
            sleep(Duration::from_millis(10));
        }
        // The process stops right after that.
        let stat = format!("/proc/{}/stat", terminal.value("pid"));
        while !std::fs::read_to_string(&stat).expect("a process").contains(") T ") {
            assert!(Instant::now() < deadline, "by key {by_key}: it does not stop");
            sleep(Duration::from_millis(10));
        }
        // `script` may pass the last output on later.
        while !terminal.text().ends_with(LEFT) {
            assert!(Instant::now() < deadline, "by key {by_key}: {:?}", terminal.latest());
            sleep(Duration::from_millis(10));
        }
        terminal.signal(Signal::CONT);
        terminal.until_drawn("never received");
        assert_ne!(terminal.settings(), before, "raw mode again");
    }
    terminal.press("\x03");
    assert_eq!(terminal.end().0, "0");
}

#[test]
fn without_a_terminal_the_dashboard_is_refused() {
    let lab = Lab::new().expect("a lab");
    for (view, says) in [("dashboard", "the view `dashboard` is not available"), ("table", "the view `table` is not")] {
        let output = command::output(&lab, &["-i", "veth-rx", "--view", view, WANTED]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{err}");
        assert!(err.contains(says) && err.contains("no terminal") && err.lines().count() == 1, "{err}");
    }
    let output = command::output(&lab, &["-i", "veth-rx", "--view", "lines", "--duration", "0.3", WANTED]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn top_shows_a_run_and_waits_for_one_that_is_started_again() {
    let lab = Lab::new().expect("a lab");
    let socket = Scratch::new();
    let arguments = ["--control", socket.name(), "239.1.1.1:6000", WANTED];
    let (run, _) = Run::joined(&lab, &arguments);
    let mut terminal = Terminal::start(&lab, &format!("top --control {} --interval 0.2", socket.name()), &[]);
    terminal.until_drawn("2 of 2 never received");
    send(&lab, &["10.0.0.1", "10.0.0.3"], 200);
    terminal.until_drawn("1 of 2 SILENT, 1 never");
    // By the state, `never` is the second row.
    terminal.press("jb10.0.0.9\r");
    terminal.until_drawn("10.0.0.9 is blocked on 239.1.1.1:6000");
    terminal.until_drawn("!10.0.0.9@239.1.1.1:6000");
    terminal.press("u10.0.0.9\r");
    terminal.until_drawn("10.0.0.9 is unblocked on");
    terminal.press("\r");
    terminal.until_drawn("why: no frame of group 239.1.1.1, port 6000, arrived");
    run.signal(Signal::TERM);
    assert_eq!(run.end().2, Some(0));
    terminal.until_drawn("NO CONNECTION");
    let (run, _) = Run::joined(&lab, &arguments);
    terminal.press("3");
    terminal.until_drawn("the run was started anew");
    terminal.until_drawn("2 of 2 never received");
    terminal.press("q");
    let (code, after) = terminal.end();
    assert_eq!(code, "0", "{after}");
    // The run goes on.
    run.signal(Signal::TERM);
    assert_eq!(run.end().2, Some(0));
}

#[test]
fn top_ends_by_signals_and_says_what_it_needs() {
    let lab = Lab::new().expect("a lab");
    let socket = Scratch::new();
    let (run, _) = Run::joined(&lab, &["--control", socket.name(), WANTED]);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut terminal = Terminal::start(&lab, &format!("top --control {}", socket.name()), &[]);
        terminal.until_drawn("never received");
        terminal.signal(signal);
        assert_eq!(terminal.end().0, "0", "{signal:?}");
    }
    drop(run);
    let output = lab.rx().command(RECEIVER).args(["top", "--control", socket.name()]).output().expect("it runs");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("the dashboard needs a terminal"), "{err}");
    let terminal = Terminal::start(&lab, &format!("top --control {}", socket.name()), &[]);
    terminal.until("code=1");
    assert!(terminal.text().contains("no run has the control socket"), "{}", terminal.text());
}
