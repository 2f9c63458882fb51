//! How requests are written here, and what is taken out of answers.

use crate::contents::query;
use crate::server::COMPONENT;

/// The server itself, which is a feed.
pub(super) const SERVER: &str = "example.org";

/// An `<iq/>` with something in it.
pub(super) fn iq(kind: &str, from: &str, inside: &str) -> String {
    format!("<iq type='{kind}' from='{from}' to='{COMPONENT}' id='r' xml:lang='de'>{inside}</iq>")
}

/// A `<lookup/>` with these attributes.
pub(super) fn lookup(from: &str, attributes: &str, keys: &[String]) -> String {
    let keys = keys.concat();
    let lookup = format!("<lookup xmlns='urn:capsd:0' {attributes}>{keys}</lookup>");
    iq("get", from, &lookup)
}

pub(super) fn asked(node: &str) -> String {
    format!("<key node='{node}'/>")
}

pub(super) fn asked_of(node: &str, jid: &str) -> String {
    format!("<key node='{node}' jid='{jid}'/>")
}

/// A `<contribute/>`.
pub(super) fn contribute(from: &str, infos: &[String]) -> String {
    let infos = infos.concat();
    iq(
        "set",
        from,
        &format!("<contribute xmlns='urn:capsd:0'>{infos}</contribute>"),
    )
}

/// A content with the attributes of its `<info/>`.
pub(super) fn info(attributes: &str, content: &str) -> String {
    format!("<info {attributes}>{}</info>", query(content))
}

/// A `<feed/>` with these attributes.
pub(super) fn feed(from: &str, attributes: &str, reports: &[String]) -> String {
    let reports = reports.concat();
    let feed = format!("<feed xmlns='urn:capsd:0' {attributes}>{reports}</feed>");
    iq("set", from, &feed)
}

/// Somebody with a `<c/>`.
pub(super) fn holder(jid: &str, askable: bool, caps: &str) -> String {
    format!("<holder jid='{jid}' askable='{askable}'>{caps}</holder>")
}

/// A legacy `<c/>`, which announces `http://old.example#1.0` (XEP-0115 section 13).
pub(super) const LEGACY: &str =
    "<c xmlns='http://jabber.org/protocol/caps' node='http://old.example' ver='1.0'/>";

/// The node of it.
pub(super) const LEGACY_NODE: &str = "http://old.example#1.0";

/// The 0115 `<c/>` of a key.
pub(super) fn caps(name: &str) -> String {
    let (node, ver) = (
        crate::contents::NODE_URL,
        crate::contents::key(name).digest_base64(),
    );
    format!("<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{node}' ver='{ver}'/>")
}

/// The elements of that name in an answer, each from behind its name to where the next one begins.
pub(super) fn each<'a>(reply: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!("<{name}");
    let items = reply.split(begin.as_str()).skip(1);
    items
        .filter(|item| item.starts_with([' ', '>', '/']))
        .collect()
}

/// What became of each key: the reason, or `=` and the mark that is found.
pub(super) fn outcomes(reply: &str, marks: &[String]) -> Vec<String> {
    assert!(
        reply.contains("<lookup xmlns='urn:capsd:0' instance='"),
        "{reply}"
    );
    let of_one = |key: &str| match key.split_once(" reason='") {
        Some((_, rest)) => {
            assert!(!key.contains("<query "), "{key}");
            rest.split_once('\'').unwrap().0.to_owned()
        }
        None => {
            let found = marks.iter().position(|mark| key.contains(mark.as_str()));
            let unverified = match key.contains(" unverified='true'") {
                true => "alone",
                false => "",
            };
            format!(
                "={}{unverified}",
                found.map_or("?".to_owned(), |at| (at + 1).to_string())
            )
        }
    };
    each(reply, "key").into_iter().map(of_one).collect()
}
