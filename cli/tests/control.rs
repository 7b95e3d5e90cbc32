//! `receiver ctl` and the control protocol: each request, each refusal, and clients that behave badly. Needs root.

mod command;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::{Folder, PATIENCE, Run, WANTED, object, send};
use netlab::Lab;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A runtime directory.
struct Runtime(Folder);

impl Runtime {
    fn new() -> Self {
        Self(Folder::new())
    }

    fn name(&self) -> &str {
        self.0.0.to_str().expect("UTF-8")
    }

    fn socket(&self) -> PathBuf {
        self.0.file("a.sock")
    }

    /// A run with the name `a` that has joined.
    fn run(&self, lab: &Lab, arguments: &[&str]) -> Run {
        self.named(lab, "a", arguments)
    }

    fn named(&self, lab: &Lab, name: &str, arguments: &[&str]) -> Run {
        let all = [&["-n", name][..], arguments].concat();
        Run::joined_in(lab, &all, &[("RUNTIME_DIRECTORY", self.name())]).0
    }

    fn ctl(&self, words: &[&str]) -> Output {
        std::process::Command::new(env!("CARGO_BIN_EXE_receiver"))
            .arg("ctl")
            .args(words)
            .env("RUNTIME_DIRECTORY", self.name())
            .output()
            .expect("it runs")
    }

    /// What `receiver ctl` prints for people.
    fn words(&self, words: &[&str]) -> String {
        let output = self.ctl(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The result that `receiver ctl --json` prints.
    fn json(&self, words: &[&str]) -> Value {
        let all = [&["--json"][..], words].concat();
        let reply = object(&self.words(&all));
        assert_eq!(reply["ok"], true, "{reply}");
        reply["result"].clone()
    }

    /// The reason why `receiver ctl` fails, and its exit code.
    fn refused(&self, words: &[&str]) -> (String, Option<i32>) {
        let output = self.ctl(words);
        assert!(!output.status.success() && output.stdout.is_empty(), "{words:?}: {output:?}");
        (String::from_utf8(output.stderr).expect("text"), output.status.code())
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket())
    }
}

/// A client of the socket itself.
struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the run listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        Self { stream: BufReader::new(stream) }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the run reads");
    }

    /// The next reply; `None` if the run has closed the connection.
    fn reply(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).expect("a reply");
        (read > 0).then(|| object(&line))
    }

    fn ask(&mut self, request: &Value) -> Value {
        self.write(format!("{request}\n").as_bytes());
        self.reply().expect("a reply")
    }
}

fn list(runtime: &Runtime) -> Value {
    runtime.json(&["list"])["subscriptions"].clone()
}

/// Waits until the subscription has this many packets.
fn await_packets(runtime: &Runtime, at: usize, packets: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = list(runtime)[at]["packets"].as_u64().expect("a number");
        if found == packets {
            return;
        }
        assert!(Instant::now() < deadline, "{found} packets of {packets}");
        sleep(Duration::from_millis(20));
    }
}

fn stop(run: Run) {
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{out} {err}");
}

