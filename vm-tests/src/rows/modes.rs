//! Mode selection on this kernel and driver, and the refusal of an unavailable mode.

use anyhow::{Result, bail, ensure};
use receiver::{Error, ModeRequest, ReceiveMode};

use super::Outcome;
use crate::bench::Bench;

/// The mode that `auto` selects here.
pub fn best(bench: &Bench) -> Result<ReceiveMode> {
    let receiver = bench.open(|builder| builder.mode(ModeRequest::Auto))?;
    Ok(receiver.handle().mode())
}

/// `auto` selects the expected mode, and each mode before it has a reason.
pub fn selection(bench: &Bench, best: ReceiveMode) -> Result<Outcome> {
    let receiver = bench.open(|builder| builder.mode(ModeRequest::Auto))?;
    let handle = receiver.handle();
    let (mode, refused) = (handle.mode(), handle.refused());
    let reasons: Vec<_> = refused.iter().map(|step| format!("not {}: {}", step.mode, step.reason)).collect();
    ensure!(mode == best, "auto selected {mode}, and {best} before");
    if let Some(expected) = bench.expect {
        ensure!(mode == expected, "auto selected {mode} instead of {expected}; {}", reasons.join("; "));
    }
    let above = ReceiveMode::ALL.into_iter().take_while(|step| *step != mode).count();
    ensure!(refused.len() == above, "{above} modes come before, with these reasons: {}", reasons.join("; "));
    ensure!(refused.iter().all(|step| !step.reason.is_empty()), "a reason is missing");
    drop(receiver);
    bench.expect_clean()?;
    Ok(Outcome { note: reasons.join("; "), ..Outcome::default() })
}

/// A mode that this system does not have, requested by name: refused with the reason, and nothing stays behind.
pub fn refused(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    match bench.open(|builder| builder.mode(mode)) {
        Ok(_) => bail!("{mode} works by name, but auto did not select it"),
        Err(error @ Error::ModeUnavailable { .. }) => {
            bench.expect_clean()?;
            Ok(Outcome { note: error.to_string(), ..Outcome::default() })
        }
        Err(error) => bail!("refused, but not because the mode is unavailable: {error}"),
    }
}
