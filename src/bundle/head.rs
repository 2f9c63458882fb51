//! The head of a bundle: legible, of fixed size, and all that is signed.
//!
//! ```text
//! capsd-bundle 1
//! created = "2026-05-09"
//! generator = "capsd 0.1.0"
//! entries = 2
//! keys = 8
//!
//! [index]
//! levels = 1
//! …
//! ---
//! untrusted comment: …            the signature, as minisign writes it, over everything to the end of the line `---`;
//! RUT…                            left out of a bundle that is not signed
//! trusted comment: …
//! …
//! ```
//!
//! then line ends up to [`LEN`]. The version stands first, and is looked at first, so that a newer bundle is called that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::BundleError;
use super::tree::{MAX_LEVELS, Pointer, Root};

/// The bytes of the head, signature and padding included.
pub(super) const LEN: usize = 4096;

/// The version of the format that is written and read.
const VERSION: u32 = 1;

/// What stands before the version, in all versions.
const MAGIC: &str = "capsd-bundle ";

/// The line behind which the signature stands.
const END: &str = "\n---\n";

/// The head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) created: String,
    pub(super) generator: String,
    pub(super) entries: u64,
    pub(super) keys: u64,
    index: WrittenRoot,
    blocks: WrittenRoot,
}

/// A [`Root`] as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRoot {
    levels: u8,
    offset: u64,
    length: u32,
    sha256: String,
}

impl WrittenRoot {
    fn of(root: &Root) -> WrittenRoot {
        WrittenRoot {
            levels: root.levels,
            offset: root.page.offset,
            length: root.page.length,
            sha256: BASE64.encode(root.page.hash),
        }
    }

    fn root(&self) -> Result<Root, BundleError> {
        let hash = BASE64.decode(&self.sha256).ok();
        let hash = hash.and_then(|hash| hash.try_into().ok());
        match hash {
            Some(hash) if (1..=MAX_LEVELS).contains(&self.levels) => Ok(Root {
                levels: self.levels,
                page: Pointer {
                    offset: self.offset,
                    length: self.length,
                    hash,
                },
            }),
            _ => Err(BundleError::Damaged("its head names no index")),
        }
    }
}

impl Head {
    pub(super) fn new(
        created: String,
        generator: String,
        counts: (u64, u64),
        index: &Root,
        blocks: &Root,
    ) -> Head {
        Head {
            created,
            generator,
            entries: counts.0,
            keys: counts.1,
            index: WrittenRoot::of(index),
            blocks: WrittenRoot::of(blocks),
        }
    }

    /// The tree from prefixes of keys to entries.
    pub(super) fn index(&self) -> Result<Root, BundleError> {
        self.index.root()
    }

    /// The tree over the blocks in their order.
    pub(super) fn blocks(&self) -> Result<Root, BundleError> {
        self.blocks.root()
    }

    /// The text that is signed.
    pub(super) fn text(&self) -> Result<String, toml::ser::Error> {
        let head = toml::to_string(self)?;
        Ok(format!("{MAGIC}{VERSION}\n{}{END}", head.trim_end()))
    }
}

/// A head that was read, with nothing believed yet.
#[derive(Debug)]
pub(super) struct Unchecked<'a> {
    /// What is signed.
    pub(super) signed: &'a str,
    /// The signature; empty where there is none.
    pub(super) signature: &'a str,
}

impl<'a> Unchecked<'a> {
    /// Takes the first [`LEN`] bytes of a file apart.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Unchecked<'a>, BundleError> {
        let rest = bytes.strip_prefix(MAGIC.as_bytes());
        let version = rest
            .and_then(|rest| rest.split(|byte| *byte == b'\n').next())
            .and_then(|version| std::str::from_utf8(version).ok()?.parse::<u32>().ok());
        match version {
            None => return Err(BundleError::NotABundle),
            Some(VERSION) => {}
            Some(version) => return Err(BundleError::OtherVersion(version)),
        }
        let text = std::str::from_utf8(bytes).ok();
        let text = text.filter(|text| text.len() == LEN);
        let (head, rest) = text
            .and_then(|text| text.split_once(END))
            .ok_or(BundleError::Damaged("its head is not whole"))?;
        Ok(Unchecked {
            signed: &text.unwrap_or_default()[..head.len() + END.len()],
            signature: rest.trim_end_matches('\n'),
        })
    }

    /// What the head says.
    pub(super) fn head(&self) -> Result<Head, BundleError> {
        let (_, head) = self.signed.split_once('\n').unwrap_or_default();
        let head = head.strip_suffix(&END[1..]).unwrap_or(head);
        toml::from_str(head).map_err(|_| BundleError::Damaged("its head is not whole"))
    }
}
