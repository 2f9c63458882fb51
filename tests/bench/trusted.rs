//! The trusted tier: what opening and looking up cost, by how much there is.
//!
//! `cargo bench --bench trusted -- [CONTENTS]`; up to 200,000 contents unless told otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use capsd::bundle::{Bundle, BundleWriter, Label, Signers};
use capsd::caps::{CapsKey, Policy, VerifiedInfo};
use capsd::metrics::Metrics;
use capsd::store::standard_keys;
use capsd::trusted::{Sources, Trusted};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

#[path = "../fixture/content.rs"]
mod content;

const CONTENTS: u32 = 200_000;

/// How many look-ups are measured.
const LOOK_UPS: u32 = 10_000;

fn main() {
    let most = std::env::args().find_map(|argument| argument.parse().ok());
    let most: u32 = most.unwrap_or(CONTENTS);
    for contents in [most / 1000, most / 10, most]
        .into_iter()
        .filter(|n| *n > 0)
    {
        let directory = tempfile::tempdir().unwrap();
        let (files, path) = (
            directory.path().join("files"),
            directory.path().join("b.capsd"),
        );
        write_files(&files, contents);
        write_bundle(&path, contents);
        let opened = best(|| {
            drop(open(Sources {
                directories: vec![files.clone()],
                ..sources()
            }))
        });
        println!("{contents:>7} files:    listed in {opened:?}");
        let opened = best(|| {
            drop(open(Sources {
                bundles: vec![path.clone()],
                ..sources()
            }))
        });
        let bytes = std::fs::metadata(&path).unwrap().len();
        let each = bytes / u64::from(contents);
        println!(
            "{contents:>7} in bundle: opened in {opened:?}; {bytes} bytes, {each} for each content"
        );
        look_up(&path, contents);
    }
}

fn sources() -> Sources {
    Sources {
        signers: Signers::new(&[], true).unwrap(),
        ..Sources::default()
    }
}

fn open(sources: Sources) -> Trusted {
    Trusted::open(&sources, &Metrics::new().unwrap())
}

/// The shortest of five times.
fn best(work: impl Fn()) -> Duration {
    let times = (0..5).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed()
    });
    times.min().unwrap()
}

/// A content of about 1.5 KB with many features in common with others, and its 0115 key.
fn client(number: u32) -> (CapsKey, VerifiedInfo) {
    let mut features: Vec<String> = (0..36)
        .map(|n| {
            format!(
                "http://jabber.org/protocol/feature-{n}#{}",
                (number + n) % 97
            )
        })
        .collect();
    features.sort();
    content::client(&format!("Client {number}"), features)
}

fn write_files(directory: &Path, contents: u32) {
    std::fs::create_dir(directory).unwrap();
    for number in 0..contents {
        // Only names are read.
        let node = client_key(number).to_node("http://client.example/caps");
        let name = format!("sha-1_{}.xml", utf8_percent_encode(&node, NON_ALPHANUMERIC));
        std::fs::write(directory.join(name), "").unwrap();
    }
}

fn client_key(number: u32) -> CapsKey {
    content::key_of(&number.to_string())
}

fn write_bundle(path: &Path, contents: u32) {
    let began = Instant::now();
    let mut writer = BundleWriter::create(path, SystemTime::UNIX_EPOCH, "a benchmark").unwrap();
    for number in 0..contents {
        let (_, info) = client(number);
        let keys = standard_keys(&info, &Policy::default());
        assert_eq!(keys.len(), 4);
        let node = "http://client.example/caps".to_owned();
        writer
            .add(&info, &keys, &[node], &Label::default())
            .unwrap();
    }
    writer.finish(None).unwrap();
    println!("{contents:>7} in bundle: written in {:?}", began.elapsed());
}

fn look_up(path: &Path, contents: u32) {
    let bundle = Bundle::open(path, &Signers::new(&[], true).unwrap()).unwrap();
    let keys: Vec<CapsKey> = (0..LOOK_UPS.min(contents))
        .map(|n| client(n.wrapping_mul(7919) % contents).0)
        .collect();
    let began = Instant::now();
    for key in &keys {
        bundle.look_up(key).unwrap().unwrap();
    }
    let found = began.elapsed() / u32::try_from(keys.len()).unwrap();
    let absent: Vec<CapsKey> = (0..LOOK_UPS).map(client_key).collect();
    let began = Instant::now();
    for key in &absent {
        assert!(bundle.look_up(key).unwrap().is_none());
    }
    let missed = began.elapsed() / LOOK_UPS;
    println!("{contents:>7} in bundle: found in {found:?}, not there in {missed:?}");
}
