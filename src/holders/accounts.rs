//! Which keys, and which nodes with them, were announced by several accounts.
//!
//! A hash that one person alone announces says who that person is, so only what is common may leave the machine. Accounts
//! are told apart by a hash with a random key of this process; it is forgotten with the process, and the fact that a key is
//! common is all that anybody else is told. Somebody with [`COMMON`] accounts can make a key common, and whoever announces
//! very many keys can push out counts that are not complete; both only change what is exported.

use ahash::{HashMap, RandomState};

use super::Announcement;
use crate::caps::{CapsKey, Family};
use crate::stanza::jid;

/// From how many accounts on a key, or a node with a key, is common.
pub const COMMON: usize = 3;

/// A key that has become common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// The key.
    pub key: CapsKey,
    /// The node URL that is common with it; `None` where only the key itself is.
    pub node_url: Option<String>,
}

/// The accounts that announced one thing: hashes of all but the last of the [`COMMON`] that it takes. They are short: there are many,
/// and two accounts with one hash only delay the fact.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sketch {
    accounts: [u32; COMMON - 1],
    count: u8,
}

impl Sketch {
    /// Whether there were as many accounts as it takes.
    pub fn is_common(&self) -> bool {
        usize::from(self.count) >= COMMON
    }

    /// Adds an account; whether it is the one that made it common.
    pub fn add(&mut self, account: u32) -> bool {
        let known = usize::from(self.count);
        if self.is_common() || self.accounts.iter().take(known).any(|a| *a == account) {
            return false;
        }
        if let Some(place) = self.accounts.get_mut(known) {
            *place = account;
        }
        self.count += 1;
        self.is_common()
    }

    /// Adds the accounts of another one.
    pub fn merge(&mut self, other: &Sketch) {
        if other.is_common() {
            *self = *other;
        }
        for account in other.accounts.iter().take(usize::from(other.count)) {
            self.add(*account);
        }
    }
}

/// The sketches of what was announced lately, in two generations: when the younger one is full, it takes the place of the
/// older one, which is forgotten. What is announced moves to the younger one.
#[derive(Debug)]
pub(super) struct Accounts {
    most: usize,
    hasher: RandomState,
    younger: HashMap<u64, Sketch>,
    older: HashMap<u64, Sketch>,
    forgotten: u64,
}

impl Accounts {
    /// An empty table of two generations of that many sketches each, of about 25 bytes.
    pub(super) fn new(most: usize) -> Accounts {
        Accounts {
            most,
            hasher: RandomState::new(),
            younger: HashMap::default(),
            older: HashMap::default(),
            forgotten: 0,
        }
    }

    /// The account of an address, by a hash with a key of this process.
    pub(super) fn account(&self, address: &str) -> u32 {
        self.hasher.hash_one(jid::bare(address)) as u32
    }

    /// Counts the account of the address for the keys and the node of its announcement; adds what became common by it, and
    /// says whether all of the announcement is common now.
    pub(super) fn announced(
        &mut self,
        address: &str,
        announcement: &Announcement,
        common: &mut Vec<Common>,
    ) -> bool {
        let account = self.account(address);
        let mut all = true;
        for key in &announcement.keys {
            let sketch = self.sketch(key, None);
            let mut became_common = sketch.add(account);
            all &= sketch.is_common();
            let mut node_url = node_url_of(key, &announcement.node_url);
            if node_url.is_some() {
                let sketch = self.sketch(key, node_url);
                let node_became_common = sketch.add(account);
                all &= sketch.is_common();
                became_common |= node_became_common;
                node_url = node_url.filter(|_| node_became_common);
            }
            // Once for both: each is a write to the store.
            if became_common {
                common.push(Common {
                    key: *key,
                    node_url: node_url.map(str::to_owned),
                });
            }
        }
        all
    }

    /// Whether that many accounts announced the key, with that node if one is given.
    pub(super) fn is_common(&self, key: &CapsKey, node_url: Option<&str>) -> bool {
        let name = self.hasher.hash_one((key, node_url));
        let sketch = self.younger.get(&name).or_else(|| self.older.get(&name));
        sketch.is_some_and(Sketch::is_common)
    }

