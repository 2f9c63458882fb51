//! Real answers as a trusted directory.

use std::path::Path;
use std::sync::Arc;

use capsd::metrics::Metrics;
use capsd::trusted::Trusted;

#[test]
fn all_of_it_is_served() {
    let Some(corpus) = std::env::var_os("CAPSD_CORPUS") else {
        println!("skipped: CAPSD_CORPUS does not name a corpus of real answers");
        return;
    };
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut trusted = Trusted::open(&[Path::new(&corpus).join("hashes")], metrics);
    assert_eq!(trusted.entries(), 807);
    let keys: Vec<_> = trusted.keys().collect();
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
    for key in trusted.keys().collect::<Vec<_>>() {
        if !keys.contains(&key) {
            assert!(trusted.get(&key).is_some(), "{key}");
        }
    }
}
