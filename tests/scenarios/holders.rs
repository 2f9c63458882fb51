//! The table of holders against a model so simple that it needs no test.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use capsd::caps::{CapsKey, Reason};
use capsd::holders::{Announcement, ForgottenCounts, HolderId, Holders, LinkId, Settings};
use proptest::prelude::*;
use proptest::sample::select;

use crate::contents::{announcement, key};

/// Whom the server of that link stamps.
type Address = (LinkId, String);

#[derive(Clone, Debug)]
struct Known {
    address: Address,
    id: HolderId,
    announcement: Announcement,
    askable: bool,
    /// Seconds.
    seen: u64,
    failures: BTreeMap<CapsKey, (Instant, Reason)>,
}

/// Everything in lists, the longest silent and the longest listed first.
#[derive(Debug)]
struct Model {
    settings: Settings,
    now: u64,
    known: Vec<Known>,
    listed: BTreeMap<CapsKey, Vec<Address>>,
    counts: ForgottenCounts,
    /// The ids of those who were forgotten.
    gone: Vec<HolderId>,
}

impl Model {
    fn take(&mut self, address: &Address) -> Option<Known> {
        let at = self.known.iter().position(|k| k.address == *address)?;
        Some(self.known.remove(at))
    }

    fn forget(&mut self, address: &Address) -> bool {
        for addresses in self.listed.values_mut() {
            addresses.retain(|a| a != address);
        }
        let known = self.take(address);
        self.gone.extend(known.iter().map(|known| known.id));
        known.is_some()
    }

    /// What must be true before the table is told: room is made.
    fn make_room(&mut self, address: &Address) {
        let is_new = self.known.iter().all(|k| k.address != *address);
        if is_new && self.known.len() == self.settings.max {
            let first = self.known[0].address.clone();
            self.forget(&first);
            self.counts.full += 1;
        }
    }

    fn announce(
        &mut self,
        address: &Address,
        announcement: Announcement,
        askable: bool,
        id: HolderId,
    ) {
        self.make_room(address);
        let before = self.take(address);
        let changed = before.is_none_or(|before| before.announcement != announcement);
        let keys = announcement.keys.clone();
        self.known.push(Known {
            address: address.clone(),
            id,
            announcement,
            askable,
            seen: self.now,
            failures: BTreeMap::new(),
        });
        if changed {
            for addresses in self.listed.values_mut() {
                addresses.retain(|a| a != address);
            }
        }
        for key in keys {
            self.list(key, address);
        }
    }

    fn list(&mut self, key: CapsKey, address: &Address) {
        let listed = self.listed.entry(key).or_default();
        if listed.contains(address) {
            return;
        }
        if listed.len() < self.settings.per_key {
            listed.push(address.clone());
            return;
        }
        let account = |a: &Address| a.1.split('/').next().unwrap().to_owned();
        let own = listed.iter().position(|a| account(a) == account(address));
        let out = listed.remove(own.unwrap_or(0));
        listed.push(address.clone());
        if self.listed.values().all(|listed| !listed.contains(&out)) {
            // It is still known, but nobody asks it.
            self.counts.per_key += 1;
        }
    }

