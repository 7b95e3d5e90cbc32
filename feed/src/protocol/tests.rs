//! Each parser against a datagram laid out by hand, one value per field, and all of them against arbitrary bytes.
//!
//! The layouts are those of the tables at the head of each protocol's file, which name their specifications. None but
//! that of IEX gives an example in bytes. `docs/feeds.md` says which public captures the parsers were compared on.

use proptest::prelude::*;

use super::*;

/// Puts a datagram together from its fields.
#[derive(Default)]
struct Layout(Vec<u8>);

impl Layout {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn be<const N: usize>(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes()[8 - N..])
    }

    fn le<const N: usize>(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes()[..N])
    }
}

fn of() -> Layout {
    Layout::default()
}

fn key(channel: u64, session: u128) -> StreamKey {
    StreamKey { channel, session }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>() & 0xffff
}

/// A short datagram of every protocol, for all tests that need one.
fn samples() -> Vec<(AnyProtocol, Vec<u8>)> {
    vec![
        (MoldUdp64.into(), mold(2).bytes(&[0, 1, 0xaa, 0, 2, 0xbb, 0xcc]).0),
        (CmeMdp3.into(), cme(7).0),
        (CboePitch.into(), of().le::<2>(13).bytes(&[2, 9]).le::<4>(0x0102_0304).bytes(&[2, 0xaa, 3, 0xbb, 0xcc]).0),
        (NysePillar.into(), pillar(11).0),
        (IexTp.into(), iex(1).0),
        (EurexEobi.into(), eobi(0, 13100).0),
        (Opra.into(), opra(b' ', *b"CHF")),
        (Siac.into(), siac(b'O', *b"QL")),
        (Memx.into(), of().bytes(&[2, 18]).be::<8>(77).be::<8>(900).be::<2>(1).be::<2>(3).bytes(b"abc").0),
        (HkexOmd.into(), omd(1, 11).0),
        (Rtp.into(), rtp(&[0xaa; 4])),
        (MpegTs.into(), transport_stream(2)),
        (MpegTs.into(), rtp(&transport_stream(2))),
        (Probe.into(), of().be::<2>(0x5ac7).be::<4>(5).be::<8>(6).be::<8>(7).0),
    ]
}

fn mold(count: u64) -> Layout {
    of().bytes(b"SESSION-07").be::<8>(0x0102_0304_0506_0708).be::<2>(count)
}

#[test]
fn moldudp64_messages_heartbeats_and_end() {
    let data = mold(2).bytes(&[0, 1, 0xaa, 0, 2, 0xbb, 0xcc]).0;
    let packet = MoldUdp64.parse(&data).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count), (Kind::Data, 0x0102_0304_0506_0708, 2));
    assert_eq!(packet.messages(&data).collect::<Vec<_>>(), [&[0xaa][..], &[0xbb, 0xcc]]);
    assert_eq!(MoldUdp64.stream_name(packet.stream), "SESSION-07");
    let request = Rerequest { stream: packet.stream, first: packet.first, count: 2 };
    assert_eq!(request.to_bytes(), data[..20], "a request has the header's layout");

    assert_eq!(MoldUdp64.parse(&mold(0).0).unwrap().kind, Kind::Heartbeat);
    let end = MoldUdp64.parse(&mold(0xffff).0).unwrap();
    assert_eq!((end.kind, end.first, end.count), (Kind::End, 0x0102_0304_0506_0708, 0));
    assert_eq!(MoldUdp64.parse(&data[..19]), Err(ParseError::Short { needed: 20, actual: 19 }));
    assert_eq!(MoldUdp64.parse(&mold(2).be::<2>(0).0), Err(ParseError::Length { stated: 24, actual: 22 }));
    let binary = of().bytes(&[0; 10]).be::<8>(1).be::<2>(0).0;
    assert_eq!(MoldUdp64.stream_name(MoldUdp64.parse(&binary).unwrap().stream), "0x00000000000000000000");
}

