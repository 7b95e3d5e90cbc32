//! The configuration of a receiver: one type, filled by the builder or from a file. What the XDP program, the AF_XDP
//! rings, the sockets and the workers need are views of it.

use receiver_membership::udp::SocketOptions;
use receiver_membership::{Options as MembershipOptions, Subscription, SubscriptionError, validate_source};
use receiver_xsk::{BusyPoll, HugePages, UmemConfig};

use crate::api::config_text;
use crate::api::error::Error;
use crate::api::mode::{ModeRequest, ReceiveMode};
use crate::api::queues::Queues;
use crate::api::vlan::Vlan;
use crate::engine::filter::FilterTable;
use crate::engine::others::DropUnwanted;

/// SO_RCVBUF is a C int, and the kernel doubles it.
const MAX_SOCKET_BUFFER: usize = 1 << 30;
/// Entries that each of the XDP filter's maps can have.
const MAX_FLOWS: u32 = 1 << 24;
/// The smallest and the largest ring.
const RING_SIZES: std::ops::RangeInclusive<u32> = 64..=1 << 20;

/// All settings of a receiver.
///
/// [`Builder`](crate::Builder) has a setter of the same name for each field. With serde the type can be read from a
/// file: field names are those below, a field that is left out has its default, and an unknown field is refused.
/// Settings with a text form (`mode`, `queues`, `vlan`, `busy_poll`, `huge_pages`, `drop_unwanted` and each
/// subscription) are written as that text.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use receiver::{Receiver, ReceiverConfig};
///
/// let config: ReceiverConfig = serde_json::from_str(
///     r#"{ "interface": "eth1", "mode": "copy", "subscriptions": ["10.0.0.1@232.1.1.1:5000"] }"#,
/// )?;
/// let receiver = Receiver::from_config(config)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ReceiverConfig {
    /// The name of the interface that the streams come in on. Has no usable default.
    pub interface: String,
    /// What is joined at the start. Default: nothing.
    pub subscriptions: Vec<Subscription>,
    /// The receive mode. Default: `auto`, the fastest that is available.
    pub mode: ModeRequest,
    /// If true, mode `auto` never falls back to mode `socket`. Default: false.
    pub require_xdp: bool,
    /// The receive queues to serve. Default: `all`.
    pub queues: Queues,
    /// The VLAN tags that frames must carry. Default: none; tagged frames then pass to the kernel.
    pub vlan: Option<Vlan>,
    /// How many (source, group, port) entries of each IP version the XDP filter holds, 1 to 16,777,216. Default:
    /// 65,536.
    pub max_flows: u32,
    /// If true, IPv4 header and UDP checksums of frames from XDP are verified. Default: true.
    pub verify_checksums: bool,
    /// If true, the XDP program or the kernel takes the time of each datagram. Default: false.
    pub timestamps: bool,
    /// If true, each verdict of the XDP program is logged. Default: false.
    pub trace_verdicts: bool,
    /// Preferred busy polling, written `64 packets in 50 us`. Default: none.
    #[serde(with = "config_text::busy_poll")]
    pub busy_poll: Option<BusyPoll>,
    /// Slots of each queue's RX ring, a power of two from 64 to 1,048,576. Default: 2,048.
    pub ring_size: u32,
    /// Frames of each queue, a power of two up to 1,048,576, at least four times `ring_size`. Default: 8,192.
    pub frames: u32,
    /// Bytes of a frame, 2,048 or 4,096. Default: 2,048. In mode `mapped` the MTU decides instead: frames have 2,048
    /// bytes up to an MTU of 1,994, and 10,240 bytes above that. Packets that are longer take the kernel path.
    pub frame_size: u32,
    /// Huge pages for the frames: `try` or `never`. Default: `try`.
    #[serde(with = "config_text::huge_pages")]
    pub huge_pages: HugePages,
    /// Bytes of copied payloads that all owned datagrams together can hold. Default: 64 MiB.
    pub copy_limit: u64,
    /// Bytes of receive buffer for each socket of the kernel path, up to 1 GiB. Default: 8 MiB.
    pub socket_buffer: usize,
    /// If true, any-source subscriptions in 232.0.0.0/8 and ff3x::/32 are allowed (RFC 4607 forbids them). Default:
    /// false.
    pub allow_asm_in_ssm_range: bool,
    /// When the XDP program drops frames of subscribed groups from sources that are not wanted. Default:
    /// `unless-shared`.
    pub drop_unwanted: DropUnwanted,
    /// If true, the kernel gets each packet too, so that other programs on the host lose nothing. Takes mode `mapped`.
    /// Default: false.
    pub share: bool,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        let umem = UmemConfig::default();
        Self {
            interface: String::new(),
            subscriptions: Vec::new(),
            mode: ModeRequest::default(),
            require_xdp: false,
            queues: Queues::default(),
            vlan: None,
            max_flows: receiver_common::DEFAULT_MAX_FLOWS,
            verify_checksums: true,
            timestamps: false,
            trace_verdicts: false,
            busy_poll: None,
            ring_size: umem.frame_count / 4,
            frames: umem.frame_count,
            frame_size: umem.frame_size,
            huge_pages: umem.huge_pages,
            copy_limit: 64 << 20,
            socket_buffer: SocketOptions::default().receive_buffer,
            allow_asm_in_ssm_range: false,
            drop_unwanted: DropUnwanted::default(),
            share: false,
        }
    }
}

