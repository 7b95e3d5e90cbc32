//! A reload under load: what stays loses nothing, and a configuration that is wrong changes nothing. Needs root.

mod command;

use std::fs;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::{Folder, PATIENCE, Run, last_object, object};
use netlab::Lab;
use receiver_send::{SendConfig, Sender};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Two streams, of which no packet may be lost: one of a subscription that never changes, and one of a source that
/// stays while other sources of its subscription come and go.
const STREAMS: [(&str, &str); 2] = [("10.0.0.1", "232.1.1.1"), ("10.0.0.2", "232.1.1.2")];

/// Room for the packets of a second in which this machine does something else.
const ROOM: &str = "interval = \"100ms\"\nprobe = true\njson = true\nring_size = 16384\nsocket_buffer = \"64MiB\"\n";

/// A folder with a configuration and a control socket.
struct Home(Folder);

impl Home {
    fn new() -> Self {
        Self(Folder::new())
    }

    fn path(&self, name: &str) -> String {
        self.0.text(name)
    }

    /// Replaces the configuration as an editor does.
    fn write(&self, text: &str) {
        fs::write(self.path("new"), text).expect("a file");
        fs::rename(self.path("new"), self.path("a.toml")).expect("in its place");
    }

    /// A run with this configuration that has joined.
    fn run(&self, lab: &Lab, text: &str, arguments: &[&str]) -> Run {
        self.write(text);
        let (config, control) = (self.path("a.toml"), self.path("socket"));
        let all = [&["--config", &config, "--control", &control], arguments].concat();
        Run::joined(lab, &all).0
    }

    fn ctl(&self, words: &[&str]) -> Output {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_receiver"));
        command.args(["ctl", "--control", &self.path("socket"), "--json"]).args(words).output().expect("it runs")
    }

