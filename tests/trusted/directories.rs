//! What a directory may hold, and what is served of it.

use std::fs;

use capsd::caps::{Algorithm, CapsKey, Family};
use capsd::metrics::{Metrics, Tier};
use capsd::trusted::{MAX_FILE_LEN, Trusted};
use md5::{Digest as _, Md5};

use crate::content::key_of;
use crate::fixture::{Directory, keys, open, open_paths, query, sources, warnings_of};

/// The simple example of XEP-0115 section 5.2, and its `ver`.
const EXODUS: &str = "<identity category='client' name='Exodus 0.9.1' type='pc'/>\
    <feature var='http://jabber.org/protocol/caps'/>\
    <feature var='http://jabber.org/protocol/disco#info'/>\
    <feature var='http://jabber.org/protocol/disco#items'/>\
    <feature var='http://jabber.org/protocol/muc'/>";
const EXODUS_VER: &str = "QgayPKawpkPSDYmwT/WM94uAlu0=";

fn exodus() -> CapsKey {
    CapsKey::from_base64(Family::Xep0115, "sha-1", EXODUS_VER).unwrap()
}

#[test]
fn a_file_is_found_by_the_key_in_its_name() {
    let directory = Directory::new();
    directory.add(&exodus(), "http://code.google.com/p/exodus", &query(EXODUS));
    let metrics = Metrics::new().unwrap();
    let mut trusted = Trusted::open(&sources(vec![directory.path()]), &metrics);
    assert_eq!(trusted.entries(), 1);
    assert_eq!(metrics.cache_entries.get(Tier::Trusted).get(), 1);
    assert!(trusted.contains(&exodus()));
    let entry = trusted.get(&exodus()).unwrap();
    assert_eq!(entry.info.info().identities[0].name, "Exodus 0.9.1");
    assert_eq!(entry.info.info().features.len(), 4);
    assert!(!entry.info.waived());
    assert_eq!(entry.nodes, ["http://code.google.com/p/exodus"]);
    assert!(trusted.get(&key_of("something else")).is_none());
}

#[test]
fn a_database_of_aioxmpp_is_a_directory_of_trusted_files() {
    // The complex example of XEP-0390 section 4.2 says which SHA-256 its content has; the name is that in base32.
    let content = include_str!("../caps/documents/xep0390-complex.xml");
    let ver = "u79ZroNJbdSWhdSp311mddz44oHHPsEBntQ5b1jqBSY=";
    let announced = CapsKey::from_base64(Family::Xep0390, "sha-256", ver).unwrap();
    let directory = Directory::new();
    let caps2 = directory.path().join("caps2/sha-256/xo/7v");
    fs::create_dir_all(&caps2).unwrap();
    let name = "tludjfw5jfuf2su56xlgoxopryuby47mcam62q4w6whkauta.xml";
    fs::write(caps2.join(name), content).unwrap();
    let hashes = directory.path().join("hashes");
    fs::create_dir(&hashes).unwrap();
    let name = "sha-1_http%3A%2F%2Fa%23QgayPKawpkPSDYmwT%2FWM94uAlu0%3D.xml";
    fs::write(hashes.join(name), query(EXODUS)).unwrap();
    fs::write(directory.path().join("README.md"), "What this is.").unwrap();

    let mut trusted = open(&[&directory]);
    assert_eq!(trusted.entries(), 2);
    assert_eq!(trusted.get(&exodus()).unwrap().nodes, ["http://a"]);
    assert!(trusted.get(&announced).unwrap().nodes.is_empty());
}

#[test]
fn a_wrapped_query_is_unwrapped() {
    let directory = Directory::new();
    directory.add(&exodus(), "http://a", &query(&query(EXODUS)));
    assert!(open(&[&directory]).get(&exodus()).is_some());
}

#[test]
fn after_the_first_use_the_other_keys_of_a_content_are_known() {
    let directory = Directory::new();
    directory.add(&exodus(), "http://a", &query(EXODUS));
    let mut trusted = open(&[&directory]);
    assert_eq!(keys(&mut trusted), [exodus()]);
    let info = trusted.get(&exodus()).unwrap().info;
    let keys = keys(&mut trusted);
    assert_eq!(keys.len(), 3);
    let algorithms = [
        Algorithm::Sha256,
        Algorithm::Sha3_256,
        Algorithm::Blake2b512,
    ];
    for (key, algorithm) in keys.iter().zip(algorithms) {
        assert_eq!(
            (key.family(), key.algorithm()),
            (Family::Xep0390, algorithm)
        );
        let entry = trusted.get(key).unwrap();
        assert_eq!(entry.info.info(), info.info());
        assert_eq!(entry.nodes, ["http://a"]);
    }
    assert_eq!(trusted.entries(), 1);
}

