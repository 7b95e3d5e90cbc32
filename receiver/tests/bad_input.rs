//! Bad input, and machines that refuse: each with its own error that names what was given and what to do, and nothing
//! changed.

mod support;

use netlab::Lab;
use receiver::internals::{Attach, PartialChecksums, Program};
use receiver::{
    Builder, Error, InterfaceError, ModeRequest, Queues, ReceiveMode, Receiver, ReceiverConfig, Subscription,
    SubscriptionError, Vlan, Wait,
};
use support::traces::{Traces, interface};
use support::{NATIVE, RINGS, XDP, burst, causes, open, stream, subscription, without_privilege};

const GOOD: &str = "10.0.0.1@232.1.1.1:5000";

/// The message names each of these.
fn assert_names(error: &impl std::fmt::Display, parts: &[&str]) {
    let reported = error.to_string();
    for part in parts {
        assert!(reported.contains(part), "`{part}` is not in: {reported}");
    }
}

/// A build that is refused, and leaves the receiving side as it was.
fn refused(lab: &Lab, build: impl FnOnce(Builder) -> Builder + Send) -> Error {
    let before = Traces::of(lab);
    let error = open(lab, build).expect_err("it was to be refused");
    assert_eq!(Traces::settled(lab, &before), before, "after: {error}");
    error
}

#[test]
fn subscriptions_that_make_no_sense() {
    use SubscriptionError as E;
    let parse = |text: &str| text.parse::<Subscription>().expect_err(text);
    macro_rules! assert_refused {
        ($text:expr, $variant:pat, $($part:expr),+) => {
            let error = parse($text);
            assert!(matches!(error, $variant), "{}: {error:?}", $text);
            assert_names(&error, &[$($part),+]);
        };
    }
    assert_refused!("232.1.1.1@232.1.1.2:5000", E::SourceMulticast(_), "232.1.1.1", "unicast");
    assert_refused!("[ff02::1]@[ff3e::1]:5000", E::SourceMulticast(_), "ff02::1", "unicast");
    assert_refused!("0.0.0.0@232.1.1.1:5000", E::SourceUnspecified(_), "0.0.0.0", "name no source");
    assert_refused!("[::]@[ff3e::1]:5000", E::SourceUnspecified(_), "::", "name no source");
    assert_refused!(
        "10.0.0.1@[ff3e::1]:5000",
        E::MixedFamilies { .. },
        "10.0.0.1",
        "ff3e::1",
        "two IPv4 or two IPv6 addresses"
    );
    assert_refused!("[2001:db8::1]@232.1.1.1:5000", E::MixedFamilies { .. }, "2001:db8::1", "232.1.1.1");
    assert_refused!("10.0.0.1,[2001:db8::1]@232.1.1.1:5000", E::MixedFamilies { .. }, "2001:db8::1");
    assert_refused!("10.0.0.1@232.1.1.1:0", E::PortZero(_), "232.1.1.1", "1 to 65535");
    assert_refused!("10.0.0.1@10.0.0.2:5000", E::GroupNotMulticast(_), "10.0.0.2", "239.255.255.255");
    assert_refused!("10.0.0.1@232.0.0.0:5000", E::GroupReserved(_), "232.0.0.0", "another");
    assert_refused!("[ff01::1]:5000", E::GroupScope(_), "ff01::1", "scope 1", "ff02");
    assert_refused!("[ff31::1]:5000", E::GroupScope(_), "ff31::1", "scope 1", "wider");
    assert_refused!("[2001:db8::1]@[ff10::1]:5000", E::GroupScope(_), "ff10::1", "scope 0", "wider");
    assert_refused!("10.0.0.1,10.0.0.1@232.1.1.1:5000", E::SourceTwice(_), "10.0.0.1", "once");
    assert_refused!("127.0.0.1@232.1.1.1:5000", E::SourceUnusable(_), "127.0.0.1", "unicast");
    assert_refused!("10.0.0.1@232.1.1.1", E::Syntax { .. }, "10.0.0.1@232.1.1.1", ":PORT");
    assert_refused!("", E::Syntax { .. }, "GROUP:PORT");
}

