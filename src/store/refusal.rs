//! What keeps the store from being opened, and what an operator can do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::directory::FORMAT;
use super::engine::Fault;

/// Why the store cannot be opened at start, in a way that only an operator can change. Nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreRefusal {
    /// Another process has it open.
    #[error(
        "the store {} is in use{}: stop that one first, or give this one another store.path",
        path.display(), holder.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    InUse {
        /// `store.path`.
        path: PathBuf,
        /// The process that holds it, as far as it is known.
        holder: Option<u32>,
    },
    /// It was written by a newer version.
    #[error(
        "the store {} has format {found}, this version of capsd knows formats up to {FORMAT}: \
         run the newer version again, or give this one another store.path",
        path.display()
    )]
    Newer {
        /// `store.path`.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The user that capsd runs as may not use it.
    #[error(
        "the store {} cannot be used: {text}: give the directory and all in it to the user that capsd runs as \
         (chown -R), or change store.path",
        path.display()
    )]
    Permission {
        /// `store.path`.
        path: PathBuf,
        /// What the operating system said.
        text: String,
    },
    /// It lies on a file system that is mounted read-only.
    #[error(
        "the store {} is on a read-only file system: mount it writable (under systemd: StateDirectory= or \
         ReadWritePaths=), or change store.path",
        path.display()
    )]
    ReadOnly {
        /// `store.path`.
        path: PathBuf,
    },
    /// The directory that it is to be made in does not exist.
    #[error(
        "the store {} cannot be made: the directory above it does not exist: make that one (mkdir -p {}), or \
         change store.path",
        path.display(), path.parent().unwrap_or(path).display()
    )]
    ParentMissing {
        /// `store.path`.
        path: PathBuf,
    },
    /// It, or something above it, is a file.
    #[error(
        "the store {} cannot be made: it, or a part of its path, is not a directory: remove what is there, or \
         change store.path",
        path.display()
    )]
    NotADirectory {
        /// `store.path`.
        path: PathBuf,
    },
}

impl StoreRefusal {
    /// The exit code of a command that ends because of this: 3 where the store is in use or newer, else 2.
    pub fn exit_code(&self) -> u8 {
        match self {
            StoreRefusal::InUse { .. } | StoreRefusal::Newer { .. } => 3,
            _ => 2,
        }
    }
}

/// Why the store could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Only an operator can change it.
    Refusal(StoreRefusal),
    /// It may pass by itself.
    Fault(Fault),
}

impl Obstacle {
    /// What a format that is newer means.
    pub(super) fn newer(path: &Path, found: u32) -> Obstacle {
        Obstacle::Refusal(StoreRefusal::Newer {
            path: path.to_owned(),
            found,
        })
    }

    /// What an error while the store was opened means.
    pub(super) fn at(path: &Path, error: &io::Error) -> Obstacle {
        use io::ErrorKind::*;
        let text = error.to_string();
        let path = path.to_owned();
        Obstacle::Refusal(match error.kind() {
            PermissionDenied => StoreRefusal::Permission { path, text },
            ReadOnlyFilesystem => StoreRefusal::ReadOnly { path },
            NotFound => StoreRefusal::ParentMissing { path },
            NotADirectory | AlreadyExists => StoreRefusal::NotADirectory { path },
            _ => return Obstacle::Fault(Fault::from_io(error)),
        })
    }

    /// What a fault of the engine while it was opened means.
    pub(super) fn of_engine(path: &Path, fault: Fault) -> Obstacle {
        let path = path.to_owned();
        match fault {
            Fault::Locked => Obstacle::Refusal(StoreRefusal::InUse { path, holder: None }),
            Fault::Io {
                kind: io::ErrorKind::PermissionDenied,
                text,
            } => Obstacle::Refusal(StoreRefusal::Permission { path, text }),
            Fault::Io {
                kind: io::ErrorKind::ReadOnlyFilesystem,
                ..
            } => Obstacle::Refusal(StoreRefusal::ReadOnly { path }),
            fault => Obstacle::Fault(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_refusal() {
        let error = io::Error::from_raw_os_error(28);
        assert!(matches!(
            Obstacle::at(Path::new("/store"), &error),
            Obstacle::Fault(_)
        ));
        let error = io::Error::from_raw_os_error(30);
        let Obstacle::Refusal(refused) = Obstacle::at(Path::new("/store"), &error) else {
            panic!("a read-only file system is a refusal");
        };
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("/store"));
    }
}
