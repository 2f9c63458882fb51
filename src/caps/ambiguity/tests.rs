use super::*;
use crate::caps::Field;
use proptest::prelude::*;

fn identity(category: &str, type_: &str, lang: &str, name: &str) -> Identity {
    Identity {
        category: category.into(),
        type_: type_.into(),
        lang: lang.into(),
        name: name.into(),
    }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn form(form_type: &str, fields: &[(&str, &[&str])]) -> Form {
    Form {
        form_type: form_type.into(),
        fields: fields
            .iter()
            .map(|(var, values)| Field {
                var: (*var).into(),
                values: strings(values),
            })
            .collect(),
    }
}

fn info(features: &[&str], forms: Vec<Form>) -> DiscoInfo {
    let mut info = DiscoInfo {
        identities: vec![identity("client", "pc", "", "x")],
        features: strings(features),
        forms,
    };
    info.sort();
    info
}

/// The clause that refuses the content.
fn refused_by(info: &DiscoInfo) -> Option<Clause> {
    check(info, Clauses::ALL)
        .err()
        .map(|violation| violation.clause)
}

const SOFTWARE: &str = "urn:xmpp:dataforms:softwareinfo";
const SERVER: &str = "http://jabber.org/network/serverinfo";
const ROOM: &str = "http://jabber.org/protocol/muc#roominfo";

#[test]
fn ordinary_content_is_accepted() {
    let features = ["http://jabber.org/protocol/caps", "urn:xmpp:ping"];
    let software = form(
        SOFTWARE,
        &[
            ("icon", &[][..]),
            ("ip_version", &["ipv4", "ipv6"]),
            ("os", &["vos"]),
            ("os_version", &["1"]),
            ("software", &["vim"]),
            ("software_version", &["zoo"]),
        ],
    );
    let software = Form {
        fields: software.fields[1..].to_vec(),
        ..software
    };
    let server = form(
        SERVER,
        &[
            ("abuse-addresses", &["mailto:a@b", "xmpp:a@b"]),
            ("support-addresses", &["http://b", "mailto:a@b"]),
        ],
    );
    let room = form(
        ROOM,
        &[
            ("muc#roomconfig_roomname", &["n"]),
            ("muc#roominfo_contactjid", &["a@b", "c@d"]),
            ("muc#roominfo_subject", &["zzz"]),
        ],
    );
    let unknown = form("http://x", &[("b", &["1"]), ("c", &["1"])]);
    for forms in [
        vec![],
        vec![software.clone()],
        vec![server.clone()],
        vec![room.clone()],
        vec![server.clone(), room.clone(), software.clone()],
        vec![unknown.clone()],
        vec![software, form("urn:zzz", &[("b", &["1"]), ("c", &["1"])])],
    ] {
        let info = info(&features, forms);
        assert_eq!(check(&info, Clauses::ALL), Ok(()), "{info:?}");
    }
}

/// Content that breaks one clause, for each; without the clause it passes.
#[test]
fn each_clause_refuses_what_it_is_there_for() {
    use Clause::*;
    let plain = info(&["a"], vec![]);
    let with_identity = |i: Identity| DiscoInfo {
        identities: vec![i],
        ..plain.clone()
    };
    let with_form = |f: Form| info(&["a", "z"], vec![f]);
    let cases = vec![
        (NoSeparatorInToken, info(&["a<b"], vec![])),
        (
            NoSeparatorInToken,
            with_identity(identity("c", "p", "", "<")),
        ),
        (
            FeatureNotIdentity,
            DiscoInfo {
                identities: vec![],
                ..plain.clone()
            },
        ),
        (IdentityParts, with_identity(identity("", "p", "", ""))),
        (IdentityParts, with_identity(identity("c", "", "", ""))),
        (IdentityParts, with_identity(identity("c/d", "p", "", ""))),
        (IdentityParts, with_identity(identity("c", "p/q", "", ""))),
        (IdentityParts, with_identity(identity("c", "p", "e/n", ""))),
        (SomeFeature, info(&[], vec![])),
        (FeaturesIncrease, info(&["a", "a"], vec![])),
        (SomeFeature, info(&["", "a"], vec![])),
        (FeatureNotIdentity, info(&["a", "client/pc//x"], vec![])),
        (FeatureNotFormType, info(&["a", SOFTWARE], vec![])),
        (
            FormsIncrease,
            info(&["a", "z"], vec![form(SOFTWARE, &[("os", &["a"])]); 2]),
        ),
        (SomeField, with_form(form("f", &[]))),
        (
            FieldsIncrease,
            with_form(form(SERVER, &[("abuse-addresses", &["a:b"][..]); 2])),
        ),
        (VarNotEmpty, info(&["z"], vec![form("f", &[("", &["1"])])])),
        (SomeValue, with_form(form("f", &[("a", &[])]))),
        (
            TableValueNotVar,
            with_form(form(SOFTWARE, &[("icon", &["os", "x"])])),
        ),
        (
            TableCardinality,
            with_form(form(SOFTWARE, &[("os", &["a", "b"])])),
        ),
        (
            TableUri,
            with_form(form(SERVER, &[("abuse-addresses", &["a"])])),
        ),
        (
            OneParse,
            with_form(form("f", &[("a", &["b"]), ("c", &["d"])])),
        ),
    ];
    for (clause, info) in &cases {
        assert_eq!(refused_by(info), Some(*clause), "{info:?}");
        let without = check(info, Clauses::ALL.without(*clause));
        assert_eq!(without, Ok(()), "{clause:?} {info:?}");
    }
}

#[test]
fn a_name_may_hold_a_slash_and_a_url_is_no_identity() {
    let mut content = info(&["http://a/b/c", "x//y/z"], vec![]);
    content.identities = vec![identity("client", "pc", "en", "a/b/c")];
    assert_eq!(refused_by(&content), None);
    for feature in ["a/b/c/d", "a/b//", "a/b/c/d/e"] {
        assert!(is_identity_shaped(feature), "{feature}");
    }
    for feature in ["", "a", "a/b", "a/b/c", "/a/b/c", "a//b/c", "///"] {
        assert!(!is_identity_shaped(feature), "{feature}");
    }
}

/// Contents with one string, of which at most one may be accepted; the second of each pair is what an attacker would show.
#[test]
fn of_contents_with_one_string_at_most_one_is_accepted() {
    let features: &[&str] = &["a", "z"];
    let pairs = [
        // An unknown form below the last feature.
        (
            info(features, vec![form("f", &[("a", &["b"]), ("c", &["d"])])]),
            info(features, vec![form("f", &[("a", &["b", "c", "d"])])]),
            [false, false],
        ),
        // A value that could be a field; the registered form is believed.
        (
            info(
                features,
                vec![form(
                    SERVER,
                    &[("support-addresses", &["mailto:a", "xmpp:b", "xmpp:c"])],
                )],
            ),
            info(
                features,
                vec![form(
                    SERVER,
                    &[
                        ("support-addresses", &["mailto:a"]),
                        ("xmpp:b", &["xmpp:c"]),
                    ],
                )],
            ),
            [true, false],
        ),
        (
            info(
                features,
                vec![form(
                    SOFTWARE,
                    &[("software_version", &["1.0"]), ("zfoo", &["zgoo"])],
                )],
            ),
            info(
                features,
                vec![form(
                    SOFTWARE,
                    &[("software_version", &["1.0", "zfoo", "zgoo"])],
                )],
            ),
            [false, false],
        ),
        (
            info(
                features,
                vec![form(ROOM, &[("muc#roominfo_subject", &["w", "x", "y"])])],
            ),
            info(
                features,
                vec![form(
                    ROOM,
                    &[("muc#roominfo_subject", &["w"]), ("x", &["y"])],
                )],
            ),
            [false, false],
        ),
        // A form instead of the last features: the features are believed.
        (
            info(&["a", "b", "c", "d"], vec![]),
            info(&["a"], vec![form("b", &[("c", &["d"])])]),
            [true, false],
        ),
        // A registered form instead of features: a registered FORM_TYPE is refused as a feature, and nobody speaks for who has it.
        (
            info(&["a", SOFTWARE, "urn:y", "urn:z"], vec![]),
            info(&["a"], vec![form(SOFTWARE, &[("urn:y", &["urn:z"])])]),
            [false, false],
        ),
        // A form instead of a repeated feature and those after it: as before.
        (
            info(&["a", "b", "b", "c", "d"], vec![]),
            info(&["a", "b"], vec![form("b", &[("c", &["d"])])]),
            [false, false],
        ),
        // A form that swallows a field without a value.
        (
            info(
                features,
                vec![form(
                    SOFTWARE,
                    &[("ip_version", &[]), ("os", &["vos"]), ("zfoo", &["a"])],
                )],
            ),
            info(
                features,
                vec![form(
                    SOFTWARE,
                    &[("ip_version", &["os", "vos"]), ("zfoo", &["a"])],
                )],
            ),
            [false, false],
        ),
        // An identity instead of a feature.
        (
            info(&["client/pc//y", "d"], vec![]),
            DiscoInfo {
                identities: vec![
                    identity("client", "pc", "", "x"),
                    identity("client", "pc", "", "y"),
                ],
                ..info(&["d"], vec![])
            },
            [false, true],
        ),
        // A slash moved between type and language.
        (
            DiscoInfo {
                identities: vec![identity("client", "pc/en", "", "x")],
                ..info(&["d"], vec![])
            },
            DiscoInfo {
                identities: vec![identity("client", "pc", "en", "/x")],
                ..info(&["d"], vec![])
            },
            [false, true],
        ),
        // A form split into two.
        (
            info(
                features,
                vec![form("f", &[("a", &["b"]), ("g", &["c", "d"])])],
            ),
            info(
                features,
                vec![form("f", &[("a", &["b"])]), form("g", &[("c", &["d"])])],
            ),
            [false, false],
        ),
    ];
    for (one, other, accepted) in pairs {
        let order = crate::caps::xep0115::IdentityOrder::Tuple;
        let string = |i| crate::caps::xep0115::verification_string(i, order);
        assert_eq!(string(&one), string(&other));
        let verdicts = [&one, &other].map(|i| check(i, Clauses::ALL).is_ok());
        assert_eq!(verdicts, accepted, "{one:?}\n{other:?}");
    }
}

#[test]
fn hostile_content_takes_bounded_work() {
    let numbers: Vec<String> = (10_000..12_000).map(|n| n.to_string()).collect();
    let field = |var: &str| Field {
        var: var.into(),
        values: numbers.clone(),
    };
    let many = Form {
        form_type: "f".into(),
        fields: ["1", "2", "3", "4"].map(field).to_vec(),
    };
    assert_eq!(
        refused_by(&info(&["a", "z"], vec![many])),
        Some(Clause::OneParse)
    );
    let same = Form {
        form_type: SERVER.into(),
        fields: vec![Field {
            var: "support-addresses".into(),
            values: vec![SOFTWARE.to_owned(); 2000],
        }],
    };
    assert_eq!(
        refused_by(&info(&["a", "z"], vec![same])),
        Some(Clause::OneParse)
    );
}

mod by_trying;

/// Tokens that are often in order, often of a registered form, and few enough to collide.
fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "v", "w", "x"]),
        1 => prop::sample::select(vec![
            SOFTWARE, "icon", "ip_version", "os", "os_version", "software", "urn:y", "urn:z",
        ]),
        1 => prop::sample::select(vec![
            SERVER, "abuse-addresses", "support-addresses", "mailto:a", "xmpp:b", "xmpp:c",
        ]),
    ]
    .prop_map(str::to_owned)
}