#[test]
fn subscriptions_that_do_not_go_together() {
    let lab = Lab::new().expect("lab");
    let both = |one: &'static str, other: &'static str| {
        refused(&lab, |builder| builder.subscribe(subscription(one)).subscribe(subscription(other)))
    };
    let pairs = [
        (GOOD, GOOD, "10.0.0.1"),
        ("10.0.0.1,10.0.0.2@232.1.1.1:5000", "10.0.0.2,10.0.0.3@232.1.1.1:5000", "10.0.0.2"),
        ("10.0.0.1@239.1.1.1:5000", "239.1.1.1:5000", "any-source"),
        ("!10.0.0.1@239.1.1.1:5000", "10.0.0.2@239.1.1.1:5000", "any-source"),
        ("239.1.1.1:5000", "!10.0.0.2@239.1.1.1:5000", "any-source"),
        ("[2001:db8::1]@[ff3e::1]:5000", "[2001:db8::1]@[ff3e::1]:5000", "2001:db8::1"),
    ];
    for (one, other, part) in pairs {
        let error = both(one, other);
        assert!(matches!(error, Error::Overlap { .. }), "{one} {other}: {error:?}");
        assert!(error.is_usage());
        assert_names(&error, &[one, other, part, "once"]);
    }
    // The same at run time: refused, and the first goes on.
    for mode in NATIVE {
        the_same_while_receiving(&lab, mode);
    }
}

fn the_same_while_receiving(lab: &Lab, mode: ReceiveMode) {
    let mut receiver = open(lab, |builder| builder.subscribe(subscription(GOOD)).mode(mode)).expect("receiver");
    let handle = receiver.handle();
    let found = Traces::of(lab);
    let error = lab.rx().run(|| handle.join(&subscription(GOOD))).expect("run").expect_err("twice");
    assert!(matches!(error, Error::Overlap { .. }), "{error:?}");
    assert_eq!(Traces::of(lab), found);
    assert_eq!(handle.subscriptions().expect("subscriptions").len(), 1);
    assert_eq!(burst(lab, &mut receiver, stream(lab, "232.1.1.1", 5000, &["10.0.0.1"]), 100, |_| {}), 100);
}

#[test]
fn any_source_in_the_source_specific_range() {
    let lab = Lab::new().expect("lab");
    for text in ["232.1.1.1:5000", "!10.0.0.9@232.1.1.1:5000", "[ff3e::1]:5000"] {
        let error = refused(&lab, |builder| builder.subscribe(subscription(text)).mode(ReceiveMode::Copy));
        let is = matches!(error, Error::Subscription(SubscriptionError::AsmInSsmRange(_)));
        assert!(is && error.is_usage(), "{text}: {error:?}");
        assert_names(&error, &[&subscription(text).group().to_string(), "allow them in that range", "232.0.0.0/8"]);
        let allowed = |builder: Builder| {
            builder.subscribe(subscription(text)).mode(ReceiveMode::Copy).allow_asm_in_ssm_range(true)
        };
        let mut receiver = open(&lab, allowed).expect("allowed");
        let (group, source) =
            if text.contains("ff3e") { ("ff3e::1", "2001:db8::5") } else { ("232.1.1.1", "10.0.0.5") };
        assert_eq!(burst(&lab, &mut receiver, stream(&lab, group, 5000, &[source]), 100, |_| {}), 100, "{text}");
    }
}

