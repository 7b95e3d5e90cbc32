//! The files that a run reads and writes, checked before anything is changed. Nothing is created or truncated by a
//! check.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use receiver::printable;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::errors::UsageError;

/// The most characters of a path that a message shows.
const SHOWN_PATH: usize = 200;

/// The path as messages show it.
pub fn shown(path: &Path) -> String {
    printable(&path.display().to_string(), SHOWN_PATH)
}

/// The path of an input as messages show it; `-` is standard input.
pub fn input(path: &Path) -> String {
    if is_standard_input(path) { "standard input".to_owned() } else { shown(path) }
}

/// Returns true for the path `-`.
pub fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// Returns true if the path is a FIFO.
pub fn is_fifo(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Checks that each of the outputs can be written, and that none is an input, another output, or the file that standard
/// output goes to. Each path comes with the name of its option.
///
/// # Errors
/// A [`UsageError`] if one file has two uses; another error if a path cannot be written.
pub fn check(inputs: &[(&str, &Path)], outputs: &[(&str, &Path)]) -> anyhow::Result<()> {
    let mut taken: Vec<(String, Identity)> = Vec::new();
    for (option, path) in inputs {
        taken.extend(Identity::of(path).map(|identity| ((*option).to_owned(), identity)));
    }
    for (stream, path) in [("standard output", "/proc/self/fd/1"), ("standard error", "/proc/self/fd/2")] {
        taken.extend(
            Identity::of(Path::new(path)).filter(Identity::is_file).map(|identity| (stream.to_owned(), identity)),
        );
    }
    for (option, path) in outputs {
        check_writable(path)?;
        let Some(identity) = Identity::of(path) else { continue };
        if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == identity) {
            let message = format!("{other} and {option} are the same file, {}; give each its own", shown(path));
            return Err(UsageError(message).into());
        }
        taken.push(((*option).to_owned(), identity));
    }
    Ok(())
}

/// What distinguishes a file from another one.
#[derive(PartialEq)]
enum Identity {
    /// Device, inode, and true for an ordinary file.
    Present(u64, u64, bool),
    /// A file that does not exist: its folder, and its name there.
    Absent(PathBuf, std::ffi::OsString),
}

impl Identity {
    /// `None` for a device, which may have several uses, and for a path without a folder.
    fn of(path: &Path) -> Option<Self> {
        match fs::metadata(path) {
            Ok(metadata) if is_device(&metadata) => None,
            Ok(metadata) => Some(Self::Present(metadata.dev(), metadata.ino(), metadata.is_file())),
            Err(_) => Some(Self::Absent(fs::canonicalize(folder(path)).ok()?, path.file_name()?.to_owned())),
        }
    }

    fn is_file(&self) -> bool {
        matches!(self, Self::Present(_, _, true))
    }
}

fn is_device(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() || metadata.file_type().is_block_device()
}

/// The folder that a path is in.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Checks the rights alone: the reader of a FIFO or a device would notice that it is opened.
fn check_writable(path: &Path) -> anyhow::Result<()> {
    let create = |error: io::Error| anyhow!("cannot create {}: {error}", shown(path));
    let may = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS).map_err(io::Error::from);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(create(io::ErrorKind::IsADirectory.into())),
        Ok(_) => may(path, Access::WRITE_OK).map_err(|error| anyhow!("cannot write to {}: {error}", shown(path))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.file_name().is_some() => {
            may(folder(path), Access::WRITE_OK | Access::EXEC_OK).map_err(create)
        }
        Err(error) => Err(create(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_use() {
        let folder = std::env::temp_dir().join(format!("receiver-files-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let (list, new) = (folder.join("list"), folder.join("new"));
        let link = folder.join("link");
        fs::write(&list, "x").expect("a file");
        std::os::unix::fs::symlink(&list, &link).expect("a link");
        let check = |outputs: &[(&str, &Path)]| {
            check(&[("--subscriptions", &list)], outputs).map_err(|error| error.to_string())
        };
        assert_eq!(check(&[("--output", &new)]), Ok(()));
        assert!(!new.exists(), "a check creates nothing");
        let error = check(&[("--output", &link)]).expect_err("the list by another name");
        assert!(error.starts_with("--subscriptions and --output are the same file, /"), "{error}");
        let same = folder.join("../").join(folder.file_name().expect("a name")).join("new");
        let error = check(&[("--output", &new), ("--summary", &same)]).expect_err("one new file twice");
        assert!(error.starts_with("--output and --summary are the same file, "), "{error}");
        let null = Path::new("/dev/null");
        assert_eq!(check(&[("--output", null), ("--summary", null)]), Ok(()));
        assert!(check(&[("--output", &folder)]).expect_err("a folder").starts_with("cannot create "));
        assert!(check(&[("--output", &list.join("x"))]).expect_err("in a file").contains("Not a directory"));
        fs::remove_dir_all(&folder).expect("removed");
    }
}
