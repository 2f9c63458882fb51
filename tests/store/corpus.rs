//! Real answers: every entry that verifies is stored, and found again after a restart, under each of its keys.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use capsd::caps::{CapsKey, Family, Policy, Verdict, VerifiedInfo, verify};
use capsd::stanza::answer::{AnswerLimits, parse_query_unwrapped};
use capsd::store::{Learned, standard_keys};
use percent_encoding::percent_decode_str;

use crate::fixture::{Setup, is_on_disk};

/// How many entries XEP-0115 section 5.4 accepts that are not md5, those in a second `<query/>` included; without two that
/// have no identity and four with a form that has no field.
const ACCEPTED: usize = 786 + 4 - 2 - 4;

/// The key and the node URL in the name of a corpus file.
fn key_and_node(name: &str) -> (Option<CapsKey>, String) {
    let (algorithm, node) = name.strip_suffix(".xml").unwrap().split_once('_').unwrap();
    let node = percent_decode_str(node).decode_utf8().unwrap();
    let (url, ver) = node.rsplit_once('#').unwrap();
    let key = CapsKey::from_base64(Family::Xep0115, algorithm, ver).ok();
    (key, url.to_owned())
}

#[test]
fn all_of_it_is_kept() {
    let Some(corpus) = std::env::var_os("CAPSD_CORPUS") else {
        println!("skipped: CAPSD_CORPUS does not name a corpus of real answers");
        return;
    };
    let policy = Policy::default();
    let setup = Setup::new();
    let mut store = setup.open();
    let mut put: BTreeMap<CapsKey, VerifiedInfo> = BTreeMap::new();
    let mut accepted = 0;
    for file in fs::read_dir(Path::new(&corpus).join("hashes")).unwrap() {
        let path = file.unwrap().path();
        let (key, node) = key_and_node(path.file_name().unwrap().to_str().unwrap());
        let bytes = fs::read(&path).unwrap();
        let answer = parse_query_unwrapped(&bytes, AnswerLimits::default()).unwrap();
        let key = key.unwrap();
        let Verdict::Verified(info) = verify(&key, &answer, &policy) else {
            continue;
        };
        accepted += 1;
        let mut keys = standard_keys(&info, &policy);
        keys.push(key);
        for key in &keys {
            let known = put.entry(*key).or_insert_with(|| info.clone());
            assert_eq!(known.info(), info.info(), "two contents have the key {key}");
        }
        store.put(Learned {
            info,
            keys,
            nodes: vec![node],
        });
    }
    assert_eq!(accepted, ACCEPTED);
    store.close();

    let mut store = setup.open();
    assert!(is_on_disk(&store));
    for (key, info) in &put {
        let stored = store.get(key).unwrap_or_else(|| panic!("{key} is lost"));
        assert_eq!(stored.info.info(), info.info(), "{key}");
        assert!(
            !stored.nodes.is_empty() && stored.keys.contains(key),
            "{key}"
        );
    }
    println!(
        "{accepted} entries, {} contents, {} keys",
        store.entries(),
        put.len()
    );
}
