//! The last words of `receiver record`: what the recordings have, and what they lack.

use std::io::Write;

use receiver::Ledger;

use crate::capture::Capture;
use crate::instance::Instance;
use crate::outlet;
use crate::sink::{SinkReport, SinkRequest};
use crate::units::count;

/// Prints what the recordings of a run that has ended have, and what they lack.
pub fn print_summary(requests: &[SinkRequest], instance: &Instance, capture: Capture, stdout_is_taken: bool) {
    let reports = instance.sinks().map(|sinks| sinks.reports()).unwrap_or_default();
    let recordings: Vec<&SinkReport> = requests
        .iter()
        .filter(|request| request.is_recording())
        .filter_map(|request| reports.iter().find(|report| report.name == request.name()))
        .collect();
    let ledger = instance.handle().ledger().unwrap_or_default();
    let text = recordings.iter().map(|report| sentence(report, &ledger, capture) + "\n").collect::<String>();
    if stdout_is_taken || requests.iter().any(SinkRequest::takes_stdout) {
        outlet::print(text.trim_end());
    } else {
        // A reader that is gone needs no summary.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}

fn sentence(report: &SinkReport, ledger: &Ledger, capture: Capture) -> String {
    let recorded = format!("recorded {} to {}", count(report.packets, "packet"), report.name);
    let unwritten = report.dropped_by.iter().map(|(reason, dropped)| format!("{dropped} not written ({reason})"));
    let in_rings = if capture.wanted { ledger.lost() } else { 0 };
    let in_tap = ledger.tap().lost();
    let causes = ledger.losses().filter(|(_, lost)| *lost > 0 && capture.wanted);
    let lost = causes.map(|(cause, lost)| format!("{lost} not received ({cause})"));
    let of_tap = (in_tap > 0).then(|| format!("{in_tap} lost in the tap"));
    let losses: Vec<String> = lost.chain(of_tap).chain(unwritten).collect();
    match losses.as_slice() {
        [] => format!("{recorded}; nothing was lost"),
        losses => {
            format!("{recorded}; {} lost: {}", count(in_rings + in_tap + report.dropped, "packet"), losses.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_a_sentence() {
        let mut report = SinkReport { name: "a.pcapng".to_owned(), packets: 1, ..SinkReport::default() };
        assert_eq!(
            sentence(&report, &Ledger::default(), Capture::default()),
            "recorded 1 packet to a.pcapng; nothing was lost"
        );
        (report.packets, report.dropped) = (300, 5);
        report.dropped_by.insert("slow_reader", 5);
        assert_eq!(
            sentence(&report, &Ledger::default(), Capture::default()),
            "recorded 300 packets to a.pcapng; 5 packets lost: 5 not written (slow_reader)"
        );
    }
}
