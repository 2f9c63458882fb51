//! Search trees in a file, each page named by its hash: whoever trusts the root can check whatever is read on the way down.
//!
//! A page is up to [`PAGE_ROWS`] rows of [`ROW_LEN`] bytes. A row holds what it is found by, and where something lies and what hash
//! that has: a page of the next lower level, or on the lowest level a block. Pages are written before those that name them.
//!
//! ```text
//! prefix 18 bytes  the key that is looked for (on higher levels: the first of the page below); zero where rows are only counted off
//! offset  8 bytes  where it begins in the file (big-endian)
//! length  4 bytes  (big-endian)
//! slot    2 bytes  which entry of the block (big-endian); zero on higher levels
//! hash   32 bytes  SHA-256 of it
//! ```

use std::io;

use sha2::{Digest as _, Sha256};

use super::BundleError;
use crate::caps::key::PREFIX_LEN;

/// The bytes of a row.
pub(super) const ROW_LEN: usize = 64;

/// The most rows of a page: 4 KiB.
pub(super) const PAGE_ROWS: usize = 64;

/// The most levels of a tree that is read: enough for 2^48 rows.
pub(super) const MAX_LEVELS: u8 = 8;

/// The name of nothing in particular, in trees whose rows are only counted off.
pub(super) const NO_PREFIX: [u8; PREFIX_LEN] = [0; PREFIX_LEN];

/// Where something lies in the file, and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) hash: [u8; 32],
}

impl Pointer {
    /// The pointer to bytes that are written at that offset.
    pub(super) fn to(offset: u64, bytes: &[u8]) -> Pointer {
        Pointer {
            offset,
            // Blocks and pages are far below 4 GiB.
            length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            hash: Sha256::digest(bytes).into(),
        }
    }

    /// The offset behind it.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.length))
    }
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) prefix: [u8; PREFIX_LEN],
    pub(super) pointer: Pointer,
    pub(super) slot: u16,
}

impl Row {
    fn encode(&self, page: &mut Vec<u8>) {
        page.extend_from_slice(&self.prefix);
        page.extend_from_slice(&self.pointer.offset.to_be_bytes());
        page.extend_from_slice(&self.pointer.length.to_be_bytes());
        page.extend_from_slice(&self.slot.to_be_bytes());
        page.extend_from_slice(&self.pointer.hash);
    }

    fn decode(bytes: &[u8]) -> Option<Row> {
        let (prefix, rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (slot, rest) = rest.split_first_chunk()?;
        Some(Row {
            prefix: *prefix,
            pointer: Pointer {
                offset: u64::from_be_bytes(*offset),
                length: u32::from_be_bytes(*length),
                hash: rest.try_into().ok()?,
            },
            slot: u16::from_be_bytes(*slot),
        })
    }
}

/// The top of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// How many levels there are; 1 where the root is also the lowest one.
    pub(super) levels: u8,
    /// The root page.
    pub(super) page: Pointer,
}

/// Reads what a pointer points to, and checks its hash.
pub(super) trait Fetch {
    /// The bytes, of which there are at most `max`.
    fn fetch(&self, pointer: &Pointer, max: usize) -> Result<Vec<u8>, BundleError>;
}

/// Writes a tree with these rows, already in order; `write` writes a page and says where it lies.
pub(super) fn write(
    rows: impl Iterator<Item = Row>,
    mut write: impl FnMut(&[u8]) -> io::Result<Pointer>,
) -> io::Result<Root> {
    let mut level = write_level(rows, &mut write)?;
    let mut levels = 1;
    while level.len() > 1 {
        level = write_level(level.into_iter(), &mut write)?;
        levels += 1;
    }
    let page = match level.first() {
        Some(row) => row.pointer,
        None => write(&[])?,
    };
    Ok(Root { levels, page })
}

