//! The configuration of a receiver: one type, filled by the builder or from a file. What the XDP program, the AF_XDP
//! rings, the sockets and the workers need are views of it.

use receiver_membership::udp::SocketOptions;
use receiver_membership::{Options as MembershipOptions, Subscription, SubscriptionError, validate_source};
use receiver_xsk::{BusyPoll, HugePages, UmemConfig};

use crate::api::config_text;
use crate::api::error::Error;
use crate::api::mode::{ModeRequest, ReceiveMode};
use crate::api::queues::Queues;
use crate::api::tap_config::TapConfig;
use crate::api::vlan::Vlan;
use crate::engine::filter::FilterTable;
use crate::engine::others::DropUnwanted;

/// SO_RCVBUF is a C int, and the kernel doubles it.
const MAX_SOCKET_BUFFER: usize = 1 << 30;
/// Entries that each of the XDP filter's maps can have.
const MAX_FLOWS: u32 = 1 << 24;
/// Entries that they have at least, unless fewer are asked for.
const LEAST_FLOWS: u32 = 4_096;
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
    /// How many (source, group, port) entries of each IP version the XDP filter holds, 1 to 16,777,216. Default: twice
    /// as many as `subscriptions` need, at least 4,096.
    pub max_flows: Option<u32>,
    /// If true, IPv4 header and UDP checksums of frames from XDP are verified. Default: true.
    pub verify_checksums: bool,
    /// If true, the XDP program or the kernel takes the time of each datagram. Default: false.
    pub timestamps: bool,
    /// If true, each verdict of the XDP program is logged. Default: false.
    pub trace_verdicts: bool,
    /// Preferred busy polling, written `64 packets in 50 us`. Takes an AF_XDP socket: mode `mapped` is refused with it,
    /// and mode `generic` is slower. Default: none.
    #[serde(with = "config_text::busy_poll")]
    pub busy_poll: Option<BusyPoll>,
    /// Slots of each queue's RX ring, a power of two from 64 to 1,048,576. Default: 2,048.
    pub ring_size: u32,
    /// Frames of each queue, a power of two up to 1,048,576: with AF_XDP at least four times `ring_size`, with mapped
    /// rings twice ([`ReceiverConfig::has_rings`]). Default: as few as the mode allows.
    pub frames: Option<u32>,
    /// Bytes of a frame, 2,048 or 4,096. Default: 2,048. With mapped rings the MTU decides instead: frames have 2,048
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
    /// Frames that the XDP program copies because of their verdict. Takes a mode with XDP. Default: none.
    pub tap: Option<TapConfig>,
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
            max_flows: None,
            verify_checksums: true,
            timestamps: false,
            trace_verdicts: false,
            busy_poll: None,
            ring_size: umem.frame_count / 4,
            frames: None,
            frame_size: umem.frame_size,
            huge_pages: umem.huge_pages,
            copy_limit: 64 << 20,
            socket_buffer: SocketOptions::default().receive_buffer,
            allow_asm_in_ssm_range: false,
            drop_unwanted: DropUnwanted::default(),
            share: false,
            tap: None,
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
        self.validate_tap()?;
        if matches!(&self.queues, Queues::These(numbers) if numbers.is_empty()) || self.queues == Queues::First(0) {
            return Err(wrong("queues", &"none", "there must be at least one queue; use queue 0, or all queues"));
        }
        if let Some(entries) = self.max_flows.filter(|entries| !(1..=MAX_FLOWS).contains(entries)) {
            let reason = "it must be 1 to 16777216 entries; leave it out, or use 65536 unless there are more sources";
            return Err(wrong("max_flows", &entries, reason));
        }
        for (name, value) in [("ring_size", Some(self.ring_size)), ("frames", self.frames)] {
            let Some(value) = value else { continue };
            if let Some(near) = other_ring_size(value) {
                let reason = format!("it must be a power of two from 64 to 1048576; use {near}");
                return Err(wrong(name, &value, reason));
            }
        }
        let mode = match self.mode {
            ModeRequest::Exactly(mode) => mode,
            // Any of them.
            ModeRequest::Auto => ReceiveMode::Copy,
        };
        let least = self.least_frames(mode);
        if least > *RING_SIZES.end() {
            let most = *RING_SIZES.end() / (least / self.ring_size);
            let reason = format!("a queue can have 1048576 frames, which are not enough for it; use {most} or less");
            return Err(wrong("ring_size", &self.ring_size, reason));
        }
        if let Some(frames) = self.frames.filter(|frames| *frames < least) {
            let reason = match self.has_rings(mode) {
                true => format!(
                    "it must be at least twice ring_size, so that the ring and datagrams that are kept each have \
                     enough; use {least} or more, or a smaller ring"
                ),
                false => format!(
                    "it must be at least four times ring_size, so that the kernel's two rings and datagrams that are \
                     kept each have enough; use {least} or more, or a smaller ring"
                ),
            };
            return Err(wrong("frames", &frames, reason));
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

    /// Checks the tap, and that there is an XDP program for it.
    fn validate_tap(&self) -> Result<(), Error> {
        let Some(tap) = &self.tap else { return Ok(()) };
        if self.mode == ModeRequest::Exactly(ReceiveMode::Socket) {
            let reason = "mode socket has no XDP program, which makes the copies; ask for mode auto, mapped, copy or \
                          generic, or do without a tap";
            return Err(wrong("tap", &tap.shown(), reason));
        }
        if tap.verdicts.is_empty() {
            let reason = "it must have a verdict; name dropped_blocked, or leave the tap out";
            return Err(wrong("tap", &tap.shown(), reason));
        }
        if let Some(near) = other_ring_size(tap.slots) {
            let reason = format!("its slots must be a power of two from 64 to 1048576; use {near}");
            return Err(wrong("tap", &tap.shown(), reason));
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

    /// How many entries of each IP version the XDP filter is to have.
    pub(crate) fn filter_entries(&self) -> u32 {
        self.max_flows.unwrap_or_else(|| {
            let mut needed = [0_u32; 2];
            for subscription in &self.subscriptions {
                // An any-source subscription needs an entry for its group, and one for each blocked source.
                let sources = u32::try_from(subscription.filter().sources().len()).unwrap_or(u32::MAX).max(1);
                let needed = &mut needed[usize::from(subscription.group().is_ipv6())];
                *needed = needed.saturating_add(sources);
            }
            needed[0].max(needed[1]).saturating_mul(2).clamp(LEAST_FLOWS, MAX_FLOWS)
        })
    }

    /// The number of frames of one queue in a mode: `frames`, or its default.
    pub fn queue_frames(&self, mode: ReceiveMode) -> u32 {
        self.frames.unwrap_or_else(|| self.least_frames(mode))
    }

    /// Returns true if the queues have mapped rings in a mode, and false if they have AF_XDP sockets, or none at all.
    /// Preferred busy polling needs the sockets.
    pub fn has_rings(&self, mode: ReceiveMode) -> bool {
        match mode {
            ReceiveMode::Mapped => true,
            ReceiveMode::Generic => self.busy_poll.is_none(),
            ReceiveMode::ZeroCopy | ReceiveMode::Copy | ReceiveMode::Socket => false,
        }
    }

    /// The fewest frames of a queue. Half of them are never lent to the user for longer than a batch. An AF_XDP socket
    /// has two rings that hold frames, of which the fill ring has twice as many slots.
    fn least_frames(&self, mode: ReceiveMode) -> u32 {
        self.ring_size.saturating_mul(if self.has_rings(mode) { 2 } else { 4 })
    }

    /// The packet memory of one AF_XDP socket.
    pub(crate) fn umem(&self) -> UmemConfig {
        UmemConfig {
            frame_count: self.queue_frames(ReceiveMode::Copy),
            frame_size: self.frame_size,
            headroom: 0,
            huge_pages: self.huge_pages,
        }
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

/// The size to use in place of one that a ring cannot have.
fn other_ring_size(value: u32) -> Option<u32> {
    let next = value.checked_next_power_of_two().unwrap_or(u32::MAX);
    let near = next.clamp(*RING_SIZES.start(), *RING_SIZES.end());
    (near != value).then_some(near)
}

fn wrong(option: &'static str, value: &dyn std::fmt::Display, reason: impl Into<String>) -> Error {
    Error::Option { option, value: value.to_string(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::verdict_set::VerdictSet;

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
            max_flows: Some(1),
            verify_checksums: false,
            timestamps: true,
            trace_verdicts: true,
            busy_poll: Some(BusyPoll { budget: 64, microseconds: 50 }),
            ring_size: 64,
            frames: Some(256),
            frame_size: 4096,
            huge_pages: HugePages::Never,
            copy_limit: 1,
            socket_buffer: 2,
            allow_asm_in_ssm_range: true,
            drop_unwanted: DropUnwanted::Never,
            share: true,
            tap: Some(TapConfig { slots: 64, ..TapConfig::default() }),
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
    fn sizes_that_are_left_out_are_those_that_are_needed() {
        let of = |texts: &[&str]| ReceiverConfig {
            subscriptions: texts.iter().map(|text| text.parse().expect(text)).collect(),
            ..ReceiverConfig::default()
        };
        assert_eq!(of(&["10.0.0.1@232.1.1.1:5000"]).filter_entries(), LEAST_FLOWS);
        let sources: Vec<String> = (1..=3000).map(|n| format!("10.1.{}.{}", n >> 8, n & 255)).collect();
        let many = format!("{}@232.1.1.1:5000", sources.join(","));
        let mut config = of(&[&many, "[2001:db8::1]@[ff3e::1]:5000", "239.1.1.1:5000"]);
        assert_eq!(config.filter_entries(), 2 * 3001, "the larger of both families");
        config.max_flows = Some(7);
        assert_eq!(config.filter_entries(), 7, "what is asked for");
        let frames = |config: &ReceiverConfig| {
            [ReceiveMode::ZeroCopy, ReceiveMode::Mapped, ReceiveMode::Copy].map(|mode| config.queue_frames(mode))
        };
        config.ring_size = 64;
        assert_eq!(frames(&config), [256, 128, 256]);
        assert_eq!(config.umem().frame_count, 256);
        config.frames = Some(512);
        assert_eq!(frames(&config), [512; 3]);
        config.frames = Some(128);
        assert!(config.validate().is_err(), "any mode could be selected");
        config.mode = ReceiveMode::Mapped.into();
        assert!(config.validate().is_ok());
        config.frames = Some(64);
        assert!(config.validate().is_err_and(|error| error.to_string().contains("at least twice ring_size")));
        (config.ring_size, config.frames) = (1 << 20, None);
        assert!(config.validate().is_err_and(|error| error.to_string().contains("use 524288 or less")));
    }

    #[test]
    fn busy_polling_takes_the_ring_from_mode_generic() {
        let mut config = ReceiverConfig::default();
        let with_rings = |config: &ReceiverConfig| ReceiveMode::ALL.map(|mode| config.has_rings(mode));
        assert_eq!(with_rings(&config), [false, true, false, true, false]);
        assert_eq!(config.queue_frames(ReceiveMode::Generic), 2 * config.ring_size);
        config.busy_poll = Some(BusyPoll { budget: 64, microseconds: 50 });
        assert_eq!(with_rings(&config), [false, true, false, false, false]);
        assert_eq!(config.queue_frames(ReceiveMode::Generic), 4 * config.ring_size);
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
        let cases: [(Change, &str, &str, &str); 16] = [
            (|c| c.ring_size = 1000, "ring_size", "1000", "use 1024"),
            (|c| c.ring_size = 0, "ring_size", "0", "use 64"),
            (|c| c.ring_size = u32::MAX, "ring_size", "4294967295", "use 1048576"),
            (|c| c.frames = Some(4096), "frames", "4096", "use 8192 or more"),
            (|c| c.frame_size = 3000, "frame_size", "3000", "2048 or 4096"),
            (|c| c.max_flows = Some(0), "max_flows", "0", "1 to 16777216"),
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
            (
                |c| (c.tap, c.mode) = (Some(TapConfig::default()), ReceiveMode::Socket.into()),
                "tap",
                "\"dropped_not_included,dropped_blocked,dropped_malformed,dropped_martian\" with 4096 slots",
                "ask for mode auto",
            ),
            (
                |c| c.tap = Some(TapConfig { verdicts: VerdictSet::NONE, slots: 64 }),
                "tap",
                "\"\" with 64 slots",
                "name dropped_blocked",
            ),
            (
                |c| c.tap = Some(TapConfig { verdicts: VerdictSet::LOST, slots: 100 }),
                "tap",
                "\"dropped_ring_full,dropped_ring_busy\" with 100 slots",
                "use 128",
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
