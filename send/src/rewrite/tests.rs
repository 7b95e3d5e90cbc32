//! Rules and their refusals; checksums of rewritten frames against a sum over the whole packet.

use super::*;
use proptest::prelude::*;

fn rewrite(rules: &[&str]) -> Result<Rewrite, RewriteError> {
    Rewrite::new(rules.iter().map(|rule| rule.parse()).collect::<Result<_, _>>()?)
}

fn refused(rules: &[&str]) -> String {
    rewrite(rules).expect_err("a refusal").to_string()
}

/// The sum over bytes as the internet checksum takes it, folded.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A frame with right checksums. `tags` are ids of VLANs.
fn frame(tags: &[u16], is_ipv4: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![1, 0, 0x5e, 1, 1, 1, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        frame.extend([0x81, 0, 0x60 | (tag >> 8) as u8, *tag as u8]);
    }
    let length = (8 + payload.len()) as u16;
    let mut udp =
        [&4000u16.to_be_bytes()[..], &5000u16.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload].concat();
    let addresses: Vec<u8> = if is_ipv4 {
        vec![10, 0, 0, 1, 232, 1, 1, 1]
    } else {
        let group: std::net::Ipv6Addr = "ff3e::1".parse().expect("a group");
        let source: std::net::Ipv6Addr = "2001:db8::1".parse().expect("a source");
        [source.octets(), group.octets()].concat()
    };
    let checksum = match !sum(&[&addresses, &[0, 17], &length.to_be_bytes(), &udp]) {
        0 => 0xffff,
        checksum => checksum,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    if is_ipv4 {
        frame.extend([8, 0]);
        let mut header =
            [&[0x45, 0][..], &(20 + length).to_be_bytes(), &[0, 7, 0, 0, 16, 17, 0, 0], &addresses].concat();
        let checksum = !sum(&[&header]);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(header);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([17, 16]);
        frame.extend(addresses);
    }
    frame.extend(udp);
    frame
}

/// Where the IP header begins. Panics if a checksum is wrong.
fn checked(frame: &[u8]) -> usize {
    let mut at = 12;
    while frame[at..at + 2] == [0x81, 0] {
        at += 4;
    }
    let ip = at + 2;
    let (addresses, udp) = if frame[at] == 8 {
        assert_eq!(sum(&[&frame[ip..ip + 20]]), 0xffff, "IPv4");
        (&frame[ip + 12..ip + 20], &frame[ip + 20..])
    } else {
        (&frame[ip + 8..ip + 40], &frame[ip + 40..])
    };
    let length = (udp.len() as u16).to_be_bytes();
    assert_eq!(sum(&[addresses, &[0, 17], &length, udp]), 0xffff, "UDP");
    assert_ne!(udp[6..8], [0, 0], "a checksum is not left out");
    ip
}

#[test]
fn addresses_ports_and_tags_change() {
    let rules =
        ["group=232.1.1.1:5000->232.129.9.9:6000", "source=10.0.0.1->10.0.0.9:4001", "mac=*->02:00:00:00:00:07"];
    let mut bytes = frame(&[], true, b"payload");
    assert!(rewrite(&rules).expect("rules").apply(&mut bytes, 0));
    let ip = checked(&bytes);
    assert_eq!(bytes[..12], [1, 0, 0x5e, 1, 9, 9, 2, 0, 0, 0, 0, 7]);
    assert_eq!(bytes[ip + 12..ip + 24], [10, 0, 0, 9, 232, 129, 9, 9, 0x0f, 0xa1, 0x17, 0x70]);
    assert!(bytes.ends_with(b"payload"));

    let mut bytes = frame(&[100, 200], false, b"payload");
    let rules = ["group=[ff3e::1]->[ff3e::8001:2]", "port=5000->6000", "vlan=100->300"];
    assert!(rewrite(&rules).expect("rules").apply(&mut bytes, 0));
    let ip = checked(&bytes);
    assert_eq!(bytes[..6], [0x33, 0x33, 0x80, 1, 0, 2]);
    assert_eq!(bytes[12..20], [0x81, 0, 0x61, 0x2c, 0x81, 0, 0x60, 200], "the priority stays");
    assert_eq!(bytes[ip + 42..ip + 44], 6000u16.to_be_bytes());
}

#[test]
fn a_tag_is_added_and_removed_behind_other_frames() {
    let (untagged, tagged) = (frame(&[], true, b"abc"), frame(&[7], true, b"abc"));
    let mut bytes = [&untagged[..], &untagged].concat();
    assert!(rewrite(&["vlan=none->7"]).expect("a rule").apply(&mut bytes, untagged.len()));
    assert_eq!(bytes.len(), 2 * untagged.len() + 4);
    assert_eq!(bytes[untagged.len() + 12..untagged.len() + 16], [0x81, 0, 0, 7]);
    let mut bytes = tagged.clone();
    assert!(rewrite(&["vlan=*->none"]).expect("a rule").apply(&mut bytes, 0));
    assert_eq!(bytes, untagged);
    let mut bytes = tagged.clone();
    assert!(!rewrite(&["vlan=8->none"]).expect("a rule").apply(&mut bytes, 0));
    assert_eq!(bytes, tagged, "another tag");
}

#[test]
fn the_first_rule_that_fits_applies_once() {
    let rules = ["group=232.1.1.1->232.1.1.2", "group=232.1.1.2->232.1.1.1", "port=1->2", "port=*->7000"];
    let mut bytes = frame(&[], true, b"");
    rewrite(&rules).expect("rules").apply(&mut bytes, 0);
    let ip = checked(&bytes);
    assert_eq!(bytes[ip + 16..ip + 20], [232, 1, 1, 2]);
    assert_eq!(bytes[ip + 22..ip + 24], 7000u16.to_be_bytes());
    // Of the other IP version, or to another port.
    let before = frame(&[], true, b"");
    let mut bytes = before.clone();
    let rules = ["group=*->[ff3e::2]", "group=232.1.1.1:5001->232.1.1.3", "source=[2001:db8::1]->[2001:db8::2]"];
    assert!(!rewrite(&rules).expect("rules").apply(&mut bytes, 0));
    assert_eq!(bytes, before);
}

#[test]
fn fragments_follow_their_first_one() {
    let mut rewrite = rewrite(&["group=232.1.1.1:5000->232.9.9.9:6000"]).expect("a rule");
    let whole = frame(&[], true, &[1; 64]);
    let fragment = |flags: [u8; 2], id: u8, payload: &[u8]| {
        let mut bytes = whole[..34].to_vec();
        bytes[19] = id;
        bytes[20..22].copy_from_slice(&flags);
        bytes[24..26].fill(0);
        let checksum = !sum(&[&bytes[14..34]]);
        bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend_from_slice(payload);
        bytes
    };
    let mut first = fragment([0x20, 0], 9, &whole[34..66]);
    let (mut later, mut other) = (fragment([0, 4], 9, &whole[66..]), fragment([0, 4], 10, &whole[66..]));
    assert!(rewrite.apply(&mut first, 0) && rewrite.apply(&mut later, 0) && !rewrite.apply(&mut other, 0));
    assert_eq!((&first[30..34], &later[30..34]), (&[232, 9, 9, 9][..], &[232, 9, 9, 9][..]));
    assert_eq!(sum(&[&first[14..34]]), 0xffff);
    assert_eq!(later[34..], whole[66..], "a payload stays");
    let datagram = [&first[34..], &later[34..]].concat();
    assert_eq!(sum(&[&first[26..34], &[0, 17], &72u16.to_be_bytes(), &datagram]), 0xffff);
}

#[test]
fn no_checksum_stays_none_and_a_wrong_one_wrong() {
    let mut bytes = frame(&[], true, b"payload");
    bytes[40..42].fill(0);
    let mut rewrite = rewrite(&["group=*->232.9.9.9", "port=*->1"]).expect("rules");
    rewrite.apply(&mut bytes, 0);
    assert_eq!(bytes[40..42], [0, 0]);
    let mut bytes = frame(&[], true, b"payload");
    bytes[40] ^= 1;
    rewrite.apply(&mut bytes, 0);
    assert_ne!(sum(&[&bytes[26..34], &[0, 17], &15u16.to_be_bytes(), &bytes[34..]]), 0xffff);
}

#[test]
fn a_refusal_names_rule_reason_and_remedy() {
    for (rule, reason) in [
        ("", "it has no `=`; write group=A[:PORT]->B[:PORT]"),
        ("group=232.1.1.1", "it has no arrow `->` between two values; write group="),
        ("ttl=1->2", "`ttl` is no kind of rule; write group="),
        ("group=232.1.1.1->10.0.0.1", "10.0.0.1 is no multicast group; write a group, or source=A->B for a sender"),
        ("group=232.1.1.1->[ff3e::1]", "its addresses are of two IP versions, which takes other headers; write two"),
        ("source=*->232.1.1.1", "232.1.1.1 cannot be a source; write the unicast address of a sender"),
        ("source=x->10.0.0.1", "`x` is no address; write an address such as 232.1.1.1, 232.1.1.1:5000"),
        ("group=ff3e::1->ff3e::2", "`ff3e::1` is no address; write an address such as"),
        ("group=232.1.1.1:0->232.1.1.2", "`0` is no UDP port; write a number from 1 to 65535"),
        ("port=1->65536", "`65536` is no UDP port; write a number from 1 to 65535"),
        ("mac=*->01:00:5e:00:00:01", "01:00:5e:00:00:01 cannot be a sender's address; write a unicast address"),
        ("mac=*->2:0:0:0:0:1", "`2:0:0:0:0:1` is no MAC address; write six bytes such as 02:00:00:00:00:01"),
        ("vlan=4095->1", "`4095` is no VLAN id; write a number from 1 to 4094, or none for no tag"),
    ] {
        let text = refused(&[rule]);
        assert!(text.starts_with(&format!("the rule {rule} is refused: {reason}")), "{text}");
    }
    assert_eq!(
        refused(&["port=*->1", "port=5->6"]),
        "the rule port=5->6 never applies: the rule port=*->1 comes first; remove one of them, or change their order"
    );
    assert!(rewrite(&["group=232.1.1.1:1->232.1.1.2", "group=232.1.1.1->232.1.1.3"]).is_ok());
    assert!(refused(&["group=232.1.1.1->232.1.1.2", "group=232.1.1.1:1->232.1.1.3"]).contains("never applies"));
}

proptest! {
    #[test]
    fn checksums_stay_right(
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        address in any::<u32>(),
        port in 1u16..,
        tags in proptest::collection::vec(1u16..4095, 0..3),
        is_ipv4 in any::<bool>(),
    ) {
        let [a, b, c, d] = address.to_be_bytes();
        let rules = [
            format!("group=*->232.{b}.{c}.{d}"),
            format!("group=*->[ff3e::{a:x}{b:02x}:{c:x}{d:02x}]"),
            format!("source=*->10.{b}.{c}.{d}:{port}"),
            format!("source=*->[2001:db8::{c:x}:{d:x}]:{port}"),
            format!("port=*->{port}"),
            "vlan=none->5".to_owned(),
        ];
        let mut bytes = frame(&tags, is_ipv4, &payload);
        let mut rewrite = rewrite(&rules.each_ref().map(String::as_str)).expect("rules");
        prop_assert!(rewrite.apply(&mut bytes, 0));
        checked(&bytes);
        prop_assert!(bytes.ends_with(&payload));
    }

    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..80), head in 0usize..4) {
        let mut bytes = [&frame(&[], head & 1 == 0, b"")[..12 + 8 * head], &bytes].concat();
        let mut rewrite = rewrite(&["group=*->232.1.1.1:1", "mac=*->02:00:00:00:00:01", "vlan=*->9"]).expect("rules");
        rewrite.apply(&mut bytes, 0);
    }

    #[test]
    fn any_text_is_a_rule_or_refused(text in "(group|source|port|mac|vlan)?=?[0-9.:\\[\\]*a-f]{0,12}(->)?.{0,8}") {
        if let Err(error) = text.parse::<RewriteRule>() {
            prop_assert!(error.to_string().contains("; write "));
        }
    }
}
