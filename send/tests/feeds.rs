//! Feeds on a real kernel: what kernel sockets at the other end got is what the report states, sequence number by
//! sequence number. Two namespaces, one veth pair. Needs root.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use netlab::Lab;
use receiver_feed::protocol::{AnyProtocol, Kind, Packet, Protocol};
use receiver_send::feed::{FeedConfig, FeedSender, FeedSent, Leg, Span};
use receiver_send::{SendError, Way};
use socket2::{Domain, InterfaceIndexOrAddress, Socket, Type};

const PORT: u16 = 5000;
/// Room for all that a test sends.
const RECEIVE_BUFFER: usize = 256 << 20;

/// What a leg's socket got: the parsed header, the payload and the sender.
type Came = Vec<(Packet, Vec<u8>, SocketAddr)>;

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn share(text: &str) -> receiver_send::impair::Share {
    text.parse().expect(text)
}

/// A kernel socket that gets what is sent to the group from the source, and nothing else.
fn joined(lab: &Lab, leg: &Leg) -> UdpSocket {
    let bound = SocketAddr::new(leg.group, leg.port);
    let join = || -> io::Result<UdpSocket> {
        let index = lab.rx().interface_index(lab.rx_interface()).map_err(io::Error::other)?;
        let socket = Socket::new(Domain::for_address(bound), Type::DGRAM, None)?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
        socket.bind(&bound.into())?;
        match leg.group {
            IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?,
            IpAddr::V6(group) => socket.join_multicast_v6(&group, index)?,
        }
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        Ok(socket.into())
    };
    lab.rx().run(join).expect("the namespace").expect("a joined socket")
}

/// Everything that is queued at the socket, parsed.
fn received(socket: &UdpSocket, protocol: AnyProtocol) -> Came {
    let (mut all, mut payload) = (Vec::new(), vec![0; 70_000]);
    while let Ok((length, source)) = socket.recv_from(&mut payload) {
        let payload = payload[..length].to_vec();
        let packet = protocol.parse(&payload).unwrap_or_else(|error| panic!("{protocol}: {error}"));
        all.push((packet, payload, source));
    }
    all
}

fn config(lab: &Lab, protocol: &str, legs: &[(&str, &str)]) -> FeedConfig {
    let legs = legs.iter().map(|(source, group)| {
        let mut leg = Leg::new(address(group), PORT);
        leg.source = Some(address(source));
        leg
    });
    let mut config = FeedConfig::new(lab.tx_interface(), protocol.parse().expect(protocol), legs.collect());
    (config.rate, config.count) = (20_000, Some(5_000));
    config
}

fn try_send(lab: &Lab, config: FeedConfig) -> Result<FeedSent, SendError> {
    lab.tx().run(|| FeedSender::new(config)?.run(&AtomicBool::new(false))).expect("the namespace")
}

/// Sends, and returns what was sent and what came on each leg.
fn transfer(lab: &Lab, config: FeedConfig) -> (FeedSent, Vec<Came>) {
    let protocol = config.protocol;
    let sockets: Vec<UdpSocket> = config.legs.iter().map(|leg| joined(lab, leg)).collect();
    let sent = try_send(lab, config).unwrap_or_else(|error| panic!("{error}"));
    (sent, sockets.iter().map(|socket| received(socket, protocol)).collect())
}

/// Compares each sequence number of each stream with the report. Returns how often each came, by stream and position.
fn assert_as_reported(sent: &FeedSent, came: &[Came], protocol: AnyProtocol) {
    let mut missing_everywhere: BTreeMap<String, Vec<bool>> =
        sent.streams.iter().map(|s| (s.stream.clone(), vec![true; s.messages as usize])).collect();
    for (leg, came) in sent.legs.iter().zip(came) {
        assert_eq!(came.len() as u64, leg.packets, "{protocol}");
        assert_eq!(came.iter().map(|(_, payload, _)| payload.len() as u64).sum::<u64>(), leg.bytes);
        assert!(came.iter().all(|(_, _, source)| source.ip() == leg.source.ip()));
        let (mut missing, mut gaps, mut longest, mut duplicates, mut late) = (0, 0, 0, 0, 0);
        for stream in &sent.streams {
            let (mut times, mut newest) = (vec![0u64; stream.messages as usize], 0);
            for (packet, ..) in came.iter().filter(|(packet, ..)| protocol.stream_name(packet.stream) == stream.stream)
            {
                if packet.kind != Kind::Data {
                    continue;
                }
                let width = protocol.width();
                let first = width.extend(packet.first, stream.first_sequence + newest).expect("in range");
                let position = first - stream.first_sequence;
                late += u64::from(position < newest && times[position as usize] == 0);
                newest = newest.max(position);
                let range = position as usize..(position + u64::from(packet.count)) as usize;
                duplicates += u64::from(times[range.start] > 0);
                times[range].iter_mut().for_each(|times| *times += 1);
            }
            let everywhere = missing_everywhere.get_mut(&stream.stream).expect("a stream");
            for (all, times) in everywhere.iter_mut().zip(&times) {
                *all &= *times == 0;
            }
            for run in times.chunk_by(|a, b| (*a == 0) == (*b == 0)).filter(|run| run[0] == 0) {
                (missing, gaps, longest) = (missing + run.len() as u64, gaps + 1, longest.max(run.len() as u64));
            }
        }
        let reported = (leg.missing, leg.gaps, leg.longest_gap, leg.duplicates, leg.reordered);
        assert_eq!(reported, (missing, gaps, longest, duplicates, late), "{protocol}: {leg:?}");
    }
    for stream in &sent.streams {
        let missing = &missing_everywhere[&stream.stream];
        let listed = stream.missing_ranges.iter().flat_map(|(from, to)| *from..=*to);
        let listed: Vec<u64> = listed.map(|sequence| sequence - stream.first_sequence).collect();
        let expected: Vec<u64> = (0..stream.messages).filter(|at| missing[*at as usize]).collect();
        assert_eq!(listed, expected, "{protocol}");
        assert_eq!((stream.missing, stream.gaps), (expected.len() as u64, stream.missing_ranges.len() as u64));
    }
    assert_eq!(sent.missing, sent.streams.iter().map(|stream| stream.missing).sum::<u64>());
}

