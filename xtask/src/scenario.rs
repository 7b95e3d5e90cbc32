//! What the demonstration subscribes to and sends.

/// How long the senders send: they start after the receiver and end before it, so that traffic rests when it adds up.
pub const SEND_SECONDS: u32 = 6;
/// Bytes of payload of what should arrive.
pub const KEPT_SIZE: u64 = 200;
/// Bytes of payload of what should not. The difference tells from the receiver's own counts what it delivered.
pub const UNWANTED_SIZE: u64 = 333;

/// One subscription, and the streams that a receiver of it meets.
pub struct Part {
    /// As the receiver takes it.
    pub subscription: &'static str,
    group: &'static str,
    port: u16,
    kept: &'static [&'static str],
    refused: &'static [&'static str],
    /// Datagrams per second, of the kept sources together and of the refused ones together.
    rate: u32,
}

/// All that is subscribed to and sent.
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
    /// The arguments of each sender: one for the kept sources, one for the refused ones.
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

    /// The sources that should not arrive, for the sentence at the end.
    pub fn refused(&self) -> &'static [&'static str] {
        self.refused
    }
}
