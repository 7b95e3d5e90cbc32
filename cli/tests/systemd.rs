//! The unit in `deploy/systemd` under a systemd of its own: the first process of namespaces of its own, over a copy of
//! this machine's file system that vanishes with it. Needs root; without systemd on this machine there is nothing to
//! test, and the tests print that.

mod command;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use command::{PATIENCE, object, send};
use netlab::Lab;

const SYSTEMD: &str = "/lib/systemd/systemd";
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd");
const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/systemd/boot.sh");
/// CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK and CAP_BPF.
const CAPABILITIES: u64 = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 39;
/// Settings that systemd knows from version 254 on.
const NEWER: [&str; 2] = ["Unknown key 'RestartSteps'", "Unknown key 'RestartMaxDelaySec'"];
/// The exposure that `systemd-analyze security` may find, times ten: "OK" is up to 40.
const EXPOSURE: &str = "--threshold=25";
/// What the tests add to the unit. A heartbeat is due soon, and nobody reads a journal.
const DROP_IN: &str = "[Service]\nWatchdogSec=2\nRestartSec=100ms\nStandardOutput=append:/run/log-%i\n\
                       StandardError=append:/run/log-%i\n";

/// A systemd that has started nothing.
struct Systemd {
    shell: Child,
    /// The first process, as this machine numbers it.
    init: String,
    folder: PathBuf,
}

impl Systemd {
    /// With configurations by the names of the instances. `None` without systemd.
    fn boot(lab: &Lab, configurations: &[(&str, &str)]) -> Option<Self> {
        if !Path::new(SYSTEMD).exists() {
            println!("not run: {SYSTEMD} is not installed (Debian: systemd)");
            return None;
        }
        let name = format!("receiver-systemd-{}-{:?}", std::process::id(), std::thread::current().id());
        let folder = std::env::temp_dir().join(name);
        let (units, configuration) = (folder.join("units"), folder.join("configuration"));
        fs::create_dir_all(units.join("receiver@.service.d")).expect("a folder");
        fs::create_dir(&configuration).expect("a folder");
        fs::copy(format!("{UNITS}/receiver@.service"), units.join("receiver@.service")).expect("the unit");
        fs::write(units.join("receiver@.service.d/test.conf"), DROP_IN).expect("a drop-in");
        for (name, text) in configurations {
            fs::write(configuration.join(format!("{name}.toml")), text).expect("a configuration");
        }
        let mut shell = lab.rx().command("unshare");
        shell.args(["--mount", "--", "sh", BOOT]).arg(&folder).arg(env!("CARGO_BIN_EXE_receiver"));
        let shell = shell.arg(&units).arg(&configuration).stdin(Stdio::null()).spawn().expect("unshare");
        let mut this = Self { shell, init: String::new(), folder };
        this.init = this.first_process();
        this.wait_for("systemd answers", || {
            let output = this.run(&["systemctl", "show", "--property=Version"]);
            output.status.success().then_some(())
        });
        Some(this)
    }

    /// The process that `unshare --fork` made becomes systemd.
    fn first_process(&self) -> String {
        let children = |process: &str| fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
        self.wait_for("systemd starts", || {
            let unshare = children(&self.shell.id().to_string()).ok()?;
            let init = children(unshare.split_whitespace().next()?).ok()?.split_whitespace().next()?.to_owned();
            (fs::read_to_string(format!("/proc/{init}/comm")).ok()?.trim() == "systemd").then_some(init)
        })
    }

    fn wait_for<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            match probe() {
                Some(found) => return found,
                None if Instant::now() < deadline => sleep(Duration::from_millis(50)),
                None => panic!("in vain: {what}; {}", self.logs()),
            }
        }
    }

    /// Runs a command where systemd is.
    fn run(&self, command: &[&str]) -> Output {
        let mut nsenter = std::process::Command::new("nsenter");
        nsenter.args(["--target", &self.init, "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--"]);
        nsenter.args(["timeout", "--kill-after=1", "60"]).args(command).stdin(Stdio::null());
        nsenter.output().expect("nsenter (Debian: util-linux)")
    }

    fn succeed(&self, command: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(command);
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "{command:?}: {out}{err}{}", self.logs());
        out.into_owned()
    }

    /// What the instances wrote.
    fn logs(&self) -> String {
        let logs = self.run(&["sh", "-c", "tail -n 20 /run/log-*"]);
        String::from_utf8_lossy(&logs.stdout).into_owned()
    }

    /// A property of an instance.
    fn property(&self, instance: &str, name: &str) -> String {
        let unit = format!("receiver@{instance}");
        self.succeed(&["systemctl", "show", "--value", "--property", name, &unit]).trim().to_owned()
    }

    fn process(&self, instance: &str) -> String {
        self.property(instance, "MainPID")
    }

    fn packets(&self, instance: &str) -> Option<u64> {
        let list = object(&self.succeed(&["receiver", "ctl", "--name", instance, "--json", "list"]));
        list.to_string().split_once("\"packets\":")?.1.split([',', '}']).next()?.parse().ok()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let init = self.init.parse().ok().and_then(rustix::process::Pid::from_raw);
        if let Some(init) = init {
            // The other processes of its namespace end with it, and the shell cleans up.
            let _ = rustix::process::kill_process(init, rustix::process::Signal::KILL);
        } else {
            let _ = self.shell.kill();
        }
        let _ = self.shell.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn configuration(mode: &str) -> String {
    format!(
        "interface = \"veth-rx\"\nmode = \"{mode}\"\n[[subscription]]\nname = \"one\"\n\
         address = \"10.0.0.1@232.1.1.1:5000\"\n"
    )
}

/// The capability sets and some other lines of /proc/PID/status. Mode socket gives up all but CAP_NET_ADMIN.
fn assert_has_the_four_capabilities_at_most(systemd: &Systemd, instance: &str) {
    let status = systemd.succeed(&["cat", &format!("/proc/{}/status", systemd.process(instance))]);
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_else(|| panic!("{name}"))
    };
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let expected = match (instance, name) {
            ("socket", "CapPrm" | "CapEff") => 1 << 12,
            ("socket", "CapInh" | "CapAmb") => 0,
            _ => CAPABILITIES,
        };
        assert_eq!(u64::from_str_radix(field(name).trim(), 16), Ok(expected), "{name} of {instance}: {status}");
    }
    assert_eq!((field("NoNewPrivs").trim(), field("Seccomp").trim()), ("1", "2"), "{status}");
    assert!(field("Uid").split_whitespace().all(|user| user != "0"), "{status}");
}

