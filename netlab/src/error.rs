//! What can go wrong while a lab is built, each with its remedy.

use std::io;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a namespace, a link or an address could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a new network namespace.
    #[error(
        "cannot make the network namespace {name:?}: {source}; it needs CAP_SYS_ADMIN: run as root, or inside a user namespace \
         (`unshare --user --map-root-user --net`)"
    )]
    Namespace {
        /// The name asked for; it stands only in messages.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A thread could not move into a namespace, or could not be started.
    #[error(
        "cannot enter the network namespace {name:?}: {source}; it needs CAP_SYS_ADMIN in the user namespace that owns it"
    )]
    Enter {
        /// The namespace.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A user namespace could not be had.
    #[error(
        "cannot make a user namespace ({step}): {source}; the kernel may forbid it (sysctl user.max_user_namespaces, \
         kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns): run as root instead"
    )]
    UserNamespace {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The `ip` command is not installed.
    #[error(
        "the command `ip` was not found: install it (Debian and Ubuntu: apt-get install iproute2; Fedora: dnf install iproute)"
    )]
    NoIpCommand,
    /// The `ip` command could not be started.
    #[error("cannot run `{command}` in the namespace {name:?}: {source}")]
    Run {
        /// The namespace.
        name: String,
        /// The command with its arguments.
        command: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The `ip` command ran and failed.
    #[error("`{command}` failed in the namespace {name:?} ({status}): {stderr}")]
    Ip {
        /// The namespace.
        name: String,
        /// The command with its arguments.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it said, without white space around it.
        stderr: String,
    },
    /// The kernel refused a setting of an interface.
    #[error("cannot set {what} on the interface {interface} in the namespace {name:?}: {source}")]
    Ethtool {
        /// The namespace.
        name: String,
        /// The interface.
        interface: String,
        /// The setting and the value asked for.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no interface of that name.
    #[error("the namespace {name:?} has no interface {interface:?}: {source}")]
    Interface {
        /// The namespace.
        name: String,
        /// The interface asked for.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A sysctl could not be read or written.
    #[error(
        "cannot set the sysctl {sysctl} to {value} in the namespace {name:?}: {source}; is /proc/sys mounted read-only?"
    )]
    Sysctl {
        /// The namespace.
        name: String,
        /// Its path below `/proc/sys`.
        sysctl: String,
        /// The value asked for.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A link has no carrier although both of its ends are up.
    #[error(
        "the link {interface} in the namespace {name:?} did not come up within {seconds} s; `ip link` says: {state}"
    )]
    NoCarrier {
        /// The namespace.
        name: String,
        /// The interface.
        interface: String,
        /// How long it was waited for.
        seconds: u64,
        /// The line of `ip link`.
        state: String,
    },
    /// A number of queues, sources or an MTU that no lab can have.
    #[error("{what} must be {range}, not {value}")]
    Range {
        /// What was asked for.
        what: &'static str,
        /// What it may be.
        range: &'static str,
        /// What it was.
        value: u32,
    },
}
