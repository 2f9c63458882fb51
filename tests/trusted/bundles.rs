//! Bundles as a part of the trusted tier.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use capsd::bundle::{BundleWriter, Label, Signers};
use capsd::caps::{CapsKey, Policy, Verdict, VerifiedInfo, verify};
use capsd::metrics::{Metrics, Tier};
use capsd::stanza::answer::{AnswerLimits, parse_query};
use capsd::trusted::{Sources, Trusted};

use crate::content::key_of;
use crate::fixture::{Directory, keys, open, query, sources, warnings_of};

/// A client with that feature, under trusted rules, and its key.
fn client(feature: &str) -> (VerifiedInfo, CapsKey) {
    let key = key_of(&format!("client/pc//<{feature}<"));
    (verified(&key, &children(feature)), key)
}

fn children(feature: &str) -> String {
    format!("<identity category='client' type='pc'/><feature var='{feature}'/>")
}

fn verified(key: &CapsKey, children: &str) -> VerifiedInfo {
    let limits = AnswerLimits {
        max_bytes: 16 * 1024,
        max_features: 256,
    };
    let answer = parse_query(query(children).as_bytes(), limits).unwrap();
    match verify(key, &answer, &Policy::trusted()) {
        Verdict::Verified(info) => info,
        verdict => panic!("{verdict:?}"),
    }
}

fn write(path: &Path, contents: &[(VerifiedInfo, CapsKey)]) {
    let mut writer = BundleWriter::create(path, SystemTime::UNIX_EPOCH, "a test").unwrap();
    for (info, key) in contents {
        let nodes = ["http://in.a.bundle".to_owned()];
        assert!(
            writer
                .add(info, &[*key], &nodes, &Label::default())
                .unwrap()
        );
    }
    writer.finish(None).unwrap();
}

#[test]
fn a_bundle_in_a_directory_is_found_and_what_is_in_it_verified() {
    let directory = Directory::new();
    let contents: Vec<_> = (0..300).map(|n| client(&format!("urn:{n:03}"))).collect();
    write(&directory.path().join("some.capsd"), &contents);
    let metrics = Metrics::new().unwrap();
    let mut trusted = Trusted::open(&sources(vec![directory.path()]), &metrics);
    assert_eq!(trusted.entries(), 300);
    assert_eq!(metrics.cache_entries.get(Tier::Trusted).get(), 300);
    for (info, key) in &contents {
        assert!(trusted.contains(key));
        let entry = trusted.get(key).unwrap();
        assert_eq!(&entry.info, info);
        assert_eq!(entry.nodes, ["http://in.a.bundle"]);
    }
    assert!(!trusted.contains(&key_of("other")) && trusted.get(&key_of("other")).is_none());
    // All of its keys are given, a piece at a time.
    let first = trusted.next_keys(100);
    assert!(first.len() >= 100 && first.len() < 300);
    let all = [first, keys(&mut trusted)].concat();
    assert_eq!(
        all,
        contents.iter().map(|(_, key)| *key).collect::<Vec<_>>()
    );
    assert!(trusted.next_keys(100).is_empty());
}

#[test]
fn files_come_before_bundles_and_earlier_ones_before_later_ones() {
    // One S, two contents: which is served tells where it came from.
    let key = key_of("client/pc//<urn:a<f<a<b<c<d<");
    let form = |fields: &str| {
        format!(
            "{}<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>f</value></field>{fields}</x>",
            children("urn:a")
        )
    };
    let two =
        form("<field var='a'><value>b</value></field><field var='c'><value>d</value></field>");
    let one = form("<field var='a'><value>b</value><value>c</value><value>d</value></field>");
    let fields =
        |trusted: &mut Trusted| trusted.get(&key).unwrap().info.info().forms[0].fields.len();

    let (first, second) = (Directory::new(), Directory::new());
    write(
        &first.path().join("a.capsd"),
        &[(verified(&key, &one), key)],
    );
    write(
        &first.path().join("b.capsd"),
        &[(verified(&key, &two), key)],
    );
    assert_eq!(fields(&mut open(&[&first, &second])), 1);
    write(
        &second.path().join("a.capsd"),
        &[(verified(&key, &two), key)],
    );
    assert_eq!(fields(&mut open(&[&first, &second])), 1);
    assert_eq!(fields(&mut open(&[&second, &first])), 2);
    let named = Sources {
        bundles: vec![second.path().join("a.capsd")],
        ..sources(vec![first.path()])
    };
    assert_eq!(
        fields(&mut Trusted::open(&named, &Metrics::new().unwrap())),
        1
    );
    second.add(&key, "http://a", &query(&two));
    let mut trusted = open(&[&first, &second]);
    assert_eq!(fields(&mut trusted), 2);
    // A stranger could teach neither.
    assert!(trusted.get(&key).unwrap().info.waived());
}

#[test]
fn a_bundle_that_may_not_be_used_is_said_and_the_rest_counts() {
    let directory = Directory::new();
    let (info, key) = client("urn:a");
    write(&directory.path().join("unsigned.capsd"), &[client("urn:b")]);
    fs::write(directory.path().join("nonsense.capsd"), "nonsense").unwrap();
    directory.add(&key, "http://a", &query(&children("urn:a")));
    let refusing = Sources {
        signers: Signers::new(&[], false).unwrap(),
        bundles: vec![directory.path().join("missing.capsd")],
        ..sources(vec![directory.path()])
    };
    let (mut trusted, warnings) =
        warnings_of(|| Trusted::open(&refusing, &Metrics::new().unwrap()));
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for (warning, file, words) in [
        (&warnings[0], "nonsense.capsd", "no bundle"),
        (&warnings[1], "unsigned.capsd", "trusted.unsigned-bundles"),
        (&warnings[2], "missing.capsd", "cannot be read"),
    ] {
        assert!(
            warning.contains(file) && warning.contains(words),
            "{warning}"
        );
    }
    assert_eq!(trusted.get(&key).unwrap().info, info);
    assert!(trusted.get(&client("urn:b").1).is_none());
}

#[test]
fn what_is_damaged_in_a_bundle_is_not_served_and_not_said_for_ever() {
    let directory = Directory::new();
    let path = directory.path().join("some.capsd");
    let contents: Vec<_> = (0..10).map(|n| client(&format!("urn:{n}"))).collect();
    write(&path, &contents);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut trusted = open(&[&directory]);
    let (_, warnings) = warnings_of(|| {
        for _ in 0..100 {
            for (_, key) in &contents {
                assert!(trusted.get(key).is_none());
            }
        }
    });
    assert_eq!(warnings.len(), 10, "one for each doubling up to 1000");
    assert!(warnings[0].contains("some.capsd") && warnings[0].contains("damaged"));
}

#[test]
fn a_bundle_that_is_replaced_while_it_is_open_is_still_the_one_that_was_opened() {
    let directory = Directory::new();
    let path = directory.path().join("some.capsd");
    write(&path, &[client("urn:a")]);
    let mut trusted = open(&[&directory]);
    write(&path, &[client("urn:b")]);
    assert!(trusted.get(&client("urn:a").1).is_some());
    assert!(trusted.get(&client("urn:b").1).is_none());
    assert!(open(&[&directory]).get(&client("urn:b").1).is_some());
}
