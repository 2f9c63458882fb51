//! A client's own caps: what it announces in its presence, and that it has to announce anew when its features change.
//!
//!     cargo run --example own_caps

use capsd::caps::{Algorithm, DiscoInfo, Family, Identity, NodeError, digest, xep0115, xep0390};

/// Where people learn about the client; the node of its announcements.
const NODE: &str = "http://code.google.com/p/exodus";

/// The client, as far as its caps go.
#[derive(Debug)]
pub(crate) struct Client {
    info: DiscoInfo,
    /// What the presence that was sent last said.
    announced: Option<String>,
}

impl Client {
    /// A client with these features.
    pub(crate) fn new(features: &[&str]) -> Client {
        Client {
            info: DiscoInfo {
                identities: vec![Identity {
                    category: "client".to_owned(),
                    type_: "pc".to_owned(),
                    lang: String::new(),
                    name: "Exodus 0.9.1".to_owned(),
                }],
                features: features.iter().map(ToString::to_string).collect(),
                forms: Vec::new(),
            },
            announced: None,
        }
    }

    /// From now on the client can do that, too.
    pub(crate) fn add_feature(&mut self, feature: &str) {
        if !self.info.features.iter().any(|known| known == feature) {
            self.info.features.push(feature.to_owned());
        }
    }

    /// The `<c/>` elements of the next presence, if they differ from those of the last one: by XEP-0115 for the clients of today, and by
    /// XEP-0390.
    ///
    /// # Errors
    /// Where the hash function is not one of the family; these two are.
    pub(crate) fn announcement(&mut self) -> Result<Option<String>, NodeError> {
        // Hashes are taken of the canonical order.
        self.info.sort();
        let string = xep0115::verification_string(&self.info, xep0115::IdentityOrder::Tuple);
        let ver = digest::key_of(Family::Xep0115, Algorithm::Sha1, &string)?.digest_base64();
        let input = xep0390::hash_input(&self.info);
        let hash = digest::key_of(Family::Xep0390, Algorithm::Sha256, &input)?.digest_base64();
        let elements = format!(
            "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{NODE}' ver='{ver}'/>\n\
             <c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>{hash}</hash></c>"
        );
        let changed = self.announced.as_ref() != Some(&elements);
        self.announced = Some(elements.clone());
        Ok(changed.then_some(elements))
    }
}

/// The features of the client in XEP-0115 section 5.2.
pub(crate) const FEATURES: [&str; 4] = [
    "http://jabber.org/protocol/disco#info",
    "http://jabber.org/protocol/disco#items",
    "http://jabber.org/protocol/muc",
    "http://jabber.org/protocol/caps",
];

/// Announces, changes nothing, changes something.
#[allow(dead_code, reason = "the tests use the client alone")]
fn main() -> Result<(), NodeError> {
    let mut client = Client::new(&FEATURES);
    for feature in [None, Some("urn:xmpp:ping"), Some("urn:xmpp:ping")] {
        feature.into_iter().for_each(|f| client.add_feature(f));
        match client.announcement()? {
            Some(elements) => println!("presence with\n{elements}\n"),
            None => println!("nothing changed: no presence\n"),
        }
    }
    Ok(())
}
