//! The rule that a 0115 verification string must have exactly one reading.
//!
//! The string S of XEP-0115 joins identities, features and forms with `<` and keeps no structure: the token after a feature
//! may be another feature or the FORM_TYPE of a form, the token after a value another value, the `var` of a field or the next
//! FORM_TYPE. Whoever finds a second reading of somebody's S has other content with the same hash, without breaking the hash
//! function. So a match proves an S, not a content, and content is served to others only if nothing else can have been meant.
//!
//! # The grammar
//!
//! S is split into tokens at `<`. A **reading** of S is identities, then features, then forms, such that
//!
//! - no token holds `<`; there is at least one identity; category and type are not empty; category, type and language hold
//!   no `/` (a name may);
//! - there is at least one feature; features increase strictly by octets, none is empty, none has the **shape of an
//!   identity** (at least three `/`, and the first two parts not empty), and none is a FORM_TYPE of the [table](tables);
//! - forms increase strictly by FORM_TYPE; each has at least one field; its fields increase strictly by `var`, which is not
//!   empty; each has at least one value; the values are sorted.
//!
//! A form whose FORM_TYPE is in the table is **read by the table** if all its vars come from the table, no value is one of
//! those vars, a field that has one value by the table has one here, and values are URIs where the table says so. A reading
//! is **plain** if it has no forms but such ones, and **free** otherwise. A free reading counts only if each of its forms
//! with a FORM_TYPE of the table is read by the table, or has a `var` that is not in it and tokens that the table cannot
//! read at all. The **parses** of S are its plain readings; where it has none, its free readings that count.
//!
//! S is **nearly plain** if it can be read as a row of sorted strings and then forms with FORM_TYPEs and vars of the table alone,
//! no value being one of those vars: as what a client says that has features and registered forms only, even if it repeats
//! some, names the forms among its features, or leaves forms or fields empty.
//!
//! # The claim
//!
//! [`check`] accepts content only if
//!
//! 1. the S of that content has exactly one parse, and that is the content itself;
//! 2. where the content is free, S is not nearly plain;
//! 3. where the content has a form of the table with a `var` from outside it, S has exactly one reading at all, counting or
//!    not, and the values of that form are neither vars of the table nor against its rules.
//!
//! Three things follow.
//!
//! **One meaning.** No two different contents with the same S are both accepted.
//!
//! **Nobody is first.** The verdict depends on the content alone, not on what was seen before. Whoever shows another reading of
//! somebody's S gains nothing by showing it early, and an honest content that is accepted cannot be kept out.
//!
//! **Nobody speaks for ordinary content.** Call content *ordinary* if no string holds `<`, its identities are as the grammar wants
//! them, no feature has their shape, its forms have different FORM_TYPEs of the table and only vars of the table (and at least one,
//! but if there is one form only), and these names stand nowhere else in it (but a FORM_TYPE may be among the features, unless the next feature is one of its vars). No other
//! content is accepted under the S of ordinary content, *even where that is refused itself*, because it has no feature or one
//! twice, a field without a value, or too many values. Every answer of a client that the tests know is ordinary, but those
//! without an identity.
//!
//! # Why it holds
//!
//! *Identities.* An identity token of a reading has the shape of an identity, and splits in only one way: neither category
//! nor type nor language holds `/`, so the first three `/` are the separators. A feature never has that shape. So the
//! identities are the longest run of such tokens at the front, in every reading, and the first feature ends it. Identities
//! are sorted one way or the other (see [`IdentityOrder`](super::xep0115::IdentityOrder)), but the set is the same. In the order
//! of the XEP and in the other the tokens are the same, too, so that two contents whose strings agree in different orders
//! have the same identities and, after them, the same tokens.
//!
//! *Plain readings.* A FORM_TYPE of the table is never a feature, so the features end just before the first such token.
//! Within a form, a token that is a var of the table is a var and no other token is; only where a form ends is open, and
//! only at tokens that are a FORM_TYPE of the table again. All these places are tried, and the readings counted.
//!
//! *Free readings.* Every place where the features may end is tried. From each, all readings of the rest are enumerated,
//! until a second one that counts is found. One backward pass finds the positions from which the rest can be read as a field
//! or as a form; enumeration enters no other, so it never runs into a dead end. The content's own reading counts, so it is
//! the one that was found.
//!
//! *One meaning.* Two accepted contents with one S would both be parses of it, or one would be plain and the other free, and
//! then the free one is no parse; either way one of them was not accepted.
//!
//! *Ordinary content.* Its S is nearly plain (or has no feature: then the first token after the identities is a FORM_TYPE of the
//! table, or there is none, and S has no reading), so by (2) nothing free is accepted under it. If its only form is empty, S ends
//! with a FORM_TYPE of the table and holds no other but among the features, and has no plain reading. Let something plain be accepted. Its
//! identities are the same, by the argument above. Its features end before the first FORM_TYPE of the table, and a var of that table
//! follows; so do those of the ordinary content, where a FORM_TYPE among the features is not followed by such a var. Where
//! the ordinary content has its next form, the plain one cannot have a value: the next token is a var of the next table, which
//! sorts before its FORM_TYPE (softwareinfo) or is no URI (the others, in serverinfo). So the forms begin at the same tokens, and
//! within each the vars are the same. It is the same content.
//!
//! Work is bounded: past [`MAX_STEPS`] the answer is ambiguous. Without forms there is nothing to enumerate, and with forms
//! of the table the work is a scan of them.
//!
//! # What it does not claim
//!
//! That nobody ever meant another reading. Plain readings go before free ones, and must: any four features in a row could
//! also be one feature and a form with an unknown FORM_TYPE, so that a rule without priority would refuse every client. Who
//! gives a form of his own invention strings that, together with his features, read as one sorted row, is refused, and the row may be
//! accepted under that hash: the same identities, all of his features, and the strings of his form as features, none of them
//! chosen by the one who shows it. Likewise an identity with a `/` in its type or language is refused, and what is accepted
//! in its place has the parts that the first three slashes make.

