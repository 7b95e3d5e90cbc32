//! `receiver run --cpus` and `--priority`, `receiver replay --cpu` and `--priority`: where the threads run, and what is
//! refused before anything is opened. Needs root and two CPUs.

mod command;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use command::{Folder, PATIENCE, Run, WANTED};
use etherparse::PacketBuilder;
use netlab::Lab;
use rustix::process::Signal;

/// A thread's CPUs, policy and priority, as the kernel has them.
#[derive(Debug, PartialEq)]
struct Scheduled {
    cpus: String,
    /// 0: ordinary, 1: SCHED_FIFO.
    policy: u32,
    priority: u32,
}

fn scheduled(cpus: &str, policy: u32, priority: u32) -> Scheduled {
    Scheduled { cpus: cpus.to_owned(), policy, priority }
}

/// The threads of a process by name.
fn threads(run: &Run) -> BTreeMap<String, Scheduled> {
    let folder = fs::read_dir(format!("/proc/{}/task", run.child.id())).expect("threads");
    folder.map(|thread| of_thread(&thread.expect("a thread").path()).expect("a thread that goes on")).collect()
}

/// The same, once this thread is scheduled like this: threads place themselves.
fn threads_with(run: &Run, name: &str, expected: &Scheduled) -> BTreeMap<String, Scheduled> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let threads = threads(run);
        if threads.get(name) == Some(expected) || Instant::now() > deadline {
            return threads;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `None` if the thread has ended.
fn of_thread(task: &Path) -> Option<(String, Scheduled)> {
    let read = |name: &str| fs::read_to_string(task.join(name)).ok();
    let status = read("status")?;
    let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list").trim();
    // Fields 40 and 41; the name in field 2 may have spaces.
    let stat = read("stat")?;
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
    let number = |field: usize| fields[field - 3].parse().expect("a number");
    Some((read("comm")?.trim().to_owned(), scheduled(cpus, number(41), number(40))))
}

#[test]
fn the_workers_have_their_cpu_and_the_others_the_rest() {
    for (mode, worker) in [("mapped", "queue-0"), ("copy", "queue-0"), ("socket", "socket")] {
        for (cpus, of_worker, of_others) in [("1", "1", "0"), ("0", "0", "1"), ("1,0", "1", "0-1")] {
            let lab = Lab::new().expect("a lab");
            let (mut run, _) = Run::joined(&lab, &["--mode", mode, "--cpus", cpus, "--priority", "fifo:7", WANTED]);
            let threads = threads_with(&run, worker, &scheduled(of_worker, 1, 7));
            let what = format!("mode {mode}, --cpus {cpus}: {threads:?}");
            assert!(threads.len() >= 3, "{what}");
            for (name, found) in &threads {
                let expected = if name == worker { scheduled(of_worker, 1, 7) } else { scheduled(of_others, 0, 0) };
                assert_eq!(*found, expected, "{name}: {what}");
            }
            assert!(threads.contains_key(worker), "{what}");
            run.signal(Signal::TERM);
            assert_eq!(run.end_unread(), Some(0), "{what}");
        }
    }
}

/// A pcap file of two frames to a group, a minute apart.
fn write_capture(path: &Path) {
    let mut frame = Vec::new();
    let packet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [1, 0, 0x5e, 1, 1, 1]);
    packet.ipv4([10, 0, 0, 1], [232, 1, 1, 1], 16).udp(4000, 5000).write(&mut frame, b"text").expect("memory");
    let mut file: Vec<u8> = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 65_535, 1u32].map(u32::to_le_bytes).concat();
    for second in [1, 61] {
        let length = frame.len() as u32;
        file.extend([second, 0, length, length].map(u32::to_le_bytes).concat());
        file.extend(&frame);
    }
    fs::write(path, file).expect("a file");
}

#[test]
fn the_thread_that_replays_has_its_cpu_and_its_priority() {
    let lab = Lab::new().expect("a lab");
    let folder = Folder::new();
    write_capture(&folder.file("two.pcap"));
    let mut replay = lab.tx().command(env!("CARGO_BIN_EXE_receiver"));
    replay.args(["replay", "-i", lab.tx_interface(), &folder.text("two.pcap"), "--cpu", "1", "--priority", "fifo:7"]);
    let run = Run::spawn(&mut replay);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let tasks = fs::read_dir(format!("/proc/{}/task", run.child.id())).expect("threads");
        // The thread that tries what the host grants may end meanwhile.
        let found: Vec<Scheduled> = tasks.flatten().filter_map(|task| Some(of_thread(&task.path())?.1)).collect();
        if found.contains(&scheduled("1", 1, 7)) && found.contains(&scheduled("0", 0, 0)) {
            break;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    run.signal(Signal::INT);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{out} {err}");
}

/// Runs a command that becomes `receiver run`, with words of its own before it. Asserts that it is refused.
fn assert_refused(before: &[&str], options: &[&str], parts: &[&str]) {
    let lab = Lab::new().expect("a lab");
    let words: Vec<&str> = before.iter().copied().chain([env!("CARGO_BIN_EXE_receiver")]).collect();
    let mut command = lab.rx().command(words[0]);
    command.args(&words[1..]).args(["run", "-i", lab.rx_interface(), "--mode", "socket", WANTED]).args(options);
    let (out, err, code) = Run::spawn(&mut command).end();
    assert_eq!((code, out.as_str(), err.lines().count()), (Some(1), "", 1), "{options:?}: {err}");
    for part in parts {
        assert!(err.contains(part), "`{part}` is not in: {err}");
    }
}

#[test]
fn what_the_host_does_not_grant_is_refused() {
    assert_refused(&[], &["--cpus", "1000"], &["CPU 1000 does not exist", "this host has the CPUs 0-"]);
    let parts = ["CPU 1 is not allowed", "allows the CPUs 0.", "CPUAffinity="];
    assert_refused(&["taskset", "--cpu-list", "0"], &["--cpus", "0-1"], &parts);
    let parts = ["priority fifo:5 is not permitted", "CAP_SYS_NICE", "LimitRTPRIO=5"];
    let no_privilege = ["prlimit", "--rtprio=0", "setpriv", "--inh-caps=-sys_nice", "--bounding-set=-sys_nice"];
    assert_refused(&no_privilege, &["--priority", "fifo:5"], &parts);
}

#[test]
fn busy_polling_in_real_time_is_warned_of() {
    let lab = Lab::new().expect("a lab");
    let options = ["--mode", "socket", "--busy-poll", "--priority", "fifo:1", "--cpus", "1", "--duration", "0.2"];
    let (_, err, code) = Run::start(&lab, &[&options[..], &[WANTED]].concat()).end();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("with --busy-poll and --priority fifo:1"), "{err}");
}
