//! `receiver man`: writes the manual pages. The command is hidden, since packages have the pages: `cargo xtask man`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::Man;

use super::files::shown;

/// Write a manual page for the command and for each subcommand
#[derive(Args, Clone, Debug)]
#[command(after_help = crate::EXIT_CODES)]
pub struct ManArgs {
    /// Folder to write to; it is made if it does not exist
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Writes the pages.
///
/// # Errors
/// A file cannot be written.
pub fn run(args: &ManArgs, command: Command) -> anyhow::Result<()> {
    let failed = || format!("cannot write the manual pages to {}", shown(&args.folder));
    fs::create_dir_all(&args.folder).with_context(failed)?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    write(&command, &args.folder).with_context(failed)
}

/// Writes the page of a command and those of its subcommands.
fn write(command: &Command, folder: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write(subcommand, folder)?;
    }
    let page =
        Man::new(command.clone()).manual("User Commands").source(concat!("receiver ", env!("CARGO_PKG_VERSION")));
    let mut out = Vec::new();
    page.render_title(&mut out)?;
    page.render_name_section(&mut out)?;
    page.render_synopsis_section(&mut out)?;
    page.render_description_section(&mut out)?;
    page.render_options_section(&mut out)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut out)?;
    }
    out.extend_from_slice(EXIT_STATUS.as_bytes());
    fs::write(folder.join(page.get_filename()), out)
}

/// The end of each page.
const EXIT_STATUS: &str = ".SH \"EXIT STATUS\"\n\
    .TP\n0\nDone.\n.TP\n1\nFailed.\n.TP\n2\nUsage error.\n.TP\n101\nFault in the program.\n";