#[test]
fn each_request_does_what_it_says() {
    let (lab, runtime) = (Lab::new().expect("a lab"), Runtime::new());
    let run = runtime.run(&lab, &["--mode", "copy", WANTED]);
    assert_eq!(fs::metadata(runtime.socket()).expect("the socket").mode() & 0o7777, 0o600);

    // The only run needs no name.
    let joined = runtime.words(&["join", "239.1.1.1:6000", "--as", "any"]);
    assert_eq!(joined, "joined subscription 1, any: 239.1.1.1:6000\n");
    let listed = runtime.words(&["list"]);
    let expected = "\
id  name  packets  subscription
 0  -           0  10.0.0.1,10.0.0.2@232.1.1.1:5000
 1  any         0  239.1.1.1:6000
";
    assert_eq!(listed, expected);
    assert_eq!(
        runtime.words(&["block", "any", "10.0.0.9"]),
        "blocked 10.0.0.9: subscription 1, any: !10.0.0.9@239.1.1.1:6000\n"
    );
    // By its text as it is now, and by its id.
    let unblocked = runtime.json(&["-n", "a", "unblock", "!10.0.0.9@239.1.1.1:6000", "10.0.0.9"]);
    assert_eq!((&unblocked["subscription"], &unblocked["filter_mode"]), (&json!("239.1.1.1:6000"), &json!("exclude")));
    let changed = runtime.json(&["set-sources", "0", "10.0.0.1"]);
    assert_eq!(changed["subscription"], "10.0.0.1@232.1.1.1:5000");
    assert_eq!(changed["sources"], json!(["10.0.0.1"]));

    send(&lab, &["10.0.0.1", "10.0.0.2"], 200);
    await_packets(&runtime, 0, 100);
    let stats = runtime.json(&["stats"]);
    assert_eq!((&stats["mode"], &stats["interface"]), (&json!("copy"), &json!(lab.rx_interface())));
    assert_eq!((&stats["packets"], &stats["lost"], &stats["unaccounted"]), (&json!(100), &json!(0), &json!(0)));
    assert_eq!((&stats["subscriptions"][1]["name"], &stats["subscriptions"][1]["id"]), (&json!("any"), &json!(1)));
    assert_eq!(stats["subscriptions"][0]["packets"], 100);
    assert!(runtime.words(&["stats"]).contains("mode copy"), "{stats}");
    let queue = &stats["queues"][0];
    assert_eq!(
        (&queue["queue"], &queue["taken"], &queue["delivered"]),
        (&json!(0), &json!(100), &json!(100)),
        "{queue}"
    );
    assert_eq!((&queue["ring"]["rx_dropped"], &stats["link_up"]), (&json!(0), &json!(true)));
    let evidence = runtime.json(&["evidence"]);
    assert_eq!((&evidence["silent"][0]["id"], &evidence["silent"][1]), (&json!(1), &Value::Null), "{evidence}");
    assert!(runtime.words(&["evidence"]).contains("239.1.1.1:6000 has received nothing\n"));
    let ledger = runtime.json(&["ledger"]);
    assert_eq!((&ledger["ledger"]["redirected"], &ledger["unaccounted"]), (&json!(100), &json!(0)), "{ledger}");
    assert_eq!(ledger["ledger"]["dropped_not_included"], 100, "{ledger}");
    assert!(runtime.words(&["ledger"]).contains("100  redirected\n"));
    assert_eq!(runtime.json(&["mode"])["mode"], "copy");
    assert!(runtime.words(&["mode"]).starts_with("copy on "));

    assert_eq!(runtime.words(&["leave", "232.1.1.1:5000"]), "left subscription 0, 10.0.0.1@232.1.1.1:5000\n");
    assert_eq!(list(&runtime).as_array().map(Vec::len), Some(1));
    assert_eq!(runtime.words(&["log-level", "info"]), "the run logs at level info from now on\n");
    runtime.json(&["join", "10.0.0.1@232.1.1.7:5000"]);

    assert_eq!(runtime.words(&["stop"]), "the run is ending\n");
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{out} {err}");
    assert!(!runtime.socket().exists());
    assert!(out.contains("ledger: "), "a summary ends the run: {out}");
    assert!(err.contains(r#"changed the run: {"request":"join","subscription":"10.0.0.1@232.1.1.7:5000"}"#), "{err}");
}

#[test]
fn rates_are_since_the_last_stats_of_the_same_client() {
    let (lab, runtime) = (Lab::new().expect("a lab"), Runtime::new());
    let run = runtime.run(&lab, &["--mode", "copy", WANTED]);
    let (mut one, mut other) = (runtime.client(), runtime.client());
    let stats = json!({"request": "stats"});
    one.ask(&stats);
    other.ask(&stats);
    send(&lab, &["10.0.0.1"], 100);
    await_packets(&runtime, 0, 100);
    // No name comes twice, which a parser would hide.
    let (mut third, mut line) = (runtime.client(), String::new());
    third.write(b"{\"request\":\"stats\"}\n");
    third.stream.read_line(&mut line).expect("a reply");
    for name in ["sinks", "queues", "mode", "interface", "warnings", "link_events", "refused_modes"] {
        assert_eq!(line.matches(&format!("\"{name}\":")).count(), 1, "{name}: {line}");
    }
    let rate = |reply: Value| reply["result"]["packets_per_second"].as_f64().expect("a rate");
    let first = one.ask(&stats);
    let span = first["result"]["interval_seconds"].as_f64().expect("a time");
    assert!((rate(first.clone()) * span - 100.0).abs() < 1e-3, "{first}");
    assert_eq!(rate(one.ask(&stats)), 0.0);
    assert!(rate(other.ask(&stats)) > 0.0, "the other has not asked since");
    stop(run);
}

/// Linux lists no sources of an interface while the group that was joined last there has none. They are not lost.
#[test]
fn an_any_source_subscription_beside_others_loses_none_of_them() {
    let (lab, runtime) = (Lab::new().expect("a lab"), Runtime::new());
    let run = runtime.run(&lab, &["--mode", "copy", WANTED, "[fd00::1]@[ff3e::1]:5000"]);
    runtime.json(&["join", "239.1.1.1:6000"]);
    runtime.json(&["join", "[ff15::1]:6000"]);
    // Two readings of the kernel's tables have to agree, about one a second.
    sleep(Duration::from_millis(3500));
    assert_eq!(runtime.json(&["stats"])["warnings"], json!([]));
    stop(run);
}

#[test]
fn a_refusal_changes_nothing_and_says_why() {
    let (lab, runtime) = (Lab::new().expect("a lab"), Runtime::new());
    let arguments = ["--mode", "copy", "10.0.0.1@232.1.1.1:5000", "10.0.0.2@232.1.1.1:5000", "239.1.1.1:6000"];
    let run = runtime.run(&lab, &arguments);
    runtime.json(&["join", "10.0.0.1@232.1.1.2:5000", "--as", "a"]);
    let before = list(&runtime);
    let mut client = runtime.client();
    let join = |subscription: &str, name: &str| json!({"request": "join", "subscription": subscription, "name": name});
    for (request, kind, part) in [
        (join("10.0.0.1@10.1.1.1:5000", "b"), "invalid_request", "10.1.1.1"),
        (join("239.1.1.1", "b"), "invalid_request", "there is no `:PORT`"),
        (join("232.1.1.9:1", "b"), "invalid_request", "The option is --allow-asm-in-ssm-range"),
        (join("10.0.0.1@232.1.1.1:5000", "b"), "overlap", "overlaps 10.0.0.1@232.1.1.1:5000"),
        (join("10.0.0.1@232.1.1.3:5000", "a"), "name_taken", "subscription 3 has the name a already"),
        (join("10.0.0.1@232.1.1.3:5000", "3"), "invalid_request", "`3` is no name: a name begins with a letter"),
        (
            json!({"request": "leave", "subscription": "b"}),
            "unknown_subscription",
            "no subscription of this run is called `b`",
        ),
        (json!({"request": "leave", "subscription": "9"}), "unknown_subscription", "is called `9`"),
        (
            json!({"request": "leave", "subscription": "10.0.0.3@232.1.1.1:5000"}),
            "unknown_subscription",
            "`list` shows",
        ),
        (
            json!({"request": "leave", "subscription": "232.1.1.1:5000"}),
            "ambiguous",
            "several subscriptions: 0 10.0.0.1@232.1.1.1:5000; 1 10.0.0.2@232.1.1.1:5000; give an id or a name",
        ),
        (
            json!({"request": "block", "subscription": "a", "source": "10.0.0.1"}),
            "wrong_filter_mode",
            "The command for it is `receiver ctl set-sources`",
        ),
        (json!({"request": "unblock", "subscription": "2", "source": "10.0.0.1"}), "no_change", "is not blocked"),
        (json!({"request": "set-sources", "subscription": "a", "sources": []}), "invalid_request", "source"),
        (json!({"request": "block", "subscription": "2", "source": "10.0.0"}), "invalid_request", "IP address"),
        (json!({"request": "block", "subscription": "2", "source": "ff3e::1"}), "invalid_request", "ff3e::1"),
        (json!({"request": "log-level", "level": "loud"}), "invalid_request", "loud"),
        (json!({"request": "reload"}), "unavailable", "no configuration file; start it with --config FILE"),
        (json!({"request": "joined"}), "invalid_request", "unknown variant `joined`, expected one of"),
        (json!({"request": "list", "all": true}), "invalid_request", "unknown field `all`"),
        (json!("list"), "invalid_request", "a request is one JSON object on one line"),
    ] {
        let reply = client.ask(&request);
        assert_eq!((&reply["ok"], &reply["kind"]), (&json!(false), &json!(kind)), "{request}: {reply}");
        let error = reply["error"].as_str().expect("a reason");
        assert!(error.contains(part), "{request}: {error}");
        assert_eq!(list(&runtime), before, "{request}");
    }
    // In words, with the exit code of a usage error for what makes no sense.
    let (text, code) = runtime.refused(&["join", "239.1.1.1"]);
    assert!(text.starts_with("receiver: ") && text.contains("there is no `:PORT`"), "{text}");
    assert_eq!(code, Some(2));
    assert_eq!(runtime.refused(&["leave", "b"]).1, Some(1));
    let output = runtime.ctl(&["--json", "leave", "b"]);
    assert_eq!(object(&String::from_utf8_lossy(&output.stdout))["kind"], "unknown_subscription");
    assert_eq!(list(&runtime), before);
    stop(run);
}

/// `stats` asks twice, and prints a refusal of the first request as well.
#[test]
fn a_refusal_of_stats_is_an_object_too() {
    let runtime = Runtime::new();
    let listener = UnixListener::bind(runtime.socket()).expect("a socket");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (stream, _) = listener.accept().expect("a client");
            let mut stream = BufReader::new(stream);
            stream.read_line(&mut String::new()).expect("a request");
            stream.get_mut().write_all(b"{\"ok\":false,\"error\":\"no\",\"kind\":\"starting\"}\n").expect("it reads");
        });
        let output = runtime.ctl(&["-n", "a", "--json", "stats"]);
        let reply = object(&String::from_utf8_lossy(&output.stdout));
        assert_eq!(reply, json!({"ok": false, "error": "no", "kind": "starting"}));
        assert_eq!(output.status.code(), Some(1));
    });
}

