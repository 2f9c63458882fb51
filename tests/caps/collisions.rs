//! The claims of `caps::ambiguity`, by search: of all contents with one 0115 string at most one verifies, nobody speaks for ordinary
//! content, and no clause of the rule can be spared.
//!
//! A case is another content with the same string, by the string builder of these tests. `CAPSD_LONG=1` counts a million.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use capsd::caps::ambiguity::{self, Clause, Clauses, tables};
use capsd::caps::{
    Algorithm, CapsKey, DiscoInfo, Family, Field, Form, Identity, Policy, Verdict, verify, xep0115,
};

use capsd::stanza::answer::{AnswerLimits, parse_query};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use crate::answers::{DISCO_INFO, document, file};
use crate::contents::{ROOM, SERVER, SOFTWARE, content};
use crate::corpus;
use crate::readings::{Chance, answer_of, holds_separator, others, string_of};

/// How many other readings are looked at, for each content: in the short run and in the long one.
fn most() -> usize {
    if is_long() { 2500 } else { 60 }
}

fn is_long() -> bool {
    std::env::var_os("CAPSD_LONG").is_some()
}

fn key_of_string(string: &str) -> CapsKey {
    use sha1::Digest as _;
    CapsKey::new(
        Family::Xep0115,
        Algorithm::Sha1,
        &sha1::Sha1::digest(string),
    )
    .unwrap()
}

fn is_verified(key: &CapsKey, info: &DiscoInfo) -> bool {
    matches!(
        verify(key, &answer_of(info), &Policy::default()),
        Verdict::Verified(_)
    )
}

/// Ordinary content, as the documentation of the rule defines it.
fn is_ordinary(info: &DiscoInfo) -> bool {
    let is_form_type = |name: &String| tables::table_of(name).is_some();
    let is_var = |name: &String| {
        let mut types = info
            .forms
            .iter()
            .filter_map(|form| tables::table_of(&form.form_type));
        types.any(|table| table.var(name).is_some())
    };
    let has_shape = |token: &str| {
        let parts: Vec<&str> = token.splitn(4, '/').collect();
        parts.len() == 4 && !parts[0].is_empty() && !parts[1].is_empty()
    };
    let good_identity = |i: &Identity| {
        let parts = [&i.category, &i.type_, &i.lang];
        !i.category.is_empty() && !i.type_.is_empty() && !parts.iter().any(|p| p.contains('/'))
    };
    let followed_by_var = |pair: &[String]| {
        tables::table_of(&pair[0]).is_some_and(|table| table.var(&pair[1]).is_some())
    };
    let good_field = |field: &Field| {
        is_var(&field.var) && !field.values.iter().any(|v| is_form_type(v) || is_var(v))
    };
    let good_form = |form: &Form| {
        let of_table = |field: &Field| {
            tables::table_of(&form.form_type).is_some_and(|table| table.var(&field.var).is_some())
        };
        is_form_type(&form.form_type)
            && (!form.fields.is_empty() || info.forms.len() == 1)
            && form
                .fields
                .iter()
                .all(|field| of_table(field) && good_field(field))
    };
    !info.identities.is_empty()
        && info.identities.iter().all(good_identity)
        && !info.features.iter().any(|feature| has_shape(feature))
        && !info.features.windows(2).any(followed_by_var)
        && !info
            .forms
            .windows(2)
            .any(|pair| pair[0].form_type == pair[1].form_type)
        && info.forms.iter().all(good_form)
        && !holds_separator(info)
}

/// Checks one content against all its other readings; how many they were.
fn check_all_readings(info: &DiscoInfo, chance: &mut Chance, most: usize) -> usize {
    let others = others(info, most, chance);
    let mut keys = vec![
        key_of_string(&string_of(info, false)),
        key_of_string(&string_of(info, true)),
    ];
    keys.dedup();
    for key in keys {
        let itself = is_verified(&key, info);
        let accepted: Vec<&DiscoInfo> = others.iter().filter(|o| is_verified(&key, o)).collect();
        assert!(
            accepted.len() + usize::from(itself) <= 1,
            "several are accepted: {info:?} and {accepted:?}"
        );
        assert!(
            !is_ordinary(info) || accepted.is_empty(),
            "{accepted:?} speaks for ordinary content: {info:?}"
        );
    }
    others.len()
}

#[test]
fn of_all_readings_of_a_real_answer_at_most_one_is_verified() {
    let mut chance = Chance(1);
    let entries = corpus::entries();
    let step = if is_long() { 1 } else { 20 };
    let mut cases = 0;
    let mut extraordinary = Vec::new();
    for entry in entries.iter().step_by(step) {
        let info = entry.content();
        if !is_ordinary(&info) {
            extraordinary.push(entry.name());
        }
        cases += check_all_readings(&info, &mut chance, most());
    }
    println!(
        "{cases} other readings of {} real answers, all but {} ordinary",
        entries.len().div_ceil(step),
        extraordinary.len()
    );
    if !entries.is_empty() {
        assert!(cases > if is_long() { 600_000 } else { 1000 }, "{cases}");
        let without_identity = corpus::STRICTER.map(|(file, _)| file);
        assert!(
            extraordinary
                .iter()
                .all(|name| without_identity.contains(name)),
            "{extraordinary:?}"
        );
    }
}

