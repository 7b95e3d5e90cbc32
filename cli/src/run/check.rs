//! Checks a configuration as far as it needs neither privilege nor interface: each fault has its line.

use receiver::Error;

use super::options::{RunArgs, configured_sink};
use crate::config::{ConfigError, Configured, Faults, Wanted};

/// Returns what is to be joined.
///
/// # Errors
/// A [`ConfigError`] that names each fault of the configuration; another error for a fault elsewhere.
pub fn check(args: &RunArgs) -> anyhow::Result<Vec<Wanted>> {
    let wanted = check_parts(args)?;
    super::feeds::legs(&args.feeds()?, &wanted)?;
    Ok(wanted)
}

fn check_parts(args: &RunArgs) -> anyhow::Result<Vec<Wanted>> {
    let Some(configured) = args.file() else { return args.wanted() };
    let mut faults = Faults::new(configured.source.name());
    for entry in &configured.file.subscriptions {
        let alone = args.receiver("any", [&entry.subscription]);
        if let Err(error @ (Error::Subscription(_) | Error::Overlap { .. })) = alone.config().validate() {
            faults.add(entry.line, error.to_string());
        }
    }
    if let Err(Error::Option { option, value, reason }) = args.receiver("any", []).config().validate() {
        let (line, key) = place(configured, option);
        faults.add(line, format!("`{key}` cannot be `{value}`: {reason}"));
    }
    for entry in &configured.file.sinks {
        if let Err(error) = configured_sink(entry) {
            faults.add(entry.line, error.to_string());
        }
    }
    if faults.is_empty()
        && let Err(error) = args.sinks()
    {
        faults.add(0, error.to_string());
    }
    match (faults.error(), args.wanted()) {
        (None, wanted) => wanted,
        (Some(faults), Err(error)) if error.is::<crate::errors::UsageError>() => {
            Err(ConfigError(format!("{faults}\n{error}")).into())
        }
        (Some(faults), _) => Err(faults.into()),
    }
}

/// Where the file has the option for a field of the library's configuration, and the key there.
fn place<'a>(configured: &'a Configured, field: &'a str) -> (usize, &'a str) {
    // The option has another name, as it is of recordings.
    let field = if field == "tap" { "capture" } else { field };
    let settings = &configured.file.settings;
    let found = settings.iter().find(|setting| setting.key == field);
    found.map_or((0, field), |setting| (setting.line, &setting.key))
}
