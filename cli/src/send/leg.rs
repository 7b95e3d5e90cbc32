//! The text of a leg: `[SOURCE@]GROUP:PORT[?KEY=VALUE&KEY=VALUE]`.

use std::net::{IpAddr, SocketAddr};

use receiver_send::feed::{Leg, MAX_DELAY};
use receiver_send::impair::{Impairment, Share};

use crate::sink::{Problem, TargetOptions};
use crate::values;

const KEYS: [&str; 6] = ["loss", "reorder", "reorder-by", "duplicate", "delay", "jitter"];

/// A leg as it is written: what it does not name is that of all legs.
#[derive(Clone, Debug)]
pub struct LegSpec {
    leg: Leg,
    impairment: Overrides,
}

/// The impairments that were asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    pub loss: Option<Share>,
    pub reorder: Option<Share>,
    pub reorder_by: Option<u32>,
    pub duplicate: Option<Share>,
    pub delay: Option<std::time::Duration>,
    pub jitter: Option<std::time::Duration>,
}

impl Overrides {
    fn apply(self, to: &mut Impairment) {
        to.loss = self.loss.unwrap_or(to.loss);
        to.reorder = self.reorder.unwrap_or(to.reorder);
        to.reorder_by = self.reorder_by.unwrap_or(to.reorder_by);
        to.duplicate = self.duplicate.unwrap_or(to.duplicate);
        to.delay = self.delay.unwrap_or(to.delay);
        to.jitter = self.jitter.unwrap_or(to.jitter);
    }
}

impl LegSpec {
    /// The leg, with the impairments of all legs where it names none of its own.
    pub fn leg(self, all: Overrides) -> Leg {
        let mut leg = self.leg;
        all.apply(&mut leg.impairment);
        self.impairment.apply(&mut leg.impairment);
        leg
    }
}

/// Parses a leg.
pub fn parse(text: &str) -> Result<LegSpec, String> {
    let (address, options) = text.split_once('?').map_or((text, None), |(address, options)| (address, Some(options)));
    let wrong =
        || format!("`{address}` is no leg; write [SOURCE@]GROUP:PORT, with IPv6 addresses in brackets before a port");
    let (source, to) = address.split_once('@').map_or((None, address), |(source, to)| (Some(source), to));
    let to: SocketAddr = to.parse().map_err(|_| wrong())?;
    let source = source.map(|source| bare(source).parse::<IpAddr>().map_err(|_| wrong())).transpose()?;
    let impairment = overrides(options).map_err(|problem| problem.to_string())?;
    let mut leg = Leg::new(to.ip(), to.port());
    leg.source = source;
    Ok(LegSpec { leg, impairment })
}

/// Without brackets.
fn bare(address: &str) -> &str {
    address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address)
}

fn overrides(text: Option<&str>) -> Result<Overrides, Problem> {
    let options = TargetOptions::new(text, &KEYS)?;
    let share =
        |key| options.parsed(key, "a percentage from 0% to 100%, such as 1%", |text| text.parse::<Share>().ok());
    let time = |key| {
        options.parsed(key, "a time up to 10s, such as 2ms", |text| {
            values::duration(text).ok().filter(|time| *time <= MAX_DELAY)
        })
    };
    Ok(Overrides {
        loss: share("loss")?,
        reorder: share("reorder")?,
        reorder_by: options.parsed("reorder-by", "a number of packets, such as 3", |text| text.parse().ok())?,
        duplicate: share("duplicate")?,
        delay: time("delay")?,
        jitter: time("jitter")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_leg_names_what_differs() {
        let all = Overrides { loss: "2%".parse().ok(), reorder: "3%".parse().ok(), ..Overrides::default() };
        let text = "10.0.0.1@232.1.1.1:5000?loss=1%&delay=2ms&jitter=50us&duplicate=0.1%&reorder-by=5";
        let leg = parse(text).expect(text).leg(all);
        assert_eq!((leg.source, leg.group, leg.port), (Some([10, 0, 0, 1].into()), [232, 1, 1, 1].into(), 5000));
        let Impairment { loss, reorder, reorder_by, duplicate, delay, jitter, .. } = leg.impairment;
        assert_eq!([loss, reorder, duplicate].map(|share| share.to_string()), ["1%", "3%", "0.1%"]);
        assert_eq!((reorder_by, delay, jitter), (5, Duration::from_millis(2), Duration::from_micros(50)));
        for text in ["[ff3e::1]:5000", "2001:db8::1@[ff3e::1]:5000", "[2001:db8::1]@[ff3e::1]:5000"] {
            let leg = parse(text).expect(text).leg(all);
            assert_eq!(
                (leg.source.is_some(), leg.impairment.loss),
                (text.contains('@'), "2%".parse().expect("a share"))
            );
        }
    }

    #[test]
    fn each_refusal_names_what_is_wrong() {
        for (text, message) in [
            (
                "232.1.1.1",
                "`232.1.1.1` is no leg; write [SOURCE@]GROUP:PORT, with IPv6 addresses in brackets before a port",
            ),
            (
                "x@232.1.1.1:5000",
                "`x@232.1.1.1:5000` is no leg; write [SOURCE@]GROUP:PORT, with IPv6 addresses in brackets before a port",
            ),
            (
                "232.1.1.1:5000?loss=0.01",
                "the value of `loss` is `0.01`; write a percentage from 0% to 100%, such as 1%",
            ),
            ("232.1.1.1:5000?los=1%", "the key `los` is unknown; did you mean `loss`?"),
            ("232.1.1.1:5000?delay=1m", "the value of `delay` is `1m`; write a time up to 10s, such as 2ms"),
            ("232.1.1.1:5000?loss=1%&loss=2%", "the key `loss` has two values; keep one of them"),
        ] {
            assert_eq!(parse(text).expect_err(text), message);
        }
    }
}