#[test]
fn a_name_is_that_of_one_run() {
    let (lab, runtime) = (Lab::new().expect("a lab"), Runtime::new());
    let (none, code) = runtime.refused(&["list"]);
    assert!(none.contains("no run with a name has its control socket in ") && code == Some(1), "{none}");
    let mut first = runtime.run(&lab, &["--mode", "copy", WANTED]);
    let second = Run::start_in(&lab, &["-n", "a", "239.1.1.1:6000"], &[("RUNTIME_DIRECTORY", runtime.name())]);
    let (_, err, code) = second.end();
    let running = format!("a run with the name a is running already, process {}: ", first.child.id());
    assert!(err.contains(&running), "{err}");
    assert_eq!(code, Some(1));
    assert_eq!(list(&runtime).as_array().map(Vec::len), Some(1));

    let other_lab = Lab::new().expect("a lab");
    let other = runtime.named(&other_lab, "b", &["--mode", "socket", WANTED]);
    assert!(runtime.refused(&["list"]).0.contains("several runs are there: a, b; choose one with -n"));
    assert!(runtime.refused(&["-n", "c", "list"]).0.contains("no run has the name c; these names run: a, b"));
    stop(other);

    // A run that was killed leaves its socket, which says nothing of the next one.
    first.child.kill().expect("killed");
    first.child.wait().expect("it ended");
    assert!(runtime.socket().exists());
    assert!(runtime.refused(&["-n", "a", "list"]).0.contains("no run has the name a: there is no run with a name in "));
    let again = runtime.run(&lab, &["--mode", "copy", WANTED]);
    assert_eq!(list(&runtime).as_array().map(Vec::len), Some(1));
    stop(again);
}

