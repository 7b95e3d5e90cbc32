//! Finds the line that gives the reason in the verifier's log of a program, which has several kilobytes.

use aya::programs::ProgramError;

use crate::api::text::printable;

/// Characters of the verifier's complaint that an error repeats.
const LONGEST_COMPLAINT: usize = 200;

/// The verifier's log of a program that it refused.
pub(super) fn log_of(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    match error.downcast_ref::<ProgramError>() {
        Some(ProgramError::LoadError { verifier_log, .. }) => {
            Some(verifier_log.to_string()).filter(|log| !log.trim().is_empty())
        }
        _ => None,
    }
}

/// The line of a verifier's log that gives the reason: the last one that is neither an instruction, nor source, nor a
/// statistic.
pub(super) fn complaint(log: &str) -> String {
    let statistics = ["processed ", "verification time ", "stack depth "];
    let is_reason = |line: &&str| {
        let number = line.split_once(':').is_some_and(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
        let range = line.starts_with("from ") || line.starts_with("last_idx ") || line.starts_with("regs=");
        !(line.is_empty() || number || range || line.starts_with(';') || statistics.iter().any(|s| line.starts_with(s)))
    };
    let line = log.lines().map(str::trim).rfind(is_reason);
    line.map_or_else(|| "it gave no reason".to_owned(), |line| printable(line, LONGEST_COMPLAINT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::Error;

    /// As Linux 6.18 wrote it, shortened.
    const LOG: &str = "0: R1=ctx() R10=fp0\n; pub fn receiver(ctx: XdpContext) -> u32 { @ main.rs:27\n0: (bf) r6 = r1\n\
        1: (61) r3 = *(u32 *)(r6 +4)\nfrom 1 to 3: R3=pkt_end()\n; self.end - self.start @ packet.rs:31\n\
        3: (1f) r3 -= r2\nR3 pointer -= pointer prohibited\n\
        processed 4 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n";

    #[test]
    fn of_a_verifiers_log_the_complaint_alone_is_repeated() {
        assert_eq!(complaint(LOG), "R3 pointer -= pointer prohibited");
        let long = LOG.repeat(50).replace("prohibited", &"x".repeat(1000));
        assert!(complaint(&long).len() < 300, "{}", complaint(&long));
        assert_eq!(complaint("0: (bf) r6 = r1\nprocessed 1 insns\n\n"), "it gave no reason");
        let error = Error::Verifier { name: "eth1".into(), reason: complaint(LOG) };
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}
