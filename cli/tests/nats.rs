//! NATS JetStream behind `receiver run`: a real server in the sending namespace, reached over the veth. It is killed
//! and started again, stopped, and refuses. Needs root, and nats-server (Debian: nats-server).

mod command;
mod payloads;

use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::{Folder, Run, last_object, object, source};
use netlab::Lab;
use payloads::number;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const SUBSCRIPTION: &str = "10.0.0.1@232.1.1.1:5000";
const GROUP: &str = "232.1.1.1:5000";
const SINK: &str = "nats://10.0.0.1:4222/MD";
/// No test waits for longer. A loaded machine pauses for seconds.
const LIMIT: Duration = Duration::from_secs(120);
/// Datagrams that are sent before the receivers have to have them: they fit in every socket buffer.
const BURST: u64 = 32;

/// A server of its own. Dropping this value kills it.
struct Server<'a> {
    lab: &'a Lab,
    folder: Folder,
    child: Option<Child>,
}

impl<'a> Server<'a> {
    fn start(lab: &'a Lab, more: &str) -> Self {
        let folder = Folder::new();
        let store = folder.text("store");
        let text = format!("listen: \"10.0.0.1:4222\"\njetstream {{ store_dir: \"{store}\" }}\n{more}\n");
        std::fs::write(folder.file("conf"), text).expect("a file");
        let mut this = Self { lab, folder, child: None };
        this.start_again();
        this
    }

