//! The order of use: which entry goes first, and what all of them take.

use super::counters::Totals;
use super::disk::{Disk, USE_LEN, number32, number64};
use super::engine::{Fault, guarded};
use super::record::{ContentId, ID_LEN, Names, Record, key_row};

/// How many rows one step of counting again looks at.
const RECOUNT_STEP: usize = 2048;

/// What an attempt to evict did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evicted {
    /// There is nothing to evict.
    Nothing,
    /// A row was tidied away, or an entry got its second chance.
    Moved,
    /// The entry with this content is gone.
    Entry(ContentId),
}

/// Some entries in the order of use.
pub(super) struct InOrder {
    /// Each under its id, with those keys alone that lead to it.
    pub(super) entries: Vec<(ContentId, Record)>,
    /// The place to go on with.
    pub(super) next: u64,
    /// How many rows were looked at: fewer than were asked for at the end.
    pub(super) rows: usize,
}

/// Counting again, from the oldest place on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recount {
    /// The first place that was not looked at.
    reached: u64,
    totals: Totals,
}

impl Disk {
    /// Evicts the entry with the oldest place, or gives it its second chance if it was used and `spare` says so.
    pub(super) fn evict(&mut self, spare: bool) -> Result<Evicted, Fault> {
        guarded(|| {
            let Some((place, row)) = self.uses.first()? else {
                return Ok(Evicted::Nothing);
            };
            let (Some(place), Some((id, _))) = (number64(&place), read_use(&row)) else {
                self.uses.remove(place)?;
                return Ok(Evicted::Moved);
            };
            let value = self.infos.get(id.0)?;
            let record = value.as_deref().and_then(|v| Record::decode(&id, v));
            let mut evicted = Evicted::Moved;
            match record {
                Some(record) if record.used != place => {}
                Some(record) if self.marks.take(&id) && spare => {
                    self.place(&id, record.names, record.content)?;
                }
                Some(record) => {
                    self.erase(&id, &record)?;
                    evicted = Evicted::Entry(id);
                }
                None if value.is_some() => {
                    self.infos.remove(id.0)?;
                }
                None => {}
            }
            self.unplace(Some(place))?;
            Ok(evicted)
        })
    }

    /// Counts some more rows.
    pub(super) fn count_on(&mut self) -> Result<(), Fault> {
        let Some(mut recount) = self.recount else {
            return Ok(());
        };
        guarded(|| {
            let mut looked_at = 0;
            for row in self.uses.range(recount.reached.to_be_bytes()..) {
                let (place, row) = row?;
                if let (Some(place), Some((_, size))) = (number64(&place), read_use(&row)) {
                    recount.reached = place.saturating_add(1);
                    recount.totals.add(size);
                }
                looked_at += 1;
                if looked_at == RECOUNT_STEP {
                    self.recount = Some(recount);
                    return Ok(());
                }
            }
            self.totals = recount.totals;
            self.recount = None;
            Ok(())
        })
    }

    /// Writes an entry with the newest place in the order of use.
    pub(super) fn place(
        &mut self,
        id: &ContentId,
        names: Names,
        content: Vec<u8>,
    ) -> sled::Result<()> {
        let used = self.next_use;
        let keys = names.keys.len();
        let value = Record {
            used,
            names,
            content,
        }
        .encode(id);
        let size = size_of_entry(keys, value.len());
        let row = use_row(id, size);
        self.uses.insert(used.to_be_bytes(), row.as_slice())?;
        self.next_use += 1;
        self.totals.add(size);
        self.infos.insert(id.0, value)?;
        self.writes += 2;
        Ok(())
    }

    /// Marks an entry as used.
    pub(super) fn mark(&mut self, id: &ContentId) {
        self.marks.fit(self.totals.entries);
        self.marks.set(id);
    }

    /// Writes a value again, in the place that it has in the order of use.
    pub(super) fn replace(&mut self, id: &ContentId, record: &Record) -> sled::Result<()> {
        let value = record.encode(id);
        let size = size_of_entry(record.names.keys.len(), value.len());
        let row = use_row(id, size);
        self.infos.insert(id.0, value)?;
        self.writes += 1;
        let place = record.used.to_be_bytes();
        // A value without its row is one that a crash left; its row is not made up.
        let Some(old) = self.uses.get(place)? else {
            return Ok(());
        };
        self.uses.insert(place, row.as_slice())?;
        self.writes += 1;
        let before = read_use(&old).map_or(0, |(_, size)| size);
        self.totals.take(before);
        self.totals.add(size);
        if let Some(recount) = self.recount.as_mut().filter(|r| record.used < r.reached) {
            recount.totals.take(before);
            recount.totals.add(size);
        }
        Ok(())
    }

