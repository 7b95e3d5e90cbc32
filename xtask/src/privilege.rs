//! Root privilege, only where it is needed: builds run as the calling user, and what they built runs elevated.

use std::env;
use std::ffi::OsStr;
use std::io::{IsTerminal, stdin};
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{is_root, succeeds};
use crate::tree::find_program;

/// How commands become root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elevation {
    /// The process is root already.
    Root,
    /// By sudo.
    Sudo,
}

impl Elevation {
    /// Root, or sudo if it works without a password or can ask on a terminal (then it asks now). `None` otherwise.
    pub fn find() -> Option<Self> {
        if is_root() {
            return Some(Self::Root);
        }
        find_program("sudo")?;
        let asks = || {
            eprintln!("Root is needed; sudo will ask:");
            Command::new("sudo").arg("--validate").status().is_ok_and(|status| status.success())
        };
        let can =
            succeeds(Command::new("sudo").args(["--non-interactive", "true"])) || (stdin().is_terminal() && asks());
        can.then_some(Self::Sudo)
    }

    /// Finds the elevation as [`Elevation::find`] does. The error names what needs it.
    pub fn require(what: &str) -> Result<Self> {
        match Self::find() {
            Some(elevation) => Ok(elevation),
            None => bail!(
                "{what} needs root, and sudo cannot be used here (not installed, not allowed, or no terminal to ask \
                 on): run it as root"
            ),
        }
    }

    /// As [`Elevation::command`], with those of these variables that this process has.
    pub fn command_passing(self, program: impl AsRef<OsStr>, keys: &[&'static str]) -> Command {
        let variables = passed_on(keys);
        let variables: Vec<_> = variables.iter().map(|(key, value)| (*key, value.as_os_str())).collect();
        self.command(program, &variables)
    }

    /// Returns a command that runs as root. `variables` reach it through sudo too.
    pub fn command(self, program: impl AsRef<OsStr>, variables: &[(&str, &OsStr)]) -> Command {
        match self {
            Self::Root => {
                let mut command = Command::new(program);
                command.envs(variables.iter().copied());
                command
            }
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["--", "env"]);
                for (key, value) in variables {
                    let mut assignment = std::ffi::OsString::from(key);
                    assignment.push("=");
                    assignment.push(value);
                    command.arg(assignment);
                }
                command.arg(program);
                command
            }
        }
    }
}

/// The variables of this process that an elevated program needs too.
pub fn passed_on(keys: &[&'static str]) -> Vec<(&'static str, std::ffi::OsString)> {
    keys.iter().filter_map(|key| Some((*key, env::var_os(key)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::shown;

    #[test]
    fn sudo_gets_its_variables_as_arguments() {
        let command = Elevation::Sudo.command("/t/test", &[("RUST_TEST_THREADS", OsStr::new("1"))]);
        assert_eq!(shown(&command), "sudo -- env RUST_TEST_THREADS=1 /t/test");
        let command = Elevation::Root.command("/t/test", &[("RUST_TEST_THREADS", OsStr::new("1"))]);
        assert_eq!(shown(&command), "RUST_TEST_THREADS=1 /t/test");
    }
}
