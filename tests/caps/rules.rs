//! The rules of both families, one by one. Verification strings and hash inputs are written out by hand.

use capsd::caps::{
    Algorithm, Answer, DiscoInfo, Family, Identity, Policy, Reason, Verdict, VerifiedInfo, verify,
    verify_canonical,
};
use capsd::stanza::answer::{AnswerLimits, parse_query};

use crate::answers::{
    DISCO_INFO, answer, key_of_input, key_of_string, outcome, quarantined, rejected,
};

const IDENTITY: &str = "<identity category='client' type='pc' name='x'/>";

fn form(fields: &str) -> String {
    format!("<x xmlns='jabber:x:data' type='result'>{fields}</x>")
}

fn form_of(form_type: &str, fields: &str) -> String {
    form(&format!(
        "<field var='FORM_TYPE' type='hidden'><value>{form_type}</value></field>{fields}"
    ))
}

fn verified(verdict: Verdict) -> VerifiedInfo {
    match verdict {
        Verdict::Verified(verified) => verified,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_section_5_4_calls_ill_formed_is_quarantined() {
    let field = "<field var='os'><value>Mac</value></field>";
    for (children, string) in [
        // Two identities with the same category, type, language and name.
        (
            format!("{IDENTITY}{IDENTITY}<feature var='a'/>"),
            "client/pc//x<client/pc//x<a<",
        ),
        // A feature twice.
        (
            format!("{IDENTITY}<feature var='b'/><feature var='a'/><feature var='b'/>"),
            "client/pc//x<a<b<b<",
        ),
        // Two forms with one FORM_TYPE.
        (
            format!("{IDENTITY}<feature var='a'/>{0}{0}", form_of("f", field)),
            "client/pc//x<a<f<os<Mac<f<os<Mac<",
        ),
        // A FORM_TYPE with different values.
        (
            format!(
                "{IDENTITY}<feature var='a'/>{}",
                form(&format!(
                    "<field var='FORM_TYPE' type='hidden'><value>f</value><value>g</value></field>{field}"
                ))
            ),
            "client/pc//x<a<f<os<Mac<",
        ),
        // An identity without category or type, a feature without var (XEP-0030 section 3.1).
        (
            "<identity type='pc' name='x'/><feature var='a'/>".to_owned(),
            "/pc//x<a<",
        ),
        (
            "<identity category='client' name='x'/><feature var='a'/>".to_owned(),
            "client///x<a<",
        ),
        (
            format!("{IDENTITY}<feature/><feature var='a'/>"),
            "client/pc//x<<a<",
        ),
    ] {
        let answer = answer(&children);
        let key = key_of_string(string);
        let policy = Policy::default();
        assert_eq!(
            outcome(&key, &answer, &policy),
            quarantined(Reason::IllFormed),
            "{string}"
        );
        // With another hash it is a mismatch, ill-formed or not.
        let other = key_of_string("another");
        assert_eq!(
            outcome(&other, &answer, &policy),
            rejected(Reason::Mismatch),
            "{string}"
        );
    }
}

#[test]
fn an_empty_query_is_ambiguous_under_0115() {
    assert_eq!(
        outcome(&key_of_string(""), &answer(""), &Policy::default()),
        quarantined(Reason::Ambiguous)
    );
}

#[test]
fn what_0115_does_not_cover_is_ignored_and_dropped() {
    let covered = form_of(
        "urn:x",
        "<field var='os' type='text-single' label='l'><value>Mac</value></field>",
    );
    let children = format!(
        "{IDENTITY}<feature var='urn:y'/>{covered}{}{}{}<set xmlns='http://jabber.org/protocol/rsm'/>text",
        form("<field var='os'><value>no FORM_TYPE</value></field>"),
        form(
            "<field var='FORM_TYPE'><value>f</value></field><field var='os'><value>not hidden</value></field>"
        ),
        form(
            "<field var='FORM_TYPE' type='hidden'/><field var='os'><value>no value</value></field>"
        ),
    );
    let key = key_of_string("client/pc//x<urn:y<urn:x<os<Mac<");
    let verified = verified(verify(&key, &answer(&children), &Policy::default()));
    let mut out = Vec::new();
    verified.info().write_children(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "<identity category='client' type='pc' name='x'/><feature var='urn:y'/>\
         <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:x</value></field>\
         <field var='os'><value>Mac</value></field></x>"
    );
}

#[test]
fn a_form_type_that_is_said_twice_is_one() {
    let twice = form(
        "<field var='FORM_TYPE' type='hidden'><value>urn:x</value><value>urn:x</value></field>\
         <field var='FORM_TYPE' type='hidden'><value>urn:x</value></field>\
         <field var='os'><value>Mac</value></field>",
    );
    let answer = answer(&format!("{IDENTITY}<feature var='urn:y'/>{twice}"));
    let key = key_of_string("client/pc//x<urn:y<urn:x<os<Mac<");
    assert_eq!(outcome(&key, &answer, &Policy::default()), Ok(()));
}

#[test]
fn what_section_4_1_calls_an_error_is_quarantined() {
    let field = "<field var='os'><value>Mac</value></field>";
    let start = "a\x1f\x1cclient\x1fpc\x1f\x1fx\x1f\x1e\x1c";
    let os = "os\x1fMac\x1f\x1e";
    for (children, form_string) in [
        (
            "<set xmlns='http://jabber.org/protocol/rsm'/>".to_owned(),
            String::new(),
        ),
        ("<query/>".to_owned(), String::new()),
        (form(field), format!("{os}\x1d")),
        (
            form(&format!(
                "<field var='FORM_TYPE'><value>f</value></field>{field}"
            )),
            format!("FORM_TYPE\x1ff\x1f\x1e{os}\x1d"),
        ),
        (
            form(&format!(
                "<field var='FORM_TYPE' type='hidden'><value>f</value><value>g</value></field>{field}"
            )),
            format!("FORM_TYPE\x1ff\x1fg\x1f\x1e{os}\x1d"),
        ),
        (
            form(&format!("<field var='FORM_TYPE' type='hidden'/>{field}")),
            format!("FORM_TYPE\x1f\x1e{os}\x1d"),
        ),
        (
            form_of("f", "<field type='fixed'><value>t</value></field>"),
            "\x1ft\x1f\x1eFORM_TYPE\x1ff\x1f\x1e\x1d".to_owned(),
        ),
        (
            form_of("f", &format!("<reported/>{field}")),
            format!("FORM_TYPE\x1ff\x1f\x1e{os}\x1d"),
        ),
        (
            form_of("f", &format!("{field}<item/>")),
            format!("FORM_TYPE\x1ff\x1f\x1e{os}\x1d"),
        ),
    ] {
        let answer = answer(&format!("{IDENTITY}<feature var='a'/>{children}"));
        let key = key_of_input(&format!("{start}{form_string}\x1c"));
        let policy = Policy::trusted();
        assert_eq!(
            outcome(&key, &answer, &policy),
            quarantined(Reason::IllFormed),
            "{children}"
        );
        let other = key_of_input("another");
        assert_eq!(
            outcome(&other, &answer, &policy),
            rejected(Reason::Mismatch),
            "{children}"
        );
    }
}

#[test]
fn repetitions_are_covered_by_0390_and_kept() {
    let answer = answer("<identity category='a' type='b'/><feature var='f'/><feature var='f'/>");
    let key = key_of_input("f\x1ff\x1f\x1ca\x1fb\x1f\x1f\x1f\x1e\x1c\x1c");
    let policy = Policy::default();
    let verified = verified(verify(&key, &answer, &policy));
    assert_eq!(verified.info().features, ["f", "f"]);
    assert!(!verified.waived());
    // 0115 has no key for it.
    assert_eq!(
        verified.key(Family::Xep0115, Algorithm::Sha1, &policy),
        None
    );
    assert!(
        verified
            .key(Family::Xep0115, Algorithm::Sha1, &Policy::trusted())
            .is_some()
    );
}

/// It is the encoded strings that 0390 sorts: a tab sorts before the separator that ends a shorter string.
#[test]
fn separators_take_part_in_the_order_of_0390() {
    let answer =
        answer("<identity category='a' type='b'/><feature var='f'/><feature var='f&#9;'/>");
    let key = key_of_input("f\t\x1ff\x1f\x1ca\x1fb\x1f\x1f\x1f\x1e\x1c\x1c");
    assert_eq!(outcome(&key, &answer, &Policy::default()), Ok(()));
}

#[test]
fn identities_may_be_in_either_order() {
    let answer = answer(
        "<identity category='client' type='pc' xml:lang='en-US' name='b'/>\
         <identity category='client' type='pc' xml:lang='en' name='a'/><feature var='f'/>",
    );
    let policy = Policy::default();
    let tuple = key_of_string("client/pc/en/a<client/pc/en-US/b<f<");
    let joined = key_of_string("client/pc/en-US/b<client/pc/en/a<f<");
    let by_tuple = verified(verify(&tuple, &answer, &policy));
    let by_joined = verified(verify(&joined, &answer, &policy));
    assert_eq!(by_tuple, by_joined);
    assert_eq!(
        by_tuple.key(Family::Xep0115, Algorithm::Sha1, &policy),
        Some(tuple)
    );
    // Content from the store passes under both, too.
    for key in [tuple, joined] {
        let info = by_tuple.info().clone();
        assert!(matches!(
            verify_canonical(&key, info, &policy),
            Verdict::Verified(_)
        ));
    }
}

#[test]
fn features_are_sorted_without_their_separator() {
    // With the separator, `muc#user<` would come before `muc<`.
    let answer = answer(&format!(
        "{IDENTITY}<feature var='muc#user'/><feature var='muc'/>"
    ));
    let key = key_of_string("client/pc//x<muc<muc#user<");
    assert_eq!(outcome(&key, &answer, &Policy::default()), Ok(()));
}

/// An answer whose query carries a language, as if a server had stamped it.
fn stamped(query_lang: &str, identity_lang: Option<&str>) -> Answer {
    let own = identity_lang.map_or(String::new(), |lang| format!(" xml:lang='{lang}'"));
    let query = format!(
        "<query xmlns='{DISCO_INFO}' xml:lang='{query_lang}'>\
         <identity category='client' type='pc' name='x'{own}/><feature var='f'/></query>"
    );
    parse_query(query.as_bytes(), AnswerLimits::default()).unwrap()
}

#[test]
fn only_a_language_on_the_identity_itself_counts_for_0115() {
    let policy = Policy::default();
    for (own, lang) in [(None, ""), (Some(""), ""), (Some("el"), "el")] {
        let key = key_of_string(&format!("client/pc/{lang}/x<f<"));
        let verified = verified(verify(&key, &stamped("de", own), &policy));
        assert_eq!(verified.info().identities[0].lang, lang);
    }
    let inherited = key_of_string("client/pc/de/x<f<");
    assert_eq!(
        outcome(&inherited, &stamped("de", None), &policy),
        rejected(Reason::Mismatch)
    );
}

#[test]
fn a_0390_language_is_tried_without_inheritance_then_with_it() {
    let policy = Policy::default();
    let key = |lang: &str| {
        key_of_input(&format!(
            "f\x1f\x1cclient\x1fpc\x1f{lang}\x1fx\x1f\x1e\x1c\x1c"
        ))
    };
    for (own, lang, matches) in [
        (None, "", true),
        (None, "de", true),
        (None, "el", false),
        // A language of its own, even an empty one, is not overridden.
        (Some(""), "", true),
        (Some(""), "de", false),
        (Some("el"), "el", true),
        (Some("el"), "de", false),
    ] {
        let answer = stamped("de", own);
        if !matches {
            assert_eq!(
                outcome(&key(lang), &answer, &policy),
                rejected(Reason::Mismatch)
            );
            continue;
        }
        // What matched is stored on the identity, and verifies again without any context.
        let verified = verified(verify(&key(lang), &answer, &policy));
        assert_eq!(verified.info().identities[0].lang, lang, "{own:?}");
        let again = verify_canonical(&key(lang), verified.into_info(), &policy);
        assert!(matches!(again, Verdict::Verified(_)));
    }
}

#[test]
fn an_ampersand_is_hashed_as_it_is_and_a_less_than_sign_is_refused() {
    let policy = Policy::default();
    let with_name = |name: &str| {
        answer(&format!(
            "<identity category='client' type='pc' name='{name}'/><feature var='f'/>"
        ))
    };
    let ampersand = with_name("A&amp;B");
    assert_eq!(
        outcome(&key_of_string("client/pc//A&B<f<"), &ampersand, &policy),
        Ok(())
    );
    let escaped = key_of_string("client/pc//A&amp;B<f<");
    assert_eq!(
        outcome(&escaped, &ampersand, &policy),
        rejected(Reason::Mismatch)
    );
    let less = with_name("A&lt;B");
    assert_eq!(
        outcome(&key_of_string("client/pc//A<B<f<"), &less, &policy),
        quarantined(Reason::Ambiguous)
    );
    // 0390 has no trouble with either.
    let key = key_of_input("f\x1f\x1cclient\x1fpc\x1f\x1fA<B\x1f\x1e\x1c\x1c");
    assert_eq!(outcome(&key, &less, &policy), Ok(()));
}

#[test]
fn waivers_waive_their_own_rule_and_are_marked() {
    let repeated = answer(&format!("{IDENTITY}<feature var='a'/><feature var='a'/>"));
    let repeated_key = key_of_string("client/pc//x<a<a<");
    let nobody = answer("<feature var='a'/>");
    let nobody_key = key_of_string("a<");
    let plain = answer(&format!("{IDENTITY}<feature var='a'/>"));
    let md5_key = {
        use md5::Digest as _;
        let digest = md5::Md5::digest("client/pc//x<a<");
        capsd::caps::CapsKey::new(Family::Xep0115, Algorithm::Md5, &digest).unwrap()
    };
    let default = Policy::default();
    let md5 = Policy {
        allow_md5: true,
        ..default.clone()
    };
    let ambiguity = Policy {
        waive_ambiguity: true,
        ..default.clone()
    };
    let duplicates = Policy {
        waive_duplicates: true,
        ..default.clone()
    };
    for (key, answer, refusal, waiver) in [
        (
            repeated_key,
            &repeated,
            quarantined(Reason::IllFormed),
            &duplicates,
        ),
        (
            nobody_key,
            &nobody,
            quarantined(Reason::Ambiguous),
            &ambiguity,
        ),
        (
            md5_key,
            &plain,
            rejected(Reason::UnsupportedAlgorithm),
            &md5,
        ),
    ] {
        for policy in [&default, &md5, &ambiguity, &duplicates] {
            if policy == waiver {
                assert!(verified(verify(&key, answer, policy)).waived(), "{key}");
            } else {
                assert_eq!(outcome(&key, answer, policy), refusal, "{key} {policy:?}");
            }
        }
        assert!(verified(verify(&key, answer, &Policy::trusted())).waived());
    }
    // Nothing waives the hash.
    assert_eq!(
        outcome(&nobody_key, &plain, &Policy::trusted()),
        rejected(Reason::Mismatch)
    );
}

#[test]
fn keys_of_the_same_content_are_given_where_the_rules_accept_it() {
    let policy = Policy::default();
    let key = key_of_string("client/pc//x<a<");
    let verified_info = verified(verify(
        &key,
        &answer(&format!("{IDENTITY}<feature var='a'/>")),
        &policy,
    ));
    let of_0390 = key_of_input("a\x1f\x1cclient\x1fpc\x1f\x1fx\x1f\x1e\x1c\x1c");
    assert_eq!(
        verified_info.key(Family::Xep0390, Algorithm::Sha256, &policy),
        Some(of_0390)
    );
    assert_eq!(
        verified_info.key(Family::Xep0115, Algorithm::Sha1, &policy),
        Some(key)
    );
    assert_eq!(
        verified_info.key(Family::Xep0115, Algorithm::Md5, &policy),
        None
    );
    assert_eq!(
        verified_info.key(Family::Xep0115, Algorithm::Sha3_256, &policy),
        None
    );
    assert_eq!(
        verified_info.key(Family::Xep0390, Algorithm::Sha1, &policy),
        None
    );

    // Content that 0390 proves and 0115 cannot.
    let bare = answer("<identity category='client' type='bot'/>");
    let key = key_of_input("\x1cclient\x1fbot\x1f\x1f\x1f\x1e\x1c\x1c");
    let verified_info = verified(verify(&key, &bare, &policy));
    assert_eq!(
        verified_info.key(Family::Xep0115, Algorithm::Sha1, &policy),
        None
    );
}

#[test]
fn content_from_a_store_is_judged_by_the_same_rules() {
    let info = |features: &[&str]| DiscoInfo {
        identities: vec![Identity {
            category: "client".into(),
            type_: "pc".into(),
            ..Identity::default()
        }],
        features: features.iter().map(|f| (*f).to_owned()).collect(),
        forms: vec![],
    };
    let policy = Policy::default();
    let key = key_of_string("client/pc//<a<b<");
    // Out of order on disk, in order afterwards.
    let verified = verified(verify_canonical(&key, info(&["b", "a"]), &policy));
    assert_eq!(verified.info(), &info(&["a", "b"]));
    for (key, features, refusal) in [
        (key, &["a", "c"][..], rejected(Reason::Mismatch)),
        (
            key_of_string("client/pc//<a<a<"),
            &["a", "a"],
            quarantined(Reason::IllFormed),
        ),
        (
            key_of_string("client/pc//<"),
            &[],
            quarantined(Reason::Ambiguous),
        ),
        (
            key_of_string("client/pc//<a\u{1}<"),
            &["a\u{1}"],
            quarantined(Reason::IllFormed),
        ),
    ] {
        let verdict = match verify_canonical(&key, info(features), &policy) {
            Verdict::Verified(_) => Ok(()),
            Verdict::Quarantined(reason, _) => quarantined(reason),
            Verdict::Rejected(reason, _) => rejected(reason),
        };
        assert_eq!(verdict, refusal, "{features:?}");
    }
}

#[test]
fn sizes_and_counts_are_bounded() {
    let numbers: Vec<String> = (100..356).map(|n| n.to_string()).collect();
    let features: String = numbers
        .iter()
        .map(|n| format!("<feature var='{n}'/>"))
        .collect();
    let key = key_of_string(&format!("client/pc//x<{}<", numbers.join("<")));
    let answer = answer(&format!("{IDENTITY}{features}"));
    let policy = Policy::default();
    assert_eq!(outcome(&key, &answer, &policy), Ok(()));
    let fewer = Policy {
        max_features: 255,
        ..Policy::default()
    };
    let smaller = Policy {
        max_bytes: answer.size - 1,
        ..Policy::default()
    };
    let exactly = Policy {
        max_bytes: answer.size,
        ..Policy::default()
    };
    assert_eq!(outcome(&key, &answer, &fewer), rejected(Reason::TooLarge));
    assert_eq!(outcome(&key, &answer, &smaller), rejected(Reason::TooLarge));
    assert_eq!(outcome(&key, &answer, &exactly), Ok(()));
    let cut = Answer {
        too_large: true,
        ..answer.clone()
    };
    assert_eq!(outcome(&key, &cut, &policy), rejected(Reason::TooLarge));

    let info = verified(verify(&key, &answer, &policy)).into_info();
    for policy in [
        fewer,
        Policy {
            max_bytes: 256 * 3,
            ..Policy::default()
        },
    ] {
        let verdict = verify_canonical(&key, info.clone(), &policy);
        assert!(matches!(verdict, Verdict::Rejected(Reason::TooLarge, _)));
    }
}
