//! Bundles: many contents in one file, which is signed, read-only, and read without being loaded.
//!
//! | room | what lives there |
//! |---|---|
//! | this file | [`Bundle`]: opening, looking up, going through |
//! | `head` | the first 4 KiB: who made it, where the index is |
//! | `signature` | whose signature counts; [`Signers`], [`Signer`] |
//! | `tree` | the index |
//! | `block` | contents, compressed together |
//! | `writer` | [`BundleWriter`] |
//!
//! # The file
//!
//! ```text
//! head    4 KiB: text with the version, the date, the generator's text, counts, and where the two trees have their roots,
//!         with the SHA-256 of these; then a signature of minisign over that text, or none
//! blocks  entries (keys, node URLs, label, disco info), some 20 in each block, compressed with zstd
//! index   a tree of pages of 4 KiB: from the first 18 bytes of a key to a block and a place in it
//! order   a tree of such pages: the blocks in their order
//! ```
//!
//! # Why only the head is signed
//!
//! A signature over the whole file could only be checked by reading all of it, at every start. So every page and every block is named by
//! its hash in the page above it, up to the roots, which the head names: what the signature covers is everything, but what is checked is
//! only what is read. Opening reads 4 KiB and one page; a look-up reads one page for each further factor of 64 and one block; memory
//! holds the head, the root page, and what one look-up needs. The signature also covers what the file does not hold: nobody can take an
//! entry out. What nobody asks for may be damaged without being noticed, until it is asked for, and is then not served.
//!
//! An operator can check the signature with minisign alone: `sed '/^---$/q' FILE` prints what is signed, the lines behind are the
//! signature.
//!
//! # What is believed
//!
//! That a bundle is signed by whom the operator named says that it may be looked at. Every content is verified for the key that it
//! is asked for all the same ([`BundleEntry::verified`]): no signature makes a hash match.
//!
//! # How it is used
//!
//! ```
//! use capsd::bundle::{Bundle, BundleWriter, Label, Signers};
//! # use capsd::caps::{CapsKey, DiscoInfo, Family, Policy, Verdict, verify_canonical, Identity};
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("clients.capsd");
//! # let info = DiscoInfo { identities: vec![Identity { category: "client".into(), type_: "pc".into(), ..Identity::default() }],
//! #     features: vec!["urn:a".into()], forms: vec![] };
//! # let key = CapsKey::from_base64(Family::Xep0115, "sha-1", "uNEeMpTg9tk/GGpYGPkhWr1GUIs=")?;
//! # let Verdict::Verified(info) = verify_canonical(&key, info, &Policy::default()) else { return Err("not verified".into()) };
//! // Writing: `info` is a `VerifiedInfo`; with `Some(&Signer::from_text(…)?)` the bundle is signed.
//! let mut writer = BundleWriter::create(&path, std::time::SystemTime::now(), "capsd 0.1.0")?;
//! let label = Label { client: "Example".into(), version: "1.0".into(), date: "2026-05-09".into() };
//! writer.add(&info, &[key], &["http://example.org".into()], &label)?;
//! assert_eq!(writer.finish(None)?, 1);
//!
//! // Reading: whose signatures count is the operator's to say; here nobody's is needed.
//! let signers = Signers::new(&[], true).map_err(|(_, fault)| fault)?;
//! let bundle = Bundle::open(&path, &signers)?;
//! let entry = bundle.look_up(&key)?.ok_or("not there")?;
//! assert!(matches!(entry.verified(&key, &Policy::default()), Verdict::Verified(_)));
//! for entry in bundle.entries() {
//!     println!("{:?} {}", entry?.keys, bundle.created());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod block;
mod head;
mod signature;
mod tree;
mod writer;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::caps::{CapsKey, DiscoInfo, Policy, Verdict, verify_canonical};

use block::Block;
use head::{Head, Unchecked};
use tree::{Fetch, Page, Pointer, Walk};

pub use signature::{Signer, Signers};
pub use writer::BundleWriter;

