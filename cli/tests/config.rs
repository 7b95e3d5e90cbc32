//! `receiver config`, and `receiver run --config` as far as it needs no interface.

mod command;

use std::fs;
use std::process::{Command, Output};
use std::time::Instant;

use command::{PATIENCE, Scratch};
use serde_json::Value;

/// Runs the command with these environment variables.
fn receiver_in(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_receiver"));
    command.envs(environment.iter().copied()).args(arguments).output().expect("the command runs")
}

fn receiver(arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = receiver_in(&[], arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// The faults of a file, without its name.
fn faults(text: &str) -> Vec<String> {
    let file = Scratch::with(text);
    let (out, err, code) = receiver(&["config", "check", file.name()]);
    assert_eq!((out.as_str(), code), ("", Some(2)), "{err}");
    // A run refuses the file with the same words.
    assert_eq!(receiver(&["run", "--config", file.name()]).1, err);
    let lines = err.strip_prefix("receiver: ").expect("the name of the command").lines();
    lines.map(|line| line.trim_start().strip_prefix(file.name()).expect(line).to_owned()).collect()
}

fn check(text: &str) -> String {
    let file = Scratch::with(text);
    let (out, err, code) = receiver(&["config", "check", file.name()]);
    assert_eq!((err.as_str(), code), ("", Some(0)), "{text}");
    out
}

const SUBSCRIPTION: &str = "[[subscription]]\naddress = \"10.0.0.1@232.1.1.1:5000\"\n";

#[test]
fn a_check_says_what_would_be_received() {
    assert_eq!(
        check(&format!("interface = \"veth1\"\n{SUBSCRIPTION}[[sink]]\ntarget = \"discard:\"\n")),
        "ok: 1 subscription, 1 sink on veth1, mode auto\n"
    );
    assert_eq!(
        check(&format!("mode = \"copy\"\nvlan = 200.100\ncopy_limit = 0x4000000\n{SUBSCRIPTION}")),
        "ok: 1 subscription, 0 sinks on the interface of the command line, mode copy\n"
    );
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    let text = "ringsize = 64\nring-size = 64\nzebra = 1\n[[subscription]]\naddres = \"10.0.0.1@232.1.1.1:1\"\n\
                address = \"10.0.0.1@232.1.1.1:1\"\n[[sink]]\ntarget = \"x\"\nsubscription = [\"a\"]\n";
    assert_eq!(
        faults(text),
        [
            ":1: unknown key `ringsize`; did you mean `ring_size`?",
            ":2: unknown key `ring-size`; did you mean `ring_size`?",
            ":3: unknown key `zebra`; `receiver config example` prints all keys",
            ":5: unknown key `addres`; did you mean `address`?",
            ":9: unknown key `subscription`; did you mean `subscriptions`?",
        ]
    );
    assert_eq!(faults("config = \"other\"\n"), [":1: a configuration cannot name another one; remove `config`"]);
}

#[test]
fn values_are_those_of_the_command_line() {
    let faults_of = |line: &str| faults(&format!("{line}\n{SUBSCRIPTION}")).join("\n");
    for (line, says) in [
        ("mode = \"fast\"", "`mode` cannot be `fast`: "),
        ("duration = \"soon\"", "`duration` cannot be `soon`: "),
        ("interval = 0", "`interval` cannot be `0`: "),
        ("count = \"0\"", "`count` cannot be `0`: "),
        ("copy_limit = \"64Mbit\"", "`copy_limit` cannot be `64Mbit`: `64Mbit` is not a number of bytes"),
        ("frame_size = 100", "`frame_size` cannot be `100`: a frame has 2048 or 4096 bytes"),
        ("ring_size = 1000", "`ring_size` cannot be `1000`: it must be a power of two"),
        ("vlan = 4095", "`vlan` cannot be `4095`: "),
        ("name = \"7\"", "`name` cannot be `7`: "),
        ("verbose = 300", "`verbose` cannot be `300`: "),
        ("json = 1", "`json` is true or false, not an integer"),
        ("verbose = true", "`verbose` is a number from 0 on, not a boolean"),
        ("summary = true", "`summary` is a path in quotes, not a boolean"),
        ("subscriptions = [\"10.0.0.1@232.1.1.1:1\"]", "`subscriptions` is the path of a list, in quotes"),
        ("sink = \"x\"", "`sink` is an array of tables; write [[sink]]"),
        ("interface = eth1", "string values must be quoted"),
    ] {
        let found = faults_of(line);
        assert!(found.starts_with(&format!(":1: {says}")), "{line}: {found}");
    }
    assert_eq!(faults_of("hex = true\njson = true"), ":2: `hex` and `json` exclude each other; remove one of them");
    assert_eq!(check(&format!("hex = true\njson = false\n{SUBSCRIPTION}")).split(':').next(), Some("ok"));
}

#[test]
fn subscriptions_and_sinks_are_checked_with_all_faults() {
    let text = "\
[[subscription]]
name = \"video\"
address = \"10.0.0.1@232.1.1.1:5000\"
[[subscription]]
name = \"video\"
address = \"10.0.0.2@232.1.1.1:5000\"
[[subscription]]
address = \"10.0.0.2@232.1.1.1\"
[[subscription]]
name = \"7\"
address = \"10.0.0.3@232.1.1.1:5000\"
[[sink]]
name = \"a\"
target = \"discard:\"
subscriptions = [\"vidoe\"]
[[sink]]
name = \"a\"
[[sink]]
target = 5
";
    let found = faults(text);
    let starts = [
        ":4: the subscription of line 1 has the name `video` too",
        ":8: subscription `10.0.0.2@232.1.1.1`: there is no `:PORT`",
        ":9: the name `7` of a subscription is not valid",
        ":12: no [[subscription]] has the name `vidoe`; did you mean `video`?",
        ":16: [[sink]]: missing field `target`",
        ":19: [[sink]]: invalid type: integer `5`, expected a string",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (fault, start) in found.iter().zip(starts) {
        assert!(fault.starts_with(start), "{fault} for {start}");
    }
    let found = faults(
        "[[subscription]]\naddress = \"232.1.1.1:1\"\n[[subscription]]\naddress = \"10.0.0.1@239.1.1.1:1\"\n\
         [[subscription]]\naddress = \"239.1.1.1:1\"\n",
    );
    assert!(found[0].starts_with(":1: group 232.1.1.1 is in the source-specific range"), "{found:?}");
    assert!(found[1].starts_with(":5: 239.1.1.1:1 overlaps 10.0.0.1@239.1.1.1:1 of "), "{found:?}");
}

/// The lines of a long file are counted once, not for each of its parts.
#[test]
fn a_long_file_is_checked_in_seconds() {
    let mut text = String::new();
    for n in 0..20_000 {
        text.push_str(&format!("[[subscription]]\naddress = \"10.0.0.1@232.1.{}.{}:5000\"\n", n / 256, n % 256));
    }
    text.push_str("zebra = 1\n");
    let begun = Instant::now();
    let found = faults(&text);
    assert!(found[0].starts_with(":40001: unknown key `zebra`"), "{found:?}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[test]
fn a_file_that_cannot_be_read_is_a_usage_error() {
    for (name, says) in [
        ("/nowhere/at.toml", "receiver: cannot read the configuration /nowhere/at.toml: No such file or directory"),
        ("/dev/zero", "receiver: the configuration /dev/zero is longer than 16 MiB; check the name"),
    ] {
        let (_, err, code) = receiver(&["run", "--config", name]);
        assert!(err.starts_with(says) && code == Some(2), "{err}");
    }
    let file = Scratch::with([0xff, 0xfe]);
    assert!(receiver(&["config", "check", file.name()]).1.contains("is not UTF-8 text; save it as UTF-8"));
    let none = Scratch::with(SUBSCRIPTION);
    let (_, err, code) = receiver(&["run", "--config", none.name()]);
    assert!(err.contains("there is no interface; name one with -i, or in the configuration"), "{err}");
    assert_eq!(code, Some(2));
}

/// The error of a run that cannot open its interface names the interface that it was to open.
fn interface_of(environment: &[(&str, &str)], text: &str, arguments: &[&str]) -> String {
    let file = Scratch::with(text);
    let arguments = [&["run", "--config", file.name()], arguments].concat();
    let err = String::from_utf8(receiver_in(environment, &arguments).stderr).expect("text");
    let names = ["no-such-0", "no-such-1", "no-such-2"].into_iter().filter(|name| err.contains(name));
    names.collect::<Vec<_>>().join(" ") + if err.contains("power of two") { " ring" } else { "" }
}

#[test]
fn the_command_line_overrides_the_file_and_the_file_the_environment() {
    let file = format!("interface = \"no-such-1\"\n{SUBSCRIPTION}");
    let environment = [("RECEIVER_INTERFACE", "no-such-0")];
    assert_eq!(interface_of(&environment, SUBSCRIPTION, &["-i", "no-such-2"]), "no-such-2");
    assert_eq!(interface_of(&environment, &file, &[]), "no-such-1");
    assert_eq!(interface_of(&environment, &file, &["-i", "no-such-2"]), "no-such-2");
    let wrong = format!("interface = \"no-such-1\"\nframes = 64\nring_size = 64\n{SUBSCRIPTION}");
    let file = Scratch::with(&wrong);
    let (_, err, _) = receiver(&["run", "--config", file.name()]);
    assert!(err.contains(":2: `frames` cannot be `64`: it must be at least four times ring_size"), "{err}");
    assert_eq!(interface_of(&[], &wrong, &["--frames", "256"]), "no-such-1", "the command line repairs the value");
    // A flag takes `=false`, where there is a file to override.
    let share = format!("interface = \"no-such-1\"\nshare = true\n{SUBSCRIPTION}");
    let refused = |flag: &str| {
        let file = Scratch::with(&share);
        receiver(&["run", "--config", file.name(), "--mode", "copy", flag]).1
    };
    assert!(refused("--share").contains("`share` cannot be `true`"), "{}", refused("--share"));
    assert!(refused("--share=false").contains("no-such-1"), "{}", refused("--share=false"));
    let (_, err, code) = receiver(&["run", "-i", "no-such-1", "10.0.0.1@232.1.1.1:1", "--share=false"]);
    assert!(err.contains("unexpected value 'false' for '--share'") && code == Some(2), "{err}");
    // An option of the command line also overrides the one that it excludes.
    let json = format!("interface = \"no-such-1\"\njson = true\n{SUBSCRIPTION}");
    assert_eq!(interface_of(&[], &json, &["--hex"]), "no-such-1");
}

#[test]
fn the_example_is_checked_in_and_each_of_its_keys_is_valid() {
    let (example, _, code) = receiver(&["config", "example"]);
    assert_eq!(code, Some(0));
    let checked_in = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/receiver.toml");
    assert!(
        fs::read_to_string(checked_in).is_ok_and(|text| text == example),
        "deploy/receiver.toml differs; run `receiver config example > deploy/receiver.toml`"
    );
    assert_eq!(check(&example), "ok: 2 subscriptions, 0 sinks on eth1, mode auto\n");
    let long = example.lines().find(|line| line.chars().count() > 120);
    assert_eq!(long, None);
    // Each commented key, one at a time.
    let list = Scratch::with("10.0.0.9@232.1.1.1:5000\n");
    let schema: Value = serde_json::from_str(&receiver(&["config", "schema"]).0).expect("JSON");
    let properties = schema["properties"].as_object().expect("an object");
    let mut keys = vec!["interface", "subscription", "sink"];
    let is_option = |line: &&str| *line != "#[[sink]]";
    for line in example.lines().take_while(is_option) {
        let Some((key, value)) = line.strip_prefix('#').and_then(|line| line.split_once(" = ")) else { continue };
        if key.starts_with(' ') {
            continue;
        }
        let value = if key == "subscriptions" { format!("\"{}\"", list.name()) } else { value.to_owned() };
        check(&format!("{key} = {value}\n{SUBSCRIPTION}"));
        keys.push(key);
        let types = &properties.get(key).unwrap_or_else(|| panic!("{key} is not in the schema"))["type"];
        let is_number = value.parse::<i64>().is_ok();
        let expected = if is_number { ["number", "integer"] } else { ["string", "boolean"] };
        let has = |name: &str| types == name || types.as_array().is_some_and(|all| all.iter().any(|one| one == name));
        let is_listed = !properties[key]["anyOf"].is_null() || !properties[key]["enum"].is_null();
        assert!(is_listed || expected.iter().any(|name| has(name)), "{key} = {value}: {types}");
    }
    for key in properties.keys() {
        assert!(keys.contains(&key.as_str()), "the example has no `{key}`");
    }
}
