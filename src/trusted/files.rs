//! Directories with one file for each content.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{EXTENSION, MAX_FILE_LEN, MAX_FILES, TrustedEntry, name_of, verified};
use crate::caps::verify::verify_canonical;
use crate::caps::{Answer, CapsKey, Policy, VerifiedInfo, verify};
use crate::layout::{CAPS2, HASHES, key_of_path, read_bounded};
use crate::stanza::answer::{AnswerLimits, parse_query_unwrapped};
use crate::store::{MAX_NODES, standard_keys};

/// One file.
#[derive(Debug)]
struct TrustedFile {
    path: PathBuf,
    /// The node URL in its name, where the layout has one.
    node: Option<String>,
    /// The key in its name.
    key: CapsKey,
    /// Whether it was found not to be what its name says, and said so.
    refused: bool,
}

/// The files of all directories, by the keys in their names.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: Vec<TrustedFile>,
    /// The files of each key, the first to be tried first. A key is here by a file's name, or because the content of a
    /// file was found to have it.
    by_key: HashMap<CapsKey, Vec<usize>, ahash::RandomState>,
    /// Every key, in the order in which they became known.
    keys: Vec<CapsKey>,
}

impl Files {
    /// Reads the names in a directory, and in the [database](crate::layout) that it may be; the paths of the bundles in it.
    pub(super) fn read_names(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut listing = Listing::new(MAX_FILES.saturating_sub(self.files.len()));
        listing.read(directory, 0)?;
        for (part, depth) in [(HASHES, 0), (CAPS2, 3)] {
            let below = directory.join(part);
            if below.is_dir() {
                listing.read(&below, depth)?;
            }
        }
        if listing.room == 0 {
            tracing::warn!(
                directory = %directory.display(),
                "there are more than {MAX_FILES} trusted files; the rest is left out. Put them into a bundle"
            );
        }
        let (mut others, mut bundles) = (0, Vec::new());
        for path in listing.paths {
            match (key_of_path(&path), path.extension()) {
                (Some((key, node)), _) => self.add(path, key, node),
                (None, Some(extension)) if extension == EXTENSION => bundles.push(path),
                (None, Some(extension)) if extension == "xml" => others += 1,
                // Whatever else lies there is no content: an explanation, a table.
                (None, _) => {}
            }
        }
        if others > 0 {
            tracing::info!(
                directory = %directory.display(),
                files = others,
                "files were left out that are not named ALGO_NODE.xml, with a hash function that capsd knows and the \
                 node percent-encoded, nor as below caps2/"
            );
        }
        Ok(bundles)
    }

    fn add(&mut self, path: PathBuf, key: CapsKey, node: Option<String>) {
        self.files.push(TrustedFile {
            path,
            node,
            key,
            refused: false,
        });
        self.index(key, self.files.len() - 1);
    }

    fn index(&mut self, key: CapsKey, file: usize) {
        let files = self.by_key.entry(key).or_default();
        if files.is_empty() {
            self.keys.push(key);
        }
        if !files.contains(&file) {
            files.push(file);
        }
    }

    pub(super) fn get(&mut self, key: &CapsKey) -> Option<TrustedEntry> {
        for position in 0.. {
            let file = *self.by_key.get(key)?.get(position)?;
            if self.files[file].refused {
                continue;
            }
            match self.read(file, key) {
                Ok(info) => {
                    for derived in standard_keys(&info, &Policy::default()) {
                        self.index(derived, file);
                    }
                    let nodes = self.nodes_of(key);
                    return Some(TrustedEntry {
                        info,
                        nodes,
                        source: name_of(&self.files[file].path),
                    });
                }
                Err(cause) => self.refuse(file, &cause),
            }
        }
        None
    }

    /// Reads a file and verifies it: what was sent for the key in its name, and what that key covers for the one that was
    /// asked for.
    fn read(&self, file: usize, key: &CapsKey) -> Result<VerifiedInfo, String> {
        let file = &self.files[file];
        let policy = Policy::trusted();
        let answer = read_answer(&file.path, &policy)?;
        let info = verified(verify(&file.key, &answer, &policy))?;
        if file.key == *key {
            return Ok(info);
        }
        verified(verify_canonical(key, info.into_info(), &policy))
    }

    fn refuse(&mut self, file: usize, cause: &str) {
        let file = &mut self.files[file];
        file.refused = true;
        tracing::warn!(
            file = %file.path.display(),
            cause,
            "a trusted file is not what its name says and is not served; replace or remove it, then send SIGHUP"
        );
    }

    fn nodes_of(&self, key: &CapsKey) -> Vec<String> {
        let mut nodes: Vec<String> = Vec::new();
        let files = self.by_key.get(key).into_iter().flatten();
        for node in files.filter_map(|file| self.files[*file].node.as_ref()) {
            if nodes.len() < MAX_NODES && !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        nodes
    }

    pub(super) fn contains(&self, key: &CapsKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Every key that is known, in the order in which they became known; skipping is free.
    pub(super) fn keys(&self) -> &[CapsKey] {
        &self.keys
    }

    /// How many files there are, those that turned out not to verify left out.
    pub(super) fn entries(&self) -> usize {
        self.files.iter().filter(|file| !file.refused).count()
    }
}

/// What lies in directories.
struct Listing {
    paths: Vec<PathBuf>,
    /// How many more names are looked at.
    room: usize,
}

impl Listing {
    fn new(room: usize) -> Listing {
        Listing {
            paths: Vec::new(),
            room,
        }
    }

    /// Adds what is in a directory, or so many levels below it, in an order that does not depend on the file system: which of several
    /// files of one key counts must not.
    fn read(&mut self, directory: &Path, depth: usize) -> io::Result<()> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory)? {
            if self.room == 0 {
                break;
            }
            self.room -= 1;
            paths.push(entry?.path());
        }
        paths.sort();
        for path in paths {
            if depth > 0 && path.is_dir() {
                self.read(&path, depth - 1)?;
            } else {
                self.paths.push(path);
            }
        }
        Ok(())
    }
}

/// Reads the `<query/>` in a file, which may be wrapped in another.
pub(super) fn read_answer(path: &Path, policy: &Policy) -> Result<Answer, String> {
    let limits = AnswerLimits {
        max_bytes: policy.max_bytes,
        max_features: policy.max_features,
    };
    let bytes = read_bounded(path, MAX_FILE_LEN).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        return Err(format!("larger than {MAX_FILE_LEN} bytes"));
    }
    parse_query_unwrapped(&bytes, limits).map_err(|error| error.to_string())
}
