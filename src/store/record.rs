//! One stored value: which keys an entry has, the nodes it was announced with, and its content.
//!
//! ```text
//! version  1 byte   VALUE_VERSION
//! checksum 4 bytes  CRC-32 (little-endian) of content id, version byte and everything below
//! use      8 bytes  the place of the entry in the order of use (big-endian)
//! seen     1 byte   0: not known to be common; else one more than how many of the nodes are (from version 2 on)
//! keys     1 byte count, then each: 1 byte length, the key
//! nodes    1 byte count, then each: 2 bytes length (big-endian), the node URL in UTF-8
//! content  the rest: the encoded disco info, packed
//! ```
//!
//! The content id is part of the checksum, so that a whole value under a wrong id counts as damaged too.

use sha2::{Digest as _, Sha256};

use crate::caps::CapsKey;
use crate::caps::key::MAX_NODE_LEN;

use super::packing::{pack, unpack};

/// The most keys that one content is known by.
///
/// A content has one digest by family and algorithm, twelve, and a second one for each of the six algorithms of 0115
/// where the two ways to sort identities differ: 18 in all.
pub const MAX_KEYS: usize = 18;

/// The most node URLs that are kept with one content; they are not covered by the hash and serve export and statistics.
pub const MAX_NODES: usize = 4;

/// The longest encoded disco info that is stored, in bytes. Answers are bounded before they are verified; this bound
/// keeps a value far below what the storage engine moves to a file of its own.
pub const MAX_CONTENT_LEN: usize = 64 * 1024;

/// The version of the value's layout that is written.
const VALUE_VERSION: u8 = 2;

/// The oldest version that is read.
const OLDEST_VALUE_VERSION: u8 = 1;

/// The version from which on values say whether they were seen from several accounts.
const VALUE_VERSION_SEEN: u8 = 2;

/// Where the checksum ends and what it covers begins.
const CHECKED_FROM: usize = 5;

/// How many bytes of a hash name a content in the store, and how many of a digest lead to it.
///
/// Whoever finds two contents, or two digests, that begin alike (2^64 tries) gets one of them out of the store, and no
/// more: contents are compared when they are stored, and every read is checked against the whole key.
pub(super) const ID_LEN: usize = 16;

/// The name of a content in the store: the beginning of the SHA-256 of the encoded disco info.
///
/// Not of the 0390 input: that is injective only as long as no string holds one of its separators, while the encoding
/// is so whatever it is given; and the encoding is what is stored, so an id can be checked against the bytes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ContentId(pub(super) [u8; ID_LEN]);

impl ContentId {
    /// The id of an encoded disco info.
    pub(super) fn of(content: &[u8]) -> ContentId {
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&Sha256::digest(content)[..ID_LEN]);
        ContentId(id)
    }

    /// The id in those bytes; `None` where the length is wrong.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<ContentId> {
        bytes.try_into().ok().map(ContentId)
    }
}

/// The key under which the store knows a caps key: its family and algorithm, and the beginning of its digest.
pub(super) fn key_row(key: &CapsKey) -> Vec<u8> {
    key.prefix().to_vec()
}

/// Whether a node URL may be written to disk: it is neither empty nor too long, and cannot be a JID.
///
/// A client may announce whatever it likes as its node; an `@` is what a user's JID cannot do without, and none of the
/// nodes of known clients has one.
pub fn may_be_kept(node: &str) -> bool {
    (1..=MAX_NODE_LEN).contains(&node.len()) && !node.contains('@')
}

/// What is known of a content beside the content itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The keys under which the content is indexed; at most [`MAX_KEYS`].
    pub(super) keys: Vec<CapsKey>,
    /// Node URLs that were announced with it; at most [`MAX_NODES`], each at most [`MAX_NODE_LEN`] bytes.
    pub(super) nodes: Vec<String>,
    /// `None` where no key is known to be announced by several accounts; else how many of the nodes, counted from the
    /// first, several accounts announced a key with. The fact alone is kept, not by whom.
    pub(super) seen: Option<u8>,
}

impl Names {
    /// Adds a key, unless it is there or there are too many; says whether it was added.
    pub(super) fn add_key(&mut self, key: CapsKey) -> bool {
        let fits = self.keys.len() < MAX_KEYS && !self.keys.contains(&key);
        if fits {
            self.keys.push(key);
        }
        fits
    }

    /// Adds a node URL, unless it is there, there are too many, or it [may not be kept](may_be_kept); says whether it was
    /// added.
    pub(super) fn add_node(&mut self, node: &str) -> bool {
        let fits = self.nodes.len() < MAX_NODES
            && may_be_kept(node)
            && !self.nodes.iter().any(|known| known == node);
        if fits {
            self.nodes.push(node.to_owned());
        }
        fits
    }

