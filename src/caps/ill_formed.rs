//! The rules that an answer can break, whatever its hash.

use super::disco_info::DiscoInfo;

/// How an answer is ill-formed.
///
/// XEP-0115 section 5.4 and XEP-0390 section 4.1 have lists of their own, and XEP-0030 section 3.1 says which attributes an
/// element must have. Each variant names the families that it applies to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllFormed {
    /// Both families: an identity without category or type, or with an empty one, or a feature without `var` (XEP-0030
    /// section 3.1).
    #[error("an identity lacks its category or type, or a feature its var (XEP-0030 section 3.1)")]
    MissingAttribute,
    /// Both families: a character that XML cannot hold, so that the content could not be sent on.
    #[error("a string holds a character that is not allowed in XML 1.0")]
    NotXml,
    /// 0115: two identities with the same category, type, language and name.
    #[error("two identities are the same: {0:?} (XEP-0115 section 5.4)")]
    RepeatedIdentity(String),
    /// 0115: the same feature twice.
    #[error("the feature {0:?} is there twice (XEP-0115 section 5.4)")]
    RepeatedFeature(String),
    /// 0115: two forms with the same FORM_TYPE.
    #[error("two forms have the FORM_TYPE {0:?} (XEP-0115 section 5.4)")]
    RepeatedForm(String),
    /// 0115: a form whose FORM_TYPE has values that differ. 0390: a form whose FORM_TYPE is not exactly one value.
    #[error("a form has more than one FORM_TYPE, or an empty one (XEP-0115 section 5.4, XEP-0068)")]
    FormTypeValues,
    /// 0390: a form without FORM_TYPE. (0115 ignores such a form.)
    #[error("a form has no FORM_TYPE (XEP-0390 section 4.1)")]
    NoFormType,
    /// 0390: a form whose FORM_TYPE is not of type `hidden`. (0115 ignores such a form.)
    #[error("a FORM_TYPE is not a hidden field (XEP-0390 section 4.1)")]
    FormTypeNotHidden,
    /// 0390: a field without `var`.
    #[error("a form field has no var (XEP-0390 section 4.1)")]
    FieldWithoutVar,
    /// 0390: `<reported/>` or `<item/>` in a form. (0115 ignores them.)
    #[error("a form holds reported or item elements (XEP-0390 section 4.1)")]
    Tabular,
    /// 0390: a child of `<query/>` that is no identity, feature or form. (0115 ignores it.)
    #[error("the query has a child that is no identity, feature or form (XEP-0390 section 4.1)")]
    ForeignChild,
}

/// The rules of both families that can be tested on canonical content.
///
/// # Errors
/// [`IllFormed::MissingAttribute`] or [`IllFormed::NotXml`].
pub fn check(info: &DiscoInfo) -> Result<(), IllFormed> {
    let unnamed = |i: &super::Identity| i.category.is_empty() || i.type_.is_empty();
    if info.identities.iter().any(unnamed) {
        return Err(IllFormed::MissingAttribute);
    }
    match info.strings().all(is_xml) {
        true => Ok(()),
        false => Err(IllFormed::NotXml),
    }
}

/// Whether every character may stand in an XML 1.0 document.
fn is_xml(text: &str) -> bool {
    // No early exit: this way it is done many bytes at a time. U+FFFE and U+FFFF begin with 0xEF and are looked for only then.
    let (control, rare) = text.bytes().fold((false, false), |(control, rare), byte| {
        let is_control = (byte < 0x20) & (byte != b'\t') & (byte != b'\n') & (byte != b'\r');
        (control | is_control, rare | (byte == 0xef))
    });
    let nonchar = rare && text.contains(['\u{fffe}', '\u{ffff}']);
    !(control || nonchar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::Identity;

    #[test]
    fn characters_outside_xml_are_found() {
        for text in ["", "a\tb\r\n", "\u{7f}", "\u{fffd}", "\u{10ffff}", "Ψ"] {
            assert!(is_xml(text), "{text:?}");
        }
        for text in ["\0", "a\u{1f}", "\u{1c}b", "\u{fffe}", "x\u{ffff}"] {
            assert!(!is_xml(text), "{text:?}");
        }
    }

    #[test]
    fn an_identity_needs_category_and_type() {
        let with = |category: &str, type_: &str| DiscoInfo {
            identities: vec![Identity {
                category: category.into(),
                type_: type_.into(),
                ..Identity::default()
            }],
            ..DiscoInfo::default()
        };
        assert_eq!(check(&with("client", "pc")), Ok(()));
        assert_eq!(check(&with("", "pc")), Err(IllFormed::MissingAttribute));
        assert_eq!(check(&with("client", "")), Err(IllFormed::MissingAttribute));
    }
}