mod readings;
pub mod tables;

use std::fmt;

use super::disco_info::{DiscoInfo, Form, Identity};
use readings::Reader;

/// The work after which an answer is called ambiguous, in token comparisons. The largest answers known need under a tenth;
/// this many take a few milliseconds.
pub const MAX_STEPS: usize = 100_000;

/// One rule of the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clause {
    /// No token holds `<`.
    NoSeparatorInToken,
    /// Category and type are not empty, and neither they nor the language hold `/`.
    IdentityParts,
    /// There is an identity, and no feature has the shape of one.
    FeatureNotIdentity,
    /// At least one feature, and none is empty.
    SomeFeature,
    /// Features increase strictly.
    FeaturesIncrease,
    /// No feature is a FORM_TYPE of the table.
    FeatureNotFormType,
    /// Forms increase strictly by FORM_TYPE.
    FormsIncrease,
    /// Every form has at least one field.
    SomeField,
    /// Fields increase strictly by `var`.
    FieldsIncrease,
    /// No `var` is empty.
    VarNotEmpty,
    /// Every field has at least one value.
    SomeValue,
    /// In a form of the table, no value is one of its vars.
    TableValueNotVar,
    /// In a form of the table, a field that has one value by the table has one.
    TableCardinality,
    /// In a form of the table, values are URIs where the table says so.
    TableUri,
    /// There is exactly one parse, and the string of free content is not nearly plain.
    OneParse,
}

impl Clause {
    /// Every clause, in the order of the checks.
    pub const ALL: [Clause; 15] = [
        Clause::NoSeparatorInToken,
        Clause::IdentityParts,
        Clause::FeatureNotIdentity,
        Clause::SomeFeature,
        Clause::FeaturesIncrease,
        Clause::FeatureNotFormType,
        Clause::FormsIncrease,
        Clause::SomeField,
        Clause::FieldsIncrease,
        Clause::VarNotEmpty,
        Clause::SomeValue,
        Clause::TableValueNotVar,
        Clause::TableCardinality,
        Clause::TableUri,
        Clause::OneParse,
    ];
}

/// A set of clauses to check; [`Clauses::ALL`] but in tests of what each is good for.
///
/// A clause that is off lets content pass that breaks it, and strings of such content are no longer nearly plain. What a parse is
/// stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clauses(u32);

impl Clauses {
    /// No clause.
    const NONE: Clauses = Clauses(0);

    /// Every clause.
    pub const ALL: Clauses = Clauses(u32::MAX);

    /// The set without that clause.
    #[must_use]
    pub fn without(self, clause: Clause) -> Clauses {
        Clauses(self.0 & !(1 << clause as u32))
    }

    /// Whether the clause is in the set.
    pub fn contains(self, clause: Clause) -> bool {
        self.0 & (1 << clause as u32) != 0
    }

    /// Fails where the clause is in the set and `broken` holds.
    fn refuse(
        self,
        clause: Clause,
        broken: bool,
        detail: impl FnOnce() -> String,
    ) -> Result<(), Violation> {
        match broken && self.contains(clause) {
            true => Err(Violation {
                clause,
                detail: detail(),
            }),
            false => Ok(()),
        }
    }
}

/// The clause that content breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub clause: Clause,
    /// How, for people.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// How freely the forms of some content must be read for the content to be among the readings; the highest of its forms
/// counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Freedom {
    /// All forms are read by the table.
    Plain,
    /// There is a FORM_TYPE that is not in the table.
    UnknownForm,
    /// There is a form of the table with a var that is not in it.
    UnknownVar,
}

/// Accepts content, in canonical order, whose verification string has exactly one parse.
///
/// # Errors
/// The first clause that is broken.
pub fn check(info: &DiscoInfo, clauses: Clauses) -> Result<(), Violation> {
    clauses.refuse(
        Clause::NoSeparatorInToken,
        info.strings().any(|s| s.contains('<')),
        || "a string holds the character that separates the strings in the hash".to_owned(),
    )?;
    check_identities(info, clauses)?;
    check_features(info, clauses)?;
    let freedom = check_forms(info, clauses)?;
    if info.forms.is_empty() && clauses.contains(Clause::FeatureNotFormType) {
        return Ok(());
    }
    let several = !Reader::new(info, clauses).has_one_parse(freedom);
    clauses.refuse(Clause::OneParse, several, || {
        "the string that is hashed can be read in another way, or in too many to tell".to_owned()
    })
}

