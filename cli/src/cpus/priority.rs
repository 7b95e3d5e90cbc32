//! `--priority fifo:N`: the real-time priority of the threads that receive.

use std::fmt;
use std::io;
use std::str::FromStr;

use receiver_host::realtime;

/// SCHED_FIFO with a priority of 1 to 99.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority(u8);

impl Priority {
    /// Gives the calling thread this priority.
    ///
    /// # Errors
    /// EPERM without the privilege.
    pub fn take(self) -> io::Result<()> {
        realtime::set_fifo(self.0)
    }

    /// The text of an error of [`Priority::take`], with the remedy.
    pub fn refused(self, error: &io::Error) -> String {
        let Self(number) = self;
        match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::PERM.raw_os_error() => format!(
                "priority {self} is not permitted: it takes CAP_SYS_NICE, or RLIMIT_RTPRIO of at least {number}. Run \
                 the command as root, or raise the limit: `prlimit --rtprio={number} --pid $$` as root in a shell, \
                 `LimitRTPRIO={number}` and `RestrictRealtime=no` in a systemd unit"
            ),
            _ => format!("priority {self} is refused: {error}"),
        }
    }
}

impl FromStr for Priority {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix("fifo:").and_then(|number| number.parse().ok());
        number.filter(|number| realtime::PRIORITIES.contains(number)).map(Self).ok_or_else(|| {
            format!("write fifo:N, with N from {} to {}", realtime::PRIORITIES.start(), realtime::PRIORITIES.end())
        })
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fifo:{}", self.0)
    }
}

/// The file with the part of each second that real-time threads may run, in microseconds; -1 is all of it.
const RUNTIME: &str = "/proc/sys/kernel/sched_rt_runtime_us";

/// The warning about threads that neither sleep nor give way.
pub fn warning_of_busy_poll(priority: Priority) -> Option<String> {
    let runtime = std::fs::read_to_string(RUNTIME).ok()?;
    Some(warning(priority, runtime.trim()))
}

fn warning(priority: Priority, runtime: &str) -> String {
    match runtime {
        "-1" => format!(
            "with --busy-poll and --priority {priority} nothing else runs on the workers' CPUs, the kernel's own \
             threads included: isolate these CPUs, or leave out one of the two options"
        ),
        microseconds => format!(
            "with --busy-poll and --priority {priority} the workers never sleep, and the kernel may stop them for a \
             part of each second (kernel.sched_rt_runtime_us is {microseconds}): leave out one of the two options"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_priority() {
        for (text, number) in [("fifo:1", 1), ("fifo:50", 50), ("fifo:99", 99)] {
            assert_eq!(text.parse(), Ok(Priority(number)));
            assert_eq!(Priority(number).to_string(), text);
        }
        for wrong in ["", "fifo", "fifo:", "fifo:0", "fifo:100", "fifo:-1", "rr:5", "50", "FIFO:5"] {
            let error = wrong.parse::<Priority>().expect_err(wrong);
            assert_eq!(error, "write fifo:N, with N from 1 to 99", "{wrong}");
        }
    }

    #[test]
    fn a_refusal_names_the_remedy() {
        let error = io::Error::from(rustix::io::Errno::PERM);
        let text = Priority(80).refused(&error);
        for part in ["priority fifo:80", "CAP_SYS_NICE", "RLIMIT_RTPRIO of at least 80", "LimitRTPRIO=80"] {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    }

    #[test]
    fn the_warning_depends_on_the_kernels_limit() {
        assert!(warning(Priority(1), "950000").contains("kernel.sched_rt_runtime_us is 950000"));
        assert!(warning(Priority(1), "-1").contains("nothing else runs"));
    }
}
