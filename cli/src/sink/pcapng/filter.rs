//! Subscriptions in the language of libpcap, for the description of an interface.

use receiver::Subscription;

/// The longest filter that a file gets, in bytes. A longer one is left out.
const LONGEST: usize = 16 << 10;

/// What the subscriptions want. Empty if there is none, or if the text is too long.
pub fn of<'a>(subscriptions: impl IntoIterator<Item = &'a Subscription>) -> String {
    let mut text = String::new();
    for subscription in subscriptions {
        if !text.is_empty() {
            text.push_str(" or ");
        }
        text.push_str(&one(subscription));
        if text.len() > LONGEST {
            return String::new();
        }
    }
    text
}

fn one(subscription: &Subscription) -> String {
    let filter = subscription.filter();
    let sources: Vec<String> = filter.sources().iter().map(|source| format!("src host {source}")).collect();
    let of_sources = match (filter.is_exclude(), sources.is_empty()) {
        (_, true) => String::new(),
        (false, false) => format!(" and ({})", sources.join(" or ")),
        (true, false) => format!(" and not ({})", sources.join(" or ")),
    };
    format!("(dst host {} and udp dst port {}{of_sources})", subscription.group(), subscription.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_filters() {
        let of = |texts: &[&str]| {
            let all: Vec<Subscription> = texts.iter().map(|text| text.parse().expect(text)).collect();
            super::of(&all)
        };
        assert_eq!(of(&[]), "");
        assert_eq!(
            of(&["10.0.0.1,10.0.0.2@232.1.1.1:5000", "239.1.1.1:6000"]),
            "(dst host 232.1.1.1 and udp dst port 5000 and (src host 10.0.0.1 or src host 10.0.0.2)) or \
             (dst host 239.1.1.1 and udp dst port 6000)"
        );
        assert_eq!(
            of(&["![2001:db8::1]@[ff15::1]:5000"]),
            "(dst host ff15::1 and udp dst port 5000 and not (src host 2001:db8::1))"
        );
        let many: Vec<String> = (0..1000).map(|port| format!("239.1.1.1:{}", port + 1)).collect();
        assert_eq!(of(&many.iter().map(String::as_str).collect::<Vec<_>>()), "", "too long");
    }
}
