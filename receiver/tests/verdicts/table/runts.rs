//! Frames cut at every length.

use receiver_common::Verdict::{self, *};

use super::{
    DOT1AD, DOT1Q, GROUP_V4, ICMPV6, IGMP, INNER, OUTER, PORT, Row, Tags, WANTED_V4, WANTED_V6, extended, v6_address,
    wanted_v4, wanted_v6,
};
use crate::frames::{UDP, ipv4, ipv4_options, ipv6, other, tagged, udp, v4, v6};

/// What a frame is, and the verdict of its first bytes from each length on.
type Story<'a> = (&'a str, Tags, Vec<u8>, &'a [(usize, Verdict)]);

/// Frames cut at every length from 14 bytes on. Each story tells from which length on which verdict holds.
pub fn rows() -> Vec<Row> {
    let one = [(DOT1Q, OUTER)];
    let two = [(DOT1AD, OUTER), (DOT1Q, INNER)];
    let other_v4 = v4(WANTED_V4, [232, 1, 1, 2], PORT, 18);
    let other_v6 = v6(WANTED_V6, v6_address(0xff3e, 2), PORT, 18);
    let options = ipv4_options(WANTED_V4, GROUP_V4, UDP, &[1; 8], &udp(PORT, 18));
    let igmp = ipv4(WANTED_V4, [224, 0, 0, 22], IGMP, &[0x22, 0, 0, 0, 0, 0, 0, 0]);
    let mld = ipv6(WANTED_V6, v6_address(0xff02, 22), 0, &extended(ICMPV6, &[143, 0, 0, 0, 0, 0, 0, 0]));
    let stories: [Story; 17] = [
        ("v4 wanted", Tags::None, wanted_v4(), &[(14, DroppedMalformed), (60, Redirected)]),
        ("v6 wanted", Tags::None, wanted_v6(), &[(14, DroppedMalformed), (80, Redirected)]),
        ("v4 wanted, one tag", Tags::One, tagged(&wanted_v4(), &one), &[(14, DroppedMalformed), (64, Redirected)]),
        ("v6 wanted, one tag", Tags::One, tagged(&wanted_v6(), &one), &[(14, DroppedMalformed), (84, Redirected)]),
        ("v4 wanted, two tags", Tags::Two, tagged(&wanted_v4(), &two), &[(14, DroppedMalformed), (68, Redirected)]),
        ("v6 wanted, two tags", Tags::Two, tagged(&wanted_v6(), &two), &[(14, DroppedMalformed), (88, Redirected)]),
        ("v4 one tag, none configured", Tags::None, tagged(&wanted_v4(), &one), &[(14, PassedVlan)]),
        ("v4 untagged, one configured", Tags::One, wanted_v4(), &[(14, PassedVlan)]),
        (
            "v4 one tag, two configured",
            Tags::Two,
            tagged(&wanted_v4(), &one),
            &[(14, DroppedMalformed), (18, PassedVlan)],
        ),
        (
            "v4 two tags, one configured",
            Tags::One,
            tagged(&wanted_v4(), &two),
            &[(14, DroppedMalformed), (18, PassedVlan)],
        ),
        ("v4 other group", Tags::None, other_v4, &[(14, DroppedMalformed), (42, PassedOtherGroup)]),
        ("v6 other group", Tags::None, other_v6, &[(14, DroppedMalformed), (62, PassedOtherGroup)]),
        (
            "v4 unicast",
            Tags::None,
            v4(WANTED_V4, [10, 0, 0, 100], PORT, 18),
            &[(14, DroppedMalformed), (34, PassedUnicast)],
        ),
        ("v4 options", Tags::None, options, &[(14, DroppedMalformed), (34, PassedOptions)]),
        ("IGMP", Tags::None, igmp, &[(14, DroppedMalformed), (34, PassedMembership)]),
        ("MLD", Tags::None, mld, &[(14, DroppedMalformed), (54, PassedExtensionHeader), (63, PassedMembership)]),
        ("ARP", Tags::None, other(0x0806), &[(14, PassedNotIp)]),
    ];
    let mut rows = Vec::new();
    for (name, tags, frame, story) in stories {
        for length in 14..=frame.len() {
            let Some((_, verdict)) = story.iter().rev().find(|(from, _)| length >= *from) else { continue };
            let name = format!("{name}, cut at {length}");
            rows.push(Row { name, tags, queue: 0, frame: frame[..length].to_vec(), verdict: *verdict, slot: None });
        }
    }
    rows
}
