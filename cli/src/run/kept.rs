//! The capabilities that a run keeps, by its options.

use super::options::RunArgs;
use crate::files;
use crate::privilege::{Kept, LaterFile};
use crate::sink::SinkRequest;

/// What the run keeps with these sinks.
pub fn of(args: &RunArgs, requests: &[SinkRequest]) -> Kept {
    let written = |path| LaterFile { path, is_written: true };
    let outputs = requests.iter().filter_map(SinkRequest::later_file).chain(args.summary.clone());
    let outputs = outputs.chain(args.control.clone()).map(written);
    let inputs = args.config.iter().chain(&args.subscription_file).filter(|path| !files::is_standard_input(path));
    let inputs = inputs.map(|path| LaterFile { path: path.clone(), is_written: false });
    let files: Vec<_> = outputs.chain(inputs).collect();
    Kept::of_run(args.mode(), args.priority.is_some(), &files)
}
