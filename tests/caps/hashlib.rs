//! `capsd hash` against a second implementation: Python's hashlib, with strings built by `hashlib_reference.py`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::answers::file;

/// Family, variant (empty for the plain one), algorithm, hash.
type Hash = (String, String, String, String);

#[test]
fn every_algorithm_agrees_with_hashlib() {
    let documents = documents();
    let reference = Command::new("python3")
        .arg(file("hashlib_reference.py"))
        .args(&documents)
        .output()
        .expect("python3 is needed for this test");
    assert!(
        reference.status.success(),
        "{}",
        String::from_utf8_lossy(&reference.stderr)
    );
    let reference: BTreeMap<PathBuf, Value> = serde_json::from_slice(&reference.stdout).unwrap();
    let mut variants = BTreeSet::new();
    for document in documents {
        let output = Command::new(env!("CARGO_BIN_EXE_capsd"))
            .args(["hash", "--json"])
            .arg(&document)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let ours: Value = serde_json::from_slice(&output.stdout).unwrap();
        let ours = hashes(&ours["keys"]);
        // Six algorithms of either family at least.
        assert!(ours.len() >= 12, "{document:?}");
        assert_eq!(ours, hashes(&reference[&document]), "{document:?}");
        variants.extend(ours.into_iter().map(|(_, variant, _, _)| variant));
    }
    // The documents are such that every way of hashing is met.
    let all = ["", "inherited-lang", "joined-order"].map(str::to_owned);
    assert_eq!(variants, BTreeSet::from(all));
}

fn hashes(list: &Value) -> BTreeSet<Hash> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let hashes = list.as_array().unwrap().iter();
    hashes
        .map(|hash| {
            let [family, variant, algorithm, digest] =
                ["family", "variant", "algorithm", "hash"].map(|name| text(&hash[name]));
            (family, variant, algorithm, digest)
        })
        .collect()
}

fn documents() -> Vec<PathBuf> {
    let list = |directory| std::fs::read_dir(file(directory)).unwrap();
    let documents: Vec<PathBuf> = list("documents")
        .chain(list("pairs"))
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(documents.len() > 20);
    documents
}
