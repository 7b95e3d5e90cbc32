//! The errors of building a lab, with their remedies.

use std::io;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure to make or configure a namespace, a link or an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel rejected a new network namespace.
    #[error(
        "cannot make the network namespace {name:?}: {source}; it needs CAP_SYS_ADMIN: run as root, or inside a user \
         namespace \
         (`unshare --user --map-root-user --net`)"
    )]
    Namespace {
        /// The namespace's name, which only messages use.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A thread could not move into a namespace, or could not be started.
    #[error(
        "cannot enter the network namespace {name:?}: {source}; it needs CAP_SYS_ADMIN in the user namespace that \
         owns it"
    )]
    Enter {
        /// The namespace.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel rejected a user namespace.
    #[error(
        "cannot make a user namespace ({step}): {source}; the kernel may forbid it (sysctl user.max_user_namespaces, \
         kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns): run as root instead"
    )]
    UserNamespace {
        /// The failed step.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The `ip` command is not installed.
    #[error(
        "the command `ip` was not found: install it (Debian and Ubuntu: apt-get install iproute2; Fedora: dnf install \
         iproute)"
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
        /// Its exit status.
        status: std::process::ExitStatus,
        /// Its error output, trimmed.
        stderr: String,
    },
    /// The kernel rejected a setting of an interface.
    #[error("cannot {what} on the interface {interface} in the namespace {name:?}: {source}")]
    Ethtool {
        /// The namespace.
        name: String,
        /// The interface.
        interface: String,
        /// The setting and its value.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no interface with that name.
    #[error("the namespace {name:?} has no interface {interface:?}: {source}")]
    Interface {
        /// The namespace.
        name: String,
        /// The interface's name.
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
        /// The wanted value.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A link has no carrier although both its ends are up.
    #[error(
        "the link {interface} in the namespace {name:?} did not come up within {seconds} s; `ip link` prints: {state}"
    )]
    NoCarrier {
        /// The namespace.
        name: String,
        /// The interface.
        interface: String,
        /// The time limit, in seconds.
        seconds: u64,
        /// The output of `ip link`.
        state: String,
    },
    /// A number of queues, a number of sources or an MTU is out of range.
    #[error("{what} must be {range}, not {value}")]
    Range {
        /// The name of the value.
        what: &'static str,
        /// The allowed range.
        range: &'static str,
        /// The value.
        value: u32,
    },
}
