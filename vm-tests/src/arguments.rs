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
    /// The built command
    #[arg(long)]
    pub receiver: PathBuf,
    /// The mode in which the ladder has to end; any, if not given
    #[arg(long, value_parser = mode)]
    pub expect: Option<ReceiveMode>,
    /// Wanted datagrams of the long row; as many unwanted ones beside them
    #[arg(long, default_value_t = 100_000)]
    pub packets: u64,
    /// Datagrams a second, of wanted and unwanted ones together
    #[arg(long, default_value_t = 10_000)]
    pub rate: u64,
    /// Only rows whose name has this in it
    #[arg(long, default_value = "")]
    pub only: String,
}

fn mode(text: &str) -> Result<ReceiveMode, String> {
    ReceiveMode::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| format!("no mode is called {text}"))
}
