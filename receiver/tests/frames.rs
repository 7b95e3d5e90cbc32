//! `Datagram::frame` is the frame as it was sent, where the path has it.

mod support;

use netlab::Lab;
use receiver::{ReceiveMode, Vlan};
use support::frame::{Frame, FrameSocket};
use support::{open, receive, subscription};

const GROUPS: [(&str, &str); 2] = [("10.0.0.1:4000", "232.1.1.1:5000"), ("[2001:db8::1]:4000", "[ff3e::1]:5000")];

/// Opens a receiver, sends these frames, and returns what `Datagram::frame` and `Datagram::payload` gave.
fn received(mode: ReceiveMode, vlan: Option<Vlan>, frames: &[Vec<u8>]) -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
    received_in(&Lab::new().expect("lab"), mode, vlan, frames)
}

fn received_in(
    lab: &Lab,
    mode: ReceiveMode,
    vlan: Option<Vlan>,
    frames: &[Vec<u8>],
) -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
    let mut receiver = open(lab, |builder| {
        builder
            .subscribe(subscription("10.0.0.1@232.1.1.1:5000"))
            .subscribe(subscription("[2001:db8::1]@[ff3e::1]:5000"))
            .mode(mode)
            .vlan(vlan)
    })
    .expect("receiver");
    let socket = FrameSocket::open(lab);
    frames.iter().for_each(|frame| socket.send(frame));
    let mut received = Vec::new();
    receive(&mut receiver, &[], |datagram| {
        received.push((datagram.frame().map(<[u8]>::to_vec), datagram.payload().to_vec()));
    });
    received
}

/// A frame of each family, padded behind the IP packet as short frames are.
fn padded(tag: Option<u16>) -> Vec<Vec<u8>> {
    let frame = |(source, group): (&str, &str)| {
        let mut bytes = Frame::udp(source, group, b"payload").bytes;
        if let Some(tag) = tag {
            let [high, low] = tag.to_be_bytes();
            bytes.splice(12..12, [0x81, 0, high, low]);
        }
        bytes.extend([0xaa; 9]);
        bytes
    };
    GROUPS.map(frame).to_vec()
}

fn whole(mode: ReceiveMode, tag: Option<u16>) {
    let vlan = tag.map(|tag| tag.to_string().parse().expect("a tag"));
    let sent = padded(tag);
    let expected: Vec<_> = sent.iter().map(|frame| (Some(frame.clone()), b"payload".to_vec())).collect();
    assert_eq!(received(mode, vlan, &sent), expected);
}

#[test]
fn of_mode_copy() {
    whole(ReceiveMode::Copy, None);
}

#[test]
fn of_mode_copy_with_its_vlan_tag() {
    whole(ReceiveMode::Copy, Some(100));
}

#[test]
fn of_mode_mapped() {
    whole(ReceiveMode::Mapped, None);
    whole(ReceiveMode::Mapped, Some(100));
}

#[test]
fn of_mode_generic() {
    whole(ReceiveMode::Generic, None);
}

/// Jumbo frames, which the program gathers, are as they were sent too, with one tag, two or none.
#[test]
fn of_mode_mapped_with_jumbo_frames_and_vlan_tags() {
    let both = [0x88, 0xa8, 0, 200, 0x81, 0, 0, 100];
    for (vlan, tags) in [(None, &[][..]), (Some("100"), &both[4..]), (Some("200.100"), &both)] {
        let sizes = [1_000, 1_962, 1_967, 1_970, 2_100, 4_096, 8_900];
        let frames: Vec<(Vec<u8>, Vec<u8>)> = sizes
            .into_iter()
            .flat_map(|size| GROUPS.map(|(source, group)| (size, source, group)))
            .map(|(size, source, group)| {
                let payload: Vec<u8> = (0..size).map(|at| (at * 7 + at / 251 + size) as u8).collect();
                let mut frame = Frame::udp(source, group, &payload).bytes;
                frame.splice(12..12, tags.iter().copied());
                (frame, payload)
            })
            .collect();
        let sent: Vec<Vec<u8>> = frames.iter().map(|(frame, _)| frame.clone()).collect();
        let lab = Lab::builder().mtu(9000).build().expect("lab");
        let vlan = vlan.map(|vlan| vlan.parse().expect("tags"));
        let came = received_in(&lab, ReceiveMode::Mapped, vlan, &sent);
        assert_eq!(came.len(), frames.len(), "{vlan:?}");
        for ((frame, payload), (came_frame, came_payload)) in frames.into_iter().zip(came) {
            let lengths = (frame.len(), came_frame.as_ref().map(Vec::len));
            assert!(came_frame == Some(frame) && came_payload == payload, "{vlan:?}: {lengths:?}");
        }
    }
}

#[test]
fn the_kernel_path_has_none() {
    let mut received = received(ReceiveMode::Socket, None, &padded(None));
    // The two families have a socket each.
    received.sort();
    assert_eq!(received, vec![(None, b"payload".to_vec()); 2]);
}

#[test]
fn a_datagram_that_xdp_passes_to_the_kernel_has_none() {
    let options = Frame::with_options(GROUPS[0].0, GROUPS[0].1, b"options", &[0x94, 4, 0, 0]).bytes;
    assert_eq!(received(ReceiveMode::Copy, None, &[options]), vec![(None, b"options".to_vec())]);
}
