//! Reading a disco#info `<query/>` from XML events, on the live stream and from files.
//!
//! No element tree is built and nothing recurses: depth is a counter, and everything that no caps rule asks about is passed
//! over. What the rules of either family may ask about is kept as it was sent (see [`Answer`]); nothing is judged here.

mod document;

use crate::caps::{Answer, AnswerField, AnswerForm, Identity};

pub use document::{MAX_DEPTH, QueryError, parse_query, parse_query_unwrapped};

/// The namespace of disco#info (XEP-0030).
const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";

/// The namespace of data forms (XEP-0004).
const DATA_FORMS: &str = "jabber:x:data";

/// The bounds within which an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// The largest `<query/>`, in bytes. They are counted from the events: names, attributes and text without references
    /// and namespace declarations, so a little less than was sent.
    pub max_bytes: usize,
    /// The most features, repetitions included.
    pub max_features: usize,
}

impl Default for AnswerLimits {
    /// Those of [`Policy::default`](crate::caps::Policy).
    fn default() -> AnswerLimits {
        let policy = crate::caps::Policy::default();
        AnswerLimits {
            max_bytes: policy.max_bytes,
            max_features: policy.max_features,
        }
    }
}

/// Where in the `<query/>` the next event belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Directly in the `<query/>`.
    Query,
    /// In a form.
    Form,
    /// In a field of a form.
    Field,
    /// In a value of a field.
    Value,
}

/// Builds an [`Answer`] from the XML events strictly inside a `<query/>`.
///
/// Memory is bounded by the limits: once one is passed, the answer is marked [`too_large`](Answer::too_large), what was
/// collected is freed, and all that follows is discarded.
#[derive(Debug)]
pub struct AnswerBuilder {
    limits: AnswerLimits,
    answer: Answer,
    place: Place,
    /// How many elements are open below `place` that nothing is taken from.
    passed_over: usize,
}

impl AnswerBuilder {
    /// A builder for a `<query/>` with those attributes, within an iq and stream whose language is `inherited_lang` (empty
    /// where there is none).
    pub fn new(
        limits: AnswerLimits,
        inherited_lang: &str,
        query_attrs: &rxml::AttrMap,
    ) -> AnswerBuilder {
        let lang = attribute(query_attrs, rxml::XMLNS_XML, "lang").unwrap_or(inherited_lang);
        let mut builder = AnswerBuilder {
            limits,
            answer: Answer {
                inherited_lang: lang.to_owned(),
                node: attribute(query_attrs, "", "node").map(str::to_owned),
                ..Answer::default()
            },
            place: Place::Query,
            passed_over: 0,
        };
        builder.count(element_size("query", query_attrs));
        builder
    }

    /// An element begins.
    pub fn start(&mut self, name: &rxml::QName, attrs: &rxml::AttrMap) {
        let (namespace, local) = (name.0.as_str(), name.1.as_str());
        self.count(element_size(local, attrs));
        if self.answer.too_large {
            return;
        }
        if self.passed_over > 0 {
            self.passed_over += 1;
            return;
        }
        match (self.place, namespace, local) {
            (Place::Query, DATA_FORMS, "x") => {
                self.answer.forms.push(AnswerForm::default());
                self.place = Place::Form;
                return;
            }
            (Place::Form, DATA_FORMS, "field") => {
                self.begin_field(attrs);
                self.place = Place::Field;
                return;
            }
            (Place::Field, DATA_FORMS, "value") => {
                self.begin_value();
                self.place = Place::Value;
                return;
            }
            (Place::Query, DISCO_INFO, "identity") => self.add_identity(attrs),
            (Place::Query, DISCO_INFO, "feature") => self.add_feature(attrs),
            (Place::Query, _, _) => self.answer.foreign = true,
            (Place::Form, DATA_FORMS, "reported" | "item") => self.mark_tabular(),
            _ => {}
        }
        self.passed_over = 1;
    }

    /// Text, possibly a part of it.
    pub fn text(&mut self, text: &str) {
        self.count(text.len());
        if self.answer.too_large || self.passed_over > 0 || self.place != Place::Value {
            return;
        }
        let field = self.last_form().and_then(|form| form.fields.last_mut());
        if let Some(value) = field.and_then(|field| field.values.last_mut()) {
            value.push_str(text);
        }
    }

    /// The element that began last and is still open ends.
    pub fn end(&mut self) {
        if self.passed_over > 0 {
            self.passed_over -= 1;
            return;
        }
        self.place = match self.place {
            Place::Value => Place::Field,
            Place::Field => Place::Form,
            Place::Form | Place::Query => Place::Query,
        };
    }

    /// The answer, once the `<query/>` has ended.
    pub fn finish(self) -> Answer {
        self.answer
    }

    fn add_identity(&mut self, attrs: &rxml::AttrMap) {
        let get = |name| attribute(attrs, "", name).unwrap_or("").to_owned();
        let lang = attribute(attrs, rxml::XMLNS_XML, "lang");
        let identity = Identity {
            category: get("category"),
            type_: get("type"),
            lang: lang.unwrap_or("").to_owned(),
            name: get("name"),
        };
        if identity.category.is_empty() || identity.type_.is_empty() {
            self.answer.incomplete += 1;
        }
        self.answer.identities.push(identity);
        self.answer.own_lang.push(lang.is_some());
    }

    fn add_feature(&mut self, attrs: &rxml::AttrMap) {
        let var = attribute(attrs, "", "var");
        if var.is_none() {
            self.answer.incomplete += 1;
        }
        self.answer.features.push(var.unwrap_or("").to_owned());
        if self.answer.features.len() > self.limits.max_features {
            self.give_up();
        }
    }

    fn last_form(&mut self) -> Option<&mut AnswerForm> {
        self.answer.forms.last_mut()
    }

    fn begin_field(&mut self, attrs: &rxml::AttrMap) {
        let field = AnswerField {
            var: attribute(attrs, "", "var").map(str::to_owned),
            type_: attribute(attrs, "", "type").map(str::to_owned),
            values: Vec::new(),
        };
        if let Some(form) = self.last_form() {
            form.fields.push(field);
        }
    }

    fn begin_value(&mut self) {
        if let Some(field) = self.last_form().and_then(|form| form.fields.last_mut()) {
            field.values.push(String::new());
        }
    }

    fn mark_tabular(&mut self) {
        if let Some(form) = self.last_form() {
            form.tabular = true;
        }
    }

    fn count(&mut self, bytes: usize) {
        self.answer.size = self.answer.size.saturating_add(bytes);
        if self.answer.size > self.limits.max_bytes && !self.answer.too_large {
            self.give_up();
        }
    }

    /// Frees what was collected; only the size is counted on.
    fn give_up(&mut self) {
        self.answer = Answer {
            too_large: true,
            size: self.answer.size,
            ..Answer::default()
        };
    }
}

fn attribute<'a>(attrs: &'a rxml::AttrMap, namespace: &str, name: &str) -> Option<&'a str> {
    attrs.get(namespace, name).map(String::as_str)
}

/// What an element adds to the size: `<name a='v'></name>`.
fn element_size(name: &str, attrs: &rxml::AttrMap) -> usize {
    let attributes = attrs
        .iter()
        .map(|((_, name), value)| name.as_str().len() + value.len() + 4);
    2 * name.len() + 5 + attributes.sum::<usize>()
}

#[cfg(test)]
mod tests;
