//! How far the last confirmed flush reached, noted beside the storage engine.
//!
//! A log that was cut off or damaged in its middle looks to sled like the log of a process that crashed: it takes what is
//! before the damage and says nothing. This note is what tells the two apart.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The note: the place in the order of use that the next entry would have got, and a checksum.
const NOTE_LEN: usize = 12;

/// The file with the note.
#[derive(Debug)]
pub(super) struct Confirmed(File);

impl Confirmed {
    /// Opens the file in the engine's directory, or makes it.
    pub(super) fn open(directory: &Path) -> io::Result<Confirmed> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join("confirmed"))
            .map(Confirmed)
    }

    /// What was noted last; `None` where nothing was, or it is not legible.
    pub(super) fn read(&self) -> Option<u64> {
        let mut note = [0; NOTE_LEN];
        self.0.read_exact_at(&mut note, 0).ok()?;
        let (next_use, checksum) = note.split_at_checked(8)?;
        let matches = crc32fast::hash(next_use).to_be_bytes() == *checksum;
        let next_use = u64::from_be_bytes(next_use.try_into().ok()?);
        matches.then_some(next_use)
    }

    /// Notes how far a flush reached. It is not synced: an older note only says less.
    pub(super) fn write(&self, next_use: u64) -> io::Result<()> {
        let next_use = next_use.to_be_bytes();
        let mut note = [0; NOTE_LEN];
        note[..8].copy_from_slice(&next_use);
        note[8..].copy_from_slice(&crc32fast::hash(&next_use).to_be_bytes());
        self.0.write_all_at(&note, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let confirmed = Confirmed::open(directory.path()).unwrap();
        assert_eq!(confirmed.read(), None);
        for next_use in [0, 1, u64::MAX, 7] {
            confirmed.write(next_use).unwrap();
            let again = Confirmed::open(directory.path()).unwrap();
            assert_eq!(again.read(), Some(next_use));
        }
    }

    #[test]
    fn a_damaged_note_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let confirmed = Confirmed::open(directory.path()).unwrap();
        confirmed.write(7).unwrap();
        confirmed.0.write_all_at(&[1], 3).unwrap();
        assert_eq!(confirmed.read(), None);
        confirmed.0.set_len(5).unwrap();
        assert_eq!(confirmed.read(), None);
    }
}