#[test]
fn a_form_that_no_hash_covers_does_not_hide_the_other_keys() {
    // XEP-0115 section 5.4 ignores a form without FORM_TYPE; XEP-0390 does not allow one. The content has none.
    let form = "<x xmlns='jabber:x:data' type='result'><field var='a'><value>b</value></field></x>";
    let directory = Directory::new();
    directory.add(&exodus(), "http://a", &query(&format!("{EXODUS}{form}")));
    let mut trusted = open(&[&directory]);
    assert!(trusted.get(&exodus()).unwrap().info.info().forms.is_empty());
    let keys = keys(&mut trusted);
    assert_eq!(keys.len(), 4);
    assert!(keys.iter().all(|key| trusted.get(key).is_some()));
}

#[test]
fn a_file_without_its_hash_is_never_served_and_said_once() {
    let directory = Directory::new();
    directory.add(
        &exodus(),
        "http://a",
        &query(&EXODUS.replace("0.9.1", "0.9.2")),
    );
    let mut trusted = open(&[&directory]);
    let (_, warnings) = warnings_of(|| {
        for _ in 0..3 {
            assert!(trusted.get(&exodus()).is_none());
        }
    });
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(directory.path().to_str().unwrap()));
    assert!(warnings[0].contains("mismatch"), "{warnings:?}");
    assert_eq!(trusted.entries(), 0);
}

#[test]
fn what_is_no_disco_info_is_never_served() {
    let contents = [
        String::new(),
        "not xml".to_owned(),
        "<query xmlns='urn:other'/>".to_owned(),
        format!("{}{}", query(EXODUS), " ".repeat(MAX_FILE_LEN as usize)),
        query(EXODUS)[..200].to_owned(),
    ];
    for content in contents {
        let directory = Directory::new();
        directory.add(&exodus(), "http://a", &content);
        let mut trusted = open(&[&directory]);
        let (found, warnings) = warnings_of(|| trusted.get(&exodus()));
        assert!(found.is_none());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }
}

#[test]
fn a_directory_or_a_pipe_in_place_of_a_file_is_never_read() {
    let directory = Directory::new();
    let name = format!(
        "sha-1_http%3A%2F%2Fa%23{}.xml",
        EXODUS_VER.replace('/', "%2F")
    );
    let path = directory.path().join(name);
    fs::create_dir(&path).unwrap();
    assert!(open(&[&directory]).get(&exodus()).is_none());
    fs::remove_dir(&path).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    assert!(open(&[&directory]).get(&exodus()).is_none());
}

#[test]
fn the_ambiguity_rule_is_waived_and_the_content_marked() {
    // The last feature is shaped like an identity.
    let directory = Directory::new();
    let key = key_of("client/pc//<client/x//y<urn:z<");
    let content =
        "<identity category='client' type='pc'/><feature var='client/x//y'/><feature var='urn:z'/>";
    directory.add(&key, "http://a", &query(content));
    let mut trusted = open(&[&directory]);
    assert!(trusted.get(&key).unwrap().info.waived());
    // It proves nothing more under 0115, but its 0390 hashes have one meaning.
    let keys = keys(&mut trusted);
    let families: Vec<_> = keys.iter().map(|key| key.family()).collect();
    let (a, b) = (Family::Xep0115, Family::Xep0390);
    assert_eq!(families, [a, b, b, b]);
    assert!(!trusted.get(&keys[3]).unwrap().info.waived());
}

#[test]
fn repeated_features_and_md5_are_waived_and_the_content_marked() {
    let directory = Directory::new();
    let twice = key_of("client/pc//<urn:a<urn:a<");
    let content =
        "<identity category='client' type='pc'/><feature var='urn:a'/><feature var='urn:a'/>";
    directory.add(&twice, "http://a", &query(content));
    let digest = Md5::digest("client/pc//<urn:a<");
    let md5 = CapsKey::new(Family::Xep0115, Algorithm::Md5, &digest).unwrap();
    let content = "<identity category='client' type='pc'/><feature var='urn:a'/>";
    directory.add(&md5, "http://b", &query(content));
    let mut trusted = open(&[&directory]);
    for key in [twice, md5] {
        assert!(trusted.get(&key).unwrap().info.waived(), "{key}");
    }
    // Once read, what was named by md5 is found by better hashes too, and needs no waiver there.
    let sha1 = key_of("client/pc//<urn:a<");
    assert!(!trusted.get(&sha1).unwrap().info.waived());
}

#[test]
fn of_two_files_of_one_key_the_one_that_verifies_is_served() {
    let wrong = Directory::new();
    wrong.add(&exodus(), "http://wrong", &query("<feature var='urn:a'/>"));
    let right = Directory::new();
    right.add(&exodus(), "http://right", &query(EXODUS));
    for directories in [[&wrong, &right], [&right, &wrong]] {
        let mut trusted = open(&directories);
        assert!(trusted.get(&exodus()).is_some());
        assert_eq!(keys(&mut trusted).len(), 4);
    }
}

