//! The entries on disk: four trees of one sled database, and the order in which they are written.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `infos` | content id | a [`Record`]: keys, nodes, place in the order of use, content |
//! | `keys` | the beginning of a caps key | the id of its content |
//! | `uses` | a number, growing | content id and size of the entry that has this place in the order of use |
//! | `meta` | a name | the format; the oldest one of any value; the counters of entries and bytes |
//!
//! **Order instead of transactions.** One thread writes, and what a crash leaves of sled's log is a prefix of what was
//! written. So the order of writes decides what can be found after a crash. An entry is begun with its row in `uses`,
//! then its content, then its keys; it is removed the other way round. Whatever prefix survives, every content has a row
//! in `uses` and so will be evicted one day, and a key without content is taken for absent. Even a recovery that is no
//! prefix serves nothing wrong, because every read checks the content against the key. (sled's transactions are avoided:
//! they hold a log reservation open, and when the disk fails under one, sled 0.34 may wait for itself for ever.)
//!
//! **Counters.** Entries and bytes are what `uses` holds. They are saved at every flush and marked clean when the store
//! is closed; if they are not clean, they are counted again in small steps beside the service, over `uses` alone.
//!
//! **Least recently used.** Reading an entry sets a bit in memory and writes nothing. Eviction takes the entry with the
//! oldest place; if its bit is set, it is cleared and the entry gets the newest place instead (second chance).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sled::Mode;

use crate::caps::{CapsKey, DiscoInfo, Policy, Verdict, verify::verify_canonical};

use super::confirmed::Confirmed;
use super::counters::{Counters, Totals};
use super::directory::{FORMAT, OLDEST_FORMAT};
use super::engine::{Fault, Flusher, guarded};
use super::marks::Marks;
use super::record::{ContentId, ID_LEN, Names, Record, is_present, key_row};
use super::uses::Recount;

/// The length of a value in `uses`: a content id and the size of the entry in four bytes.
pub(super) const USE_LEN: usize = ID_LEN + 4;

/// What was found under a key.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// Something that is not what was written.
    Damaged,
    /// This content, with these keys and nodes; not yet checked against the key.
    Entry(Names, DiscoInfo),
}

/// Some entries, in the order of their content ids.
#[derive(Debug, Default)]
pub(super) struct Legible {
    /// What each is known by, and its content; not yet checked against its keys.
    pub(super) entries: Vec<(Names, DiscoInfo)>,
    /// The content id to go on with, if there is one.
    pub(super) next: Option<[u8; ID_LEN]>,
}

/// Values that were brought to the present format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Migrated {
    /// How many were.
    pub(super) written: u64,
    /// The content id to go on with, if there is one.
    pub(super) next: Option<[u8; ID_LEN]>,
}

/// Where the database notes the oldest format that its values may have; nothing is noted in the first format.
const VALUES_FORMAT: &str = "values";

/// How the database is opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct DiskSettings<'a> {
    /// The page cache of sled, in bytes.
    pub(super) cache_bytes: u64,
    /// The rules that stored content must meet.
    pub(super) policy: &'a Policy,
}

/// Why the database was not opened.
#[derive(Debug)]
pub(super) enum OpenFault {
    /// Its own record of its format names a newer one.
    Newer(u32),
    /// Anything else.
    Fault(Fault),
}

/// The open database. After any [`Fault`] it must not be written to again.
pub(super) struct Disk {
    db: sled::Db,
    pub(super) infos: sled::Tree,
    pub(super) keys: sled::Tree,
    pub(super) uses: sled::Tree,
    meta: sled::Tree,
    policy: Policy,
    flusher: Flusher,
    /// The data file, and which one it was when it was opened.
    file: (PathBuf, FileIdentity),
    pub(super) next_use: u64,
    pub(super) totals: Totals,
    pub(super) recount: Option<Recount>,
    pub(super) marks: Marks,
    /// Whether less was found than a flush had confirmed.
    shortened: bool,
    /// The oldest format that values may have.
    values_format: u32,
    /// How many rows were written or removed since it was opened.
    pub(super) writes: u64,
}

