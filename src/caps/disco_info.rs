//! Disco info: what a hash covers, and what somebody sent as an answer.

/// One `<identity/>` of a disco#info answer (XEP-0030 section 3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The `category` attribute.
    pub category: String,
    /// The `type` attribute.
    pub type_: String,
    /// The `xml:lang` on the identity itself; empty where there is none.
    pub lang: String,
    /// The `name` attribute; empty where there is none.
    pub name: String,
}

/// One field of a form, FORM_TYPE excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Field {
    /// The `var` attribute.
    pub var: String,
    /// The values, in order of octets.
    pub values: Vec<String>,
}

/// One extension form (XEP-0128) with its FORM_TYPE (XEP-0068).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Form {
    /// The value of the hidden FORM_TYPE field.
    pub form_type: String,
    /// The other fields, in order of `var`, then values.
    pub fields: Vec<Field>,
}

/// Identities, features and forms: exactly what a caps hash covers, in canonical order and nothing else.
///
/// Equal contents compare equal, whatever order they were sent in. Labels, field types, options, titles, forms without a
/// FORM_TYPE and foreign elements have no place here: they are not covered by the hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DiscoInfo {
    /// In order of (category, type, lang, name).
    pub identities: Vec<Identity>,
    /// In order of octets; repeated where 0390 covers a repetition.
    pub features: Vec<String>,
    /// In order of FORM_TYPE, then fields.
    pub forms: Vec<Form>,
}

impl DiscoInfo {
    /// Puts everything into canonical order; costs one comparison per element where it already is.
    pub fn sort(&mut self) {
        self.identities.sort();
        self.features.sort();
        for form in &mut self.forms {
            for field in &mut form.fields {
                field.values.sort();
            }
            form.fields.sort();
        }
        self.forms.sort();
    }

    /// Every string of the content, in no particular order that matters to a caller.
    pub(crate) fn strings(&self) -> impl Iterator<Item = &str> {
        let identities = self
            .identities
            .iter()
            .flat_map(|i| [&i.category, &i.type_, &i.lang, &i.name]);
        let forms = self.forms.iter().flat_map(|form| {
            let fields = form
                .fields
                .iter()
                .flat_map(|field| std::iter::once(&field.var).chain(&field.values));
            std::iter::once(&form.form_type).chain(fields)
        });
        identities
            .chain(&self.features)
            .chain(forms)
            .map(String::as_str)
    }
}

/// A field of a form as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerField {
    /// The `var` attribute, where there is one.
    pub var: Option<String>,
    /// The `type` attribute, where there is one.
    pub type_: Option<String>,
    /// The values in the order sent.
    pub values: Vec<String>,
}

/// A form as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerForm {
    /// The fields in the order sent, FORM_TYPE among them.
    pub fields: Vec<AnswerField>,
    /// Whether it holds `<reported/>` or `<item/>`, which 0390 forbids (XEP-0390 section 4.1).
    pub tabular: bool,
}

/// A disco#info answer as it was sent: nothing is believed, sorted or dropped yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The language that identities without one inherit (from query, iq or stream); empty where there is none.
    pub inherited_lang: String,
    /// The identities in the order sent; `lang` is the attribute on the identity itself.
    pub identities: Vec<Identity>,
    /// Which identities carry an `xml:lang` of their own, even an empty one, and so inherit nothing; as long as `identities`.
    pub own_lang: Vec<bool>,
    /// The features in the order sent, repetitions included.
    pub features: Vec<String>,
    /// The forms in the order sent.
    pub forms: Vec<AnswerForm>,
    /// Whether there was a child that is none of these (XEP-0390 section 4.1 forbids it).
    pub foreign: bool,
    /// The size of the `<query/>` as sent, in bytes, as far as it was counted.
    pub size: usize,
    /// How many elements within it had a required attribute missing (identity without category or type, feature without var).
    pub incomplete: usize,
    /// The `node` attribute of the `<query/>`, where there is one. No hash covers it; some clients leave it out of their
    /// replies, so nothing is decided by it.
    pub node: Option<String>,
    /// Whether a limit was hit while reading: what came after it was discarded, so this is not the whole answer.
    pub too_large: bool,
}