    fn expire(&mut self) {
        let limit = self.settings.expire_after.as_secs();
        let expired = |known: &&Known| self.now - known.seen >= limit;
        let expired: Vec<Address> = self
            .known
            .iter()
            .filter(expired)
            .map(|known| known.address.clone())
            .collect();
        for address in expired {
            self.forget(&address);
            self.counts.expired += 1;
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Announce(Address, &'static str, bool),
    Depart(Address),
    Heard(Address),
    Fail(Address, &'static str, u64),
    Pass(u64),
}

const KEYS: [&str; 4] = ["K1", "K2", "N1", "N2"];

fn address() -> impl Strategy<Value = Address> {
    let jids = [
        "a@d/1", "a@d/2", "a@d/3", "b@d/1", "b@d/2", "c@d/1", "d@d/1",
    ];
    (0..2_u16, select(jids.to_vec())).prop_map(|(link, jid)| (LinkId(link), jid.to_owned()))
}

fn step() -> impl Strategy<Value = Step> {
    let announcements = ["K1", "K2", "K1+N1", "N1", "K1+N2", "K2+N2+N1"];
    prop_oneof![
        6 => (address(), select(announcements.to_vec()), any::<bool>())
            .prop_map(|(a, keys, askable)| Step::Announce(a, keys, askable)),
        2 => address().prop_map(Step::Depart),
        2 => address().prop_map(Step::Heard),
        2 => (address(), select(KEYS.to_vec()), 0..20_u64).prop_map(|(a, key, s)| Step::Fail(a, key, s)),
        2 => (0..8_u64).prop_map(Step::Pass),
    ]
}

struct Pair {
    epoch: Instant,
    holders: Holders,
    model: Model,
}

impl Pair {
    fn new(settings: Settings) -> Pair {
        let epoch = Instant::now();
        Pair {
            epoch,
            holders: Holders::new(settings, epoch),
            model: Model {
                settings,
                now: 0,
                known: Vec::new(),
                listed: BTreeMap::new(),
                counts: ForgottenCounts::default(),
                gone: Vec::new(),
            },
        }
    }

    fn now(&self) -> Instant {
        self.epoch + Duration::from_secs(self.model.now)
    }

    fn step(&mut self, step: Step) {
        let now = self.now();
        match step {
            Step::Announce(address, keys, askable) => {
                let announcement = announcement(keys);
                let noted = self
                    .holders
                    .announce(now, address.0, &address.1, &announcement, askable)
                    .unwrap();
                self.model
                    .announce(&address, announcement, askable, noted.holder);
            }
            Step::Depart(address) => {
                let departed = self.holders.depart(address.0, &address.1);
                let known = self.model.known.iter().find(|k| k.address == address);
                assert_eq!(departed, known.map(|known| known.id));
                self.model.forget(&address);
            }
            Step::Heard(address) => {
                self.holders.heard(now, address.0, &address.1);
                if let Some(mut known) = self.model.take(&address) {
                    known.seen = self.model.now;
                    self.model.known.push(known);
                }
            }
            Step::Fail(address, name, seconds) => {
                let until = now + Duration::from_secs(seconds);
                let known = self.model.known.iter_mut().find(|k| k.address == address);
                if let Some(known) = known {
                    self.holders
                        .fail(known.id, key(name), until, Reason::Mismatch);
                    if known.announcement.keys.contains(&key(name)) {
                        known.failures.insert(key(name), (until, Reason::Mismatch));
                    }
                }
            }
            Step::Pass(seconds) => {
                self.model.now += seconds;
                assert!(!self.holders.expire(self.now(), 1000));
                self.model.expire();
            }
        }
    }

    fn compare(&self) {
        let (holders, model) = (&self.holders, &self.model);
        assert_eq!(holders.len(), model.known.len());
        assert_eq!(holders.is_empty(), model.known.is_empty());
        let failures: usize = model.known.iter().map(|known| known.failures.len()).sum();
        assert_eq!(holders.failures(), failures);
        for known in &model.known {
            let view = holders.view(known.id).unwrap();
            assert_eq!(
                (view.link, view.address),
                (known.address.0, &*known.address.1)
            );
            assert_eq!(*view.announcement, known.announcement);
            assert_eq!(view.askable, known.askable);
            for name in KEYS {
                let failure = known.failures.get(&key(name));
                let expected = failure.filter(|(until, _)| *until > self.now());
                let expected = expected.map(|(_, reason)| *reason);
                assert_eq!(holders.failure(known.id, &key(name), self.now()), expected);
            }
        }
        for name in KEYS {
            let of_key: Vec<Address> = holders
                .of_key(&key(name))
                .map(|id| holders.view(id).unwrap())
                .map(|view| (view.link, view.address.to_owned()))
                .collect();
            let expected = model.listed.get(&key(name)).cloned().unwrap_or_default();
            assert_eq!(of_key, expected, "{name}");
            assert_eq!(holders.is_announced(&key(name)), !expected.is_empty());
        }
        for id in &model.gone {
            assert!(
                holders.view(*id).is_none(),
                "a place taken again is another"
            );
        }
    }
}

fn settings(max: usize, per_key: usize) -> Settings {
    Settings {
        max,
        expire_after: Duration::from_secs(20),
        per_key,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_table_is_as_the_model(
        max in 1..8_usize,
        per_key in 1..5_usize,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut pair = Pair::new(settings(max, per_key));
        for step in steps {
            pair.step(step);
            pair.compare();
            assert_eq!(pair.holders.take_counts(), std::mem::take(&mut pair.model.counts));
        }
    }
}

#[test]
fn expiry_goes_in_steps() {
    let mut pair = Pair::new(settings(1000, 64));
    for n in 0..100 {
        let address = (LinkId(0), format!("user{n}@d/r"));
        pair.step(Step::Announce(address, "K1+N1", true));
    }
    let later = pair.epoch + Duration::from_secs(20);
    assert!(pair.holders.expire(later, 30), "there is more");
    // 64 may be asked, but all 100 are remembered.
    assert_eq!(pair.holders.len(), 70);
    assert!(!pair.holders.expire(later, 1000));
    assert!(pair.holders.is_empty());
}

#[test]
fn what_is_known_is_forgotten_with_its_last_holder() {
    let mut holders = Holders::new(settings(10, 64), Instant::now());
    let now = Instant::now();
    let both = announcement("K1+N1");
    let announce = |holders: &mut Holders, jid: &str| {
        holders
            .announce(now, LinkId(0), jid, &both, true)
            .unwrap()
            .known
    };
    assert!(!announce(&mut holders, "a@d/1"));
    holders.mark_known(&announcement("K1"));
    assert!(!announce(&mut holders, "a@d/2"), "another announcement");
    holders.mark_known(&announcement("K1+N1"));
    assert!(announce(&mut holders, "a@d/3"));
    for jid in ["a@d/1", "a@d/2", "a@d/3"] {
        holders.depart(LinkId(0), jid).unwrap();
    }
    assert!(!announce(&mut holders, "a@d/4"));
}

/// Places are taken again, so that logins and logouts leave nothing behind.
#[test]
fn memory_does_not_grow_with_logins() {
    let mut holders = Holders::new(settings(1000, 64), Instant::now());
    let now = Instant::now();
    let size = |holders: &Holders| format!("{holders:?}").len();
    let mut before = 0;
    for n in 0..100_000_u32 {
        let jid = format!("user{n:06}@d/r");
        let keys = announcement(&format!("K{}", 100_000 + n));
        holders.announce(now, LinkId(0), &jid, &keys, true).unwrap();
        holders.depart(LinkId(0), &jid).unwrap();
        if n == 2000 {
            before = size(&holders);
        }
    }
    assert!(
        size(&holders) < before + before / 10,
        "{before} {}",
        size(&holders)
    );
}
