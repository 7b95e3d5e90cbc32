//! A path: the payloads to a file, which is appended to, or to a FIFO, which may get its reader later. A file turns by
//! size, at boundaries of the clock, and on request: [`super::rotation`] has the names. Recordings are written to such
//! files as well, each of them a whole of its own ([`Content`](super::content::Content)).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::anyhow;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::content::{Format, Frames};
use super::grammar::FileTarget;
use super::rotation::{NameForm, next_boundary, seconds};
use super::traits::{Context, Sink};
use super::written::{Written, payload};
use crate::errors::UsageError;
use crate::files;
use crate::outlet::{Batch, Descriptor, Device, Gate, Opened, Outlet, Trouble};

/// The room that is left for the end of a file that has one, in bytes.
const TRAILER: u64 = 1024;
/// How long few packets of a recording wait for more. A large write costs less.
const PATIENCE: Duration = Duration::from_millis(5);
/// The most bytes of a compressed frame before its compression.
const LONGEST_FRAME: usize = 256 << 10;
/// The bytes that are worth a compressed frame of their own. Fewer wait for more up to this long.
const WORTH_A_FRAME: usize = 64 << 10;
const GATHERING: Duration = Duration::from_millis(20);

/// A file's own options.
pub struct Options {
    folder: PathBuf,
    form: NameForm,
    target: FileTarget,
}

impl Options {
    /// Of a target.
    pub fn new(target: &FileTarget) -> Self {
        let path = Path::new(&target.path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let form = if target.timed { NameForm::timed(&name) } else { NameForm::literal(&name) };
        Self { folder: path.parent().unwrap_or(Path::new("")).to_owned(), form, target: target.clone() }
    }

    /// The path of a file that begins now.
    pub fn path(&self, now: SystemTime) -> PathBuf {
        self.folder.join(self.form.current(now))
    }
}

/// Opens a path as it is.
///
/// # Errors
/// The file cannot be created.
pub fn open_path(path: &Path, name: &str, limit: usize, context: &Context<'_>) -> anyhow::Result<Box<dyn Sink>> {
    let target = FileTarget::plain("");
    let (folder, name_form) = (PathBuf::new(), NameForm::literal(""));
    open_with(path.to_owned(), Options { folder, form: name_form, target }, name, limit, context)
}

/// Opens a file, or its first one.
///
/// # Errors
/// The file cannot be created.
pub fn open(target: &FileTarget, name: &str, limit: usize, context: &Context<'_>) -> anyhow::Result<Box<dyn Sink>> {
    let options = Options::new(target);
    open_with(options.path(SystemTime::now()), options, name, limit, context)
}

fn open_with(
    path: PathBuf,
    options: Options,
    name: &str,
    limit: usize,
    context: &Context<'_>,
) -> anyhow::Result<Box<dyn Sink>> {
    let outlet = if files::is_fifo(&path) {
        // The outlet's thread waits for the reader.
        Outlet::over(name, Descriptor::fifo(move || append(&path)), context.on_failure())
    } else {
        let shown = files::shown(&path);
        let files =
            Files::open(path, options, Format::default()).map_err(|error| anyhow!("cannot create {shown}: {error}"))?;
        Outlet::over(name, files, context.on_failure())
    };
    Ok(Box::new(Written::new(outlet, limit, payload)))
}

/// Opens the outlet of a sink whose files are each a whole of its own, or to standard output. `instead` is what to do
/// in place of a FIFO.
///
/// # Errors
/// The file cannot be created, or is a FIFO.
pub fn outlet_of_wholes(
    target: &FileTarget,
    name: &str,
    instead: &str,
    format: impl FnOnce() -> io::Result<Format>,
    context: &Context<'_>,
) -> anyhow::Result<Outlet> {
    if target.is_standard_output() {
        return Ok(Outlet::stdout_for_payloads(name, context.on_failure()));
    }
    let options = Options::new(target);
    let path = options.path(SystemTime::now());
    let shown = files::shown(&path);
    if files::is_fifo(&path) {
        return Err(UsageError(format!("{shown} is a FIFO; {instead}")).into());
    }
    let files = format().and_then(|format| Files::open(path, options, format));
    let files = files.map_err(|error| anyhow!("cannot create {shown}: {error}"))?;
    Ok(Outlet::over(name, files, context.on_failure()))
}

fn append(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::from_raw_mode(0o666))?.into())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The files of a sink, one after the other.
struct Files {
    options: Options,
    format: Format,
    path: PathBuf,
    /// The present file. `None` after a failure.
    file: Option<Opened>,
    length: u64,
    /// The length of a file without units.
    empty: u64,
    began: SystemTime,
    /// The second in the latest name, and the number behind it. A name of that second that has become free is not used
    /// again: its file would seem to be older than it is.
    latest: Option<(u64, u64)>,
}

