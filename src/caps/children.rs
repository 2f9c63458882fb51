//! The XML of a disco info, for replies: the children of `<query/>`.

use super::disco_info::{DiscoInfo, Field, Form, Identity};

impl DiscoInfo {
    /// Appends the children of a `<query/>`: identities, features, forms.
    ///
    /// The caller writes the wrapper, `<query xmlns='http://jabber.org/protocol/disco#info' xml:lang=''>`: the namespace is not
    /// repeated on every child, and the empty language keeps a server's stamp on the stanza from being inherited by
    /// identities that have no language. What receivers need and no hash covers is put back: `type='result'` on a form and
    /// `type='hidden'` on its FORM_TYPE field, which comes first (XEP-0068 section 3.1).
    ///
    /// Anything is escaped so that a conforming parser reads back exactly the same strings, line ends and tabs included;
    /// characters that XML cannot hold at all never pass verification.
    pub fn write_children(&self, out: &mut Vec<u8>) {
        for identity in &self.identities {
            write_identity(identity, out);
        }
        for feature in &self.features {
            out.extend_from_slice(b"<feature");
            write_attribute("var", feature, out);
            out.extend_from_slice(b"/>");
        }
        for form in &self.forms {
            write_form(form, out);
        }
    }
}

fn write_identity(identity: &Identity, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<identity");
    write_attribute("category", &identity.category, out);
    write_attribute("type", &identity.type_, out);
    if !identity.lang.is_empty() {
        write_attribute("xml:lang", &identity.lang, out);
    }
    if !identity.name.is_empty() {
        write_attribute("name", &identity.name, out);
    }
    out.extend_from_slice(b"/>");
}

fn write_form(form: &Form, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>",
    );
    write_value(&form.form_type, out);
    out.extend_from_slice(b"</field>");
    for field in &form.fields {
        write_field(field, out);
    }
    out.extend_from_slice(b"</x>");
}

fn write_field(field: &Field, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<field");
    write_attribute("var", &field.var, out);
    out.push(b'>');
    for value in &field.values {
        write_value(value, out);
    }
    out.extend_from_slice(b"</field>");
}

fn write_value(value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<value>");
    write_escaped(value, out);
    out.extend_from_slice(b"</value>");
}

fn write_attribute(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    write_escaped(value, out);
    out.push(b'\'');
}

/// Escapes for both text and attributes. Line ends and tabs become character references: a parser would otherwise turn
/// them into spaces (attributes) or one line feed (text), and the hash of what is served would no longer match.
fn write_escaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| reference(*byte).is_some()) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(reference(rest[at]).unwrap_or_default());
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// The reference that stands for a byte which cannot stand for itself.
fn reference(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'&' => Some(b"&amp;"),
        b'<' => Some(b"&lt;"),
        b'>' => Some(b"&gt;"),
        b'\'' => Some(b"&apos;"),
        b'"' => Some(b"&quot;"),
        b'\t' => Some(b"&#9;"),
        b'\n' => Some(b"&#10;"),
        b'\r' => Some(b"&#13;"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_written_and_escaped() {
        let info = DiscoInfo {
            identities: vec![
                Identity {
                    category: "client".into(),
                    type_: "pc".into(),
                    lang: "en".into(),
                    name: "A & 'B' \"C\"".into(),
                },
                Identity {
                    category: "client".into(),
                    type_: "web".into(),
                    ..Identity::default()
                },
            ],
            features: vec!["a\tb".into()],
            forms: vec![Form {
                form_type: "urn:x".into(),
                fields: vec![Field {
                    var: "v".into(),
                    values: vec!["1<2>\r\n".into(), String::new()],
                }],
            }],
        };
        let mut out = Vec::new();
        info.write_children(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "<identity category='client' type='pc' xml:lang='en' name='A &amp; &apos;B&apos; &quot;C&quot;'/>\
             <identity category='client' type='web'/>\
             <feature var='a&#9;b'/>\
             <x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:x</value></field>\
             <field var='v'><value>1&lt;2&gt;&#13;&#10;</value><value></value></field></x>"
        );
    }
}
