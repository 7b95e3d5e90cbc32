//! The capabilities that each mode needs: as user `nobody` with those that README names, and with each of them missing.
//!
//! The command runs under setpriv(1) and prlimit(1), which every Debian has (util-linux). The library is tested on
//! threads that give up capabilities. Last, what a run and an analysis of root give up themselves.

mod command;
#[path = "../../receiver/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use command::{Folder, Run, WANTED, last_object, send};
use netlab::{Command, Lab, Namespace};
use receiver::{ReceiveMode, Receiver};
use rustix::fs::{XattrFlags, setxattr};
use rustix::thread::CapabilitySet;
use support::traces::Traces;
use support::{XDP_CAPABILITIES, subscription};

/// The capabilities that mapped rings need, as in README's table, and the modes that have them.
const NEEDED_BY_RINGS: [&str; 2] = ["net_admin", "bpf"];
const RINGS: [&str; 2] = ["mapped", "generic"];
/// Those that AF_XDP needs.
const NEEDED: [&str; 4] = ["net_admin", "net_raw", "bpf", "ipc_lock"];
/// Modes with AF_XDP, and what selects it.
const AF_XDP: [(&str, &[&str]); 2] = [("copy", &[]), ("generic", &["--busy-poll"])];
const PACKETS: u64 = 300;

/// A copy of the command that user `nobody` can run: the target folder may be closed to others.
struct Installed(PathBuf);

impl Installed {
    fn new(folder: &Path) -> Self {
        let path =
            folder.join(format!("receiver-capabilities-{}-{:?}", std::process::id(), std::thread::current().id()));
        fs::copy(env!("CARGO_BIN_EXE_receiver"), &path).expect("a copy");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("chmod");
        Self(path)
    }

    fn for_nobody() -> Self {
        Self::new(&std::env::temp_dir())
    }

    /// `receiver` as user `nobody` with these capabilities and a limit of locked memory in bytes.
    fn command(&self, namespace: &Namespace, capabilities: &[&str], locked: u64, bounding: &str) -> Command {
        let held: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
        let mut command = namespace.command("prlimit");
        command
            .arg(format!("--memlock={locked}:{locked}"))
            .args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
            .args([format!("--inh-caps=-all{held}"), format!("--ambient-caps=-all{held}")])
            .arg(format!("--bounding-set={bounding}{held}"))
            .arg(&self.0);
        command
    }

