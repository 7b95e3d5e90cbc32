//! The checks, one file for each subject: a pure judgement over facts, and what gathers the facts.

use super::line::Line;
use super::subject::Subject;

mod clock;
mod cpu;
mod driver;
mod firewall;
mod kernel;
mod link;
mod master;
mod membership;
mod memory;
mod modes;
mod occupied;
mod offloads;
mod privilege;
mod querier;
mod queues;
mod reverse_path;
mod running;
mod sharing;
mod stages;

/// A check: a subject of the answer. It looks at the host, and judges what it found.
pub struct Check {
    /// Its name, in the answer, in JSON and in the documentation.
    pub name: &'static str,
    /// Looks and judges.
    pub run: fn(&Subject) -> Vec<Line>,
}

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
    Check { name: "running", run: running::check },
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
fn outcomes(lines: &[super::line::Line]) -> Vec<super::line::Outcome> {
    lines.iter().map(|line| line.outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the documentation has each check, in the order of the answer.
    #[test]
    fn the_documentation_has_each_check() {
        let text = include_str!("../../../../docs/operations.md");
        let (_, table) = text.split_once("| check | looks at |\n| --- | --- |\n").expect("the table");
        let rows = table.lines().take_while(|line| line.starts_with("| `"));
        let documented: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        let names: Vec<&str> = ALL.iter().map(|check| check.name).collect();
        assert_eq!(documented, names);
    }
}
