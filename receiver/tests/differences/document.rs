//! docs/differences.md, made of the table of cases.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::cases::Case;

/// Set: the document is written instead of compared.
const WRITE: &str = "RECEIVER_WRITE_DIFFERENCES";

const HEAD: &str = "\
# What a kernel socket receives, and the receiver does not, or the other way round

The receiver's modes are meant to deliver what a UDP socket of the kernel delivers. Mode `socket` does exactly that.
The other modes leave to the kernel what only the kernel can judge: fragments, options, extension headers, frames to a
unicast MAC address, and in generic mode datagrams whose UDP checksum is partial.

`receiver/tests/differences` sends each frame below to plain sockets and to the receiver in each mode, and compares
who received what, byte for byte. This file is made of the same table, and a test compares the two. A change of the
table needs `RECEIVER_WRITE_DIFFERENCES=1 cargo test -p receiver --test differences document`.

The plain sockets' column is Linux 6.18 with `rp_filter`, `accept_local` and `route_localnet` off. Zero-copy runs the
same program as copy.

## Differences
";

const MORE: &str = "
### Settings of the kernel that XDP does not follow

- `route_localnet`: with it, a kernel socket receives from 127.0.0.0/8. The XDP program drops these sources as
  `dropped_martian`.
- `rp_filter`: the kernel drops sources without a route back. The XDP program delivers them; of what is left to the
  kernel, such as fragments, the kernel drops them. The receiver warns of such sources when they are joined.
- `rx-gro-list` on an interface below the receiver's, such as a bridge's port: in generic mode the datagrams that it
  joins are refused and counted as `udp_checksum`, never delivered as one. Turn it off there:
  `ethtool -K PORT rx-gro-list off`.
- `IP_MINTTL`, netfilter and tc rules, and socket filters of other programs see only what is left to the kernel.

### Groups that the receiver refuses

A socket can join an IPv6 group of scope 0 or 1 (`ff10::1`, `ff01::1`) and never receives a datagram from a network:
the kernel drops them (RFC 4291, section 2.7). The receiver refuses the subscription.

## Random frames

`receiver/tests/differences/storm.rs` sends random frames to plain sockets and to the receiver in the modes `socket`,
`copy`, `mapped` and `generic`, each over a veth of its own. A seed decides the frames: lengths that lie, IPv4 options,
chains of extension headers, fragments with overlaps and gaps, VLAN tags, MAC addresses, checksums, martian sources,
offloads of the sender (checksum and UDP segmentation), mutated and random bytes, jumbo frames. Each difference must
have one of the reasons above. A difference without a reason fails the test, which prints the seed, the frames and what
each mode delivered. A chunk of frames with a difference is sent again, up to 5 times with growing pauses, since the
kernel may drop frames under load: only a difference that is there each time counts.

A receiver of a VLAN gets the same frames with its tag, and must deliver what plain sockets get of the frames without
it, but for what its program leaves to the kernel: there is no VLAN interface.

In the guest of `cargo xtask vm --kernel 7.3`, mode `zero-copy` gets the same frames over two virtio NICs and a bridge,
with a MAC source that the bridge forwards. There the kernel drops what it would deliver over veth: of the packets from
0.0.0.0/8 to one group of 224.0.0.0/24 that a NIC hands it together, it takes the first. `RECEIVER_ZERO_COPY=RX,TX`
names two such NICs by their MAC addresses.

Without further settings the test sends 720,000 cases with an MTU of 1500, 144,000 with an MTU of 9000, and 144,000 with
a tag. As root:

```sh
cargo test -p receiver --test differences storm -- --nocapture
RECEIVER_DIFFERENCES=1000000 RECEIVER_SEED=7 cargo test -p receiver --test differences storm -- --nocapture
```

It prints the cases of each kind, how many datagrams plain sockets got of them, and how often each reason was met in
each mode. All of them took 38 s on two cores. 65,000,000 cases of seed 31 with an MTU of 1500, 72,804,662 frames to
each receiver, took 37 minutes beside other work: no difference without a reason, no chunk sent again.

The verdicts of the XDP program are compared with those of the same parser on the host, beside a plain filter, by
`receiver/tests/verdicts/storm.rs`: untagged frames, one and two VLAN tags, generic mode, frames in two buffers, with
and without CAP_PERFMON. Each frame is one execution by BPF_PROG_TEST_RUN. The default is a million frames:

```sh
RECEIVER_VERDICTS=1000000000 RECEIVER_SEED=7 cargo test --release -p receiver --test verdicts storm -- --nocapture
```

This billion took 41 minutes beside other work, and no verdict or counter differed.

## All cases

\"yes\" is one datagram, received once and with the bytes that were sent; \"no\" is none.
";

/// Compares the document with the table, or writes it.
pub fn check(cases: &[Case]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences.md");
    let text = render(cases);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &text).expect("the document is written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 120).collect();
    assert!(long.is_empty(), "too long: {long:#?}");
    assert!(
        there == text,
        "docs/differences.md is not what the table says: run {WRITE}=1 cargo test -p receiver --test differences document"
    );
}

fn render(cases: &[Case]) -> String {
    let mut text = HEAD.to_owned();
    let mut reasons: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in cases.iter().filter(|case| !case.reason.is_empty()) {
        reasons.entry(case.reason).or_default().push(case);
    }
    for (reason, cases) in reasons {
        text += &format!("\n{reason}\n\n");
        table(&mut text, cases.into_iter().map(|case| (format!("{}: {}", case.section, case.name), case)));
    }
    text += MORE;
    let mut rest = cases;
    while let Some(first) = rest.first() {
        let (section, others) = rest.split_at(rest.iter().take_while(|case| case.section == first.section).count());
        text += &format!("\n### {}\n\n", first.section);
        table(&mut text, section.iter().map(|case| (case.name.clone(), case)));
        rest = others;
    }
    text
}

fn table<'a>(text: &mut String, rows: impl Iterator<Item = (String, &'a Case)>) {
    text.push_str("| case | socket | copy | generic |\n| --- | --- | --- | --- |\n");
    for (name, case) in rows {
        let [socket, copy, generic] =
            [case.socket, case.copy, case.generic].map(|received| if received { "yes" } else { "no" });
        writeln!(text, "| {name} | {socket} | {copy} | {generic} |").expect("a string");
    }
}