#[test]
fn interfaces_that_do_not_serve() {
    let lab = Lab::new().expect("lab");
    let name = lab.rx_interface();
    for unknown in ["veth-nowhere", "", "a/b", "longer-than-any-name"] {
        let error = lab
            .rx()
            .run(|| Receiver::builder(unknown).subscribe(subscription(GOOD)).build().err())
            .expect("run")
            .expect("refused");
        assert!(matches!(error, Error::Interface(InterfaceError::Unknown { .. })), "{unknown}: {error:?}");
        assert_names(&error, &[unknown, "there are", name]);
    }
    lab.rx().ip(&["link", "set", name, "multicast", "off"]).expect("ip");
    let error = refused(&lab, |builder| builder.subscribe(subscription(GOOD)));
    assert!(matches!(error, Error::Interface(InterfaceError::NotMulticast { .. })), "{error:?}");
    assert_names(&error, &[name, &format!("ip link set {name} multicast on")]);
    lab.rx().ip(&["link", "set", name, "multicast", "on"]).expect("ip");
    lab.rx().ip(&["link", "set", name, "down"]).expect("ip");
    let error = refused(&lab, |builder| builder.subscribe(subscription(GOOD)));
    assert!(matches!(error, Error::Interface(InterfaceError::Down { .. })), "{error:?}");
    assert_names(&error, &[name, &format!("ip link set {name} up")]);
    lab.rx().ip(&["link", "set", name, "up"]).expect("ip");
    drop(
        open(&lab, |builder| builder.subscribe(subscription(GOOD)).mode(ReceiveMode::Copy)).expect("the remedy helps"),
    );
}

#[test]
fn modes_and_queues_that_there_are_not() {
    let lab = Lab::builder().queues(2).build().expect("lab");
    let error = refused(&lab, |builder| builder.subscribe(subscription(GOOD)).mode(ReceiveMode::ZeroCopy));
    assert!(matches!(error, Error::ModeUnavailable { mode: ReceiveMode::ZeroCopy, .. }), "{error:?}");
    assert_names(&error, &["zero-copy", lab.rx_interface(), "use mode mapped or copy"]);
    for mode in XDP {
        let ask =
            |queues: Queues| refused(&lab, |builder| builder.subscribe(subscription(GOOD)).mode(mode).queues(queues));
        let error = ask(Queues::These(vec![0, 2]));
        assert!(matches!(error, Error::NoSuchQueue { asked: 2, available: 2, .. }), "{error:?}");
        assert_names(&error, &[lab.rx_interface(), "queue 2", "2 receive queues", "numbered from 0", "ethtool -L"]);
        for count in [3, u32::MAX] {
            let error = ask(Queues::First(count));
            assert!(matches!(error, Error::TooFewQueues { available: 2, .. }), "{error:?}");
            assert_names(&error, &[lab.rx_interface(), &format!("the first {count}"), "at most 2", "ethtool -L"]);
        }
    }
    for mode in NATIVE {
        let error = refused(&lab, |builder| builder.mode(mode).queues(Queues::These(vec![])));
        assert!(matches!(error, Error::Option { option: "queues", .. }), "{error:?}");
    }
}

#[test]
fn options_out_of_range() {
    let lab = Lab::new().expect("lab");
    type Change = fn(Builder) -> Builder;
    let cases: [(Change, &str, &str); 10] = [
        (|b| b.ring_size(1_000), "ring_size", "1000"),
        (|b| b.ring_size(0), "ring_size", "0"),
        (|b| b.ring_size(32), "ring_size", "32"),
        (|b| b.frames(10_000), "frames", "10000"),
        (|b| b.frames(1 << 21), "frames", "2097152"),
        (|b| b.ring_size(4_096).frames(4_096), "frames", "4096"),
        (|b| b.socket_buffer(usize::MAX), "socket_buffer", "18446744073709551615"),
        (|b| b.max_flows(0), "max_flows", "0"),
        (|b| b.max_flows(u32::MAX), "max_flows", "4294967295"),
        (|b| b.frame_size(3_000), "frame_size", "3000"),
    ];
    for ((set, name, value), mode) in cases.into_iter().flat_map(|case| NATIVE.map(|mode| (case, mode))) {
        let error = refused(&lab, |builder| set(builder.subscribe(subscription(GOOD)).mode(mode)));
        let is =
            matches!(&error, Error::Option { option, value: reported, .. } if *option == name && reported == value);
        assert!(is && error.is_usage(), "{mode}: {name} {value}: {error:?}");
        assert_names(&error, &[name, value, "must be"]);
    }
    let error = refused(&lab, |b| b.subscribe(subscription(GOOD)).mode(ReceiveMode::Copy).frame_size(3_000));
    assert_names(&error, &["frame_size is 3000", "2048 or 4096"]);
    for text in ["0", "4095", "65536", "x", "100.", "1.2.3"] {
        let error = text.parse::<Vlan>().expect_err(text);
        assert!(matches!(error, Error::Option { option: "vlan", .. }), "{error:?}");
        assert_names(&error, &["vlan", "1 to 4094", "OUTER.INNER"]);
    }
}

