//! The trusted tier: content that the operator installed, read-only, in front of what capsd learned.
//!
//! A directory holds one file for each content, named `ALGO_NODE.xml`: `ALGO` is the hash function and `NODE` the node
//! with its `ver` (`http://example.org#QgayPKawpkPSDYmwT/WM94uAlu0=`), percent-encoded; the file is the `<query/>` of a
//! disco#info answer. It is the layout in which capsdb is published and aioxmpp keeps its database.
//!
//! At start only names are read, so it does not grow with what the files hold. A file is read, and its hash checked, every
//! time it is asked for: nothing is served because of its name. An operator may install what a stranger may not send,
//! so the ambiguity rule, the rule on repetitions and the ban on md5 are waived, never the hash; what needed it is marked
//! ([`VerifiedInfo::waived`]).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::caps::verify::verify_canonical;
use crate::caps::{CapsKey, Policy, Verdict, VerifiedInfo, verify};
use crate::layout::key_of_name;
use crate::metrics::{Metrics, Tier};
use crate::stanza::answer::{AnswerLimits, parse_query_unwrapped};
use crate::store::{MAX_NODES, standard_keys};

/// The directory that packages install trusted content to; nobody asked for it if it is not there.
const DEFAULT_DIRECTORY: &str = "/usr/share/capsd/trusted";

/// The most files that are looked at, over all directories.
pub const MAX_FILES: usize = 200_000;

/// The largest file that is read, in bytes; larger ones are never served.
pub const MAX_FILE_LEN: u64 = 64 * 1024;

/// Content of the trusted tier, verified for the key that was asked for.
#[derive(Clone, Debug)]
pub struct TrustedEntry {
    /// The content; [`VerifiedInfo::waived`] says whether a stranger could not have taught it.
    pub info: VerifiedInfo,
    /// The node URLs in the names of the files, at most [`MAX_NODES`].
    pub nodes: Vec<String>,
}

/// One file.
#[derive(Debug)]
struct TrustedFile {
    path: PathBuf,
    /// The node URL in its name.
    node: String,
    /// The key in its name.
    key: CapsKey,
    /// Whether it was found not to be what its name says, and said so.
    refused: bool,
}

/// The trusted tier.
#[derive(Debug)]
pub struct Trusted {
    metrics: Arc<Metrics>,
    files: Vec<TrustedFile>,
    /// The files of each key, the first to be tried first. A key is here by a file's name, or because the content of a
    /// file was found to have it.
    by_key: HashMap<CapsKey, Vec<usize>, ahash::RandomState>,
    /// Every key, in the order in which they became known.
    keys: Vec<CapsKey>,
}

impl Trusted {
    /// Reads the names in those directories. What cannot be read is said in the log with its remedy and left out: the
    /// trusted tier makes capsd better, it must not keep it from starting.
    ///
    /// Of two files with the same key the one of the earlier directory counts; the other is used where the first does
    /// not verify.
    pub fn open(directories: &[PathBuf], metrics: Arc<Metrics>) -> Trusted {
        let mut trusted = Trusted {
            metrics,
            files: Vec::new(),
            by_key: HashMap::default(),
            keys: Vec::new(),
        };
        for directory in directories {
            match trusted.read_names(directory) {
                Ok(()) => {}
                Err(error) => say_unreadable(directory, &error),
            }
        }
        let entries = i64::try_from(trusted.entries()).unwrap_or(i64::MAX);
        let gauge = trusted.metrics.cache_entries.get(Tier::Trusted);
        gauge.set(entries);
        trusted
    }

    fn read_names(&mut self, directory: &Path) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            names.push(entry?.file_name());
            if self.files.len() + names.len() >= MAX_FILES {
                tracing::warn!(
                    directory = %directory.display(),
                    "there are more than {MAX_FILES} trusted files; the rest is left out. Split them over several \
                     instances, or import them into the learned tier"
                );
                break;
            }
        }
        // Which of several files of one key counts must not depend on the file system.
        names.sort();
        let mut others = 0;
        for name in names {
            match name.to_str().and_then(key_of_name) {
                Some((key, node)) => self.add(directory.join(&name), key, node),
                None => others += 1,
            }
        }
        if others > 0 {
            tracing::info!(
                directory = %directory.display(),
                files = others,
                "files were left out that are not named ALGO_NODE.xml, with a hash function that capsd knows and the \
                 node percent-encoded"
            );
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, key: CapsKey, node: String) {
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

    /// What is trusted under a key, verified for it.
    ///
    /// Beside the keys in the names of files, these are found once a file was read: the
    /// [standard keys](standard_keys) of its content under the rules for strangers.
    pub fn get(&mut self, key: &CapsKey) -> Option<TrustedEntry> {
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
                    return Some(TrustedEntry { info, nodes });
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
        let limits = AnswerLimits {
            max_bytes: policy.max_bytes,
            max_features: policy.max_features,
        };
        let bytes = read_bounded(&file.path).map_err(|error| error.to_string())?;
        let answer = parse_query_unwrapped(&bytes, limits).map_err(|error| error.to_string())?;
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
            "a trusted file is not what its name says and is not served; replace or remove it, then start capsd again"
        );
    }

    fn nodes_of(&self, key: &CapsKey) -> Vec<String> {
        let mut nodes: Vec<String> = Vec::new();
        let files = self.by_key.get(key).into_iter().flatten();
        for node in files.map(|file| &self.files[*file].node) {
            if nodes.len() < MAX_NODES && !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        nodes
    }

    /// Whether a key is known here. The content is not looked at: it may turn out not to verify.
    pub fn contains(&self, key: &CapsKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Every key that is known, in the order in which they became known. Skipping is free, so that whoever compares them
    /// with another tier may go on where it stopped.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = CapsKey> + '_ {
        self.keys.iter().copied()
    }

    /// How many files there are that are named as they should be, those that turned out not to verify left out.
    pub fn entries(&self) -> usize {
        self.files.iter().filter(|file| !file.refused).count()
    }
}

fn verified(verdict: Verdict) -> Result<VerifiedInfo, String> {
    match verdict {
        Verdict::Verified(info) => Ok(info),
        Verdict::Quarantined(reason, text) | Verdict::Rejected(reason, text) => {
            Err(format!("{reason}: {text}"))
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // Opening something else, a pipe for one, could wait for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_LEN + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        return Err(io::Error::other(format!(
            "larger than {MAX_FILE_LEN} bytes"
        )));
    }
    Ok(bytes)
}

fn say_unreadable(directory: &Path, error: &io::Error) {
    if error.kind() == io::ErrorKind::NotFound && directory == Path::new(DEFAULT_DIRECTORY) {
        tracing::debug!(
            directory = DEFAULT_DIRECTORY,
            "no trusted content is installed"
        );
        return;
    }
    tracing::warn!(
        directory = %directory.display(),
        cause = %error,
        "a directory of trusted content cannot be read; capsd goes on without it. Make it, or take it out of \
         trusted.directories"
    );
}
