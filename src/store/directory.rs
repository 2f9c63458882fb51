//! The directory of the learned tier: its format file, its lock, and the damaged stores that were set aside in it.
//!
//! ```text
//! format        a text file: which format the store has, read before anything else is touched
//! lock          held (flock) by the process that has the store open; its process id is in it
//! db/           the files of the storage engine
//! db.new/       what of db/ was written anew so far, while its files are compacted
//! db.old/       what db/ was before that, for the moment between two renames
//! damaged-DATE  a damaged db/ that was set aside; at most three
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

use super::refusal::{Obstacle, StoreRefusal};

/// The format of stores that this version writes.
pub const FORMAT: u32 = 2;

/// The oldest format of stores that this version reads and brings to its own.
pub const OLDEST_FORMAT: u32 = 1;

/// How many damaged stores are kept; the oldest are removed.
pub const DAMAGED_KEPT: usize = 3;

const FORMAT_FILE: &str = "format";
const UNFINISHED_FORMAT_FILE: &str = "format.new";
const LOCK_FILE: &str = "lock";
const ENGINE_DIRECTORY: &str = "db";
const NEW_DIRECTORY: &str = "db.new";
const OLD_DIRECTORY: &str = "db.old";
const DAMAGED_PREFIX: &str = "damaged-";
const PROBE_FILE: &str = "probe";
/// The first line of the format file.
const FORMAT_TITLE: &str = "capsd learned store";
/// How often, and after which pause, a lock that is held is tried again: the one before may just be ending.
pub(super) const LOCK_ATTEMPTS: u32 = 50;
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// More than a format file of any version has, in bytes.
const FORMAT_FILE_MAX: u64 = 4096;

/// The directory, with its lock held as long as this lives.
#[derive(Debug)]
pub(super) struct StoreDirectory {
    path: PathBuf,
    /// What the format file says, if it is there and legible.
    format: Option<u32>,
    _lock: File,
}

impl StoreDirectory {
    /// Checks the format, makes the directory where it is missing, and takes the lock.
    pub(super) fn claim(path: &Path) -> Result<StoreDirectory, Obstacle> {
        let found = read_format(path)?;
        if let Some(found) = found.filter(|found| *found > FORMAT) {
            return Err(Obstacle::newer(path, found));
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => sync_directory(path.parent()).map_err(|e| Obstacle::at(path, &e))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(Obstacle::at(path, &error)),
        }
        Ok(StoreDirectory {
            path: path.to_owned(),
            format: found,
            _lock: take_lock(path)?,
        })
    }

    /// Where the storage engine keeps its files.
    pub(super) fn engine(&self) -> PathBuf {
        self.path.join(ENGINE_DIRECTORY)
    }

    /// Where the engine's files are written anew.
    pub(super) fn engine_anew(&self) -> PathBuf {
        self.path.join(NEW_DIRECTORY)
    }

