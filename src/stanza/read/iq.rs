//! Reads an `<iq/>`.

use rxml::{AttrMap, Namespace, QName};

use super::command::CommandBuilder;
use super::extension::ExtensionBuilder;
use super::{Iq, IqKind, MAX_KEPT, Payload, READ_LIMITS, header, owned};
use crate::stanza::answer::AnswerBuilder;
use crate::stanza::ns;

#[derive(Debug)]
enum IqPart {
    Nothing,
    Error,
    Items,
    Time,
    Utc,
    Command(Box<CommandBuilder>),
    Answer(Box<AnswerBuilder>),
    Extension(Box<ExtensionBuilder>),
    Privilege,
    Forwarded,
    Inner(Box<IqBuilder>),
}

/// Reads an `<iq/>`, from its attributes on; `level` is the depth below it, starting at 1.
#[derive(Debug)]
pub(super) struct IqBuilder {
    pub(super) iq: Iq,
    part: IqPart,
    nested: bool,
}

/// The level at which the forwarded `<iq/>` stands: privilege is 1, forwarded 2.
const FORWARDED_LEVEL: usize = 3;

impl IqBuilder {
    pub(super) fn new(attributes: AttrMap, nested: bool) -> IqBuilder {
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

    pub(super) fn start(&mut self, level: usize, name: QName, attributes: AttrMap, lang: &str) {
        let (namespace, local) = (name.0.as_str(), name.1.as_str());
        match &mut self.part {
            IqPart::Answer(answer) => answer.start(&name, &attributes),
            IqPart::Extension(request) => request.start(level, &name, attributes, lang),
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
            IqPart::Command(command) => command.start(level - 1, namespace, local, &attributes),
            IqPart::Time if level == 2 && namespace == ns::TIME && local == "utc" => {
                self.part = IqPart::Utc;
            }
            IqPart::Items if level == 2 && namespace == ns::DISCO_ITEMS && local == "item" => {
                let jid = super::attribute(&attributes, "jid");
                if jid.is_some() && jid == self.iq.to.as_deref() {
                    self.iq.payload = Payload::Items { lists_us: true };
                }
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
            (ns::DISCO_ITEMS, "query") if self.iq.kind == IqKind::Result => {
                self.part = IqPart::Items;
                Payload::Items { lists_us: false }
            }
            (ns::DISCO_ITEMS, "query") => Payload::DiscoItems(node()),
            (ns::COMMANDS, "command") if self.iq.kind == IqKind::Set && !self.nested => {
                self.part = IqPart::Command(Box::new(CommandBuilder::new(attributes)));
                Payload::Other
            }
            (ns::PING, "ping") => Payload::Ping,
            (ns::VERSION, "query") => Payload::Version,
            (ns::TIME, "time") if self.iq.kind == IqKind::Result => {
                self.part = IqPart::Time;
                Payload::TimeIs(String::new())
            }
            (ns::TIME, "time") => Payload::Time,
            (ns::PRIVILEGE_1 | ns::PRIVILEGE_2, "privilege") if !self.nested => {
                self.part = IqPart::Privilege;
                Payload::Other
            }
            (ns::CAPSD, _) if self.is_request() => {
                if let Some(request) = ExtensionBuilder::new(local, attributes) {
                    self.part = IqPart::Extension(Box::new(request));
                }
                Payload::Other
            }
            _ => Payload::Other,
        };
    }

    /// Whether it asks for something, and does so itself.
    fn is_request(&self) -> bool {
        !self.nested && matches!(self.iq.kind, IqKind::Get | IqKind::Set)
    }

    pub(super) fn text(&mut self, level: usize, text: &str) {
        match &mut self.part {
            IqPart::Answer(answer) => answer.text(text),
            IqPart::Command(command) => command.text(text),
            IqPart::Utc => {
                if let Payload::TimeIs(time) = &mut self.iq.payload {
                    super::append(time, text);
                }
            }
            IqPart::Extension(request) => request.text(level, text),
            IqPart::Inner(inner) => inner.text(level - FORWARDED_LEVEL, text),
            _ => {}
        }
    }

    pub(super) fn end(&mut self, level: usize) {
        match std::mem::replace(&mut self.part, IqPart::Nothing) {
            IqPart::Answer(answer) if level == 1 => {
                self.iq.payload = Payload::Answer(Box::new(answer.finish()));
            }
            IqPart::Answer(mut answer) => {
                answer.end();
                self.part = IqPart::Answer(answer);
            }
            IqPart::Command(command) if level == 1 => {
                self.iq.payload = Payload::Command(Box::new(command.finish()));
            }
            IqPart::Command(mut command) => {
                command.end(level - 1);
                self.part = IqPart::Command(command);
            }
            IqPart::Extension(request) if level == 1 => {
                self.iq.payload = Payload::Extension(Box::new(request.finish()));
            }
            IqPart::Extension(mut request) => {
                request.end(level);
                self.part = IqPart::Extension(request);
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
            IqPart::Items if level > 1 => self.part = IqPart::Items,
            IqPart::Utc if level > 2 => self.part = IqPart::Utc,
            IqPart::Utc | IqPart::Time if level > 1 => self.part = IqPart::Time,
            IqPart::Error if level > 1 => self.part = IqPart::Error,
            _ => {}
        }
    }
}
