//! What is to be imported: files, and what is in directories.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::bundle::EXTENSION;
use crate::caps::CapsKey;
use crate::layout::{key_of_path, read_bounded};

/// The most files of one import.
pub(super) const MAX_FILES: usize = 500_000;

/// How deep directories are looked into.
const MAX_DEPTH: usize = 16;

/// The largest file that is read, in bytes; larger than any content that can be permitted.
pub(super) const MAX_FILE_LEN: u64 = 512 * 1024;

/// What was found to be imported.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// In order of their names.
    pub(super) paths: Vec<PathBuf>,
    /// How many files in directories are not named as contents are.
    pub(super) passed_over: u64,
}

/// Why there is nothing to begin with.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesFault {
    /// Something cannot be read.
    #[error("cannot read {}: {error}. Name files and directories that this user may read", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// There are more than [`MAX_FILES`].
    #[error("there are more than {MAX_FILES} files. Import them in several goes, or as a bundle")]
    TooMany,
    /// Directories are nested deeper than [`MAX_DEPTH`].
    #[error("{} is too deep below what was named. Name the directory that holds the contents", path.display())]
    TooDeep {
        /// Where.
        path: PathBuf,
    },
}

impl Files {
    /// Looks for them. A file that is named itself is to be imported whatever its name; of a directory those that end in `.xml` or
    /// as a bundle does. Links to directories are not followed.
    pub(super) fn find(paths: &[PathBuf]) -> Result<Files, FilesFault> {
        let mut files = Files::default();
        for path in paths {
            let found = fs::metadata(path).map_err(unreadable(path))?;
            if found.is_dir() {
                // The names of the directories above a file say what it is.
                let path = fs::canonicalize(path).map_err(unreadable(path))?;
                files.look_into(&path, 0)?;
            } else {
                File::open(path).map_err(unreadable(path))?;
                files.add(path.clone())?;
            }
        }
        Ok(files)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), FilesFault> {
        self.paths.push(path);
        match self.paths.len() > MAX_FILES {
            true => Err(FilesFault::TooMany),
            false => Ok(()),
        }
    }

    fn look_into(&mut self, directory: &Path, depth: usize) -> Result<(), FilesFault> {
        if depth > MAX_DEPTH {
            let path = directory.to_owned();
            return Err(FilesFault::TooDeep { path });
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable(directory))? {
            let entry = entry.map_err(unreadable(directory))?;
            let kind = entry.file_type().map_err(unreadable(directory))?;
            entries.push((entry.file_name(), kind.is_dir()));
        }
        entries.sort();
        for (name, is_directory) in entries {
            let path = directory.join(&name);
            if is_directory {
                self.look_into(&path, depth + 1)?;
            } else if path
                .extension()
                .is_some_and(|e| e == "xml" || e == EXTENSION)
            {
                self.add(path)?;
            } else {
                self.passed_over += 1;
            }
        }
        Ok(())
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> FilesFault {
    let path = path.to_owned();
    move |error| FilesFault::Unreadable { path, error }
}

/// A file of one content.
#[derive(Debug)]
pub(super) struct ContentFile {
    /// The key that it is of, by its name.
    pub(super) key: CapsKey,
    /// The node URL in its name.
    pub(super) node_url: Option<String>,
    /// What is in it.
    pub(super) query: String,
}

/// Why a file is not one of a content.
#[derive(Debug)]
pub(super) enum NotAContent {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is not named as it should be.
    Name,
    /// It is larger than [`MAX_FILE_LEN`].
    TooLarge,
    /// It is not text in UTF-8.
    NotText,
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<ContentFile, NotAContent> {
    let (key, node_url) = key_of_path(path).ok_or(NotAContent::Name)?;
    let bytes = read_bounded(path, MAX_FILE_LEN).map_err(NotAContent::Unreadable)?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        return Err(NotAContent::TooLarge);
    }
    let query = String::from_utf8(bytes).map_err(|_| NotAContent::NotText)?;
    Ok(ContentFile {
        key,
        node_url,
        query,
    })
}
