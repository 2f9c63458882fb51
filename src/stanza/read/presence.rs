//! Reads a `<presence/>`.

use rxml::{AttrMap, QName};

use super::{
    Caps0115, MAX_EXT, MAX_HASHES_0390, Presence, PresenceKind, append, attribute, header, owned,
};
use crate::stanza::ns;

#[derive(Debug, PartialEq, Eq)]
enum PresencePart {
    Nothing,
    Caps0390,
    Hash,
}

#[derive(Debug)]
pub(super) struct PresenceBuilder {
    pub(super) presence: Box<Presence>,
    part: PresencePart,
}

impl PresenceBuilder {
    pub(super) fn new(attributes: AttrMap) -> PresenceBuilder {
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

    /// Reads what somebody is reported to announce, as a presence from that address.
    pub(super) fn of_holder(from: String) -> PresenceBuilder {
        let mut builder = PresenceBuilder::new(AttrMap::new());
        builder.presence.from = Some(from);
        builder
    }

    pub(super) fn start(&mut self, level: usize, name: &QName, attributes: &AttrMap) {
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

    pub(super) fn text(&mut self, level: usize, text: &str) {
        if self.part == PresencePart::Hash
            && level == 2
            && let Some((_, digest)) = self.presence.caps_0390.last_mut()
        {
            append(digest, text.trim_ascii());
        }
    }

    pub(super) fn end(&mut self, level: usize) {
        match level {
            2 if self.part == PresencePart::Hash => self.part = PresencePart::Caps0390,
            1 => self.part = PresencePart::Nothing,
            _ => {}
        }
    }
}
