//! What is being written beside its name, to appear under it whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::process::{Pid, test_kill_process};

/// How the name of something unfinished ends; it begins with a dot, the name that it is to have, and the process that writes it.
const SUFFIX: &str = ".unfinished";

/// A directory that is being written; removed, with all that is in it, where it is not finished.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: PathBuf,
    target: PathBuf,
}

impl Unfinished {
    /// Makes it beside the name that it is to have.
    pub(super) fn create(target: &Path) -> io::Result<Unfinished> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let name = format!(".{name}.{}{SUFFIX}", std::process::id());
        let path = target.with_file_name(name);
        fs::create_dir(&path)?;
        Ok(Unfinished {
            path,
            target: target.to_owned(),
        })
    }

    /// Where it is written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the disk has all of it, and gives it its name. What had that name before is removed afterwards.
    pub(super) fn finish(self) -> io::Result<()> {
        // One wait for all of its files instead of one for each.
        rustix::fs::syncfs(File::open(&self.path)?)?;
        match fs::symlink_metadata(&self.target) {
            Ok(_) => rustix::fs::renameat_with(
                CWD,
                &self.path,
                CWD,
                &self.target,
                RenameFlags::EXCHANGE,
            )
            .map_err(|error| match error {
                rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS => io::Error::other(
                    "this file system cannot put one directory in the place of another in one step: remove it first, \
                     or name another",
                ),
                error => error.into(),
            })?,
            Err(_) => fs::rename(&self.path, &self.target)?,
        }
        File::open(parent(&self.target))?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After `finish` it is what had the name before, or nothing.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes what processes that no longer run have left unfinished under that name.
pub(super) fn remove_left(target: &Path) -> io::Result<()> {
    let Some(name) = target.file_name().and_then(|name| name.to_str()) else {
        return Ok(());
    };
    for entry in fs::read_dir(parent(target))? {
        let entry = entry?;
        let is_left = entry
            .file_name()
            .to_str()
            .and_then(|left| {
                left.strip_prefix('.')?
                    .strip_prefix(name)?
                    .strip_prefix('.')
            })
            .and_then(|rest| rest.strip_suffix(SUFFIX)?.parse().ok())
            .is_some_and(|process| !runs(process));
        if is_left && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if is_left {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether another process of that id runs. This one has not begun yet when it looks for what is left.
fn runs(process: i32) -> bool {
    let Some(pid) = Pid::from_raw(process) else {
        return false;
    };
    pid != rustix::process::getpid() && test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

/// The directory that something is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
