//! Programs inside a namespace, such as `ip`: `std::process::Command`, spawned from a thread that has moved there.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Child, ExitStatus, Output, Stdio};
use std::thread;

use crate::error::{Error, Result};
use crate::namespace::{Namespace, on_thread};

/// As [`std::process::Command`], made by [`Namespace::command`].
///
/// A child inherits the network namespace of the thread that starts it, so nothing has to run between fork and exec.
#[derive(Debug)]
pub struct Command {
    namespace: Namespace,
    inner: std::process::Command,
}

impl Command {
    pub(crate) fn new(namespace: Namespace, program: &OsStr) -> Self {
        Self { namespace, inner: std::process::Command::new(program) }
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.inner.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(&mut self, arguments: I) -> &mut Self {
        self.inner.args(arguments);
        self
    }

    /// Sets a variable of the child's environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.inner.env(key, value);
        self
    }

    /// Removes a variable from the child's environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.inner.env_remove(key);
        self
    }

    /// Sets the child's working folder.
    pub fn current_dir(&mut self, folder: impl AsRef<Path>) -> &mut Self {
        self.inner.current_dir(folder);
        self
    }

    /// Sets the child's standard input.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.inner.stdin(stdio);
        self
    }

    /// Sets the child's standard output.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.inner.stdout(stdio);
        self
    }

    /// Sets the child's standard error.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.inner.stderr(stdio);
        self
    }

    /// Starts the child inside the namespace.
    ///
    /// # Errors
    ///
    /// Those of [`std::process::Command::spawn`], and those of setns(2).
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.inside(std::process::Command::spawn)
    }

    /// Runs the child and waits for it.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`].
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.inside(std::process::Command::status)
    }

    /// Runs the child, waits for it, and returns its output.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`].
    pub fn output(&mut self) -> io::Result<Output> {
        self.inside(std::process::Command::output)
    }

    fn inside<T: Send>(&mut self, start: fn(&mut std::process::Command) -> io::Result<T>) -> io::Result<T> {
        let Self { namespace, inner } = self;
        on_thread(|| {
            namespace.move_in()?;
            start(inner)
        })?
    }
}

impl Namespace {
    /// Makes a command that starts inside the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        Command::new(self.clone(), program.as_ref())
    }

    /// Runs `ip` with these arguments inside the namespace, and returns its output.
    ///
    /// # Errors
    ///
    /// [`Error::Ip`] with the command and its error output; [`Error::NoIpCommand`] if iproute2 is not installed.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        self.run_ip(arguments, Stdio::null())
    }

    /// Runs several commands of `ip`, one per line, in one process, since starting a process takes most of the time.
    ///
    /// # Errors
    ///
    /// As [`Namespace::ip`]; the error output names the line. The lines before it took effect.
    pub(crate) fn ip_batch(&self, lines: &str) -> Result<()> {
        let arguments = ["-batch", "-"];
        let failed = |source| self.run_error(&arguments, source);
        let (reader, mut writer) = io::pipe().map_err(failed)?;
        thread::scope(|scope| {
            // On a thread, as a pipe holds only so much.
            let writing = scope.spawn(move || writer.write_all(lines.as_bytes()));
            let ran = self.run_ip(&arguments, Stdio::from(reader));
            let wrote = writing.join().unwrap_or_else(|panic| resume_unwind(panic));
            ran?;
            wrote.map_err(failed)
        })
    }

    /// Runs `ip` as [`Namespace::ip`] does, for commands that refer to a second namespace as `/proc/self/fd/0`.
    pub(crate) fn ip_with(&self, other: &Namespace, arguments: &[&str]) -> Result<String> {
        let descriptor = other.descriptor.try_clone().map_err(|source| self.run_error(arguments, source))?;
        self.run_ip(arguments, Stdio::from(descriptor))
    }

    fn run_ip(&self, arguments: &[&str], stdin: Stdio) -> Result<String> {
        let program = find_ip().ok_or(Error::NoIpCommand)?;
        let output = self
            .command(program)
            .args(arguments)
            .stdin(stdin)
            .output()
            .map_err(|source| self.run_error(arguments, source))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Error::Ip {
            name: self.name().to_string(),
            command: shown(arguments),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn run_error(&self, arguments: &[&str], source: io::Error) -> Error {
        Error::Run { name: self.name().to_string(), command: shown(arguments), source }
    }
}

fn shown(arguments: &[&str]) -> String {
    format!("ip {}", arguments.join(" "))
}

/// Finds `ip` in the search path, and in the two folders that an ordinary user's search path lacks on Debian.
fn find_ip() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join("ip"))
        .find(|candidate| candidate.is_file())
}
