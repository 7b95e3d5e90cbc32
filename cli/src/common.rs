//! The options that every subcommand has: what is logged, how, and in which colours.

use clap::{ArgAction, Args, ColorChoice};

use super::log::{Format, Level};

#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// Log decisions to standard error; given twice (-vv), every detail, such as the verifier's log
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = HEADING)]
    pub verbose: u8,
    /// Log errors only; given twice (-qq), nothing
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "verbose", help_heading = HEADING)]
    pub quiet: u8,
    /// Log from this level on: off, error, warn, info, debug or trace, or a list of TARGET=LEVEL. -v and -q override
    /// it. Default: warn
    #[arg(long, value_name = "LEVEL", global = true, env = "RECEIVER_LOG", help_heading = HEADING)]
    pub log: Option<Level>,
    /// Format of the log
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        global = true,
        env = "RECEIVER_LOG_FORMAT",
        help_heading = HEADING,
    )]
    pub log_format: Format,
    /// When to use colours. With auto, NO_COLOR and CLICOLOR_FORCE count, then whether a terminal reads
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", global = true, help_heading = HEADING)]
    pub color: ColorChoice,
}

const HEADING: &str = "Common options";

impl CommonArgs {
    /// The level that the options ask for; `None` if they leave it to the environment.
    pub fn level(&self) -> Option<Level> {
        match (self.verbose, self.quiet) {
            (0, 0) => self.log.clone(),
            (0, 1) => Some(Level::ERROR),
            (0, _) => Some(Level::OFF),
            (1, _) => Some(Level::INFO),
            _ => Some(Level::DEBUG),
        }
    }
}
