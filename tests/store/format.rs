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

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use capsd::caps::{Algorithm, CapsKey, Family};
use capsd::store::Store;
use capsd::store::directory::FORMAT;

use crate::fixture::{Setup, learned_fully, output};
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
