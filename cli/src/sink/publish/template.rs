//! The subject of a message: a text with variables.

use std::net::IpAddr;

/// The longest subject, in bytes.
const LONGEST: usize = 200;

/// The variables.
const VARIABLES: [&str; 4] = ["{stream}", "{name}", "{group}", "{port}"];

/// A subject with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

/// What the variables stand for.
pub struct Values<'a> {
    pub stream: &'a str,
    /// The name of the feed or of the subscription. Without one it is `GROUP-PORT`.
    pub name: Option<&'a str>,
    pub group: IpAddr,
    pub port: u16,
}

impl Template {
    /// `None` if the text is no subject, or has an unknown variable.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = VARIABLES.iter().fold(text.to_owned(), |text, variable| text.replace(variable, "x"));
        let is_token = |token: &str| {
            !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '*' | '>' | '{' | '}'))
        };
        let fits = text.len() <= LONGEST && !plain.starts_with('$') && plain.split('.').all(is_token);
        fits.then(|| Self(text.to_owned()))
    }

    /// The subject.
    pub fn subject(&self, values: &Values<'_>) -> String {
        let group = token(&values.group.to_string());
        let name = values.name.map_or_else(|| format!("{group}-{}", values.port), token);
        let replaced = self.0.replace("{stream}", values.stream).replace("{name}", &name);
        replaced.replace("{group}", &group).replace("{port}", &values.port.to_string())
    }

    /// The subjects that it can become, as one subject with wildcards.
    pub fn wildcard(&self, stream: &str) -> String {
        let named = self.0.replace("{stream}", stream);
        let tokens: Vec<&str> = named.split('.').map(|token| if token.contains('{') { "*" } else { token }).collect();
        tokens.join(".")
    }
}

/// The text as one token of a subject.
fn token(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_tokens() {
        let values = |name| Values { stream: "MD", name, group: IpAddr::from([232, 1, 1, 1]), port: 5000 };
        let of = |text: &str, name| Template::parse(text).expect(text).subject(&values(name));
        assert_eq!(of("{stream}.{name}", Some("itch a.b")), "MD.itch-a-b");
        assert_eq!(of("{stream}.{name}", None), "MD.232-1-1-1-5000");
        assert_eq!(of("md.{group}.p{port}", None), "md.232-1-1-1.p5000");
        let wildcard = |text: &str| Template::parse(text).expect(text).wildcard("MD");
        assert_eq!(wildcard("{stream}.{name}"), "MD.*");
        assert_eq!(wildcard("md.{group}.p{port}"), "md.*.*");
        assert_eq!(wildcard("md"), "md");
        for wrong in ["", "a..b", "a.*", "a.>", "a b", "a.{source}", "$JS.x", ".a"] {
            assert_eq!(Template::parse(wrong), None, "{wrong}");
        }
    }
}
