//! The bytes of answers to requests of `urn:capsd:0` (deploy/protocol.md).

use super::{Route, attribute, escape, open_iq, query};
use crate::caps::Reason;

/// What a key of a `<lookup/>` means.
#[derive(Clone, Copy, Debug)]
pub enum Meaning<'a> {
    /// Verified content: the inside of a `<query/>`, already escaped.
    Verified(&'a [u8]),
    /// The same, of one address and good for nobody else.
    Unverified(&'a [u8]),
    /// Why there is none, and what the operator says about that, if anything.
    Refused(Reason, &'a str),
}

/// The answer to one key of a `<lookup/>`.
#[derive(Clone, Copy, Debug)]
pub struct KeyAnswer<'a> {
    /// The node as it was asked for.
    pub node: &'a str,
    /// The address as it was asked for.
    pub jid: Option<&'a str>,
    /// What it means.
    pub meaning: Meaning<'a>,
}

/// Who answers, and as of when: the instance and the epoch of deploy/protocol.md, section 2.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The process.
    pub instance: &'a str,
    /// How often it had withdrawn something when the answer was begun.
    pub withdrawals: u64,
}

/// The answer to a `<lookup/>`; `max_age` is in seconds.
pub fn lookup<'a>(
    out: &mut Vec<u8>,
    route: Route<'_>,
    source: Source<'_>,
    max_age: u32,
    keys: impl Iterator<Item = KeyAnswer<'a>>,
) {
    open(out, route, "lookup", source);
    attribute(out, "max-age", &max_age.to_string());
    out.push(b'>');
    for key in keys {
        out.extend_from_slice(b"<key");
        attribute(out, "node", key.node);
        if let Some(jid) = key.jid {
            attribute(out, "jid", jid);
        }
        match key.meaning {
            Meaning::Verified(children) => {
                out.push(b'>');
                query(out, Some(key.node), children);
            }
            Meaning::Unverified(children) => {
                attribute(out, "unverified", "true");
                out.push(b'>');
                query(out, Some(key.node), children);
            }
            Meaning::Refused(reason, text) => {
                attribute(out, "reason", reason.as_str());
                out.push(b'>');
                escape(out, text);
            }
        }
        out.extend_from_slice(b"</key>");
    }
    out.extend_from_slice(b"</lookup></iq>");
}

/// What became of one content of a `<contribute/>`.
#[derive(Debug)]
pub struct InfoAnswer<'a> {
    /// The node that it was given with.
    pub node: Option<&'a str>,
    /// The nodes that it is known under, or why it is not.
    pub outcome: Result<Vec<String>, Reason>,
}

/// The answer to a `<contribute/>`.
pub fn contribute(
    out: &mut Vec<u8>,
    route: Route<'_>,
    source: Source<'_>,
    infos: &[InfoAnswer<'_>],
) {
    open(out, route, "contribute", source);
    out.push(b'>');
    for info in infos {
        out.extend_from_slice(b"<info");
        if let Some(node) = info.node {
            attribute(out, "node", node);
        }
        match &info.outcome {
            Ok(nodes) => {
                out.push(b'>');
                for node in nodes {
                    out.extend_from_slice(b"<key");
                    attribute(out, "node", node);
                    out.extend_from_slice(b"/>");
                }
                out.extend_from_slice(b"</info>");
            }
            Err(reason) => {
                attribute(out, "reason", reason.as_str());
                out.extend_from_slice(b"/>");
            }
        }
    }
    out.extend_from_slice(b"</contribute></iq>");
}

/// The answer to a `<feed/>`.
pub fn feed(out: &mut Vec<u8>, route: Route<'_>, source: Source<'_>) {
    open(out, route, "feed", source);
    out.extend_from_slice(b"/></iq>");
}

fn open(out: &mut Vec<u8>, route: Route<'_>, name: &str, source: Source<'_>) {
    open_iq(out, "result", route);
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b" xmlns='urn:capsd:0'");
    attribute(out, "instance", source.instance);
    // With the instance in it, as another process counts from the beginning.
    let epoch = format!("{}.{}", source.instance, source.withdrawals);
    attribute(out, "epoch", &epoch);
}
