//! Real answers as a trusted directory.

use std::path::Path;

use crate::fixture::{keys, open_paths};

#[test]
fn all_of_it_is_served() {
    let Some(corpus) = std::env::var_os("CAPSD_CORPUS") else {
        println!("skipped: CAPSD_CORPUS does not name a corpus of real answers");
        return;
    };
    let mut trusted = open_paths(vec![Path::new(&corpus).join("hashes")]);
    assert_eq!(trusted.entries(), 807);
    let keys = keys(&mut trusted);
    let mut waived = 0;
    for key in &keys {
        let entry = trusted
            .get(key)
            .unwrap_or_else(|| panic!("{key} is refused"));
        waived += usize::from(entry.info.waived());
    }
    // Four keys are md5 (of five files), twelve repeat a feature, two have no identity, four have a form without a field.
    assert_eq!(waived, 4 + 12 + 2 + 4);
    // Those keys, and the standard ones of their contents.
    for key in crate::fixture::keys(&mut trusted) {
        assert!(!keys.contains(&key) && trusted.get(&key).is_some(), "{key}");
    }
}
