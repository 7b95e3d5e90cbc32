//! Guests of aarch64 on another processor. Such a guest cannot run this machine's programs, so it gets a root of its
//! own: an initramfs with a few of Debian's packages, the kernel's modules for networks, and the built programs.
//!
//! The packages are those of this machine's release, since the programs are linked against that release's C library.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use netlab::Namespace;

use super::boot::{self, quoted};
use super::kernel::Kernel;
use crate::aarch64::Cross;
use crate::apt::Apt;
use crate::artifacts::{self, Artifact};
use crate::process::{read, run};
use crate::{setup, tree};

/// Programs on this machine, and Debian's packages of them.
const PROGRAMS: [(&str, &str); 4] =
    [("qemu-system-aarch64", "qemu-system-arm"), ("cpio", "cpio"), ("depmod", "kmod"), ("ip", "iproute2")];
/// Debian's packages in the guest. busybox's shell would run busybox's own `ip` and `modprobe`.
const PACKAGES: [&str; 6] = ["busybox-static", "dash", "iproute2", "kmod", "libc6", "libgcc-s1"];
/// The processor: the one of the first servers with atomic instructions (ARMv8.2). Its emulation is fast.
const PROCESSOR: &str = "neoverse-n1";
/// The kernel's command line. With QEMU's -no-reboot a panic ends the guest. With address randomization, virtio_net as
/// a module refuses zero-copy on aarch64: it maps its own memory for the device, which is vmalloc memory then.
const BOOT: &str = "console=ttyAMA0 panic=-1 nokaslr";
/// Upper bound of a guest's run time, in seconds.
const LIMIT: &str = "2700";
/// The guest's first words of its last line. The script's exit code follows.
const END: &str = "vm-guest-end ";

/// Builds programs for the guest without debug information: all of them must fit into its memory.
pub fn build(cross: &Cross, arguments: &[&str]) -> Result<Vec<Artifact>> {
    let mut command = cross.cargo(arguments);
    for profile in ["DEV", "RELEASE"] {
        command.env(format!("CARGO_PROFILE_{profile}_DEBUG"), "0");
        command.env(format!("CARGO_PROFILE_{profile}_STRIP"), "symbols");
    }
    artifacts::build_with(&mut command)
}

/// The unpacked packages.
pub struct Root(PathBuf);

impl Root {
    /// Installs QEMU, and fetches the packages unless they are there.
    pub fn install(folder: &Path, update: bool) -> Result<Self> {
        setup::install(&PROGRAMS)?;
        let root = folder.join("arm64-root");
        if root.is_dir() && !update {
            return Ok(Self(root));
        }
        println!("About to fetch the guest's packages for arm64: {}, and what they need.", PACKAGES.join(", "));
        let files =
            Apt::update_architecture(&folder.join("apt-arm64-root"), "arm64")?.download_with_dependencies(&PACKAGES)?;
        // Unpacked in another folder first, so that the final folder is complete.
        let partial = root.with_extension("partial");
        tree::remove_folder(&partial)?;
        for file in files {
            run(Command::new("dpkg-deb").arg("--extract").arg(file).arg(&partial))?;
        }
        tree::remove_folder(&partial.join("usr/share"))?;
        tree::remove_folder(&root)?;
        fs::rename(&partial, &root).with_context(|| format!("cannot make {}", root.display()))?;
        Ok(Self(root))
    }
}

/// What to boot, and where.
pub struct Guest<'a> {
    pub root: &'a Root,
    pub kernel: &'a Kernel,
    pub network: &'a Namespace,
    /// The folder for the initramfs and the kernel's messages.
    pub folder: &'a Path,
    pub log: &'a Path,
}