#[test]
fn a_path_of_its_own_and_what_is_there_already() {
    let (lab, runtime) = (Lab::new().expect("a lab"), Runtime::new());
    let path = &runtime.0.text("here");
    fs::write(path, "precious").expect("a file");
    let (_, err, code) = Run::start(&lab, &["--control", path, WANTED]).end();
    assert!(err.contains("is no socket, and it is left alone") && code == Some(1), "{err}");
    fs::remove_file(path).expect("removed");
    let (run, _) = Run::joined(&lab, &["--mode", "copy", "--control", path, WANTED]);
    let mode = runtime.words(&["--control", path, "mode"]);
    assert!(mode.starts_with("copy on "), "{mode}");
    // Somebody puts another socket there, which is not this run's to remove.
    fs::remove_file(path).expect("removed");
    let _listener = UnixListener::bind(path).expect("a socket");
    stop(run);
    assert!(Path::new(path).exists());
}

/// A copy of the command that user `nobody` can run: the target folder may be closed to others.
struct Installed(PathBuf);

impl Installed {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("receiver-control-{}", std::process::id()));
        fs::copy(env!("CARGO_BIN_EXE_receiver"), &path).expect("a copy");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        Self(path)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn another_user_is_refused() {
    let (lab, runtime, installed) = (Lab::new().expect("a lab"), Runtime::new(), Installed::new());
    let run = runtime.run(&lab, &["--mode", "copy", WANTED]);
    let ask = || {
        let output = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&installed.0)
            .args(["ctl", "--control", runtime.socket().to_str().expect("UTF-8"), "list"])
            .output()
            .expect("setpriv (Debian: util-linux)");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let text = ask();
    assert!(text.contains("is that of another user; run this command as the user of the run, or as root"), "{text}");
    // Even if somebody opens the socket to all.
    fs::set_permissions(runtime.socket(), fs::Permissions::from_mode(0o666)).expect("chmod");
    let text = ask();
    assert!(text.contains("this run is that of user 0, and the client is user 65534"), "{text}");
    stop(run);
}