fn cme(template: u64) -> Layout {
    let message = of().le::<2>(12).le::<2>(2).le::<2>(template).le::<2>(1).le::<2>(9).bytes(&[0xaa, 0xbb]);
    of().le::<4>(0x0102_0304).le::<8>(0x1112_1314_1516_1718).bytes(&message.0)
}

#[test]
fn cme_counts_packets_and_knows_a_heartbeat() {
    let data = cme(46).bytes(&cme(46).0[12..]).0;
    let packet = CmeMdp3.parse(&data).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count), (Kind::Data, 0x0102_0304, 1));
    assert_eq!(packet.sent_ns, Some(0x1112_1314_1516_1718));
    assert_eq!(packet.messages(&data).map(<[u8]>::len).collect::<Vec<_>>(), [12, 12]);
    assert_eq!(packet.message_count(&data), 2, "the header does not count them");
    assert_eq!(CmeMdp3.parse(&cme(12).0).unwrap().kind, Kind::Heartbeat);
}

#[test]
fn pitch_units_heartbeats_and_unsequenced() {
    let data = of().le::<2>(13).bytes(&[2, 9]).le::<4>(0x0102_0304).bytes(&[2, 0xaa, 3, 0xbb, 0xcc]).0;
    let packet = CboePitch.parse(&data).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count, packet.stream), (Kind::Data, 0x0102_0304, 2, key(9, 0)));
    assert_eq!(packet.messages(&data).collect::<Vec<_>>(), [&[2, 0xaa][..], &[3, 0xbb, 0xcc]]);
    assert_eq!(CboePitch.stream_name(packet.stream), "9");
    let unit = |count: u8, sequence| of().le::<2>(8).bytes(&[count, 1]).le::<4>(sequence).0;
    assert_eq!(CboePitch.parse(&unit(0, 5)).unwrap().kind, Kind::Heartbeat);
    assert_eq!(CboePitch.parse(&unit(0, 0)).unwrap().kind, Kind::Unsequenced);
    assert_eq!(CboePitch.parse(&data[..12]), Err(ParseError::Length { stated: 13, actual: 12 }));
    assert!(CboePitch.parse(&[data, vec![0; 6]].concat()).is_ok(), "padding is not an error");
}

fn pillar(flag: u8) -> Layout {
    let header = of().le::<2>(20).bytes(&[flag, 1]).le::<4>(0x0102_0304).le::<4>(1_600_000_000).le::<4>(42);
    header.le::<2>(4).le::<2>(3)
}

#[test]
fn pillar_delivery_flags() {
    let data = pillar(11).0;
    let packet = NysePillar.parse(&data).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count), (Kind::Data, 0x0102_0304, 1));
    assert_eq!(packet.sent_ns, Some(1_600_000_000_000_000_042));
    assert_eq!(packet.messages(&data).collect::<Vec<_>>(), [&[4, 0, 3, 0]]);
    let kinds = [1, 10, 12, 13, 15, 17, 18, 19, 20, 21].map(|flag| NysePillar.parse(&pillar(flag).0).unwrap().kind);
    let (resent, plain) = (Kind::Retransmission, Kind::Unsequenced);
    assert_eq!(kinds, [Kind::Heartbeat, Kind::Data, Kind::Reset, resent, resent, plain, plain, plain, plain, plain]);
    assert_eq!(NysePillar.parse(&pillar(99).0), Err(ParseError::Value { field: "DeliveryFlag", value: 99 }));
}

fn iex(version: u8) -> Layout {
    let header = of().bytes(&[version, 0]).le::<2>(0x8004).le::<4>(3).le::<4>(0x4455_6677).le::<2>(5).le::<2>(1);
    header.le::<8>(1000).le::<8>(0x0102_0304_0506_0708).le::<8>(0x1112).le::<2>(3).bytes(b"abc")
}