/// How the name of a bundle ends.
pub const EXTENSION: &str = "capsd";

/// The longest text about who made a bundle, in bytes.
pub const MAX_GENERATOR_LEN: usize = 512;

/// The longest client name, version or date of a label, in bytes.
pub const MAX_LABEL_LEN: usize = 128;

/// Why a bundle is not used, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The operating system said so.
    #[error("it cannot be read: {0}. See that it is a regular file that capsd's user may read")]
    Unreadable(#[from] io::Error),
    /// It does not begin as one.
    #[error("it is no bundle of capsd. Name a file that `capsd export` made")]
    NotABundle,
    /// A version that this program does not know.
    #[error(
        "it is a bundle of format {0}, and this capsd reads format 1. Use a newer capsd, or export the bundle again with this one"
    )]
    OtherVersion(u32),
    /// A page or block does not have its hash, or is not what it should be.
    #[error("it is damaged: {0}. Copy it again from where it came from")]
    Damaged(&'static str),
    /// There is no signature.
    #[error(
        "it is not signed. Have its maker sign it and set `trusted.public-keys`, or set `trusted.unsigned-bundles = \"accept\"`"
    )]
    Unsigned,
    /// The signature is by a key that the operator did not name.
    #[error(
        "it is signed with a key that is not in `trusted.public-keys`. Add the maker's public key there, if you trust it"
    )]
    UnknownSigner,
    /// The signature is by a key that the operator named, or says so, but is not of this head.
    #[error(
        "its signature is wrong: it was changed after it was signed. Copy it again from where it came from; if that is \
         what is there, do not trust it"
    )]
    WrongSignature,
}

/// Which client a content is of, as the maker of the bundle says; nothing proves it, and nothing depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Its name; may be empty, as all of these.
    pub client: String,
    /// Its version.
    pub version: String,
    /// The date on which it was seen.
    pub date: String,
}

/// One content of a bundle. Nothing in it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleEntry {
    /// The keys that it is found by.
    pub keys: Vec<CapsKey>,
    /// Node URLs that were announced with it.
    pub nodes: Vec<String>,
    /// Which client it is of.
    pub label: Label,
    /// The content.
    pub info: DiscoInfo,
}

impl BundleEntry {
    /// Whether the content is what a key means, by the same rules as anything that anybody sends.
    pub fn verified(&self, key: &CapsKey, policy: &Policy) -> Verdict {
        verify_canonical(key, self.info.clone(), policy)
    }
}

/// A bundle that is open.
#[derive(Clone, Debug)]
pub struct Bundle {
    source: Arc<Source>,
    head: Arc<Head>,
    levels: u8,
    root: Page,
    /// The trusted comment of a signature that counted.
    signed: Option<String>,
}

/// The file. It is read at places only, so several may read it at once.
#[derive(Debug)]
struct Source(File);

impl Fetch for Source {
    fn fetch(&self, pointer: &Pointer, max: usize) -> Result<Vec<u8>, BundleError> {
        let length = usize::try_from(pointer.length).unwrap_or(usize::MAX);
        if length > max {
            return Err(BundleError::Damaged("a part of it is larger than any"));
        }
        let mut bytes = vec![0; length];
        read_at(&self.0, &mut bytes, pointer.offset)?;
        // A fuzzer would never come past the hash.
        match cfg!(fuzzing) || Pointer::to(pointer.offset, &bytes) == *pointer {
            true => Ok(bytes),
            false => Err(BundleError::Damaged("a part of it does not have its hash")),
        }
    }
}

fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), BundleError> {
    file.read_exact_at(bytes, offset)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BundleError::Damaged("it is cut short"),
            _ => BundleError::Unreadable(error),
        })
}