/// A value of /proc/PID/status in KiB.
fn resident(run: &Run) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", run.child.id())).expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn descriptors(run: &Run) -> usize {
    fs::read_dir(format!("/proc/{}/fd", run.child.id())).expect("descriptors").count()
}

#[test]
fn clients_that_behave_badly_hurt_nobody() {
    const PACKETS: u64 = 60_000;
    const CLIENTS: usize = 100;
    /// The growth of memory that all of them may cost: 100 tasks with their buffers, and what one line may hold.
    const GROWTH: u64 = 48 << 10;
    let (lab, runtime) = (Lab::new().expect("a lab"), Runtime::new());
    let groups: Vec<String> = (1..=200).map(|n| format!("10.0.0.1@232.2.0.{n}:5000")).collect();
    let mut arguments = vec!["--mode", "copy", "--probe", "--ring-size", "8192", "10.0.0.1@232.1.1.1:5000"];
    arguments.extend(groups.iter().map(String::as_str));
    let run = runtime.run(&lab, &arguments);
    runtime.json(&["stats"]);
    let (memory, open) = (resident(&run), descriptors(&run));
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| send(&lab, &["10.0.0.1"], PACKETS));
        // Half a line, and then nothing.
        let hangs = scope.spawn(|| {
            let mut client = runtime.client();
            client.write(b"{\"request\":");
            (client.reply().expect("a reason")["kind"].clone(), client.reply())
        });
        // Requests without end, and never a look at the replies. The run closes the connection, and another one comes.
        let floods = scope.spawn(|| {
            let deadline = Instant::now() + 3 * PATIENCE;
            let mut closed = false;
            while !closed || !enough.load(Ordering::Relaxed) {
                let mut stream = UnixStream::connect(runtime.socket()).expect("the run listens");
                stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a time limit");
                loop {
                    match stream.write_all(&b"{\"request\":\"stats\"}\n".repeat(100)) {
                        Err(error) if error.kind() != ErrorKind::WouldBlock => break closed = true,
                        _ if closed && enough.load(Ordering::Relaxed) => break,
                        Err(_) => sleep(Duration::from_millis(10)),
                        Ok(()) => {}
                    }
                    assert!(Instant::now() < deadline, "a client that reads no reply is still connected");
                }
            }
        });
        let endless = scope.spawn(|| {
            let mut stream = UnixStream::connect(runtime.socket()).expect("the run listens");
            let block = vec![b'x'; 1 << 20];
            let written = (0..1024).take_while(|_| stream.write_all(&block).is_ok()).count();
            let mut reply = String::new();
            let _ = stream.read_to_string(&mut reply);
            (written, reply)
        });
        let garbage = scope.spawn(|| {
            let mut client = runtime.client();
            for round in 0..200_u32 {
                let noise: Vec<u8> = (0..1000_u32).map(|n| (n.wrapping_mul(round + 7919) >> 3) as u8).collect();
                let line: Vec<u8> = noise.into_iter().filter(|&byte| byte != b'\n').chain([b'\n']).collect();
                client.write(&line);
                assert_eq!(client.reply().expect("a reply")["kind"], "invalid_request");
            }
        });
        // Gone in the middle of a request, and before the reply.
        for part in [&b"{\"request\":\"li"[..], b"{\"request\":\"stats\"}\n"] {
            runtime.client().write(part);
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = runtime.client();
                    for request in ["hello", "list", "stats", "ledger", "mode", "stats"] {
                        let reply = client.ask(&json!({"request": request}));
                        assert_eq!(reply["ok"], true, "{request}: {reply}");
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().expect("a client");
        }
        // While the bad ones are still there, a subscription comes and goes.
        runtime.json(&["join", "239.1.1.1:6000", "--as", "late"]);
        runtime.json(&["leave", "late"]);
        garbage.join().expect("garbage");
        let (written, reply) = endless.join().expect("an endless line");
        assert!(written < 1024, "1 GiB was taken");
        assert!(reply.is_empty() || object(&reply)["kind"] == "too_long", "{reply}");
        let (kind, closed) = hangs.join().expect("a client that hangs");
        assert_eq!((kind, closed), (json!("too_slow"), None));
        let grown = resident(&run).saturating_sub(memory);
        println!("{grown} KiB of memory more, with {} descriptors open", descriptors(&run));
        assert!(grown < GROWTH, "{grown} KiB more");
        enough.store(true, Ordering::Relaxed);
        floods.join().expect("a client that floods");
        sent.join().expect("the sender");
    });
    await_packets(&runtime, 0, PACKETS);
    let stats = runtime.json(&["stats"]);
    assert_eq!((&stats["probe"]["lost"], &stats["lost"], &stats["unaccounted"]), (&json!(0), &json!(0), &json!(0)));
    let deadline = Instant::now() + PATIENCE;
    while descriptors(&run) != open {
        assert!(Instant::now() < deadline, "{} descriptors, {open} before", descriptors(&run));
        sleep(Duration::from_millis(50));
    }
    stop(run);
}
