//! An interface that has an XDP program already: the refusal names the program, the process that holds it, and the
//! remedy.

mod support;

use std::os::fd::{AsFd, AsRawFd};

use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};
use netlab::Lab;
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use receiver::{Error, ReceiveMode};
use receiver_xsk::{BindConfig, BindMode, XskSocket};
use support::occupied::{ASKED, assert_refused};
use support::traces::interface;
use support::{NATIVE, burst, open, stream, subscription};

/// Programs that are not the receiver's.
static FOREIGN: &[u8] = aya::include_bytes_aligned!("../../receiver-ebpf/object/baseline.bpf.o");
const FOREIGN_NAME: &str = "drop_all";

#[test]
fn a_receiver_in_this_process() {
    for mode in NATIVE {
        let lab = Lab::new().expect("lab");
        let _first = open(&lab, |builder| builder.mode(mode)).expect("receiver");
        let pid = format!("(pid {}, this process)", std::process::id());
        assert_refused(&lab, &[&pid, "give one receiver the subscriptions of both"]);
    }
}

#[test]
fn a_foreign_program_that_a_process_holds() {
    let lab = Lab::new().expect("lab");
    let mut ebpf = Ebpf::load(FOREIGN).expect("load");
    let index = interface(&lab).index;
    let program = foreign(&mut ebpf);
    lab.rx().run(|| program.attach_to_if_index(index, XdpMode::Driver)).expect("run").expect("attach");
    let pid = format!("(pid {}, this process)", std::process::id());
    assert_refused(&lab, &["`drop_all`", &pid, "Stop that process"]);
    drop(ebpf);
    assert_remedy(&lab);
}

#[test]
fn a_foreign_program_that_no_process_holds() {
    let lab = Lab::new().expect("lab");
    let mut ebpf = Ebpf::load(FOREIGN).expect("load");
    let index = interface(&lab).index;
    let descriptor = foreign(&mut ebpf).fd().expect("loaded").as_fd().as_raw_fd();
    lab.rx().run(|| attach_by_netlink(index, descriptor)).expect("run");
    drop(ebpf);
    let off = format!("ip link set {} xdp off", lab.rx_interface());
    assert_refused(&lab, &["`drop_all`, which no process holds", &off]);
    lab.rx().ip(&["link", "set", lab.rx_interface(), "xdp", "off"]).expect("the remedy");
    assert_remedy(&lab);
}

/// Each native mode starts now.
fn assert_remedy(lab: &Lab) {
    for mode in NATIVE {
        drop(open(lab, |builder| builder.subscribe(subscription(ASKED)).mode(mode)).expect("the remedy helps"));
    }
}

fn foreign(ebpf: &mut Ebpf) -> &mut Xdp {
    let program: &mut Xdp = ebpf.program_mut(FOREIGN_NAME).expect("program").try_into().expect("XDP");
    program.load().expect("load");
    program
}

/// As `ip link set dev IFACE xdp` does.
fn attach_by_netlink(interface: u32, program: i32) {
    let mut socket = Socket::new(NETLINK_ROUTE).expect("netlink");
    socket.bind_auto().expect("bind");
    socket.connect(&SocketAddr::new(0, 0)).expect("connect");
    let mut request = LinkMessage::default();
    request.header.index = interface;
    request.attributes = vec![LinkAttribute::Xdp(vec![LinkXdp::Fd(program)])];
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::SetLink(request)));
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    socket.send(&buffer, 0).expect("send");
    let (answer, _) = socket.recv_from_full().expect("answer");
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).expect("answer");
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_none() => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_queue_that_another_socket_has() {
    let lab = Lab::new().expect("lab");
    let config = BindConfig::new(interface(&lab).index, lab.rx_interface(), 0, BindMode::Copy);
    let socket = lab.rx().run(|| XskSocket::bind(&config)).expect("run").expect("socket");
    let refused = || open(&lab, |builder| builder.subscribe(subscription(ASKED)).mode(ReceiveMode::Copy)).err();
    // Mode mapped needs no AF_XDP socket.
    let mapped = open(&lab, |builder| builder.subscribe(subscription(ASKED)).mode(ReceiveMode::Mapped));
    let mut mapped = mapped.expect("a receiver beside the socket");
    assert_eq!(burst(&lab, &mut mapped, stream(&lab, "232.1.1.2", 5002, &["10.0.0.2"]), 50, |_| {}), 50);
    drop(mapped);
    let error = refused().expect("refused");
    assert!(matches!(error, Error::QueueTaken { queue: 0, .. }), "{error:?}");
    let message = error.to_string();
    let pid = format!("(pid {}, this process)", std::process::id());
    for part in [lab.rx_interface(), "queue 0", &pid, "mode socket"] {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    drop(socket);
    assert!(refused().is_none(), "the remedy helps");
}
