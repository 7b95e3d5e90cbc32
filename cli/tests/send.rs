//! `receiver send`: without privilege, and ended by a signal.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

use netlab::Lab;
use receiver_send::probe::{PROBE_LEN, ProbeChecker, ProbeReport, now_ns};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

const PORT: u16 = 5000;
/// Room for all that a test sends, so that nothing is lost at a busy receiver.
const RECEIVE_BUFFER: usize = 64 << 20;

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

/// A kernel UDP socket in the receiving namespace that joined the group for all sources.
fn joined(lab: &Lab, group: IpAddr) -> UdpSocket {
    let join = || -> io::Result<UdpSocket> {
        let index = lab.rx().interface_index(lab.rx_interface()).map_err(io::Error::other)?;
        let any: IpAddr = if group.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let bound = SocketAddr::new(any, PORT);
        let socket = Socket::new(Domain::for_address(bound), Type::DGRAM, Some(Protocol::UDP))?;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
        socket.bind(&bound.into())?;
        match group {
            IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?,
            IpAddr::V6(group) => socket.join_multicast_v6(&group, index)?,
        }
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(socket.into())
    };
    lab.rx().run(join).expect("the namespace").expect("a joined socket")
}

/// Receives until nothing more comes. Every payload has `size` bytes.
fn receive(socket: &UdpSocket, group: &str, size: usize) -> ProbeReport {
    let mut checker = ProbeChecker::new();
    let mut payload = vec![0; 70_000];
    while let Ok((length, mut source)) = socket.recv_from(&mut payload) {
        assert_eq!(length, size);
        if let SocketAddr::V6(source) = &mut source {
            source.set_scope_id(0);
        }
        checker.observe(source, address(group), PORT, &payload[..length], now_ns());
    }
    checker.report()
}

#[test]
fn without_privilege_own_addresses_send_and_spoofing_is_refused() {
    let lab = Lab::new().expect("a lab");
    let run = |source: &str| {
        let mut command = lab.tx().command("setpriv");
        command.args(["--reuid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
        command.args([env!("CARGO_BIN_EXE_receiver"), "send", "-i", lab.tx_interface(), "--group", "232.1.1.1"]);
        command.args(["--port", "5000", "--count", "3", "--json", "--source", source]);
        command.output().expect("setpriv starts")
    };
    let own = run("10.0.0.1");
    assert!(own.status.success(), "{own:?}");
    let report: serde_json::Value = serde_json::from_slice(&own.stdout).expect("one JSON object");
    assert_eq!((&report["type"], &report["packets"]), (&"send".into(), &3.into()));
    let spoofed = run("10.0.0.77");
    assert_eq!(spoofed.status.code(), Some(1), "{spoofed:?}");
    assert!(String::from_utf8_lossy(&spoofed.stderr).contains("CAP_NET_RAW"), "{spoofed:?}");
}

#[test]
fn signals_end_it_with_its_report() {
    let lab = Lab::new().expect("a lab");
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let socket = joined(&lab, address("232.1.1.1"));
        let mut command = lab.tx().command(env!("CARGO_BIN_EXE_receiver"));
        command.args(["send", "-i", lab.tx_interface(), "--group", "232.1.1.1", "--port", "5000", "--rate", "2000"]);
        command.arg("--json").stdout(Stdio::piped());
        let child = command.spawn().expect("the sender starts");
        // It is sending once something came.
        let started = Instant::now();
        while socket.peek(&mut [0; 64]).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "nothing was sent");
        }
        let pid = rustix::process::Pid::from_raw(child.id() as i32).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("signalled");
        let output = child.wait_with_output().expect("ended");
        assert_eq!(output.status.code(), Some(0));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(report["stopped"], true);
        let received = receive(&socket, "232.1.1.1", PROBE_LEN);
        assert_eq!(report["packets"], received.received);
        assert!(received.is_clean());
    }
}
