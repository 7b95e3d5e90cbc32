//! A child process that starts inside a namespace: `std::process::Command`, spawned from a thread that has moved there.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, ExitStatus, Output, Stdio};

use crate::namespace::{Namespace, on_thread};

/// As [`std::process::Command`], made by [`Namespace::command`].
///
/// A child inherits the network namespace of the thread that starts it: nothing need be run between fork and exec.
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

    /// Takes a variable out of the child's environment.
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

    /// Runs the child, waits for it, and returns what it wrote.
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
