//! What capsd says about itself: its own disco info and its own caps (XEP-0115, XEP-0390).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::caps::digest::key_of;
use crate::caps::{
    Algorithm, CapsKey, DiscoInfo, Family, Field, Form, Identity, Policy, Verdict, VerifiedInfo,
    verify_canonical, xep0390,
};
use crate::stanza::{ns, write};

/// The node URL of capsd's own 0115 announcement.
pub const NODE_URL: &str = "urn:capsd:0";

/// How many sets of its own caps capsd answers for, the current one included (XEP-0390 section 6.1).
pub const SETS: usize = 3;

/// The hash functions of capsd's own 0390 announcement: those that XEP-0414 says every implementation must support.
const OWN_0390: [Algorithm; 3] = [
    Algorithm::Sha256,
    Algorithm::Sha3_256,
    Algorithm::Blake2b512,
];

const FEATURES: [&str; 9] = [
    ns::CAPS_0115,
    ns::COMMANDS,
    ns::DISCO_INFO,
    ns::DISCO_ITEMS,
    ns::VERSION,
    ns::CAPSD,
    ns::CAPS_0390,
    ns::PING,
    ns::TIME,
];

/// Addresses of people, by the field of XEP-0157 that they stand in, such as `admin-addresses`.
pub type Contacts = Vec<(String, Vec<String>)>;

/// One set of capsd's own caps.
#[derive(Debug, PartialEq, Eq)]
pub struct OwnCaps {
    /// The inside of its disco#info `<query/>`.
    pub children: Box<[u8]>,
    /// The `<c/>` elements of its presence.
    pub announcement: Box<[u8]>,
    keys: Vec<CapsKey>,
}

impl OwnCaps {
    /// The caps of a capsd with these contact addresses.
    pub fn new(contacts: &Contacts) -> OwnCaps {
        let mut info = DiscoInfo {
            identities: vec![Identity {
                category: "component".to_owned(),
                type_: "generic".to_owned(),
                lang: String::new(),
                name: "capsd".to_owned(),
            }],
            features: FEATURES.map(str::to_owned).to_vec(),
            forms: contact_form(contacts),
        };
        info.sort();
        let mut children = Vec::new();
        info.write_children(&mut children);
        let keys = own_keys(info);
        let digest = |family: Family, algorithm: Algorithm| {
            keys.iter()
                .find(|key| key.family() == family && key.algorithm() == algorithm)
                .map(CapsKey::digest_base64)
        };
        let hashes: Vec<(&str, String)> = OWN_0390
            .into_iter()
            .filter_map(|a| Some((a.name(), digest(Family::Xep0390, a)?)))
            .collect();
        let mut announcement = Vec::new();
        let ver = digest(Family::Xep0115, Algorithm::Sha1);
        write::own_caps(&mut announcement, NODE_URL, ver.as_deref(), &hashes);
        OwnCaps {
            children: children.into_boxed_slice(),
            announcement: announcement.into_boxed_slice(),
            keys,
        }
    }
}

fn contact_form(contacts: &Contacts) -> Vec<Form> {
    let fields: Vec<Field> = contacts
        .iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(var, values)| Field {
            var: var.clone(),
            values: values.clone(),
        })
        .collect();
    if fields.is_empty() {
        return Vec::new();
    }
    vec![Form {
        form_type: "http://jabber.org/network/serverinfo".to_owned(),
        fields,
    }]
}

fn own_keys(info: DiscoInfo) -> Vec<CapsKey> {
    let policy = Policy::default();
    let input = xep0390::hash_input(&info);
    let Ok(key) = key_of(Family::Xep0390, Algorithm::Sha256, &input) else {
        return Vec::new();
    };
    match verify_canonical(&key, info, &policy) {
        Verdict::Verified(verified) => announced_keys(&verified, &policy),
        // Contact addresses that make the content invalid under the rules: capsd then announces no caps, and says so in `check`.
        Verdict::Quarantined(..) | Verdict::Rejected(..) => Vec::new(),
    }
}

fn announced_keys(info: &VerifiedInfo, policy: &Policy) -> Vec<CapsKey> {
    let mut keys: Vec<CapsKey> = OWN_0390
        .into_iter()
        .filter_map(|algorithm| info.key(Family::Xep0390, algorithm, policy))
        .collect();
    keys.extend(info.key(Family::Xep0115, Algorithm::Sha1, policy));
    keys
}

/// The last sets of capsd's own caps, the current one first.
#[derive(Debug)]
pub struct OwnHistory {
    sets: VecDeque<Arc<OwnCaps>>,
}

impl OwnHistory {
    /// A history of one set.
    pub fn new(current: OwnCaps) -> OwnHistory {
        OwnHistory {
            sets: VecDeque::from([Arc::new(current)]),
        }
    }

    /// The current set.
    pub fn current(&self) -> &Arc<OwnCaps> {
        // The history begins with one set and never loses its first.
        &self.sets[0]
    }

    /// Takes a new set; false if it is the current one.
    pub fn change(&mut self, set: OwnCaps) -> bool {
        if *self.sets[0] == set {
            return false;
        }
        self.sets.push_front(Arc::new(set));
        self.sets.truncate(SETS);
        true
    }

    /// The set that a key belongs to, if it is one of the last three.
    pub fn of_key(&self, key: &CapsKey) -> Option<&Arc<OwnCaps>> {
        self.sets.iter().find(|set| set.keys.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_admin(n: usize) -> OwnCaps {
        let address = format!("xmpp:admin{n}@example.org");
        OwnCaps::new(&vec![("admin-addresses".to_owned(), vec![address])])
    }

    #[test]
    fn the_last_three_sets_are_answered_for() {
        let mut history = OwnHistory::new(with_admin(0));
        assert!(!history.change(with_admin(0)), "nothing changed");
        for n in 1..4 {
            assert!(history.change(with_admin(n)));
        }
        let answered = |n: usize| {
            let set = with_admin(n);
            assert_eq!(set.keys.len(), 4, "one of 0115, three of 0390");
            set.keys.iter().all(|key| history.of_key(key).is_some())
        };
        assert_eq!([0, 1, 2, 3].map(answered), [false, true, true, true]);
        assert_eq!(**history.current(), with_admin(3));
    }
}
