//! Properties of the codec and of what is served.

use capsd::caps::digest::key_of;
use capsd::caps::xep0115::{self, IdentityOrder};
use capsd::caps::{
    Algorithm, DiscoInfo, Family, Field, Form, Identity, Policy, Verdict, verify, verify_canonical,
    xep0390,
};
use capsd::stanza::answer::{AnswerLimits, parse_query};
use proptest::prelude::*;

use crate::answers::DISCO_INFO;

/// Text with everything that is awkward in XML, in both hashes, and in order.
fn text() -> impl Strategy<Value = String> {
    "[a-c/<>&'\" \t\r\nÄ\u{1F600}\u{FF5E}]{0,5}"
}

fn content() -> impl Strategy<Value = DiscoInfo> {
    let identity = ("[a-c/<&]{1,3}", "[a-c]{1,2}", text(), text()).prop_map(
        |(category, type_, lang, name)| Identity {
            category,
            type_,
            lang,
            name,
        },
    );
    let field = (text(), prop::collection::vec(text(), 0..4))
        .prop_map(|(var, values)| Field { var, values });
    let form = (text(), prop::collection::vec(field, 0..4))
        .prop_map(|(form_type, fields)| Form { form_type, fields });
    (
        prop::collection::vec(identity, 0..4),
        prop::collection::vec(text(), 0..6),
        prop::collection::vec(form, 0..3),
    )
        .prop_map(|(identities, features, forms)| {
            let mut info = DiscoInfo {
                identities,
                features,
                forms,
            };
            info.sort();
            info
        })
}

proptest! {
    // A failure prints its case; no file is left in the source tree.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded(info in content()) {
        prop_assert_eq!(DiscoInfo::decode(&info.encode()), Ok(info));
    }

    #[test]
    fn whatever_decodes_has_one_spelling(bytes in prop::collection::vec(0u8..6, 0..40)) {
        if let Ok(info) = DiscoInfo::decode(&bytes) {
            prop_assert_eq!(info.encode(), bytes);
        }
    }

    #[test]
    fn damage_never_panics_and_never_goes_unnoticed(
        info in content(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut bytes = info.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(other) = DiscoInfo::decode(&bytes) {
            prop_assert_ne!(&other, &info);
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    /// What is served, read as a client reads it, has the hash again and says the same.
    #[test]
    fn what_is_served_verifies_again(info in content()) {
        let mut query = format!("<query xmlns='{DISCO_INFO}' xml:lang=''>").into_bytes();
        info.write_children(&mut query);
        query.extend_from_slice(b"</query>");
        let answer = parse_query(&query, AnswerLimits::default()).unwrap();
        let string = xep0115::verification_string(&info, IdentityOrder::Tuple);
        let joined = xep0115::verification_string(&info, IdentityOrder::Joined);
        let input = xep0390::hash_input(&info);
        for (family, algorithm, input) in [
            (Family::Xep0115, Algorithm::Sha1, &string),
            (Family::Xep0115, Algorithm::Sha1, &joined),
            (Family::Xep0390, Algorithm::Blake2b256, &input),
        ] {
            let key = key_of(family, algorithm, input).unwrap();
            let Verdict::Verified(verified) = verify(&key, &answer, &Policy::trusted()) else {
                return Err(TestCaseError::fail(format!("{key} does not verify")));
            };
            prop_assert_eq!(verified.info(), &info);
            prop_assert_eq!(
                verify_canonical(&key, info.clone(), &Policy::trusted()),
                Verdict::Verified(verified)
            );
        }
    }

    #[test]
    fn reading_never_panics(text in "[<>/a-c'=! &;-]{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let document = format!("<query xmlns='{DISCO_INFO}'>{text}</query>");
        let _ = parse_query(document.as_bytes(), AnswerLimits::default());
        let _ = parse_query(&bytes, AnswerLimits::default());
    }
}
