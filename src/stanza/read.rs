//! Every top-level element of a component stream, read without a tree.

pub mod command;
mod extension;
mod iq;
mod message;
mod presence;

use rxml::{AttrMap, Event, Namespace, QName};
use xso::{Context, FromEventsBuilder, FromXml};

pub use command::{Action, Command, FIELDS};

use super::answer::AnswerLimits;
use super::ns;
use crate::caps::Answer;
pub use extension::{
    Contribution, Extension, Feed, Lookup, LookupKey, MAX_CONTRIBUTED, MAX_INFOS, MAX_INSTANCE,
    MAX_KEYS, MAX_REPORTS, Operation, Report,
};
use iq::IqBuilder;
use message::{MessageBuilder, StreamErrorBuilder};
use presence::PresenceBuilder;

/// How many 0390 hashes of one presence are read; XEP-0390 section 4.2 asks for a set, clients send one to three.
pub const MAX_HASHES_0390: usize = 8;

/// How many `ext` bundles of a legacy announcement are read (XEP-0115 section 13).
pub const MAX_EXT: usize = 8;

/// The longest attribute or text that is kept, in bytes, other than within an answer; longer ones count as absent.
pub const MAX_KEPT: usize = 3072;

/// How much of an answer is read at the most, whatever the configuration allows to be verified: the upper ends of the settings
/// `max-disco-bytes` and `max-features`.
pub const READ_LIMITS: AnswerLimits = AnswerLimits {
    max_bytes: 262_144,
    max_features: 4_096,
};

/// One top-level element of a component stream.
#[derive(Debug)]
pub enum Inbound {
    /// An `<iq/>`.
    Iq(Iq),
    /// A `<presence/>`.
    Presence(Box<Presence>),
    /// A `<message/>`.
    Message(Box<Message>),
    /// The server's `<handshake/>` (XEP-0114 section 3).
    Handshake,
    /// A `<stream:error/>` (RFC 6120 section 4.9).
    StreamError(StreamFault),
    /// Anything else, read to its end and dropped.
    Other,
}

/// The `type` of an `<iq/>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IqKind {
    /// A question.
    Get,
    /// An order.
    Set,
    /// An answer.
    Result,
    /// A refusal.
    Error,
    /// No `type`, or one that RFC 6120 does not know.
    #[default]
    Invalid,
}

/// What an `<iq/>` carries, as far as capsd acts on it.
#[derive(Debug, Default)]
pub enum Payload {
    /// No child element.
    #[default]
    None,
    /// disco#info; the node is that of a question.
    DiscoInfo(Option<String>),
    /// disco#info in an answer.
    Answer(Box<Answer>),
    /// disco#items; the node asked for.
    DiscoItems(Option<String>),
    /// XEP-0202 in an answer: the time in UTC, as it was sent.
    TimeIs(String),
    /// disco#items in an answer.
    Items {
        /// Whether one of them is the addressee itself.
        lists_us: bool,
    },
    /// An ad-hoc command (XEP-0050).
    Command(Box<Command>),
    /// XEP-0199.
    Ping,
    /// XEP-0092.
    Version,
    /// XEP-0202.
    Time,
    /// A request of `urn:capsd:0`.
    Extension(Box<Extension>),
    /// The answer to a privileged question (XEP-0356 section 4.2): the `<iq/>` that was forwarded.
    Forwarded(Box<Iq>),
    /// Any other child.
    Other,
}

/// An `<iq/>`.
#[derive(Debug, Default)]
pub struct Iq {
    /// The sender as the server stamped it.
    pub from: Option<String>,
    /// The addressee.
    pub to: Option<String>,
    /// The id; a request without one cannot be answered.
    pub id: Option<String>,
    /// The type.
    pub kind: IqKind,
    /// The first child that is not an error.
    pub payload: Payload,
    /// The condition of an error (RFC 6120 section 8.3.3), such as `service-unavailable`.
    pub condition: Option<String>,
    /// How many children there were, an `<error/>` not counted; RFC 6120 section 8.2.3 wants one in a request.
    pub children: usize,
}

/// The `type` of a `<presence/>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PresenceKind {
    /// No type: available.
    #[default]
    Available,
    /// Gone.
    Unavailable,
    /// Asks to see capsd's presence.
    Subscribe,
    /// Lets capsd see theirs.
    Subscribed,
    /// Wants to see capsd's presence no more.
    Unsubscribe,
    /// Lets capsd see theirs no more.
    Unsubscribed,
    /// Asks for capsd's current presence.
    Probe,
    /// An error, or a type that RFC 6121 does not know.
    Other,
}

/// A 0115 `<c/>` (XEP-0115 section 4), or a legacy one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps0115 {
    /// The node URL, not covered by the hash.
    pub node: String,
    /// The name of the hash function; absent in legacy announcements.
    pub hash: Option<String>,
    /// The verification string's digest in base64, or a version in legacy announcements.
    pub ver: String,
    /// The names of legacy bundles, at most [`MAX_EXT`].
    pub ext: Vec<String>,
}

/// A `<presence/>`.
#[derive(Debug, Default)]
pub struct Presence {
    /// The sender as the server stamped it.
    pub from: Option<String>,
    /// The addressee.
    pub to: Option<String>,
    /// The type.
    pub kind: PresenceKind,
    /// The first 0115 `<c/>`.
    pub caps_0115: Option<Caps0115>,
    /// Algorithm and digest of each hash in the first 0390 `<c/>`, at most [`MAX_HASHES_0390`].
    pub caps_0390: Vec<(String, String)>,
    /// Whether there was a 0390 `<c/>` at all.
    pub has_caps_0390: bool,
    /// Whether it was sent earlier and is repeated now (XEP-0203).
    pub delayed: bool,
}

