//! Reads a `<message/>` that grants permissions, and a `<stream:error/>`.

use rxml::{AttrMap, QName};

use super::{Message, Permission, StreamFault, append, header, owned};
use crate::stanza::ns;

/// How many permissions, and namespaces of one permission, are read.
const MAX_PERMISSIONS: usize = 64;

#[derive(Debug)]
pub(super) struct MessageBuilder {
    pub(super) message: Box<Message>,
    within: bool,
}

impl MessageBuilder {
    pub(super) fn new(attributes: AttrMap) -> MessageBuilder {
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

    pub(super) fn start(&mut self, level: usize, name: &QName, attributes: &AttrMap) {
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

    pub(super) fn end(&mut self, level: usize) {
        if level == 1 {
            self.within = false;
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct StreamErrorBuilder {
    pub(super) fault: StreamFault,
    pub(super) in_text: bool,
}

impl StreamErrorBuilder {
    pub(super) fn start(&mut self, level: usize, name: &QName) {
        if level != 1 || name.0.as_str() != ns::STREAM_ERRORS {
            return;
        }
        if name.1.as_str() == "text" {
            self.in_text = true;
        } else if self.fault.condition.is_empty() {
            append(&mut self.fault.condition, name.1.as_str());
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        if self.in_text {
            append(&mut self.fault.text, text);
        }
    }
}
