//! The driver, and its known limits.

use receiver::inspect;

use crate::doctor::line::Line;
use crate::doctor::subject::Subject;

struct Facts {
    interface: String,
    driver: Option<String>,
    /// The known limits: what, and true if no error reports it.
    limits: Vec<(String, bool)>,
}

pub fn check(subject: &Subject) -> Vec<Line> {
    let driver = subject.interface.driver.clone();
    let limits = driver.as_deref().map(|driver| inspect::driver_limits(driver).collect()).unwrap_or_default();
    judge(&Facts { interface: subject.name().to_owned(), driver, limits })
}

fn judge(facts: &Facts) -> Vec<Line> {
    let Facts { interface, driver, limits } = facts;
    let Some(driver) = driver else {
        return vec![Line::skipped(format!("the kernel does not report the driver of {interface}"))];
    };
    let silent: Vec<&str> = limits.iter().filter(|(_, silent)| *silent).map(|(text, _)| text.as_str()).collect();
    let known: Vec<&str> = limits.iter().filter(|(_, silent)| !*silent).map(|(text, _)| text.as_str()).collect();
    let text = match known.as_slice() {
        [] => driver.clone(),
        known => format!("{driver}: {}", known.join("; ").replace("IFACE", interface)),
    };
    let mut lines = vec![Line::ok(text)];
    lines.extend(silent.iter().map(|text| Line::warn(text.replace("IFACE", interface))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::outcomes;
    use crate::doctor::line::Outcome::{Ok, Skipped, Warn};

    fn of(driver: &str) -> Facts {
        let limits = inspect::driver_limits(driver).collect();
        Facts { interface: "eth1".to_owned(), driver: Some(driver.to_owned()), limits }
    }

    #[test]
    fn limits_are_those_of_the_driver() {
        let lines = judge(&of("i40e"));
        assert_eq!(outcomes(&lines), [Ok, Warn]);
        assert!(lines[1].text.contains("ntuple"), "{lines:?}");
        let lines = judge(&of("ena"));
        assert!(lines[0].text.contains("ethtool -L eth1 combined N"), "{lines:?}");
        assert_eq!(outcomes(&judge(&of("mlx5_core"))), [Ok]);
        let unknown = Facts { driver: None, limits: Vec::new(), ..of("") };
        assert_eq!(outcomes(&judge(&unknown)), [Skipped]);
    }
}
