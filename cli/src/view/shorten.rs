//! Subscriptions that are cut to a width.

/// A subscription cut to a width. Its group and port are kept before its sources.
pub fn shortened(text: &str, width: usize) -> String {
    if text.len() <= width {
        return text.to_owned();
    }
    // Subscriptions are ASCII, so that bytes are columns.
    let group = group_of(text);
    let sources = &text[..text.len() - group.len()];
    match width.checked_sub(group.len()) {
        // At least `…@` and one character of the first source.
        Some(room) if room > 2 => format!("{}…@{group}", sources.get(..room - 2).unwrap_or(sources)),
        Some(_) => group.to_owned(),
        None => {
            let end = (width / 2).min(group.len());
            let start = width.saturating_sub(end + 1);
            format!("{}…{}", &group[..start], &group[group.len() - end..]).chars().take(width).collect()
        }
    }
}

/// Group and port of a subscription.
pub fn group_of(subscription: &str) -> &str {
    subscription.rsplit_once('@').map_or(subscription, |(_, group)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_to_the_width() {
        assert_eq!(shortened("10.0.0.1@232.1.1.1:5000", 30), "10.0.0.1@232.1.1.1:5000");
        assert_eq!(shortened("10.0.0.1,10.0.0.2@232.1.1.1:5000", 24), "10.0.0.1…@232.1.1.1:5000");
        assert_eq!(shortened("10.0.0.1@232.1.1.1:5000", 17), "1…@232.1.1.1:5000");
        assert_eq!(shortened("10.0.0.1@232.1.1.1:5000", 16), "232.1.1.1:5000");
        assert_eq!(shortened("10.0.0.1@232.1.1.1:5000", 9), "232.…5000");
        for width in 0..30 {
            assert!(shortened("10.0.0.1@232.1.1.1:5000", width).chars().count() <= width, "{width}");
        }
    }
}
