//! Child processes: they are shown before they run, and errors name the command.

use std::io;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command on this process's terminal. Fails unless the command succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Shows a command, then runs it as [`run`] does.
pub fn run_shown(command: &mut Command) -> Result<()> {
    eprintln!("+ {}", shown(command));
    run(command)
}

/// Runs a command and returns its output. Fails with its error output unless it succeeds.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{}`", shown(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", shown(command), output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns true if a command can be run and succeeds. Its output is discarded.
pub fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let quoted = |text: &std::ffi::OsStr| {
        let text = text.to_string_lossy().into_owned();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,@+%".contains(&byte);
        if !text.is_empty() && text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let set =
        command.get_envs().filter_map(|(key, value)| Some(format!("{}={}", key.to_string_lossy(), quoted(value?))));
    set.chain(words.map(quoted)).collect::<Vec<_>>().join(" ")
}

/// Returns true if this process runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Turns the error of a missing file into `None`.
pub fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = Command::new("receiver");
        command.arg("run").arg("!10.0.0.9@239.1.1.1:5001").env("A", "b c").env_remove("D");
        assert_eq!(shown(&command), "A='b c' receiver run '!10.0.0.9@239.1.1.1:5001'");
    }

    #[test]
    fn failures_carry_the_complaint() {
        let error =
            read(Command::new("sh").args(["-c", "echo no good >&2; exit 3"])).expect_err("it fails").to_string();
        assert!(error.contains("no good") && error.contains('3'), "{error}");
        assert!(run(&mut Command::new("/no/such/program")).is_err());
        assert!(!succeeds(&mut Command::new("false")) && succeeds(&mut Command::new("true")));
    }
}
