//! Reads the elements of `urn:capsd:0` (deploy/protocol.md): `<lookup/>`, `<contribute/>` and `<feed/>`.
//!
//! Nothing is judged here but what a request must have and how much it may hold. The first fault ends it: what was read is dropped
//! then, and nothing more is kept.

use rxml::{AttrMap, QName};

use super::presence::PresenceBuilder;
use super::{MAX_KEPT, Presence, READ_LIMITS, owned};
use crate::caps::{Answer, Reason};
use crate::stanza::answer::AnswerBuilder;
use crate::stanza::ns;

/// The most `<key/>` elements of a `<lookup/>`.
pub const MAX_KEYS: usize = 256;

/// The most `<info/>` elements of a `<contribute/>`.
pub const MAX_INFOS: usize = 64;

/// The most reports of a `<feed/>`.
pub const MAX_REPORTS: usize = 256;

/// The most bytes of all answers in a `<contribute/>`, counted as [`Answer::size`] is: 64 of those that are accepted by default.
pub const MAX_CONTRIBUTED: usize = 1 << 20;

/// The longest text by which a process of capsd, or one of several feeders, is known, in bytes.
pub const MAX_INSTANCE: usize = 64;

/// A request of `urn:capsd:0`.
#[derive(Debug)]
pub struct Extension {
    /// What is wanted; after a fault, without what was read of it.
    pub operation: Operation,
    /// Why it cannot be taken as a whole.
    pub fault: Option<Reason>,
}

/// What a request of `urn:capsd:0` wants.
#[derive(Debug)]
pub enum Operation {
    /// The meaning of keys.
    Lookup(Lookup),
    /// To hand over answers, at most [`MAX_INFOS`].
    Contribute(Vec<Contribution>),
    /// To report who announces what.
    Feed(Feed),
}

/// A `<lookup/>`.
#[derive(Debug)]
pub struct Lookup {
    /// Whether to wait for what is not stored.
    pub wait: bool,
    /// The keys in the order asked, at most [`MAX_KEYS`].
    pub keys: Vec<LookupKey>,
}

/// A `<key/>` of a `<lookup/>`.
#[derive(Debug, PartialEq, Eq)]
pub struct LookupKey {
    /// The caps node, at most [`MAX_KEPT`] bytes.
    pub node: String,
    /// The address whose own answer will do, if nothing can be verified.
    pub jid: Option<String>,
}

/// An `<info/>` of a `<contribute/>`.
#[derive(Debug)]
pub struct Contribution {
    /// The caps node that it is an answer to.
    pub node: Option<String>,
    /// The address that gave the answer.
    pub jid: Option<String>,
    /// The answer as it was sent.
    pub answer: Answer,
}

/// A `<feed/>`.
#[derive(Debug)]
pub struct Feed {
    /// The process that the feeder believes to answer, at most [`MAX_INSTANCE`] bytes.
    pub instance: Option<String>,
    /// Which of those who share the sender's address sends it, at most [`MAX_INSTANCE`] bytes.
    pub feeder: Option<String>,
    /// Whether what the feeder told before holds no more, unless it is told again.
    pub anew: bool,
    /// The reports in the order sent, at most [`MAX_REPORTS`].
    pub reports: Vec<Report>,
}

/// One report of a `<feed/>`.
#[derive(Debug)]
pub enum Report {
    /// Somebody announces; as a presence from that address, in which nothing else is read.
    Holder {
        /// The announcement and the address.
        presence: Box<Presence>,
        /// Whether the server says that it would deliver a question.
        askable: bool,
    },
    /// Somebody is gone.
    Gone(String),
}

/// What an element at the second level is being read into.
#[derive(Debug)]
enum Part {
    Nothing,
    Info(Box<InfoPart>),
    Holder {
        reading: PresenceBuilder,
        askable: bool,
    },
}

/// An `<info/>` with what was read of it.
#[derive(Debug)]
struct InfoPart {
    node: Option<String>,
    jid: Option<String>,
    answer: Option<Answer>,
    reading: Option<AnswerBuilder>,
}

