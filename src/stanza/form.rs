//! The bytes of ad-hoc commands and their forms (XEP-0050, XEP-0004).

use std::borrow::Cow;

use super::write::{ErrorReply, Route, attribute, close_iq, escape, open_iq};

/// A data form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Whether it only shows something; otherwise it is to be filled in.
    pub is_result: bool,
    /// Its title.
    pub title: String,
    /// What to do with it.
    pub instructions: String,
    /// The fields, in the order in which they are shown.
    pub fields: Vec<Field>,
}

/// A field of a form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// Its name to programs.
    pub var: Cow<'static, str>,
    /// `fixed`, `text-single`, `text-multi`, `list-single`, `boolean` or `hidden`.
    pub kind: &'static str,
    /// Its name to people.
    pub label: String,
    /// More about it to people; empty where the name says it all.
    pub description: &'static str,
    /// Its values.
    pub values: Vec<String>,
    /// What may be chosen.
    pub options: Vec<&'static str>,
    /// Whether it must be filled in.
    pub required: bool,
}

/// How far a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A form is to be filled in, and then it is done.
    Form,
    /// There is more to see.
    More,
    /// It is done.
    Completed,
    /// It was given up.
    Canceled,
}

/// What a command says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How far it is.
    pub stage: Stage,
    /// What came of it, in words; whether that is an error.
    pub note: Option<(bool, String)>,
    /// What to fill in, or to see.
    pub form: Option<Form>,
}

/// A reply to a command.
pub fn command(out: &mut Vec<u8>, route: Route<'_>, node: &str, session: &str, reply: &Reply) {
    open_iq(out, "result", route);
    out.extend_from_slice(b"<command xmlns='http://jabber.org/protocol/commands' xml:lang='en'");
    attribute(out, "node", node);
    attribute(out, "sessionid", session);
    let (status, actions): (&str, &[u8]) = match reply.stage {
        Stage::Form => (
            "executing",
            b"<actions execute='complete'><complete/></actions>",
        ),
        Stage::More => (
            "executing",
            b"<actions execute='next'><next/><complete/></actions>",
        ),
        Stage::Completed => ("completed", b""),
        Stage::Canceled => ("canceled", b""),
    };
    attribute(out, "status", status);
    out.push(b'>');
    out.extend_from_slice(actions);
    if let Some(form) = &reply.form {
        write_form(out, form);
    }
    if let Some((is_error, text)) = &reply.note {
        out.extend_from_slice(b"<note");
        attribute(out, "type", if *is_error { "error" } else { "info" });
        out.push(b'>');
        escape(out, text);
        out.extend_from_slice(b"</note>");
    }
    out.extend_from_slice(b"</command>");
    close_iq(out);
}

fn element(out: &mut Vec<u8>, name: &str, text: &str) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
    escape(out, text);
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
}

fn write_form(out: &mut Vec<u8>, form: &Form) {
    out.extend_from_slice(b"<x xmlns='jabber:x:data'");
    attribute(out, "type", if form.is_result { "result" } else { "form" });
    out.push(b'>');
    element(out, "title", &form.title);
    if !form.instructions.is_empty() {
        element(out, "instructions", &form.instructions);
    }
    for field in &form.fields {
        out.extend_from_slice(b"<field");
        attribute(out, "var", &field.var);
        attribute(out, "type", field.kind);
        if !field.label.is_empty() {
            attribute(out, "label", &field.label);
        }
        out.push(b'>');
        if !field.description.is_empty() {
            element(out, "desc", field.description);
        }
        if field.required {
            out.extend_from_slice(b"<required/>");
        }
        field
            .values
            .iter()
            .for_each(|value| element(out, "value", value));
        for option in &field.options {
            out.extend_from_slice(b"<option");
            attribute(out, "label", option);
            out.push(b'>');
            element(out, "value", option);
            out.extend_from_slice(b"</option>");
        }
        out.extend_from_slice(b"</field>");
    }
    out.extend_from_slice(b"</x>");
}

/// The disco#items of the node that lists commands: each with its node and its name, at `jid` (XEP-0050 section 2.2).
pub fn command_items(out: &mut Vec<u8>, route: Route<'_>, node: &str, commands: &[(String, &str)]) {
    open_iq(out, "result", route);
    out.extend_from_slice(b"<query xmlns='http://jabber.org/protocol/disco#items'");
    attribute(out, "node", node);
    out.push(b'>');
    for (command, name) in commands {
        out.extend_from_slice(b"<item");
        attribute(out, "jid", route.from);
        attribute(out, "node", command);
        attribute(out, "name", name);
        out.extend_from_slice(b"/>");
    }
    out.extend_from_slice(b"</query>");
    close_iq(out);
}

/// The disco#info of a command, or of their list (XEP-0050 sections 2.3 and 2.2).
pub fn command_info(out: &mut Vec<u8>, route: Route<'_>, node: &str, kind: &str, name: &str) {
    open_iq(out, "result", route);
    out.extend_from_slice(b"<query xmlns='http://jabber.org/protocol/disco#info'");
    attribute(out, "node", node);
    out.extend_from_slice(b"><identity category='automation'");
    attribute(out, "type", kind);
    attribute(out, "name", name);
    out.extend_from_slice(
        b"/><feature var='http://jabber.org/protocol/commands'/><feature var='jabber:x:data'/></query>",
    );
    close_iq(out);
}

/// Why a command cannot be carried out: the application condition of XEP-0050 section 4.1, beside `bad-request`.
pub fn command_error(out: &mut Vec<u8>, route: Route<'_>, condition: &str) {
    let reply = ErrorReply::plain("modify", "bad-request");
    super::write::error_with(out, route, reply, "", |out| {
        out.push(b'<');
        out.extend_from_slice(condition.as_bytes());
        out.extend_from_slice(b" xmlns='http://jabber.org/protocol/commands'/>");
    });
}
