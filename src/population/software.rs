//! What a content says of the software that announces it.
//!
//! The name is taken from the first of these that gives one which is fit to be shown:
//!
//! 1. the field `software` of the software information form (XEP-0232), which the hash covers;
//! 2. the name of an identity of category `client` (XEP-0030 section 3.1), which the hash covers too: the one without a language, else
//!    the English one, else the first;
//! 3. host and path of the node URL (XEP-0115 section 4). No hash covers it, so it counts last.
//!
//! Versions are left out ("Profanity 0.13.1" is "Profanity"), so that what is online is one number for each software. A name is fit to be
//! shown if it has at most [`MAX_NAME`] characters, all of them ASCII letters, digits, blanks or one of `.+-_/'()&!:`, and a letter
//! among them. So no JID is ever a name, because there is no `@`; and whatever it is, it is shown only once several accounts have it.

use crate::caps::{DiscoInfo, Identity};
use crate::holders::Software;

/// The longest name, in characters.
pub const MAX_NAME: usize = 40;

/// The FORM_TYPE of software information (XEP-0232).
const SOFTWARE_INFO: &str = "urn:xmpp:dataforms:softwareinfo";

/// Names that mean something else where names are listed.
const RESERVED: [&str; 2] = ["other", "unknown"];

/// What a content, announced with that node URL, says of its software; `features` are those that are counted, at most 32.
pub fn software(info: &DiscoInfo, node_url: &str, features: &[String]) -> Software {
    let mut bits = 0;
    for (place, feature) in features.iter().take(32).enumerate() {
        if info.features.contains(feature) {
            bits |= 1 << place;
        }
    }
    let name = form_name(info)
        .or_else(|| identity_name(info))
        .or_else(|| node_name(node_url));
    Software {
        name: name.map(Into::into),
        features: bits,
    }
}

fn form_name(info: &DiscoInfo) -> Option<String> {
    let form = info.forms.iter().find(|f| f.form_type == SOFTWARE_INFO)?;
    let field = form.fields.iter().find(|field| field.var == "software")?;
    without_version(field.values.first()?)
}

fn identity_name(info: &DiscoInfo) -> Option<String> {
    let named: Vec<&Identity> = info
        .identities
        .iter()
        .filter(|identity| identity.category == "client" && !identity.name.is_empty())
        .collect();
    let of_lang = |lang: &str| named.iter().find(|identity| identity.lang == lang);
    let identity = of_lang("").or_else(|| of_lang("en")).or(named.first())?;
    without_version(&identity.name)
}

fn node_name(node_url: &str) -> Option<String> {
    let rest = node_url
        .split_once("://")
        .map_or(node_url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let rest = rest.strip_prefix("www.").unwrap_or(rest);
    let parts = rest.split('/').take_while(|part| !is_version(part));
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    fit(&parts.join("/"))
}

/// The words of a name up to the first that is a version.
fn without_version(name: &str) -> Option<String> {
    let words = name.split_whitespace().take_while(|word| !is_version(word));
    fit(&words.collect::<Vec<_>>().join(" "))
}

fn is_version(word: &str) -> bool {
    let word = word.trim_start_matches(['(', 'v', 'V']);
    word.starts_with(|first: char| first.is_ascii_digit())
}

fn fit(name: &str) -> Option<String> {
    let permitted = |c: char| c.is_ascii_alphanumeric() || " .+-_/'()&!:".contains(c);
    let fit = name.len() <= MAX_NAME
        && name.chars().all(permitted)
        && name.contains(|c: char| c.is_ascii_alphabetic())
        && !RESERVED.contains(&name);
    fit.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::{Field, Form};

    fn identity(category: &str, lang: &str, name: &str) -> Identity {
        Identity {
            category: category.to_owned(),
            type_: "pc".to_owned(),
            lang: lang.to_owned(),
            name: name.to_owned(),
        }
    }

    fn name(identities: &[(&str, &str, &str)], form: Option<&str>, node_url: &str) -> String {
        let form = form.map(|software| Form {
            form_type: SOFTWARE_INFO.to_owned(),
            fields: vec![
                Field {
                    var: "os".to_owned(),
                    values: vec!["Mac".to_owned()],
                },
                Field {
                    var: "software".to_owned(),
                    values: vec![software.to_owned()],
                },
            ],
        });
        let info = DiscoInfo {
            identities: identities
                .iter()
                .map(|(c, l, n)| identity(c, l, n))
                .collect(),
            features: vec!["a".to_owned(), "c".to_owned()],
            forms: form.into_iter().collect(),
        };
        let software = software(&info, node_url, &["a", "b", "c"].map(str::to_owned));
        assert_eq!(software.features, 0b101);
        software.name.unwrap_or_default().into()
    }

    #[test]
    fn the_form_comes_before_the_identity_and_that_before_the_node() {
        let psi = [("client", "el", "Ψ 0.11"), ("client", "en", "Psi 0.11")];
        assert_eq!(name(&psi, Some("Psi+"), "http://x"), "Psi+");
        assert_eq!(name(&psi, Some("Ψ"), "http://x"), "Psi");
        assert_eq!(name(&psi[..1], None, "http://psi-im.org"), "psi-im.org");
        assert_eq!(
            name(&[("client", "", "")], None, "http://a.example/b"),
            "a.example/b"
        );
        let room = [
            ("conference", "", "Tea"),
            ("client", "de", "B"),
            ("client", "", "A"),
        ];
        assert_eq!(name(&room, None, ""), "A");
        assert_eq!(name(&room[..1], None, ""), "");
    }

    #[test]
    fn versions_are_left_out() {
        for (given, shown) in [
            ("Profanity 0.13.1", "Profanity"),
            ("mcabber 1.1.2", "mcabber"),
            ("Psi+ v1.5 (2024)", "Psi+"),
            ("Exodus (0.9.1)", "Exodus"),
            ("aioxmpp default identity", "aioxmpp default identity"),
            ("Video Chat", "Video Chat"),
        ] {
            assert_eq!(name(&[("client", "", given)], None, ""), shown);
        }
        assert_eq!(
            name(&[], None, "http://slixmpp.com/ver/1.8.3"),
            "slixmpp.com/ver"
        );
        assert_eq!(
            name(&[], None, "https://www.example.org/?v=1#x"),
            "example.org"
        );
    }

    #[test]
    fn what_is_not_fit_to_be_shown_is_no_name() {
        let long = "x".repeat(MAX_NAME + 1);
        for given in [
            "anna@example.org",
            "a\"} 1",
            "a\nb",
            "微信",
            "other",
            "unknown",
            "12",
            "--",
            "a=b",
            &long,
        ] {
            let shown = name(&[("client", "", given)], None, "");
            assert!(shown.is_empty() || shown == "a b", "{given} {shown}");
            assert_eq!(name(&[], None, given), "", "{given}");
        }
        assert_eq!(name(&[("client", "", &long[1..])], None, ""), &long[1..]);
    }
}