#[test]
fn iex_tp_segments() {
    let data = iex(1).0;
    let packet = IexTp.parse(&data).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count), (Kind::Data, 0x0102_0304_0506_0708, 1));
    assert_eq!((packet.stream, packet.sent_ns), (key(3, 0x4455_6677), Some(0x1112)));
    assert_eq!(packet.messages(&data).collect::<Vec<_>>(), [b"abc"]);
    assert_eq!(IexTp.stream_name(packet.stream), "3/1146447479");
    assert_eq!(IexTp.parse(&iex(2).0), Err(ParseError::Value { field: "Version", value: 2 }));
    assert_eq!(IexTp.parse(&data[..44]), Err(ParseError::Length { stated: 45, actual: 44 }));
}

/// The values of the outbound segment that the IEX Transport Specification gives as its example: DEEP, two messages.
#[test]
fn iex_tp_as_the_specifications_example() {
    let header = of().bytes(&[1, 0]).le::<2>(0x8004).le::<4>(1).le::<4>(0x4287_0000).le::<2>(72).le::<2>(2);
    let header = header.le::<8>(2_205_324).le::<8>(50_122).le::<8>(1_471_980_632_572_839_404);
    let data = header.le::<2>(38).bytes(&[0x54; 38]).le::<2>(30).bytes(&[0x38; 30]).0;
    let packet = IexTp.parse(&data).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count), (Kind::Data, 50_122, 2));
    // 23 August 2016, 19:30:32 UTC.
    assert_eq!(packet.sent_ns, Some(1_471_980_632_572_839_404));
    assert_eq!(IexTp.stream_name(packet.stream), "1/1116143616");
    assert_eq!(packet.messages(&data).map(<[u8]>::len).collect::<Vec<_>>(), [38, 30]);
}

fn eobi(reset: u8, template: u64) -> Layout {
    let header = of().le::<2>(32).le::<2>(13003).le::<4>(0xffff_ffff).le::<4>(0x0102_0304).le::<4>(589);
    let header = header.bytes(&[3, 1, reset, 8]).le::<4>(0).le::<8>(0x1112);
    header.le::<2>(8).le::<2>(template).le::<4>(1)
}

#[test]
fn eobi_of_both_widths() {
    let packet = EurexEobi.parse(&eobi(0, 13100).0).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count), (Kind::Data, 0x0102_0304, 1));
    assert_eq!((packet.stream, packet.sent_ns), (key(589 << 8 | 3, 0), Some(0x1112)));
    assert_eq!(packet.message_count(&eobi(0, 13100).0), 1);
    assert_eq!(EurexEobi.stream_name(packet.stream), "589/3");
    assert_eq!(EurexEobi.parse(&eobi(1, 13100).0).unwrap().kind, Kind::Reset);
    assert_eq!(EurexEobi.parse(&eobi(0, 13001).0).unwrap().kind, Kind::Heartbeat);

    let wide = of().le::<2>(32).le::<2>(13003).le::<4>(0xffff_ffff).le::<8>(0x0102_0304).le::<4>(589);
    let wide = wide.bytes(&[3, 1, 1, 0]).le::<8>(0x1112).0;
    let packet = EurexEobi.parse(&wide).unwrap();
    assert_eq!((packet.kind, packet.first, packet.stream), (Kind::Reset, 0x0102_0304, key(589 << 8 | 3, 0)));

    let mut other = eobi(0, 13100).0;
    other[4] = 0;
    assert_eq!(EurexEobi.parse(&other), Err(ParseError::Value { field: "MsgSeqNum", value: 0xffff_ff00 }));
}

fn opra(retransmission: u8, message: [u8; 3]) -> Vec<u8> {
    let header = of().bytes(&[6]).be::<2>(26).bytes(&[b'O', retransmission, b' ']).be::<4>(0x0102_0304).bytes(&[1]);
    let header = header.be::<4>(1_600_000_000).be::<4>(42);
    let body = [&message[..], &[0xaa, 0xbb]].concat();
    let checksum = sum(&header.0) + sum(&body);
    header.be::<2>(checksum & 0xffff).bytes(&body).0
}