    fn start_again(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.file("log")).expect("a file");
        let child = self
            .lab
            .tx()
            .command("nats-server")
            .args(["-c", &self.folder.text("conf")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("nats-server (Debian: nats-server)");
        self.child = Some(child);
    }

    /// Waits until a client can connect.
    fn until_ready(&self) {
        let deadline = Instant::now() + LIMIT;
        let connects = || std::net::TcpStream::connect("10.0.0.1:4222").is_ok();
        while !self.lab.rx().run(connects).expect("the namespace") {
            let log = std::fs::read_to_string(self.folder.file("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the server does not start: {log}");
            sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a running server");
        kill_process(Pid::from_child(child), signal).expect("a signal");
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A datagram of MoldUDP64 with one message of this length.
fn datagram(sequence: u64, length: usize) -> Vec<u8> {
    let message: Vec<u8> = (0..length).map(|at| (sequence as usize * 31 + at) as u8).collect();
    [&b"SESSION001"[..], &sequence.to_be_bytes(), &[0, 1], &(length as u16).to_be_bytes(), &message].concat()
}

fn send(socket: &UdpSocket, sequences: std::ops::Range<u64>, length: usize) {
    for sequence in sequences {
        socket.send_to(&datagram(sequence, length), GROUP).expect("sent");
    }
}

/// Starts a receiver that prints objects, and waits until it has joined.
fn joined(lab: &Lab, target: &str, more: &[&str]) -> Run {
    let arguments = ["--mode", "socket", "--json", "--interval", "0.1", "-o", target, SUBSCRIPTION];
    Run::joined(lab, &[more, &arguments[..]].concat()).0
}

/// Reads objects until one is as it should be.
fn until(run: &mut Run, what: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    payloads::until_within(LIMIT, run, what, is_right)
}

/// A count of the publisher of the only sink.
fn of(object: &Value, name: &str) -> u64 {
    object["sinks"][0]["publisher"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {object}"))
}

/// Ends the run by SIGTERM. Returns its summary.
fn ended(run: Run) -> Value {
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    let summary = last_object(&out);
    assert_eq!(summary["type"], "summary", "{code:?} {err}");
    summary
}

/// The payloads that the stream holds, in its order.
fn stored(lab: &Lab) -> Vec<Vec<u8>> {
    use async_nats::jetstream::{self, consumer::pull::OrderedConfig};
    use futures_core::Stream;
    let read = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = async_nats::connect("10.0.0.1:4222").await.expect("a connection");
            let stream = jetstream::new(client).get_stream("MD").await.expect("the stream");
            let consumer = stream.create_consumer(OrderedConfig::default()).await.expect("a consumer");
            let mut all = Vec::new();
            let mut left = consumer.cached_info().num_pending;
            let mut messages = Box::pin(consumer.messages().await.expect("messages"));
            while left > 0 {
                let next = std::future::poll_fn(|cx| messages.as_mut().poll_next(cx)).await;
                let message = next.expect("more").expect("a message");
                left = message.info().expect("its place").pending;
                all.push(message.payload.to_vec());
            }
            all
        })
    };
    lab.rx().run(read).expect("the namespace")
}

/// What `receiver subscribe-nats` prints, and its exit code.
fn subscribed(lab: &Lab, arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
    let output = command.arg("subscribe-nats").args(arguments).stdin(Stdio::null()).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[test]
fn a_stream_is_exact_though_the_server_is_killed_and_a_standby_takes_over() {
    const LENGTH: usize = 100;
    const ROUNDS: u64 = 48;
    for order in ["", "&order=strict"] {
        let lab = Lab::new().expect("a lab");
        let mut server = Server::start(&lab, "");
        server.until_ready();
        let target = format!("{SINK}?create=yes&subject=md.{{name}}&dedup_window=1h&timeout=60s&flush=60s{order}");
        let feed = ["--feed", "moldudp64"];
        let mut runs = vec![joined(&lab, &target, &feed), joined(&lab, &target, &feed)];
        let source = source(&lab, 1);
        let mut sent = 0;
        let mut first = Value::Null;
        for round in 0..ROUNDS {
            let half = sent + BURST / 2;
            match round {
                // The server dies in the middle of a burst, three times, and is away for three rounds.
                6 | 16 | 26 => {
                    for run in &mut runs {
                        until(run, "all acknowledgements", |object| of(object, "acknowledged") == sent);
                    }
                    send(&source, sent + 1..half + 1, LENGTH);
                    server.kill();
                    sent = half;
                }
                9 | 19 | 29 => server.start_again(),
                // So does the first receiver. What it published, and what it did not, is for the other one.
                36 => {
                    first = until(&mut runs[0], "acknowledgements", |object| of(object, "acknowledged") > sent / 2);
                    send(&source, sent + 1..half + 1, LENGTH);
                    sent = half;
                    runs[0].child.kill().expect("killed");
                    runs.remove(0);
                }
                _ => {}
            }
            send(&source, sent + 1..sent + BURST + 1, LENGTH);
            sent += BURST;
            for run in &mut runs {
                until(run, "all datagrams", |object| object["packets"] == sent);
            }
        }
        let standby = &mut runs[0];
        let last = until(standby, "all acknowledgements", |object| of(object, "acknowledged") == sent);
        assert_eq!((number(&last["sinks"][0]["dropped"]), of(&last, "published")), (0, sent), "{last}");
        assert!(of(&last, "reconnects") >= 3, "{last}");
        // Each message that both have published is a duplicate for one of them.
        let duplicates = of(&first, "duplicates") + of(&last, "duplicates");
        assert!(duplicates >= of(&first, "acknowledged"), "{first} {last}");
        let summary = ended(runs.remove(0));
        assert_eq!((number(&summary["sinks"][0]["packets"]), of(&summary, "in_flight")), (sent, 0), "{summary}");

        let expected: Vec<Vec<u8>> = (1..=sent).map(|sequence| datagram(sequence, LENGTH)).collect();
        let stored = stored(&lab);
        assert_eq!(stored.len(), expected.len(), "{order}: each one once");
        let wrong = stored.iter().zip(&expected).position(|(stored, expected)| stored != expected);
        assert_eq!(wrong, None, "{order}: in order");
        let (out, err, code) = subscribed(&lab, &["10.0.0.1/MD", "--verify", "moldudp64", "--json"]);
        let report = object(&out);
        assert_eq!((code, &report["messages"], &report["missing"]), (Some(0), &sent.into(), &0.into()), "{out} {err}");
        assert_eq!(report["sessions"][0]["subject"], "md.moldudp64", "{out}");
    }
}

#[test]
fn a_slow_server_costs_counted_datagrams_or_none() {
    const LENGTH: usize = 300;
    let lab = Lab::new().expect("a lab");
    let server = Server::start(&lab, "");
    server.until_ready();
    let source = source(&lab, 1);

    // What does not fit is dropped and counted.
    let mut run = joined(&lab, &format!("{SINK}?create=yes&limit=32KiB&flush=60s&timeout=60s"), &[]);
    server.signal(Signal::STOP);
    let mut sent = 0;
    while sent < 12 * BURST {
        send(&source, sent + 1..sent + BURST + 1, LENGTH);
        sent += BURST;
        until(&mut run, "all datagrams", |object| object["packets"] == sent);
    }
    let full = until(&mut run, "drops", |object| number(&object["sinks"][0]["dropped"]) > 0);
    assert!(of(&full, "waiting_bytes") <= 32 << 10, "{full}");
    server.signal(Signal::CONT);
    until(&mut run, "an empty buffer", |object| of(object, "waiting_bytes") == 0);
    // A datagram behind them shows the gap.
    send(&source, sent + 1..sent + 2, LENGTH);
    sent += 1;
    until(&mut run, "the last one", |object| object["packets"] == sent && of(object, "waiting_bytes") == 0);
    let summary = ended(run);
    let (packets, dropped) = (number(&summary["sinks"][0]["packets"]), number(&summary["sinks"][0]["dropped"]));
    assert_eq!(packets + dropped, sent, "{summary}");
    let after_drops = stored(&lab);
    assert_eq!(after_drops.len() as u64, packets, "the stream has what is acknowledged");
    let sequence = |payload: &Vec<u8>| u64::from_be_bytes(payload[10..18].try_into().expect("eight bytes"));
    assert!(after_drops.windows(2).all(|pair| sequence(&pair[0]) < sequence(&pair[1])), "in order");
    let (out, err, code) = subscribed(&lab, &["nats://10.0.0.1:4222", "--stream", "MD", "--verify", "moldudp64"]);
    assert_eq!(code, Some(1), "{out} {err}");
    assert!(err.contains(&format!("the stream MD does not hold what was sent: {dropped} missing")), "{out} {err}");

    // The receiving thread waits, and nothing is dropped by the sink.
    let mut run = joined(&lab, &format!("{SINK}?limit=8KiB&on_full=block&flush=60s&timeout=60s"), &[]);
    server.signal(Signal::STOP);
    send(&source, 1..101, LENGTH);
    until(&mut run, "a full buffer", |object| of(object, "waiting_bytes") > 8 << 10);
    // The thread waits from now on, so these stay in the socket's buffer.
    send(&source, 101..201, LENGTH);
    for _ in 0..3 {
        let full = until(&mut run, "an object", |_| true);
        assert!(number(&full["packets"]) <= 100, "the thread waits: {full}");
    }
    server.signal(Signal::CONT);
    until(&mut run, "all acknowledgements", |object| {
        of(object, "acknowledged") == number(&object["packets"]) && number(&object["packets"]) + lost(object) == 200
    });
    let summary = ended(run);
    assert_eq!(number(&summary["sinks"][0]["dropped"]), 0, "{summary}");
    assert_eq!(stored(&lab).len() as u64, packets + of(&summary, "acknowledged"));

    // The end waits for acknowledgements, but not for ever.
    let mut run = joined(&lab, &format!("{SINK}?on_full=block&flush=1s&timeout=60s"), &[]);
    server.signal(Signal::STOP);
    send(&source, 1..11, LENGTH);
    let before = until(&mut run, "all datagrams", |object| number(&object["packets"]) + lost(object) == 10);
    let summary = ended(run);
    let sink = &summary["sinks"][0];
    assert_eq!(number(&sink["packets"]) + number(&sink["dropped"]), number(&before["packets"]), "{summary}");
    assert!(number(&sink["dropped"]) > 0, "{summary}");
    server.signal(Signal::CONT);
}

/// Datagrams that a socket buffer had no room for.
fn lost(object: &Value) -> u64 {
    number(&object["ledger"]["kernel_dropped"])
}

#[test]
fn errors_name_server_stream_and_remedy() {
    let lab = Lab::new().expect("a lab");
    let refused = |target: &str, environment: &[(&str, &str)]| {
        let run = Run::start_in(&lab, &["--mode", "socket", "-o", target, SUBSCRIPTION], environment);
        let (_, err, code) = run.end();
        assert!(matches!(code, Some(1 | 2)), "{code:?} {err}");
        err
    };
    let err = refused(SINK, &[]);
    assert!(
        err.contains("cannot connect to the NATS server 10.0.0.1:4222: ") && err.contains("nats-server -js"),
        "{err}"
    );
    let more = "authorization { users: [ { user: feeds, password: \"a secret\" } ] }";
    let server = Server::start(&lab, more);
    server.until_ready();
    let err = refused(&format!("{SINK}?user=feeds"), &[]);
    assert!(err.contains("write password_file=PATH, or set RECEIVER_NATS_PASSWORD"), "{err}");
    let err = refused(&format!("{SINK}?user=feeds"), &[("RECEIVER_NATS_PASSWORD", "wrong")]);
    assert!(err.contains("check user, password, token or credentials") && !err.contains("wrong"), "{err}");
    let secret = [("RECEIVER_NATS_PASSWORD", "a secret")];
    let err = refused(&format!("{SINK}?user=feeds"), &secret);
    assert!(err.contains("has no stream MD; create it with the subjects MD.*, or write create=yes"), "{err}");
    let err = refused("nats://feeds:secret@10.0.0.1:4222/MD", &[]);
    assert!(err.contains("RECEIVER_NATS_PASSWORD"), "{err}");

    // With the right password in a file, the stream is created.
    let file = server.folder.file("password");
    std::fs::write(&file, "a secret\n").expect("a file");
    let target = format!("{SINK}?user=feeds&password_file={}&create=yes&flush=60s&timeout=60s", file.display());
    let mut run = joined(&lab, &target, &[]);
    send(&source(&lab, 1), 1..11, 10);
    until(&mut run, "all acknowledgements", |object| of(object, "acknowledged") == 10);
    let summary = ended(run);
    assert_eq!(number(&summary["sinks"][0]["packets"]), 10, "{summary}");
    assert_eq!(summary["sinks"][0]["name"], SINK);
    let url = format!("{SINK}?user=feeds&password_file={}", file.display());
    let (out, err, code) = subscribed(&lab, &[&url, "--subject", "MD.*"]);
    assert_eq!(code, Some(0), "{out} {err}");
    assert!(out.starts_with("stream MD: 10 messages, "), "{out} {err}");
    let (_, err, code) = subscribed(&lab, &["10.0.0.1"]);
    assert_eq!(code, Some(2), "{err}");
}
