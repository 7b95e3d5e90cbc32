//! Whole feeds through the tool, live: `receiver send --feed` makes two legs that lose packets, `receiver run --feed`
//! makes one stream of them, and a reader of a Unix socket checks each datagram. Needs root.
//!
//! 40,000 messages in each mode, or as RECEIVER_FEED_MESSAGES and RECEIVER_FEED_RATE (messages per second) ask:
//! docs/feeds.md, "Second opinions".

mod command;
mod legs;
mod payloads;

use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use command::{Folder, asked, last_object, object};
use legs::LEGS;
use netlab::Lab;
use rustix::process::Signal;
use serde_json::Value;

/// Messages in a datagram.
const MESSAGES: u64 = 10;

/// What a reader of the sink found.
#[derive(Debug, Default, PartialEq)]
struct Read {
    messages: u64,
    missing: u64,
    gaps: u64,
    /// Datagrams that began before the end of the one in front of them.
    backward: u64,
}

/// Reads MoldUDP64 by its header alone, until nothing comes after `is_over`.
fn read(socket: &UnixDatagram, is_over: impl Fn() -> bool) -> Read {
    let (mut found, mut expected, mut buffer) = (Read::default(), 1, vec![0; 2000]);
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    loop {
        let over = is_over();
        let Ok(length) = socket.recv(&mut buffer) else {
            if over {
                return found;
            }
            continue;
        };
        let datagram = &buffer[..length];
        let first = u64::from_be_bytes(datagram[10..18].try_into().expect("8 bytes"));
        let count = u64::from(u16::from_be_bytes(datagram[18..20].try_into().expect("2 bytes")));
        match first.checked_sub(expected) {
            None => found.backward += 1,
            Some(0) => {}
            Some(missing) => {
                found.missing += missing;
                found.gaps += 1;
            }
        }
        found.messages += count;
        expected = first + count;
    }
}

/// Sends a feed with 1 % of the packets lost on each leg, and compares what both ends and the reader say.
fn whole_feed(mode: &str, exclusive: bool) {
    let messages = asked("RECEIVER_FEED_MESSAGES", 40_000);
    let rate = asked("RECEIVER_FEED_RATE", 40_000);
    let (lab, folder) = (Lab::new().expect("a lab"), Folder::new());
    let path = folder.text("feed");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let output = format!("unix:{path}");
    // A busy machine holds one leg back for long.
    let arguments = ["--mode", mode, "--feed", "moldudp64", "--feed-window", "5s"];
    let rings = ["--ring-size", "8192", "--frames", "32768", "--socket-buffer", "67108864", "-o", &output];
    let run = payloads::joined(&lab, &[&arguments[..], &rings, &LEGS].concat());

    let mut send = lab.tx().command(env!("CARGO_BIN_EXE_receiver"));
    send.args(["send", "-i", lab.tx_interface(), "--feed", "moldudp64", "--loss", "1%", "--seed", "15", "--json"]);
    send.args(["--leg", LEGS[0], "--leg", LEGS[1]]).args(exclusive.then_some("--exclusive-loss"));
    send.args(["--messages", &MESSAGES.to_string(), "--rate", &rate.to_string(), "--count", &messages.to_string()]);
    let ended = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::Release;
    let (found, sent, (out, err, code)) = thread::scope(|scope| {
        let reader = scope.spawn(|| read(&socket, || ended.load(std::sync::atomic::Ordering::Acquire)));
        let sent = send.output().expect("it runs");
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
        thread::sleep(Duration::from_secs(1));
        run.signal(Signal::INT);
        let result = run.end();
        ended.store(true, order);
        (reader.join().expect("the reader"), sent, result)
    });
    assert_eq!(code, Some(0), "{err}");
    let (sent, summary) = (object(&String::from_utf8(sent.stdout).expect("text")), last_object(&out));
    let count = |object: &Value| object.as_u64().unwrap_or_else(|| panic!("no number in {summary} or {sent}"));
    let feed = &summary["feeds"][0];
    let lost_on_all = count(&sent["missing"]);
    assert_eq!(exclusive, lost_on_all == 0, "{sent}");
    assert_eq!(count(&summary["unaccounted"]), 0, "{summary}");
    // What the host itself lost has a cause; there is nothing of it unless the machine is too slow for the rate.
    assert_eq!((count(&summary["lost"]), &summary["sinks"][0]["dropped"]), (0, &0.into()), "{summary}");
    let total = &feed["total"];
    let told = ["messages", "missing", "gaps", "recovered"].map(|name| count(&total[name]));
    assert_eq!(told, [messages - lost_on_all, lost_on_all, count(&sent["gaps"]), 0], "{feed} of {sent}");
    let expected =
        Read { messages: messages - lost_on_all, missing: lost_on_all, gaps: count(&sent["gaps"]), backward: 0 };
    assert_eq!(found, expected, "what the reader found");
    for leg in [0, 1] {
        assert_eq!(feed["legs"][leg]["missing"], sent["legs"][leg]["missing"], "leg {leg}: {feed} of {sent}");
    }
    println!(
        "{mode}: {} of {messages} messages, each once and in order; {lost_on_all} lost on both legs, {} and {} on each",
        found.messages, sent["legs"][0]["missing"], sent["legs"][1]["missing"],
    );
}

macro_rules! modes {
    ($($name:ident: $mode:literal),*) => {$(
        mod $name {
            #[test]
            fn what_one_leg_has_is_whole() {
                super::whole_feed($mode, true);
            }

            #[test]
            fn exactly_what_both_legs_lost_is_missing() {
                super::whole_feed($mode, false);
            }
        }
    )*};
}

modes!(mapped: "mapped", copy: "copy", generic: "generic", socket: "socket");
