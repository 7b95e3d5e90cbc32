//! The demonstration's result: checks the receiver's summary and describes it in words.

use std::fmt;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::scenario::{KEPT_SIZE, PARTS, UNWANTED_SIZE};

/// The relevant parts of the receiver's summary (`"type": "summary"`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    mode: String,
    unaccounted: i64,
    subscriptions: Vec<Counts>,
}

/// One subscription in the summary.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counts {
    packets: u64,
    bytes: u64,
    /// Unknown in mode `socket`.
    blocked: Option<u64>,
}

impl Summary {
    /// Reads the object that `receiver run --summary` writes. The subscriptions are in the order of the command line.
    pub fn parse(text: &str) -> Result<Self> {
        let summary: Value = serde_json::from_str(text.trim())?;
        let subscriptions = summary["subscriptions"].as_array().context("it has no subscriptions")?;
        let counts = |entry: &Value| {
            let number = |key: &str| entry[key].as_u64().with_context(|| format!("a subscription has no {key}"));
            Ok(Counts { packets: number("packets")?, bytes: number("bytes")?, blocked: entry["blocked"].as_u64() })
        };
        Ok(Self {
            mode: summary["mode"].as_str().context("it has no mode")?.to_owned(),
            unaccounted: summary["unaccounted"].as_i64().context("it has no whole number unaccounted")?,
            subscriptions: subscriptions.iter().map(counts).collect::<Result<_>>()?,
        })
    }

    /// The mode that the receiver ran in.
    pub fn mode(&self) -> &str {
        &self.mode
    }
}

/// The result of each subscription.
#[derive(Debug)]
pub struct Outcome {
    mode: String,
    unaccounted: i64,
    parts: Vec<Delivered>,
}

#[derive(Debug, PartialEq, Eq)]
struct Delivered {
    wanted: u64,
    unwanted: u64,
    blocked: Option<u64>,
}

impl Outcome {
    /// Separates wanted from unwanted datagrams by their size.
    pub fn judge(summary: &Summary) -> Result<Self> {
        if summary.subscriptions.len() != PARTS.len() {
            bail!("the receiver reports {} subscriptions, not {}", summary.subscriptions.len(), PARTS.len());
        }
        Ok(Self {
            mode: summary.mode.clone(),
            unaccounted: summary.unaccounted,
            parts: summary.subscriptions.iter().map(delivered).collect::<Result<_>>()?,
        })
    }

    /// Lists what is wrong. A run that ended early may have seen nothing yet.
    pub fn faults(&self, early: bool) -> Vec<String> {
        let mut faults = Vec::new();
        for (part, delivered) in PARTS.iter().zip(&self.parts) {
            if !early && delivered.wanted == 0 {
                faults.push(format!("nothing arrived for {}", part.subscription));
            }
            if delivered.unwanted > 0 {
                faults.push(format!(
                    "{} unwanted datagrams were delivered for {}",
                    delivered.unwanted, part.subscription
                ));
            }
            // Without XDP the kernel drops them in its own filter, without a count.
            if !early
                && self.mode != "socket"
                && !part.refused().is_empty()
                && delivered.blocked.is_none_or(|count| count == 0)
            {
                faults.push(format!(
                    "XDP dropped nothing for {}, although {} sent",
                    part.subscription,
                    part.refused().join(", ")
                ));
            }
        }
        if self.unaccounted != 0 {
            faults.push(format!("{} frames are unaccounted for", self.unaccounted));
        }
        faults
    }

    fn sum(&self, count: impl Fn(&Delivered) -> u64) -> u64 {
        self.parts.iter().map(count).sum()
    }
}

