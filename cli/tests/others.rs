//! Two receivers on one host, one of them the command: the other one is named, and its frames pass.

mod command;
#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use command::Run;
use netlab::Lab;
use receiver::{DropUnwanted, ReceiveMode};
use support::members::{Member, report, start, wait_for_warning};
use support::{Sending, stream, subscription};

const GROUP: &str = "239.1.1.1";
/// One source of it, which the receiver takes.
const WANTED: &str = "10.0.0.1@239.1.1.1:5000";
const WANTED_V6: &str = "[2001:db8::1]@[ff15::1]:5000";
/// Frames of a burst.
const COUNT: u64 = 50;

/// Another process, which begins and ends while the receiver runs, is named with all that it uses.
#[test]
fn another_process_is_named() {
    let lab = Lab::new().expect("lab");
    let receiver = start(&lab, ReceiveMode::Copy, DropUnwanted::default(), &[WANTED, WANTED_V6]);
    let handle = receiver.handle();
    assert_eq!(handle.warnings(), [""; 0]);
    let mode = ["--mode", "socket"];
    let (other, _) =
        Run::joined(&lab, &[&mode[..], &["10.0.0.2@239.1.1.1:5000", "[2001:db8::2]@[ff15::1]:5000"]].concat());
    let pid = format!("receiver (pid {})", other.child.id());
    for key in ["239.1.1.1:5000", "[ff15::1]:5000"] {
        wait_for_warning(&handle, &[&pid, " uses ", key]);
    }
    drop(other);
    for key in ["239.1.1.1:5000", "[ff15::1]:5000"] {
        wait_for_warning(&handle, &[&pid, " no longer uses ", key]);
    }
    let begun = handle.warnings().iter().filter(|warning| warning.contains(") uses 239.1.1.1:5000")).count();
    assert_eq!(begun, 1, "once: {:?}", handle.warnings());
    assert!(!handle.warnings().iter().any(|warning| warning.contains("this process")), "{:?}", handle.warnings());
}

/// The command reports it in its log and in JSON, and takes the policy.
#[test]
fn the_command_reports_it() {
    let lab = Lab::new().expect("lab");
    let member = Member::join(&lab, GROUP, 5000);
    let arguments = ["--mode", "copy", "--json", "--interval", "0.1", "--drop-unwanted", "never", WANTED];
    let (run, _) = Run::joined(&lab, &arguments);
    let mut config = stream(&lab, GROUP, 5000, &["10.0.0.2"]);
    config.traffic.count = Some(COUNT);
    Sending::start(&lab, config).wait();
    member.receive(COUNT);
    run.signal(rustix::process::Signal::TERM);
    let (out, err, code) = run.end();
    let begins = format!("(pid {}) uses 239.1.1.1:5000 on veth-rx too", std::process::id());
    assert!(code == Some(0) && err.contains(&begins), "{err}");
    let summary = command::last_object(&out);
    assert_eq!(summary["subscriptions"][0]["passed_shared"], COUNT, "{summary}");
    assert_eq!(summary["subscriptions"][0]["other_members"], 1, "{summary}");
    assert_eq!(summary["subscriptions"][0]["blocked"], 0, "{summary}");
    assert!(summary["warnings"][0].as_str().is_some_and(|warning| warning.contains(&begins)), "{summary}");
}

