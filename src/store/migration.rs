//! Values of older formats.
//!
//! Every value says in which version it is written, and every version since the first is read: so a store of an older format
//! serves at once. Beside the service its values are then written again in the present version, a few at a time, in place: an
//! entry keeps its place in the order of use. When none is left the database notes it. Killed at any moment, a process leaves
//! both kinds side by side, and the next one goes through them once more.
//!
//! The number of the format is raised first of all, in the format file and then in the database, so that an older capsd, which would
//! take the new values for damaged ones and remove them, refuses the store instead.

use crate::metrics::StoreOperation;

use super::Store;
use super::directory::FORMAT;
use super::disk::{Disk, Migrated};
use super::engine::Fault;
use super::record::ID_LEN;

/// How many values are looked at in one step.
const STEP: usize = 64;

/// How far the values were brought to the present format.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Migration {
    /// Content ids below this one were looked at.
    reached: [u8; ID_LEN],
    /// How many were written again.
    written: u64,
}

impl Store {
    /// Takes note of whether there may be values of older formats, when the database was opened.
    pub(super) fn look_for_older_values(&mut self, disk: &Disk) {
        let Some(from) = disk.older_format() else {
            self.migration = None;
            return;
        };
        match &mut self.migration {
            // What was written since may have been lost with the database that was open before.
            Some(migration) => migration.reached = [0; ID_LEN],
            None => {
                tracing::info!(
                    store = %self.settings.path.display(),
                    from,
                    to = FORMAT,
                    "the store has values of an older format: they are written again beside the service. Older versions of \
                     capsd can no longer open it"
                );
                self.migration = Some(Migration::default());
            }
        }
    }

    /// Brings some more values to the present format.
    pub(super) fn migrate_some(&mut self) {
        if !self.is_usable() || self.flushing_since.is_some() || self.is_held() {
            return;
        }
        let (Some(migration), Some(disk)) = (&mut self.migration, &mut self.disk) else {
            return;
        };
        match disk.migrate(&migration.reached, STEP) {
            Ok(Migrated { written, next }) => {
                migration.written += written;
                self.dirty = true;
                match next {
                    Some(next) => migration.reached = next,
                    None => self.end_migration(),
                }
            }
            Err(fault) => self.fail(StoreOperation::Write, fault),
        }
    }

    fn end_migration(&mut self) {
        let noted: Result<(), Fault> = match &self.disk {
            Some(disk) => disk.note_present_format(),
            None => Ok(()),
        };
        if let Err(fault) = noted {
            return self.fail(StoreOperation::Write, fault);
        }
        if let Some(migration) = self.migration.take() {
            tracing::info!(
                store = %self.settings.path.display(),
                values = migration.written,
                format = FORMAT,
                "all values of the store have the present format"
            );
        }
    }
}