#[test]
fn two_legs_lose_what_the_report_states() {
    let lab = Lab::new().expect("a lab");
    for exclusive in [false, true] {
        let legs = [("10.0.0.1", "232.1.1.1"), ("10.0.0.77", "232.1.1.2")];
        let mut config = config(&lab, "moldudp64", &legs);
        for leg in &mut config.legs {
            (leg.impairment.loss, leg.impairment.reorder) = (share("10%"), share("1%"));
            leg.impairment.duplicate = share("0.5%");
        }
        (config.streams, config.messages, config.exclusive_loss) = (3, Some(Span::new(1, 5)), exclusive);
        config.message_size = Some(Span::new(8, 60));
        let protocol = config.protocol;
        let (sent, came) = transfer(&lab, config);
        assert_eq!(sent.legs.iter().map(|leg| leg.way).collect::<Vec<_>>(), [Way::Socket, Way::Raw]);
        assert!(sent.legs.iter().all(|leg| leg.missing > 300 && leg.reordered > 5 && leg.duplicates > 2), "{sent}");
        assert_eq!((sent.messages, sent.missing == 0), (5_000, exclusive), "{sent}");
        assert_as_reported(&sent, &came, protocol);
        // The end of each session.
        let ends = came.iter().flatten().filter(|(packet, ..)| packet.kind == Kind::End).count();
        assert_eq!(ends, 6);
    }
}

#[test]
fn every_protocol_arrives_as_reported() {
    let lab = Lab::new().expect("a lab");
    for protocol in AnyProtocol::ALL {
        // Two legs of one group on two ports, and one over IPv6.
        let legs = [("10.0.0.1", "232.1.1.1"), ("10.0.0.2", "232.1.1.1"), ("2001:db8::1", "ff3e::1")];
        let mut config = config(&lab, protocol.name(), &legs);
        config.legs[1].port += 1;
        for leg in &mut config.legs {
            (leg.impairment.loss, leg.impairment.reorder) = (share("20%"), share("1%"));
            leg.impairment.duplicate = share("1%");
        }
        config.count = Some(3_000);
        let (sent, came) = transfer(&lab, config);
        assert!((5..100).contains(&sent.missing), "{sent}");
        assert_as_reported(&sent, &came, *protocol);
    }
}

#[test]
fn legs_are_packed_in_their_own_way() {
    let lab = Lab::new().expect("a lab");
    for exclusive in [false, true] {
        let mut config = config(&lab, "iex-tp", &[("10.0.0.1", "232.1.1.1"), ("10.0.0.2", "232.1.1.2")]);
        config.legs.iter_mut().for_each(|leg| leg.impairment.loss = share("10%"));
        (config.messages, config.repack, config.exclusive_loss) = (Some(Span::new(1, 9)), true, exclusive);
        config.message_size = Some(Span::new(4, 90));
        let protocol = config.protocol;
        let (sent, came) = transfer(&lab, config);
        assert_as_reported(&sent, &came, protocol);
        assert_eq!(sent.missing == 0, exclusive, "{sent}");
        let firsts = |leg: usize| came[leg].iter().map(|(packet, ..)| packet.first).collect::<Vec<_>>();
        assert_ne!(firsts(0), firsts(1));
        // Each message is the same on both legs, whatever packet it is in.
        let messages = |leg: usize| -> BTreeMap<u64, Vec<u8>> {
            let of = |(packet, payload, _): &(Packet, Vec<u8>, SocketAddr)| {
                (packet.first..).zip(packet.messages(payload).map(<[u8]>::to_vec)).collect::<Vec<_>>()
            };
            came[leg].iter().flat_map(of).collect()
        };
        let (first, second) = (messages(0), messages(1));
        assert!(first.iter().all(|(number, message)| second.get(number).is_none_or(|other| other == message)));
    }
}

#[test]
fn pauses_have_heartbeats_and_delays_hold_the_end() {
    let lab = Lab::new().expect("a lab");
    let mut config = config(&lab, "siac", &[("10.0.0.1", "232.1.1.1")]);
    (config.rate, config.count, config.heartbeat) = (20, Some(10), Some(Duration::from_millis(10)));
    config.legs[0].impairment.delay = Duration::from_millis(200);
    config.legs[0].impairment.loss = share("30%");
    let protocol = config.protocol;
    let (sent, came) = transfer(&lab, config);
    assert_as_reported(&sent, &came, protocol);
    let beats = came[0].iter().filter(|(packet, ..)| packet.kind == Kind::Heartbeat).count() as u64;
    // Under load there are fewer. A packet that was lost has none after it: they repeat its number.
    assert!(beats >= 3 && beats == sent.legs[0].heartbeats, "{beats} {sent}");
    assert!(sent.elapsed_seconds > 0.45 + 0.2, "{sent}");
    let in_order = came[0].windows(2).all(|pair| pair[0].0.first <= pair[1].0.first);
    assert!(in_order, "the delay keeps the order");
}
