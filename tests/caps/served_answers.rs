//! What capsd serves, for many inputs: one JSON object a line, with the key and the reply.
//!
//! ```text
//! {"family": "0115", "algorithm": "sha-1", "hash": BASE64, "input": NAME, "reply": "<iq …>"}
//! ```
//!
//! The inputs are the documents beside this file, the corpus where `CAPSD_CORPUS` names one, and generated contents with what no
//! hash covers mixed in (every string of that holds the word `uncovered`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use capsd::cache::Entry;
use capsd::caps::digest::key_of;
use capsd::caps::xep0115::{self, IdentityOrder};
use capsd::caps::xep0390::{self, Inheritance};
use capsd::caps::{Algorithm, Answer, CapsKey, DiscoInfo, Family, Policy, Verdict, verify};
use capsd::stanza::answer::{AnswerLimits, parse_query_unwrapped};
use capsd::stanza::write::{Route, disco_info};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

mod contents;

/// How many contents are generated.
const GENERATED: usize = 3000;

fn main() {
    let mut out = std::io::stdout().lock();
    for (name, answer) in files().chain(awkward()).chain(generated()) {
        for (key, reply) in served(&answer) {
            let line = serde_json::json!({
                "family": key.family().as_str(),
                "algorithm": key.algorithm().name(),
                "hash": key.digest_base64(),
                "input": name,
                "reply": String::from_utf8(reply).unwrap(),
            });
            writeln!(out, "{line}").unwrap();
        }
    }
}

/// The documents and the corpus.
fn files() -> impl Iterator<Item = (String, Answer)> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/caps");
    let mut directories = vec![beside.join("documents"), beside.join("pairs")];
    if let Some(corpus) = std::env::var_os("CAPSD_CORPUS") {
        directories.push(PathBuf::from(corpus).join("hashes"));
    }
    let list = |directory: PathBuf| std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<PathBuf> = directories
        .into_iter()
        .flat_map(list)
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| {
        let bytes = std::fs::read(&path).unwrap();
        let answer = parse_query_unwrapped(&bytes, AnswerLimits::default()).unwrap();
        (
            path.file_name().unwrap().to_string_lossy().into_owned(),
            answer,
        )
    })
}

/// Contents with characters that implementations treat in different ways.
const AWKWARD: [&str; 3] = [
    "<identity category='client' type='pc' name='Tom &amp; Jerry'/><feature var='urn:a'/>",
    "<identity category='client' type='pc' name='a &gt; b'/><feature var='urn:a'/>",
    "<identity category='client' type='pc' xml:lang='en' name='a\"&apos;&#9;&#13;&#10;b  c'/>\
     <identity category='client' type='pc' xml:lang='en-US' name='Ψ'/><feature var='urn:&#9;'/><feature var='～'/><feature var='😀'/>",
];

fn awkward() -> impl Iterator<Item = (String, Answer)> {
    AWKWARD.iter().enumerate().map(|(nth, children)| {
        let query =
            format!("<query xmlns='http://jabber.org/protocol/disco#info'>{children}</query>");
        let answer = parse_query_unwrapped(query.as_bytes(), AnswerLimits::default()).unwrap();
        (format!("awkward-{nth}"), answer)
    })
}

/// Generated contents as somebody would send them: once with labels, once with all that 0115 ignores, too.
fn generated() -> impl Iterator<Item = (String, Answer)> {
    let mut runner = TestRunner::deterministic();
    (0..GENERATED).map(move |nth| {
        let info = contents::content().new_tree(&mut runner).unwrap().current();
        let query = decorated(&info, nth % 2 == 0);
        let answer = parse_query_unwrapped(query.as_bytes(), AnswerLimits::default()).unwrap();
        (format!("generated-{nth}"), answer)
    })
}

fn decorated(info: &DiscoInfo, ignored: bool) -> String {
    let mut children = Vec::new();
    info.write_children(&mut children);
    let children = String::from_utf8(children)
        .unwrap()
        .replace("<field var=", "<field label='uncovered label' var=")
        .replace(
            "</field>",
            "<option label='uncovered'><value>uncovered</value></option></field>",
        );
    let others = match ignored {
        true => {
            "<x xmlns='jabber:x:data' type='result'><title>uncovered</title>\
             <field var='uncovered'><value>uncovered</value></field></x>\
             <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE'><value>uncovered</value></field></x>\
             <power xmlns='urn:uncovered'>uncovered</power>uncovered"
        }
        false => "",
    };
    format!(
        "<query xmlns='http://jabber.org/protocol/disco#info' node='uncovered'>{children}{others}</query>"
    )
}

/// Every key under which the answer is served, and the reply.
fn served(answer: &Answer) -> Vec<(CapsKey, Vec<u8>)> {
    let mut inputs: Vec<(Family, Algorithm, Vec<u8>)> = Vec::new();
    let (info, _) = xep0115::canonical(answer);
    for order in [IdentityOrder::Tuple, IdentityOrder::Joined] {
        inputs.push((
            Family::Xep0115,
            Algorithm::Sha1,
            xep0115::verification_string(&info, order),
        ));
    }
    for inheritance in [Inheritance::Ignored, Inheritance::Applied] {
        if let Ok(info) = xep0390::canonical(answer, inheritance) {
            inputs.push((
                Family::Xep0390,
                Algorithm::Sha256,
                xep0390::hash_input(&info),
            ));
        }
    }
    let policy = Policy::default();
    let mut served: Vec<(CapsKey, Vec<u8>)> = Vec::new();
    for (family, algorithm, input) in inputs {
        let key = key_of(family, algorithm, &input).unwrap();
        let Verdict::Verified(verified) = verify(&key, answer, &policy) else {
            continue;
        };
        // The same content is served under the other family, too, where that accepts it.
        let derived = [
            (Family::Xep0115, Algorithm::Sha1),
            (Family::Xep0390, Algorithm::Sha256),
        ];
        let derived = derived
            .iter()
            .filter_map(|(family, algorithm)| verified.key(*family, *algorithm, &policy));
        let entry = Entry::new(&verified, false);
        for key in std::iter::once(key).chain(derived) {
            if !served.iter().any(|(known, _)| *known == key) {
                served.push((key, reply(&key, &entry)));
            }
        }
    }
    served
}

fn reply(key: &CapsKey, entry: &Entry) -> Vec<u8> {
    let route = Route {
        from: "caps.example.org",
        to: "asker@example.org/r",
        id: "1",
    };
    let mut out = Vec::new();
    disco_info(
        &mut out,
        route,
        Some(&key.to_node("https://client.example")),
        entry.children(),
    );
    out
}