#[test]
fn opra_blocks_and_their_checksum() {
    let data = opra(b' ', *b"CHF");
    let packet = Opra.parse(&data).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count, packet.messages), (Kind::Data, 0x0102_0304, 1, 1));
    assert_eq!(packet.sent_ns, Some(1_600_000_000_000_000_042));
    assert_eq!(Opra.parse(&opra(b'V', *b"CHF")).unwrap().kind, Kind::Retransmission);
    assert_eq!(Opra.parse(&opra(b' ', *b"OHK")).unwrap().kind, Kind::Reset);
    assert_eq!(Opra.parse(&opra(b' ', *b"OHN")).unwrap().kind, Kind::Heartbeat);
    let mut damaged = data;
    damaged[25] ^= 1;
    assert!(matches!(Opra.parse(&damaged), Err(ParseError::Checksum { .. })));
}

fn siac(retransmission: u8, message: [u8; 2]) -> Vec<u8> {
    let header = of().bytes(&[2]).be::<2>(24).bytes(&[b'T', retransmission]).be::<4>(0x0102_0304).bytes(&[1]);
    let header = header.be::<4>(1_600_000_000).be::<4>(42);
    let body = [&[0, 4][..], &message].concat();
    let checksum = sum(&header.0) + sum(&body);
    header.be::<2>(checksum & 0xffff).bytes(&body).0
}

#[test]
fn siac_blocks_and_their_checksum() {
    let data = siac(b'O', *b"TL");
    let packet = Siac.parse(&data).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count), (Kind::Data, 0x0102_0304, 1));
    assert_eq!((packet.stream, packet.sent_ns), (key(b'T'.into(), 0), Some(1_600_000_000_000_000_042)));
    assert_eq!(packet.messages(&data).collect::<Vec<_>>(), [[0, 4, b'T', b'L']]);
    assert_eq!(Siac.stream_name(packet.stream), "T");
    let kinds = [*b"CL", *b"CA", *b"CT", *b"CZ"].map(|message| Siac.parse(&siac(b'O', message)).unwrap().kind);
    assert_eq!(kinds, [Kind::Reset, Kind::Reset, Kind::Heartbeat, Kind::Data]);
    assert_eq!(Siac.parse(&siac(b'V', *b"TL")).unwrap().kind, Kind::Retransmission);
    let mut damaged = data;
    damaged[6] ^= 1;
    assert!(matches!(Siac.parse(&damaged), Err(ParseError::Checksum { .. })));
}

#[test]
fn memx_heartbeats_are_shorter() {
    let data = of().bytes(&[2, 18]).be::<8>(77).be::<8>(900).be::<2>(1).be::<2>(3).bytes(b"abc").0;
    let packet = Memx.parse(&data).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count, packet.stream), (Kind::Data, 900, 1, key(0, 77)));
    assert_eq!(packet.messages(&data).collect::<Vec<_>>(), [b"abc"]);
    let heartbeat = of().bytes(&[0, 18]).be::<8>(77).be::<8>(901).0;
    let packet = Memx.parse(&heartbeat).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count), (Kind::Heartbeat, 901, 0));
    assert_eq!(Memx.parse(&data[..19]), Err(ParseError::Short { needed: 20, actual: 19 }));
}

fn omd(messages: u8, message_type: u64) -> Layout {
    let header = of().le::<2>(24).bytes(&[messages, 0]).le::<4>(0x0102_0304).le::<8>(0x1112);
    header.le::<2>(8).le::<2>(message_type).le::<4>(77)
}