    /// How many bytes of disk the engine's files take.
    pub(super) fn engine_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.engine())? {
            // In blocks of 512, whatever the file system has.
            bytes += entry?.metadata()?.blocks() * 512;
        }
        Ok(bytes)
    }

    /// Removes what was written anew.
    pub(super) fn remove_anew(&self) -> io::Result<()> {
        remove_directory(&self.engine_anew())
    }

    /// Puts what was written anew, which must be whole and on the disk, in the place of the engine's files.
    ///
    /// A process that is killed in between finds one of the two in [`StoreDirectory::settle`].
    pub(super) fn replace_engine(&self) -> io::Result<()> {
        fs::rename(self.engine(), self.path.join(OLD_DIRECTORY))?;
        fs::rename(self.engine_anew(), self.engine())?;
        sync_directory(Some(&self.path))
    }

    /// Removes what a replacement left, and ends or undoes one that was cut short.
    pub(super) fn settle(&self) -> io::Result<()> {
        let (engine, old) = (self.engine(), self.path.join(OLD_DIRECTORY));
        if !engine.exists() && old.exists() {
            // The engine's files are moved away only when the new ones are whole.
            let whole = Some(self.engine_anew()).filter(|anew| anew.exists());
            fs::rename(whole.as_ref().unwrap_or(&old), &engine)?;
            sync_directory(Some(&self.path))?;
        }
        self.remove_anew()?;
        remove_directory(&old)
    }

    /// Removes snapshots that the engine had not finished when the disk was full or the process ended.
    ///
    /// It gives a snapshot its real name only when it is whole, but when it looks for one, sled 0.34 takes the unfinished one
    /// too, and then calls the whole store corrupt.
    pub(super) fn remove_unfinished(&self) -> io::Result<()> {
        let entries = match fs::read_dir(self.engine()) {
            Ok(entries) => entries,
            // There is no store yet, or something else in its place, which opening it finds out.
            Err(_) => return Ok(()),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(".generating") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Whether the engine's files are there but the format file is not: then only the store itself knows its format.
    pub(super) fn lost_its_format(&self) -> bool {
        self.format.is_none() && self.engine().exists()
    }

    /// Whether the format file is there but the engine's files are not.
    pub(super) fn lost_its_engine(&self) -> bool {
        self.format.is_some() && !self.engine().exists()
    }

    /// What lies among the store's files that is not the store's; a few at most.
    pub(super) fn foreign(&self) -> Vec<PathBuf> {
        const OWN: [&str; 7] = [
            FORMAT_FILE,
            UNFINISHED_FORMAT_FILE,
            LOCK_FILE,
            PROBE_FILE,
            ENGINE_DIRECTORY,
            NEW_DIRECTORY,
            OLD_DIRECTORY,
        ];
        const OF_ENGINE: [&str; 4] = ["db", "conf", "blobs", "confirmed"];
        let is_own = |name: &str| OWN.contains(&name) || name.starts_with(DAMAGED_PREFIX);
        let is_of_engine = |name: &str| OF_ENGINE.contains(&name) || name.starts_with("snap.");
        let mut foreign = others(&self.path, is_own);
        foreign.extend(others(&self.engine(), is_of_engine));
        foreign
    }

    /// Writes the format file anew, where it names an older format.
    pub(super) fn raise_format(&mut self) -> io::Result<()> {
        match self.format {
            Some(older) if older < FORMAT => self.write_format(),
            _ => Ok(()),
        }
    }

    /// Writes the format file, unless there is one of this format.
    pub(super) fn write_format(&mut self) -> io::Result<()> {
        if self.format == Some(FORMAT) {
            return Ok(());
        }
        let text = format!(
            "{FORMAT_TITLE}\nformat {FORMAT}\nwritten by capsd {}\n",
            env!("CARGO_PKG_VERSION")
        );
        let unfinished = self.path.join(UNFINISHED_FORMAT_FILE);
        let mut file = File::create(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, self.path.join(FORMAT_FILE))?;
        sync_directory(Some(&self.path))?;
        self.format = Some(FORMAT);
        Ok(())
    }

    /// Renames the engine's files aside under that date and removes all but the last [`DAMAGED_KEPT`] such directories.
    ///
    /// Gives the new name, and the names of what was removed.
    pub(super) fn set_aside(&self, date: SystemTime) -> io::Result<(PathBuf, Vec<PathBuf>)> {
        let date = DateTime::<Utc>::from(date)
            .format("%Y%m%dT%H%M%SZ")
            .to_string();
        let mut damaged = self.damaged()?;
        let of_that_second = damaged.iter().filter(|(known, _)| *known == date);
        let number = of_that_second.map(|(_, number)| number + 1).max();
        let set_aside = (date, number.unwrap_or(1));
        let aside = self.damaged_path(&set_aside);
        fs::rename(self.engine(), &aside)?;
        sync_directory(Some(&self.path))?;

        damaged.push(set_aside);
        damaged.sort();
        let surplus = damaged.len().saturating_sub(DAMAGED_KEPT);
        let mut removed = Vec::new();
        for oldest in &damaged[..surplus] {
            let path = self.damaged_path(oldest);
            fs::remove_dir_all(&path)?;
            removed.push(path);
        }
        Ok((aside, removed))
    }

    /// The damaged stores that are there: the date each was set aside, and which one of that second it is.
    fn damaged(&self) -> io::Result<Vec<(String, u32)>> {
        let mut damaged = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(dated) = name.to_str().and_then(|n| n.strip_prefix(DAMAGED_PREFIX)) else {
                continue;
            };
            let (date, number) = match dated.split_once('.') {
                None => (dated, Some(1)),
                Some((date, number)) => (date, number.parse().ok()),
            };
            if let Some(number) = number.filter(|_| entry.path().is_dir()) {
                damaged.push((date.to_owned(), number));
            }
        }
        Ok(damaged)
    }

    fn damaged_path(&self, (date, number): &(String, u32)) -> PathBuf {
        self.path.join(match number {
            1 => format!("{DAMAGED_PREFIX}{date}"),
            _ => format!("{DAMAGED_PREFIX}{date}.{number}"),
        })
    }

    /// Whether the file system takes as much as opening the store may need: writes that to a file, syncs and removes it.
    ///
    /// While the disk is full the engine that still reads is not given up for one that may not even open. At open it
    /// writes its page table, which was about as large the last time, and may begin a segment of half a megabyte.
    pub(super) fn probe(&self) -> io::Result<()> {
        let mut len = 1 << 20;
        for entry in fs::read_dir(self.engine())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                len += 2 * entry.metadata()?.len();
            }
        }
        let path = self.path.join(PROBE_FILE);
        let written = File::create(&path).and_then(|mut file| {
            io::copy(&mut io::repeat(0).take(len), &mut file)?;
            file.sync_all()
        });
        let removed = fs::remove_file(&path);
        written.and(removed)
    }
}