    /// How many counts were forgotten for want of room, since the last call.
    pub(super) fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    fn sketch(&mut self, key: &CapsKey, node_url: Option<&str>) -> &mut Sketch {
        let name = self.hasher.hash_one((key, node_url));
        if !self.younger.contains_key(&name) && self.younger.len() >= self.most {
            let forgotten = std::mem::replace(&mut self.older, std::mem::take(&mut self.younger));
            self.forgotten += forgotten.len() as u64;
        }
        let older = &mut self.older;
        self.younger
            .entry(name)
            .or_insert_with(|| older.remove(&name).unwrap_or_default())
    }
}

/// The node URL that counts with a key: those of family 0390 are announced without one.
fn node_url_of<'a>(key: &CapsKey, node_url: &'a str) -> Option<&'a str> {
    (key.family() == Family::Xep0115 && !node_url.is_empty()).then_some(node_url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caps::Algorithm;

    fn key(number: u32) -> CapsKey {
        let mut digest = [0; 20];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        CapsKey::new(Family::Xep0115, Algorithm::Sha1, &digest).unwrap()
    }

    fn announcement(number: u32, node_url: &str) -> Announcement {
        Announcement {
            keys: vec![key(number)],
            node_url: node_url.into(),
        }
    }

    /// What became common by an announcement, and whether all of it is.
    fn announce(accounts: &mut Accounts, from: &str, what: &Announcement) -> (Vec<Common>, bool) {
        let mut common = Vec::new();
        let all = accounts.announced(from, what, &mut common);
        (common, all)
    }

    #[test]
    fn the_third_account_counts_and_neither_devices_nor_repetitions() {
        let mut accounts = Accounts::new(100);
        let what = announcement(1, "http://a");
        for from in ["a@x/1", "a@x/2", "b@x/1", "a@x/1", "b@x/3", "b@x"] {
            assert_eq!(
                announce(&mut accounts, from, &what),
                (vec![], false),
                "{from}"
            );
            assert!(!accounts.is_common(&key(1), None));
        }
        let (common, all) = announce(&mut accounts, "c@x/1", &what);
        let node_url = Some("http://a".to_owned());
        let of = |node_url| Common {
            key: key(1),
            node_url,
        };
        assert_eq!(common, [of(node_url)]);
        assert!(all && accounts.is_common(&key(1), None));
        assert!(accounts.is_common(&key(1), Some("http://a")));
        // Once is enough.
        assert_eq!(announce(&mut accounts, "d@x/1", &what), (vec![], true));
    }

    #[test]
    fn a_node_that_one_account_made_up_is_not_common_with_its_key() {
        let mut accounts = Accounts::new(100);
        for from in ["a@x", "b@x"] {
            announce(&mut accounts, from, &announcement(1, "http://a"));
        }
        let (common, all) = announce(&mut accounts, "c@x", &announcement(1, "urn:me"));
        assert_eq!(common.len(), 1);
        assert_eq!(common[0].node_url, None);
        assert!(!all);
        assert!(accounts.is_common(&key(1), None));
        assert!(!accounts.is_common(&key(1), Some("urn:me")));
        assert!(!accounts.is_common(&key(1), Some("http://a")));
    }

    #[test]
    fn memory_is_bounded_and_what_is_announced_stays() {
        let mut accounts = Accounts::new(64);
        for number in 0..10_000 {
            announce(&mut accounts, "a@x", &announcement(number, ""));
            announce(&mut accounts, "b@x", &announcement(20_000, ""));
            assert!(accounts.younger.len() + accounts.older.len() <= 2 * 64);
        }
        assert!(accounts.take_forgotten() > 9_000);
        assert_eq!(accounts.take_forgotten(), 0);
        announce(&mut accounts, "c@x", &announcement(20_000, ""));
        let (common, _) = announce(&mut accounts, "d@x", &announcement(20_000, ""));
        assert_eq!(common.len(), 1);
    }
}
