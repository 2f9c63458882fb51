//! Formats: a store of this version and of each older one is kept here, packed, and opened.
//!
//! `formats/format-N.tar.gz` holds a store of format N, `formats/entries.txt` what must be found in each: a number, the 0115 sha-1
//! hash, and the string that has it, which Python made and hashed. When the format changes, the store of the new one is made by
//!
//! ```text
//! CAPSD_MAKE_STORE=1 cargo test --test store format::a_store_of_this_format_is_read
//! ```
//!
//! and those of the older ones stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use capsd::caps::{Algorithm, CapsKey, Family};
use capsd::store::Store;
use capsd::store::directory::FORMAT;

use crate::fixture::{
    Clock, Setup, has, is_on_disk, key, learned, learned_fully, open_engine, output,
};
use crate::log;

/// Which of the test contents are in the kept stores.
const KEPT: u32 = 12;

fn formats() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/formats")
}

/// What the kept stores hold: hash and string.
fn entries() -> Vec<(CapsKey, String)> {
    let text = fs::read_to_string(formats().join("entries.txt")).unwrap();
    let entry = |line: &str| {
        let mut parts = line.splitn(3, ' ');
        let _number = parts.next().unwrap();
        let hash = parts.next().unwrap();
        let key = CapsKey::from_base64(Family::Xep0115, "sha-1", hash).unwrap();
        (key, parts.next().unwrap().to_owned())
    };
    let entries: Vec<_> = text.lines().map(entry).collect();
    assert_eq!(entries.len(), KEPT as usize);
    entries
}

/// Makes a store and packs it.
fn make(format: u32) {
    let setup = Setup::new();
    for numbers in [0..KEPT / 2, KEPT / 2..KEPT] {
        let mut store = setup.open();
        for number in numbers {
            store.put(learned_fully(number));
        }
        store.close();
    }
    let packed = formats().join(format!("format-{format}.tar.gz"));
    let mut pack = Command::new("tar");
    pack.args(["--owner=0", "--group=0", "-czf"]).arg(packed);
    let made = output(pack.arg("-C").arg(setup.root()).arg("store"));
    assert!(made.status.success());
}

/// A copy of the store that is kept of that format.
fn kept(format: u32) -> Setup {
    let setup = Setup::new();
    let packed = formats().join(format!("format-{format}.tar.gz"));
    let mut unpack = Command::new("tar");
    unpack.args(["--no-same-owner", "-xzf"]).arg(packed);
    let unpacked = output(unpack.arg("-C").arg(setup.root()));
    assert!(unpacked.status.success());
    setup
}

/// Looks for everything that the kept stores hold.
fn assert_all_there(store: &mut Store) {
    for (key, string) in entries() {
        let stored = store.get(&key).unwrap_or_else(|| panic!("{key} is lost"));
        let info = stored.info.info();
        let identity = &info.identities[0];
        let features = info.features.join("<");
        let found = format!(
            "{}/{}/{}/{}<{features}<",
            identity.category, identity.type_, identity.lang, identity.name
        );
        assert_eq!(found, string);
        assert_eq!(stored.nodes, ["http://capsd.example"]);
        // Its keys are those of the standard, and each leads to it.
        assert_eq!(stored.keys.len(), 4);
        for key in &stored.keys {
            assert_eq!(store.get(key).unwrap().info.info(), info);
        }
        let algorithms: Vec<_> = stored.keys.iter().map(|key| key.algorithm()).collect();
        assert!(algorithms.contains(&Algorithm::Sha3_256), "{algorithms:?}");
    }
    assert_eq!(store.entries(), u64::from(KEPT));
}

#[test]
fn a_store_of_this_format_is_read() {
    if std::env::var_os("CAPSD_MAKE_STORE").is_some() {
        make(FORMAT);
    }
    let setup = kept(FORMAT);
    let (_, log) = log::of(|| assert_all_there(&mut setup.open()));
    assert!(log.is_empty(), "{log:#?}");
}

/// Turns a closed store of this format into one of format 1, as a capsd that knew no other would have written it: the versions of
/// values differ in one byte, which says whether several accounts announced a key, and its checksum.
pub(crate) fn downgrade(setup: &Setup) {
    let db = open_engine(setup);
    let infos = db.open_tree("infos").unwrap();
    for row in &infos {
        let (id, value) = row.unwrap();
        if value[0] != 2 {
            continue;
        }
        let (head, seen_and_rest) = value[5..].split_at(8);
        let rest = [head, &seen_and_rest[1..]].concat();
        let checksum = crc32fast::hash(&[&id, &[1][..], &rest].concat());
        let older = [&[1][..], &checksum.to_le_bytes(), &rest].concat();
        infos.insert(id, older).unwrap();
    }
    let meta = db.open_tree("meta").unwrap();
    meta.insert("format", &1u32.to_be_bytes()).unwrap();
    meta.remove("values").unwrap();
    db.flush().unwrap();
    let format = "capsd learned store\nformat 1\nwritten by capsd 0.1.0\n";
    fs::write(setup.path().join("format"), format).unwrap();
}