impl ReceiverConfig {
    /// Checks all that can be checked without the interface. [`Builder::build`](crate::Builder::build) does so first.
    ///
    /// # Errors
    /// [`Error::Option`] names the first setting that is wrong, its value, the reason and the remedy;
    /// [`Error::Subscription`] and [`Error::Overlap`] name the subscription.
    pub fn validate(&self) -> Result<(), Error> {
        let mut table = FilterTable::default();
        for subscription in &self.subscriptions {
            self.check_range(subscription)?;
            table.check(subscription)?;
            table.insert(subscription, 0);
        }
        if self.require_xdp && self.mode == ModeRequest::Exactly(ReceiveMode::Socket) {
            let reason = "it has no XDP, which is required; ask for another mode, or do not require XDP";
            return Err(wrong("mode", &self.mode, reason));
        }
        self.validate_share()?;
        if matches!(&self.queues, Queues::These(numbers) if numbers.is_empty()) || self.queues == Queues::First(0) {
            return Err(wrong("queues", &"none", "there must be at least one queue; use queue 0, or all queues"));
        }
        if !(1..=MAX_FLOWS).contains(&self.max_flows) {
            let reason = "it must be 1 to 16777216 entries; use 65536 unless there are more sources";
            return Err(wrong("max_flows", &self.max_flows, reason));
        }
        for (name, value) in [("ring_size", self.ring_size), ("frames", self.frames)] {
            if !value.is_power_of_two() || !RING_SIZES.contains(&value) {
                let next = value.checked_next_power_of_two().unwrap_or(u32::MAX);
                let near = next.clamp(*RING_SIZES.start(), *RING_SIZES.end());
                let reason = format!("it must be a power of two from 64 to 1048576; use {near}");
                return Err(wrong(name, &value, reason));
            }
        }
        if self.frames < 4 * self.ring_size {
            let reason = format!(
                "it must be at least four times ring_size, so that the kernel's two rings and datagrams that are kept \
                 each have enough; use {} or more, or a smaller ring",
                4 * self.ring_size
            );
            return Err(wrong("frames", &self.frames, reason));
        }
        if ![2048, 4096].contains(&self.frame_size) {
            let reason = "it must be 2048 or 4096 bytes; use 2048 unless packets are longer than 1792 bytes";
            return Err(wrong("frame_size", &self.frame_size, reason));
        }
        if self.socket_buffer > MAX_SOCKET_BUFFER {
            let reason = "it must be at most 1073741824 bytes; use 8388608 unless sockets drop datagrams";
            return Err(wrong("socket_buffer", &self.socket_buffer, reason));
        }
        Ok(())
    }

