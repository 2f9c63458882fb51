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

/// The same grammar once more, by trying everything: slow, and written from its description.
mod by_trying {
    use super::*;

    type Fields = Vec<(String, Vec<String>)>;

    /// Every reading of tokens as forms, the first of which has a FORM_TYPE above `after`.
    fn forms(tokens: &[String], after: Option<&str>) -> Vec<Vec<(String, Fields)>> {
        let Some((form_type, rest)) = tokens.split_first() else {
            return vec![vec![]];
        };
        if after.is_some_and(|after| form_type.as_str() <= after) {
            return vec![];
        }
        let mut found = Vec::new();
        for len in 2..=rest.len() {
            for fields in fields(&rest[..len], None) {
                for others in forms(&rest[len..], Some(form_type)) {
                    let mut all = vec![(form_type.clone(), fields.clone())];
                    all.extend(others);
                    found.push(all);
                }
            }
        }
        found
    }

    fn fields(tokens: &[String], after: Option<&str>) -> Vec<Fields> {
        let Some((var, rest)) = tokens.split_first() else {
            return vec![vec![]];
        };
        if var.is_empty() || after.is_some_and(|after| var.as_str() <= after) {
            return vec![];
        }
        let mut found = Vec::new();
        for len in 1..=rest.len() {
            let (values, rest) = rest.split_at(len);
            if !values.is_sorted() {
                break;
            }
            for others in fields(rest, Some(var)) {
                let mut all = vec![(var.clone(), values.to_vec())];
                all.extend(others);
                found.push(all);
            }
        }
        found
    }

    fn is_by_table(table: &tables::Table, fields: &Fields) -> bool {
        fields.iter().all(|(var, values)| {
            table.var(var).is_some_and(|known| {
                (known.many || values.len() == 1)
                    && values.iter().all(|v| table.var(v).is_none())
                    && (!table.uris || values.iter().all(|v| tables::is_uri(v)))
            })
        })
    }

    fn tokens_of(fields: &Fields) -> Vec<String> {
        fields
            .iter()
            .flat_map(|(var, values)| std::iter::once(var).chain(values))
            .cloned()
            .collect()
    }

    fn is_plain(forms: &[(String, Fields)]) -> bool {
        forms.iter().all(|(form_type, fields)| {
            tables::table_of(form_type).is_some_and(|table| is_by_table(table, fields))
        })
    }

    fn counts(forms: &[(String, Fields)]) -> bool {
        forms.iter().all(|(form_type, content)| {
            let Some(table) = tables::table_of(form_type) else {
                return true;
            };
            let outside = content.iter().any(|(var, _)| table.var(var).is_none());
            let table_can = fields(&tokens_of(content), None)
                .iter()
                .any(|other| is_by_table(table, other));
            is_by_table(table, content) || outside && !table_can
        })
    }

    /// Every reading of the tokens after the identities.
    pub(super) fn readings(tokens: &[String]) -> Vec<DiscoInfo> {
        let mut found = Vec::new();
        for len in 1..=tokens.len() {
            let (features, rest) = tokens.split_at(len);
            let last = &features[len - 1];
            let bad = last.is_empty() || tables::table_of(last).is_some();
            if bad || len > 1 && features[len - 2] >= *last {
                break;
            }
            for forms in forms(rest, None) {
                found.push(DiscoInfo {
                    identities: vec![identity("client", "pc", "", "x")],
                    features: features.to_vec(),
                    forms: forms
                        .into_iter()
                        .map(|(form_type, fields)| Form {
                            form_type,
                            fields: fields
                                .into_iter()
                                .map(|(var, values)| Field { var, values })
                                .collect(),
                        })
                        .collect(),
                });
            }
        }
        found
    }

    fn raw(info: &DiscoInfo) -> Vec<(String, Fields)> {
        let fields = |f: &Form| {
            f.fields
                .iter()
                .map(|f| (f.var.clone(), f.values.clone()))
                .collect()
        };
        info.forms
            .iter()
            .map(|f| (f.form_type.clone(), fields(f)))
            .collect()
    }

    /// Whether the tokens are fields of the table, but perhaps repeated, without a value or with too many.
    fn is_nearly_by_table(table: &tables::Table, tokens: &[String]) -> bool {
        let is_var = |token: &String| table.var(token).is_some();
        let vars: Vec<&String> = tokens.iter().filter(|t| is_var(t)).collect();
        let runs = || tokens.split(is_var);
        vars.is_sorted()
            && !vars.is_empty()
            && is_var(&tokens[0])
            && runs().all(|run| run.is_sorted())
    }

    /// Whether the tokens can be cut into such forms.
    fn are_nearly_forms(tokens: &[String]) -> bool {
        let Some((form_type, rest)) = tokens.split_first() else {
            return true;
        };
        let Some(table) = tables::table_of(form_type) else {
            return false;
        };
        (1..=rest.len()).any(|len| {
            let follows = rest.get(len).is_none_or(|next| form_type <= next);
            follows && is_nearly_by_table(table, &rest[..len]) && are_nearly_forms(&rest[len..])
        })
    }

    pub(super) fn is_nearly_plain(tokens: &[String]) -> bool {
        (1..=tokens.len()).any(|len| tokens[..len].is_sorted() && are_nearly_forms(&tokens[len..]))
    }

    /// Whether values of a form with some vars of the table are within its rules.
    fn keeps_rules_of_table(table: &tables::Table, fields: &Fields) -> bool {
        fields.iter().all(|(var, values)| {
            let no_var = values.iter().all(|v| table.var(v).is_none());
            let rules = table.var(var).is_none_or(|known| {
                (known.many || values.len() == 1)
                    && (!table.uris || values.iter().all(|v| tables::is_uri(v)))
            });
            no_var && rules
        })
    }

    /// Whether the content is the only parse, by the definition.
    pub(super) fn is_only_parse(
        info: &DiscoInfo,
        tokens: &[String],
        readings: &[DiscoInfo],
    ) -> bool {
        let plain: Vec<_> = readings.iter().filter(|r| is_plain(&raw(r))).collect();
        if !plain.is_empty() {
            return plain == [info];
        }
        let unknown_var = info.forms.iter().any(|f| {
            tables::table_of(&f.form_type)
                .is_some_and(|table| f.fields.iter().any(|f| table.var(&f.var).is_none()))
        });
        let within_rules = raw(info).iter().all(|(form_type, fields)| {
            tables::table_of(form_type).is_none_or(|table| keeps_rules_of_table(table, fields))
        });
        let free: Vec<_> = readings.iter().filter(|r| counts(&raw(r))).collect();
        free == [info]
            && within_rules
            && !is_nearly_plain(tokens)
            && (!unknown_var || readings.len() == 1)
    }
}

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
