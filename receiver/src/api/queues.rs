//! The receive queues that a user asks for.

use std::fmt;
use std::str::FromStr;

use crate::api::parse::{ParseError, serialize_as_text};

/// Which receive queues are served. Written `all`, `4` for the first four, `0,2` for a list, or `2,` for a list of one.
///
/// ```
/// use receiver::Queues;
/// assert_eq!("4".parse(), Ok(Queues::First(4)));
/// assert_eq!(Queues::These(vec![2]).to_string(), "2,");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Queues {
    /// All that the interface has.
    #[default]
    All,
    /// The first N.
    First(u32),
    /// These. Wanted frames on the other queues take the kernel path.
    These(Vec<u32>),
}

impl FromStr for Queues {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::new(text, "a choice of receive queues", "all, a number such as 4, or a list as 0,2");
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        match text {
            "all" => Ok(Self::All),
            "0" => Err(ParseError::new(text, "a number of receive queues", "at least 1; for queue 0 alone, `0,`")),
            list if list.contains(',') => {
                let numbers = list.strip_suffix(',').unwrap_or(list).split(',').map(number);
                numbers.collect::<Result<_, _>>().map(Self::These)
            }
            count => number(count).map(Self::First),
        }
    }
}

impl fmt::Display for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.pad("all"),
            Self::First(count) => write!(f, "{count}"),
            Self::These(numbers) => match numbers.as_slice() {
                [one] => write!(f, "{one},"),
                some => f.write_str(&some.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
            },
        }
    }
}

serialize_as_text!(Queues);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_as_it_is_written() {
        let forms = [
            ("all", Queues::All),
            ("4", Queues::First(4)),
            ("0,2", Queues::These(vec![0, 2])),
            ("2,", Queues::These(vec![2])),
        ];
        for (text, queues) in forms {
            assert_eq!((text.parse(), queues.to_string().as_str()), (Ok(queues.clone()), text));
        }
        for wrong in ["", "0", ",", "a", "1,,2", "-1", "1,,"] {
            assert!(wrong.parse::<Queues>().is_err(), "{wrong}");
        }
    }
}