    /// Takes note that several accounts announced a key, and whatever nodes are given with it; says whether that is new.
    ///
    /// A node that is common pushes out one that is not: what one account announces cannot fill the list for good.
    pub(super) fn mark_seen(&mut self, nodes: &[String]) -> bool {
        let mut changed = self.seen.is_none();
        let mut seen = usize::from(self.seen.unwrap_or_default());
        for node in nodes {
            let known = self.nodes.iter().position(|known| known == node);
            if known.is_some_and(|place| place < seen) || seen >= MAX_NODES {
                continue;
            }
            if known.is_none() && self.nodes.len() >= MAX_NODES {
                self.nodes.pop();
            }
            self.add_node(node);
            let Some(place) = self.nodes.iter().position(|known| known == node) else {
                continue;
            };
            self.nodes[seen..=place].rotate_right(1);
            seen += 1;
            changed = true;
        }
        self.seen = Some(seen as u8);
        changed
    }

    /// The nodes that several accounts announced a key with.
    pub(super) fn seen_nodes(&self) -> &[String] {
        let seen = usize::from(self.seen.unwrap_or_default());
        self.nodes.get(..seen).unwrap_or_default()
    }
}

/// A value as it is stored, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The place of the entry in the order of use.
    pub(super) used: u64,
    /// Keys and nodes.
    pub(super) names: Names,
    /// The encoded disco info.
    pub(super) content: Vec<u8>,
}

impl Record {
    /// The bytes to store under that id.
    pub(super) fn encode(&self, id: &ContentId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        bytes.push(VALUE_VERSION);
        bytes.extend_from_slice(&[0; CHECKED_FROM - 1]);
        bytes.extend_from_slice(&self.used.to_be_bytes());
        bytes.push(self.names.seen.map_or(0, |nodes| nodes + 1));
        bytes.push(self.names.keys.len() as u8);
        for key in &self.names.keys {
            let key = key.to_bytes();
            bytes.push(key.len() as u8);
            bytes.extend_from_slice(&key);
        }
        bytes.push(self.names.nodes.len() as u8);
        for node in &self.names.nodes {
            bytes.extend_from_slice(&(node.len() as u16).to_be_bytes());
            bytes.extend_from_slice(node.as_bytes());
        }
        pack(&self.content, &mut bytes);
        let checksum = checksum(id, &bytes);
        bytes[1..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// What [`Record::encode`] wrote under that id; `None` for anything else.
    pub(super) fn decode(id: &ContentId, bytes: &[u8]) -> Option<Record> {
        let stored = bytes.get(1..CHECKED_FROM)?.try_into().ok()?;
        let readable = (OLDEST_VALUE_VERSION..=VALUE_VERSION).contains(&bytes[0]);
        if !readable || u32::from_le_bytes(stored) != checksum(id, bytes) {
            return None;
        }
        let mut rest = Rest(&bytes[CHECKED_FROM..]);
        let used = u64::from_be_bytes(rest.take(8)?.try_into().ok()?);
        let mut names = Names::default();
        if bytes[0] >= VALUE_VERSION_SEEN {
            names.seen = rest.byte()?.checked_sub(1);
        }
        for _ in 0..rest.byte()? {
            let len = rest.byte()?;
            names
                .keys
                .push(CapsKey::from_bytes(rest.take(len.into())?)?);
        }
        for _ in 0..rest.byte()? {
            let len = u16::from_be_bytes(rest.take(2)?.try_into().ok()?);
            let node = std::str::from_utf8(rest.take(len.into())?).ok()?;
            names.nodes.push(node.to_owned());
        }
        if names.seen_nodes().len() < usize::from(names.seen.unwrap_or_default()) {
            return None;
        }
        Some(Record {
            used,
            names,
            content: unpack(rest.0)?,
        })
    }
}

/// Whether a value is written in the present version.
pub(super) fn is_present(value: &[u8]) -> bool {
    value.first() == Some(&VALUE_VERSION)
}

/// CRC-32 of the id and of a value without its checksum.
fn checksum(id: &ContentId, value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.0);
    hasher.update(&value[..1]);
    hasher.update(&value[CHECKED_FROM..]);
    hasher.finalize()
}

/// What is not read yet of a value.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::{Algorithm, Family};
    use proptest::prelude::*;

    fn key(number: u8) -> CapsKey {
        CapsKey::new(Family::Xep0115, Algorithm::Sha1, &[number; 20]).unwrap()
    }