/// Opens a receiver with privilege. The loader asks the kernel once per process what it can do: asked first without
/// privilege, it would take everything for impossible in the other tests.
fn probe_the_kernel(lab: &Lab) {
    let before = Traces::of(lab);
    let receiver = open(lab, |builder| builder.subscribe(subscription(GOOD))).expect("privilege");
    assert_eq!(receiver.handle().mode(), ReceiveMode::Mapped);
    drop(receiver);
    assert_eq!(Traces::settled(lab, &before), before);
}

#[test]
fn no_privilege() {
    let lab = Lab::new().expect("lab");
    probe_the_kernel(&lab);
    let build = |mode: ModeRequest| {
        lab.rx()
            .run(|| {
                without_privilege();
                Receiver::builder(lab.rx_interface()).subscribe(subscription(GOOD)).mode(mode).build()
            })
            .expect("run")
    };
    let before = Traces::of(&lab);
    for mode in [ReceiveMode::ZeroCopy, ReceiveMode::Mapped, ReceiveMode::Copy, ReceiveMode::Generic] {
        let error = build(mode.into()).expect_err("not permitted");
        assert!(matches!(error, Error::NotPermitted { .. }), "{mode}: {error:?}");
        let [lacking, setcap] = match RINGS.contains(&mode) {
            true => ["lacks CAP_NET_ADMIN and CAP_BPF. ", "setcap cap_net_admin,cap_bpf+ep"],
            false => [
                "lacks CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF. ",
                "setcap cap_net_admin,cap_net_raw,cap_bpf,cap_ipc_lock+ep",
            ],
        };
        assert_names(&error, &[lab.rx_interface(), lacking, setcap, "mode socket"]);
        assert_eq!(Traces::settled(&lab, &before), before);
    }
    for mode in [ModeRequest::Auto, ReceiveMode::Socket.into()] {
        let mut receiver = build(mode).expect("mode socket needs none");
        let handle = receiver.handle();
        assert_eq!(handle.mode(), ReceiveMode::Socket);
        let reported: Vec<_> = handle.refused().iter().map(|refused| refused.mode).collect();
        let modes = [ReceiveMode::ZeroCopy, ReceiveMode::Mapped, ReceiveMode::Copy, ReceiveMode::Generic];
        assert_eq!(reported, if mode == ModeRequest::Auto { &modes[..] } else { &[] });
        assert!(handle.refused().iter().all(|refused| refused.reason.contains("not permitted")));
        let fallback =
            format!("XDP is not available on {}, so kernel sockets receive (mode socket): ", lab.rx_interface());
        let warnings: Vec<String> = handle.warnings().into_iter().filter(|text| text.starts_with(&fallback)).collect();
        assert_eq!(warnings.len(), usize::from(mode == ModeRequest::Auto), "{:?}", handle.warnings());
        for warning in warnings {
            assert!(warning.contains("Reasons: zero-copy, mapped, copy, generic: "), "one reason, once: {warning}");
        }
        assert_eq!(burst(&lab, &mut receiver, stream(&lab, "232.1.1.1", 5000, &["10.0.0.1"]), 100, |_| {}), 100);
    }
    assert_eq!(Traces::settled(&lab, &before), before);
}

