//! What the libraries' errors cannot name: the options of this command that help.

use receiver::{Error, InterfaceError, SubscriptionError};
use receiver_send::SendError;
use receiver_send::feed::FeedError;

use super::suggest::closest;

/// A sentence that follows the error's text, if an option helps.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    let sentence = error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<Error>() {
            of_receiver(error)
        } else if let Some(error) = cause.downcast_ref::<SubscriptionError>() {
            of_subscription(error)
        } else if let Some(error) = cause.downcast_ref::<InterfaceError>() {
            of_interface(error)
        } else {
            cause.downcast_ref::<SendError>().and_then(of_send)
        }
    })?;
    Some(format!(". {sentence}"))
}

fn of_receiver(error: &Error) -> Option<String> {
    match error {
        Error::Subscription(error) => of_subscription(error),
        Error::Interface(error) => of_interface(error),
        Error::NoSubscription => Some("The option --subscriptions reads them from a file".to_owned()),
        Error::Verifier { .. } => {
            Some("The option -vv prints that log, and --mode socket selects mode socket".to_owned())
        }
        Error::TooFewQueues { asked, .. } => Some(format!("For queue {asked} alone write `--queues {asked},`")),
        Error::NoSuchQueue { .. } => Some(options(&["--queues"])),
        Error::QueueTaken { .. } => Some(options(&["--queues", "--mode"])),
        Error::LockedMemory { .. } => Some(options(&["--frames", "--mode"])),
        Error::XdpOccupied { .. } | Error::NotPermitted { .. } => Some("The option is --mode socket".to_owned()),
        Error::ModeUnavailable { .. } => {
            Some("The option --mode auto selects the fastest mode that is available".to_owned())
        }
        Error::ShareUnavailable { .. } => Some(options(&["--share", "--mode socket"])),
        Error::WrongFilterMode { .. } => Some("The command for it is `receiver ctl set-sources`".to_owned()),
        Error::FilterFull { .. } => Some(options(&["--max-flows"])),
        Error::Option { option, .. } => of_setting(option),
        _ => None,
    }
}

/// The option for a field of [`receiver::ReceiverConfig`].
fn of_setting(field: &str) -> Option<String> {
    let option = match field {
        "mode" => "--mode",
        "require_xdp" => "--require-xdp",
        "queues" => "--queues",
        "drop_unwanted" => "--drop-unwanted",
        "share" => "--share",
        "tap" => "--capture",
        "vlan" => "--vlan",
        "max_flows" => "--max-flows",
        "verify_checksums" => "--no-verify-checksum",
        "timestamps" => "--timestamps",
        "trace_verdicts" => "--trace-verdicts",
        "busy_poll" => "--busy-poll",
        "ring_size" => "--ring-size",
        "frames" => "--frames",
        "frame_size" => "--frame-size",
        "copy_limit" => "--copy-limit",
        "socket_buffer" => "--socket-buffer",
        "allow_asm_in_ssm_range" => "--allow-asm-in-ssm-range",
        _ => return None,
    };
    Some(options(&[option]))
}

fn of_subscription(error: &SubscriptionError) -> Option<String> {
    match error {
        SubscriptionError::AsmInSsmRange(_) => Some(options(&["--allow-asm-in-ssm-range"])),
        _ => None,
    }
}

/// The interface that was probably meant.
fn of_interface(error: &InterfaceError) -> Option<String> {
    let InterfaceError::Unknown { name, known } = error else { return None };
    closest(name, known.iter().map(String::as_str)).map(|meant| format!("Did you mean {meant}?"))
}

fn of_send(error: &SendError) -> Option<String> {
    let names: &[&str] = match error {
        SendError::Address(error) => return of_subscription(error),
        SendError::Interface(error) => return of_interface(error),
        SendError::OtherEngine { engine, .. } => return Some(format!("The option is --engine {engine}")),
        SendError::NoBpfPrivilege { .. } => return Some("The option is --engine socket".to_owned()),
        SendError::PortZero => &["--port"],
        SendError::SourceTwice(_) | SendError::NoOwnAddress { .. } => &["--source"],
        SendError::SourcePortZero => &["--source-port"],
        SendError::NoSourcePort => &["--source-ports"],
        SendError::SourcePortsTwice | SendError::SourcePortRange { .. } => &["--source-port", "--source-ports"],
        SendError::SizeTooSmall { .. } | SendError::SizeTooLarge { .. } | SendError::AboveMtu { .. } => &["--size"],
        SendError::TtlZero => &["--ttl"],
        SendError::CountZero => &["--count"],
        SendError::DurationZero => &["--duration"],
        SendError::Rate { .. } => &["--rate"],
        SendError::Burst { .. } => &["--burst"],
        SendError::BurstShape => &["--burst", "--every"],
        SendError::NoStream | SendError::StreamWithoutSource(_) | SendError::Weight(_) => &["--stream"],
        SendError::VlanId(_) | SendError::TooManyTags(_) => &["--vlan"],
        SendError::Threads { .. } => &["--threads"],
        SendError::TooFewCpus { .. } => &["--threads", "--cpus"],
        SendError::MoreThreadsThanFlows { .. } => &["--source", "--source-ports", "--threads"],
        SendError::TooManyTurns { .. } => &["--stream", "--source-ports"],
        SendError::TooManyFlows { .. } => &["--source", "--source-ports"],
        SendError::Feed(error) => of_feed(error)?,
        _ => return None,
    };
    Some(options(names))
}

