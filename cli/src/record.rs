//! `receiver record`: `receiver run` with a recording, and a sentence at the end about what was recorded and lost.

use std::time::Duration;

use clap::Args;

use crate::errors::UsageError;
use crate::run::{self, RunArgs};
use crate::values::{duration, size};

/// Record multicast streams to a file, with what was lost between the packets
///
/// Writes pcapng, which Wireshark, tshark and `receiver analyze` read: nanoseconds, the number of packets that were
/// lost before each packet, and statistics. All options of `receiver run` but --config can be given as well. Ctrl-C and
/// SIGTERM end the recording; SIGHUP begins the next file.
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES, mut_arg("config", |arg| arg.hide(true).env(None)))]
pub struct RecordArgs {
    /// File to write; `-` is standard output. %Y, %m, %d, %H, %M and %S in its name are the time at which it begins.
    /// Default: IFACE-%Y%m%d-%H%M%S.pcapng
    #[arg(short, long, value_name = "FILE", help_heading = "Recording")]
    write: Option<String>,
    /// Begin the next file after this number of bytes, such as 1GiB
    #[arg(long, value_name = "SIZE", value_parser = size::<u64>, help_heading = "Recording")]
    rotate: Option<u64>,
    /// Begin the next file at each boundary of the clock, in UTC, such as 1h
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Recording")]
    every: Option<Duration>,
    /// Keep the last N finished files, and delete older ones
    #[arg(long, value_name = "N", value_parser = crate::values::positive_count::<u32>, help_heading = "Recording")]
    keep: Option<u32>,
    /// Compress the file with zstd
    #[arg(long, help_heading = "Recording")]
    compress: bool,
    /// Write the subscription that wanted a packet into its comment
    #[arg(long, help_heading = "Recording")]
    comments: bool,
    #[command(flatten)]
    run: RunArgs,
}

/// Records until the run ends.
///
/// # Errors
/// Those of `receiver run`.
pub fn run(args: RecordArgs) -> anyhow::Result<()> {
    if args.run.config.is_some() {
        let text = "`receiver record` reads no configuration; write `record = \"FILE\"` into it for `receiver run`";
        return Err(UsageError(text.to_owned()).into());
    }
    let target = args.target();
    let mut run = args.run;
    run.record.insert(0, target);
    run.ends_with_words = true;
    run::run(run)
}

impl RecordArgs {
    /// The target as `--record` has it.
    fn target(&self) -> String {
        let mut target = self.write.clone().unwrap_or_else(|| {
            let ending = if self.compress { ".zst" } else { "" };
            let interface = self.run.interface().unwrap_or("receiver").replace('%', "%%").replace('/', "-");
            format!("{interface}-%Y%m%d-%H%M%S.pcapng{ending}")
        });
        let every = self.every.map(|every| format!("every={}ns", every.as_nanos()));
        let options = [
            self.rotate.map(|bytes| format!("rotate={bytes}")),
            every,
            self.keep.map(|files| format!("keep={files}")),
            self.compress.then(|| "compress=zstd".to_owned()),
            self.comments.then(|| "comments=yes".to_owned()),
        ];
        for option in options.into_iter().flatten() {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(&option);
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        record: RecordArgs,
    }

    fn target(words: &str) -> String {
        let words = format!("record -i veth0 232.1.1.1:1 {words}");
        Cli::try_parse_from(words.split_whitespace()).expect("words").record.target()
    }

    #[test]
    fn options_are_those_of_the_target() {
        assert_eq!(target(""), "veth0-%Y%m%d-%H%M%S.pcapng");
        assert_eq!(target("--compress"), "veth0-%Y%m%d-%H%M%S.pcapng.zst?compress=zstd");
        assert_eq!(
            target("-w a.pcapng --rotate 1k --every 1m --keep 2 --comments"),
            "a.pcapng?rotate=1000&every=60000000000ns&keep=2&comments=yes"
        );
    }
}