    fn names() -> impl Strategy<Value = Names> {
        let keys = prop::collection::vec(any::<u8>(), 0..MAX_KEYS);
        let nodes = prop::collection::vec("[^@]{1,40}", 0..=MAX_NODES);
        (keys, nodes, 0..=MAX_NODES + 1).prop_map(|(numbers, nodes, seen)| {
            let mut names = Names::default();
            for number in numbers {
                names.add_key(key(number));
            }
            for node in &nodes {
                names.add_node(node);
            }
            if let Some(seen) = seen.checked_sub(1) {
                names.mark_seen(&nodes[..seen.min(nodes.len())]);
            }
            names
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(used: u64, names in names(), content: Vec<u8>) {
            let id = ContentId::of(&content);
            let record = Record { used, names, content };
            let bytes = record.encode(&id);
            prop_assert_eq!(Record::decode(&id, &bytes), Some(record));
        }

        #[test]
        fn any_changed_bit_is_noticed(content: Vec<u8>, place: prop::sample::Index, bit in 0..8u8) {
            let id = ContentId::of(&content);
            let mut names = Names::default();
            names.add_key(key(1));
            names.add_node("http://a");
            let mut bytes = Record { used: 1, names, content }.encode(&id);
            let place = place.index(bytes.len());
            bytes[place] ^= 1u8 << bit;
            prop_assert_eq!(Record::decode(&id, &bytes), None);
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes: Vec<u8>) {
            prop_assert_eq!(Record::decode(&ContentId([0; ID_LEN]), &bytes), None);
        }
    }

    #[test]
    fn a_value_under_another_id_is_refused() {
        let id = ContentId::of(b"content");
        let record = Record {
            used: 1,
            names: Names::default(),
            content: b"content".to_vec(),
        };
        let bytes = record.encode(&id);
        assert_eq!(Record::decode(&ContentId::of(b"other"), &bytes), None);
    }

    #[test]
    fn names_are_bounded_and_distinct() {
        let mut names = Names::default();
        assert!(names.add_key(key(0)));
        assert!(!names.add_key(key(0)));
        for number in 1..=255 {
            names.add_key(key(number));
        }
        assert_eq!(names.keys.len(), MAX_KEYS);

        assert!(names.add_node("http://a"));
        assert!(!names.add_node("http://a"));
        assert!(!names.add_node(""));
        assert!(!names.add_node(&"n".repeat(MAX_NODE_LEN + 1)));
        for node in ["http://b", "http://c", "http://d", "http://e"] {
            names.add_node(node);
        }
        assert_eq!(
            names.nodes,
            ["http://a", "http://b", "http://c", "http://d"]
        );
    }

    #[test]
    fn what_could_be_a_jid_is_no_node() {
        let mut names = Names::default();
        assert!(!names.add_node("romeo@example.org"));
        assert!(!names.add_node("xmpp:romeo@example.org/orchard"));
        assert!(names.nodes.is_empty());
    }

    fn strings(nodes: &[&str]) -> Vec<String> {
        nodes.iter().map(|node| (*node).to_owned()).collect()
    }

    #[test]
    fn common_nodes_stand_first_and_push_out_others() {
        let mut names = Names::default();
        for node in ["a", "b", "c", "d"] {
            names.add_node(node);
        }
        assert!(names.seen_nodes().is_empty());
        assert!(names.mark_seen(&[]));
        assert!(!names.mark_seen(&[]));
        assert!(names.seen_nodes().is_empty());
        assert!(names.mark_seen(&strings(&["c"])));
        assert!(!names.mark_seen(&strings(&["c"])));
        assert_eq!(names.nodes, ["c", "a", "b", "d"]);
        assert!(names.mark_seen(&strings(&["e", "romeo@example.org", "f", "g", "h"])));
        assert_eq!(names.seen_nodes(), ["c", "e", "f", "g"]);
        assert_eq!(names.nodes, names.seen_nodes());
        assert!(!names.mark_seen(&strings(&["h"])));
    }

    /// What the first version of the layout wrote, put together by hand.
    #[test]
    fn a_value_of_the_first_version_is_read_as_not_seen() {
        let id = ContentId::of(b"content");
        let mut bytes = vec![1, 0, 0, 0, 0];
        bytes.extend_from_slice(&7u64.to_be_bytes());
        bytes.push(1);
        let key_bytes = key(1).to_bytes();
        bytes.push(key_bytes.len() as u8);
        bytes.extend_from_slice(&key_bytes);
        bytes.extend_from_slice(&[1, 0, 1, b'n']);
        pack(b"content", &mut bytes);
        let sum = checksum(&id, &bytes).to_le_bytes();
        bytes[1..CHECKED_FROM].copy_from_slice(&sum);
        let record = Record::decode(&id, &bytes).unwrap();
        assert_eq!(record.used, 7);
        assert_eq!(record.names.keys, [key(1)]);
        assert_eq!(record.names.nodes, ["n"]);
        assert_eq!(record.names.seen, None);
        assert_eq!(record.content, b"content");
    }
}
