//! The bytes of what capsd sends.
//!
//! Every function appends one whole stanza to a buffer; all text is escaped here and nowhere else. Stanzas carry their `from`,
//! because ejabberd closes the stream without one (RFC 6120 section 8.1.2.2).

mod extension;

pub use extension::{InfoAnswer, KeyAnswer, Meaning, Source, contribute, feed, lookup};

use super::ns;
use crate::caps::Reason;

/// Escapes text for an attribute in single or double quotes, and for character data.
///
/// White space other than a blank is written as a reference, because a reader would turn it into a blank (XML 1.0 section
/// 3.3.3). Characters that XML cannot carry never get here: they were read from XML.
pub fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let reference: &[u8] = match byte {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'\'' => b"&apos;",
            b'"' => b"&quot;",
            b'\n' => b"&#10;",
            b'\r' => b"&#13;",
            b'\t' => b"&#9;",
            _ => continue,
        };
        out.extend_from_slice(&bytes[done..at]);
        out.extend_from_slice(reference);
        done = at + 1;
    }
    out.extend_from_slice(&bytes[done..]);
}

/// Appends ` name='value'`.
pub fn attribute(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    escape(out, value);
    out.push(b'\'');
}

/// Who a stanza is from and to, and its id.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The component's address.
    pub from: &'a str,
    /// The addressee.
    pub to: &'a str,
    /// The id.
    pub id: &'a str,
}

pub(super) fn open_iq(out: &mut Vec<u8>, kind: &str, route: Route<'_>) {
    out.extend_from_slice(b"<iq type='");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"' from='");
    escape(out, route.from);
    out.extend_from_slice(b"' to='");
    escape(out, route.to);
    out.extend_from_slice(b"' id='");
    escape(out, route.id);
    out.extend_from_slice(b"'>");
}

pub(super) fn close_iq(out: &mut Vec<u8>) {
    out.extend_from_slice(b"</iq>");
}

/// A disco#info result. `children` is the inside of the `<query/>`, already escaped; the node is the one that was asked.
///
/// The empty `xml:lang` ends the inheritance of the language that servers stamp on stanzas: an identity without a language
/// stays one, and a 0390 hash computed by the receiver matches (XEP-0390 section 4.1).
pub fn disco_info(out: &mut Vec<u8>, route: Route<'_>, node: Option<&str>, children: &[u8]) {
    out.reserve(children.len() + 256);
    open_iq(out, "result", route);
    query(out, node, children);
    out.extend_from_slice(b"</iq>");
}

/// The `<query/>` of a disco#info result.
#[inline]
fn query(out: &mut Vec<u8>, node: Option<&str>, children: &[u8]) {
    out.extend_from_slice(b"<query xmlns='http://jabber.org/protocol/disco#info' xml:lang=''");
    if let Some(node) = node {
        attribute(out, "node", node);
    }
    out.push(b'>');
    out.extend_from_slice(children);
    out.extend_from_slice(b"</query>");
}

/// An empty disco#items result.
pub fn disco_items(out: &mut Vec<u8>, route: Route<'_>, node: Option<&str>) {
    open_iq(out, "result", route);
    out.extend_from_slice(b"<query xmlns='http://jabber.org/protocol/disco#items'");
    if let Some(node) = node {
        attribute(out, "node", node);
    }
    out.extend_from_slice(b"/></iq>");
}

/// An empty result, as a ping wants it.
pub fn empty_result(out: &mut Vec<u8>, route: Route<'_>) {
    open_iq(out, "result", route);
    out.extend_from_slice(b"</iq>");
}

/// A XEP-0092 result; the operating system is not told.
pub fn version(out: &mut Vec<u8>, route: Route<'_>, version: &str) {
    open_iq(out, "result", route);
    out.extend_from_slice(b"<query xmlns='jabber:iq:version'><name>capsd</name><version>");
    escape(out, version);
    out.extend_from_slice(b"</version></query></iq>");
}

