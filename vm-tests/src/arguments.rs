//! The options of the command.

use std::path::PathBuf;

use clap::Parser;
use receiver::ReceiveMode;

#[derive(Parser)]
#[command(about = "The rows of `cargo xtask vm`; for the inside of a virtual machine only")]
pub struct Arguments {
    /// MAC address of the interface to receive on
    #[arg(long)]
    pub receiving: String,
    /// MAC address of the interface to send on
    #[arg(long)]
    pub sending: String,
    /// The built command `receiver`
    #[arg(long)]
    pub receiver: PathBuf,
    /// The mode that must be selected; any mode if not given
    #[arg(long, value_parser = mode)]
    pub expect: Option<ReceiveMode>,
    /// Number of wanted datagrams in the long row; there are as many unwanted ones
    #[arg(long, default_value_t = 100_000)]
    pub packets: u64,
    /// Datagrams per second, of wanted and unwanted ones together
    #[arg(long, default_value_t = 10_000)]
    pub rate: u64,
    /// Run each row this many times
    #[arg(long, default_value_t = 1)]
    pub repeat: u32,
    /// Only rows whose mode and name, as in the matrix, contain this
    #[arg(long, default_value = "")]
    pub only: String,
}

fn mode(text: &str) -> Result<ReceiveMode, String> {
    ReceiveMode::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| format!("no mode is called {text}"))
}
