//! Targets, refusals, and that a target is written as it is parsed.

use super::*;
use proptest::prelude::*;
use receiver_send::impair::Impairment;

fn refused(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn the_kinds() {
    let kind = |text| parse(text).expect(text).kind;
    assert_eq!(kind("-"), Kind::StandardOutput);
    assert_eq!(kind("-?limit=1MiB"), Kind::StandardOutput);
    assert_eq!(kind("discard:"), Kind::Discard);
    assert_eq!(kind("unix:/run/reader"), Kind::Unix("/run/reader".to_owned()));
    for path in ["file", "./-", "./discard:", "/dev/null", "a?b", "a%Hb", "C:file", "a:b"] {
        assert_eq!(kind(path), Kind::File(FileTarget::plain(path)), "{path}");
    }
    let file = FileTarget {
        path: "/data/%Y%m%d-%H%M%S.raw".to_owned(),
        timed: true,
        rotate: Some(1 << 30),
        every: Some(Duration::from_secs(3600)),
        keep: Some(24),
    };
    assert_eq!(kind("file:/data/%Y%m%d-%H%M%S.raw?rotate=1GiB&every=1h&keep=24"), Kind::File(file));
    let relay = UdpTarget {
        host: "239.1.1.1".to_owned(),
        port: 5000,
        interface: Some("veth1".to_owned()),
        ttl: Some(16),
        source: Some(IpAddr::from([10, 0, 0, 9])),
        delay: Duration::from_millis(20),
        impairment: Impairment::default(),
        seed: 1,
        looped: false,
    };
    assert_eq!(
        kind("udp://239.1.1.1:5000?interface=veth1&ttl=16&source=10.0.0.9&delay=20ms&loop=no"),
        Kind::Udp(relay)
    );
    let file = FileTarget { path: "%H.pcapng".to_owned(), timed: true, rotate: None, every: None, keep: Some(2) };
    let recording = RecordingTarget { file, zstd: true, comments: true };
    assert_eq!(kind("pcapng:%H.pcapng?keep=2&compress=zstd&comments=yes"), Kind::Recording(recording));
    assert_eq!(
        kind("framed:-?limit=1M"),
        Kind::Framed(FileTarget { path: "-".to_owned(), timed: true, rotate: None, every: None, keep: None })
    );
    let Kind::Udp(lossy) = kind("udp://h:1?loss=1%&reorder=0.5%&reorder-by=7&duplicate=0.1%&seed=9") else {
        panic!("a relay")
    };
    let Impairment { loss, reorder, reorder_by, duplicate, .. } = lossy.impairment;
    assert_eq!([loss, reorder, duplicate].map(|share| share.to_string()), ["1%", "0.5%", "0.1%"]);
    assert_eq!((reorder_by, lossy.seed), (7, 9));
    let target = parse("udp://[2001:db8::1]:5000?only=232.1.1.1:5000&only=232.1.1.2:5000&limit=64MiB").expect("two");
    assert_eq!((target.only.len(), target.limit), (2, Some(64 << 20)));
}

#[test]
fn each_refusal_names_key_reason_and_remedy() {
    for (text, problem) in [
        ("", "it is empty; write a path, -, discard:, udp://HOST:PORT or unix:PATH"),
        ("file:", "it has no path; write file:PATH"),
        ("file:/data/", "it has no path; write file:PATH"),
        ("unix:", "it has no path; write unix:PATH"),
        ("a\0b", "a path cannot contain a byte of value 0; remove it"),
        ("upd://10.0.0.1:1", "upd:// is no kind of target; write udp://, or ./upd://... for a path"),
        ("udp:10.0.0.1:1", "udp: is no kind of target; write udp://, or ./udp:... for a path"),
        ("discard:x", "discard:x is no kind of target; write discard: with nothing behind it"),
        ("a.raw?rotate=1GiB", "a path alone takes no options; write file:a.raw?rotate=1GiB"),
        ("file:a?rotate", "`rotate` is no option; write KEY=VALUE"),
        ("file:a?rotat=1", "the key `rotat` is unknown; did you mean `rotate`?"),
        ("unix:a?colour=1", "the key `colour` is unknown; the keys are only, limit"),
        ("file:a?rotate=1&rotate=2", "the key `rotate` has two values; keep one of them"),
        ("file:a?rotate=x", "the value of `rotate` is `x`; write a size such as 1GiB or 500M"),
        (
            "file:a?every=1ms",
            "the value of `every` is `1ms`; write a whole number of seconds, minutes, hours or days, such as 1h",
        ),
        ("file:a?keep=2", "`keep` has nothing to count, since no file is ever finished; add rotate=SIZE or every=TIME"),
        ("pcapng:", "it has no path; write pcapng:PATH"),
        ("pcapng:-?rotate=1M", "`rotate` is for files; remove it, or write pcapng:PATH"),
        ("framed:", "it has no path; write framed:PATH"),
        ("framed:-?keep=1", "`keep` is for files; remove it, or write framed:PATH"),
        ("framed:a?compress=zstd", "the key `compress` is unknown; the keys are rotate, every, keep, only, limit"),
        ("pcapng:a?compress=gzip", "the value of `compress` is `gzip`; write zstd, the only form of compression"),
        ("pcapng:a?comments=1", "the value of `comments` is `1`; write yes or no"),
        ("file:a%q", "`%q` in the name is unknown; write %Y, %m, %d, %H, %M, %S, or %% for a percent sign"),
        (
            "file:%Y/a",
            "a folder of the path contains `%`; write times in the file's name alone, and %% for a percent sign \
             there",
        ),
        ("udp://x", "`x` is no host and port; write HOST:PORT, with an IPv6 address in brackets"),
        (
            "udp://2001:db8::1:1",
            "`2001:db8::1:1` is no host and port; write HOST:PORT, with an IPv6 address in brackets",
        ),
        ("udp://h:0", "`h:0` is no host and port; write HOST:PORT, with an IPv6 address in brackets"),
        ("udp://239.1.1.1:1", "239.1.1.1 is a group; add interface=NAME, the interface by which it is sent"),
        ("udp://10.0.0.1:1?interface=e", "`interface` is for groups, and 10.0.0.1 is none; remove it"),
        (
            "udp://10.0.0.1:1?source=::1",
            "the source ::1 and 10.0.0.1 are of different IP versions; write a source of the same version",
        ),
        (
            "udp://10.0.0.1:1?delay=2s",
            "the value of `delay` is `2s`; write a time up to 1s, such as 20ms; 0 sends each datagram at once",
        ),
        ("udp://h:1?loss=1", "the value of `loss` is `1`; write a percentage from 0% to 100%, such as 1%"),
        (
            "udp://h:1?loss=60%&duplicate=50%",
            "loss, reorder and duplicate add up to more than 100 %; a datagram has one fate, so take less",
        ),
        (
            "udp://h:1?seed=2",
            "`seed` has nothing to decide; add loss=SHARE, reorder=SHARE or duplicate=SHARE, or remove it",
        ),
        (
            "udp://h:1?loss=1%&reorder-by=0",
            "the value of `reorder-by` is `0`; write a number of datagrams from 1 to 1000",
        ),
        ("nats://h:1", "it names no stream; write nats://HOST:PORT/STREAM"),
        ("nats://h:1/A.B", "`A.B` is no name of a stream; write letters, digits, - and _"),
        ("nats://h:1/S?creds=a&user=b", "`user` and `creds` exclude each other; keep one of them"),
        (
            "nats://h:1/S?password_file=a",
            "`password_file` needs user=NAME beside it; add it, or remove `password_file`",
        ),
        ("nats://h:1/S?cert=a", "`cert` needs key=PATH beside it; add it, or remove `cert`"),
        ("nats://h:1/S?dedup_window=1m", "`dedup_window` needs create=yes beside it; add it, or remove `dedup_window`"),
        ("nats://h:1/S?on_full=wait", "the value of `on_full` is `wait`; write drop or block"),
        ("nats://h:1/S?window=0", "the value of `window` is `0`; write a number of messages from 1 to 8192"),
    ] {
        assert_eq!(refused(text), format!("the target {text} is refused: {problem}"));
    }
    let long = format!("unix:{}", "x".repeat(108));
    assert!(refused(&long).ends_with("its path has 108 bytes, and a Unix socket's has up to 107; write a shorter one"));
}

#[test]
fn a_stream_has_defaults_and_no_secret_is_repeated() {
    let Kind::Nats(target) = parse("nats://[::1]/MD?user=a&on_full=block&dedup=moldudp64").expect("a stream").kind
    else {
        panic!("a stream")
    };
    assert_eq!((target.server.address().as_str(), target.stream.as_str()), ("[::1]:4222", "MD"));
    assert_eq!((target.window, target.blocks, target.create, target.strict), (4096, true, false, false));
    assert_eq!(target.subject, "{stream}.{name}");
    let error = refused("nats://feeds:secret@h:1/MD");
    assert!(error.starts_with("the target nats://...@h:1/MD is refused: ") && !error.contains("secret"), "{error}");
}

fn texts() -> impl Strategy<Value = String> {
    let head = prop_oneof![
        Just("-".to_owned()),
        Just("discard:".to_owned()),
        "file:[a-z/%YmdHMS.]{1,12}",
        "pcapng:(-|[a-z/%Yd.]{1,12})",
        "framed:(-|[a-z/%Yd.]{1,12})",
        "udp://(10\\.0\\.0\\.1|239\\.1\\.1\\.1|\\[ff3e::1\\]|host):[0-9]{1,5}",
        "unix:[a-z/]{1,20}",
        "nats://(10\\.0\\.0\\.1|\\[::1\\]|host)(:[0-9]{1,5})?/[A-Z]{1,3}",
        "[a-z:/?%.-]{1,12}",
    ];
    let keys = "(rotate|every|keep|compress|comments|limit|interface|ttl|source|delay|loop|loss|reorder|seed|only\
                |subject|window|user|timeout|dedup)";
    let option = format!("{keys}=[0-9]{{0,3}}[a-zA-Z.:%]{{0,4}}");
    (head, proptest::collection::vec(proptest::string::string_regex(&option).expect("a pattern"), 0..4))
        .prop_map(|(head, options)| if options.is_empty() { head } else { format!("{head}?{}", options.join("&")) })
}

proptest! {
    #[test]
    fn a_target_is_written_as_it_is_parsed(text in texts()) {
        if let Ok(target) = parse(&text) {
            prop_assert_eq!(parse(&target.to_string()), Ok(target));
        }
    }

    #[test]
    fn any_text_is_a_target_or_refused(text in ".*") {
        match parse(&text) {
            Ok(target) => prop_assert_eq!(parse(&target.to_string()), Ok(target)),
            Err(error) => prop_assert!(error.to_string().contains(&text)),
        }
    }
}