impl Files {
    /// Opens the first file. One of that name which is there already is appended to, or, where each file is a whole of
    /// its own, gets the name of a finished one.
    ///
    /// # Errors
    /// The file cannot be created.
    fn open(path: PathBuf, options: Options, format: Format) -> io::Result<Self> {
        let began = SystemTime::now();
        let latest = options.form.is_timed().then(|| (seconds(began), 0));
        let mut this = Self { options, format, path, file: None, length: 0, empty: 0, began, latest };
        if this.format.content.is_some()
            && let Ok(former) = fs::metadata(&this.path)
            && former.is_file()
            && former.len() > 0
        {
            if this.options.form.is_timed() {
                this.path = this.unused(began);
            } else {
                this.began = former.modified()?;
                this.put_away()?;
                this.began = began;
            }
        }
        this.open_present()?;
        Ok(this)
    }

    fn open_present(&mut self) -> io::Result<&mut Opened> {
        match &mut self.file {
            Some(file) => Ok(file),
            empty => {
                let mut file = Opened::new(append(&self.path)?)?;
                if let Some(bytes) = self.format.group {
                    file = file.in_groups_of(bytes);
                    if self.format.frames.is_none() {
                        file = file.directly();
                    }
                }
                self.length = file.length()?;
                if let Some(content) = self.format.content.as_mut().filter(|_| self.length == 0) {
                    let header = content.header();
                    self.length = write_encoded(&mut file, self.format.frames.as_mut(), &header)?;
                    self.empty = self.length;
                }
                Ok(empty.insert(file))
            }
        }
    }

    /// Returns true if a file gets another name once it is finished.
    fn renames(&self) -> bool {
        let Options { form, target, .. } = &self.options;
        let turns = target.rotate.is_some() || target.every.is_some() || self.format.content.is_some();
        !form.is_timed() && turns && self.file.as_ref().is_none_or(Opened::is_regular)
    }

    /// Ends the present file. Without room for its end it is readable all the same.
    fn complete(&mut self) {
        let (Some(file), Some(content)) = (&mut self.file, &mut self.format.content) else { return };
        let trailer = content.trailer();
        match write_encoded(file, self.format.frames.as_mut(), &trailer) {
            Ok(bytes) => self.length += bytes,
            Err(error) => tracing::debug!("no room for the end of {}: {error}", files::shown(&self.path)),
        }
    }

    /// The bytes that units may take in the present file.
    fn room(&self) -> u64 {
        let trailer = if self.format.content.is_some() { TRAILER } else { 0 };
        self.options.target.rotate.unwrap_or(u64::MAX).saturating_sub(self.length).saturating_sub(trailer)
    }