#[test]
fn several_nodes_with_one_key_are_one_entry_with_several_nodes() {
    let directory = Directory::new();
    for node in ["http://a", "http://b"] {
        directory.add(&exodus(), node, &query(EXODUS));
    }
    let mut trusted = open(&[&directory]);
    assert_eq!(keys(&mut trusted).len(), 1);
    assert_eq!(
        trusted.get(&exodus()).unwrap().nodes,
        ["http://a", "http://b"]
    );
}

#[test]
fn names_of_another_kind_are_left_out() {
    let directory = Directory::new();
    directory.add(&exodus(), "http://a", &query(EXODUS));
    for name in [
        "README.md",
        "sha-1.xml",
        "sha-1_nonsense.xml",
        "sha-999_http%3A%2F%2Fa%23QgayPKawpkPSDYmwT%2FWM94uAlu0%3D.xml",
        "sha-256_http%3A%2F%2Fa%23QgayPKawpkPSDYmwT%2FWM94uAlu0%3D.xml",
        "sha-1_http%3A%2F%2Fa%23QgayPKawpkPSDYmwT%2FWM94uAlu0%3D.txt",
    ] {
        fs::write(directory.path().join(name), query(EXODUS)).unwrap();
    }
    assert_eq!(open(&[&directory]).entries(), 1);
}

#[test]
fn a_directory_that_is_missing_is_said_and_the_others_count() {
    let directory = Directory::new();
    directory.add(&exodus(), "http://a", &query(EXODUS));
    let missing = directory.path().join("not-there");
    let (trusted, warnings) = warnings_of(|| open_paths(vec![missing.clone(), directory.path()]));
    assert_eq!(trusted.entries(), 1);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(missing.to_str().unwrap()));
    assert!(warnings[0].contains("trusted.directories"));
}

/// The 0390 example of XEP-0390 section 4.2 and the path that aioxmpp gives it: its digest in base32, made with Python.
#[test]
fn a_database_of_aioxmpp_is_read_in_both_of_its_parts() {
    let database = Directory::new();
    let (hashes, caps2) = (
        database.path().join("hashes"),
        database.path().join("caps2/sha-256"),
    );
    fs::create_dir(&hashes).unwrap();
    let name = format!(
        "sha-1_http%3A%2F%2Fa%23{}.xml",
        EXODUS_VER.replace('/', "%2F")
    );
    fs::write(hashes.join(name), query(EXODUS)).unwrap();
    let path = caps2.join("sm/yf/s3skrhoab24pxp2pfn4d22trmuydiyo2rhjvjab644pjrmhq.xml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let bombus = "<identity category='client' name='BombusMod' type='mobile'/>\
        <feature var='http://jabber.org/protocol/si'/><feature var='http://jabber.org/protocol/bytestreams'/>\
        <feature var='http://jabber.org/protocol/chatstates'/><feature var='http://jabber.org/protocol/disco#info'/>\
        <feature var='http://jabber.org/protocol/disco#items'/><feature var='urn:xmpp:ping'/><feature var='jabber:iq:time'/>\
        <feature var='jabber:iq:privacy'/><feature var='jabber:iq:version'/><feature var='http://jabber.org/protocol/rosterx'/>\
        <feature var='urn:xmpp:time'/><feature var='jabber:x:oob'/><feature var='http://jabber.org/protocol/ibb'/>\
        <feature var='http://jabber.org/protocol/si/profile/file-transfer'/><feature var='urn:xmpp:receipts'/>\
        <feature var='jabber:iq:roster'/><feature var='jabber:iq:last'/>";
    fs::write(&path, query(bombus)).unwrap();
    let key = CapsKey::from_base64(
        Family::Xep0390,
        "sha-256",
        "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=",
    )
    .unwrap();
    let (mut trusted, warnings) = warnings_of(|| open(&[&database]));
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(trusted.contains(&exodus()) && trusted.get(&exodus()).is_some());
    assert!(trusted.contains(&key));
    assert_eq!(
        trusted.get(&key).unwrap().info.info().identities[0].name,
        "BombusMod"
    );
    // What is not what its name says is refused, and said once.
    fs::write(&path, query(EXODUS)).unwrap();
    let (_, warnings) = warnings_of(|| {
        for _ in 0..3 {
            assert!(trusted.get(&key).is_none());
        }
    });
    assert!(
        warnings.len() == 1 && warnings[0].contains("mismatch"),
        "{warnings:?}"
    );
    assert!(open(&[&database]).get(&key_of("other")).is_none());
}
