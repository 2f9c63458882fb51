//! Who announces which caps keys: hints about whom to ask, bounded, in memory, never on disk.
//!
//! A holder is an exact address on a link with its latest announcement. It is a hint and nothing more: ejabberd reports neither
//! abrupt deaths nor who was online before capsd connected, so holders expire, and whoever does not answer is passed over.
//! Announcements are shared: a hundred sessions of one client cost one copy of its keys.
//!
//! Bounds: [`Settings::max`] holders (the longest silent one makes room), [`Settings::per_key`] of them to be asked for one key (another of the
//! same account makes room first, so that one account cannot push the others out), [`MAX_LINKED`] keys of one announcement.

pub mod accounts;
mod addresses;
mod failures;
pub mod feeders;
mod forgetting;
mod kinds;
mod node_urls;
mod silence;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::{HashMap, RandomState};
use hashbrown::HashTable;

use crate::caps::CapsKey;
use crate::stanza::jid;
use accounts::{Accounts, Common};
use addresses::{Addresses, Place};
use failures::Failure;
use feeders::{FeederId, Feeders};
use kinds::{KindCode, Kinds};
use node_urls::NodeUrls;
use silence::Silence;

pub use kinds::{Counted, Kind, Software};

/// How many keys of one announcement are linked at the most: one of 0115 and those of 0390.
pub const MAX_LINKED: usize = 9;

/// A component link, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u16);

/// A holder's place in the table, with a generation so that a place taken again is not mistaken for the holder before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HolderId {
    slot: u32,
    generation: u32,
}

/// What one presence announces: linked keys, and the node that a 0115 key was announced with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Announcement {
    /// The keys, at most [`MAX_LINKED`], the 0115 one first; no repetition.
    pub keys: Vec<CapsKey>,
    /// The node URL of the 0115 key; empty without one.
    pub node_url: Arc<str>,
}

impl Announcement {
    /// The node to ask a holder of this announcement for: that of its first key, which all share the answer of.
    pub fn node(&self) -> Option<String> {
        self.keys.first().map(|key| key.to_node(&self.node_url))
    }
}

/// The bounds of the table.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many holders are remembered.
    pub max: usize,
    /// How long a holder that says nothing is remembered.
    pub expire_after: Duration,
    /// How many holders of one key may be asked for it; more are remembered, to be counted.
    pub per_key: usize,
}

/// How many holders were forgotten, or are no longer asked, other than by their own word, by cause, since the counts were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForgottenCounts {
    /// Silent for [`Settings::expire_after`].
    pub expired: u64,
    /// The table was full, and nobody had been silent for longer.
    pub full: u64,
    /// Not forgotten, but no longer asked: their keys had enough other holders.
    pub per_key: u64,
    /// Not holders, but counts of the accounts that announced a key: there were too many keys.
    pub accounts: u64,
}

#[derive(Debug)]
struct Holder {
    address: Place,
    generation: u32,
    announcement: u32,
    /// Seconds since [`Holders::epoch`]; compact, and fine enough for an expiry of hours.
    seen: u32,
    link: LinkId,
    askable: bool,
    /// Who told of it last.
    feeder: FeederId,
}

#[derive(Debug)]
struct Shared {
    announcement: Announcement,
    holders: u32,
    /// Whether all keys were found or resolved since the announcement was first seen.
    known: bool,
    /// Whether its keys and its node are known to be common: nothing is counted for it any more.
    common: bool,
    /// What it stands for.
    kind: KindCode,
}

/// What a new announcement means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The holder.
    pub holder: HolderId,
    /// Whether all keys of the announcement are known to be stored.
    pub known: bool,
    /// What the holder announced before, if it was something else.
    pub replaced: Option<Announcement>,
    /// What became common by this announcement.
    pub common: Vec<Common>,
}

/// A holder as the resolver sees it.
#[derive(Clone, Copy, Debug)]
pub struct HolderView<'a> {
    /// The link that heard it.
    pub link: LinkId,
    /// Its exact address.
    pub address: &'a str,
    /// Its latest announcement.
    pub announcement: &'a Announcement,
    /// Whether it may be asked.
    pub askable: bool,
    /// Whether all keys of the announcement are known to be stored.
    pub known: bool,
}

