//! Missing programs are reported before anything is built, and nothing is installed without a request. Stand-ins for
//! cargo and apt-get leave a mark. Needs root, to become an unprivileged user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The unprivileged user.
const NOBODY: u32 = 65534;
/// The programs of a machine that has everything README names. Those in `/usr/sbin` are found without a search path.
const NAMED: [&str; 6] = ["cc", "ip", "tshark", "python3", "ffmpeg", "gst-launch-1.0"];

/// A tree that only looks like the project's, a search path, and a copy of the command that everybody can run.
struct Stage {
    folder: PathBuf,
}

struct Ended {
    success: bool,
    output: String,
}

/// Held while a program is written, and while one is started: a child that is forked in between would keep the file
/// open for writing, and then nobody can execute it (`ETXTBSY`).
fn no_open_programs() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    fn new(name: &str, programs: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let stage = Self { folder };
        let _lock = no_open_programs();
        for part in ["tree/receiver-ebpf", "tree/xtask", "bin", "marks", "home"] {
            fs::create_dir_all(stage.path(part)).expect("a folder");
        }
        for part in ["tree/receiver-ebpf/Cargo.toml", "tree/xtask/Cargo.toml"] {
            fs::write(stage.path(part), "").expect("a file");
        }
        fs::set_permissions(stage.path("marks"), Permissions::from_mode(0o777)).expect("permissions");
        fs::copy(env!("CARGO_BIN_EXE_xtask"), stage.path("xtask")).expect("a copy");
        for stand_in in ["cargo", "apt-get"] {
            stage.stand_in(stand_in, "exit 1");
        }
        for program in programs {
            let real = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(|folder| Path::new(folder).join(program));
            let real = real.iter().find(|path| path.exists()).expect("a program that README names");
            symlink(real, stage.path("bin").join(program)).expect("a link");
        }
        stage
    }

    fn path(&self, part: &str) -> PathBuf {
        self.folder.join(part)
    }

    /// A program that leaves its name among the marks.
    fn stand_in(&self, name: &str, then: &str) {
        let path = self.path("bin").join(name);
        let mark = self.path("marks").join(name);
        fs::write(&path, format!("#!/bin/sh\necho \"$@\" >> '{}'\n{then}\n", mark.display())).expect("a script");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("permissions");
    }

    fn xtask(&self, user: Option<u32>, words: &[&str]) -> Ended {
        let mut command = Command::new(self.path("xtask"));
        command.args(words).env_clear().current_dir(self.path("tree")).stdin(Stdio::null());
        command.env("PATH", self.path("bin")).env("CARGO_HOME", self.path("home"));
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let child = {
            let _lock = no_open_programs();
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("xtask")
        };
        let ended = child.wait_with_output().expect("xtask");
        let output = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ended { success: ended.status.success(), output }
    }

    /// What a stand-in was called with.
    fn calls(&self, stand_in: &str) -> String {
        fs::read_to_string(self.path("marks").join(stand_in)).unwrap_or_default()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_missing_linker_is_reported_before_the_build() {
    let stage = Stage::new("linker", &["ip"]);
    for command in ["run", "test", "bench"] {
        let ended = stage.xtask(None, &[command]);
        assert!(!ended.success && ended.output.contains("`cc`"), "{command}: {}", ended.output);
        assert_eq!(stage.calls("cargo"), "", "{command}");
    }
}

#[test]
fn with_all_that_is_needed_the_duration_is_shown_and_cargo_is_called() {
    let stage = Stage::new("all", &NAMED);
    for (command, built) in
        [("run", "build --release"), ("test", "test --workspace"), ("bench", "--package receiver-bench")]
    {
        let ended = stage.xtask(None, &[command]);
        assert!(ended.output.contains("minutes"), "{command}: {}", ended.output);
        assert!(stage.calls("cargo").contains(built), "{command}: {}", ended.output);
    }
}

#[test]
fn tests_and_benchmark_are_refused_without_root_before_the_build() {
    let stage = Stage::new("privilege", &NAMED);
    for command in ["test", "bench"] {
        let ended = stage.xtask(Some(NOBODY), &[command]);
        assert!(!ended.success && ended.output.contains("run it as root"), "{command}: {}", ended.output);
        assert_eq!(stage.calls("cargo"), "", "{command}");
    }
    let ended = stage.xtask(Some(NOBODY), &["run"]);
    assert!(stage.calls("cargo").contains("build --release"), "a user namespace does: {}", ended.output);
}

#[test]
fn the_benchmark_installs_peers_only_on_request() {
    let stage = Stage::new("peers", &NAMED);
    let ended = stage.xtask(None, &["bench", "--quick"]);
    assert!(ended.output.contains("Missing peers: dpdk-testpmd,"), "{}", ended.output);
    assert!(ended.output.contains("Nothing is installed; `cargo xtask bench --install-peers`"), "{}", ended.output);
    assert_eq!(stage.calls("apt-get"), "");
    let ended = stage.xtask(None, &["bench", "--quick", "--install-peers"]);
    assert!(!stage.calls("apt-get").is_empty(), "{}", ended.output);
}
