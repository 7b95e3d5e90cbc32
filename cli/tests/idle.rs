//! What `receiver run` costs that sleeps while nothing arrives: the library's two wake-ups a second, and two more for
//! each interval that it shows. A control socket with a client that asks nothing adds none. Needs root.

mod command;
#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use command::{Run, Scratch, WANTED};
use netlab::Lab;
use rustix::process::Signal;

/// How long wake-ups are counted.
const COUNTED: Duration = Duration::from_secs(5);
/// Before: the link comes up, and duplicate addresses are searched for.
const SETTLED: Duration = Duration::from_secs(3);
/// Wake-ups in the whole time that are not counted as too many: one more check, a lock or page that a thread waits for.
const ALLOWANCE: u64 = 4;

/// How often the threads of a process have gone to sleep.
fn sleeps(run: &Run) -> u64 {
    let threads = fs::read_dir(format!("/proc/{}/task", run.child.id())).expect("threads");
    threads.map(|thread| support::threads::sleeps(&thread.expect("a thread").path()).expect("a count")).sum()
}

#[test]
fn a_run_without_traffic_sleeps_but_for_its_checks_and_intervals() {
    let mut runs = Vec::new();
    for mode in ["mapped", "copy", "socket"] {
        for (interval, for_each_second, has_socket) in [("1000", 2, false), ("1000", 2, true), ("1", 4, false)] {
            let lab = Lab::new().expect("a lab");
            let socket = Scratch::new();
            let mut arguments = vec!["--mode", mode, "--interval", interval, WANTED];
            arguments.extend(has_socket.then_some(["--control", socket.name()]).into_iter().flatten());
            let (run, _) = Run::joined(&lab, &arguments);
            let client = has_socket.then(|| UnixStream::connect(&socket.0).expect("the run listens"));
            runs.push(((lab, client), run, mode, interval, for_each_second * COUNTED.as_secs() + ALLOWANCE));
        }
    }
    std::thread::sleep(SETTLED);
    let before: Vec<u64> = runs.iter().map(|(_, run, ..)| sleeps(run)).collect();
    std::thread::sleep(COUNTED);
    let after: Vec<u64> = runs.iter().map(|(_, run, ..)| sleeps(run)).collect();
    for ((_lab, mut run, mode, interval, limit), (before, after)) in runs.into_iter().zip(before.into_iter().zip(after))
    {
        let slept = after - before;
        println!("mode {mode}, an interval of {interval} s: {slept} wake-ups in {} s", COUNTED.as_secs());
        assert!(slept <= limit, "mode {mode}, an interval of {interval} s: {slept} wake-ups, more than {limit}");
        run.signal(Signal::TERM);
        assert_eq!(run.end_unread(), Some(0));
    }
}