fn of_feed(error: &FeedError) -> Option<&'static [&'static str]> {
    Some(match error {
        FeedError::Legs { .. } | FeedError::LegTwice(_) => &["--leg"],
        FeedError::Shares(_) => &["--loss", "--reorder", "--duplicate"],
        FeedError::Delay(..) => &["--delay", "--jitter"],
        FeedError::ReorderBy { .. } => &["--reorder-by"],
        FeedError::Waiting { .. } => &["--delay", "--rate", "--messages"],
        FeedError::Streams { .. } => &["--streams"],
        FeedError::Messages { .. } | FeedError::Uneven(_) => &["--messages"],
        FeedError::MessageSize { .. } => &["--message-size"],
        FeedError::TooLong { .. } => &["--messages", "--message-size"],
        FeedError::RepackedPackets(_) => &["--repack"],
        FeedError::NothingToRepack => &["--leg", "--messages"],
        FeedError::ExclusiveAlone => &["--leg", "--exclusive-loss"],
        FeedError::NoRate(_) | FeedError::Slow { .. } => &["--rate"],
        FeedError::PlainTs(_) => &["--plain-ts"],
        FeedError::Sequence { .. } => &["--first-sequence", "--count"],
        FeedError::SourcePorts => &["--source-port"],
        FeedError::Heartbeat(..) => &["--heartbeat"],
        _ => return None,
    })
}

/// The options in a sentence.
fn options(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("The option is {one}"),
        [first @ .., last] => format!("The options are {} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::CommandFactory;
    use receiver::ReceiverConfig;
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    /// The long options of all subcommands.
    fn known() -> BTreeSet<String> {
        let command = Cli::command();
        let options = command.get_subcommands().flat_map(|command| command.get_arguments());
        options.filter_map(|argument| argument.get_long()).map(|name| format!("--{name}")).collect()
    }

    /// The long options that a text names.
    fn named(text: &str) -> BTreeSet<&str> {
        let word = |at: usize| {
            let rest = &text[at + 2..];
            &text[at..at + 2 + rest.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(rest.len())]
        };
        text.match_indices("--").map(|(at, _)| word(at)).filter(|word| word.len() > 2).collect()
    }

    /// Hints and remedies are literals, so that the source files name every option that a message can name.
    #[test]
    fn each_option_that_a_message_names_exists() {
        let known = known();
        for (file, text, at_least) in [
            ("hints.rs", include_str!("hints.rs"), 30),
            ("view/explanation.rs", include_str!("view/explanation.rs"), 3),
            ("run/mod.rs", include_str!("run/mod.rs"), 3),
        ] {
            let (code, _) = text.split_once("#[cfg(test)]").unwrap_or((text, ""));
            let named = named(code);
            assert!(named.len() >= at_least, "{file} names {named:?}");
            for option in named {
                assert!(known.contains(option), "{file} names {option}, which is no option of the command");
            }
        }
    }

    #[test]
    fn each_setting_of_the_library_has_its_option() {
        let config = serde_json::to_value(ReceiverConfig::default()).expect("JSON");
        for (field, _) in config.as_object().expect("an object") {
            // The interface and the subscriptions are written by themselves; huge pages have no option.
            let expected = !["interface", "subscriptions", "huge_pages"].contains(&field.as_str());
            assert_eq!(of_setting(field).is_some(), expected, "{field}");
        }
    }

    #[test]
    fn an_interface_that_is_close_is_suggested() {
        let unknown = |name: &str| InterfaceError::Unknown {
            name: name.to_owned(),
            known: vec!["enp1s0".to_owned(), "veth0".to_owned()],
        };
        let expected = Some(". Did you mean veth0?");
        assert_eq!(hint(&unknown("veht0").into()).as_deref(), expected);
        assert_eq!(hint(&Error::from(unknown("veht0")).into()).as_deref(), expected);
        assert_eq!(hint(&SendError::from(unknown("veht0")).into()).as_deref(), expected);
        assert_eq!(hint(&unknown("wlan7").into()), None);
    }

    #[test]
    fn a_hint_follows_the_error_wherever_it_is_in_the_chain() {
        let asm = SubscriptionError::AsmInSsmRange(Ipv4Addr::new(232, 1, 1, 1).into());
        let expected = Some(". The option is --allow-asm-in-ssm-range".to_owned());
        assert_eq!(hint(&anyhow::Error::new(asm.clone()).context("more")), expected);
        assert_eq!(hint(&Error::from(asm.clone()).into()), expected);
        assert_eq!(hint(&SendError::from(asm).into()), expected);
        assert_eq!(hint(&SendError::CountZero.into()).as_deref(), Some(". The option is --count"));
        let twice = hint(&SendError::SourcePortsTwice.into());
        assert_eq!(twice.as_deref(), Some(". The options are --source-port and --source-ports"));
        assert_eq!(hint(&Error::Stopped.into()), None);
        assert_eq!(hint(&anyhow::anyhow!("anything")), None);
    }
}
