//! `config/trusted`, which packages install: capsd's own reading of it.

use std::path::Path;

use capsd::caps::Family;

use crate::fixture::{keys, open_paths, warnings_of};

#[test]
fn every_content_of_todays_clients_is_served_and_needs_no_waiver() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/trusted");
    let (mut trusted, warnings) = warnings_of(|| open_paths(vec![directory]));
    assert!(warnings.is_empty(), "{warnings:?}");
    let entries = trusted.entries();
    let named = keys(&mut trusted);
    for family in [Family::Xep0115, Family::Xep0390] {
        let of_family = named.iter().filter(|key| key.family() == family);
        assert!(of_family.count() > 0, "{family:?}");
    }
    for key in &named {
        let (entry, warnings) = warnings_of(|| trusted.get(key));
        let entry = entry.unwrap_or_else(|| panic!("{key}: {warnings:?}"));
        assert!(
            !entry.info.waived(),
            "{key} could not be learned from a stranger"
        );
    }
    assert_eq!(trusted.entries(), entries, "a file was refused");
}