impl Guest<'_> {
    /// As [`boot::Guest::run`]. The guest has the script and these programs and folders at the same paths; the folders
    /// are empty.
    pub fn run(&self, script: &Path, paths: &[&Path], mut each: impl FnMut(&str)) -> Result<Option<i32>> {
        let image = self.initramfs(script, paths)?;
        let console = format!("{}.console.log", self.kernel.package);
        println!("The kernel's messages go to {}.", self.folder.join(&console).display());
        let mut command = self.network.command("timeout");
        // QEMU splits some options at commas, so paths in them are relative.
        command.current_dir(self.folder).args(["--kill-after=10", LIMIT, "qemu-system-aarch64"]);
        command.args(["-machine", "virt,gic-version=3", "-cpu", PROCESSOR, "-accel", "tcg,thread=multi"]);
        command.args(["-smp", "2", "-m", "2G", "-nodefaults", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(image);
        command.args(["-append", BOOT, "-serial", &format!("file:{console}")]);
        // A port of its own keeps the kernel's messages out of the lines.
        command.args(["-chardev", "file,id=output,path=/dev/stdout", "-device", "virtio-serial-pci"]);
        command.args(["-device", "virtserialport,chardev=output,name=output"]);
        command.args(["-global", "virtio-net-pci.romfile="]);
        for option in boot::qemu_options() {
            command.args(option.split(' '));
        }
        let code = Cell::new(None);
        boot::follow(command, "qemu-system-aarch64", self.log, |line| match line.strip_prefix(END) {
            Some(ended) => code.set(ended.parse().ok()),
            None => each(line),
        })?;
        Ok(code.get())
    }

    /// Packs the guest's root.
    fn initramfs(&self, script: &Path, paths: &[&Path]) -> Result<PathBuf> {
        let root = self.folder.join("arm64-guest");
        tree::remove_folder(&root)?;
        copy(&self.root.0, &root)?;
        self.modules(&root)?;
        for path in paths.iter().copied().chain([script]) {
            let inside = root.join(path.strip_prefix("/").with_context(|| format!("{} is relative", path.display()))?);
            if path.is_dir() {
                make_folder(&inside)?;
            } else {
                make_folder(inside.parent().unwrap_or(&root))?;
                copy(path, &inside)?;
            }
        }
        let init = root.join("init");
        fs::write(&init, self::init(script)).with_context(|| format!("cannot write {}", init.display()))?;
        run(Command::new("chmod").arg("755").arg(&init))?;

        let image = self.folder.join("arm64-guest.cpio");
        let file = File::create(&image).with_context(|| format!("cannot write {}", image.display()))?;
        let pack = "find . | cpio --create --format=newc --owner=+0:+0 --quiet";
        run(Command::new("sh").args(["-c", pack]).current_dir(&root).stdout(file))?;
        Ok(image)
    }

    /// Copies the kernel's modules for networks and for QEMU's devices, and makes their index.
    fn modules(&self, root: &Path) -> Result<()> {
        let to = root.join("lib/modules").join(&self.kernel.version);
        make_folder(&to.join("kernel/drivers/net"))?;
        make_folder(&to.join("kernel/drivers/char"))?;
        copy(&self.kernel.modules.join("kernel/net"), &to.join("kernel/net"))?;
        // Those of virtual devices; drivers of hardware have folders of their own.
        let drivers = self.kernel.modules.join("kernel/drivers/net");
        let unreadable = || format!("cannot read {}", drivers.display());
        for entry in fs::read_dir(&drivers).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            if entry.path().is_file() {
                copy(&entry.path(), &to.join("kernel/drivers/net").join(entry.file_name()))?;
            }
        }
        // Linux 6.1 has QEMU's bus and its port as modules, later kernels have them built in.
        for part in ["kernel/drivers/virtio", "kernel/drivers/char/virtio_console.ko"] {
            let from = self.kernel.modules.join(part);
            if from.exists() {
                copy(&from, &to.join(part))?;
            }
        }
        let mut depmod = Command::new(tree::find_program("depmod").context("there is no depmod")?);
        // Its warnings are not shown: the lists of the kernel's own parts are missing, and not needed.
        read(depmod.arg("--basedir").arg(root).arg(&self.kernel.version)).map(drop)
    }
}

/// The guest's first program: it makes what a system finds at its start, runs the script, and turns the guest off.
fn init(script: &Path) -> String {
    let script = quoted(&script.to_string_lossy());
    format!(
        "#!/bin/sh\n\
         export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\n\
         /bin/busybox mkdir -p /proc /sys /dev /run /tmp /root /usr/bin /usr/sbin\n\
         /bin/busybox --install -s\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sys /sys\n\
         mount -t devtmpfs dev /dev\n\
         mount -t bpf bpf /sys/fs/bpf\n\
         ip link set dev lo up\n\
         for module in virtio_pci virtio_console; do modprobe --quiet $module; done\n\
         for turn in 1 2 3 4 5 6 7 8 9; do ls /dev/vport*p1 >/dev/null 2>&1 || sleep 1; done\n\
         for port in /dev/vport*p1; do exec </dev/null >\"$port\" 2>&1; done\n\
         sh {script}\n\
         echo \"{END}$?\"\n\
         poweroff -f\n"
    )
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("--archive").arg(from).arg(to))
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}
