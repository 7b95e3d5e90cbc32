//! `cargo xtask setup`.
use anyhow::Result;
/// Options of the command.
#[derive(clap::Args)]
pub struct Arguments {}
/// Runs the command.
pub fn run(_arguments: &Arguments) -> Result<()> {
    Ok(())
}
