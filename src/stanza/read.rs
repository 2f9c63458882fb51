//! Every top-level element of a component stream, read without a tree.

use rxml::{AttrMap, Event, Namespace, QName};
use xso::{Context, FromEventsBuilder, FromXml};

use super::answer::{AnswerBuilder, AnswerLimits};
use super::ns;
use crate::caps::Answer;

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
    /// XEP-0199.
    Ping,
    /// XEP-0092.
    Version,
    /// XEP-0202.
    Time,
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
enum IqPart {
    Nothing,
    Error,
    Answer(Box<AnswerBuilder>),
    Privilege,
    Forwarded,
    Inner(Box<IqBuilder>),
}

/// Reads an `<iq/>`, from its attributes on; `level` is the depth below it, starting at 1.
#[derive(Debug)]
struct IqBuilder {
    iq: Iq,
    part: IqPart,
    nested: bool,
}

/// The level at which the forwarded `<iq/>` stands: privilege is 1, forwarded 2.
const FORWARDED_LEVEL: usize = 3;

impl IqBuilder {
    fn new(attributes: AttrMap, nested: bool) -> IqBuilder {
        let mut iq = Iq::default();
        header(attributes, |name, value| match name {
            "from" => iq.from = Some(value),
            "to" => iq.to = Some(value),
            "id" => iq.id = Some(value),
            "type" => {
                iq.kind = match value.as_str() {
                    "get" => IqKind::Get,
                    "set" => IqKind::Set,
                    "result" => IqKind::Result,
                    "error" => IqKind::Error,
                    _ => IqKind::Invalid,
                }
            }
            _ => {}
        });
        IqBuilder {
            iq,
            part: IqPart::Nothing,
            nested,
        }
    }

    fn start(&mut self, level: usize, name: QName, attributes: AttrMap, lang: &str) {
        let (namespace, local) = (name.0.as_str(), name.1.as_str());
        match &mut self.part {
            IqPart::Answer(answer) => answer.start(&name, &attributes),
            IqPart::Inner(inner) => {
                inner.start(level - FORWARDED_LEVEL, name, attributes, lang);
            }
            IqPart::Privilege if level == 2 && namespace == ns::FORWARD && local == "forwarded" => {
                self.part = IqPart::Forwarded;
            }
            IqPart::Forwarded
                if level == FORWARDED_LEVEL
                    && local == "iq"
                    && matches!(namespace, ns::CLIENT | ns::COMPONENT) =>
            {
                self.part = IqPart::Inner(Box::new(IqBuilder::new(attributes, true)));
            }
            IqPart::Error if level == 2 && namespace == ns::STANZA_ERRORS && local != "text" => {
                self.iq.condition.get_or_insert_with(|| local.to_owned());
            }
            _ if level == 1 => self.child(namespace, local, &attributes, lang),
            _ => {}
        }
    }

    fn child(&mut self, namespace: &str, local: &str, attributes: &AttrMap, lang: &str) {
        if local == "error" {
            self.part = IqPart::Error;
            return;
        }
        self.iq.children += 1;
        if self.iq.children > 1 {
            return;
        }
        let node = || owned(attributes, "node");
        self.iq.payload = match (namespace, local) {
            (ns::DISCO_INFO, "query") if self.iq.kind == IqKind::Result => {
                self.part =
                    IqPart::Answer(Box::new(AnswerBuilder::new(READ_LIMITS, lang, attributes)));
                Payload::Other
            }
            (ns::DISCO_INFO, "query") => match attributes.get(Namespace::none(), "node") {
                // A node over the bound must not pass for an absent one, which asks for something else.
                Some(node) if node.len() > MAX_KEPT => {
                    Payload::DiscoInfo(Some("x".repeat(crate::caps::key::MAX_NODE_LEN + 1)))
                }
                _ => Payload::DiscoInfo(node()),
            },
            (ns::DISCO_ITEMS, "query") => Payload::DiscoItems(node()),
            (ns::PING, "ping") => Payload::Ping,
            (ns::VERSION, "query") => Payload::Version,
            (ns::TIME, "time") => Payload::Time,
            (ns::PRIVILEGE_1 | ns::PRIVILEGE_2, "privilege") if !self.nested => {
                self.part = IqPart::Privilege;
                Payload::Other
            }
            _ => Payload::Other,
        };
    }

    fn text(&mut self, text: &str) {
        match &mut self.part {
            IqPart::Answer(answer) => answer.text(text),
            IqPart::Inner(inner) => inner.text(text),
            _ => {}
        }
    }