#[test]
fn omd_heartbeats_and_sequence_reset() {
    let data = omd(1, 30).0;
    let packet = HkexOmd.parse(&data).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count, packet.sent_ns), (Kind::Data, 0x0102_0304, 1, Some(0x1112)));
    assert_eq!(packet.messages(&data).map(<[u8]>::len).collect::<Vec<_>>(), [8]);
    let reset = HkexOmd.parse(&omd(1, 100).0).unwrap();
    assert_eq!((reset.kind, reset.first, reset.count), (Kind::Reset, 77, 0));
    let heartbeat = of().le::<2>(16).bytes(&[0, 0]).le::<4>(9).le::<8>(1).0;
    assert_eq!(HkexOmd.parse(&heartbeat).unwrap().kind, Kind::Heartbeat);
}

fn transport_stream(packets: usize) -> Vec<u8> {
    let packet = [&[0x47, 0x01, 0x00, 0x10][..], &[0xff; 184]].concat();
    packet.repeat(packets)
}

/// One contributing source, an extension of one word, and two bytes of padding.
fn rtp(payload: &[u8]) -> Vec<u8> {
    let header = of().bytes(&[0xb1, 0x80 | 33]).be::<2>(0x0102).be::<4>(0x1112_1314).be::<4>(0x2122_2324);
    header.be::<4>(9).be::<2>(0xbede).be::<2>(1).be::<4>(0).bytes(payload).bytes(&[0, 2]).0
}

#[test]
fn rtp_sources_extension_and_padding() {
    let data = rtp(b"payload");
    let header = RtpHeader::parse(&data).unwrap();
    assert_eq!((header.marker, header.payload_type, header.sequence), (true, 33, 0x0102));
    assert_eq!((header.timestamp, header.ssrc), (0x1112_1314, 0x2122_2324));
    assert_eq!(&data[header.payload..header.end], b"payload");
    let packet = Rtp.parse(&data).unwrap();
    assert_eq!((packet.first, packet.count, packet.media_time), (0x0102, 1, Some(0x1112_1314)));
    assert_eq!(Rtp.stream_name(packet.stream), "21222324");
    let rtcp = [0x80, 200, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(Rtp.parse(&rtcp).is_err(), "a sender report is not RTP");
    assert_eq!(Rtp.parse(&data[..18]), Err(ParseError::Short { needed: 20, actual: 18 }));
    let mut padded = data;
    *padded.last_mut().unwrap() = 8;
    assert!(Rtp.parse(&padded).is_ok());
    *padded.last_mut().unwrap() = 200;
    assert!(matches!(Rtp.parse(&padded), Err(ParseError::Length { .. })));
}

#[test]
fn transport_streams_plain_and_in_rtp() {
    let plain = transport_stream(7);
    let packet = MpegTs.parse(&plain).unwrap();
    assert_eq!((packet.kind, packet.count), (Kind::Unsequenced, 7));
    assert_eq!(packet.messages(&plain).count(), 7);
    assert_eq!(MpegTs.stream_name(packet.stream), "");
    let wrapped = rtp(&transport_stream(7));
    let packet = MpegTs.parse(&wrapped).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count, packet.messages), (Kind::Data, 0x0102, 1, 7));
    assert_eq!(packet.messages(&wrapped).map(|ts| ts[0]).collect::<Vec<_>>(), [0x47; 7]);
    assert_eq!(MpegTs.stream_name(StreamKey::default()), "00000000", "an SSRC may be 0");
    assert!(MpegTs.parse(&plain[..1000]).is_err());
    assert!(MpegTs.parse(&rtp(b"no transport stream")).is_err());
}

#[test]
fn the_probe_of_receiver_send() {
    let data = of().be::<2>(0x5ac7).be::<4>(5).be::<8>(6).be::<8>(7).0;
    let packet = Probe.parse(&data).unwrap();
    assert_eq!((packet.kind, packet.first, packet.count), (Kind::Data, 6, 1));
    assert_eq!((packet.stream, packet.sent_ns), (key(0, 5), Some(7)));
    assert!(Probe.parse(&[0; 22]).is_err());
}

