//! The health of RTP and MPEG-TS in words, from its JSON.

use serde_json::Value;

use crate::units::{count, with_unit};

/// A line for each of RTP, the transport stream, its programs, and the delivery index, as far as they are known.
pub fn media_lines(rtp: Option<&Value>, stream: Option<&Value>, index: Option<&Value>) -> Vec<String> {
    let milliseconds = |value: &Value| value.as_f64().unwrap_or_default() / 1e6;
    let mut lines = Vec::new();
    if let Some(rtp) = rtp {
        let jitter = ["jitter_nanoseconds", "highest_jitter_nanoseconds"].map(|name| milliseconds(&rtp[name]));
        lines.push(format!("RTP: jitter {:.3} ms, at most {:.3} ms", jitter[0], jitter[1]));
    }
    if let Some(stream) = stream {
        let sum = |priority: &str| {
            let errors = stream[priority].as_object().into_iter().flatten();
            errors.filter_map(|(_, count)| count.as_u64()).sum::<u64>()
        };
        let rate = stream["bits_per_second"].as_f64().map(|rate| with_unit(rate, "bit/s"));
        lines.push(format!(
            "MPEG-TS: {}; TR 101 290: {} errors of priority 1, {} of priority 2",
            rate.unwrap_or_else(|| "rate unknown".to_owned()),
            sum("priority_1"),
            sum("priority_2"),
        ));
        for program in stream["programs"].as_array().into_iter().flatten() {
            let name = program["service"].as_str().unwrap_or("without a name");
            let streams = program["streams"].as_array().map_or(0, Vec::len) as u64;
            lines.push(format!("program {}: {name}, {}", program["number"], count(streams, "stream")));
        }
    }
    if let Some(index) = index {
        lines.push(format!(
            "MDI: {:.3} ms : {:.0}, at most {:.3} ms",
            milliseconds(&index["delay_factor_nanoseconds"]),
            index["media_loss_rate"].as_f64().unwrap_or_default(),
            milliseconds(&index["highest_delay_factor_nanoseconds"]),
        ));
    }
    lines
}
