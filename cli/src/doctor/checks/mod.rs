//! The checks, one file for each subject: a pure judgement over facts, and what gathers the facts.

use super::check::Check;

mod clock;
mod cpu;
mod driver;
mod firewall;
mod kernel;
mod link;
mod master;
mod membership;
mod memory;
pub mod modes;
mod occupied;
mod offloads;
mod privilege;
mod querier;
mod queues;
mod reverse_path;
mod sharing;
mod stages;

/// All checks, in the order of the answer. Those that listen, and those that disturb, come last.
pub const ALL: &[Check] = &[
    Check { name: "kernel", run: kernel::check },
    Check { name: "privilege", run: privilege::check },
    Check { name: "memory", run: memory::check },
    Check { name: "link", run: link::check },
    Check { name: "driver", run: driver::check },
    Check { name: "master", run: master::check },
    Check { name: "queues", run: queues::check },
    Check { name: "offloads", run: offloads::check },
    Check { name: "cpu", run: cpu::check },
    Check { name: "clock", run: clock::check },
    Check { name: "occupied", run: occupied::check },
    Check { name: "reverse_path", run: reverse_path::check },
    Check { name: "firewall", run: firewall::check },
    Check { name: "membership", run: membership::check },
    Check { name: "sharing", run: sharing::check },
    Check { name: "modes", run: modes::check },
    Check { name: "querier", run: querier::check },
    Check { name: "stages", run: stages::check },
];

/// The outcomes of some lines, for tests.
#[cfg(test)]
fn outcomes(lines: &[super::check::Line]) -> Vec<super::check::Outcome> {
    lines.iter().map(|line| line.outcome).collect()
}
