//! A relay, seen on the wire: order, spacing, addresses and times to live. The built command in two namespaces. Needs
//! root.

mod command;
mod payloads;

use std::io::Read;
use std::net::Ipv4Addr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::last_object;
use netlab::Lab;
use payloads::{FIRST, SECOND, Source, joined, number, payload, received, sink};
use rustix::process::Signal;
use socket2::{Domain, Protocol, Socket, Type};

/// A UDP packet as it was on the wire, and when it was seen.
#[derive(Debug)]
struct Seen {
    at: Instant,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    port: u16,
    ttl: u8,
    payload: Vec<u8>,
}

/// Sees each IPv4 packet of the sending end of the lab, sent and received.
fn tap(lab: &Lab) -> Socket {
    const ETH_P_ALL: u16 = 3;
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let tap = lab.tx().run(|| Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))).expect("the namespace");
    let tap = tap.expect("a packet socket");
    tap.set_read_timeout(Some(Duration::from_millis(1000))).expect("a timeout");
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&tap, 8 << 20).expect("a buffer");
    tap
}

/// Takes what the tap sees, until nothing comes for a second.
fn see(mut tap: Socket) -> Vec<Seen> {
    let (mut all, mut buffer) = (Vec::new(), vec![0; 70_000]);
    while let Ok(length) = tap.read(&mut buffer) {
        let (at, packet) = (Instant::now(), &buffer[..length]);
        let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes"));
        if length > 28 && packet[0] == 0x45 && packet[9] == 17 {
            let port = u16::from_be_bytes([packet[22], packet[23]]);
            let (source, destination, ttl) = (address(12), address(16), packet[8]);
            all.push(Seen { at, source, destination, port, ttl, payload: packet[28..].to_vec() });
        }
    }
    all
}

#[test]
fn a_relay_keeps_order_and_spacing() {
    const COUNT: u32 = 200;
    let lab = Lab::new().expect("a lab");
    let i = lab.rx_interface();
    let group = format!("udp://239.9.9.9:6000?interface={i}&ttl=7&source={}&delay=30ms", lab.rx_v4());
    let plain = format!("udp://239.9.9.8:6003?interface={i}");
    let only = "udp://10.0.0.3:6002?delay=0&only=232.1.1.2:5000";
    let arguments = ["-o", &group, "-o", &plain, "-o", "udp://10.0.0.2:6001", "-o", only];
    let mut run = joined(&lab, &[&arguments[..], &[FIRST, SECOND]].concat());
    let tap = tap(&lab);
    let watching = std::thread::spawn(|| see(tap));
    let source = Source::new(&lab);
    let mut sent_at = Vec::new();
    for number in 0..COUNT {
        sent_at.push(Instant::now());
        source.send(0, number..number + 1);
        // Uneven on purpose.
        sleep(Duration::from_micros(u64::from(number * 7919 % 8) * 1000 + 500));
    }
    source.send(1, COUNT..COUNT + 1);
    received(&mut run, u64::from(COUNT) + 1);
    let seen = watching.join().expect("a thread");
    run.signal(Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!((code, err.as_str()), (Some(0), ""));

    let of = |destination: &str, port: u16| -> Vec<&Seen> {
        let destination: Ipv4Addr = destination.parse().expect("an address");
        seen.iter().filter(|seen| seen.destination == destination && seen.port == port).collect()
    };
    let (sent, relayed) = (of("232.1.1.1", 5000), of("239.9.9.9", 6000));
    assert_eq!((sent.len(), relayed.len()), (COUNT as usize, COUNT as usize + 1));
    assert!(sent.iter().zip(&relayed).all(|(sent, relayed)| sent.payload == relayed.payload), "in order");
    assert!(relayed.iter().all(|seen| (seen.source, seen.ttl) == (lab.rx_v4(), 7)));
    let plain = of("239.9.9.8", 6003);
    assert!(plain.len() == COUNT as usize + 1 && plain.iter().all(|seen| seen.ttl == 1));
    let host = of("10.0.0.2", 6001);
    assert!(host.len() == COUNT as usize + 1 && host.iter().all(|seen| seen.ttl == 64));
    let only = of("10.0.0.3", 6002);
    assert!(only.len() == 1 && only[0].payload == payload(COUNT), "{only:?}");

    let summary = last_object(&out);
    let report = sink(&summary, "udp://239.9.9.9:6000");
    assert_eq!((number(&report["packets"]), &report["dropped"]), (u64::from(COUNT) + 1, &0.into()), "{report}");
    // By how much more than the delay each one is seen after it was sent.
    let mut errors: Vec<f64> = sent_at
        .iter()
        .zip(&relayed)
        .map(|(sent, relayed)| (relayed.at - *sent).as_secs_f64() * 1e6 - 30_000.0)
        .collect();
    errors.sort_by(f64::total_cmp);
    let at = |part: f64| errors[((errors.len() - 1) as f64 * part) as usize];
    println!(
        "spacing error in microseconds: least {:.0}, 10 % {:.0}, median {:.0}, 90 % {:.0}, 99 % {:.0}, most {:.0}; \
         late {}",
        at(0.0),
        at(0.1),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        report["late"],
    );
    assert!(at(0.0) > -100.0, "none leaves early");
    assert!(at(0.5) < 20_000.0, "half of them leave in time, on a busy machine too");
}