#[test]
fn of_all_readings_of_the_documents_at_most_one_is_verified() {
    let mut chance = Chance(2);
    let names = ["documents", "pairs"].map(|directory| {
        let files = std::fs::read_dir(file(directory)).unwrap();
        files.map(move |file| {
            format!(
                "{directory}/{}",
                file.unwrap().file_name().into_string().unwrap()
            )
        })
    });
    let mut cases = 0;
    for name in names.into_iter().flatten() {
        let (info, _) = xep0115::canonical(&document(&name));
        cases += check_all_readings(&info, &mut chance, most());
    }
    assert!(cases > 500, "{cases}");
}

#[test]
fn of_all_readings_of_any_content_at_most_one_is_verified() {
    let mut cases = 0;
    let (mut ordinary, mut accepted) = (0, 0);
    let mut chance = Chance(3);
    let contents = if is_long() { 42_000 } else { 2000 };
    let mut runner = TestRunner::deterministic();
    for _ in 0..contents {
        let info = content().new_tree(&mut runner).unwrap().current();
        ordinary += usize::from(is_ordinary(&info));
        accepted += usize::from(is_verified(&key_of_string(&string_of(&info, false)), &info));
        cases += check_all_readings(&info, &mut chance, 60);
    }
    println!(
        "{cases} other readings of {contents} contents, of which {ordinary} are ordinary and {accepted} verified"
    );
    assert!(
        cases > if is_long() { 1_000_000 } else { 10_000 },
        "{cases}"
    );
    assert!(ordinary > contents / 20 && accepted > contents / 20);
}

type Fields<'a> = &'a [(&'a str, &'a [&'a str])];

/// A content with one identity.
fn info(identity: [&str; 4], features: &[&str], forms: &[(&str, Fields)]) -> DiscoInfo {
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    let [category, type_, lang, name] = identity.map(str::to_owned);
    let field = |(var, values): &(&str, &[&str])| Field {
        var: (*var).to_owned(),
        values: strings(values),
    };
    let form = |(form_type, fields): &(&str, Fields)| Form {
        form_type: (*form_type).to_owned(),
        fields: fields.iter().map(field).collect(),
    };
    let mut info = DiscoInfo {
        identities: vec![Identity {
            category,
            type_,
            lang,
            name,
        }],
        features: strings(features),
        forms: forms.iter().map(form).collect(),
    };
    info.sort();
    info
}

/// Contents that need a clause each, so that nobody else is accepted beside them.
fn guarded() -> Vec<(Clause, DiscoInfo)> {
    let plain = ["client", "pc", "", "x"];
    let with = |features: &[&str], forms: &[(&str, Fields)]| info(plain, features, forms);
    vec![
        (Clause::NoSeparatorInToken, with(&["a", "b"], &[])),
        (
            Clause::IdentityParts,
            info(["client", "pc", "en", "/x"], &["a"], &[]),
        ),
        (Clause::FeatureNotIdentity, with(&["d"], &[])),
        (
            Clause::SomeFeature,
            with(&["f"], &[("b", &[("x", &["y"])])]),
        ),
        (
            Clause::FeaturesIncrease,
            with(&["a"], &[("a", &[("v", &["x"])])]),
        ),
        (
            Clause::FeatureNotFormType,
            with(&["a"], &[(SERVER, &[("support-addresses", &["xmpp:a"])])]),
        ),
        (
            Clause::FormsIncrease,
            with(
                &["a"],
                &[(SOFTWARE, &[("icon", &["a", SOFTWARE]), ("os", &["x"])])],
            ),
        ),
        (Clause::SomeField, with(&["k"], &[("g", &[("h", &["m"])])])),
        (
            Clause::FieldsIncrease,
            with(&["k"], &[("Z", &[("a", &["b"])]), ("a", &[("c", &["d"])])]),
        ),
        (
            Clause::VarNotEmpty,
            with(&["e"], &[("g", &[("f", &["", "1"])])]),
        ),
        (
            Clause::SomeValue,
            with(&["k"], &[("g", &[("a", &["b", "c"])])]),
        ),
        (
            Clause::TableValueNotVar,
            with(&["a"], &[(SOFTWARE, &[("icon", &["a"]), ("os", &["x"])])]),
        ),
        (
            Clause::TableCardinality,
            with(
                &["a"],
                &[
                    (ROOM, &[("muc#roominfo_subject", &["a"])]),
                    ("jabber:q", &[("jabber:r", &["jabber:s"])]),
                ],
            ),
        ),
        (
            Clause::TableUri,
            with(
                &["a"],
                &[
                    (SERVER, &[("support-addresses", &["mailto:a"])]),
                    ("n", &[("o", &["p"])]),
                ],
            ),
        ),
        (
            Clause::OneParse,
            with(&["z"], &[("f", &[("a", &["b"]), ("c", &["d"])])]),
        ),
    ]
}

/// Every clause is needed: without it the search finds two contents with one string that both pass, and with it never.
#[test]
fn without_any_clause_two_contents_with_one_string_pass() {
    let guarded = guarded();
    let clauses: Vec<Clause> = guarded.iter().map(|(clause, _)| *clause).collect();
    assert_eq!(clauses, Clause::ALL);
    for (clause, seed) in guarded {
        let mut readings = others(&seed, 2000, &mut Chance(4));
        readings.push(seed);
        let passing = |clauses| {
            readings
                .iter()
                .filter(|r| ambiguity::check(r, clauses).is_ok())
                .collect::<Vec<_>>()
        };
        assert!(passing(Clauses::ALL).len() <= 1, "{clause:?}");
        let collisions = passing(Clauses::ALL.without(clause));
        assert!(
            collisions.len() >= 2,
            "{clause:?} is not needed: of {readings:#?} only {collisions:?} passes without it"
        );
    }
}

/// What today's clients answer: the trusted contents that the project comes with.
fn todays_clients() -> Vec<DiscoInfo> {
    let mut found = Vec::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("config/trusted")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == "xml") {
                let answer = parse_query(&std::fs::read(&path).unwrap(), AnswerLimits::default());
                found.push(xep0115::canonical(&answer.unwrap()).0);
            }
        }
    }
    assert!(found.len() > 10);
    found
}