/// Reads one request, from the attributes of its element on.
#[derive(Debug)]
pub(super) struct ExtensionBuilder {
    request: Extension,
    part: Part,
    /// The bytes of all answers so far.
    contributed: usize,
}

/// The level of the elements in a request: its own is 1.
const ITEM: usize = 2;

impl ExtensionBuilder {
    /// A builder for the element of that name in our namespace; `None` if there is no such request.
    pub(super) fn new(local: &str, attributes: &AttrMap) -> Option<ExtensionBuilder> {
        let mut fault = None;
        let operation = match local {
            "lookup" => Operation::Lookup(Lookup {
                wait: boolean(attributes, "wait", true, &mut fault),
                keys: Vec::new(),
            }),
            "contribute" => Operation::Contribute(Vec::new()),
            "feed" => Operation::Feed(Feed {
                instance: name(attributes, "instance", &mut fault),
                feeder: name(attributes, "feeder", &mut fault),
                anew: boolean(attributes, "anew", false, &mut fault),
                reports: Vec::new(),
            }),
            _ => return None,
        };
        Some(ExtensionBuilder {
            request: Extension { operation, fault },
            part: Part::Nothing,
            contributed: 0,
        })
    }

    pub(super) fn start(&mut self, level: usize, name: &QName, attributes: AttrMap, lang: &str) {
        if self.request.fault.is_some() {
            return;
        }
        match &mut self.part {
            Part::Info(info) => {
                if let Some(reading) = &mut info.reading {
                    reading.start(name, &attributes);
                } else if level == ITEM + 1 && name.0 == ns::DISCO_INFO && name.1 == "query" {
                    if info.answer.is_some() {
                        return self.refuse(Reason::IllFormed);
                    }
                    info.reading = Some(AnswerBuilder::new(READ_LIMITS, lang, &attributes));
                }
            }
            Part::Holder { reading, .. } => reading.start(level - ITEM, name, &attributes),
            Part::Nothing if level == ITEM && name.0 == ns::CAPSD => {
                if let Err(reason) = self.item(name.1.as_str(), attributes) {
                    self.refuse(reason);
                }
            }
            _ => {}
        }
    }

    /// An element directly in the request; others than its own are passed over.
    fn item(&mut self, local: &str, mut attributes: AttrMap) -> Result<(), Reason> {
        let mut fault = None;
        match (&mut self.request.operation, local) {
            (Operation::Lookup(lookup), "key") => {
                let node = taken(&mut attributes, "node")?.ok_or(Reason::MalformedNode)?;
                let jid = taken(&mut attributes, "jid")?;
                room(lookup.keys.len(), MAX_KEYS)?;
                lookup.keys.push(LookupKey { node, jid });
            }
            (Operation::Contribute(infos), "info") => {
                room(infos.len(), MAX_INFOS)?;
                self.part = Part::Info(Box::new(InfoPart {
                    node: taken(&mut attributes, "node")?,
                    jid: taken(&mut attributes, "jid")?,
                    answer: None,
                    reading: None,
                }));
            }
            (Operation::Feed(feed), "holder") => {
                room(feed.reports.len(), MAX_REPORTS)?;
                let askable = boolean(&attributes, "askable", false, &mut fault);
                let from = taken(&mut attributes, "jid")?.ok_or(Reason::IllFormed)?;
                self.part = Part::Holder {
                    reading: PresenceBuilder::of_holder(from),
                    askable,
                };
            }
            (Operation::Feed(feed), "gone") => {
                room(feed.reports.len(), MAX_REPORTS)?;
                let jid = taken(&mut attributes, "jid")?.ok_or(Reason::IllFormed)?;
                feed.reports.push(Report::Gone(jid));
            }
            _ => {}
        }
        fault.map_or(Ok(()), Err)
    }

