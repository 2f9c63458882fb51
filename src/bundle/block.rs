//! Blocks: some entries, compressed together.
//!
//! ```text
//! block = zstd of a list: 4 bytes length, the entry
//! entry = list: 1 byte length, a key
//!         list: 2 bytes length, a node URL
//!         3 times 2 bytes length, text: client, version, date
//!         the rest: the encoded disco info
//! list  = 2 bytes count, its elements; all numbers are big-endian
//! ```

use super::{BundleEntry, BundleError, Label};
use crate::caps::{CapsKey, DiscoInfo};
use crate::store::{MAX_KEYS, MAX_NODES};

/// A block is closed once it holds that many bytes: enough for compression to find what clients have in common, and little to unpack for
/// one look-up (about 20 contents).
pub(super) const TARGET_LEN: usize = 32 * 1024;

/// The most bytes of a block, unpacked: one full entry more than [`TARGET_LEN`].
pub(super) const MAX_LEN: usize = 128 * 1024;

/// The most bytes of a packed block: what cannot be compressed grows a little.
pub(super) const MAX_PACKED_LEN: usize = MAX_LEN + 1024;

/// How hard zstd tries: past this level, files hardly get smaller.
const LEVEL: i32 = 15;

const DAMAGED: BundleError = BundleError::Damaged("a block does not hold entries");

/// A block that is being filled.
#[derive(Debug, Default)]
pub(super) struct Filling {
    entries: Vec<u8>,
    count: u16,
}

impl Filling {
    /// Adds an encoded entry; its slot.
    pub(super) fn add(&mut self, entry: &[u8]) -> u16 {
        self.entries
            .extend_from_slice(&(entry.len() as u32).to_be_bytes());
        self.entries.extend_from_slice(entry);
        self.count += 1;
        self.count - 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= TARGET_LEN || self.count == u16::MAX
    }

    /// The packed block; what is filled next is empty again.
    pub(super) fn pack(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.entries.len() + 2);
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.append(&mut self.entries);
        self.count = 0;
        zstd::bulk::compress(&bytes, LEVEL)
    }
}

/// A block in memory, unpacked.
#[derive(Clone, Debug)]
pub(super) struct Block(Vec<u8>);

impl Block {
    /// Unpacks a block; memory is bounded by [`MAX_LEN`], whatever it claims.
    ///
    /// # Errors
    /// [`BundleError::Damaged`]
    pub(super) fn unpack(packed: &[u8]) -> Result<Block, BundleError> {
        let bytes = zstd::bulk::decompress(packed, MAX_LEN);
        bytes
            .map(Block)
            .map_err(|_| BundleError::Damaged("a block cannot be unpacked, or is larger than any"))
    }

    /// The encoded entries.
    pub(super) fn entries(&self) -> Result<Vec<&[u8]>, BundleError> {
        let mut rest = Rest(&self.0);
        // A block of the largest size has room for that many entries, and for no more.
        let entries = rest.list(MAX_LEN / 4, Rest::sized);
        entries.filter(|_| rest.0.is_empty()).ok_or(DAMAGED)
    }

    /// One entry.
    pub(super) fn entry(&self, slot: u16) -> Result<BundleEntry, BundleError> {
        let entries = self.entries()?;
        let bytes = entries.get(usize::from(slot)).ok_or(DAMAGED)?;
        decode(bytes)
    }
}

/// The bytes of an entry. Everything in it is within its bounds.
pub(super) fn encode(entry: &BundleEntry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2048);
    let short = |bytes: &mut Vec<u8>, number: usize| {
        bytes.extend_from_slice(&(number as u16).to_be_bytes());
    };
    short(&mut bytes, entry.keys.len());
    for key in &entry.keys {
        let key = key.to_bytes();
        bytes.push(key.len() as u8);
        bytes.extend_from_slice(&key);
    }
    short(&mut bytes, entry.nodes.len());
    let label = &entry.label;
    let texts = [&label.client, &label.version, &label.date];
    for text in entry.nodes.iter().chain(texts) {
        short(&mut bytes, text.len());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&entry.info.encode());
    bytes
}

/// The entry in those bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<BundleEntry, BundleError> {
    read_entry(&mut Rest(bytes)).ok_or(BundleError::Damaged("an entry is not whole"))
}

fn read_entry(rest: &mut Rest<'_>) -> Option<BundleEntry> {
    let keys = rest.list(MAX_KEYS, |rest| {
        let len = rest.take(1)?[0];
        CapsKey::from_bytes(rest.take(len.into())?)
    })?;
    let nodes = rest.list(MAX_NODES, Rest::text)?;
    let label = Label {
        client: rest.text()?,
        version: rest.text()?,
        date: rest.text()?,
    };
    let info = DiscoInfo::decode(rest.0).ok()?;
    Some(BundleEntry {
        keys,
        nodes,
        label,
        info,
    })
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<usize> {
        let bytes = self.take(2)?.try_into().ok()?;
        Some(usize::from(u16::from_be_bytes(bytes)))
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let len = self.take(4)?.try_into().ok()?;
        self.take(usize::try_from(u32::from_be_bytes(len)).ok()?)
    }

    fn text(&mut self) -> Option<String> {
        let len = self.short()?;
        let text = std::str::from_utf8(self.take(len)?).ok()?;
        Some(text.to_owned())
    }

    fn list<T>(&mut self, max: usize, element: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.short().filter(|count| *count <= max)?;
        (0..count).map(|_| element(self)).collect()
    }
}