#[test]
fn each_mode_receives_as_a_service_with_four_capabilities() {
    let lab = Lab::new().expect("a lab");
    let modes = ["mapped", "copy", "generic", "socket"];
    let texts = modes.map(configuration);
    let configurations: Vec<_> = modes.into_iter().zip(texts.iter().map(String::as_str)).collect();
    let Some(systemd) = Systemd::boot(&lab, &configurations) else { return };
    for mode in modes {
        let unit = format!("receiver@{mode}");
        systemd.succeed(&["systemctl", "start", &unit]);
        let state = (systemd.property(mode, "ActiveState"), systemd.property(mode, "StatusText"));
        assert_eq!(state.0, "active", "{mode}: {state:?}");
        assert!(state.1.starts_with(&format!("veth-rx, {mode}: 1 subscription")), "{state:?}");
        assert_has_the_four_capabilities_at_most(&systemd, mode);
        send(&lab, &["10.0.0.1", "10.0.0.2"], 600);
        systemd.wait_for("300 packets", || (systemd.packets(mode) == Some(300)).then_some(()));
        systemd.succeed(&["systemctl", "stop", &unit]);
        let ended = (systemd.property(mode, "ActiveState"), systemd.property(mode, "Result"));
        assert_eq!(ended, ("inactive".to_owned(), "success".to_owned()), "{mode}: {}", systemd.logs());
    }
}

#[test]
fn instances_do_not_disturb_each_other_and_are_restarted_for_cause() {
    let lab = Lab::new().expect("a lab");
    let (first, second) = (configuration("mapped"), configuration("socket"));
    let configurations = [("first", first.as_str()), ("second", &second), ("wrong", "interfaces = \"veth-rx\"\n")];
    let Some(systemd) = Systemd::boot(&lab, &configurations) else { return };
    systemd.succeed(&["systemctl", "start", "receiver@first", "receiver@second"]);
    systemd.succeed(&["systemctl", "stop", "receiver@first"]);
    assert_eq!(systemd.packets("second"), Some(0), "its control socket stays");
    systemd.succeed(&["systemctl", "start", "receiver@first"]);
    assert_eq!(systemd.packets("first"), Some(0));

    let file = systemd.folder.join("configuration/second.toml");
    let more = "[[subscription]]\nname = \"two\"\naddress = \"239.1.1.1:5001\"\n";
    fs::write(&file, second.clone() + more).expect("the configuration");
    systemd.succeed(&["systemctl", "reload", "receiver@second"]);
    let list = systemd.succeed(&["receiver", "ctl", "--name", "second", "list"]);
    assert!(list.contains("239.1.1.1:5001"), "{list}");
    fs::write(&file, second.clone() + "wrong = 1\n").expect("the configuration");
    assert!(!systemd.run(&["systemctl", "reload", "receiver@second"]).status.success());
    assert_eq!(systemd.property("second", "ActiveState"), "active", "a wrong file changes nothing");
    fs::write(&file, &second).expect("the configuration");

    let before = systemd.process("second");
    systemd.succeed(&["kill", "-STOP", &before]);
    systemd.wait_for("the watchdog restarts it", || {
        let now = systemd.process("second");
        (now != before && now != "0" && systemd.property("second", "ActiveState") == "active").then_some(())
    });
    assert_eq!(systemd.packets("second"), Some(0), "the new process has the socket of the old one");

    let refused = systemd.run(&["systemctl", "start", "receiver@wrong"]);
    assert!(!refused.status.success());
    let ended = ["ActiveState", "ExecMainStatus", "NRestarts"].map(|name| systemd.property("wrong", name));
    assert_eq!(ended, ["failed", "2", "0"], "{}", systemd.logs());
    assert!(systemd.logs().contains("unknown key `interfaces`"), "{}", systemd.logs());
}

#[test]
fn systemd_analyze_finds_no_fault() {
    let lab = Lab::new().expect("a lab");
    let Some(systemd) = Systemd::boot(&lab, &[]) else { return };
    let unit = "/etc/systemd/system/receiver@.service";
    let Output { status, stdout, stderr } = systemd.run(&["systemd-analyze", "verify", "--man=no", unit]);
    let text = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    let faults: Vec<&str> =
        text.lines().filter(|line| !NEWER.iter().any(|known| line.contains(known)) && !line.is_empty()).collect();
    assert!(status.success() && faults.is_empty(), "{text}");
    let report = systemd.succeed(&["systemd-analyze", "security", "--no-pager", "--offline=true", EXPOSURE, unit]);
    println!("{}", report.lines().last().unwrap_or_default());
}