    /// Begins the next file if the present one has units, and no room for this number of bytes.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        self.open_present()?;
        if self.length > self.empty && bytes as u64 > self.room() { self.next() } else { Ok(()) }
    }

    fn write_units(&mut self, batch: Batch<'_>, gate: &dyn Gate) -> io::Result<usize> {
        self.make_room(batch.bytes_of(1).len())?;
        let room = self.room().try_into().unwrap_or(usize::MAX);
        let units = self.open_present()?.write_units(batch, room, gate)?;
        self.length += batch.bytes_of(units).len() as u64;
        Ok(units)
    }

    fn write_frame(&mut self, batch: Batch<'_>, gate: &dyn Gate) -> io::Result<usize> {
        let began = Instant::now();
        let units = batch.fitting(LONGEST_FRAME).max(1);
        let bytes = batch.bytes_of(units);
        let Some(frames) = &mut self.format.frames else { return Ok(0) };
        // A file has at most the whole frame: so it is made before its length is known.
        let frame = frames.of(bytes)?.to_vec();
        self.make_room(frame.len())?;
        self.open_present()?.write_whole(&frame)?;
        self.length += frame.len() as u64;
        if bytes.len() < WORTH_A_FRAME && !gate.is_closed() {
            sleep(GATHERING.saturating_sub(began.elapsed()));
        }
        Ok(units)
    }

    /// Ends the present file and begins the next one.
    fn next(&mut self) -> io::Result<()> {
        let now = SystemTime::now();
        let is_empty = self.file.is_some() && self.length <= self.empty;
        if let Some(file) = &mut self.file {
            file.settle()?;
        }
        if !is_empty {
            self.complete();
        }
        if self.options.form.is_timed() {
            if is_empty {
                remove_if_there(&self.path)?;
            }
            self.path = self.unused(now);
        } else if self.renames() && !is_empty {
            self.put_away()?;
        }
        self.file = None;
        self.began = now;
        self.open_present()?;
        self.delete_old();
        Ok(())
    }

    /// Gives the present file its final name, which replaces no other file.
    fn put_away(&mut self) -> io::Result<()> {
        loop {
            let finished = self.unused(self.began);
            match renameat_with(CWD, &self.path, CWD, &finished, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                // A file system that cannot refuse to replace.
                Err(Errno::INVAL | Errno::NOSYS) => return fs::rename(&self.path, &finished),
                // Somebody has moved or deleted it.
                Err(Errno::NOENT) if !self.path.exists() => return Ok(()),
                other => return Ok(other?),
            }
        }
    }

    /// The path of a finished file that begins at this time, which no file has.
    fn unused(&mut self, at: SystemTime) -> PathBuf {
        let second = seconds(at);
        let mut number = self.latest.filter(|&(latest, _)| latest == second).map_or(0, |(_, number)| number + 1);
        loop {
            let path = self.options.folder.join(self.options.form.finished(at, number));
            if !path.exists() {
                self.latest = Some((second, number));
                return path;
            }
            number += 1;
        }
    }

    /// Deletes the oldest finished files beyond the number that stays.
    fn delete_old(&self) {
        let Some(keep) = self.options.target.keep else { return };
        let Ok(entries) = fs::read_dir(files::folder(&self.path)) else { return };
        let present = self.path.file_name();
        let mut finished: Vec<_> = entries
            .flatten()
            .filter(|entry| Some(entry.file_name().as_os_str()) != present)
            .filter_map(|entry| Some((self.options.form.age(entry.file_name().to_str()?)?, entry.path())))
            .collect();
        finished.sort();
        let surplus = finished.len().saturating_sub(keep as usize);
        for (_, path) in &finished[..surplus] {
            if let Err(error) = fs::remove_file(path) {
                tracing::warn!("cannot delete {}: {error}", files::shown(path));
            }
        }
    }
}

impl Device for Files {
    fn write(&mut self, batch: Batch<'_>, gate: &dyn Gate) -> Result<usize, Trouble> {
        if self.turns_at().is_some_and(|at| at <= SystemTime::now()) {
            self.next().map_err(Trouble::retry)?;
        }
        let compresses = self.format.frames.is_some();
        let written = if compresses { self.write_frame(batch, gate) } else { self.write_units(batch, gate) };
        if written.is_err() && self.unfinished() == 0 {
            // Opened anew: its length may be another one.
            self.file = None;
        }
        written.map_err(Trouble::retry)
    }

