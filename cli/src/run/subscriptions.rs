//! The subscriptions that a run starts with: from the command line, from the configuration, and from a list in a file
//! or on standard input, one per line. Each has the place where it was written, so that a message can name it.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;
use std::sync::OnceLock;

use receiver::Subscription;

use crate::config::{File as Configuration, Wanted};
use crate::errors::UsageError;
use crate::files;

/// The largest file, in bytes: room for more than 200,000 subscriptions of one IPv6 source each.
const MOST_BYTES: u64 = 16 << 20;
/// The most faults that one message names.
const MOST_NAMED: usize = 5;

/// Where a subscription was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    CommandLine,
    /// In the list; counted from 1.
    Line(usize),
    /// In the configuration; counted from 1.
    Configured(usize),
}

/// All subscriptions, in the order in which they were written.
///
/// # Errors
/// A [`UsageError`] for an invalid subscription and for a source of a group and port that is named twice; another error
/// if the list cannot be read.
pub fn all(
    written: &[String],
    file: Option<&Path>,
    configuration: Option<&Configuration>,
) -> anyhow::Result<Vec<Wanted>> {
    let mut found = Vec::with_capacity(written.len());
    for text in written {
        found.push((Place::CommandLine, text.parse().map_err(receiver::Error::from)?));
    }
    let mut names = vec![None; found.len()];
    for entry in configuration.map(|configuration| &configuration.subscriptions).into_iter().flatten() {
        found.push((Place::Configured(entry.line), entry.subscription.clone()));
        names.push(entry.name.clone());
    }
    let name = file.map(files::input).unwrap_or_default();
    if let Some(path) = file {
        let text = read(path).map_err(|error| anyhow::anyhow!("cannot read the subscriptions in {name}: {error}"))?;
        found.extend(listed(&name, &text)?);
    }
    if found.is_empty() {
        return Err(receiver::Error::NoSubscription.into());
    }
    refuse_overlaps(&Names { list: &name, configuration: configuration.map(|file| file.path.as_path()) }, &found)?;
    names.resize(found.len(), None);
    let named = names.into_iter().zip(found);
    Ok(named.map(|(name, (_, subscription))| Wanted { name, subscription }).collect())
}

/// The names of the files.
struct Names<'a> {
    list: &'a str,
    configuration: Option<&'a Path>,
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    /// Standard input, which can be read once: a reload takes the same list again.
    static STANDARD_INPUT: OnceLock<Vec<u8>> = OnceLock::new();
    let mut bytes = Vec::new();
    if files::is_standard_input(path) {
        if let Some(read) = STANDARD_INPUT.get() {
            return Ok(read.clone());
        }
        io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        bytes = STANDARD_INPUT.get_or_init(|| bytes).clone();
    } else {
        File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!(
            "it is longer than {} MiB; split it, or check the name",
            MOST_BYTES >> 20
        )));
    }
    Ok(bytes)
}

/// The subscriptions in a file's text.
fn listed(name: &str, bytes: &[u8]) -> Result<Vec<(Place, Subscription)>, UsageError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        UsageError(format!("{name}, line {line}: this is not UTF-8 text; save the file as UTF-8"))
    })?;
    // Some editors begin a UTF-8 file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut all = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
        if line.is_empty() {
            continue;
        }
        let subscription = line.parse().map_err(|error| UsageError(format!("{name}, line {number}: {error}")))?;
        all.push((Place::Line(number), subscription));
    }
    Ok(all)
}

