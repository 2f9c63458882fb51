//! Contents of all kinds, ordinary and not, in which strings often collide and often are in order.

use capsd::caps::{DiscoInfo, Field, Form, Identity};
use proptest::prelude::*;

pub(crate) const SOFTWARE: &str = "urn:xmpp:dataforms:softwareinfo";
pub(crate) const SERVER: &str = "http://jabber.org/network/serverinfo";
pub(crate) const ROOM: &str = "http://jabber.org/protocol/muc#roominfo";

/// Strings that collide: few, often in order, often names of the table.
fn token() -> impl Strategy<Value = String> {
    let names = vec![
        SOFTWARE,
        SERVER,
        ROOM,
        "os",
        "icon",
        "support-addresses",
        "muc#roominfo_subject",
        "muc#roominfo_contactjid",
    ];
    prop_oneof![
        6 => "[a-f]",
        2 => "urn:[x-z]",
        1 => "(client/pc|a/b|http:/|x)/{0,2}[en]{0,2}/?[xy]?",
        2 => prop::sample::select(names).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["", "mailto:a", "xmpp:b", "v", "w"]).prop_map(str::to_owned),
    ]
}

/// Forms as they are registered, with or without faults, or invented.
fn form() -> impl Strategy<Value = Form> {
    let value = prop_oneof![3 => "(mailto|xmpp):[a-c]", 2 => "[0-9a-z]", 1 => token()];
    let registered = |form_type: &'static str, vars: &'static [&'static str]| {
        let field = (
            prop::sample::select(vars),
            prop::collection::vec(value.clone(), 0..3),
        );
        prop::collection::vec(field, 1..4).prop_map(move |fields| Form {
            form_type: form_type.to_owned(),
            fields: fields
                .into_iter()
                .map(|(var, values)| Field {
                    var: var.to_owned(),
                    values,
                })
                .collect(),
        })
    };
    let invented = (
        token(),
        prop::collection::vec((token(), prop::collection::vec(token(), 0..4)), 0..4),
    )
        .prop_map(|(form_type, fields)| Form {
            form_type,
            fields: fields
                .into_iter()
                .map(|(var, values)| Field { var, values })
                .collect(),
        });
    prop_oneof![
        2 => invented,
        1 => registered(SOFTWARE, &["icon", "os", "os_version", "software", "zfoo"]),
        1 => registered(SERVER, &["abuse-addresses", "support-addresses", "x"]),
        1 => registered(ROOM, &["muc#roominfo_contactjid", "muc#roominfo_subject", "x"]),
    ]
}

/// Disco info in canonical order; most of it breaks some rule.
pub(crate) fn content() -> impl Strategy<Value = DiscoInfo> {
    let lang = prop_oneof![3 => Just(""), 1 => Just("en"), 1 => Just("en-US")];
    let identity = ("(client|a)", "(pc|web|b)", lang, "[a-b/]{0,3}").prop_map(
        |(category, type_, lang, name)| Identity {
            category,
            type_,
            lang: lang.to_owned(),
            name,
        },
    );
    (
        prop::collection::vec(identity, 0..3),
        prop::collection::vec(token(), 0..7),
        prop::collection::vec(form(), 0..3),
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
