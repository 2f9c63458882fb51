//! Pairs of contents with one 0115 string: at most one of each may verify.

use std::collections::BTreeSet;

use capsd::caps::xep0115::{self, IdentityOrder};
use capsd::caps::xep0390::{self, Inheritance};
use capsd::caps::{Policy, Reason};

use crate::answers::{document, file, key_of_input, key_of_string, outcome, quarantined};

/// Each pair, and whether its one and its other member are verified.
const PAIRS: [(&str, [bool; 2]); 9] = [
    ("features-into-form", [true, false]),
    ("form-into-features", [false, false]),
    ("form-re-split", [false, false]),
    ("identity-into-feature", [true, false]),
    ("roominfo", [false, false]),
    ("serverinfo", [true, false]),
    ("slash-shift", [true, false]),
    ("softwareinfo", [false, false]),
    ("unknown-form", [false, false]),
];

#[test]
fn of_two_contents_with_one_string_at_most_one_verifies() {
    for (name, accepted) in PAIRS {
        let pair = ["one", "other"].map(|member| document(&format!("pairs/{name}.{member}.xml")));
        let strings = pair.each_ref().map(|answer| {
            let (info, _) = xep0115::canonical(answer);
            String::from_utf8(xep0115::verification_string(&info, IdentityOrder::Tuple)).unwrap()
        });
        assert_eq!(strings[0], strings[1], "{name}");
        assert_ne!(pair[0], pair[1], "{name}");
        let key = key_of_string(&strings[0]);
        for (answer, accepted) in pair.iter().zip(accepted) {
            let expected = match accepted {
                true => Ok(()),
                false => quarantined(Reason::Ambiguous),
            };
            assert_eq!(
                outcome(&key, answer, &Policy::default()),
                expected,
                "{name}"
            );
            assert_eq!(outcome(&key, answer, &Policy::trusted()), Ok(()), "{name}");
        }
    }
}

/// Every reading verifies under its own 0390 key, and only there: that input has one meaning.
#[test]
fn every_member_verifies_under_its_own_0390_key_alone() {
    for (name, _) in PAIRS {
        let pair = ["one", "other"].map(|member| document(&format!("pairs/{name}.{member}.xml")));
        let keys = pair.each_ref().map(|answer| {
            let input =
                xep0390::hash_input(&xep0390::canonical(answer, Inheritance::Ignored).unwrap());
            key_of_input(&String::from_utf8(input).unwrap())
        });
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(
                outcome(key, &pair[at], &Policy::default()),
                Ok(()),
                "{name}"
            );
            assert!(
                outcome(key, &pair[1 - at], &Policy::trusted()).is_err(),
                "{name}"
            );
        }
    }
}

#[test]
fn every_pair_in_the_directory_is_listed() {
    let found: BTreeSet<String> = std::fs::read_dir(file("pairs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let listed = PAIRS
        .iter()
        .flat_map(|(name, _)| [format!("{name}.one.xml"), format!("{name}.other.xml")])
        .collect();
    assert_eq!(found, listed);
}
