//! XEP-0115: what of an answer its hash covers, the verification string, and the repetitions that make it ill-formed.

use super::disco_info::{Answer, AnswerForm, DiscoInfo, Field, Form, Identity};
use super::ill_formed::IllFormed;

/// The `var` of the field that names a form (XEP-0068).
pub(super) const FORM_TYPE: &str = "FORM_TYPE";

/// The order of identities in a verification string.
///
/// Section 5.1 sorts by category, then type, then language. Many implementations sort the joined strings instead, which
/// differs where one part begins with another (`en` and `en-US`: `-` sorts before `/`). The content is the same, so both count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityOrder {
    /// By (category, type, language, name), as the XEP says.
    Tuple,
    /// By `category/type/language/name` as one string.
    Joined,
}

/// The canonical content that a 0115 hash of the answer covers, and what is wrong with the answer that cannot be seen in it.
///
/// Forms without FORM_TYPE, or whose FORM_TYPE is not hidden, foreign children and inherited languages are not covered and
/// are dropped. What is ill-formed is kept as it was sent, so that its hash can be told from a wrong one.
pub fn canonical(answer: &Answer) -> (DiscoInfo, Option<IllFormed>) {
    let mut fault = (answer.incomplete > 0).then_some(IllFormed::MissingAttribute);
    let mut forms = Vec::with_capacity(answer.forms.len());
    for form in &answer.forms {
        match form_type(form) {
            FormType::Absent => {}
            FormType::Covered(value) => forms.push(canonical_form(form, value)),
            FormType::Conflicting(first) => {
                fault = fault.or(Some(IllFormed::FormTypeValues));
                forms.push(canonical_form(form, first));
            }
        }
    }
    let mut info = DiscoInfo {
        identities: answer.identities.clone(),
        features: answer.features.clone(),
        forms,
    };
    info.sort();
    (info, fault)
}

/// What the FORM_TYPE of a form says about it (section 5.4, steps 3.5 and 3.6).
enum FormType<'a> {
    /// No FORM_TYPE, none with a value, or not a hidden one: the form is ignored.
    Absent,
    /// A form that the hash covers.
    Covered(&'a str),
    /// Values that differ: the whole answer is ill-formed. The first is given.
    Conflicting(&'a str),
}

fn form_type(form: &AnswerForm) -> FormType<'_> {
    let fields = || {
        form.fields
            .iter()
            .filter(|field| field.var.as_deref() == Some(FORM_TYPE))
    };
    let mut values = fields().flat_map(|field| &field.values);
    let Some(first) = values.next() else {
        return FormType::Absent;
    };
    if values.any(|value| value != first) {
        return FormType::Conflicting(first);
    }
    match fields().all(|field| field.type_.as_deref() == Some("hidden")) {
        true => FormType::Covered(first),
        false => FormType::Absent,
    }
}

/// The form under its FORM_TYPE. A field without `var`, which XEP-0004 allows for fixed text, is hashed as an empty one.
fn canonical_form(form: &AnswerForm, form_type: &str) -> Form {
    let fields = form
        .fields
        .iter()
        .filter(|field| field.var.as_deref() != Some(FORM_TYPE))
        .map(|field| Field {
            var: field.var.clone().unwrap_or_default(),
            values: field.values.clone(),
        });
    Form {
        form_type: form_type.to_owned(),
        fields: fields.collect(),
    }
}

/// The verification string S of section 5.1, for content in canonical order; repetitions are hashed as they are.
pub fn verification_string(info: &DiscoInfo, order: IdentityOrder) -> Vec<u8> {
    let mut out = Vec::with_capacity(info.strings().map(|s| s.len() + 1).sum());
    match order {
        IdentityOrder::Tuple => info
            .identities
            .iter()
            .for_each(|i| put_identity(i, &mut out)),
        IdentityOrder::Joined => joined(info).iter().for_each(|i| put_identity(i, &mut out)),
    }
    for feature in &info.features {
        put(feature, &mut out);
    }
    for form in &info.forms {
        put(&form.form_type, &mut out);
        for field in &form.fields {
            put(&field.var, &mut out);
            for value in &field.values {
                put(value, &mut out);
            }
        }
    }
    out
}

/// Whether the two orders of identities give two strings.
pub fn orders_differ(info: &DiscoInfo) -> bool {
    !info
        .identities
        .is_sorted_by(|a, b| joined_bytes(a).le(joined_bytes(b)))
}

/// The identities in the order of their joined strings.
fn joined(info: &DiscoInfo) -> Vec<&Identity> {
    let mut identities: Vec<&Identity> = info.identities.iter().collect();
    identities.sort_by(|a, b| joined_bytes(a).cmp(joined_bytes(b)));
    identities
}

/// The bytes of `category/type/lang/name`.
fn joined_bytes(identity: &Identity) -> impl Iterator<Item = u8> + '_ {
    let [category, type_, lang, name] = [
        &identity.category,
        &identity.type_,
        &identity.lang,
        &identity.name,
    ]
    .map(|part| part.bytes());
    let slash = || std::iter::once(b'/');
    category
        .chain(slash())
        .chain(type_)
        .chain(slash())
        .chain(lang)
        .chain(slash())
        .chain(name)
}

fn put(token: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(token.as_bytes());
    out.push(b'<');
}

fn put_identity(identity: &Identity, out: &mut Vec<u8>) {
    for part in [&identity.category, &identity.type_, &identity.lang] {
        out.extend_from_slice(part.as_bytes());
        out.push(b'/');
    }
    put(&identity.name, out);
}

/// The repetitions of section 5.4 (steps 3.2 to 3.4): identities, features or forms that are there twice.
///
/// Several identities that differ in name alone pass: XEP-0030 frowns on them, section 5.4 does not list them, and their
/// string has one reading.
///
/// # Errors
/// [`IllFormed::RepeatedIdentity`], [`IllFormed::RepeatedFeature`] or [`IllFormed::RepeatedForm`].
pub fn check_repetitions(info: &DiscoInfo) -> Result<(), IllFormed> {
    if let Some(identity) = repeated(&info.identities, |a, b| a == b) {
        let name = joined_bytes(identity).collect::<Vec<_>>();
        let name = String::from_utf8_lossy(&name).into_owned();
        return Err(IllFormed::RepeatedIdentity(name));
    }
    if let Some(feature) = repeated(&info.features, |a, b| a == b) {
        return Err(IllFormed::RepeatedFeature(feature.clone()));
    }
    if let Some(form) = repeated(&info.forms, |a, b| a.form_type == b.form_type) {
        return Err(IllFormed::RepeatedForm(form.form_type.clone()));
    }
    Ok(())
}

/// The first element that equals its predecessor.
fn repeated<T>(sorted: &[T], equal: fn(&T, &T) -> bool) -> Option<&T> {
    sorted.windows(2).find_map(|pair| match pair {
        [a, b] if equal(a, b) => Some(b),
        _ => None,
    })
}
