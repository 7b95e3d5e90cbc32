//! The demonstration's subscriptions and streams.

/// Duration of the senders' run. They start after the receiver and end before it, so that there is no traffic while it
/// adds up.
pub const SEND_SECONDS: u32 = 6;
/// Payload length of wanted datagrams, in bytes.
pub const KEPT_SIZE: u64 = 200;
/// Payload length of unwanted datagrams, in bytes. The difference shows in the receiver's own counts what it delivered.
pub const UNWANTED_SIZE: u64 = 333;

/// One subscription, and the streams that a receiver with it meets.
pub struct Part {
    /// As the receiver accepts it.
    pub subscription: &'static str,
    group: &'static str,
    port: u16,
    kept: &'static [&'static str],
    refused: &'static [&'static str],
    /// Datagrams per second, of all wanted sources together and of all unwanted sources together.
    rate: u32,
}

/// All subscriptions and streams.
pub const PARTS: [Part; 3] = [
    Part {
        subscription: "10.0.0.1,10.0.0.2@232.1.1.1:5000",
        group: "232.1.1.1",
        port: 5000,
        kept: &["10.0.0.1", "10.0.0.2"],
        refused: &["10.0.0.3"],
        rate: 10_000,
    },
    Part {
        subscription: "!10.0.0.9@239.1.1.1:5001",
        group: "239.1.1.1",
        port: 5001,
        kept: &["10.0.0.4"],
        refused: &["10.0.0.9"],
        rate: 5_000,
    },
    Part {
        subscription: "[2001:db8::1]@[ff3e::1]:5000",
        group: "ff3e::1",
        port: 5000,
        kept: &["2001:db8::1"],
        refused: &[],
        rate: 5_000,
    },
];

impl Part {
    /// The arguments of each sender: one for the wanted sources, one for the unwanted sources.
    pub fn senders(&self, interface: &str) -> Vec<Vec<String>> {
        let sender = |sources: &[&str], size: u64| {
            let mut arguments = vec!["send".to_owned(), "-i".into(), interface.into()];
            arguments.extend(["--group".into(), self.group.into(), "--port".into(), self.port.to_string()]);
            arguments.extend(sources.iter().flat_map(|source| ["--source".to_owned(), (*source).to_owned()]));
            arguments.extend(["--rate".into(), self.rate.to_string(), "--duration".into(), SEND_SECONDS.to_string()]);
            arguments.extend(["--size".into(), size.to_string()]);
            arguments
        };
        let streams = [(self.kept, KEPT_SIZE), (self.refused, UNWANTED_SIZE)];
        streams
            .iter()
            .filter(|(sources, _)| !sources.is_empty())
            .map(|(sources, size)| sender(sources, *size))
            .collect()
    }

    /// The unwanted sources, for the final sentence.
    pub fn refused(&self) -> &'static [&'static str] {
        self.refused
    }
}
