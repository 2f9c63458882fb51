//! What is written is found, whatever the size; and what opening costs.

use std::fs;

use capsd::bundle::{BundleWriter, Label};
use capsd::caps::{Policy, Verdict, VerifiedInfo};
use capsd::store::standard_keys;

use crate::fixture::{bundle_of, client, day, features, label, open};

#[test]
fn everything_is_found_and_proves_its_key() {
    // Nothing, one page, two levels at their borders, three levels.
    for count in [0, 1, 63, 64, 65, 4096, 4097] {
        let (_directory, path) = bundle_of(count);
        let bundle = open(&path);
        assert_eq!((bundle.len(), bundle.keys()), (count as u64, count as u64));
        // All of a few, and some of many: each unpacks a block.
        for feature in features(count).iter().step_by(count / 64 + 1) {
            let (info, key) = client(feature);
            let entry = bundle.look_up(&key).unwrap().unwrap();
            assert_eq!(entry.keys, [key]);
            assert_eq!(entry.nodes, [format!("http://example.org/{feature}")]);
            assert_eq!(entry.label, label(feature));
            assert_eq!(
                entry.verified(&key, &Policy::default()),
                Verdict::Verified(info)
            );
        }
        let (_, stranger) = client("urn:not:there");
        assert!(bundle.look_up(&stranger).unwrap().is_none());
        let listed: Vec<_> = bundle
            .entries()
            .map(|entry| entry.unwrap().info.features.concat())
            .collect();
        assert_eq!(listed, features(count));
    }
}

#[test]
fn a_content_is_found_by_each_of_its_keys_and_only_those_that_it_proves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clients.capsd");
    let (info, key) = client("urn:a");
    let (_, foreign) = client("urn:b");
    let keys = standard_keys(&info, &Policy::default());
    assert_eq!(keys.len(), 4);
    let mut writer = BundleWriter::create(&path, day(), "a test").unwrap();
    let wanted = [keys.clone(), vec![foreign]].concat();
    let nodes = ["http://a".to_owned(), "romeo@example.org".to_owned()];
    assert!(
        writer
            .add(&info, &wanted, &nodes, &Label::default())
            .unwrap()
    );
    // Nothing that it proves: not added.
    assert!(
        !writer
            .add(&info, &[foreign], &nodes, &Label::default())
            .unwrap()
    );
    assert_eq!(writer.finish(None).unwrap(), 1);
    let bundle = open(&path);
    assert_eq!((bundle.len(), bundle.keys()), (1, 4));
    assert_eq!(bundle.created(), "2024-10-04");
    assert_eq!(bundle.generator(), "a test");
    for wanted in &keys {
        let entry = bundle.look_up(wanted).unwrap().unwrap();
        assert_eq!(entry.keys, keys);
        // What could be a JID is never written.
        assert_eq!(entry.nodes, ["http://a"]);
    }
    assert!(keys.contains(&key));
    assert!(bundle.look_up(&foreign).unwrap().is_none());
}

#[test]
fn an_interrupted_or_refused_bundle_leaves_what_was_there() {
    let (directory, path) = bundle_of(3);
    let before = fs::read(&path).unwrap();
    let mut writer = BundleWriter::create(&path, day(), "a test").unwrap();
    let (info, key) = client("urn:new");
    writer.add(&info, &[key], &[], &Label::default()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
    drop(writer);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    for generator in ["two\nlines", &"long".repeat(1000)] {
        assert!(BundleWriter::create(&path, day(), generator).is_err());
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_killed_writer_leaves_no_bundle() {
    // What a writer leaves when it has no chance to tidy up: a file without a head, under another name.
    let (directory, path) = bundle_of(1);
    let other = directory.path().join("other.capsd");
    let mut writer = BundleWriter::create(&other, day(), "a test").unwrap();
    for feature in features(500) {
        let (info, key) = client(&feature);
        writer.add(&info, &[key], &[], &Label::default()).unwrap();
    }
    std::mem::forget(writer);
    assert!(!other.exists());
    for entry in fs::read_dir(directory.path()).unwrap() {
        let left = entry.unwrap().path();
        if left != path {
            let error = capsd::bundle::Bundle::open(&left, &crate::fixture::anybody()).unwrap_err();
            assert!(error.to_string().contains("no bundle"), "{error}");
        }
    }
}

/// A large content, whose compression is what makes a bundle small.
fn large(n: usize) -> VerifiedInfo {
    client(&format!("urn:{n}:{}", "x".repeat(8000))).0
}

#[test]
fn the_largest_contents_fit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clients.capsd");
    let mut writer = BundleWriter::create(&path, day(), "a test").unwrap();
    for n in 0..20 {
        let info = large(n);
        let keys = standard_keys(&info, &Policy::default());
        assert!(writer.add(&info, &keys, &[], &Label::default()).unwrap());
    }
    writer.finish(None).unwrap();
    let bundle = open(&path);
    for n in 0..20 {
        for key in standard_keys(&large(n), &Policy::default()) {
            assert_eq!(
                &bundle.look_up(&key).unwrap().unwrap().info,
                large(n).info()
            );
        }
    }
    assert!(fs::metadata(&path).unwrap().len() < 30_000);
}

/// How many bytes this process has read from files so far.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = io.lines().find(|line| line.starts_with("rchar:")).unwrap();
    line["rchar: ".len()..].parse().unwrap()
}

#[test]
fn opening_and_looking_up_reads_the_same_for_any_size() {
    let opened = |count| {
        let (_directory, path) = bundle_of(count);
        // What reading the counter itself costs is the same each time.
        let start = bytes_read();
        let none = bytes_read() - start;
        let before = bytes_read();
        let bundle = open(&path);
        let opened = bytes_read() - before - none;
        let before = bytes_read();
        bundle.look_up(&client("urn:feature:0").1).unwrap().unwrap();
        (opened, bytes_read() - before - none)
    };
    let (small, _) = opened(64);
    let (large, found) = opened(5_000);
    // The head and one page of the index.
    assert!(small <= 2 * 4096 + 64, "{small}");
    assert!(large <= 2 * 4096 + 64, "{large}");
    // Two more pages of the index, and one block.
    assert!(found <= 2 * 4096 + 128 * 1024, "{found}");
}