impl Bundle {
    /// Opens a bundle: reads its head, sees who signed it, and reads the root of the index. It takes the same time for any size.
    ///
    /// # Errors
    /// Where it may not, or cannot, be used.
    pub fn open(path: &Path, signers: &Signers) -> Result<Bundle, BundleError> {
        // Opening a pipe would wait for somebody who writes to it.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file").into());
        }
        let file = File::open(path)?;
        let mut bytes = vec![0; head::LEN];
        let length = file.metadata()?.len();
        bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX).min(head::LEN));
        read_at(&file, &mut bytes, 0)?;
        let unchecked = Unchecked::new(&bytes)?;
        let signed = signers.check(&unchecked)?;
        let head = unchecked.head()?;
        let index = head.index()?;
        let source = Source(file);
        Ok(Bundle {
            root: Page::read(&source, &index.page)?,
            levels: index.levels,
            source: Arc::new(source),
            head: Arc::new(head),
            signed,
        })
    }

    /// What is there under a key; still to be verified for it.
    ///
    /// # Errors
    /// Where what is read is damaged.
    pub fn look_up(&self, key: &CapsKey) -> Result<Option<BundleEntry>, BundleError> {
        let source = &*self.source;
        match tree::find(source, self.levels, &self.root, &key.prefix())? {
            Some(row) => self.block(&row.pointer)?.entry(row.slot).map(Some),
            None => Ok(None),
        }
    }

    /// Whether a key is in the index. Of the contents, nothing is read.
    ///
    /// # Errors
    /// Where what is read of the index is damaged.
    pub fn contains(&self, key: &CapsKey) -> Result<bool, BundleError> {
        let row = tree::find(&*self.source, self.levels, &self.root, &key.prefix())?;
        Ok(row.is_some())
    }

    /// Every entry, in the order in which they were added, one block in memory at a time. After an error there are no more.
    pub fn entries(&self) -> Entries {
        let root = self.head.blocks();
        let source = Arc::clone(&self.source);
        let walk =
            root.and_then(|root| Ok(Walk::new(root.levels, Page::read(&*source, &root.page)?)));
        Entries {
            bundle: self.clone(),
            walk: Some(walk),
            block: Vec::new().into_iter(),
        }
    }

    fn block(&self, pointer: &Pointer) -> Result<Block, BundleError> {
        let packed = self.source.fetch(pointer, block::MAX_PACKED_LEN)?;
        Block::unpack(&packed)
    }

    /// The date on which it was made, as its maker says.
    pub fn created(&self) -> &str {
        &self.head.created
    }

    /// Who made it, as its maker says.
    pub fn generator(&self) -> &str {
        &self.head.generator
    }

    /// The trusted comment of the signature that let it in; `None` where it was let in without one.
    pub fn signed(&self) -> Option<&str> {
        self.signed.as_deref()
    }

    /// How many contents it has, as its head says.
    pub fn len(&self) -> u64 {
        self.head.entries
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.head.entries == 0
    }

    /// How many keys lead to them, as its head says.
    pub fn keys(&self) -> u64 {
        self.head.keys
    }
}

/// The entries of a bundle, one after the other; see [`Bundle::entries`]. It may be kept and gone on with later.
#[derive(Debug)]
pub struct Entries {
    bundle: Bundle,
    /// `None` after the end, or an error.
    walk: Option<Result<Walk, BundleError>>,
    block: std::vec::IntoIter<BundleEntry>,
}

impl Entries {
    /// The entries of the next block.
    fn next_block(&mut self) -> Result<Option<Vec<BundleEntry>>, BundleError> {
        let mut walk = match self.walk.take() {
            Some(walk) => walk?,
            None => return Ok(None),
        };
        let Some(row) = walk.next(&*self.bundle.source)? else {
            return Ok(None);
        };
        let block = self.bundle.block(&row.pointer)?;
        self.walk = Some(Ok(walk));
        let entries = block.entries()?.into_iter().map(block::decode);
        entries.collect::<Result<_, _>>().map(Some)
    }
}

impl Iterator for Entries {
    type Item = Result<BundleEntry, BundleError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.block.next() {
                return Some(Ok(entry));
            }
            match self.next_block() {
                Ok(Some(entries)) => self.block = entries.into_iter(),
                Ok(None) => return None,
                Err(error) => {
                    self.walk = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