    /// Removes a row of the order of use.
    pub(super) fn unplace(&mut self, place: Option<u64>) -> sled::Result<()> {
        let Some(place) = place else {
            return Ok(());
        };
        self.writes += 1;
        let Some(row) = self.uses.remove(place.to_be_bytes())? else {
            return Ok(());
        };
        let size = read_use(&row).map_or(0, |(_, size)| size);
        self.totals.take(size);
        if let Some(recount) = self.recount.as_mut().filter(|r| place < r.reached) {
            recount.totals.take(size);
        }
        Ok(())
    }

    /// Removes an entry's keys and content, but not its row in the order of use.
    fn erase(&mut self, id: &ContentId, record: &Record) -> sled::Result<()> {
        for key in &record.names.keys {
            let row = key_row(key);
            if self.keys.get(&row)?.is_some_and(|found| *found == id.0) {
                self.keys.remove(row)?;
            }
        }
        self.infos.remove(id.0)?;
        Ok(())
    }

    /// Removes the entry with that content, if it is there.
    pub(super) fn forget(&mut self, id: &ContentId) -> Result<(), Fault> {
        guarded(|| {
            let value = self.infos.get(id.0)?;
            match value.as_deref().and_then(|v| Record::decode(id, v)) {
                Some(record) => {
                    self.erase(id, &record)?;
                    self.unplace(Some(record.used))
                }
                None => Ok(()),
            }
        })
    }

    /// The sound entries in the next places in the order of use, from that one on, as they are.
    pub(super) fn in_order(&self, from: u64, most: usize) -> Result<InOrder, Fault> {
        guarded(|| {
            let mut found = InOrder {
                entries: Vec::with_capacity(most),
                next: from,
                rows: 0,
            };
            for row in self.uses.range(from.to_be_bytes()..).take(most) {
                let (place, row) = row?;
                found.rows += 1;
                let Some(place) = number64(&place) else {
                    continue;
                };
                found.next = place.saturating_add(1);
                let Some((id, _)) = read_use(&row) else {
                    continue;
                };
                let value = self.infos.get(id.0)?;
                let record = value.as_deref().and_then(|v| Record::decode(&id, v));
                let Some(mut record) = record.filter(|record| record.used == place) else {
                    continue;
                };
                let mut indexed = Vec::with_capacity(record.names.keys.len());
                for key in record.names.keys {
                    if self
                        .keys
                        .get(key_row(&key))?
                        .is_some_and(|found| *found == id.0)
                    {
                        indexed.push(key);
                    }
                }
                record.names.keys = indexed;
                if !record.names.keys.is_empty() {
                    found.entries.push((id, record));
                }
            }
            Ok(found)
        })
    }

    /// Writes an entry of another database as it is, with the newest place, instead of what is stored of that content.
    pub(super) fn take_over(&mut self, id: &ContentId, record: Record) -> Result<(), Fault> {
        guarded(|| {
            let value = self.infos.get(id.0)?;
            let old = value.as_deref().and_then(|v| Record::decode(id, v));
            let keys = record.names.keys.clone();
            self.place(id, record.names, record.content)?;
            self.index(&keys, id)?;
            self.unplace(old.map(|old| old.used))
        })
    }
}

/// What an entry takes in all trees.
fn size_of_entry(keys: usize, value_len: usize) -> u64 {
    let indexed = keys * (2 + ID_LEN + ID_LEN);
    (8 + USE_LEN + ID_LEN + value_len + indexed) as u64
}

fn use_row(id: &ContentId, size: u64) -> [u8; USE_LEN] {
    let mut row = [0; USE_LEN];
    row[..ID_LEN].copy_from_slice(&id.0);
    row[ID_LEN..].copy_from_slice(&(size as u32).to_be_bytes());
    row
}

fn read_use(row: &[u8]) -> Option<(ContentId, u64)> {
    let (id, size) = row.split_at_checked(ID_LEN)?;
    Some((ContentId::from_bytes(id)?, number32(size)?.into()))
}