    /// Checks that no setting contradicts `share`.
    fn validate_share(&self) -> Result<(), Error> {
        if !self.share {
            return Ok(());
        }
        match self.mode {
            ModeRequest::Exactly(mode @ (ReceiveMode::ZeroCopy | ReceiveMode::Copy | ReceiveMode::Generic)) => {
                let reason = format!(
                    "mode {mode} takes packets away from the other programs on the host; ask for mode mapped or auto, \
                     or for mode socket, where each program gets its packets anyway"
                );
                return Err(wrong("share", &true, reason));
            }
            ModeRequest::Auto | ModeRequest::Exactly(_) => {}
        }
        if self.drop_unwanted == DropUnwanted::Always {
            let reason = "packets of unwanted sources are shared like all others; use unless-shared or never, or do \
                          not share";
            return Err(wrong("drop_unwanted", &self.drop_unwanted, reason));
        }
        if let (Some(busy_poll), false) = (self.busy_poll, self.mode == ModeRequest::Exactly(ReceiveMode::Socket)) {
            let reason = "preferred busy polling needs an AF_XDP socket, and sharing takes mode mapped, which has \
                          none; do without one of the two";
            let value = format!("{} packets in {} us", busy_poll.budget, busy_poll.microseconds);
            return Err(wrong("busy_poll", &value, reason));
        }
        Ok(())
    }

    /// When unwanted frames are dropped: never, if packets are shared.
    pub(crate) fn drop_policy(&self) -> DropUnwanted {
        if self.share { DropUnwanted::Never } else { self.drop_unwanted }
    }

    /// Checks that the sources of a subscription can send to its group, and that it may be any-source.
    pub(crate) fn check_range(&self, subscription: &Subscription) -> Result<(), Error> {
        if !self.allow_asm_in_ssm_range && subscription.is_asm_in_ssm_range() {
            return Err(SubscriptionError::AsmInSsmRange(subscription.group()).into());
        }
        for &source in subscription.filter().sources() {
            validate_source(source, subscription.group())?;
        }
        Ok(())
    }

    /// The packet memory of one queue.
    pub(crate) fn umem(&self) -> UmemConfig {
        UmemConfig { frame_count: self.frames, frame_size: self.frame_size, headroom: 0, huge_pages: self.huge_pages }
    }

    /// How the kernel path's sockets join. If packets are shared, they only join: otherwise each packet would be
    /// received a second time.
    pub(crate) fn membership(&self) -> MembershipOptions {
        MembershipOptions {
            socket: SocketOptions {
                receive_buffer: self.socket_buffer,
                timestamps: self.timestamps,
                ..SocketOptions::default()
            },
            allow_asm_in_ssm_range: self.allow_asm_in_ssm_range,
            join_only: self.share,
            ..MembershipOptions::default()
        }
    }
}