    pub(super) fn text(&mut self, level: usize, text: &str) {
        match &mut self.part {
            Part::Info(info) => {
                if let Some(reading) = &mut info.reading {
                    reading.text(text);
                }
            }
            Part::Holder { reading, .. } => reading.text(level.saturating_sub(ITEM), text),
            _ => {}
        }
    }

    /// The element at that level ends; it is not the request's own.
    pub(super) fn end(&mut self, level: usize) {
        match &mut self.part {
            Part::Info(info) if level == ITEM + 1 => {
                if let Some(read) = info.reading.take() {
                    info.answer = Some(read.finish());
                }
            }
            Part::Info(info) if level > ITEM => {
                if let Some(reading) = &mut info.reading {
                    reading.end();
                }
            }
            Part::Holder { reading, .. } if level > ITEM => reading.end(level - ITEM),
            Part::Info(_) | Part::Holder { .. } if level == ITEM => self.finish_item(),
            _ => {}
        }
    }

    fn finish_item(&mut self) {
        let part = std::mem::replace(&mut self.part, Part::Nothing);
        match (part, &mut self.request.operation) {
            (Part::Info(info), Operation::Contribute(infos)) => {
                let InfoPart {
                    node, jid, answer, ..
                } = *info;
                let Some(answer) = answer else {
                    return self.refuse(Reason::IllFormed);
                };
                self.contributed = self.contributed.saturating_add(answer.size);
                if self.contributed > MAX_CONTRIBUTED {
                    return self.refuse(Reason::TooLarge);
                }
                infos.push(Contribution { node, jid, answer });
            }
            (Part::Holder { reading, askable }, Operation::Feed(feed)) => {
                feed.reports.push(Report::Holder {
                    presence: reading.presence,
                    askable,
                });
            }
            _ => {}
        }
    }

    /// The request, once its element has ended.
    pub(super) fn finish(mut self) -> Extension {
        let empty = match &self.request.operation {
            Operation::Lookup(lookup) => lookup.keys.is_empty(),
            Operation::Contribute(infos) => infos.is_empty(),
            Operation::Feed(_) => false,
        };
        if empty && self.request.fault.is_none() {
            self.refuse(Reason::IllFormed);
        }
        self.request
    }

    /// Frees what was read.
    fn refuse(&mut self, reason: Reason) {
        self.request.fault = Some(reason);
        self.part = Part::Nothing;
        match &mut self.request.operation {
            Operation::Lookup(lookup) => lookup.keys = Vec::new(),
            Operation::Contribute(infos) => *infos = Vec::new(),
            Operation::Feed(feed) => feed.reports = Vec::new(),
        }
    }
}

fn room(taken: usize, most: usize) -> Result<(), Reason> {
    match taken < most {
        true => Ok(()),
        false => Err(Reason::TooLarge),
    }
}

/// The value of an attribute without namespace, not copied. One over the bound cannot be given back in an answer, and must not pass
/// for an absent one.
fn taken(attributes: &mut AttrMap, name: &str) -> Result<Option<String>, Reason> {
    let value = attributes.remove(rxml::Namespace::none(), name);
    match value {
        Some(value) if value.len() > MAX_KEPT => Err(Reason::TooLarge),
        value => Ok(value),
    }
}

/// A boolean of XML Schema, white space around it left out as its type says.
fn boolean(attributes: &AttrMap, name: &str, default: bool, fault: &mut Option<Reason>) -> bool {
    let value = attributes.get(rxml::Namespace::none(), name);
    match value.map(|value| value.trim_ascii()) {
        None => default,
        Some("true" | "1") => true,
        Some("false" | "0") => false,
        Some(_) => {
            *fault = Some(Reason::IllFormed);
            default
        }
    }
}

/// The opaque name in an attribute.
fn name(attributes: &AttrMap, attribute: &str, fault: &mut Option<Reason>) -> Option<String> {
    let name = owned(attributes, attribute);
    let text = attributes.get(rxml::Namespace::none(), attribute);
    if text.is_some_and(|text| !(1..=MAX_INSTANCE).contains(&text.len())) {
        *fault = Some(Reason::IllFormed);
        return None;
    }
    name
}
