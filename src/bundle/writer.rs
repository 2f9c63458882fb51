//! Writing a bundle.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::block::{Filling, encode};
use super::head::{self, Head};
use super::signature::Signer;
use super::tree::{self, NO_PREFIX, Pointer, Root, Row};
use super::{BundleEntry, Label, MAX_GENERATOR_LEN, MAX_LABEL_LEN};
use crate::caps::key::PREFIX_LEN;
use crate::caps::verify::verify_canonical;
use crate::caps::{CapsKey, Policy, Verdict, VerifiedInfo};
use crate::store::{MAX_CONTENT_LEN, MAX_KEYS, MAX_NODES, may_be_kept};

/// Writes a bundle, which appears under its name only when it is complete; one that was there before is replaced in that moment.
///
/// In memory are 24 bytes for each key, and one block.
#[derive(Debug)]
pub struct BundleWriter {
    unfinished: Unfinished,
    out: BufWriter<File>,
    at: u64,
    created: String,
    generator: String,
    filling: Filling,
    blocks: Vec<Pointer>,
    /// Where each key's entry is: its block and slot.
    places: Vec<([u8; PREFIX_LEN], u32, u16)>,
    entries: u64,
}

/// The file that is being written; removed where it is not finished.
#[derive(Debug)]
struct Unfinished {
    path: PathBuf,
    target: PathBuf,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After `finish` it has another name, and there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}

impl BundleWriter {
    /// Begins a bundle with that name, in a directory that exists. `created` is the calendar time; of it the date is kept. `generator`
    /// says who made it, as in "capsd 0.1.0, the clients of Debian 12"; at most [`MAX_GENERATOR_LEN`] bytes on one line.
    ///
    /// # Errors
    /// Where the file cannot be made beside its name.
    pub fn create(path: &Path, created: SystemTime, generator: &str) -> io::Result<BundleWriter> {
        if generator.len() > MAX_GENERATOR_LEN || generator.contains(char::is_control) {
            return Err(invalid(
                "the generator's text is too long, or has several lines",
            ));
        }
        let name = path.file_name();
        let name = name.ok_or_else(|| invalid("a bundle needs the name of a file"))?;
        let name = format!(
            ".{}.{}.unfinished",
            name.to_string_lossy(),
            std::process::id()
        );
        let unfinished = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&unfinished)?;
        let mut writer = BundleWriter {
            unfinished: Unfinished {
                path: unfinished,
                target: path.to_owned(),
            },
            out: BufWriter::new(file),
            at: 0,
            created: chrono::DateTime::<chrono::Utc>::from(created)
                .format("%Y-%m-%d")
                .to_string(),
            generator: generator.to_owned(),
            filling: Filling::default(),
            blocks: Vec::new(),
            places: Vec::new(),
            entries: 0,
        };
        // The head comes last, into this gap: without it the file is no bundle.
        writer.write(&[0; head::LEN])?;
        Ok(writer)
    }

    /// Adds a content with those of the keys that it proves (others are left out, as are more than [`MAX_KEYS`]), node URLs (at most
    /// [`MAX_NODES`], none that could be a JID) and a label. Whether anything was added: not where it proves no key. Of several contents
    /// of one key the first counts.
    ///
    /// # Errors
    /// Where the disk does not take it.
    pub fn add(
        &mut self,
        info: &VerifiedInfo,
        keys: &[CapsKey],
        nodes: &[String],
        label: &Label,
    ) -> io::Result<bool> {
        let policy = Policy::trusted();
        let proves = |key: &&CapsKey| {
            info.key(key.family(), key.algorithm(), &policy) == Some(**key)
                || matches!(
                    verify_canonical(key, info.info().clone(), &policy),
                    Verdict::Verified(_)
                )
        };
        let nodes = nodes.iter().filter(|node| may_be_kept(node));
        let entry = BundleEntry {
            keys: keys.iter().filter(proves).take(MAX_KEYS).copied().collect(),
            nodes: nodes.take(MAX_NODES).cloned().collect(),
            label: Label {
                client: one_line(&label.client),
                version: one_line(&label.version),
                date: one_line(&label.date),
            },
            info: info.info().clone(),
        };
        let bytes = encode(&entry);
        if entry.keys.is_empty() || entry.info.encode().len() > MAX_CONTENT_LEN {
            return Ok(false);
        }
        let block = u32::try_from(self.blocks.len()).map_err(|_| invalid("too many contents"))?;
        let slot = self.filling.add(&bytes);
        let places = entry.keys.iter().map(|key| (key.prefix(), block, slot));
        self.places.extend(places);
        self.entries += 1;
        if self.filling.is_full() {
            self.end_block()?;
        }
        Ok(true)
    }

    fn end_block(&mut self) -> io::Result<()> {
        let packed = self.filling.pack()?;
        let pointer = self.write(&packed)?;
        self.blocks.push(pointer);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<Pointer> {
        let pointer = Pointer::to(self.at, bytes);
        self.out.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(pointer)
    }

    /// Writes index and head, with a signature if there is a signer, and gives the bundle its name. Returns how many contents it has.
    ///
    /// # Errors
    /// Where the disk does not take it, or the signer fails; nothing is left behind then.
    pub fn finish(mut self, signer: Option<&Signer>) -> io::Result<u64> {
        if !self.filling.is_empty() {
            self.end_block()?;
        }
        // A stable order: of several contents of one key the first stays.
        let mut places = std::mem::take(&mut self.places);
        places.sort();
        places.dedup_by_key(|(prefix, ..)| *prefix);
        let blocks = std::mem::take(&mut self.blocks);
        let index = self.write_tree(places.iter().filter_map(|(prefix, block, slot)| {
            Some(Row {
                prefix: *prefix,
                pointer: *blocks.get(*block as usize)?,
                slot: *slot,
            })
        }))?;
        let blocks = self.write_tree(blocks.iter().map(|pointer| Row {
            prefix: NO_PREFIX,
            pointer: *pointer,
            slot: 0,
        }))?;
        let counts = (self.entries, places.len() as u64);
        let head = Head::new(self.created, self.generator, counts, &index, &blocks);
        let mut head = head.text().map_err(io::Error::other)?;
        if let Some(signer) = signer {
            let signature = signer.sign(&head).map_err(io::Error::other)?;
            head.push_str(&signature);
        }
        let mut bytes = head.into_bytes();
        if bytes.len() > head::LEN {
            return Err(invalid("the generator's text is too long"));
        }
        bytes.resize(head::LEN, b'\n');
        let file = self.out.into_inner().map_err(|error| error.into_error())?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        fs::rename(&self.unfinished.path, &self.unfinished.target)?;
        sync_directory(&self.unfinished.target)?;
        Ok(self.entries)
    }

    fn write_tree(&mut self, rows: impl Iterator<Item = Row>) -> io::Result<Root> {
        tree::write(rows, |page| self.write(page))
    }
}

/// Makes the new name durable.
fn sync_directory(file: &Path) -> io::Result<()> {
    let parent = file.parent().filter(|parent| *parent != Path::new(""));
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// The text without control characters, as far as there is room.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().filter(|c| !c.is_control()).collect();
    while line.len() > MAX_LABEL_LEN {
        line.pop();
    }
    line
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
