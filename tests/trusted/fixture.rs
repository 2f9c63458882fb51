//! Directories with files in the layout of capsdb, and what is logged about them.

use std::path::PathBuf;

use capsd::bundle::Signers;
use capsd::caps::CapsKey;
use capsd::metrics::Metrics;
use capsd::trusted::{Sources, Trusted};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::log;

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
    log::begin();
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

/// A `<query/>` with those children.
pub(crate) fn query(children: &str) -> String {
    format!("<query xmlns='http://jabber.org/protocol/disco#info'>{children}</query>")
}

/// Runs something and gives its result and the warnings that it logged.
pub(crate) fn warnings_of<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let (result, mut lines) = log::of(work);
    lines.retain(|line| line.contains("WARN"));
    (result, lines)
}