#[test]
fn required_xdp_is_no_fall_back() {
    let lab = Lab::new().expect("lab");
    probe_the_kernel(&lab);
    let before = Traces::of(&lab);
    let build = |mode: ModeRequest, privileged: bool| {
        let build = || {
            if !privileged {
                without_privilege();
            }
            let builder = Receiver::builder(lab.rx_interface()).subscribe(subscription(GOOD)).mode(mode);
            builder.require_xdp(true).build()
        };
        lab.rx().run(build).expect("run")
    };
    let error = build(ModeRequest::Auto, false).expect_err("refused");
    let Error::XdpRequired { refused, .. } = &error else { panic!("{error:?}") };
    let modes: Vec<ReceiveMode> = refused.iter().map(|refused| refused.mode).collect();
    assert_eq!(modes, [ReceiveMode::ZeroCopy, ReceiveMode::Mapped, ReceiveMode::Copy, ReceiveMode::Generic]);
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() == 5 && lines[0].starts_with("XDP is required on veth-rx, and each mode"), "{text}");
    for (line, mode) in lines[1..].iter().zip(modes) {
        assert!(line.starts_with(&format!("{mode}: ")) && line.contains("not permitted"), "{text}");
    }
    assert_eq!(Traces::settled(&lab, &before), before);

    let error = build(ReceiveMode::Socket.into(), true).expect_err("refused");
    assert!(error.is_usage(), "{error:?}");
    assert_names(&error, &["mode is socket", "XDP, which is required"]);
    assert_eq!(Traces::settled(&lab, &before), before);

    let receiver = build(ModeRequest::Auto, true).expect("mode mapped");
    assert_eq!(receiver.handle().mode(), ReceiveMode::Mapped);
    assert_eq!(receiver.handle().warnings(), [""; 0]);
}

#[test]
fn an_async_receiver_without_a_runtime() {
    NATIVE.into_iter().for_each(without_a_runtime);
}

fn without_a_runtime(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let before = Traces::of(&lab);
    let receiver = || open(&lab, |builder| builder.subscribe(subscription(GOOD)).mode(mode)).expect("one");
    let error = receiver().into_async().expect_err("there is no runtime");
    assert!(matches!(error, Error::NoRuntime { .. }), "{error:?}");
    assert_names(&error, &["the calling thread has no tokio runtime;", "enable_io()"]);
    let without_io = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let error = without_io.block_on(async { receiver().into_async().err() }).expect("the runtime has no I/O");
    assert!(matches!(error, Error::NoRuntime { .. }), "{error:?}");
    assert_names(&error, &["the calling thread has a tokio runtime without I/O;", "enable_io()"]);
    assert_eq!(Traces::settled(&lab, &before), before);
    let with_io = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    with_io.block_on(async { receiver().into_async().map(drop) }).expect("the remedy helps");
}

#[test]
fn a_foreign_program() {
    for attach in [Attach::Native, Attach::Generic] {
        let lab = Lab::new().expect("lab");
        let on = interface(&lab);
        let foreign = lab.rx().run(|| {
            let mut program = Program::load(&on, &ReceiverConfig::default(), PartialChecksums::Redirect)?;
            program.attach(&on, attach)?;
            Ok::<_, Error>(program)
        });
        let foreign = foreign.expect("run").expect("foreign program");
        let id = interface(&lab).xdp_program.expect("attached");
        for mode in XDP.map(ModeRequest::from).into_iter().chain([ModeRequest::Auto]) {
            let error = refused(&lab, |builder| builder.subscribe(subscription(GOOD)).mode(mode));
            assert!(matches!(error, Error::XdpOccupied { program, .. } if program == id), "{error:?}");
            assert_names(&error, &[&id.to_string(), lab.rx_interface(), "this process", "mode socket"]);
        }
        drop(foreign);
        for mode in NATIVE {
            drop(open(&lab, |builder| builder.subscribe(subscription(GOOD)).mode(mode)).expect("once it is gone"));
        }
    }
}