/// With `--share` the other program gets every packet, and the command says so.
#[test]
fn the_command_shares() {
    let lab = Lab::new().expect("lab");
    let member = Member::join(&lab, GROUP, 5000);
    for json in [true, false] {
        let arguments = ["--share", "--busy-poll", "--interval", "0.1", WANTED];
        let (run, line) = Run::joined(&lab, &[&arguments[..], if json { &["--json"] } else { &[] }].concat());
        for size in [100, 4_000] {
            let mut config = stream(&lab, GROUP, 5000, &["10.0.0.1", "10.0.0.2"]);
            (config.traffic.count, config.traffic.size) = (Some(2 * COUNT), size);
            Sending::start(&lab, config).wait();
            member.receive(2 * COUNT);
        }
        // The receiver looks for what it misses once a second.
        std::thread::sleep(std::time::Duration::from_millis(2_500));
        run.signal(rustix::process::Signal::TERM);
        let (out, err, code) = run.end();
        // Each of the 100 datagrams that are too long came in three fragments.
        if !json {
            assert_eq!(line, "veth-rx: mode mapped, shared with the kernel, queue 0, 1 subscription\n");
            assert!(out.contains("shared: 300 multicast frames passed to other programs only"), "{out}");
            assert_eq!(code, Some(0), "{err}");
            continue;
        }
        assert_eq!((code, command::object(&line)["share"].as_bool()), (Some(0), Some(true)), "{err}");
        let summary = command::last_object(&out);
        assert_eq!((&summary["mode"], &summary["share"]), (&"mapped".into(), &true.into()), "{summary}");
        assert_eq!((&summary["packets"], &summary["unaccounted"]), (&COUNT.into(), &0.into()), "{summary}");
        assert_eq!(summary["subscriptions"][0]["passed_shared"], COUNT, "{summary}");
        assert_eq!(summary["subscriptions"][0]["blocked"], 0, "{summary}");
        let warning = summary["warnings"][0].as_str().unwrap_or_default();
        assert!(warning.contains("do not reach this receiver, which shares its packets"), "{summary}");
    }
}

/// Neither many groups, nor several sockets for one group, nor what was left a moment ago are others. A look that sees
/// all of it has been taken once the one member that is there is seen.
#[test]
fn own_sockets_are_no_others() {
    let lab = Lab::new().expect("lab");
    // 30 sources of one group take three sockets, two ports two more.
    let many: Vec<String> = (1..=30).map(|n| format!("10.0.1.{n}")).collect();
    let mut wanted = vec![format!("{}@239.2.0.1:5000", many.join(",")), "10.0.0.1@239.2.0.1:5001".to_owned()];
    wanted.push("10.0.0.2@239.2.0.1:5001".to_owned());
    wanted.extend((0..300).map(|n| format!("10.0.0.1@239.3.{}.{}:5000", n / 100, 1 + n % 100)));
    wanted.extend((1..=9).map(|n| format!("[2001:db8::1]@[ff15::2:{n}]:5000")));
    wanted.extend(["239.4.0.1:5000".to_owned(), "224.0.0.1:5000".to_owned(), "[ff02::1]:5000".to_owned()]);
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let receiver = start(&lab, ReceiveMode::Copy, DropUnwanted::default(), &wanted);
    let handle = receiver.handle();
    let reports = handle.subscriptions().expect("subscriptions");
    assert_eq!(reports.iter().filter(|report| report.other_members != Some(0)).count(), 0);
    assert_eq!(handle.warnings(), [""; 0]);
    // Nobody polls: the worker still holds the sockets of what is left.
    lab.rx()
        .run(|| {
            for _ in 0..3 {
                let id = handle.join(&subscription(WANTED)).expect("joined");
                handle.leave(id).expect("left");
            }
            handle.join(&subscription(WANTED)).expect("joined");
        })
        .expect("run");
    assert_eq!(report(&handle, WANTED).other_members, Some(0));

    let (other, _) = Run::joined(&lab, &["--mode", "socket", "10.0.0.2@239.1.1.1:5000"]);
    wait_for_warning(&handle, &[&format!("receiver (pid {}) uses 239.1.1.1:5000", other.child.id())]);
    assert_eq!(handle.warnings().len(), 1, "{:?}", handle.warnings());
    let reports = handle.subscriptions().expect("subscriptions");
    let shared: Vec<String> = reports
        .iter()
        .filter(|report| report.other_members != Some(0))
        .map(|report| report.subscription.to_string())
        .collect();
    assert_eq!(shared, [WANTED]);
}
