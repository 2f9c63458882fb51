//! Damaged and hostile bundles: refused in words, with bounded work, and never wrong.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use capsd::bundle::{Bundle, BundleError};
use capsd::caps::{Policy, Verdict};
use capsd::metrics::Metrics;
use capsd::trusted::{Sources, Trusted};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::fixture::{anybody, bundle_of, client, features};

/// Looks at everything that a bundle can be asked for; whether anything was refused. What is served must be right.
fn is_refused(bytes: &[u8], count: usize) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.capsd");
    fs::write(&path, bytes).unwrap();
    let bundle = match Bundle::open(&path, &anybody()) {
        Ok(bundle) => bundle,
        Err(_) => return true,
    };
    let mut refused = false;
    for feature in features(count) {
        let (info, key) = client(&feature);
        match bundle.look_up(&key) {
            Ok(Some(entry)) => assert_eq!(&entry.info, info.info()),
            Ok(None) => panic!("an entry is gone and nothing said so"),
            Err(_) => refused = true,
        }
    }
    let listed: Vec<_> = bundle.entries().collect();
    refused |= listed.iter().any(Result::is_err);
    assert!(refused || listed.len() == count);
    refused
}

#[test]
fn every_truncation_is_refused() {
    let (_directory, path) = bundle_of(70);
    let bytes = fs::read(&path).unwrap();
    for len in (0..bytes.len())
        .step_by(97)
        .chain([4095, 4096, bytes.len() - 1])
    {
        assert!(is_refused(&bytes[..len], 70), "{len}");
    }
    assert!(!is_refused(&bytes, 70));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_byte_is_refused_or_harmless(place: prop::sample::Index, bit in 0..8u8) {
        let (_directory, path) = bundle_of(70);
        let mut bytes = fs::read(&path).unwrap();
        // Behind the head nothing is harmless; in it, the padding and what its maker says of himself are.
        let place = 4096 + place.index(bytes.len() - 4096);
        bytes[place] ^= 1 << bit;
        prop_assert!(is_refused(&bytes, 70));
    }

    #[test]
    fn a_changed_byte_of_the_head_does_no_harm(place in 0..400usize, byte: u8) {
        let (_directory, path) = bundle_of(70);
        let mut bytes = fs::read(&path).unwrap();
        bytes[place] = byte;
        let changed = directory_with(&bytes);
        if let Ok(bundle) = Bundle::open(&changed.1, &anybody()) {
            let (info, key) = client("urn:feature:7");
            if let Ok(Some(entry)) = bundle.look_up(&key) {
                prop_assert_eq!(entry.verified(&key, &Policy::default()), Verdict::Verified(info));
            }
            let _ = bundle.entries().count();
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_bundle(bytes: Vec<u8>) {
        let (_directory, path) = directory_with(&bytes);
        let error = Bundle::open(&path, &anybody()).unwrap_err();
        prop_assert!(matches!(error, BundleError::NotABundle));
    }
}

fn directory_with(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("some.capsd");
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

#[test]
fn what_is_no_bundle_is_called_that_and_a_newer_one_too() {
    let text = |bytes: &[u8]| {
        let (_directory, path) = directory_with(bytes);
        Bundle::open(&path, &anybody()).unwrap_err().to_string()
    };
    assert!(text(b"").contains("no bundle"));
    assert!(text(b"capsd-bundle x\n").contains("no bundle"));
    assert!(text(b"capsd-bundle 2\nanything").contains("format 2"));
    assert!(text(b"capsd-bundle 1\n").contains("damaged"));
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().to_owned(), directory.path().join("none")] {
        let error = Bundle::open(&path, &anybody()).unwrap_err();
        assert!(matches!(error, BundleError::Unreadable(_)), "{error}");
    }
}

/// A bundle made by hand: one page over one block.
struct HandMade {
    bytes: Vec<u8>,
}

impl HandMade {
    fn new() -> HandMade {
        HandMade {
            bytes: vec![b'\n'; 4096],
        }
    }

    /// Appends bytes; the row that leads to them from the key of that feature.
    fn push(&mut self, bytes: &[u8], feature: &str) -> Vec<u8> {
        let offset = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        let prefix = &client(feature).1.to_bytes()[..18];
        let mut row = prefix.to_vec();
        row.extend_from_slice(&offset.to_be_bytes());
        row.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        row.extend_from_slice(&[0, 0]);
        row.extend_from_slice(&Sha256::digest(bytes));
        row
    }

    /// Writes the head: this page is the root of both trees.
    fn finish(mut self, page: &[u8], levels: u8) -> (tempfile::TempDir, std::path::PathBuf) {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(page);
        let root = format!(
            "levels = {levels}\noffset = {offset}\nlength = {}\nsha256 = \"{}\"\n",
            page.len(),
            BASE64.encode(Sha256::digest(page))
        );
        let head = format!(
            "capsd-bundle 1\ncreated = \"\"\ngenerator = \"\"\nentries = 1\nkeys = 1\n[index]\n{root}[blocks]\n{root}---\n"
        );
        self.bytes[..head.len()].copy_from_slice(head.as_bytes());
        directory_with(&self.bytes)
    }
}

/// A packed block with one content.
fn block_of_one() -> Vec<u8> {
    let (_directory, path) = bundle_of(1);
    let bytes = fs::read(&path).unwrap();
    let head = String::from_utf8_lossy(&bytes[..4096]);
    // The index begins where the only block ends.
    let index = head.split("offset = ").nth(1).unwrap();
    let index: usize = index.lines().next().unwrap().parse().unwrap();
    bytes[4096..index].to_vec()
}

#[test]
fn a_block_that_unpacks_to_gigabytes_is_refused() {
    // A frame without the unpacked size in its header, and one with it.
    let zeros = vec![0; 64 << 20];
    let mut streamed = zstd::stream::Encoder::new(Vec::new(), 19).unwrap();
    std::io::Write::write_all(&mut streamed, &zeros).unwrap();
    for bomb in [
        streamed.finish().unwrap(),
        zstd::bulk::compress(&zeros, 19).unwrap(),
    ] {
        assert!(bomb.len() < 16 * 1024);
        let mut made = HandMade::new();
        let row = made.push(&bomb, "urn:a");
        let (_directory, path) = made.finish(&row, 1);
        let bundle = Bundle::open(&path, &anybody()).unwrap();
        let error = bundle.look_up(&client("urn:a").1).unwrap_err();
        assert!(error.to_string().contains("unpacked"), "{error}");
        let listed: Vec<_> = bundle.entries().collect();
        assert_eq!(listed.len(), 1);
        assert!(listed[0].is_err());
    }
}

#[test]
fn an_index_that_leads_back_to_the_same_page_ends() {
    // Eight levels of 64 rows that all lead to one page would be 2^48 rows.
    let mut made = HandMade::new();
    let mut row = made.push(&block_of_one(), "urn:a");
    for _ in 0..7 {
        row = made.push(&row.repeat(64), "urn:a");
    }
    let (_directory, path) = made.finish(&row.repeat(64), 8);
    let bundle = Bundle::open(&path, &anybody()).unwrap();
    let listed: Vec<_> = bundle.entries().take(1000).collect();
    assert!(matches!(listed[..], [Ok(_), Err(BundleError::Damaged(_))]));
}

#[test]
fn a_row_that_claims_gigabytes_reserves_nothing() {
    let mut made = HandMade::new();
    let mut row = made.push(b"", "urn:a");
    row[26..30].copy_from_slice(&u32::MAX.to_be_bytes());
    let (_directory, path) = made.finish(&row, 1);
    let bundle = Bundle::open(&path, &anybody()).unwrap();
    let error = bundle.look_up(&client("urn:a").1).unwrap_err();
    assert!(error.to_string().contains("larger than any"), "{error}");
}

#[test]
fn a_content_under_a_key_that_it_does_not_have_proves_nothing() {
    // The index is right in every hash, but leads from one key to the content of another.
    let mut made = HandMade::new();
    let row = made.push(&block_of_one(), "urn:another");
    let (_directory, path) = made.finish(&row, 1);
    let bundle = Bundle::open(&path, &anybody()).unwrap();
    let (_, key) = client("urn:another");
    let entry = bundle.look_up(&key).unwrap().unwrap();
    for policy in [Policy::default(), Policy::trusted()] {
        assert!(matches!(
            entry.verified(&key, &policy),
            Verdict::Rejected(..)
        ));
    }
    // So the trusted tier, which waives what it may, does not serve it.
    let sources = Sources {
        bundles: vec![path],
        signers: anybody(),
        ..Sources::default()
    };
    let mut trusted = Trusted::open(&sources, &Metrics::new().unwrap());
    assert_eq!(trusted.entries(), 1);
    assert!(trusted.get(&key).is_none());
}