    fn end(&mut self, level: usize) {
        match std::mem::replace(&mut self.part, IqPart::Nothing) {
            IqPart::Answer(answer) if level == 1 => {
                self.iq.payload = Payload::Answer(Box::new(answer.finish()));
            }
            IqPart::Answer(mut answer) => {
                answer.end();
                self.part = IqPart::Answer(answer);
            }
            IqPart::Inner(inner) if level == FORWARDED_LEVEL => {
                self.iq.payload = Payload::Forwarded(Box::new(inner.iq));
            }
            IqPart::Inner(mut inner) => {
                inner.end(level - FORWARDED_LEVEL);
                self.part = IqPart::Inner(inner);
            }
            IqPart::Forwarded if level > 2 => self.part = IqPart::Forwarded,
            IqPart::Privilege if level > 1 => self.part = IqPart::Privilege,
            IqPart::Error if level > 1 => self.part = IqPart::Error,
            _ => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum PresencePart {
    Nothing,
    Caps0390,
    Hash,
}

#[derive(Debug)]
struct PresenceBuilder {
    presence: Box<Presence>,
    part: PresencePart,
}

impl PresenceBuilder {
    fn new(attributes: AttrMap) -> PresenceBuilder {
        let mut presence = Box::<Presence>::default();
        header(attributes, |name, value| match name {
            "from" => presence.from = Some(value),
            "to" => presence.to = Some(value),
            "type" => {
                presence.kind = match value.as_str() {
                    "unavailable" => PresenceKind::Unavailable,
                    "subscribe" => PresenceKind::Subscribe,
                    "subscribed" => PresenceKind::Subscribed,
                    "unsubscribe" => PresenceKind::Unsubscribe,
                    "unsubscribed" => PresenceKind::Unsubscribed,
                    "probe" => PresenceKind::Probe,
                    "available" => PresenceKind::Available,
                    _ => PresenceKind::Other,
                }
            }
            _ => {}
        });
        PresenceBuilder {
            presence,
            part: PresencePart::Nothing,
        }
    }

    fn start(&mut self, level: usize, name: &QName, attributes: &AttrMap) {
        match (level, name.0.as_str(), name.1.as_str()) {
            (1, ns::CAPS_0115, "c") if self.presence.caps_0115.is_none() => {
                self.presence.caps_0115 = Some(Caps0115 {
                    node: owned(attributes, "node").unwrap_or_default(),
                    hash: owned(attributes, "hash"),
                    ver: owned(attributes, "ver").unwrap_or_default(),
                    ext: attribute(attributes, "ext")
                        .unwrap_or_default()
                        .split_ascii_whitespace()
                        .take(MAX_EXT)
                        .map(str::to_owned)
                        .collect(),
                });
            }
            (1, ns::DELAY, "delay") => self.presence.delayed = true,
            (1, ns::CAPS_0390, "c") if !self.presence.has_caps_0390 => {
                self.presence.has_caps_0390 = true;
                self.part = PresencePart::Caps0390;
            }
            (2, ns::HASHES, "hash")
                if self.part == PresencePart::Caps0390
                    && self.presence.caps_0390.len() < MAX_HASHES_0390 =>
            {
                let algorithm = owned(attributes, "algo").unwrap_or_default();
                self.presence.caps_0390.push((algorithm, String::new()));
                self.part = PresencePart::Hash;
            }
            _ => {}
        }
    }

    fn text(&mut self, level: usize, text: &str) {
        if self.part == PresencePart::Hash
            && level == 2
            && let Some((_, digest)) = self.presence.caps_0390.last_mut()
        {
            append(digest, text.trim_ascii());
        }
    }

    fn end(&mut self, level: usize) {
        match level {
            2 if self.part == PresencePart::Hash => self.part = PresencePart::Caps0390,
            1 => self.part = PresencePart::Nothing,
            _ => {}
        }
    }
}

/// How many permissions, and namespaces of one permission, are read.
const MAX_PERMISSIONS: usize = 64;

#[derive(Debug)]
struct MessageBuilder {
    message: Box<Message>,
    within: bool,
}

impl MessageBuilder {
    fn new(attributes: AttrMap) -> MessageBuilder {
        let mut message = Box::<Message>::default();
        header(attributes, |name, value| {
            if name == "from" {
                message.from = Some(value);
            }
        });
        MessageBuilder {
            message,
            within: false,
        }
    }

    fn start(&mut self, level: usize, name: &QName, attributes: &AttrMap) {
        let (namespace, local) = (name.0.as_str(), name.1.as_str());
        let permissions = &mut self.message.permissions;
        match (level, local) {
            (1, "privilege") if matches!(namespace, ns::PRIVILEGE_1 | ns::PRIVILEGE_2) => {
                self.within = true;
                self.message.privilege = Some(namespace.to_owned());
            }
            (2, "perm") if self.within && permissions.len() < MAX_PERMISSIONS => {
                permissions.push(Permission {
                    access: owned(attributes, "access").unwrap_or_default(),
                    extent: owned(attributes, "type").unwrap_or_default(),
                    namespaces: Vec::new(),
                });
            }
            (3, "namespace") if self.within => {
                if let Some(last) = permissions.last_mut()
                    && last.namespaces.len() < MAX_PERMISSIONS
                {
                    last.namespaces.push((
                        owned(attributes, "ns").unwrap_or_default(),
                        owned(attributes, "type").unwrap_or_default(),
                    ));
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, level: usize) {
        if level == 1 {
            self.within = false;
        }
    }
}

#[derive(Debug, Default)]
struct StreamErrorBuilder {
    fault: StreamFault,
    in_text: bool,
}

impl StreamErrorBuilder {
    fn start(&mut self, level: usize, name: &QName) {
        if level != 1 || name.0.as_str() != ns::STREAM_ERRORS {
            return;
        }
        if name.1.as_str() == "text" {
            self.in_text = true;
        } else if self.fault.condition.is_empty() {
            append(&mut self.fault.condition, name.1.as_str());
        }
    }

    fn text(&mut self, text: &str) {
        if self.in_text {
            append(&mut self.fault.text, text);
        }
    }
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
                    Part::Iq(iq) => iq.text(&text),
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
