//! The ladder of modes on this kernel and driver, and what a mode that cannot be had says.

use anyhow::{Result, bail, ensure};
use receiver::{Error, ModeRequest, ReceiveMode};

use super::Outcome;
use crate::bench::Bench;

/// The mode in which `auto` ends here.
pub fn best(bench: &Bench) -> Result<ReceiveMode> {
    let receiver = bench.open(|builder| builder.mode(ModeRequest::Auto))?;
    Ok(receiver.handle().mode())
}

/// `auto` ends where it is expected to, and each mode above has its reason.
pub fn ladder(bench: &Bench, best: ReceiveMode) -> Result<Outcome> {
    let receiver = bench.open(|builder| builder.mode(ModeRequest::Auto))?;
    let handle = receiver.handle();
    let (mode, refused) = (handle.mode(), handle.refused());
    let told: Vec<_> = refused.iter().map(|step| format!("not {}: {}", step.mode, step.reason)).collect();
    ensure!(mode == best, "auto ended in {mode}, and in {best} before");
    if let Some(expected) = bench.expect {
        ensure!(mode == expected, "auto ended in {mode}, expected is {expected}; {}", told.join("; "));
    }
    let above = ReceiveMode::ALL.into_iter().take_while(|step| *step != mode).count();
    ensure!(refused.len() == above, "{above} modes are faster, reasons: {}", told.join("; "));
    ensure!(refused.iter().all(|step| !step.reason.is_empty()), "a reason is missing");
    drop(receiver);
    bench.expect_clean()?;
    Ok(Outcome { note: told.join("; "), ..Outcome::default() })
}

/// A mode that this system does not have, asked for by name: refused with the reason, and nothing left behind.
pub fn refused(bench: &Bench, mode: ReceiveMode) -> Result<Outcome> {
    match bench.open(|builder| builder.mode(mode)) {
        Ok(_) => bail!("{mode} was given by name, and not by auto"),
        Err(error @ Error::ModeUnavailable { .. }) => {
            bench.expect_clean()?;
            Ok(Outcome { note: error.to_string(), ..Outcome::default() })
        }
        Err(error) => bail!("refused, but not as a mode that is unavailable: {error}"),
    }
}
