//! Reads an ad-hoc `<command/>` with the form that it submits (XEP-0050, XEP-0004).

use rxml::AttrMap;

use super::{attribute, owned};
use crate::stanza::ns;

/// The fields that are read, each once. A form is submitted with whatever was in it (XEP-0004 section 3.2): what was there to be seen comes
/// back, and is skipped.
pub const FIELDS: &[&str] = &["key", "reason", "query", "sure", "level", "from"];

/// How many bytes of values are read, over all of these fields: a pinned document is among them.
pub const MAX_VALUES_LEN: usize = 128 * 1024;

/// What the requester wants done with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Action {
    /// Begin, or do what is done by default.
    #[default]
    Execute,
    /// End it.
    Cancel,
    /// Go back.
    Prev,
    /// Go on.
    Next,
    /// Do it.
    Complete,
    /// No action of XEP-0050.
    Invalid,
}

/// An ad-hoc command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Which one.
    pub node: String,
    /// The session that it belongs to; none at the beginning.
    pub session: Option<String>,
    /// What is to be done.
    pub action: Action,
    /// Those [`FIELDS`] that the submitted form has, with their values; `None` where no form is submitted.
    pub fields: Option<Vec<(String, Vec<String>)>>,
    /// Whether there was more than is read; nothing should be done then.
    pub too_large: bool,
}

impl Command {
    /// The value of a field, its lines joined; `None` where it is missing or blank.
    pub fn value(&self, var: &str) -> Option<String> {
        let (_, values) = self.fields.as_ref()?.iter().find(|(name, _)| name == var)?;
        let joined = values.join("\n");
        (!joined.trim().is_empty()).then_some(joined)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Command,
    Form,
    Field,
    Value,
}

/// Reads a command, from its attributes on.
#[derive(Debug)]
pub(super) struct CommandBuilder {
    command: Command,
    place: Place,
    length: usize,
}

impl CommandBuilder {
    pub(super) fn new(attributes: &AttrMap) -> CommandBuilder {
        CommandBuilder {
            command: Command {
                node: owned(attributes, "node").unwrap_or_default(),
                session: owned(attributes, "sessionid"),
                action: match attribute(attributes, "action") {
                    None | Some("execute") => Action::Execute,
                    Some("cancel") => Action::Cancel,
                    Some("prev") => Action::Prev,
                    Some("next") => Action::Next,
                    Some("complete") => Action::Complete,
                    Some(_) => Action::Invalid,
                },
                ..Command::default()
            },
            place: Place::Command,
            length: 0,
        }
    }

    /// An element begins; `level` is its depth below the command.
    pub(super) fn start(
        &mut self,
        level: usize,
        namespace: &str,
        local: &str,
        attributes: &AttrMap,
    ) {
        if namespace != ns::DATA_FORMS {
            return;
        }
        match (self.place, level, local) {
            (Place::Command, 1, "x") if attribute(attributes, "type") == Some("submit") => {
                self.place = Place::Form;
                self.command.fields.get_or_insert_default();
            }
            (Place::Form, 2, "field") => {
                let fields = self.command.fields.get_or_insert_default();
                let var = attribute(attributes, "var").unwrap_or_default();
                if FIELDS.contains(&var) && fields.iter().all(|(name, _)| name != var) {
                    fields.push((var.to_owned(), Vec::new()));
                    self.place = Place::Field;
                }
            }
            (Place::Field, 3, "value") => {
                self.place = Place::Value;
                // Even an empty value counts, so that there cannot be endless ones.
                self.length += 1;
                match self.length > MAX_VALUES_LEN {
                    true => self.command.too_large = true,
                    false => self.last_values(|values| values.push(String::new())),
                }
            }
            _ => {}
        }
    }

    fn last_values(&mut self, change: impl FnOnce(&mut Vec<String>)) {
        let fields = self.command.fields.as_mut();
        if let Some((_, values)) = fields.and_then(|fields| fields.last_mut()) {
            change(values);
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        if self.place != Place::Value {
            return;
        }
        self.length += text.len();
        if self.length > MAX_VALUES_LEN {
            self.command.too_large = true;
            return;
        }
        self.last_values(|values| {
            if let Some(value) = values.last_mut() {
                value.push_str(text);
            }
        });
    }

    /// The element at that depth below the command ends.
    pub(super) fn end(&mut self, level: usize) {
        self.place = match (self.place, level) {
            (Place::Value, 3) => Place::Field,
            (Place::Field, 2) => Place::Form,
            (Place::Form, 1) => Place::Command,
            (place, _) => place,
        };
    }

    pub(super) fn finish(self) -> Command {
        self.command
    }
}