/// Each source of a group and port may be named once, and any-source stands alone on its group and port.
fn refuse_overlaps(names: &Names<'_>, found: &[(Place, Subscription)]) -> Result<(), UsageError> {
    /// The subscriptions of one group and port, by their position.
    #[derive(Default)]
    struct Seen {
        any_source: Option<usize>,
        sources: HashMap<IpAddr, usize>,
        first: Option<usize>,
    }
    let mut groups: HashMap<(IpAddr, u16), Seen> = HashMap::new();
    let mut faults = Vec::new();
    for (at, (_, subscription)) in found.iter().enumerate() {
        let seen = groups.entry((subscription.group(), subscription.port())).or_default();
        let other = if subscription.filter().is_exclude() {
            seen.first
        } else {
            let sources = subscription.filter().sources();
            seen.any_source.or_else(|| sources.iter().find_map(|source| seen.sources.get(source).copied()))
        };
        if let Some(other) = other {
            faults.push((at, other));
            continue;
        }
        seen.first.get_or_insert(at);
        if subscription.filter().is_exclude() {
            seen.any_source = Some(at);
        } else {
            seen.sources.extend(subscription.filter().sources().iter().map(|&source| (source, at)));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let place = |at: usize| Located { names, place: found[at].0 };
    let mut named: Vec<String> = faults
        .iter()
        .take(MOST_NAMED)
        .map(|&(at, other)| {
            let (one, two) = (&found[at].1, &found[other].1);
            match one == two {
                true => format!("{}: {} is repeated from {}", place(at), short(one), place(other)),
                false => format!("{}: {} overlaps {} of {}", place(at), short(one), short(two), place(other)),
            }
        })
        .collect();
    if faults.len() > MOST_NAMED {
        named.push(format!("and {} more", faults.len() - MOST_NAMED));
    }
    let rule = "name each source of a group and port once, and do not mix any-source with named sources there";
    Err(UsageError(format!("{}; {rule}", named.join("; "))))
}

/// A subscription as text that fits a message.
fn short(subscription: &Subscription) -> String {
    let sources = subscription.filter().sources().len();
    let text = subscription.to_string();
    match text.rsplit_once('@') {
        Some((_, group)) if sources > 8 => format!("{sources} sources @{group}"),
        _ => text,
    }
}

struct Located<'a> {
    names: &'a Names<'a>,
    place: Place,
}

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::CommandLine => f.write_str("the command line"),
            Place::Line(number) => write!(f, "{}, line {number}", self.names.list),
            Place::Configured(number) => {
                write!(f, "{}:{number}", files::shown(self.names.configuration.unwrap_or(Path::new(""))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "name each source of a group and port once, and do not mix any-source with named sources there";

    fn texts(found: &[(Place, Subscription)]) -> Vec<String> {
        found.iter().map(|(_, subscription)| subscription.to_string()).collect()
    }

    fn overlaps(written: &[&str], file: &str) -> String {
        let mut found: Vec<(Place, Subscription)> =
            written.iter().map(|text| (Place::CommandLine, text.parse().expect(text))).collect();
        found.extend(listed("list", file.as_bytes()).expect("subscriptions"));
        refuse_overlaps(&Names { list: "list", configuration: None }, &found)
            .err()
            .map_or(String::new(), |error| error.to_string())
    }

    #[test]
    fn lines_comments_and_a_byte_order_mark() {
        let text = "\u{feff}# all\r\n\n10.0.0.1@232.1.1.1:5000 # one\n  [ff15::1]:5001\nudp://@239.1.1.1:1\n";
        let good = listed("list", text.as_bytes()).expect("three");
        assert_eq!(texts(&good), ["10.0.0.1@232.1.1.1:5000", "[ff15::1]:5001", "239.1.1.1:1"]);
        assert_eq!(good[0].0, Place::Line(3));
        // The mark may stand right before a subscription.
        assert_eq!(listed("list", "\u{feff}232.1.1.1:1".as_bytes()).expect("one").len(), 1);
    }

    #[test]
    fn faults_name_their_line() {
        let says = |text: &[u8]| listed("list", text).expect_err("a fault").to_string();
        let nonsense = says(b"10.0.0.1@232.1.1.1:5000\nnonsense\n");
        assert!(nonsense.starts_with("list, line 2: subscription `nonsense`: there is no `:PORT`"), "{nonsense}");
        let inside = says("\n\u{feff}232.1.1.1:5000\n".as_bytes());
        assert!(
            inside.starts_with("list, line 2: subscription `\\u{feff}232.1.1.1:5000`: it holds a byte order mark"),
            "{inside}"
        );
        assert_eq!(says(b"\n\n\xff\xfe1"), "list, line 3: this is not UTF-8 text; save the file as UTF-8");
    }

    #[test]
    fn a_subscription_that_is_written_twice_names_both_places() {
        assert_eq!(overlaps(&["10.0.0.1@232.1.1.1:5000"], "10.0.0.2@232.1.1.1:5000\n10.0.0.1@232.1.1.1:5001"), "");
        assert_eq!(
            overlaps(&[], "10.0.0.1@232.1.1.1:5000\n# again\n10.0.0.1@232.1.1.1:5000"),
            format!("list, line 3: 10.0.0.1@232.1.1.1:5000 is repeated from list, line 1; {RULE}")
        );
        assert_eq!(
            overlaps(&["10.0.0.1@232.1.1.1:5000"], "\n10.0.0.1,10.0.0.2@232.1.1.1:5000"),
            format!(
                "list, line 2: 10.0.0.1,10.0.0.2@232.1.1.1:5000 overlaps 10.0.0.1@232.1.1.1:5000 of the command line; \
                 {RULE}"
            )
        );
        assert_eq!(
            overlaps(&["239.1.1.1:1", "!10.0.0.1@239.1.1.1:1"], ""),
            format!("the command line: !10.0.0.1@239.1.1.1:1 overlaps 239.1.1.1:1 of the command line; {RULE}")
        );
        assert!(overlaps(&["10.0.0.1@239.1.1.1:1", "239.1.1.1:1"], "").contains("239.1.1.1:1 overlaps 10.0.0.1@"));
        assert!(overlaps(&["239.1.1.1:1", "10.0.0.1@239.1.1.1:1"], "").contains("10.0.0.1@239.1.1.1:1 overlaps 239."));
    }

    #[test]
    fn many_faults_and_long_lists_fit_a_message() {
        let many = overlaps(&[], &"10.0.0.1@232.1.1.1:5000\n".repeat(10_000));
        assert!(many.contains("list, line 6: ") && many.contains("; and 9994 more; ") && many.len() < 800, "{many}");
        let sources: Vec<String> = (1..=200).map(|n| format!("10.0.0.{n}")).collect();
        let long = format!("{}@232.1.1.1:5000\n", sources.join(","));
        let says = overlaps(&[], &long.repeat(2));
        assert_eq!(says, format!("list, line 2: 200 sources @232.1.1.1:5000 is repeated from list, line 1; {RULE}"));
    }

    #[test]
    fn a_file_without_an_end_is_refused() {
        let error = all(&[], Some(Path::new("/dev/zero")), None).expect_err("no end").to_string();
        let expected =
            "cannot read the subscriptions in /dev/zero: it is longer than 16 MiB; split it, or check the name";
        assert_eq!(error, expected);
    }
}