/// One permission that a server grants (XEP-0356).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permission {
    /// `presence`, `iq`, `roster` or `message`.
    pub access: String,
    /// The extent, such as `managed_entity`.
    pub extent: String,
    /// For `iq`: namespace and type of each permitted question.
    pub namespaces: Vec<(String, String)>,
}

/// A `<message/>`; only the permissions in it matter.
#[derive(Debug, Default)]
pub struct Message {
    /// The sender as the server stamped it.
    pub from: Option<String>,
    /// The privilege namespace, if the message grants permissions.
    pub privilege: Option<String>,
    /// The permissions granted.
    pub permissions: Vec<Permission>,
}

/// A `<stream:error/>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFault {
    /// The condition, such as `not-authorized`.
    pub condition: String,
    /// The text for people, cut at [`MAX_KEPT`].
    pub text: String,
}

/// Takes the attributes that a header has, in one pass and without copying.
fn header(attributes: AttrMap, mut take: impl FnMut(&str, String)) {
    for ((namespace, name), value) in attributes {
        if namespace.is_none() && value.len() <= MAX_KEPT {
            take(name.as_str(), value);
        }
    }
}

/// The value of an attribute without namespace, if it is within bounds.
fn attribute<'a>(attributes: &'a AttrMap, name: &str) -> Option<&'a str> {
    attributes
        .get(Namespace::none(), name)
        .map(String::as_str)
        .filter(|value| value.len() <= MAX_KEPT)
}

fn owned(attributes: &AttrMap, name: &str) -> Option<String> {
    attribute(attributes, name).map(str::to_owned)
}

/// Appends text up to [`MAX_KEPT`] bytes in all.
fn append(kept: &mut String, text: &str) {
    let mut room = MAX_KEPT.saturating_sub(kept.len()).min(text.len());
    while !text.is_char_boundary(room) {
        room -= 1;
    }
    kept.push_str(&text[..room]);
}

#[derive(Debug)]
enum Part {
    Iq(IqBuilder),
    Presence(PresenceBuilder),
    Message(MessageBuilder),
    Handshake,
    StreamError(StreamErrorBuilder),
    Other,
}

/// Reads one top-level element; made by [`Inbound::from_events`].
#[derive(Debug)]
pub struct InboundBuilder {
    part: Part,
    depth: usize,
}

impl FromXml for Inbound {
    type Builder = InboundBuilder;

    /// Accepts every element: what is not known is read to its end and becomes [`Inbound::Other`].
    fn from_events(
        name: QName,
        attributes: AttrMap,
        _: &Context<'_>,
    ) -> Result<InboundBuilder, xso::error::FromEventsError> {
        let part = match (name.0.as_str(), name.1.as_str()) {
            (ns::COMPONENT, "iq") => Part::Iq(IqBuilder::new(attributes, false)),
            (ns::COMPONENT, "presence") => Part::Presence(PresenceBuilder::new(attributes)),
            (ns::COMPONENT, "message") => Part::Message(MessageBuilder::new(attributes)),
            (ns::COMPONENT, "handshake") => Part::Handshake,
            (ns::STREAM, "error") => Part::StreamError(StreamErrorBuilder::default()),
            _ => Part::Other,
        };
        Ok(InboundBuilder { part, depth: 0 })
    }
}

impl FromEventsBuilder for InboundBuilder {
    type Output = Inbound;

    fn feed(
        &mut self,
        event: Event,
        context: &Context<'_>,
    ) -> Result<Option<Inbound>, xso::error::Error> {
        match event {
            Event::StartElement(_, name, attributes) => {
                self.depth = self.depth.saturating_add(1);
                let lang = context.language().unwrap_or_default();
                match &mut self.part {
                    Part::Iq(iq) => iq.start(self.depth, name, attributes, lang),
                    Part::Presence(presence) => presence.start(self.depth, &name, &attributes),
                    Part::Message(message) => message.start(self.depth, &name, &attributes),
                    Part::StreamError(error) => error.start(self.depth, &name),
                    Part::Handshake | Part::Other => {}
                }
                Ok(None)
            }
            Event::Text(_, text) => {
                match &mut self.part {
                    Part::Iq(iq) => iq.text(self.depth, &text),
                    Part::Presence(presence) => presence.text(self.depth, &text),
                    Part::StreamError(error) => error.text(&text),
                    Part::Message(_) | Part::Handshake | Part::Other => {}
                }
                Ok(None)
            }
            Event::EndElement(_) if self.depth == 0 => Ok(Some(self.finish())),
            Event::EndElement(_) => {
                match &mut self.part {
                    Part::Iq(iq) => iq.end(self.depth),
                    Part::Presence(presence) => presence.end(self.depth),
                    Part::Message(message) => message.end(self.depth),
                    Part::StreamError(error) => error.in_text = false,
                    Part::Handshake | Part::Other => {}
                }
                self.depth -= 1;
                Ok(None)
            }
            Event::XmlDeclaration(..) => Ok(None),
        }
    }
}

impl InboundBuilder {
    fn finish(&mut self) -> Inbound {
        match std::mem::replace(&mut self.part, Part::Other) {
            Part::Iq(builder) => Inbound::Iq(builder.iq),
            Part::Presence(builder) => Inbound::Presence(builder.presence),
            Part::Message(builder) => Inbound::Message(builder.message),
            Part::Handshake => Inbound::Handshake,
            Part::StreamError(builder) => Inbound::StreamError(builder.fault),
            Part::Other => Inbound::Other,
        }
    }
}