fn wrong(option: &'static str, value: &dyn std::fmt::Display, reason: impl Into<String>) -> Error {
    Error::Option { option, value: value.to_string(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No field has its default.
    fn unusual() -> ReceiverConfig {
        ReceiverConfig {
            interface: "eth1".into(),
            subscriptions: ["10.0.0.1,10.0.0.2@232.1.1.1:5000", "![fe80::1]@[ff3e::1]:5001", "239.1.1.1:5002"]
                .map(|text| text.parse().expect(text))
                .into(),
            mode: ReceiveMode::ZeroCopy.into(),
            require_xdp: true,
            queues: Queues::These(vec![0, 2]),
            vlan: Some("200.100".parse().expect("tags")),
            max_flows: 1,
            verify_checksums: false,
            timestamps: true,
            trace_verdicts: true,
            busy_poll: Some(BusyPoll { budget: 64, microseconds: 50 }),
            ring_size: 64,
            frames: 256,
            frame_size: 4096,
            huge_pages: HugePages::Never,
            copy_limit: 1,
            socket_buffer: 2,
            allow_asm_in_ssm_range: true,
            drop_unwanted: DropUnwanted::Never,
            share: true,
        }
    }

    #[test]
    fn every_setting_survives_a_file() {
        let config = unusual();
        let text = serde_json::to_string(&config).expect("JSON");
        assert_eq!(serde_json::from_str::<ReceiverConfig>(&text).expect(&text), config);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let default = serde_json::to_value(ReceiverConfig::default()).expect("JSON");
        for (name, value) in value.as_object().expect("an object") {
            assert_ne!(*value, default[name], "{name}: the test needs another value than the default");
        }
        for (name, written) in [
            ("mode", "zero-copy"),
            ("queues", "0,2"),
            ("vlan", "200.100"),
            ("busy_poll", "64 packets in 50 us"),
            ("huge_pages", "never"),
            ("drop_unwanted", "never"),
        ] {
            assert_eq!(value[name], written);
        }
        assert_eq!(value["subscriptions"][1], "![fe80::1]@[ff3e::1]:5001");
    }

    #[test]
    fn a_setting_that_is_left_out_has_its_default() {
        let of = |text: &str| serde_json::from_str::<ReceiverConfig>(text);
        assert_eq!(of("{}").expect("nothing"), ReceiverConfig::default());
        let some = of(r#"{ "vlan": 100, "queues": 4, "mode": "copy" }"#).expect("numbers");
        assert_eq!(some.vlan.map(|vlan| vlan.to_string()).as_deref(), Some("100"));
        assert_eq!((some.queues, some.mode), (Queues::First(4), ReceiveMode::Copy.into()));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, parts) in [
            (r#"{ "ringsize": 64 }"#, ["ringsize", "ring_size"]),
            (r#"{ "mode": "fast" }"#, ["`fast`", "zero-copy, mapped, copy, generic or socket"]),
            (r#"{ "drop_unwanted": "sometimes" }"#, ["`sometimes`", "unless-shared"]),
            (r#"{ "queues": "0" }"#, ["`0`", "at least 1"]),
            (r#"{ "vlan": 4095 }"#, ["4095", "1 to 4094"]),
            (r#"{ "busy_poll": "64" }"#, ["`64`", "64 packets in 50 us"]),
            (r#"{ "huge_pages": "yes" }"#, ["`yes`", "try or never"]),
            (r#"{ "subscriptions": ["232.1.1.1"] }"#, ["232.1.1.1", ":PORT"]),
            (r#"{ "max_flows": -1 }"#, ["-1", "u32"]),
        ] {
            let error = serde_json::from_str::<ReceiverConfig>(text).expect_err(text).to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
        }
    }

    #[test]
    fn wrong_values_are_named_with_reason_and_remedy() {
        let together = ReceiverConfig { share: false, ..unusual() };
        assert!(ReceiverConfig::default().validate().is_ok() && together.validate().is_ok());
        type Change = fn(&mut ReceiverConfig);
        let cases: [(Change, &str, &str, &str); 13] = [
            (|c| c.ring_size = 1000, "ring_size", "1000", "use 1024"),
            (|c| c.ring_size = 0, "ring_size", "0", "use 64"),
            (|c| c.ring_size = u32::MAX, "ring_size", "4294967295", "use 1048576"),
            (|c| c.frames = 4096, "frames", "4096", "use 8192 or more"),
            (|c| c.frame_size = 3000, "frame_size", "3000", "2048 or 4096"),
            (|c| c.max_flows = 0, "max_flows", "0", "1 to 16777216"),
            (|c| c.socket_buffer = usize::MAX, "socket_buffer", "18446744073709551615", "1073741824"),
            (|c| c.queues = Queues::First(0), "queues", "none", "at least one queue"),
            (|c| c.queues = Queues::These(vec![]), "queues", "none", "at least one queue"),
            (
                |c| (c.require_xdp, c.mode) = (true, ReceiveMode::Socket.into()),
                "mode",
                "socket",
                "ask for another mode",
            ),
            (|c| (c.share, c.mode) = (true, ReceiveMode::Copy.into()), "share", "true", "ask for mode mapped or auto"),
            (|c| (c.share, c.drop_unwanted) = (true, DropUnwanted::Always), "drop_unwanted", "always", "unless-shared"),
            (
                |c| (c.share, c.busy_poll) = (true, Some(BusyPoll { budget: 64, microseconds: 50 })),
                "busy_poll",
                "64 packets in 50 us",
                "do without one of the two",
            ),
        ];
        for (change, name, given, remedy) in cases {
            let mut config = ReceiverConfig::default();
            change(&mut config);
            let error = config.validate().expect_err(name);
            let is = matches!(&error, Error::Option { option, value, .. } if *option == name && value == given);
            assert!(is && error.is_usage() && error.to_string().contains(remedy), "{name} {given}: {error}");
        }
    }
}
