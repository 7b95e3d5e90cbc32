//! The command, its answer, and the remedies that it names.

use std::process::Output;

use netlab::Lab;
use serde_json::Value;

use crate::command::object;

/// Without trying modes, and hardly listening.
pub const QUICK: [&str; 3] = ["--no-probe", "--wait", "0.05"];

/// What the command printed in JSON.
pub struct Answer {
    pub value: Value,
    pub code: Option<i32>,
}

impl Answer {
    pub fn of(output: &Output) -> Self {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(out.lines().count(), 1, "{out}{err}");
        let this = Self { value: object(&out), code: output.status.code() };
        let failed = this.value["fail"].as_u64().expect("a count");
        assert_eq!(this.code, Some(i32::from(failed > 0)), "{out}{err}");
        assert_eq!(err.is_empty(), failed == 0, "{err}");
        this
    }

    /// The lines of a check.
    pub fn lines(&self, check: &str) -> Vec<&Value> {
        let lines = self.value["checks"].as_array().expect("checks");
        lines.iter().filter(|line| line["check"] == check).collect()
    }

    /// The one line of a check with this outcome: its text and its remedy.
    pub fn line(&self, check: &str, outcome: &str) -> (&str, &str) {
        let lines = self.lines(check);
        let mut found = lines.iter().filter(|line| line["outcome"] == outcome);
        let line = found.next().unwrap_or_else(|| panic!("{check} has no line that is {outcome}: {lines:?}"));
        assert!(found.next().is_none(), "{check} has two lines that are {outcome}: {lines:?}");
        (line["text"].as_str().expect("a text"), line["remedy"].as_str().unwrap_or_default())
    }

    /// Asserts that all lines of a check are ok.
    pub fn assert_ok(&self, check: &str) {
        let lines = self.lines(check);
        assert!(!lines.is_empty() && lines.iter().all(|line| line["outcome"] == "ok"), "{check}: {lines:?}");
    }
}

pub fn command(lab: &Lab, arguments: &[&str]) -> netlab::Command {
    let mut command = lab.rx().command(env!("CARGO_BIN_EXE_receiver"));
    command.args(["doctor", "-i", lab.rx_interface(), "--json"]).args(arguments).env_remove("RUST_LOG");
    command.env_remove("RECEIVER_LOG");
    command
}

pub fn doctor(lab: &Lab, arguments: &[&str]) -> Answer {
    Answer::of(&command(lab, arguments).output().expect("the doctor runs"))
}

pub fn quick(lab: &Lab, arguments: &[&str]) -> Answer {
    doctor(lab, &[&QUICK[..], arguments].concat())
}

/// Runs a remedy in the receiving namespace, as a user types it.
pub fn apply(lab: &Lab, remedy: &str) {
    let output = lab.rx().command("sh").args(["-c", remedy]).output().expect("a shell");
    assert!(output.status.success(), "`{remedy}`: {}", String::from_utf8_lossy(&output.stderr));
}

/// Asserts that a check has a line with this outcome and this part, and that its remedy turns the check ok.
pub fn assert_mended(lab: &Lab, arguments: &[&str], check: &str, outcome: &str, part: &str) {
    let answer = quick(lab, arguments);
    let (text, remedy) = answer.line(check, outcome);
    assert!(text.contains(part), "{text}");
    apply(lab, remedy);
    quick(lab, arguments).assert_ok(check);
}