/// Which file a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    fn of(path: &Path) -> io::Result<FileIdentity> {
        fs::metadata(path).map(|metadata| FileIdentity {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

impl Disk {
    /// Opens the database in that directory, or makes one.
    pub(super) fn open(path: &Path, settings: DiskSettings<'_>) -> Result<Disk, OpenFault> {
        let db = guarded(|| {
            sled::Config::new()
                .path(path)
                .cache_capacity(settings.cache_bytes)
                .mode(Mode::LowSpace)
                // Our own flushes alone, so that their errors are seen.
                .flush_every_ms(None)
                .open()
        })
        .map_err(OpenFault::Fault)?;
        let disk = Disk::of(&db, path, settings);
        if disk.is_err() {
            close(db);
        }
        disk
    }

    fn of(db: &sled::Db, path: &Path, settings: DiskSettings<'_>) -> Result<Disk, OpenFault> {
        let opened = guarded(|| {
            let (infos, keys) = (db.open_tree("infos")?, db.open_tree("keys")?);
            let (uses, meta) = (db.open_tree("uses")?, db.open_tree("meta")?);
            let format = match meta.get("format")? {
                Some(found) => number32(&found),
                None => {
                    meta.insert(VALUES_FORMAT, &FORMAT.to_be_bytes())?;
                    meta.insert("format", &FORMAT.to_be_bytes())?;
                    Some(FORMAT)
                }
            };
            if format.is_some_and(|format| (OLDEST_FORMAT..FORMAT).contains(&format)) {
                meta.insert("format", &FORMAT.to_be_bytes())?;
            }
            let values = meta.get(VALUES_FORMAT)?.and_then(|found| number32(&found));
            let newest = uses.last()?.and_then(|(place, _)| number64(&place));
            let counters = meta.get("counters")?;
            let mut counters = counters
                .and_then(|bytes| Counters::from_bytes(&bytes))
                .unwrap_or_default();
            let clean = counters.clean || newest.is_none();
            if counters.clean {
                // From the first write on they are not, whatever becomes of this process.
                counters.clean = false;
                meta.insert("counters", counters.to_bytes())?;
            }
            let counters = Counters { clean, ..counters };
            Ok((infos, keys, uses, meta, format, values, newest, counters))
        });
        let (infos, keys, uses, meta, format, values, newest, counters) =
            opened.map_err(OpenFault::Fault)?;
        match format {
            Some(OLDEST_FORMAT..=FORMAT) => {}
            Some(newer) if newer > FORMAT => return Err(OpenFault::Newer(newer)),
            _ => {
                let text = "its record of its format cannot be read".to_owned();
                return Err(OpenFault::Fault(Fault::Damage { text }));
            }
        }
        let io_fault = |error: io::Error| OpenFault::Fault(Fault::from_io(&error));
        let file = path.join("db");
        let identity = FileIdentity::of(&file).map_err(io_fault)?;
        let confirmed = Confirmed::open(path).map_err(io_fault)?;
        let reached = confirmed.read().unwrap_or(0);
        let flusher = File::open(&file)
            .and_then(|file| Flusher::new(file, confirmed))
            .map_err(io_fault)?;
        let after_newest = newest.map_or(0, |place| place.saturating_add(1));
        Ok(Disk {
            db: db.clone(),
            infos,
            keys,
            uses,
            meta,
            policy: settings.policy.clone(),
            flusher,
            file: (file, identity),
            next_use: after_newest.max(counters.next_use).max(reached),
            totals: counters.totals,
            recount: (!counters.clean).then(Recount::default),
            marks: Marks::new(),
            shortened: counters.next_use < reached,
            values_format: values.unwrap_or(OLDEST_FORMAT),
            writes: 0,
        })
    }

    /// Whether less was found at open than a flush had confirmed: something was lost below the engine.
    pub(super) fn is_shortened(&self) -> bool {
        self.shortened
    }

    /// How many rows were written or removed since it was opened.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// The oldest format that values may have, if it is not the present one.
    pub(super) fn older_format(&self) -> Option<u32> {
        Some(self.values_format).filter(|format| *format < FORMAT)
    }

    /// Writes some values again that are of older formats, from that content id on, and leaves everything else as it is.
    pub(super) fn migrate(&mut self, from: &[u8; ID_LEN], most: usize) -> Result<Migrated, Fault> {
        guarded(|| {
            let mut written = 0;
            let mut rows = self.infos.range(from.as_slice()..);
            let found: Vec<_> = rows.by_ref().take(most).collect::<Result<_, _>>()?;
            let next = rows.next().transpose()?;
            drop(rows);
            for (id, value) in found {
                let Some(id) = ContentId::from_bytes(&id) else {
                    continue;
                };
                // What is damaged is found to be so by whoever reads it.
                let older = Some(&value).filter(|value| !is_present(value));
                if let Some(record) = older.and_then(|value| Record::decode(&id, value)) {
                    self.replace(&id, &record)?;
                    written += 1;
                }
            }
            let next = next.and_then(|(id, _)| id.as_ref().try_into().ok());
            Ok(Migrated { written, next })
        })
    }

    /// Notes that every value has the present format.
    pub(super) fn note_present_format(&self) -> Result<(), Fault> {
        guarded(|| {
            let noted = self.meta.insert(VALUES_FORMAT, &FORMAT.to_be_bytes());
            noted.map(drop)
        })
    }

    /// How many entries there are, and what they take; after a crash an estimate until they were counted again.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Whether there is more to count.
    pub(super) fn is_counting(&self) -> bool {
        self.recount.is_some()
    }

    /// What is stored under a key.
    pub(super) fn find(&mut self, key: &CapsKey) -> Result<Found, Fault> {
        guarded(|| {
            let Some(id) = self.keys.get(key_row(key))? else {
                return Ok(Found::Absent);
            };
            let Some(id) = ContentId::from_bytes(&id) else {
                return Ok(Found::Damaged);
            };
            let Some(value) = self.infos.get(id.0)? else {
                return Ok(Found::Damaged);
            };
            self.mark(&id);
            Ok(match decode(&id, &value) {
                Some((record, info)) => Found::Entry(record.names, info),
                None => Found::Damaged,
            })
        })
    }

    /// At most so many entries whose content ids are not below `from`. What is damaged is left out.
    pub(super) fn entries_from(&self, from: &[u8; ID_LEN], most: usize) -> Result<Legible, Fault> {
        guarded(|| {
            let mut entries = Vec::new();
            let mut rows = self.infos.range(from.as_slice()..);
            for row in rows.by_ref().take(most) {
                let (id, value) = row?;
                let entry = ContentId::from_bytes(&id)
                    .and_then(|id| decode(&id, &value))
                    .map(|(record, info)| (record.names, info));
                entries.extend(entry);
            }
            let next = rows.next().transpose()?;
            let next = next.and_then(|(id, _)| id.as_ref().try_into().ok());
            Ok(Legible { entries, next })
        })
    }

    /// Stores a content under its keys, or adds keys and nodes to it where it is stored already.
    ///
    /// A key that stands for another, sound content is left to that one.
    pub(super) fn write(&mut self, names: &Names, content: &[u8]) -> Result<(), Fault> {
        guarded(|| {
            let id = ContentId::of(content);
            let value = self.infos.get(id.0)?;
            let old = value
                .as_deref()
                .and_then(|value| Record::decode(&id, value))
                .filter(|record| record.content == content);
            let old_place = old.as_ref().map(|record| record.used);
            let mut merged = old.map(|record| record.names).unwrap_or_default();

            let mut changed = false;
            let mut rows = Vec::new();
            for key in &names.keys {
                match self.holder_of(key, &id)? {
                    Holder::Other => continue,
                    Holder::This => {}
                    Holder::None => rows.push(*key),
                }
                changed |= merged.add_key(*key);
            }
            rows.retain(|key| merged.keys.contains(key));
            for node in &names.nodes {
                changed |= merged.add_node(node);
            }
            if names.seen.is_some() {
                changed |= merged.mark_seen(names.seen_nodes());
            }
            if merged.keys.is_empty() {
                return Ok(());
            }
            if changed || old_place.is_none() {
                self.place(&id, merged, content.to_vec())?;
                self.index(&rows, &id)?;
                self.unplace(old_place)
            } else {
                self.mark(&id);
                self.index(&rows, &id)
            }
        })
    }

    /// Takes a key from the content it stands for, and removes the content with its last key.
    pub(super) fn remove_key(&mut self, key: &CapsKey) -> Result<bool, Fault> {
        guarded(|| {
            let row = key_row(key);
            let Some(id) = self.keys.get(&row)? else {
                return Ok(false);
            };
            self.keys.remove(row)?;
            let Some(id) = ContentId::from_bytes(&id) else {
                return Ok(true);
            };
            let Some(value) = self.infos.get(id.0)? else {
                return Ok(true);
            };
            match decode(&id, &value) {
                // Its row in `uses` is found to be idle when eviction comes by.
                None => {
                    self.infos.remove(id.0)?;
                }
                Some((mut record, _)) => {
                    record.names.keys.retain(|known| known != key);
                    if record.names.keys.is_empty() {
                        self.infos.remove(id.0)?;
                    } else {
                        self.place(&id, record.names, record.content)?;
                    }
                    self.unplace(Some(record.used))?;
                }
            }
            Ok(true)
        })
    }

    /// Begins to make durable what was written. `clean` says that nothing will be written after it.
    ///
    /// The file is looked for under its name first: what goes into one that was removed or replaced would be lost, and
    /// nothing else would say so.
    pub(super) fn start_flush(&mut self, clean: bool) -> Result<(), Fault> {
        let (path, identity) = &self.file;
        if FileIdentity::of(path).ok().as_ref() != Some(identity) {
            let text = "its data file was removed or replaced".to_owned();
            return Err(Fault::Damage { text });
        }
        self.save_counters(clean)?;
        self.flusher.start(&self.db, self.next_use);
        Ok(())
    }

    /// Writes the counters; `clean` says that nothing will be written after them.
    fn save_counters(&self, clean: bool) -> Result<(), Fault> {
        let counters = Counters {
            totals: self.totals,
            next_use: self.next_use,
            clean: clean && self.recount.is_none(),
        };
        guarded(|| self.meta.insert("counters", counters.to_bytes()).map(drop))
    }

    /// Closes the database to open it anew, and gives the marks of use, which go on with it.
    pub(super) fn close_for_now(self) -> Result<Marks, Fault> {
        let saved = self.save_counters(true);
        let marks = self.close_for_good();
        saved.map(|()| marks)
    }

    /// Closes the database and gives the marks of use.
    pub(super) fn close_for_good(mut self) -> Marks {
        let marks = std::mem::replace(&mut self.marks, Marks::new());
        self.close();
        marks
    }

    /// Goes on with the marks of use that the database had when it was open before.
    pub(super) fn go_on_with(&mut self, marks: Marks) {
        self.marks = marks;
    }

    /// How the flush that was begun has ended, or `None` if it has not within `patience`.
    pub(super) fn flush_ended(&self, patience: std::time::Duration) -> Option<Result<(), Fault>> {
        self.flusher.wait(patience)
    }

    /// Closes the database; whatever that says no longer matters.
    pub(super) fn close(self) {
        close(self);
    }

    pub(super) fn index(&mut self, keys: &[CapsKey], id: &ContentId) -> sled::Result<()> {
        for key in keys {
            self.keys.insert(key_row(key), &id.0)?;
            self.writes += 1;
        }
        Ok(())
    }

    /// Whose a key is. One that leads to nothing sound is nobody's.
    fn holder_of(&self, key: &CapsKey, id: &ContentId) -> sled::Result<Holder> {
        let Some(found) = self.keys.get(key_row(key))? else {
            return Ok(Holder::None);
        };
        if *found == id.0 {
            return Ok(Holder::This);
        }
        let Some(other) = ContentId::from_bytes(&found) else {
            return Ok(Holder::None);
        };
        let value = self.infos.get(other.0)?;
        let info = value.as_deref().and_then(|v| decode(&other, v));
        let sound = info.is_some_and(|(_, info)| is_verified(key, info, &self.policy));
        Ok(if sound { Holder::Other } else { Holder::None })
    }
}

/// Lets go of the engine, which may fail when it closes its files.
fn close(engine: impl Sized) {
    let closed = guarded(|| {
        drop(engine);
        Ok(())
    });
    if let Err(fault) = closed {
        tracing::debug!(%fault, "closing the store");
    }
}

/// Whose a key is, seen from one content.
enum Holder {
    None,
    This,
    Other,
}

/// Whether that content belongs under that key.
pub(super) fn is_verified(key: &CapsKey, info: DiscoInfo, policy: &Policy) -> bool {
    matches!(verify_canonical(key, info, policy), Verdict::Verified(_))
}

pub(super) fn decode(id: &ContentId, value: &[u8]) -> Option<(Record, DiscoInfo)> {
    let record = Record::decode(id, value)?;
    let info = DiscoInfo::decode(&record.content).ok()?;
    Some((record, info))
}

pub(super) fn number32(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

pub(super) fn number64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}
