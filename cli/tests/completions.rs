//! Completions in shells, manual pages, variables for options, and suggestions for slips. Needs root.

mod command;

use std::fs;
use std::process::{Command, Output};

use command::{Run, WANTED, last_object, send};
use netlab::Lab;

const RECEIVER: &str = env!("CARGO_BIN_EXE_receiver");

fn receiver(words: &[&str]) -> Output {
    Command::new(RECEIVER).args(words).output().expect("the command runs")
}

/// What completes the last of these words, one a line, as the script for fish asks.
fn completions(lab: &Lab, words: &[&str]) -> String {
    let mut command = lab.rx().command(RECEIVER);
    command.env("RECEIVER_COMPLETE", "fish").arg("--").arg("receiver").args(words);
    let output = command.output().expect("the command runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn words_complete() {
    let lab = Lab::new().expect("a lab");
    for (words, expected) in [
        (&["ru"][..], &["run"][..]),
        (&["completions", "--", ""], &["bash", "zsh", "fish", "elvish", "powershell"]),
        (&["run", "--mode", "z"], &["zero-copy"]),
        (&["run", "-m", ""], &["auto", "zero-copy", "mapped", "copy", "generic", "socket"]),
        (&["run", "--drop-unwanted", "u"], &["unless-shared"]),
        (&["run", "--copy-l"], &["--copy-limit"]),
        (&["run", "-i", ""], &["veth-rx"]),
        (&["ctl", "log-level", "d"], &["debug"]),
        (&["interfaces", "ve"], &["veth-rx"]),
        (&["membership", "--interface", "ve"], &["veth-rx"]),
        (&["send", "-i", "x"], &[]),
    ] {
        let found = completions(&lab, words);
        let mut names: Vec<&str> = found.lines().filter_map(|line| line.split('\t').next()).collect();
        names.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(names, expected, "{words:?}: {found}");
    }
    assert!(completions(&lab, &["run", "-i", "v"]).contains("veth-rx\tveth, up"));
}

#[test]
fn named_runs_complete() {
    let lab = Lab::new().expect("a lab");
    let folder = std::env::temp_dir().join(format!("receiver-names-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("lab-1.sock"), "").expect("a file");
    let mut command = lab.rx().command(RECEIVER);
    command.env("RUNTIME_DIRECTORY", &folder).env("RECEIVER_COMPLETE", "fish");
    let output = command.args(["--", "receiver", "run", "-n", "l"]).output().expect("the command runs");
    fs::remove_dir_all(&folder).expect("it was there");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "lab-1");
}

/// The script of bash, in bash.
#[test]
fn bash_takes_its_script() {
    let lab = Lab::new().expect("a lab");
    let folder = fs::canonicalize(RECEIVER).expect("it is there");
    let folder = folder.parent().expect("a folder").to_str().expect("UTF-8").to_owned();
    let script = format!(
        "PATH={folder}:$PATH; source <(receiver completions bash); COMP_WORDS=(receiver run -i ve); COMP_CWORD=3; \
         COMP_TYPE=9; _clap_complete_receiver receiver ve -i; echo \"${{COMPREPLY[@]}}\""
    );
    let output = lab.rx().command("bash").args(["--norc", "-c", &script]).output().expect("bash");
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(out.trim(), "veth-rx", "{output:?}");
}

#[test]
fn each_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = receiver(&["completions", shell]);
        let script = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && script.contains("RECEIVER_COMPLETE"), "{shell}: {script}");
        assert!(!script.contains(RECEIVER), "the script finds the command by PATH: {script}");
    }
    let unknown = receiver(&["completions", "bsah"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("a similar value exists: 'bash'"), "{unknown:?}");
}

#[test]
fn manual_pages_are_well_formed() {
    let folder = std::env::temp_dir().join(format!("receiver-man-{}", std::process::id()));
    let written = receiver(&["man", folder.to_str().expect("UTF-8")]);
    assert!(written.status.success(), "{written:?}");
    let mut pages: Vec<_> = fs::read_dir(&folder).expect("a folder").flatten().map(|page| page.path()).collect();
    pages.sort();
    let names: Vec<_> = pages.iter().filter_map(|page| page.file_name()?.to_str()).collect();
    for name in ["receiver.1", "receiver-run.1", "receiver-send.1", "receiver-membership.1", "receiver-completions.1"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(!names.contains(&"receiver-man.1"), "it is hidden: {names:?}");
    for page in &pages {
        // groff is in Debian's groff-base, without which no page can be read.
        let checked = Command::new("groff").args(["-man", "-ww", "-Tutf8", "-P-cbou"]).arg(page).output();
        let Ok(checked) = checked else {
            eprintln!("groff is not installed: the pages are not checked");
            break;
        };
        let (text, warnings) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
        assert!(checked.status.success() && warnings.is_empty(), "{}: {warnings}", page.display());
        for part in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS"] {
            assert!(text.contains(part), "{}: {text}", page.display());
        }
        if page.ends_with("receiver-run.1") {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for part in
                ["--interface", "--copy-limit", "RECEIVER_INTERFACE environment", "SOURCE[,SOURCE...]@GROUP:PORT"]
            {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }
    fs::remove_dir_all(&folder).expect("it was there");
}

#[test]
fn variables_stand_for_options() {
    let lab = Lab::new().expect("a lab");
    let variables = [("RECEIVER_INTERFACE", "veth-rx"), ("RECEIVER_MODE", "socket")];
    let start = |words: &[&str]| {
        let mut command = lab.rx().command(RECEIVER);
        for (name, value) in variables {
            command.env(name, value);
        }
        command.arg("run").args(words);
        Run::spawn(&mut command).until_joined()
    };
    let (run, line) = start(&["--json", "--count", "10", WANTED]);
    assert_eq!(command::object(&line)["mode"], "socket", "{line}");
    send(&lab, &["10.0.0.1"], 10);
    let (out, err, code) = run.end();
    assert_eq!((code, &last_object(&out)["packets"]), (Some(0), &10.into()), "{err}");
    let (_, line) = start(&["--json", "--mode", "copy", "--duration", "100ms", WANTED]);
    assert_eq!(command::object(&line)["mode"], "copy", "an option comes first: {line}");
}

#[test]
fn slips_have_suggestions() {
    let lab = Lab::new().expect("a lab");
    for (words, says) in [
        ("rnu", "a similar subcommand exists: 'run'"),
        ("run -i veth-rx --durration 1", "a similar argument exists: '--duration'"),
        ("run -i veth-rx --mode cpoy 232.1.1.1:1", "copy, generic or socket. Did you mean copy?"),
        ("run -i veth-rx --drop-unwanted nevr 232.1.1.1:1", "Did you mean never?"),
        ("run -i veht-rx 10.0.0.1@232.1.1.1:5000", "(there are: veth-rx). Did you mean veth-rx?"),
        ("membership -i veth-xr", "Did you mean veth-rx?"),
        ("send -i veth-r -g 232.1.1.1 -p 5000", "Did you mean veth-rx?"),
    ] {
        let output = lab.rx().command(RECEIVER).args(words.split(' ')).output().expect("the command runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)) && err.contains(says), "{words}: {err}");
    }
}
