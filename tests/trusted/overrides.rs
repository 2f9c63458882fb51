//! Overrides: a pinned content has the hash, or there is no pin.

use std::fs;

use capsd::caps::CapsKey;
use capsd::config::ConfigFaults;
use capsd::trusted::Overrides;

use crate::content::key_of;
use crate::fixture::query;

/// Two contents of one key, neither of which a stranger could teach.
const STRING: &str = "client/pc//<urn:a<f<a<b<c<d<";
const TWO_FIELDS: &str =
    "<field var='a'><value>b</value></field><field var='c'><value>d</value></field>";
const ONE_FIELD: &str = "<field var='a'><value>b</value><value>c</value><value>d</value></field>";

fn reading(fields: &str) -> String {
    query(&format!(
        "<identity category='client' type='pc'/><feature var='urn:a'/>\
         <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>f</value></field>{fields}</x>"
    ))
}

fn pin(key: &CapsKey, content: &str) -> Result<Overrides, ConfigFaults> {
    let directory = tempfile::tempdir().unwrap();
    let content_file = directory.path().join("pinned.xml");
    fs::write(&content_file, content).unwrap();
    let rules = format!("[[pin]]\nkey = '{key}'\nfile = {content_file:?}\nreason = 'a test'\n");
    let file = directory.path().join("overrides.toml");
    fs::write(&file, rules).unwrap();
    Overrides::load(&file)
}

#[test]
fn either_of_two_contents_of_a_key_can_be_pinned_and_is_marked() {
    let key = key_of(STRING);
    for (fields, count) in [(TWO_FIELDS, 2), (ONE_FIELD, 1)] {
        let overrides = pin(&key, &reading(fields)).unwrap();
        let info = overrides.pinned(&key).unwrap();
        assert!(info.waived());
        assert_eq!(info.info().forms[0].fields.len(), count);
        assert!(overrides.concerns(&key) && overrides.denial(&key).is_none());
    }
}

#[test]
fn a_content_with_another_hash_cannot_be_pinned() {
    let cases = [
        (
            key_of(STRING),
            reading(&TWO_FIELDS.replace('d', "e")),
            "mismatch",
        ),
        (key_of("something else"), reading(TWO_FIELDS), "mismatch"),
        (key_of(STRING), "nonsense".to_owned(), "XML"),
        (key_of(STRING), String::new(), "ends"),
    ];
    for (key, content, words) in cases {
        let faults = pin(&key, &content).unwrap_err().faults;
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].key.as_deref(), Some("pin.file"));
        assert!(faults[0].message.contains(words), "{faults:?}");
    }
}

#[test]
fn nothing_is_said_of_other_keys() {
    let overrides = pin(&key_of(STRING), &reading(TWO_FIELDS)).unwrap();
    assert_eq!((overrides.pins(), overrides.denials()), (1, 0));
    assert!(!overrides.concerns(&key_of("other")));
    assert!(Overrides::default().pinned(&key_of(STRING)).is_none());
}