    fn turns_at(&self) -> Option<SystemTime> {
        self.options.target.every.map(|every| next_boundary(self.began, every))
    }

    fn turn(&mut self) -> Result<(), Trouble> {
        self.next().map_err(Trouble::retry)
    }

    fn unfinished(&self) -> usize {
        self.file.as_ref().map_or(0, Opened::unfinished)
    }

    fn settle(&mut self) -> Result<(), Trouble> {
        self.file.as_mut().map_or(Ok(()), Opened::settle).map_err(Trouble::retry)
    }

    fn take_back(&mut self) {
        if let Some(Err(error)) = self.file.as_mut().map(Opened::take_back) {
            tracing::debug!("{} has packets that were counted as dropped: {error}", files::shown(&self.path));
        }
    }

    fn gathers(&self) -> Option<Duration> {
        (self.format.group.is_some() && self.format.frames.is_none()).then_some(PATIENCE)
    }

    fn end(&mut self) {
        if let Some(Err(error)) = self.file.as_mut().map(Opened::drop_unfinished) {
            tracing::debug!("{} ends in the middle of a packet: {error}", files::shown(&self.path));
        }
        self.complete();
    }
}

/// Writes bytes in the form of the file. Returns the length that they have there.
fn write_encoded(file: &mut Opened, frames: Option<&mut Frames>, bytes: &[u8]) -> io::Result<u64> {
    let written = match frames {
        Some(frames) if !bytes.is_empty() => frames.of(bytes)?,
        _ => bytes,
    };
    file.write_whole(written)?;
    Ok(written.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::super::grammar::{self, Kind};
    use super::*;

    fn files(text: &str) -> Files {
        let Kind::File(target) = grammar::parse(text).expect(text).kind else { panic!("{text} is no file") };
        let options = Options::new(&target);
        Files::open(options.path(SystemTime::now()), options, Format::default()).expect("a file")
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_empty_file_that_somebody_has_deleted_does_not_stop_the_next_one() {
        let folder = std::env::temp_dir().join(format!("receiver-deleted-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let mut timed = files(&format!("file:{}/timed-%S?every=1s", folder.display()));
        fs::remove_file(&timed.path).expect("removed");
        timed.next().expect("the next file");
        assert!(timed.path.exists());
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn files_get_names_of_their_own_and_old_ones_are_deleted() {
        let folder = std::env::temp_dir().join(format!("receiver-rotation-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let at = folder.display();
        let mut plain = files(&format!("file:{at}/plain?rotate=1&keep=2"));
        fs::write(folder.join("plain.other"), "kept").expect("a file");
        for n in 0..5 {
            fs::write(&plain.path, format!("{n}")).expect("a file");
            plain.length = 1;
            plain.next().expect("the next file");
        }
        let all = names(&folder);
        let finished: Vec<_> = all.iter().filter(|name| plain.options.form.age(name).is_some()).collect();
        assert_eq!((all.len(), finished.len()), (4, 2), "{all:?}");
        let mut kept: Vec<String> =
            finished.iter().map(|name| fs::read_to_string(folder.join(name)).expect("text")).collect();
        kept.sort();
        assert_eq!(kept, ["3", "4"], "the oldest are deleted");
        fs::remove_dir_all(&folder).expect("removed");

        fs::create_dir_all(&folder).expect("a folder");
        let mut timed = files(&format!("file:{at}/timed-%Y%m%d-%H%M%S?rotate=1"));
        for _ in 0..3 {
            fs::write(&timed.path, "x").expect("a file");
            timed.length = 1;
            timed.next().expect("the next file");
        }
        assert_eq!(names(&folder).len(), 4, "no file replaces another one");
        // A file that is moved away or deleted is made anew.
        let mut appended = files(&format!("{at}/appended"));
        fs::remove_file(&appended.path).expect("removed");
        appended.next().expect("opened anew");
        assert!(appended.path.exists());
        fs::remove_dir_all(&folder).expect("removed");
    }
}