/// The format that the format file names; `None` where there is none, or it is not legible.
fn read_format(path: &Path) -> Result<Option<u32>, Obstacle> {
    let mut text = Vec::new();
    let read = File::open(path.join(FORMAT_FILE))
        .and_then(|file| file.take(FORMAT_FILE_MAX).read_to_end(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Ok(None),
        Err(error) => return Err(Obstacle::at(path, &error)),
    }
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    if lines.next() != Some(FORMAT_TITLE) {
        return Ok(None);
    }
    Ok(lines
        .filter_map(|line| line.strip_prefix("format "))
        .find_map(|number| number.parse().ok()))
}

fn take_lock(path: &Path) -> Result<File, Obstacle> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK_FILE))
        .map_err(|error| Obstacle::at(path, &error))?;
    for attempt in 0.. {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => {
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.take(16).read_to_string(&mut holder);
                return Err(Obstacle::Refusal(StoreRefusal::InUse {
                    path: path.to_owned(),
                    holder: holder.trim().parse().ok(),
                }));
            }
            Err(TryLockError::Error(error)) => return Err(Obstacle::at(path, &error)),
        }
    }
    // The process id only makes a message better; a full disk must not keep the store closed because of it.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// What a directory holds under names that are not known; a few at most.
fn others(directory: &Path, is_known: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    const MOST: usize = 4;
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let unknown = |entry: &fs::DirEntry| !entry.file_name().to_str().is_some_and(&is_known);
    let unknown = entries.flatten().filter(unknown);
    unknown.map(|entry| entry.path()).take(MOST).collect()
}