/// For how many holders room is set aside at the start: as many as a hash table of 131,072 places has. What is not used costs nothing, and
/// tables that do not grow leave no holes behind where they were.
const RESERVED: usize = 7 << 14;

/// The table of holders.
#[derive(Debug)]
pub struct Holders {
    settings: Settings,
    epoch: Instant,
    slots: Vec<Option<Holder>>,
    addresses: Addresses,
    free: Vec<u32>,
    generations: u32,
    by_address: HashTable<u32>,
    by_key: HashMap<CapsKey, Vec<u32>>,
    shared: Vec<Option<Shared>>,
    free_shared: Vec<u32>,
    by_announcement: HashTable<u32>,
    node_urls: NodeUrls,
    silence: Silence,
    hasher: RandomState,
    counts: ForgottenCounts,
    /// By place: the keys that its holder failed to prove, each with the time until which it is not asked again. Apart, because hardly
    /// any holder has one.
    failures: HashMap<u32, Vec<Failure>>,
    /// How many there are in all.
    failed: usize,
    accounts: Accounts,
    kinds: Kinds,
    feeders: Feeders,
}

impl Holders {
    /// An empty table; `now` is the beginning of its time.
    pub fn new(settings: Settings, now: Instant) -> Holders {
        let places = settings.max.min(RESERVED);
        Holders {
            settings,
            epoch: now,
            slots: Vec::with_capacity(places),
            addresses: Addresses::new(places),
            free: Vec::new(),
            generations: 0,
            by_address: HashTable::with_capacity(places),
            by_key: HashMap::default(),
            shared: Vec::new(),
            free_shared: Vec::new(),
            by_announcement: HashTable::new(),
            node_urls: NodeUrls::default(),
            silence: Silence::new(places),
            hasher: RandomState::new(),
            counts: ForgottenCounts::default(),
            failures: HashMap::default(),
            failed: 0,
            accounts: Accounts::new((settings.max / HOLDERS_PER_SKETCH).max(MIN_SKETCHES)),
            kinds: Kinds::new(),
            feeders: Feeders::default(),
        }
    }

    /// Takes another time after which the silent are forgotten.
    pub fn change(&mut self, expire_after: Duration) {
        self.settings.expire_after = expire_after;
    }

    /// How many holders are remembered.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// How many failures of holders are remembered.
    pub fn failures(&self) -> usize {
        self.failed
    }

    /// The counts of forgotten holders since the last call.
    pub fn take_counts(&mut self) -> ForgottenCounts {
        self.counts.accounts += self.accounts.take_forgotten();
        std::mem::take(&mut self.counts)
    }

    fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.epoch).as_secs()).unwrap_or(u32::MAX)
    }

    fn address_hash(&self, link: LinkId, address: &[u8]) -> u64 {
        self.hasher.hash_one((link, address))
    }

    fn find(&self, link: LinkId, address: &str) -> Option<u32> {
        let address = address.as_bytes();
        let (slots, addresses) = (&self.slots, &self.addresses);
        self.by_address
            .find(self.address_hash(link, address), |slot| {
                slots
                    .get(*slot as usize)
                    .and_then(Option::as_ref)
                    .is_some_and(|h| h.link == link && addresses.bytes(h.address) == address)
            })
            .copied()
    }

    fn holder(&self, id: HolderId) -> Option<&Holder> {
        let holder = self.slots.get(id.slot as usize)?.as_ref()?;
        (holder.generation == id.generation).then_some(holder)
    }

    fn announcement_of(&self, holder: &Holder) -> Option<&Shared> {
        self.shared.get(holder.announcement as usize)?.as_ref()
    }

    /// A holder that is still there.
    pub fn view(&self, id: HolderId) -> Option<HolderView<'_>> {
        let holder = self.holder(id).filter(|holder| !self.is_untold(holder))?;
        let shared = self.announcement_of(holder)?;
        Some(HolderView {
            link: holder.link,
            address: self.addresses.get(holder.address),
            announcement: &shared.announcement,
            askable: holder.askable,
            known: shared.known,
        })
    }

    /// The holders that may be asked for a key.
    pub fn of_key(&self, key: &CapsKey) -> impl Iterator<Item = HolderId> + '_ {
        let slots = self.by_key.get(key).map(Vec::as_slice).unwrap_or_default();
        slots.iter().filter_map(|slot| {
            let holder = self.slots.get(*slot as usize)?.as_ref()?;
            if self.is_untold(holder) {
                return None;
            }
            Some(HolderId {
                slot: *slot,
                generation: holder.generation,
            })
        })
    }

    /// Whether anybody announces the key.
    pub fn is_announced(&self, key: &CapsKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Whether several accounts announced the key lately, with that node URL if one is given.
    pub fn is_common(&self, key: &CapsKey, node_url: Option<&str>) -> bool {
        self.accounts.is_common(key, node_url)
    }

    /// Takes note of an announcement: the address now holds these keys and no others. What it failed to prove before is
    /// forgotten, because the announcement may be honest now.
    pub fn announce(
        &mut self,
        now: Instant,
        link: LinkId,
        address: &str,
        announcement: &Announcement,
        askable: bool,
    ) -> Option<Noted> {
        let seen = self.seconds(now);
        let slot = match self.find(link, address) {
            Some(slot) => slot,
            None => self.insert(link, address, seen)?,
        };
        self.silence.heard(slot);
        let shared = self.share(announcement);
        let found = self.shared.get_mut(shared as usize)?.as_mut()?;
        let known = found.known;
        let mut common = Vec::new();
        if !found.common {
            found.common = self.accounts.announced(address, announcement, &mut common);
        }
        let holder = self.slots.get_mut(slot as usize)?.as_mut()?;
        holder.seen = seen.max(self.feeders.since(holder.feeder));
        holder.askable = askable;
        let generation = holder.generation;
        let before = std::mem::replace(&mut holder.announcement, shared);
        self.forgive(slot);
        let mut replaced = None;
        if before == shared {
            self.release(shared);
        } else if let Some(Some(old)) = self.shared.get(before as usize) {
            replaced = Some(old.announcement.clone());
            self.unlist(slot, before);
            self.release(before);
        }
        for key in &announcement.keys {
            self.list(slot, key);
        }
        let id = HolderId { slot, generation };
        self.holder(id)?;
        Some(Noted {
            holder: id,
            known,
            replaced,
            common,
        })
    }

    fn insert(&mut self, link: LinkId, address: &str, seen: u32) -> Option<u32> {
        if self.len() >= self.settings.max {
            let domain = jid::domain(address);
            tracing::trace!(
                domain,
                "no room among the holders: the one that was silent for longest is forgotten"
            );
        }
        while self.len() >= self.settings.max {
            self.remove(self.silence.longest()?);
            self.counts.full += 1;
        }
        self.generations = self.generations.wrapping_add(1);
        let generation = self.generations;
        let holder = Holder {
            address: self.addresses.insert(address)?,
            generation,
            announcement: NO_ANNOUNCEMENT,
            seen,
            link,
            askable: false,
            feeder: FeederId::default(),
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(holder);
                slot
            }
            None => {
                let slot = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Some(holder));
                slot
            }
        };
        let hash = self.address_hash(link, address.as_bytes());
        let (slots, addresses, hasher) = (&self.slots, &self.addresses, &self.hasher);
        self.by_address.insert_unique(hash, slot, |slot| {
            slots[*slot as usize]
                .as_ref()
                .map_or(0, |h| hasher.hash_one((h.link, addresses.bytes(h.address))))
        });
        Some(slot)
    }

    fn find_shared(&self, announcement: &Announcement) -> Option<u32> {
        let hash = self.hasher.hash_one(announcement);
        let found = self.by_announcement.find(hash, |at| {
            self.shared[*at as usize]
                .as_ref()
                .is_some_and(|s| s.announcement == *announcement)
        });
        found.copied()
    }

    /// The shared copy of an announcement, counted once more.
    fn share(&mut self, announcement: &Announcement) -> u32 {
        if let Some(at) = self.find_shared(announcement) {
            if let Some(shared) = &mut self.shared[at as usize] {
                shared.holders += 1;
            }
            return at;
        }
        let new = Shared {
            announcement: Announcement {
                keys: announcement.keys.clone(),
                node_url: self.node_urls.one(&announcement.node_url),
            },
            holders: 1,
            known: false,
            common: false,
            kind: KindCode::default(),
        };
        let at = match self.free_shared.pop() {
            Some(at) => {
                self.shared[at as usize] = Some(new);
                at
            }
            None => {
                // At most one per holder and one in passing, so it fits as the slots do.
                self.shared.push(Some(new));
                (self.shared.len() - 1) as u32
            }
        };
        let hash = self.hasher.hash_one(announcement);
        let (shared, hasher) = (&self.shared, &self.hasher);
        self.by_announcement.insert_unique(hash, at, |at| {
            shared[*at as usize]
                .as_ref()
                .map_or(0, |s| hasher.hash_one(&s.announcement))
        });
        at
    }

    fn release(&mut self, at: u32) {
        let Some(shared) = &mut self.shared[at as usize] else {
            return;
        };
        shared.holders -= 1;
        if shared.holders > 0 {
            return;
        }
        let hash = self.hasher.hash_one(&shared.announcement);
        self.kinds.leave(shared.kind);
        if let Ok(entry) = self.by_announcement.find_entry(hash, |other| *other == at) {
            entry.remove();
        }
        self.shared[at as usize] = None;
        self.free_shared.push(at);
    }

    fn list(&mut self, slot: u32, key: &CapsKey) {
        let listed = self.by_key.entry(*key).or_default();
        if listed.contains(&slot) {
            return;
        }
        if listed.len() < self.settings.per_key {
            // A list for each key: doubling would leave half of each empty.
            listed.reserve_exact(
                usize::from(listed.len() == listed.capacity()) * (1 + listed.len() / 4),
            );
            listed.push(slot);
            return;
        }
        let account = |slot: u32| {
            self.slots[slot as usize]
                .as_ref()
                .map_or("", |h| jid::bare(self.addresses.get(h.address)))
        };
        let own = account(slot);
        let out = listed.iter().position(|s| account(*s) == own).unwrap_or(0);
        let out = listed.remove(out);
        listed.push(slot);
        let still_listed = self.slots[out as usize]
            .as_ref()
            .and_then(|h| self.announcement_of(h))
            .is_some_and(|s| {
                s.announcement
                    .keys
                    .iter()
                    .any(|key| self.by_key.get(key).is_some_and(|l| l.contains(&out)))
            });
        self.counts.per_key += u64::from(!still_listed);
    }

    fn unlist(&mut self, slot: u32, announcement: u32) {
        let Some(shared) = &self.shared[announcement as usize] else {
            return;
        };
        for key in &shared.announcement.keys {
            if let Some(listed) = self.by_key.get_mut(key) {
                listed.retain(|s| *s != slot);
                if listed.is_empty() {
                    self.by_key.remove(key);
                }
            }
        }
    }

    fn remove(&mut self, slot: u32) {
        let Some(holder) = self.slots[slot as usize].take() else {
            return;
        };
        let hash = self.address_hash(holder.link, self.addresses.bytes(holder.address));
        if let Ok(entry) = self.by_address.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
        self.addresses.remove(holder.address);
        self.silence.remove(slot);
        self.forgive(slot);
        if holder.announcement != NO_ANNOUNCEMENT {
            self.unlist(slot, holder.announcement);
            self.release(holder.announcement);
        }
        self.free.push(slot);
    }

    /// Takes note that a holder was heard without an announcement (XEP-0115 section 8.4: its caps are unchanged).
    pub fn heard(&mut self, now: Instant, link: LinkId, address: &str) {
        let seen = self.seconds(now);
        if let Some(slot) = self.find(link, address)
            && let Some(holder) = &mut self.slots[slot as usize]
        {
            holder.seen = seen.max(self.feeders.since(holder.feeder));
            self.silence.heard(slot);
        }
    }

    /// Marks an announcement as all known, so that the next one who makes it costs no look-up.
    pub fn mark_known(&mut self, announcement: &Announcement) {
        if let Some(at) = self.find_shared(announcement)
            && let Some(shared) = &mut self.shared[at as usize]
        {
            shared.known = true;
            if Kind::from(shared.kind) == Kind::Absent {
                shared.kind = Kind::New.into();
            }
        }
    }
}

/// Accounts are counted for as many keys and nodes lately as there may be holders, divided by this.
const HOLDERS_PER_SKETCH: usize = 16;

/// For at least so many keys and nodes accounts are counted, however few holders there may be.
const MIN_SKETCHES: usize = 1024;

/// The place of no announcement: a holder between being entered and being given one.
const NO_ANNOUNCEMENT: u32 = u32::MAX;
