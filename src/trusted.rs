//! The trusted tier: content that the operator installed, read-only, in front of what capsd learned; and [`Overrides`], what
//! the operator says about single keys, in front of that.
//!
//! | room | what lives there |
//! |---|---|
//! | this file | [`Trusted`]: all sources together |
//! | `files` | directories with one file for each content |
//! | `bundles` | [bundles](crate::bundle) |
//! | `overrides` | pinned and denied keys |
//! | [`orders`] | those of them that were given by command while capsd ran |
//!
//! A directory holds one file for each content, named `ALGO_NODE.xml`: `ALGO` is the hash function and `NODE` the node
//! with its `ver` (`http://example.org#QgayPKawpkPSDYmwT/WM94uAlu0=`), percent-encoded; the file is the `<query/>` of a
//! disco#info answer. It may also be a database of aioxmpp, what `capsd export` writes: files below `hashes/` and `caps2/` are
//! found as [`layout`](crate::layout) says. Bundles may lie beside them. Of several contents of one key the one in a file counts, then those in bundles; the earlier directory or bundle
//! before the later.
//!
//! # What is read when
//!
//! [`Trusted::open`] reads the names in the directories, and of each bundle one head and one page: nothing that grows with what they
//! hold. Since a name holds the node beside the hash, a file can only be found by listing its directory; that takes longer the more
//! there are (about three seconds for 200,000), so the daemon does it beside its start, and what is asked for meanwhile waits. Whoever has
//! more than some thousands should make a bundle of them.
//!
//! A content is read, and its hash checked, every time it is asked for: nothing is served because of its name. An operator may
//! install what a stranger may not send, so the ambiguity rule, the rule on repetitions and the ban on md5 are waived,
//! never the hash; what needed it is marked ([`VerifiedInfo::waived`]).
//!
//! Nothing here changes while it is in use: reading everything again makes a new [`Trusted`], which takes the place of the old one.

mod bundles;
mod files;
pub mod orders;
mod overrides;

use std::io;
use std::path::{Path, PathBuf};

use crate::bundle::{EXTENSION, Signers};
use crate::caps::{CapsKey, Verdict, VerifiedInfo};
use crate::metrics::{Metrics, Tier};

use bundles::Bundles;
use files::Files;

pub use overrides::Overrides;

/// The directory that packages install trusted content to; nobody asked for it if it is not there.
const DEFAULT_DIRECTORY: &str = "/usr/share/capsd/trusted";

/// The most files that are looked at, over all directories.
pub const MAX_FILES: usize = 200_000;

/// The most bundles that are open; every one is looked in for every key that is not found before.
pub const MAX_BUNDLES: usize = 64;

/// The largest file that is read, in bytes; larger ones are never served.
pub const MAX_FILE_LEN: u64 = 64 * 1024;

/// Where trusted content is.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Directories, the one that counts first.
    pub directories: Vec<PathBuf>,
    /// Bundles beside those in the directories.
    pub bundles: Vec<PathBuf>,
    /// Whose bundles count.
    pub signers: Signers,
}

/// What a directory of trusted content holds, by the names in it.
#[derive(Debug)]
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    /// How many contents there are in files of their own, and the paths of bundles; or why it cannot be listed.
    pub holds: io::Result<(usize, Vec<PathBuf>)>,
}

impl Directory {
    /// Whether it is the default one and not there, which is no fault: nothing was installed.
    pub fn is_left_out(&self) -> bool {
        let holds = self.holds.as_ref();
        holds.is_err_and(|error| is_left_out(&self.path, error))
    }
}

impl Sources {
    /// What is in each directory, in their order. No content is read.
    pub fn listed(&self) -> Vec<Directory> {
        let list = |path: &PathBuf| {
            let mut files = Files::default();
            let bundles = files.read_names(path);
            Directory {
                path: path.clone(),
                holds: bundles.map(|bundles| (files.entries(), bundles)),
            }
        };
        self.directories.iter().map(list).collect()
    }
}

/// Content of the trusted tier, verified for the key that was asked for.
#[derive(Clone, Debug)]
pub struct TrustedEntry {
    /// The content; [`VerifiedInfo::waived`] says whether a stranger could not have taught it.
    pub info: VerifiedInfo,
    /// Node URLs that it is known to be announced with; not covered by the hash.
    pub nodes: Vec<String>,
    /// The name of the file or bundle that it is in.
    pub source: String,
}

/// The trusted tier.
#[derive(Debug)]
pub struct Trusted {
    files: Files,
    bundles: Bundles,
    /// How many of the keys in files [`Trusted::next_keys`] has given.
    given: usize,
}

impl Trusted {
    /// Opens what is there. What cannot be used is said in the log with its remedy and left out: the trusted tier makes capsd
    /// better, it must not keep it from starting.
    pub fn open(sources: &Sources, metrics: &Metrics) -> Trusted {
        let (files, found) = read_names(sources);
        let trusted = Trusted {
            files,
            bundles: Bundles::open(found, &sources.signers),
            given: 0,
        };
        let entries = i64::try_from(trusted.entries()).unwrap_or(i64::MAX);
        metrics.cache_entries.get(Tier::Trusted).set(entries);
        trusted
    }

    /// What is trusted under a key, verified for it.
    ///
    /// Beside the keys in the names of files, these are found once a file was read: the
    /// [standard keys](crate::store::standard_keys) of its content under the rules for strangers.
    pub fn get(&mut self, key: &CapsKey) -> Option<TrustedEntry> {
        match self.files.get(key) {
            Some(entry) => Some(entry),
            None => self.bundles.get(key),
        }
    }

    /// Whether a key is known here. The content is not looked at: it may turn out not to verify.
    pub fn contains(&self, key: &CapsKey) -> bool {
        self.files.contains(key) || self.bundles.contains(key)
    }

    /// Some more of the keys that are known here, about as many as wanted; none once all were given. For whoever compares them with
    /// another tier, a piece at a time.
    pub fn next_keys(&mut self, wanted: usize) -> Vec<CapsKey> {
        let rest = self.files.keys().get(self.given..).unwrap_or_default();
        let mut keys: Vec<CapsKey> = rest.iter().take(wanted).copied().collect();
        self.given += keys.len();
        while keys.len() < wanted {
            match self.bundles.next_keys() {
                Some(more) => keys.extend(more),
                None => break,
            }
        }
        keys
    }

    /// How many contents there are, files that turned out not to verify left out; of bundles, as many as they say.
    pub fn entries(&self) -> u64 {
        (self.files.entries() as u64).saturating_add(self.bundles.entries())
    }
}

/// The files of the directories, and the paths of all bundles, the one that counts first.
fn read_names(sources: &Sources) -> (Files, Vec<PathBuf>) {
    let mut files = Files::default();
    let mut found = Vec::new();
    for directory in &sources.directories {
        match files.read_names(directory) {
            Ok(bundles) => found.extend(bundles),
            Err(error) => say_unreadable(directory, &error),
        }
    }
    found.extend_from_slice(&sources.bundles);
    (files, found)
}

/// The name of a file, for people.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn verified(verdict: Verdict) -> Result<VerifiedInfo, String> {
    match verdict {
        Verdict::Verified(info) => Ok(info),
        Verdict::Quarantined(reason, text) | Verdict::Rejected(reason, text) => {
            Err(format!("{reason}: {text}"))
        }
    }
}

fn is_left_out(directory: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && directory == Path::new(DEFAULT_DIRECTORY)
}

fn say_unreadable(directory: &Path, error: &io::Error) {
    if is_left_out(directory, error) {
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