fn content() -> impl Strategy<Value = DiscoInfo> {
    let field = (token(), prop::collection::vec(token(), 1..4))
        .prop_map(|(var, values)| Field { var, values });
    let form = (token(), prop::collection::vec(field, 1..4))
        .prop_map(|(form_type, fields)| Form { form_type, fields });
    (
        prop::collection::vec(token(), 1..4),
        prop::collection::vec(form, 0..3),
    )
        .prop_map(|(features, forms)| {
            let mut info = DiscoInfo {
                identities: vec![identity("client", "pc", "", "x")],
                features,
                forms,
            };
            info.sort();
            info
        })
}

fn tokens_of(info: &DiscoInfo) -> Vec<String> {
    let order = crate::caps::xep0115::IdentityOrder::Tuple;
    let string = crate::caps::xep0115::verification_string(info, order);
    let string = String::from_utf8(string).unwrap();
    string
        .split_terminator('<')
        .skip(info.identities.len())
        .map(str::to_owned)
        .collect()
}

proptest! {
    // A failure prints its case; no file is left in the source tree.
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn verdicts_are_those_of_trying_everything(info in content()) {
        let tokens = tokens_of(&info);
        let readings = by_trying::readings(&tokens);
        let mut accepted = Vec::new();
        for reading in &readings {
            let verdict = check(reading, Clauses::ALL).is_ok();
            prop_assert_eq!(verdict, by_trying::is_only_parse(reading, &tokens, &readings), "{:?}", reading);
            if verdict {
                accepted.push(reading);
            }
        }
        prop_assert!(accepted.len() <= 1, "{:?}", accepted);
        prop_assert!(readings.contains(&info) || check(&info, Clauses::ALL).is_err());
    }
}
