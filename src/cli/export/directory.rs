//! A directory of files, one for each key and node: what aioxmpp takes as its database.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::unfinished::{Unfinished, parent};
use crate::caps::{CapsKey, Family};
use crate::control::desk::query;
use crate::layout::path_of;
use crate::store::Learned;

/// The file by which an export is known that may be replaced by another.
const MARK: &str = "capsd-export.txt";

/// Why nothing can be exported to a name.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetFault {
    /// Something else is there.
    #[error(
        "{} is there and is no export of capsd, so it is not replaced. Name something that is not there yet, or is empty",
        path.display()
    )]
    Taken {
        /// The name.
        path: PathBuf,
    },
    /// There is nothing to sign it with.
    #[error("{0}")]
    Signing(String),
    /// The file system refuses.
    #[error("cannot write {}: {error}. Name a place that this user may write to", path.display())]
    Refused {
        /// The name.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

/// What was written, and what could not be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// Files.
    pub(super) files: u64,
    /// 0115 keys without a node URL to be found by.
    pub(super) without_node: u64,
    /// 0115 keys with a node URL too long for the name of a file.
    pub(super) too_long: u64,
}

/// The directory that is being written.
#[derive(Debug)]
pub(super) struct Directory {
    unfinished: Unfinished,
    made: HashSet<PathBuf>,
    written: Written,
}

impl Directory {
    /// Begins one.
    pub(super) fn create(target: &Path) -> Result<Directory, TargetFault> {
        let refused = |error| TargetFault::Refused {
            path: target.to_owned(),
            error,
        };
        match fs::read_dir(target) {
            Ok(mut entries) => {
                if entries.next().is_some() && !target.join(MARK).is_file() {
                    let path = target.to_owned();
                    return Err(TargetFault::Taken { path });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error)
                if error.kind() == io::ErrorKind::NotADirectory && parent(target).is_dir() =>
            {
                let path = target.to_owned();
                return Err(TargetFault::Taken { path });
            }
            Err(error) => return Err(refused(error)),
        }
        Ok(Directory {
            unfinished: Unfinished::create(target).map_err(refused)?,
            made: HashSet::new(),
            written: Written::default(),
        })
    }

    /// Writes the files of one content.
    pub(super) fn add(&mut self, learned: &Learned) -> io::Result<()> {
        let document = format!(
            "<?xml version='1.0' encoding='utf-8'?>\n{}\n",
            query(learned.info.info())
        );
        for key in &learned.keys {
            match key.family() {
                Family::Xep0390 => self.write(key, "", &document)?,
                Family::Xep0115 if learned.nodes.is_empty() => self.written.without_node += 1,
                Family::Xep0115 => {
                    for node_url in &learned.nodes {
                        self.write(key, node_url, &document)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, key: &CapsKey, node_url: &str, document: &str) -> io::Result<()> {
        let Some(path) = path_of(key, node_url) else {
            self.written.too_long += 1;
            return Ok(());
        };
        let path = self.unfinished.path().join(path);
        let directory = parent(&path);
        if !self.made.contains(directory) {
            fs::create_dir_all(directory)?;
            self.made.insert(directory.to_owned());
        }
        self.written.files += 1;
        fs::write(path, document)
    }

    /// Gives it its name.
    pub(super) fn finish(self, contents: u64) -> io::Result<Written> {
        let version = env!("CARGO_PKG_VERSION");
        let text = format!(
            "{contents} contents, exported by capsd {version}.\n\nThis directory is a database of aioxmpp (Cache.set_system_db_path). The next \
             `capsd export` to it replaces it.\n"
        );
        fs::write(self.unfinished.path().join(MARK), text)?;
        self.unfinished.finish()?;
        Ok(self.written)
    }
}