/// A XEP-0202 result in UTC.
pub fn time(out: &mut Vec<u8>, route: Route<'_>, utc: &str) {
    open_iq(out, "result", route);
    out.extend_from_slice(b"<time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>");
    escape(out, utc);
    out.extend_from_slice(b"</utc></time></iq>");
}

/// A stanza error: its type and condition (RFC 6120 section 8.3) and, for permitted askers, our word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// `cancel`, `wait`, `modify` or `auth`.
    pub kind: &'static str,
    /// The defined condition.
    pub condition: &'static str,
    /// The reason that stands beside the condition; never with `forbidden`.
    pub reason: Option<Reason>,
}

impl ErrorReply {
    /// An error that is not about a caps key.
    pub const fn plain(kind: &'static str, condition: &'static str) -> ErrorReply {
        ErrorReply {
            kind,
            condition,
            reason: None,
        }
    }

    /// A request that cannot be taken as a whole, and why.
    pub const fn bad_request(reason: Reason) -> ErrorReply {
        ErrorReply {
            kind: "modify",
            condition: "bad-request",
            reason: Some(reason),
        }
    }

    /// The error that stands for a reason, as the contract lists them.
    pub const fn for_reason(reason: Reason) -> ErrorReply {
        let (kind, condition) = match reason {
            Reason::Unknown
            | Reason::Unreachable
            | Reason::Mismatch
            | Reason::IllFormed
            | Reason::Ambiguous
            | Reason::Legacy
            | Reason::UnsupportedAlgorithm
            | Reason::Denied => ("cancel", "item-not-found"),
            Reason::Timeout => ("wait", "remote-server-timeout"),
            Reason::RateLimited | Reason::Overloaded => ("wait", "resource-constraint"),
            Reason::MalformedNode | Reason::TooLarge => ("modify", "bad-request"),
            Reason::Forbidden => return ErrorReply::plain("auth", "forbidden"),
        };
        ErrorReply {
            kind,
            condition,
            reason: Some(reason),
        }
    }
}

/// An error reply to an `<iq/>`; `text` is for people, and left out where it is empty.
pub fn error(out: &mut Vec<u8>, route: Route<'_>, reply: ErrorReply, text: &str) {
    error_with(out, route, reply, text, |_| {});
}

/// The same, with an application condition (RFC 6120 section 8.3.4).
pub(super) fn error_with(
    out: &mut Vec<u8>,
    route: Route<'_>,
    reply: ErrorReply,
    text: &str,
    application: impl FnOnce(&mut Vec<u8>),
) {
    open_iq(out, "error", route);
    out.extend_from_slice(b"<error type='");
    out.extend_from_slice(reply.kind.as_bytes());
    out.extend_from_slice(b"'><");
    out.extend_from_slice(reply.condition.as_bytes());
    out.extend_from_slice(b" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>");
    if !text.is_empty() {
        out.extend_from_slice(b"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>");
        escape(out, text);
        out.extend_from_slice(b"</text>");
    }
    if let Some(reason) = reply.reason {
        out.extend_from_slice(b"<reason xmlns='urn:capsd:0'>");
        out.extend_from_slice(reason.as_str().as_bytes());
        out.extend_from_slice(b"</reason>");
    }
    application(out);
    out.extend_from_slice(b"</error></iq>");
}

/// A disco#info question, from the component itself.
pub fn question(out: &mut Vec<u8>, route: Route<'_>, node: &str) {
    open_iq(out, "get", route);
    out.extend_from_slice(b"<query xmlns='http://jabber.org/protocol/disco#info'");
    attribute(out, "node", node);
    out.extend_from_slice(b"/></iq>");
}