/// How many values of a closed store have each version.
pub(crate) fn versions(setup: &Setup) -> BTreeMap<u8, usize> {
    let db = open_engine(setup);
    let mut versions = BTreeMap::new();
    for value in db.open_tree("infos").unwrap().iter().values() {
        *versions.entry(value.unwrap()[0]).or_default() += 1;
    }
    versions
}

/// Opens a store of an older format, looks at it while its values are brought to this one, and closes it.
fn migrate(setup: &Setup, check: impl Fn(&mut Store)) -> Vec<String> {
    let (_, log) = log::of(|| {
        let mut store = setup.open();
        assert!(is_on_disk(&store));
        check(&mut store);
        Clock(setup.start).pass(&mut store, Duration::from_secs(10));
        check(&mut store);
        let bytes = store.bytes();
        // Dropped, not closed: what it counted is counted again, and must be the same.
        store.flush();
        store.put(learned(999));
        store.remove_key(&key(999));
        drop(store);
        let mut store = setup.open();
        Clock(setup.start).pass(&mut store, Duration::from_secs(10));
        assert_eq!(store.bytes(), bytes);
        check(&mut store);
        store.close();
    });
    log
}

fn assert_migrated(setup: &Setup, entries: u32, log: &[String]) {
    let lines = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    assert_eq!(lines("values of an older format"), 1, "{log:#?}");
    assert_eq!(
        lines("Older versions of capsd can no longer open it"),
        1,
        "{log:#?}"
    );
    let done = format!("values={entries} ");
    assert_eq!(lines(&done), 1, "{log:#?}");
    assert_eq!(log.len(), 2, "{log:#?}");
    assert_eq!(versions(setup), BTreeMap::from([(2, entries as usize)]));
    let format = fs::read_to_string(setup.path().join("format")).unwrap();
    assert!(format.contains(&format!("\nformat {FORMAT}\n")), "{format}");
}

/// This one was written by the last version of capsd that knew format 1 alone.
#[test]
fn a_store_of_format_1_is_read_at_once_and_brought_to_this_one() {
    let setup = kept(1);
    assert_eq!(versions(&setup), BTreeMap::from([(1, KEPT as usize)]));
    let log = migrate(&setup, assert_all_there);
    assert_migrated(&setup, KEPT, &log);
    let (_, log) = log::of(|| assert_all_there(&mut setup.open()));
    assert!(log.is_empty(), "{log:#?}");
}

#[test]
fn the_order_of_use_outlives_it() {
    let mut setup = Setup::new();
    let mut store = setup.open();
    for number in 0..500 {
        store.put(learned(number));
    }
    store.close();
    downgrade(&setup);
    let log = migrate(&setup, |store| {
        assert_eq!(store.entries(), 500);
        // Not all: what is read is spared.
        assert!(has(store, 499));
    });
    assert_migrated(&setup, 500, &log);
    setup.settings.max_entries = 100;
    let mut store = setup.open();
    Clock(setup.start).run(&mut store, |store| store.entries() <= 100);
    for number in 0..500 {
        assert_eq!(has(&mut store, number), number >= 400, "{number}");
    }
}

/// What is written while values of both versions are there is of the present one, and what is damaged stays what it is.
#[test]
fn writes_go_on_meanwhile() {
    let setup = Setup::new();
    let mut store = setup.open();
    for number in 0..300 {
        store.put(learned(number));
    }
    store.close();
    downgrade(&setup);
    let mut store = setup.open();
    let mut clock = Clock(setup.start);
    for number in 300..400 {
        store.put(learned(number));
        store.put(learned_fully(number - 300));
        store.remove_key(&key(number - 150));
        clock.step(&mut store, Duration::from_millis(1));
    }
    clock.pass(&mut store, Duration::from_secs(5));
    for number in 0..400 {
        assert_eq!(
            has(&mut store, number),
            !(150..250).contains(&number),
            "{number}"
        );
    }
    store.close();
    assert_eq!(versions(&setup), BTreeMap::from([(2, 300)]));
}
