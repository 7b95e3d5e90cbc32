//! The tools that boot the guests: QEMU, virtme-ng, and a few programs that they need. Missing ones are installed, and
//! each step is announced.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{run_shown, succeeds};
use crate::{debian, tree};

/// The version of virtme-ng that is installed. It is the first one that accepts a kernel's modules in any folder.
const VIRTME_VERSION: &str = "1.42";
/// Programs, and Debian's packages of them.
const PROGRAMS: [(&str, &str); 7] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("modprobe", "kmod"),
    ("busybox", "busybox-static"),
    // Names the ports for the guest's output and exit code (/dev/virtio-ports).
    ("udevadm", "udev"),
    ("file", "file"),
    ("ip", "iproute2"),
    ("python3", "python3-venv"),
];

/// The location of the tools.
pub struct Tools {
    /// The folder of virtme-ng's programs.
    pub virtme: PathBuf,
}

/// Installs what is missing.
pub fn install(folder: &Path) -> Result<Tools> {
    for needed in ["apt-get", "dpkg-deb"] {
        if tree::find_program(needed).is_none() {
            bail!("`cargo xtask vm` needs Debian's {needed} to fetch kernels, and there is none here");
        }
    }
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| tree::find_program(program).is_none()).collect();
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    // Debian ships python3 without the module for virtual environments.
    if missing.iter().all(|(program, _)| *program != "python3")
        && !succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"]))
    {
        packages.push("python3-venv");
    }
    if !packages.is_empty() {
        println!("Missing for virtual machines: {}.", packages.join(", "));
        debian::apt_install(&packages)?;
    }
    Ok(Tools { virtme: virtme(folder)? })
}

/// Installs virtme-ng in a separate Python environment.
fn virtme(folder: &Path) -> Result<PathBuf> {
    let environment = folder.join(format!("virtme-ng-{VIRTME_VERSION}"));
    let programs = environment.join("bin");
    let works =
        || programs.join("virtme-run").is_file() && succeeds(Command::new(programs.join("vng")).arg("--version"));
    if works() {
        return Ok(programs);
    }
    println!("About to install virtme-ng {VIRTME_VERSION} from PyPI into {}.", environment.display());
    run_shown(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let mut install = Command::new(programs.join("python3"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    run_shown(install.arg(format!("virtme-ng=={VIRTME_VERSION}"))).context("virtme-ng cannot be fetched from PyPI")?;
    if !works() {
        bail!("vng does not run although virtme-ng {VIRTME_VERSION} is installed in {}", environment.display());
    }
    Ok(programs)
}