/// Writes the pages of one level; the rows of the next higher one.
fn write_level(
    mut rows: impl Iterator<Item = Row>,
    write: &mut impl FnMut(&[u8]) -> io::Result<Pointer>,
) -> io::Result<Vec<Row>> {
    let mut above = Vec::new();
    let mut page = Vec::with_capacity(PAGE_ROWS * ROW_LEN);
    while let Some(first) = rows.next() {
        page.clear();
        first.encode(&mut page);
        rows.by_ref()
            .take(PAGE_ROWS - 1)
            .for_each(|row| row.encode(&mut page));
        above.push(Row {
            prefix: first.prefix,
            pointer: write(&page)?,
            slot: 0,
        });
    }
    Ok(above)
}

/// A page in memory.
#[derive(Clone, Debug)]
pub(super) struct Page(Vec<Row>);

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    /// Where it cannot be read, or is not what was written.
    pub(super) fn read(source: &impl Fetch, pointer: &Pointer) -> Result<Page, BundleError> {
        let bytes = source.fetch(pointer, PAGE_ROWS * ROW_LEN)?;
        let rows = bytes.chunks(ROW_LEN).map(Row::decode);
        let rows = rows.collect::<Option<_>>();
        rows.map(Page)
            .ok_or(BundleError::Damaged("a page of the index is cut short"))
    }

    /// The row of that very prefix, if this is the lowest level.
    fn find(&self, prefix: &[u8; PREFIX_LEN]) -> Option<&Row> {
        let place = self.0.binary_search_by_key(prefix, |row| row.prefix);
        self.0.get(place.ok()?)
    }

    /// The page of the next lower level where that prefix would be.
    fn below(&self, prefix: &[u8; PREFIX_LEN]) -> Option<&Pointer> {
        let after = self.0.partition_point(|row| row.prefix <= *prefix);
        Some(&self.0.get(after.checked_sub(1)?)?.pointer)
    }
}

/// Looks for a prefix from the root page down: one page is read for each level below it.
pub(super) fn find(
    source: &impl Fetch,
    levels: u8,
    root: &Page,
    prefix: &[u8; PREFIX_LEN],
) -> Result<Option<Row>, BundleError> {
    let mut below;
    let mut page = root;
    for _ in 1..levels {
        let Some(pointer) = page.below(prefix) else {
            return Ok(None);
        };
        below = Page::read(source, pointer)?;
        page = &below;
    }
    Ok(page.find(prefix).copied())
}

/// Goes through the rows of the lowest level in their order, with one page of each level in memory.
///
/// What is pointed to lies in the order of the rows, so nothing is read twice: a file cannot make this take longer than its length.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// The pages from the root down, each with the place of the row that is next.
    pages: Vec<(Page, usize)>,
    levels: usize,
    /// Where what was pointed to last ended, by level.
    ends: Vec<u64>,
}

impl Walk {
    pub(super) fn new(levels: u8, root: Page) -> Walk {
        let levels = usize::from(levels);
        Walk {
            pages: vec![(root, 0)],
            levels,
            ends: vec![0; levels],
        }
    }

    /// The next row of the lowest level.
    pub(super) fn next(&mut self, source: &impl Fetch) -> Result<Option<Row>, BundleError> {
        loop {
            let depth = self.pages.len();
            let Some((page, place)) = self.pages.last_mut() else {
                return Ok(None);
            };
            let Some(row) = page.0.get(*place).copied() else {
                self.pages.pop();
                continue;
            };
            *place += 1;
            let end = &mut self.ends[depth - 1];
            if row.pointer.offset < *end || row.pointer.length == 0 {
                self.pages.clear();
                return Err(BundleError::Damaged("its index is out of order"));
            }
            *end = row.pointer.end();
            if depth == self.levels {
                return Ok(Some(row));
            }
            match Page::read(source, &row.pointer) {
                Ok(page) => self.pages.push((page, 0)),
                Err(error) => {
                    self.pages.clear();
                    return Err(error);
                }
            }
        }
    }
}