/// Removes a directory, or whatever has its name; nothing may be there.
fn remove_directory(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_dir() => fs::remove_file(path),
        _ => fs::remove_dir_all(path),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes what was created or renamed in a directory durable.
fn sync_directory(path: Option<&Path>) -> io::Result<()> {
    match path {
        Some(path) if !path.as_os_str().is_empty() => File::open(path)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("store");
        (root, path)
    }

    fn refusal(result: Result<StoreDirectory, Obstacle>) -> StoreRefusal {
        match result {
            Err(Obstacle::Refusal(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_lock_is_held_and_let_go() {
        let (_root, path) = fresh();
        let held = StoreDirectory::claim(&path).unwrap();
        let refused = refusal(StoreDirectory::claim(&path));
        let holder = Some(std::process::id());
        assert_eq!(
            refused,
            StoreRefusal::InUse {
                path: path.clone(),
                holder
            }
        );
        assert_eq!(refused.exit_code(), 3);
        assert!(
            refused
                .to_string()
                .contains(&format!("by process {}", std::process::id()))
        );
        drop(held);
        StoreDirectory::claim(&path).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused_before_anything_is_touched() {
        let (_root, path) = fresh();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("format"), "capsd learned store\nformat 3\n").unwrap();
        let refused = refusal(StoreDirectory::claim(&path));
        assert_eq!(
            refused,
            StoreRefusal::Newer {
                path: path.clone(),
                found: 3
            }
        );
        assert_eq!(refused.exit_code(), 3);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn an_older_format_is_raised_before_the_files_are_opened() {
        let (_root, path) = fresh();
        fs::create_dir(&path).unwrap();
        let older = format!("capsd learned store\nformat {OLDEST_FORMAT}\n");
        fs::write(path.join("format"), older).unwrap();
        let mut directory = StoreDirectory::claim(&path).unwrap();
        assert_eq!(read_format(&path), Ok(Some(OLDEST_FORMAT)));
        directory.raise_format().unwrap();
        assert_eq!(read_format(&path), Ok(Some(FORMAT)));
    }

    #[test]
    fn a_format_file_of_others_is_no_format() {
        let (_root, path) = fresh();
        fs::create_dir(&path).unwrap();
        for text in [
            "",
            "format 2\n",
            "capsd learned store\n",
            "\0\0\0",
            "capsd learned store\nformat x\n",
        ] {
            fs::write(path.join("format"), text).unwrap();
            assert_eq!(read_format(&path), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn the_format_file_that_is_written_is_read() {
        let (_root, path) = fresh();
        let mut directory = StoreDirectory::claim(&path).unwrap();
        assert!(!directory.lost_its_format());
        fs::create_dir(directory.engine()).unwrap();
        assert!(directory.lost_its_format());
        directory.write_format().unwrap();
        assert_eq!(read_format(&path), Ok(Some(FORMAT)));
        assert!(!directory.lost_its_format());
    }

    #[test]
    fn a_missing_parent_and_a_file_in_the_way_are_told_apart() {
        let (root, path) = fresh();
        let below = path.join("deeper");
        let refused = refusal(StoreDirectory::claim(&below));
        assert_eq!(refused, StoreRefusal::ParentMissing { path: below });
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("mkdir -p"), "{refused}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);

        fs::write(&path, "a file").unwrap();
        for path in [path.join("below"), path] {
            let refused = refusal(StoreDirectory::claim(&path));
            assert_eq!(refused, StoreRefusal::NotADirectory { path });
            assert_eq!(refused.exit_code(), 2);
        }
    }

    #[test]
    fn three_damaged_stores_are_kept_and_the_oldest_goes() {
        let (_root, path) = fresh();
        let directory = StoreDirectory::claim(&path).unwrap();
        // 2021-03-04 05:06:07 UTC.
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_614_834_367);
        let mut names = Vec::new();
        for number in 0..12 {
            fs::create_dir(directory.engine()).unwrap();
            fs::write(directory.engine().join("number"), number.to_string()).unwrap();
            let (aside, removed) = directory.set_aside(date).unwrap();
            assert_eq!(removed.len(), usize::from(number >= 3));
            names.push((aside, number));
        }
        assert_eq!(names[0].0, path.join("damaged-20210304T050607Z"));
        let kept: Vec<_> = names.iter().filter(|(name, _)| name.exists()).collect();
        assert_eq!(kept.len(), DAMAGED_KEPT);
        for (name, _) in kept {
            let number: u8 = fs::read_to_string(name.join("number"))
                .unwrap()
                .parse()
                .unwrap();
            assert!(number >= 9, "{number} was kept");
        }
    }

    /// The states that a process may be killed in while the files are replaced, in their order.
    #[test]
    fn a_replacement_that_was_cut_short_is_ended_or_undone() {
        let cases = [
            (vec!["db", "db.new"], "db"),
            (vec!["db.old", "db.new"], "db.new"),
            (vec!["db.old", "db"], "db"),
            (vec!["db.old"], "db.old"),
        ];
        for (present, expected) in cases {
            let (_root, path) = fresh();
            let directory = StoreDirectory::claim(&path).unwrap();
            for name in &present {
                fs::create_dir(path.join(name)).unwrap();
                fs::write(path.join(name).join("was"), name).unwrap();
            }
            directory.settle().unwrap();
            let left = fs::read_to_string(directory.engine().join("was")).unwrap();
            assert_eq!(left, expected, "{present:?}");
            assert!(!path.join("db.new").exists() && !path.join("db.old").exists());
        }
    }

    #[test]
    fn the_probe_leaves_nothing() {
        let (_root, path) = fresh();
        let directory = StoreDirectory::claim(&path).unwrap();
        assert!(directory.probe().is_err(), "there is no store to open");
        fs::create_dir(directory.engine()).unwrap();
        fs::write(directory.engine().join("snap.1"), [0; 1000]).unwrap();
        directory.probe().unwrap();
        assert!(!path.join(PROBE_FILE).exists());
    }
}
