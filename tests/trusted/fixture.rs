//! Directories with files in the layout of capsdb, and what is logged about them.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use capsd::bundle::Signers;
use capsd::caps::{Algorithm, CapsKey, Family};
use capsd::metrics::Metrics;
use capsd::trusted::{Sources, Trusted};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::{Digest as _, Sha1};

/// A directory for trusted files.
pub(crate) struct Directory(tempfile::TempDir);

impl Directory {
    pub(crate) fn new() -> Directory {
        Directory(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Writes a file for that key, announced with that node.
    pub(crate) fn add(&self, key: &CapsKey, node: &str, content: &str) {
        let name = format!(
            "{}_{}.xml",
            key.algorithm().name(),
            utf8_percent_encode(&key.to_node(node), NON_ALPHANUMERIC)
        );
        std::fs::write(self.0.path().join(name), content).unwrap();
    }
}

pub(crate) fn open(directories: &[&Directory]) -> Trusted {
    let paths = directories.iter().map(|d| d.path()).collect();
    open_paths(paths)
}

pub(crate) fn open_paths(directories: Vec<PathBuf>) -> Trusted {
    Trusted::open(&sources(directories), &Metrics::new().unwrap())
}

/// Those directories, and bundles that anybody made.
pub(crate) fn sources(directories: Vec<PathBuf>) -> Sources {
    Sources {
        directories,
        bundles: Vec::new(),
        signers: Signers::new(&[], true).unwrap(),
    }
}

/// Every key that the tier knows and has not given yet.
pub(crate) fn keys(trusted: &mut Trusted) -> Vec<CapsKey> {
    trusted.next_keys(usize::MAX)
}

/// The sha-1 key of a 0115 verification string.
pub(crate) fn key_of(string: &str) -> CapsKey {
    CapsKey::new(Family::Xep0115, Algorithm::Sha1, &Sha1::digest(string)).unwrap()
}

/// A `<query/>` with those children.
pub(crate) fn query(children: &str) -> String {
    format!("<query xmlns='http://jabber.org/protocol/disco#info'>{children}</query>")
}

/// Runs something and gives its result and the warnings that it logged.
pub(crate) fn warnings_of<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let result = tracing::subscriber::with_default(subscriber, work);
    let bytes = std::mem::take(&mut *log.0.lock().unwrap());
    let text = String::from_utf8(bytes).unwrap();
    let warnings = text.lines().filter(|line| line.contains("WARN"));
    (result, warnings.map(str::to_owned).collect())
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