#[test]
fn names_are_unique_and_found() {
    let names: Vec<_> = AnyProtocol::names().collect();
    assert_eq!(names.len(), 13);
    for protocol in AnyProtocol::ALL {
        assert_eq!(protocol.name().parse(), Ok(*protocol));
        assert_eq!(protocol.to_string(), protocol.name());
    }
    let unknown = "itch".parse::<AnyProtocol>().unwrap_err().to_string();
    assert!(unknown.starts_with("there is no feed protocol `itch`; known are moldudp64, cme-mdp3, "), "{unknown}");
}

#[test]
fn every_error_reads_as_a_sentence() {
    let errors = [
        ParseError::Short { needed: 20, actual: 3 },
        ParseError::Length { stated: 40, actual: 30 },
        ParseError::Value { field: "Version", value: 2 },
        ParseError::Checksum { stated: 0xf, computed: 0x10 },
    ];
    let expected = [
        "the datagram has 3 bytes, but its header takes 20",
        "the header states 40 bytes, but the datagram has 30",
        "the field `Version` is 0x2, which the protocol does not define",
        "the checksum is 0x0010, but the header states 0x000f",
    ];
    assert_eq!(errors.map(|error| error.to_string()), expected);
}

#[test]
fn detection() {
    let observe = |datagrams: &[Vec<u8>]| {
        let mut detector = Detector::default();
        datagrams.iter().filter_map(|datagram| detector.observe(datagram)).next()
    };
    assert_eq!(observe(&[transport_stream(7)]), Some(Detected::MpegTs));
    assert_eq!(observe(&[rtp(&transport_stream(7))]), Some(Detected::MpegTsInRtp));
    let numbered = |sequence: u16| {
        let mut data = rtp(b"audio");
        data[2..4].copy_from_slice(&sequence.to_be_bytes());
        data
    };
    assert_eq!(observe(&[numbered(65_534), numbered(65_535), numbered(0)]), Some(Detected::Rtp));
    assert_eq!(observe(&[numbered(1), numbered(2), numbered(900)]), None);
    assert_eq!(observe(&[mold(0).0, mold(0).0, mold(0).0, mold(0).0]), None);
}

#[test]
fn truncation_is_an_error_or_a_smaller_datagram() {
    for (protocol, sample) in samples() {
        assert!(protocol.parse(&sample).is_ok(), "{protocol}");
        assert!(protocol.parse(&[]).is_err(), "{protocol}");
        for length in 0..sample.len() {
            check(protocol, &sample[..length]);
        }
    }
}

/// Parses, and takes all messages: they are in order and within the datagram.
fn check(protocol: AnyProtocol, datagram: &[u8]) {
    let Ok(packet) = protocol.parse(datagram) else { return };
    let _ = protocol.stream_name(packet.stream);
    let mut from = datagram.as_ptr() as usize;
    for message in packet.messages(datagram) {
        let start = message.as_ptr() as usize;
        assert!(start >= from && start + message.len() <= datagram.as_ptr() as usize + datagram.len(), "{protocol}");
        from = start + message.len();
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(datagram in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut detector = Detector::default();
        detector.observe(&datagram);
        for protocol in AnyProtocol::ALL {
            check(*protocol, &datagram);
        }
    }

    #[test]
    fn damaged_datagrams_do_not_panic(
        which in 0usize..14,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let (_, mut datagram) = samples().swap_remove(which);
        for (at, value) in damage {
            let at = at.index(datagram.len());
            datagram[at] = value;
        }
        datagram.truncate(cut.index(datagram.len()) + 1);
        for protocol in AnyProtocol::ALL {
            check(*protocol, &datagram);
        }
    }

    #[test]
    fn extension_takes_the_nearest(reference in 0u64..1 << 40, step in -32_768i64..32_768) {
        let expected = reference.checked_add_signed(step);
        let wire = (reference as i64 + step) as u64;
        prop_assert_eq!(SequenceWidth::Bits16.extend(wire & 0xffff, reference), expected);
        prop_assert_eq!(SequenceWidth::Bits32.extend(wire & 0xffff_ffff, reference), expected);
    }
}