/// The answers of today's clients: all ordinary, and nobody else is accepted in their place.
#[test]
fn of_all_readings_of_todays_clients_at_most_one_is_verified() {
    let mut chance = Chance(5);
    for info in todays_clients() {
        assert!(is_ordinary(&info), "{info:?}");
        check_all_readings(&info, &mut chance, most());
    }
}

/// The strings that these tests build are those that Python builds: a sample of the cases has one hash there, too.
#[test]
fn cases_have_one_hash_in_python() {
    let directory = tempfile::tempdir().unwrap();
    let mut chance = Chance(6);
    let mut files = Vec::new();
    for (nth, (_, seed)) in guarded().into_iter().enumerate() {
        let string = string_of(&seed, false);
        let mut readings = others(&seed, 10, &mut chance);
        readings.push(seed);
        for (other, info) in readings.iter().enumerate() {
            let file = directory.path().join(format!("{nth}-{other}.xml"));
            let mut query = format!("<query xmlns='{DISCO_INFO}'>").into_bytes();
            info.write_children(&mut query);
            query.extend_from_slice(b"</query>");
            std::fs::write(&file, query).unwrap();
            files.push((file, key_of_string(&string).digest_base64()));
        }
    }
    assert!(files.len() > 60);
    let output = Command::new("python3")
        .arg(file("hashlib_reference.py"))
        .args(files.iter().map(|(file, _)| file))
        .output()
        .unwrap();
    let hashes: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (file, expected) in files {
        let list = hashes[file.to_str().unwrap()].as_array().unwrap();
        let is_it = |hash: &serde_json::Value| {
            hash["algorithm"] == "sha-1" && hash["hash"] == expected.as_str()
        };
        assert!(
            list.iter().any(is_it),
            "{}",
            std::fs::read_to_string(&file).unwrap()
        );
    }
}

/// How many answers each clause refuses; `cargo test --test caps -- --nocapture counted` prints it.
#[test]
fn what_each_clause_refuses_is_counted() {
    let entries = corpus::entries();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for entry in &entries {
        let refused = ambiguity::check(&entry.content(), Clauses::ALL)
            .err()
            .map(|violation| violation.clause);
        let word = refused.map_or("accepted".to_owned(), |clause| format!("{clause:?}"));
        *counts.entry(word).or_default() += 1;
    }
    let clients = todays_clients();
    let refused = clients
        .iter()
        .filter_map(|info| ambiguity::check(info, Clauses::ALL).err());
    let refused: Vec<_> = refused.map(|violation| violation.clause).collect();
    println!(
        "{} answers of today's clients; refused: {refused:?}",
        clients.len()
    );
    println!(
        "{} real answers, by the clause that refuses them: {counts:#?}",
        entries.len()
    );
    if !entries.is_empty() {
        let with_reason = |word| {
            entries
                .iter()
                .filter(|entry| entry.reason().starts_with(word))
                .count()
        };
        let expected = [
            (
                "FeaturesIncrease",
                with_reason("ill-formed: duplicate feature"),
            ),
            // Those of a service whose form has no field; their files are wrapped in a second query.
            ("SomeField", with_reason("mismatch: capsdb file wraps")),
            ("FeatureNotIdentity", corpus::STRICTER.len()),
        ];
        for (word, count) in expected {
            assert_eq!(counts.remove(word), Some(count), "{word}");
        }
        assert_eq!(
            counts.keys().collect::<Vec<_>>(),
            ["accepted"],
            "{counts:?}"
        );
    }
}
