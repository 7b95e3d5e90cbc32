//! A path: the payloads to a file, which is appended to, or to a FIFO, which may get its reader later.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use rustix::fs::{Mode, OFlags};

use super::traits::{Context, Sink, Target};
use super::written::{Written, payload};
use crate::files;
use crate::outlet::Outlet;

struct AppendedFile(PathBuf);

/// Takes any text: a text that no other kind takes is a path.
pub fn parse(text: &OsStr) -> Option<Box<dyn Target>> {
    Some(Box::new(AppendedFile(text.into())))
}

impl Target for AppendedFile {
    fn file(&self) -> Option<&Path> {
        Some(&self.0)
    }

    fn open(&self, context: &Context<'_>) -> anyhow::Result<Box<dyn Sink>> {
        let name = files::shown(&self.0);
        let outlet = if files::is_fifo(&self.0) {
            let path = self.0.clone();
            // The outlet's thread waits for the reader.
            Outlet::new(&name, move || open(&path), context.on_failure())
        } else {
            let file = open(&self.0).map_err(|error| anyhow!("cannot create {name}: {error}"))?;
            Outlet::new(&name, move || Ok(file), context.on_failure())
        };
        Ok(Box::new(Written::new(outlet, payload)))
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::from_raw_mode(0o666))?.into())
}