#[test]
fn a_filter_that_is_full() {
    NATIVE.into_iter().for_each(a_filter_that_is_full_in);
}

fn a_filter_that_is_full_in(mode: ReceiveMode) {
    let lab = Lab::new().expect("lab");
    let mut receiver = open(&lab, |builder| builder.mode(mode).max_flows(2)).expect("receiver");
    let handle = receiver.handle();
    let join = |text: &str| lab.rx().run(|| handle.join(&subscription(text))).expect("run");
    // Two of each family.
    let all = [
        "10.0.0.1@232.1.1.1:5000",
        "10.0.0.2@232.1.1.2:5000",
        "[2001:db8::1]@[ff3e::1]:5000",
        "[2001:db8::2]@[ff3e::2]:5000",
    ];
    let ids: Vec<_> = all.iter().map(|text| join(text).expect(text)).collect();
    let found = Traces::of(&lab);
    let check = |receiver: &mut Receiver| {
        for (source, group) in [("10.0.0.1", "232.1.1.1"), ("10.0.0.2", "232.1.1.2"), ("2001:db8::2", "ff3e::2")] {
            assert_eq!(burst(&lab, receiver, stream(&lab, group, 5000, &[source]), 50, |_| {}), 50, "{source}@{group}");
            // The unwanted source is dropped, and counted.
            let before = receiver.handle().ledger().expect("ledger").count("dropped_not_included").expect("a cause");
            let unwanted = if source.contains(':') { "2001:db8::7" } else { "10.0.0.7" };
            assert_eq!(burst(&lab, receiver, stream(&lab, group, 5000, &[unwanted]), 50, |_| {}), 0);
            let ledger = receiver.handle().ledger().expect("ledger");
            assert_eq!(ledger.count("dropped_not_included").expect("a cause"), before + 50, "{}", causes(&ledger));
        }
    };
    check(&mut receiver);
    let too_many = [
        "10.0.0.3@232.1.1.3:5000", // a group more
        "10.0.0.4@232.1.1.1:5000", // a source more
        "10.0.0.4,10.0.0.5,10.0.0.6@232.1.1.4:5000",
        "!10.0.0.4@239.1.1.1:5000",
        "239.1.1.1:5000",
        "[2001:db8::3]@[ff3e::3]:5000",
    ];
    for text in too_many {
        let error = join(text).expect_err(text);
        assert!(matches!(error, Error::FilterFull { limit: 2 }), "{text}: {error:?}");
        assert_names(&error, &["2 entries", "max_flows"]);
        assert_eq!(Traces::of(&lab), found, "{text}");
        assert_eq!(handle.subscriptions().expect("subscriptions").len(), 4, "{text}");
    }
    // So is another source of a subscription.
    let another = "10.0.0.9".parse().expect("address");
    let error = lab.rx().run(|| handle.join_source(ids[0], another)).expect("run").expect_err("full");
    assert!(matches!(error, Error::FilterFull { limit: 2 }), "{error:?}");
    assert_eq!(handle.subscriptions().expect("subscriptions")[0].subscription, subscription(all[0]));
    check(&mut receiver);
    let blocked: Vec<Option<u64>> =
        handle.subscriptions().expect("subscriptions").iter().map(|report| report.blocked).collect();
    assert_eq!(blocked, [100, 100, 0, 100].map(Some));
    // Room again once one has left.
    lab.rx().run(|| handle.leave(ids[0])).expect("run").expect("leave");
    join("10.0.0.3@232.1.1.3:5000").expect("room");
    assert_eq!(burst(&lab, &mut receiver, stream(&lab, "232.1.1.3", 5000, &["10.0.0.3"]), 50, |_| {}), 50);
    assert_eq!(receiver.poll(Wait::Never, |_| {}).expect("poll"), 0);
    assert_eq!(handle.ledger().expect("ledger").unaccounted(), 0);
}
