//! XEP-0390: the hash input, and the rules of section 4.1 by which an answer has none.
//!
//! Every part is framed by separators that XML text cannot hold (0x1c to 0x1f), so an input has exactly one reading and no
//! ambiguity rule is needed. There is no rule against repetitions either: they are covered, and kept.

use super::disco_info::{Answer, AnswerForm, DiscoInfo, Field, Form, Identity};
use super::ill_formed::IllFormed;
use super::xep0115::FORM_TYPE;

/// Where identities without a language of their own take it from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inheritance {
    /// They have none.
    Ignored,
    /// From the query, iq or stream, as XML says.
    Applied,
}

/// Whether inheritance makes a difference to the answer.
pub fn inherits(answer: &Answer) -> bool {
    let unlabelled = |at| !has_own_lang(answer, at);
    !answer.inherited_lang.is_empty() && (0..answer.identities.len()).any(unlabelled)
}

fn has_own_lang(answer: &Answer, at: usize) -> bool {
    answer.own_lang.get(at).copied().unwrap_or(false)
}

/// The language of the identity at that place.
fn lang_of(answer: &Answer, at: usize, inheritance: Inheritance) -> &str {
    match inheritance {
        Inheritance::Applied if !has_own_lang(answer, at) => &answer.inherited_lang,
        _ => answer.identities.get(at).map_or("", |i| &i.lang),
    }
}

/// The canonical content of an answer, the language that was settled on stored with each identity.
///
/// # Errors
/// [`IllFormed`] for what section 4.1 calls an error.
pub fn canonical(answer: &Answer, inheritance: Inheritance) -> Result<DiscoInfo, IllFormed> {
    if answer.incomplete > 0 {
        return Err(IllFormed::MissingAttribute);
    }
    if answer.foreign {
        return Err(IllFormed::ForeignChild);
    }
    let identities = answer
        .identities
        .iter()
        .enumerate()
        .map(|(at, identity)| Identity {
            lang: lang_of(answer, at, inheritance).to_owned(),
            ..identity.clone()
        });
    let forms: Result<Vec<Form>, IllFormed> = answer.forms.iter().map(canonical_form).collect();
    let mut info = DiscoInfo {
        identities: identities.collect(),
        features: answer.features.clone(),
        forms: forms?,
    };
    info.sort();
    Ok(info)
}

fn canonical_form(form: &AnswerForm) -> Result<Form, IllFormed> {
    if form.tabular {
        return Err(IllFormed::Tabular);
    }
    let mut form_type = None;
    let mut fields = Vec::with_capacity(form.fields.len());
    for field in &form.fields {
        let var = field.var.as_deref().ok_or(IllFormed::FieldWithoutVar)?;
        if var != FORM_TYPE {
            fields.push(Field {
                var: var.to_owned(),
                values: field.values.clone(),
            });
        } else if field.type_.as_deref() != Some("hidden") {
            return Err(IllFormed::FormTypeNotHidden);
        } else {
            match (&form_type, field.values.as_slice()) {
                (None, [value]) => form_type = Some(value.clone()),
                _ => return Err(IllFormed::FormTypeValues),
            }
        }
    }
    Ok(Form {
        form_type: form_type.ok_or(IllFormed::NoFormType)?,
        fields,
    })
}

/// The hash input of canonical content (section 4.1).
pub fn hash_input(info: &DiscoInfo) -> Vec<u8> {
    let forms = info.forms.iter().map(|form| {
        let form_type = (FORM_TYPE, std::slice::from_ref(&form.form_type));
        let fields = form
            .fields
            .iter()
            .map(|f| (f.var.as_str(), f.values.as_slice()));
        std::iter::once(form_type).chain(fields)
    });
    let identities = info
        .identities
        .iter()
        .map(|i| [&i.category, &i.type_, &i.lang, &i.name].map(String::as_str));
    encode(&info.features, identities, forms)
}

/// The hash input of an answer as it was sent, for an ill-formed one: whether its hash matches tells a sloppy holder from a
/// lying one.
pub fn hash_input_as_sent(answer: &Answer, inheritance: Inheritance) -> Vec<u8> {
    let forms = answer.forms.iter().map(|form| {
        form.fields
            .iter()
            .map(|f| (f.var.as_deref().unwrap_or(""), f.values.as_slice()))
    });
    let identities = answer.identities.iter().enumerate().map(|(at, i)| {
        let lang = lang_of(answer, at, inheritance);
        [i.category.as_str(), &i.type_, lang, &i.name]
    });
    encode(&answer.features, identities, forms)
}

/// Features, identities, forms: each part encoded, the encoded parts of a list sorted, lists ended by a separator.
fn encode<'a, Fields>(
    features: &[String],
    identities: impl Iterator<Item = [&'a str; 4]>,
    forms: impl Iterator<Item = Fields>,
) -> Vec<u8>
where
    Fields: Iterator<Item = (&'a str, &'a [String])>,
{
    let mut out = Vec::with_capacity(2048);
    put_sorted(&mut out, features, |feature, out| put(feature, out));
    out.push(0x1c);
    put_sorted(&mut out, identities, |parts, out| {
        parts.into_iter().for_each(|part| put(part, out));
        out.push(0x1e);
    });
    out.push(0x1c);
    put_sorted(&mut out, forms, |fields, out| {
        put_sorted(out, fields, |(var, values), out| {
            put(var, out);
            put_sorted(out, values, |value, out| put(value, out));
            out.push(0x1e);
        });
        out.push(0x1d);
    });
    out.push(0x1c);
    out
}

fn put(part: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(part.as_bytes());
    out.push(0x1f);
}

/// Appends each item as `encode` writes it, the results in order of octets.
///
/// It is the encoded strings that are sorted, separators included; where a string holds a tab or a line end (which sort
/// before the separators) that is another order than that of the strings. Sorted input, the usual case, is not moved.
fn put_sorted<I: IntoIterator>(
    out: &mut Vec<u8>,
    items: I,
    mut encode: impl FnMut(I::Item, &mut Vec<u8>),
) {
    let start = out.len();
    let mut ranges = Vec::new();
    for item in items {
        let from = out.len();
        encode(item, out);
        ranges.push(from - start..out.len() - start);
    }
    let encoded = &out[start..];
    if ranges.is_sorted_by(|a, b| encoded[a.clone()] <= encoded[b.clone()]) {
        return;
    }
    let encoded = out.split_off(start);
    ranges.sort_by(|a, b| encoded[a.clone()].cmp(&encoded[b.clone()]));
    for range in ranges {
        out.extend_from_slice(&encoded[range]);
    }
}
