//! Contents and their keys.
//!
//! A content is named by a number, behind a letter for what is wrong with it: `1`, `a1` (ambiguous), `b1` (the other reading of `a1`),
//! `i1` (ill-formed), `t1` (too large), `f1` (a forgery: another reading of the 0115 string of `p1`, which is popular and honest). A key
//! is named by its content behind a letter: `K1` is the 0115 sha-1 key of `1`, `N1` its 0390 sha-256 key. What is
//! hashed is written down here from the specifications, not computed by the code under test.

use capsd::caps::{Algorithm, Answer, CapsKey, Family, Policy, Verdict, VerifiedInfo, verify};
use capsd::holders::Announcement;
use capsd::stanza::answer::{AnswerLimits, parse_query};
use sha1::Digest as _;

/// The node URL of every 0115 announcement.
pub(crate) const NODE_URL: &str = "http://client.example";

const LIMITS: AnswerLimits = AnswerLimits {
    max_bytes: 262_144,
    max_features: 4_096,
};

fn features(content: &str) -> Vec<String> {
    match content.as_bytes()[0] {
        b'i' => vec![format!("urn:x:{content}"); 2],
        b't' => (0..300)
            .map(|n| format!("urn:x:{content}:{n:03}"))
            .collect(),
        b'p' => ["", ":1", ":2", ":3"]
            .map(|end| format!("urn:x:{content}{end}"))
            .to_vec(),
        _ => vec![format!("urn:x:{}", name(content))],
    }
}

/// The honest content that a forgery has the 0115 string of.
fn original_of(content: &str) -> Option<String> {
    content.strip_prefix('f').map(|number| format!("p{number}"))
}

fn is_ambiguous(content: &str) -> bool {
    content.starts_with(['a', 'b'])
}

/// The name in its identity: both readings of one string have the same.
fn name(content: &str) -> String {
    content.replace('b', "a")
}

/// What a client with that content answers: the `<query/>`.
pub(crate) fn query(content: &str) -> String {
    if let Some(original) = original_of(content) {
        return format!(
            "<query xmlns='http://jabber.org/protocol/disco#info'>\
             <identity category='client' type='pc' name='client {original}'/><feature var='urn:x:{original}'/>\
             <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:x:{original}:1</value></field>\
             <field var='urn:x:{original}:2'><value>urn:x:{original}:3</value></field></x></query>"
        );
    }
    let features: String = features(content)
        .iter()
        .map(|var| format!("<feature var='{var}'/>"))
        .collect();
    let fields = match content.as_bytes()[0] {
        b'a' => "<field var='a'><value>b</value></field><field var='c'><value>d</value></field>",
        b'b' => "<field var='a'><value>b</value><value>c</value><value>d</value></field>",
        _ => "",
    };
    let form = match fields {
        "" => String::new(),
        fields => format!(
            "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>f</value></field>{fields}</x>"
        ),
    };
    let name = name(content);
    format!(
        "<query xmlns='http://jabber.org/protocol/disco#info'>\
         <identity category='client' type='pc' name='client {name}'/>{features}{form}</query>"
    )
}

/// The same, as it is read from a stream.
pub(crate) fn answer(content: &str) -> Answer {
    parse_query(query(content).as_bytes(), LIMITS).unwrap()
}

/// The mark by which a served content is recognised.
pub(crate) fn mark(content: &str) -> String {
    match (original_of(content), content.as_bytes()[0]) {
        (Some(original), _) => format!("<value>urn:x:{original}:3</value>"),
        (None, b'p') => format!("'urn:x:{content}:3'"),
        (None, b'b') => "<value>b</value><value>c</value><value>d</value>".to_owned(),
        (None, _) => format!("'urn:x:{content}'"),
    }
}

/// XEP-0115 section 5.1.
fn input_0115(content: &str) -> String {
    let features: String = features(content).iter().map(|f| format!("{f}<")).collect();
    let form = if is_ambiguous(content) {
        "f<a<b<c<d<"
    } else {
        ""
    };
    let name = name(content);
    format!("client/pc//client {name}<{features}{form}")
}

/// XEP-0390 section 4.1; there are no ambiguous contents here.
fn input_0390(content: &str) -> String {
    assert!(!is_ambiguous(content));
    if let Some(original) = original_of(content) {
        let field = |var: &str, value: &str| format!("{var}\x1f{value}\x1f\x1e");
        let form_type = field("FORM_TYPE", &format!("urn:x:{original}:1"));
        let other = field(
            &format!("urn:x:{original}:2"),
            &format!("urn:x:{original}:3"),
        );
        return format!(
            "urn:x:{original}\x1f\x1cclient\x1fpc\x1f\x1fclient {original}\x1f\x1e\x1c{form_type}{other}\x1d\x1c"
        );
    }
    let features: String = features(content)
        .iter()
        .map(|f| format!("{f}\x1f"))
        .collect();
    format!("{features}\x1cclient\x1fpc\x1f\x1fclient {content}\x1f\x1e\x1c\x1c")
}

/// The key of that name.
pub(crate) fn key(name: &str) -> CapsKey {
    let (letter, content) = name.split_at(1);
    match letter {
        "K" => CapsKey::new(
            Family::Xep0115,
            Algorithm::Sha1,
            &sha1::Sha1::digest(input_0115(content)),
        ),
        "N" => CapsKey::new(
            Family::Xep0390,
            Algorithm::Sha256,
            &sha2::Sha256::digest(input_0390(content)),
        ),
        _ => panic!("no key is called {name}"),
    }
    .unwrap()
}

/// The announcement of keys, joined by `+`.
pub(crate) fn announcement(names: &str) -> Announcement {
    let keys: Vec<CapsKey> = names.split('+').map(key).collect();
    let has_0115 = keys.iter().any(|key| key.family() == Family::Xep0115);
    Announcement {
        keys,
        node_url: if has_0115 { NODE_URL } else { "" }.into(),
    }
}

/// A content, verified under its 0115 key.
pub(crate) fn verified(content: &str) -> VerifiedInfo {
    match verify(
        &key(&format!("K{content}")),
        &answer(content),
        &Policy::default(),
    ) {
        Verdict::Verified(info) => info,
        other => panic!("{content}: {other:?}"),
    }
}