    fn result(&self, words: &[&str]) -> Value {
        let output = self.ctl(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        object(std::str::from_utf8(&output.stdout).expect("text"))["result"].clone()
    }

    /// The reason why a reload is refused.
    fn refused(&self) -> String {
        let output = self.ctl(&["reload"]);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("text")
    }

    /// Each subscription with its id and name.
    fn list(&self) -> Vec<(u64, String, String)> {
        let result = self.result(&["list"]);
        let all = result["subscriptions"].as_array().or_else(|| result.as_array()).expect("a list").clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all.iter()
            .map(|one| (one["id"].as_u64().expect("an id"), text(&one["name"]), text(&one["subscription"])))
            .collect()
    }

    fn named(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = self.list().into_iter().map(|(_, name, text)| (name, text)).collect();
        all.sort();
        all
    }
}

/// A configuration with these subscriptions: `NAME ADDRESS`.
fn file(mode: &str, subscriptions: &[(String, String)]) -> String {
    let mut text = format!("mode = \"{mode}\"\n{ROOM}");
    for (name, address) in subscriptions {
        text.push_str(&format!("[[subscription]]\nname = \"{name}\"\naddress = \"{address}\"\n"));
    }
    text
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// What the configuration with this number has: another subscription, a name, and sources differ from one to the next.
fn variant(number: u32) -> Vec<(String, String)> {
    let mut all = pairs(&[("steady", "10.0.0.1@232.1.1.1:5000")]);
    if number % 3 == 1 {
        all[0].0 = format!("steady-{number}");
    }
    let sources = match number % 4 {
        0 => "10.0.0.2".to_owned(),
        1 => format!("10.0.0.2,10.0.0.{}", 10 + number),
        2 => format!("10.0.0.2,10.0.0.{},10.0.0.100", 9 + number),
        _ => "10.0.0.2,10.0.0.100".to_owned(),
    };
    all.push(("moving".to_owned(), format!("{sources}@232.1.1.2:5000")));
    if number.is_multiple_of(2) {
        all.push((format!("extra-{number}"), format!("239.9.0.{number}:6000")));
    }
    if number % 5 < 3 {
        all.push((
            "kind".to_owned(),
            if number.is_multiple_of(5) { "239.8.0.1:1" } else { "10.0.0.5@239.8.0.1:1" }.to_owned(),
        ));
    }
    all.sort();
    all
}

fn under_load(mode: &str, reloads: u32) {
    let lab = Lab::new().expect("a lab");
    let home = Home::new();
    let run = home.run(&lab, &file(mode, &variant(0)), &["-v"]);
    assert_eq!(home.named(), variant(0));
    let before = home.list();
    let id = |list: &[(u64, String, String)], text: &str| {
        list.iter().find(|(_, _, address)| address.contains(text)).map(|(id, _, _)| *id)
    };
    let stop = AtomicBool::new(false);
    let (sent, reloading) = std::thread::scope(|scope| {
        let senders = STREAMS.map(|(source, group)| {
            let (lab, stop) = (&lab, &stop);
            scope.spawn(move || {
                let mut config = SendConfig::new(lab.tx_interface(), group.parse().expect("a group"), 5000);
                config.sources = vec![source.parse().expect("an address")];
                config.traffic.rate = 10_000;
                let sent = lab.tx().run(|| Sender::new(config)?.run(stop)).expect("the namespace");
                sent.unwrap_or_else(|error| panic!("{error}")).packets
            })
        });
        // An assertion that fails must not leave the senders sending.
        let reloading = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 1..=reloads {
                let wanted = variant(number);
                home.write(&file(mode, &wanted));
                if number.is_multiple_of(2) {
                    let report = home.result(&["reload"]);
                    assert_eq!(report["needs_restart"], json!([]), "{report}");
                } else {
                    run.signal(Signal::HUP);
                    let deadline = Instant::now() + PATIENCE;
                    while home.named() != wanted {
                        assert!(Instant::now() < deadline, "{number}: {:?} is not {wanted:?}", home.named());
                        sleep(Duration::from_millis(5));
                    }
                }
                assert_eq!(home.named(), wanted, "{number}");
                let now = home.list();
                for text in ["232.1.1.1:5000", "232.1.1.2:5000"] {
                    assert_eq!(id(&now, text), id(&before, text), "{number}: {text} has another id");
                }
                if number.is_multiple_of(7) {
                    home.write("mode = \"fast\"\n");
                    assert!(home.refused().contains("a.toml:1: `mode` cannot be `fast`"), "{}", home.refused());
                    assert_eq!(home.named(), wanted, "a file that is wrong changes nothing");
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let sent: u64 = senders.into_iter().map(|sender| sender.join().expect("a thread")).sum();
        (sent, reloading)
    });
    if let Err(panic) = reloading {
        run.signal(Signal::INT);
        let (out, err, _) = run.end();
        println!("{err}\n{}", last_object(&out));
        std::panic::resume_unwind(panic);
    }
    // Each packet that was sent is received before the end.
    let deadline = Instant::now() + PATIENCE;
    while home.result(&["stats"])["probe"]["received"] != sent && Instant::now() < deadline {
        sleep(Duration::from_millis(20));
    }
    run.signal(Signal::INT);
    let (out, err, code) = run.end();
    let summary = last_object(&out);
    println!("{mode}: {reloads} reloads, {sent} sent, probe {}", summary["probe"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        (&summary["probe"]["received"], &summary["probe"]["lost"], &summary["unaccounted"]),
        (&sent.into(), &0.into(), &0.into()),
        "{err}\n{summary}"
    );
}

#[test]
fn fifty_reloads_lose_no_packet_of_what_stays() {
    under_load("mapped", 50);
}

#[test]
fn other_modes_lose_none_either() {
    for mode in ["copy", "socket"] {
        under_load(mode, 12);
    }
}

#[test]
fn what_changes_while_running_what_needs_a_restart_and_what_is_refused() {
    let lab = Lab::new().expect("a lab");
    let home = Home::new();
    let base = pairs(&[("a", "10.0.0.1@232.1.1.1:5000"), ("b", "239.1.1.1:5001")]);
    // The command line overrides the file, after a reload too; its subscription stays.
    let run = home.run(&lab, &file("copy", &base), &["--mode", "socket", "10.0.0.7@232.7.7.7:7"]);
    let own = ("".to_owned(), "10.0.0.7@232.7.7.7:7".to_owned());
    let with_own = |all: &[(String, String)]| {
        let mut all = [all, std::slice::from_ref(&own)].concat();
        all.sort();
        all
    };
    assert_eq!(home.named(), with_own(&base));
    assert_eq!(home.result(&["mode"])["mode"], "socket");

    // Two exchange their names.
    let swapped = pairs(&[("b", "10.0.0.1@232.1.1.1:5000"), ("a", "239.1.1.1:5001")]);
    home.write(&file("copy", &swapped));
    let report = home.result(&["reload"]);
    assert_eq!((report["renamed"].as_array().map(Vec::len), &report["kept"]), (Some(2), &1.into()), "{report}");
    assert_eq!(home.named(), with_own(&swapped));

    // A key that cannot change is named, again at each reload, and the rest takes effect.
    let more = [&swapped[..], &pairs(&[("c", "239.1.1.3:1")])].concat();
    let changed = format!("verbose = 1\n{}", file("mapped", &more).replace("16384", "8192"));
    for joined in [json!(["c 239.1.1.3:1"]), json!([])] {
        home.write(&changed);
        let report = home.result(&["reload"]);
        // The command line has the mode, so that it does not change.
        assert_eq!((&report["needs_restart"], &report["joined"]), (&json!(["ring_size"]), &joined), "{report}");
        let options = if joined == json!([]) { json!([]) } else { json!(["verbose"]) };
        assert_eq!(report["options"], options, "{report}");
    }
    assert_eq!(home.named(), with_own(&more));

    // What clients did stays, unless the file changes it.
    home.result(&["block", "a", "10.0.0.9"]);
    home.result(&["leave", "c"]);
    home.result(&["join", "239.5.5.5:5", "--as", "client"]);
    let before = home.named();
    home.result(&["reload"]);
    assert_eq!(home.named(), before);
    assert!(before.contains(&("a".into(), "!10.0.0.9@239.1.1.1:5001".into())), "{before:?}");

    // Refused as a whole: a name, a place that a client has, and each fault of the file.
    for (extra, says) in [
        (("client", "239.1.1.4:1"), "was joined with the name client"),
        (("d", "239.5.5.5:5"), "overlaps"),
        (("a", "239.1.1.4:1"), "has the name `a` too"),
        (("d", "232.1.1.1:1"), "source-specific range"),
    ] {
        let wrong = [&more[..], &pairs(&[("e", "239.1.1.6:1"), extra])].concat();
        home.write(&file("copy", &wrong));
        let refusal = home.refused();
        assert!(refusal.contains(says), "{extra:?}: {refusal}");
        assert_eq!(home.named(), before, "{extra:?}");
    }
    fs::remove_file(home.path("a.toml")).expect("removed");
    assert!(home.refused().contains("cannot read the configuration"), "{}", home.refused());
    assert_eq!(home.named(), before);
    run.signal(Signal::TERM);
    let (_, err, code) = run.end();
    assert_eq!(code, Some(0));
    // The reload that set `verbose` is the first one that the log has.
    let first = err.split_once("the configuration was reloaded: ").map(|(_, rest)| rest.split(',').next());
    assert_eq!(first, Some(Some("1 joined")), "{err}");
}

/// The kernel hides all sources of an interface if the group that was joined last has none. The check of the
/// memberships, once a second and twice in a row, takes nothing for lost then.
#[test]
fn source_specific_groups_before_an_any_source_one_are_not_taken_for_lost() {
    let lab = Lab::new().expect("a lab");
    let arguments = ["--mode", "socket", "--json", "10.0.0.1@232.1.1.1:5000", "[fd00::1]@[ff3e::1]:1"];
    let (run, _) = Run::joined(&lab, &[&arguments[..], &["239.1.1.1:1", "[ff15::1]:1"]].concat());
    sleep(Duration::from_secs(4));
    run.signal(Signal::INT);
    let (out, err, code) = run.end();
    assert_eq!((err.as_str(), code), ("", Some(0)));
    assert_eq!(last_object(&out)["warnings"].as_array().map_or(0, Vec::len), 0, "{out}");
}

#[test]
fn a_run_without_a_file_has_nothing_to_reload_and_ends_by_sighup() {
    let lab = Lab::new().expect("a lab");
    let home = Home::new();
    let (run, _) = Run::joined(&lab, &["--control", &home.path("socket"), "--json", "239.1.1.1:1"]);
    assert!(home.refused().contains("this run has no configuration file; start it with --config FILE"));
    run.signal(Signal::HUP);
    assert_eq!(run.end().2, Some(0));
}

/// Relative paths are relative to the file, wherever the run is started.
#[test]
fn a_list_beside_the_file_is_read_again() {
    let lab = Lab::new().expect("a lab");
    let home = Home::new();
    fs::write(home.path("list"), "239.1.1.1:1\n239.1.1.2:1\n").expect("a list");
    let run = home.run(&lab, &format!("subscriptions = \"list\"\nmode = \"socket\"\n{ROOM}"), &[]);
    assert_eq!(home.list().len(), 2);
    fs::write(home.path("list"), "239.1.1.2:1\n239.1.1.3:1\n239.1.1.4:1\n").expect("a list");
    let report = home.result(&["reload"]);
    assert_eq!((&report["left"], &report["kept"]), (&json!(["239.1.1.1:1"]), &1.into()), "{report}");
    assert_eq!(home.list().len(), 3);
    run.signal(Signal::INT);
    assert_eq!(run.end().2, Some(0));
}

/// A sink takes what the configuration names, before and after a reload; SIGHUP has a file that rotates begin anew.
#[test]
fn a_reload_routes_sinks_and_sighup_begins_a_new_file() {
    let lab = Lab::new().expect("a lab");
    let home = Home::new();
    let text = |taken: &str| {
        format!(
            "{}\n[[sink]]\nname = \"some\"\ntarget = \"file:some.raw?rotate=1GiB\"\nsubscriptions = [\"{taken}\"]\n\
             [[sink]]\ntarget = \"all.raw\"\n",
            file("mapped", &pairs(&[("a", "10.0.0.1@232.1.1.1:5000"), ("b", "10.0.0.2@232.1.1.1:5000")]))
        )
    };
    let run = home.run(&lab, &text("a"), &[]);
    let send = |count: u64| {
        command::send_with(&lab, &["10.0.0.1", "10.0.0.2"], count, |config| config.traffic.size = 100);
    };
    let length = |name: &str| fs::metadata(home.path(name)).map_or(0, |metadata| metadata.len());
    let wait_for = |name: &str, bytes: u64| {
        let deadline = Instant::now() + PATIENCE;
        while length(name) != bytes {
            assert!(Instant::now() < deadline, "{name} has {} bytes and not {bytes}", length(name));
            sleep(Duration::from_millis(10));
        }
    };
    send(200);
    wait_for("some.raw", 10_000);
    wait_for("all.raw", 20_000);
    // Both now, and a sink that cannot be opened while the run goes on.
    home.write(&format!("{}[[sink]]\nname = \"late\"\ntarget = \"discard:\"\n", text("a\", \"b")));
    assert_eq!(home.result(&["reload"])["needs_restart"], json!(["sink late"]));
    send(200);
    wait_for("some.raw", 30_000);
    home.write(&text("b"));
    run.signal(Signal::HUP);
    // The finished file has another name by then.
    wait_for("some.raw", 0);
    send(200);
    wait_for("some.raw", 10_000);
    wait_for("all.raw", 60_000);
    run.signal(Signal::INT);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{err}");
    let summary = last_object(&out);
    let sinks = summary["sinks"].as_array().expect("sinks").clone();
    assert_eq!(sinks.len(), 2, "{summary}");
    assert!(sinks.iter().all(|sink| sink["dropped"] == 0), "{summary}");
}