/// A disco#info question in the name of the holder's own account (XEP-0356 section 4.2): the outer stanza goes to the bare JID,
/// the inner one to the holder.
pub fn privileged_question(
    out: &mut Vec<u8>,
    route: Route<'_>,
    holder: &str,
    inner_id: &str,
    node: &str,
) {
    open_iq(out, "get", route);
    out.extend_from_slice(
        b"<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get'",
    );
    attribute(out, "to", holder);
    attribute(out, "id", inner_id);
    out.extend_from_slice(b"><query xmlns='http://jabber.org/protocol/disco#info'");
    attribute(out, "node", node);
    out.extend_from_slice(b"/></iq></privileged_iq></iq>");
}

/// A disco#info question without a node.
pub fn disco_info_question(out: &mut Vec<u8>, route: Route<'_>) {
    open_iq(out, "get", route);
    out.extend_from_slice(b"<query xmlns='http://jabber.org/protocol/disco#info'/></iq>");
}

/// A disco#items question without a node.
pub fn disco_items_question(out: &mut Vec<u8>, route: Route<'_>) {
    open_iq(out, "get", route);
    out.extend_from_slice(b"<query xmlns='http://jabber.org/protocol/disco#items'/></iq>");
}

/// A XEP-0202 question.
pub fn time_question(out: &mut Vec<u8>, route: Route<'_>) {
    open_iq(out, "get", route);
    out.extend_from_slice(b"<time xmlns='urn:xmpp:time'/></iq>");
}

/// A XEP-0199 ping.
pub fn ping(out: &mut Vec<u8>, route: Route<'_>) {
    open_iq(out, "get", route);
    out.extend_from_slice(b"<ping xmlns='urn:xmpp:ping'/></iq>");
}

/// A presence of the given type, or an available one with `caps`, already escaped, inside.
pub fn presence(out: &mut Vec<u8>, from: &str, to: &str, kind: Option<&str>, caps: &[u8]) {
    out.extend_from_slice(b"<presence");
    attribute(out, "from", from);
    attribute(out, "to", to);
    if let Some(kind) = kind {
        attribute(out, "type", kind);
    }
    out.push(b'>');
    out.extend_from_slice(caps);
    out.extend_from_slice(b"</presence>");
}

/// The `<c/>` elements of capsd's own presence: 0115 with sha-1, and 0390 with the given hashes.
pub fn own_caps(
    out: &mut Vec<u8>,
    node_url: &str,
    ver_0115: Option<&str>,
    hashes_0390: &[(&str, String)],
) {
    if let Some(ver) = ver_0115 {
        out.extend_from_slice(b"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1'");
        attribute(out, "node", node_url);
        attribute(out, "ver", ver);
        out.extend_from_slice(b"/>");
    }
    if hashes_0390.is_empty() {
        return;
    }
    out.extend_from_slice(b"<c xmlns='");
    out.extend_from_slice(ns::CAPS_0390.as_bytes());
    out.extend_from_slice(b"'>");
    for (algorithm, digest) in hashes_0390 {
        out.extend_from_slice(b"<hash xmlns='urn:xmpp:hashes:2'");
        attribute(out, "algo", algorithm);
        out.push(b'>');
        escape(out, digest);
        out.extend_from_slice(b"</hash>");
    }
    out.extend_from_slice(b"</c>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_an_attribute() {
        let mut out = Vec::new();
        ping(
            &mut out,
            Route {
                from: "caps.example",
                to: "a'><x y=\"&\n@b/c",
                id: "1",
            },
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "<iq type='get' from='caps.example' to='a&apos;&gt;&lt;x y=&quot;&amp;&#10;@b/c' id='1'>\
             <ping xmlns='urn:xmpp:ping'/></iq>"
        );
    }

    #[test]
    fn forbidden_stands_alone() {
        let reply = ErrorReply::for_reason(Reason::Forbidden);
        assert_eq!(
            (reply.kind, reply.condition, reply.reason),
            ("auth", "forbidden", None)
        );
        for reason in Reason::ALL {
            let reply = ErrorReply::for_reason(reason);
            assert_eq!(reply.reason.is_none(), reason == Reason::Forbidden);
        }
    }
}