fn check_identities(info: &DiscoInfo, clauses: Clauses) -> Result<(), Violation> {
    clauses.refuse(
        Clause::FeatureNotIdentity,
        info.identities.is_empty(),
        || "there is no identity".to_owned(),
    )?;
    let vague = |i: &&Identity| {
        let parts = [&i.category, &i.type_, &i.lang];
        i.category.is_empty() || i.type_.is_empty() || parts.iter().any(|p| p.contains('/'))
    };
    let first = info.identities.iter().find(vague);
    clauses.refuse(Clause::IdentityParts, first.is_some(), || {
        format!(
            "category or type is empty, or one of them or the language holds a slash: {first:?}"
        )
    })
}

fn check_features(info: &DiscoInfo, clauses: Clauses) -> Result<(), Violation> {
    clauses.refuse(Clause::SomeFeature, info.features.is_empty(), || {
        "there is no feature".to_owned()
    })?;
    let empty = info.features.iter().any(String::is_empty);
    clauses.refuse(Clause::SomeFeature, empty, || {
        "a feature is empty".to_owned()
    })?;
    let repeated = info.features.windows(2).any(|pair| pair[0] == pair[1]);
    clauses.refuse(Clause::FeaturesIncrease, repeated, || {
        "a feature is there twice".to_owned()
    })?;
    for feature in &info.features {
        let identity = is_identity_shaped(feature);
        clauses.refuse(Clause::FeatureNotIdentity, identity, || {
            format!("a feature looks like an identity: {feature:?}")
        })?;
        let form_type = tables::table_of(feature).is_some();
        clauses.refuse(Clause::FeatureNotFormType, form_type, || {
            format!("a feature is a registered FORM_TYPE: {feature:?}")
        })?;
    }
    Ok(())
}

/// Whether a token has the shape `x/y/…/…` with the first two parts not empty. `http://a/b` has not: its second part is empty.
fn is_identity_shaped(token: &str) -> bool {
    let mut parts = token.splitn(4, '/');
    let mut named = || parts.next().is_some_and(|part| !part.is_empty());
    named() && named() && parts.count() == 2
}

fn check_forms(info: &DiscoInfo, clauses: Clauses) -> Result<Freedom, Violation> {
    let repeated = |pair: &[Form]| pair[0].form_type == pair[1].form_type;
    clauses.refuse(
        Clause::FormsIncrease,
        info.forms.windows(2).any(repeated),
        || "a FORM_TYPE is there twice".to_owned(),
    )?;
    let mut freedom = Freedom::Plain;
    for form in &info.forms {
        check_fields(form, clauses)?;
        freedom = freedom.max(check_table(form, clauses)?);
    }
    Ok(freedom)
}

fn check_fields(form: &Form, clauses: Clauses) -> Result<(), Violation> {
    let name = &form.form_type;
    clauses.refuse(Clause::SomeField, form.fields.is_empty(), || {
        format!("the form {name:?} has no field")
    })?;
    let repeated = form
        .fields
        .windows(2)
        .any(|pair| pair[0].var == pair[1].var);
    clauses.refuse(Clause::FieldsIncrease, repeated, || {
        format!("the form {name:?} has a field twice")
    })?;
    for field in &form.fields {
        clauses.refuse(Clause::VarNotEmpty, field.var.is_empty(), || {
            format!("the form {name:?} has a field without a var")
        })?;
        clauses.refuse(Clause::SomeValue, field.values.is_empty(), || {
            format!("the field {:?} has no value", field.var)
        })?;
    }
    Ok(())
}

/// The rules for a form whose FORM_TYPE is in the table; how freely the form must be read.
fn check_table(form: &Form, clauses: Clauses) -> Result<Freedom, Violation> {
    let Some(table) = tables::table_of(&form.form_type) else {
        return Ok(Freedom::UnknownForm);
    };
    let mut freedom = Freedom::Plain;
    for field in &form.fields {
        let is_var = field.values.iter().any(|v| table.var(v).is_some());
        clauses.refuse(Clause::TableValueNotVar, is_var, || {
            format!("a value of {:?} is the name of a field", field.var)
        })?;
        let Some(var) = table.var(&field.var) else {
            freedom = Freedom::UnknownVar;
            continue;
        };
        let too_many = field.values.len() > 1 && !var.many;
        clauses.refuse(Clause::TableCardinality, too_many, || {
            format!("{:?} has more than one value", field.var)
        })?;
        let not_uri = table.uris && !field.values.iter().all(|v| tables::is_uri(v));
        clauses.refuse(Clause::TableUri, not_uri, || {
            format!("a value of {:?} is not a URI", field.var)
        })?;
    }
    Ok(freedom)
}

#[cfg(test)]
mod tests;
