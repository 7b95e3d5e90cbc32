//! The kernel's tables in /proc: memberships, UDP sockets and counters. The input is four of them, with a zero byte
//! between each two. The two readers of memberships agree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use receiver::internals::{column, line, udp_sockets};
use receiver_membership::tables::{KernelTables, members_on};

fuzz_target!(|texts: &str| {
    let mut texts = texts.splitn(4, '\0').chain([""; 4]);
    let [igmp, igmp6, mcfilter, mcfilter6] = [(); 4].map(|()| texts.next().unwrap_or_default());
    let tables = KernelTables::parse(igmp, igmp6, mcfilter, mcfilter6);
    let lines = igmp.lines().count() + igmp6.lines().count();
    assert!(tables.groups.len() <= lines && tables.igmp.len() <= lines);
    assert!(tables.not_understood <= lines + mcfilter.lines().count() + mcfilter6.lines().count());
    for interface in tables.igmp.keys().copied().take(3) {
        for group in tables.on(interface) {
            group.mode();
            assert_eq!(group.interface.index, interface);
            for source in &group.sources {
                assert_eq!(group.includes(source.source), source.included > 0);
            }
        }
        tables.hides_sources(interface, false, |_| true);
        tables.hides_sources(interface, true, |_| false);
        let _ = members_on(interface, igmp, igmp6);
    }
    for socket in udp_sockets(mcfilter) {
        assert_ne!(socket.inode, 0);
    }
    let word = igmp6.split_whitespace().next().unwrap_or_default();
    column(igmp, word, mcfilter6);
    line(igmp, word);
});
