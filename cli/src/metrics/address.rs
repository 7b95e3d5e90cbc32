//! Where the metrics are served: on loopback, unless an address is given in full.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::str::FromStr;

use anyhow::Context;

/// An address to listen on, written `ADDRESS:PORT`; `:PORT` and `PORT` are on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsAddress(SocketAddr);

impl MetricsAddress {
    /// Begins to listen. Connections wait until a [`server`](super::server) accepts them.
    ///
    /// # Errors
    /// The address is in use, or not one of this host.
    pub fn listen(self) -> anyhow::Result<TcpListener> {
        let listener =
            TcpListener::bind(self.0).with_context(|| format!("cannot serve the metrics at {self} (--metrics)"))?;
        listener.set_nonblocking(true).context("cannot serve the metrics without blocking")?;
        let address = listener.local_addr().unwrap_or(self.0);
        if self.0.ip().is_loopback() {
            tracing::info!("the metrics are at http://{address}/metrics");
        } else {
            tracing::warn!(
                "the metrics are at http://{address}/metrics, for everyone who can reach this host, without a password"
            );
        }
        Ok(listener)
    }
}

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let port = |text: &str| text.parse::<u16>().ok();
        if let Some(port) = port(text.strip_prefix(':').unwrap_or(text)) {
            return Ok(Self((loopback, port).into()));
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
            return Ok(Self((loopback, port).into()));
        }
        text.parse().map(Self).map_err(|_| {
            "write ADDRESS:PORT, such as 127.0.0.1:9100, [::1]:9100 or 0.0.0.0:9100, or :PORT for loopback".to_owned()
        })
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_in_full_is_loopback() {
        for (text, address) in [
            ("9100", "127.0.0.1:9100"),
            (":9100", "127.0.0.1:9100"),
            ("localhost:9100", "127.0.0.1:9100"),
            ("0.0.0.0:9100", "0.0.0.0:9100"),
            ("[::]:9100", "[::]:9100"),
            ("[::1]:9100", "[::1]:9100"),
        ] {
            assert_eq!(text.parse::<MetricsAddress>().map(|address| address.to_string()), Ok(address.to_owned()));
        }
        for wrong in ["", ":", "eth0:9100", "0.0.0.0", ":65536", "[::1]", "*:9100", "-1"] {
            assert!(wrong.parse::<MetricsAddress>().is_err(), "{wrong}");
        }
    }
}
