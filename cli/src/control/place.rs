//! Where the control sockets of the runs on this host are: one a run, by its name, in the runtime directory.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use rustix::process::geteuid;

use crate::files::shown;
use crate::values::name;

/// The runtime directory: systemd's, else that of root or of the user.
pub fn runtime_directory() -> PathBuf {
    choose(|name| std::env::var_os(name), geteuid().as_raw())
}

fn choose(variable: impl Fn(&str) -> Option<OsString>, user: u32) -> PathBuf {
    let absolute = |name: &str| {
        let value = variable(name)?;
        // systemd lists several directories with colons between them.
        let first = value.as_encoded_bytes().split(|&byte| byte == b':').next()?;
        let path = PathBuf::from(std::os::unix::ffi::OsStrExt::from_bytes(first) as &OsStr);
        path.is_absolute().then_some(path)
    };
    if let Some(directory) = absolute("RUNTIME_DIRECTORY") {
        return directory;
    }
    if user == 0 {
        return "/run/receiver".into();
    }
    match absolute("XDG_RUNTIME_DIR") {
        Some(directory) => directory.join("receiver"),
        None => format!("/tmp/receiver-{user}").into(),
    }
}

/// Makes the runtime directory if it does not exist.
///
/// # Errors
/// It cannot be made, or another user could replace what is in it.
pub fn make(directory: &Path) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(anyhow!(
                "cannot make the directory {} for the control socket: {error}; set another path with --control",
                shown(directory)
            ));
        }
        _ => {}
    }
    check(directory)
}

/// Refuses a runtime directory in which another user could replace a socket.
///
/// # Errors
/// As it says.
pub fn check(directory: &Path) -> anyhow::Result<()> {
    let metadata = match fs::symlink_metadata(directory) {
        // systemd's directory may be a link, which root has made.
        Ok(link) if link.is_symlink() && link.uid() == 0 => fs::metadata(directory),
        other => other,
    };
    let fault = match metadata {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => error.to_string(),
        Ok(found) if !found.is_dir() => "it is no directory".to_owned(),
        Ok(found) if found.uid() != geteuid().as_raw() && found.uid() != 0 && !geteuid().is_root() => {
            format!("it belongs to user {}", found.uid())
        }
        Ok(found) if found.mode() & 0o022 != 0 => "other users can write to it".to_owned(),
        Ok(_) => return Ok(()),
    };
    Err(anyhow!(
        "the directory {} cannot hold control sockets: {fault}; remove it, or set another path with --control",
        shown(directory)
    ))
}

/// The path of the socket of the run with this name.
pub fn socket(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.sock"))
}

/// The names with a socket in the directory, in alphabetical order. The run of a socket may have been killed.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".sock").map(str::to_owned))
        .filter(|found| name(found).is_ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_directory_is_that_of_systemd_of_root_or_of_the_user() {
        let with = |set: &[(&str, &str)], user| {
            let find = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            choose(find, user).display().to_string()
        };
        assert_eq!(with(&[("RUNTIME_DIRECTORY", "/run/a:/run/b"), ("XDG_RUNTIME_DIR", "/run/user/0")], 0), "/run/a");
        assert_eq!(with(&[("XDG_RUNTIME_DIR", "/run/user/0")], 0), "/run/receiver");
        assert_eq!(with(&[("XDG_RUNTIME_DIR", "/run/user/7")], 7), "/run/user/7/receiver");
        assert_eq!(with(&[("RUNTIME_DIRECTORY", ""), ("XDG_RUNTIME_DIR", "here")], 7), "/tmp/receiver-7");
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let directory = std::env::temp_dir().join(format!("receiver-place-{}", std::process::id()));
        let _ = fs::remove_dir(&directory);
        make(&directory).expect("made");
        assert_eq!(fs::metadata(&directory).expect("there").mode() & 0o777, 0o700);
        make(&directory).expect("it was there");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("chmod");
        let text = make(&directory).expect_err("open to all").to_string();
        assert!(text.contains("other users can write to it"), "{text}");
        fs::remove_dir(&directory).expect("removed");
        fs::write(&directory, "").expect("a file");
        let text = make(&directory).expect_err("a file").to_string();
        assert!(text.contains("it is no directory"), "{text}");
        fs::remove_file(&directory).expect("removed");
    }
}