/// Of p datagrams with b bytes, all of one of two sizes, u are of the second: b = p·kept + u·(unwanted − kept).
fn delivered(counts: &Counts) -> Result<Delivered> {
    let more = counts.bytes.checked_sub(counts.packets * KEPT_SIZE);
    let unwanted =
        more.filter(|more| more % (UNWANTED_SIZE - KEPT_SIZE) == 0).map(|more| more / (UNWANTED_SIZE - KEPT_SIZE));
    let unwanted = unwanted.filter(|unwanted| *unwanted <= counts.packets).with_context(|| {
        format!("{} bytes in {} datagrams were not sent by this demonstration", counts.bytes, counts.packets)
    })?;
    Ok(Delivered { wanted: counts.packets - unwanted, unwanted, blocked: counts.blocked })
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = self.sum(|part| part.wanted);
        let unwanted = self.sum(|part| part.unwanted);
        let kept: Vec<_> = PARTS
            .iter()
            .zip(&self.parts)
            .map(|(part, delivered)| format!("{} of {}", delivered.wanted, part.subscription))
            .collect();
        write!(formatter, "In mode {} the receiver kept {wanted} wanted datagrams ({}); ", self.mode, kept.join(", "))?;
        let refused: Vec<_> = PARTS.iter().zip(&self.parts).filter(|(part, _)| !part.refused().is_empty()).collect();
        if self.mode == "socket" {
            let sources: Vec<_> = refused.iter().flat_map(|(part, _)| part.refused()).copied().collect();
            write!(formatter, "the kernel's source filters dropped what {} sent", sources.join(" and "))?;
        } else {
            let drops: Vec<_> = refused
                .iter()
                .map(|(part, delivered)| {
                    format!("{} from {}", delivered.blocked.unwrap_or(0), part.refused().join(", "))
                })
                .collect();
            write!(formatter, "XDP dropped {} ({})", self.sum(|part| part.blocked.unwrap_or(0)), drops.join(", "))?;
        }
        write!(formatter, "; {unwanted} unwanted were delivered, {} frames are unaccounted for.", self.unaccounted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(mode: &str, counts: [(u64, u64, u64); 3], unaccounted: i64) -> Summary {
        let known = |blocked: u64| if mode == "socket" { Value::Null } else { blocked.into() };
        let entry = |(packets, bytes, blocked): (u64, u64, u64)| serde_json::json!({"subscription": "s", "packets": packets, "bytes": bytes, "blocked": known(blocked)});
        let text = serde_json::json!({
            "type": "summary", "interface": "veth-rx", "mode": mode, "elapsed_seconds": 8.0,
            "subscriptions": counts.map(entry), "ledger": {}, "unaccounted": unaccounted
        });
        Summary::parse(&text.to_string()).expect("as the receiver writes it")
    }

    fn judge(summary: &Summary) -> Outcome {
        Outcome::judge(summary).expect("three subscriptions")
    }

    #[test]
    fn a_good_run_has_no_faults_and_reads_well() {
        let outcome = judge(&summary("copy", [(60, 12000, 70), (30, 6000, 31), (5, 1000, 0)], 0));
        assert_eq!(outcome.faults(false), Vec::<String>::new());
        let text = outcome.to_string();
        for part in [
            "mode copy",
            "kept 95 wanted",
            "dropped 101",
            "70 from 10.0.0.3",
            "31 from 10.0.0.9",
            "0 unwanted",
            "0 frames",
        ] {
            assert!(text.contains(part), "{part} is missing: {text}");
        }
        let outcome = judge(&summary("socket", [(60, 12000, 0), (30, 6000, 0), (5, 1000, 0)], 0));
        assert_eq!(outcome.faults(false), Vec::<String>::new());
        assert!(outcome.to_string().contains("kernel's source filters dropped what 10.0.0.3 and 10.0.0.9 sent"));
    }

    #[test]
    fn every_fault_is_found() {
        let fault = |summary: &Summary| judge(summary).faults(false);
        assert!(fault(&summary("copy", [(0, 0, 70), (30, 6000, 31), (5, 1000, 0)], 0))[0].contains("nothing arrived"));
        assert!(
            fault(&summary("copy", [(60, 12000 + 2 * 133, 70), (30, 6000, 31), (5, 1000, 0)], 0))[0]
                .starts_with("2 unwanted")
        );
        assert!(
            fault(&summary("copy", [(60, 12000, 70), (30, 6000, 0), (5, 1000, 0)], 0))[0].contains("dropped nothing")
        );
        assert!(fault(&summary("copy", [(60, 12000, 70), (30, 6000, 31), (5, 1000, 0)], -3))[0].contains("-3 frames"));
    }

    #[test]
    fn an_early_end_excuses_only_what_did_not_come_yet() {
        let outcome = judge(&summary("copy", [(0, 0, 0), (0, 0, 0), (0, 0, 0)], 0));
        assert_eq!(outcome.faults(true), Vec::<String>::new());
        assert_eq!(judge(&summary("copy", [(1, 333, 0), (0, 0, 0), (0, 0, 0)], 1)).faults(true).len(), 2);
    }

    #[test]
    fn foreign_sizes_and_other_summaries_are_refused() {
        assert!(Outcome::judge(&summary("copy", [(60, 12001, 70), (30, 6000, 31), (5, 1000, 0)], 0)).is_err());
        assert!(Outcome::judge(&summary("copy", [(60, 11000, 70), (30, 6000, 31), (5, 1000, 0)], 0)).is_err());
        assert!(Outcome::judge(&Summary { mode: "copy".into(), unaccounted: 0, subscriptions: Vec::new() }).is_err());
        assert!(Summary::parse("{}").is_err());
    }
}