    fn run(&self, lab: &Lab, capabilities: &[&str], locked: u64, arguments: &[&str]) -> Run {
        let mut command = self.command(lab.rx(), capabilities, locked, "-all");
        command.args(["run", "-i", lab.rx_interface(), WANTED]).args(arguments);
        Run::spawn(&mut command)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// More than a queue needs with [`SMALL`], and less than with the defaults.
const LOCKED: u64 = 6 << 20;
const SMALL: [&str; 4] = ["--frames", "2048", "--ring-size", "512"];

fn without<'a>(missing: &str) -> Vec<&'a str> {
    NEEDED.into_iter().filter(|name| *name != missing).collect()
}

/// Asserts that the run receives all that is sent, and that nothing is unaccounted.
fn assert_receives(lab: &Lab, mut run: Run, mode: &str) {
    let mut start = String::new();
    std::io::BufRead::read_line(&mut run.out, &mut start).expect("standard output");
    if start.is_empty() {
        panic!("mode {mode}: {:?}", run.end());
    }
    send(lab, &["10.0.0.1"], PACKETS);
    let (out, err, code) = run.end();
    let summary = last_object(&out);
    let wanted = (Some(0), mode, Some(PACKETS), Some(0));
    let got =
        (code, summary["mode"].as_str().expect("a mode"), summary["packets"].as_u64(), summary["unaccounted"].as_u64());
    assert_eq!(got, wanted, "{out}{err}");
}

/// Asserts that the command failed with one line on standard error that has these parts.
fn assert_refused(what: &str, (out, err, code): (String, String, Option<i32>), parts: &[&str]) {
    assert_eq!((code, out.as_str(), err.lines().count()), (Some(1), "", 1), "{what}: {err}");
    assert!(err.len() < 700, "{what}: {err}");
    for part in parts {
        assert!(err.contains(part), "{what}: `{part}` is not in: {err}");
    }
}

#[test]
fn each_mode_needs_what_readme_names() {
    let lab = Lab::new().expect("lab");
    let installed = Installed::for_nobody();
    let count = PACKETS.to_string();
    let until = |mode, more: &[&'static str]| {
        let all = ["--mode", mode, "--json", "--interval", "3600", "--count", &count];
        all.iter().map(|&part| part.to_owned()).chain(more.iter().map(|&part| part.to_owned())).collect::<Vec<_>>()
    };
    let start = |capabilities: &[&str], mode, more: &[&'static str]| {
        let arguments = until(mode, more);
        installed.run(&lab, capabilities, LOCKED, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let before = Traces::of(&lab);
    assert_receives(&lab, start(&[], "socket", &[]), "socket");
    for (mode, selecting) in AF_XDP {
        let start =
            |capabilities: &[&str], mode, more: &[&'static str]| start(capabilities, mode, &[more, selecting].concat());
        assert_receives(&lab, start(&NEEDED, mode, &[]), mode);
        // The limit of locked memory has room for smaller rings.
        assert_receives(&lab, start(&without("ipc_lock"), mode, &SMALL), mode);
        for missing in NEEDED {
            let what = format!("mode {mode} without {missing}");
            let name = format!("lacks CAP_{}", missing.to_uppercase());
            let parts =
                [lab.rx_interface(), &name, "as root", "setcap cap_net_admin,", "AmbientCapabilities=", "mode socket"];
            assert_refused(&what, start(&without(missing), mode, &[]).end(), &parts);
            assert_eq!(Traces::settled(&lab, &before), before, "{what}");
        }
        let parts = ["lacks CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF"];
        assert_refused(&format!("mode {mode} without any"), start(&[], mode, &[]).end(), &parts);
    }
    for mode in RINGS {
        assert_receives(&lab, start(&NEEDED_BY_RINGS, mode, &[]), mode);
        for missing in NEEDED_BY_RINGS {
            let name = format!("lacks CAP_{}. ", missing.to_uppercase());
            // Nothing is named that the mode does not need.
            let parts = [lab.rx_interface(), &name, "setcap cap_net_admin,cap_bpf+ep", "mode socket"];
            assert_refused(missing, start(&without(missing), mode, &[]).end(), &parts);
            assert_eq!(Traces::settled(&lab, &before), before, "mode {mode} without {missing}");
        }
        let parts = ["lacks CAP_NET_ADMIN and CAP_BPF. "];
        assert_refused(&format!("mode {mode} without any"), start(&[], mode, &[]).end(), &parts);
    }
    // `auto` ends in the best mode that they allow.
    assert_receives(&lab, start(&NEEDED, "auto", &[]), "mapped");
    assert_receives(&lab, start(&NEEDED_BY_RINGS, "auto", &[]), "mapped");
    assert_receives(&lab, start(&without("bpf"), "auto", &[]), "socket");
    assert_eq!(Traces::settled(&lab, &before), before);
}

/// As `setcap` grants them. Much of /proc/self then belongs to root, because the user may not inspect such a process.
#[test]
fn capabilities_of_the_file_do_as_well() {
    let lab = Lab::new().expect("lab");
    // Not in the folder for temporary files, which may be mounted without such rights (nosuid).
    let installed = Installed::new(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let bits = XDP_CAPABILITIES.bits();
    // struct vfs_cap_data, revision 2, effective (linux/capability.h).
    let words = [0x0200_0001_u32, bits as u32, 0, (bits >> 32) as u32, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    setxattr(&installed.0, "security.capability", &value, XattrFlags::empty()).expect("as setcap does");
    for mode in RINGS.into_iter().chain(["copy"]) {
        // The capability is needed to reach the file, and is gone once the file runs.
        let mut command = installed.command(lab.rx(), &["dac_read_search"], LOCKED, "+all");
        command.args(["run", "-i", lab.rx_interface(), WANTED, "--mode", mode, "--json", "--interval", "3600"]);
        command.args(["--count", &PACKETS.to_string()]);
        assert_receives(&lab, Run::spawn(&mut command), mode);
    }
}

#[test]
fn the_load_generator_needs_two() {
    let lab = Lab::new().expect("lab");
    let installed = Installed::for_nobody();
    let generate = |capabilities: &[&str]| -> Output {
        let mut command = installed.command(lab.tx(), capabilities, LOCKED, "-all");
        command.args(["send", "-i", lab.tx_interface(), "--engine", "xdp", "--count", "600", "--rate", "20000"]);
        // Both IP versions, so that frames of two lengths are made.
        command.args(["--stream", "10.0.0.1@232.1.1.1:5000=1", "--stream", "[2001:db8::1]@[ff3e::1]:5000=1"]);
        command.output().expect("the sender runs")
    };
    let subscriptions = ["10.0.0.1@232.1.1.1:5000", "[2001:db8::1]@[ff3e::1]:5000"].map(subscription);
    let build = || {
        let builder = Receiver::builder(lab.rx_interface()).mode(ReceiveMode::Copy);
        subscriptions.into_iter().fold(builder, receiver::Builder::subscribe).build()
    };
    let mut receiver = lab.rx().run(build).expect("run").expect("a receiver");
    let output = generate(&["net_admin", "bpf"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut came = 0;
    while receiver.poll(receiver::Wait::For(std::time::Duration::from_millis(200)), |_| came += 1).expect("poll") > 0 {}
    assert_eq!(came, 600, "{}", support::causes(&receiver.handle().ledger().expect("ledger")));
    for (held, missing) in [("net_admin", "lacks CAP_BPF"), ("bpf", "lacks CAP_NET_ADMIN")] {
        let Output { status, stdout, stderr } = generate(&[held]);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let parts = [lab.tx_interface(), missing, "as root", "setcap cap_net_admin,cap_bpf+ep", "socket engine"];
        assert_refused(missing, (text(stdout), text(stderr), status.code()), &parts);
    }
}

/// XDP is refused, although the process is root there with every capability.
#[test]
fn capabilities_in_a_user_namespace_are_told_apart() {
    let lab = Lab::new().expect("lab");
    let mut command = lab.rx().command("unshare");
    command.args([
        "--user",
        "--map-root-user",
        env!("CARGO_BIN_EXE_receiver"),
        "run",
        "-i",
        lab.rx_interface(),
        WANTED,
    ]);
    let run = Run::spawn(command.args(["--mode", "copy"]));
    assert_refused("a user namespace", run.end(), &["in its user namespace only", "mode socket"]);
}

/// The bits of a capability set in `/proc/PID/status`, and whether new privileges are ruled out, of each thread.
fn threads(pid: u32) -> Vec<(BTreeMap<String, u64>, bool)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    // A thread may end meanwhile.
    let texts = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let parsed = texts.map(|text| {
        let fields: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(":\t")).collect();
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        let bits = |name: &str| u64::from_str_radix(fields[name], 16).expect("hexadecimal");
        (sets.iter().map(|&name| (name.to_owned(), bits(name))).collect(), fields["NoNewPrivs"] == "1")
    });
    parsed.collect()
}

/// Waits until no thread has more than this: the one that opened the receiver ends soon after the start.
fn assert_keeps(pid: u32, what: &str, kept: CapabilitySet) {
    let mut last = Vec::new();
    let is_so = |(sets, no_new): &(BTreeMap<String, u64>, bool)| {
        let within = |name: &str| sets[name] & !kept.bits() == 0;
        *no_new && ["CapPrm", "CapEff", "CapBnd"].into_iter().all(within) && sets["CapInh"] | sets["CapAmb"] == 0
    };
    command::wait_for(&format!("{what}: a thread keeps more than {kept:?}"), || {
        last = threads(pid);
        last.iter().all(is_so)
    });
    // Nothing that the run needs is gone, as far as this process could give it.
    let own = rustix::thread::capabilities(None).expect("capget").permitted & kept;
    assert!(last.iter().all(|(sets, _)| sets["CapEff"] == own.bits()), "{what}: {last:?} in place of {own:?}");
}

/// A run of root gives up what its mode does not take, on every thread, and receives with the rest.
#[test]
fn a_run_of_root_keeps_what_its_mode_takes() {
    let sockets = CapabilitySet::NET_ADMIN | CapabilitySet::NET_BIND_SERVICE;
    let with_xdp = sockets | XDP_CAPABILITIES | CapabilitySet::PERFMON;
    let lab = Lab::new().expect("lab");
    let folder = Folder::new();
    let metrics = ["--metrics", "9100", "--control"];
    let socket = folder.text("control.sock");
    for (mode, kept) in [("mapped", with_xdp), ("copy", with_xdp), ("socket", sockets)] {
        let file = folder.text(mode);
        let own = ["--mode", mode, "--json", "--interval", "3600", "--output", &file, WANTED];
        let (run, _) = Run::joined(&lab, &[&own[..], &metrics, &[&socket]].concat());
        assert_keeps(run.child.id(), mode, kept);
        send(&lab, &["10.0.0.1"], PACKETS);
        run.signal(rustix::process::Signal::TERM);
        let (out, err, code) = run.end();
        let summary = last_object(&out);
        assert_eq!((code, summary["unaccounted"].as_u64()), (Some(0), Some(0)), "{out}{err}");
        assert!(summary["packets"].as_u64().is_some_and(|packets| packets > 0), "{out}{err}");
    }
    let (run, _) = Run::joined(&lab, &["--mode", "socket", "--keep-capabilities", WANTED]);
    let own = rustix::thread::capabilities(None).expect("capget").permitted;
    assert!(threads(run.child.id()).iter().all(|(sets, _)| sets["CapPrm"] == own.bits()));
}

/// Root writes to a folder of another user by its privilege: that is kept, and a rotating file goes on.
#[test]
fn the_right_to_a_folder_of_another_user_is_kept() {
    let lab = Lab::new().expect("lab");
    let folder = Folder::new();
    rustix::fs::chown(&folder.0, Some(rustix::fs::Uid::from_raw(65534)), None).expect("chown");
    fs::set_permissions(&folder.0, Permissions::from_mode(0o700)).expect("chmod");
    let target = format!("file:{}?rotate=2kB", folder.text("feed-%Y.raw"));
    let (run, _) = Run::joined(&lab, &["--mode", "socket", "--output", &target, WANTED]);
    let files = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    assert_keeps(run.child.id(), "files", CapabilitySet::NET_ADMIN | CapabilitySet::NET_BIND_SERVICE | files);
    command::wait_for("no second file", || {
        send(&lab, &["10.0.0.1"], PACKETS);
        folder.names().len() > 1
    });
    run.signal(rustix::process::Signal::TERM);
    let (out, err, code) = run.end();
    assert_eq!(code, Some(0), "{out}{err}");
}

/// What reads the files of strangers keeps the right to read files alone.
#[test]
fn an_analysis_keeps_the_right_to_files_alone() {
    let fifo = command::Scratch::fifo();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_receiver"))
        .args(["analyze", fifo.name()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the analysis starts");
    assert_keeps(child.id(), "analyze", CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    child.kill().expect("killed");
    child.wait().expect("ended");
}
