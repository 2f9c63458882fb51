//! What the announcements stand for, as far as the population is counted by it.
//!
//! Many announcements are of one kind: the versions of a client, or one client in several languages. Each shared announcement
//! names its kind in two bytes that it has room for, so that a holder costs nothing more.

use std::sync::Arc;

use ahash::HashMap;

use super::{Announcement, Holders};

/// What a kind of announcements has in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Software {
    /// What the software calls itself; `None` where it gives no name that is fit to be shown.
    pub name: Option<Box<str>>,
    /// Which of the counted features it has, a bit for each in the order of the configuration.
    pub features: u32,
}

/// What is known of an announcement's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody has looked yet.
    New,
    /// Its content was looked for and not found.
    Absent,
    /// The place of its kind in the table of kinds; it stays the same until [`Holders::sweep_kinds`].
    Known(u16),
}

/// A [`Kind`] in two bytes: 0 is new, 1 is absent, the others are places, counted from 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KindCode(u16);

impl From<Kind> for KindCode {
    fn from(kind: Kind) -> KindCode {
        KindCode(match kind {
            Kind::New => 0,
            Kind::Absent => 1,
            Kind::Known(place) => place.saturating_add(2),
        })
    }
}

impl From<KindCode> for Kind {
    fn from(code: KindCode) -> Kind {
        match code.0 {
            0 => Kind::New,
            1 => Kind::Absent,
            place => Kind::Known(place - 2),
        }
    }
}

/// A holder as the population is counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// Its account, by the keyed hash of this process.
    pub account: u32,
    /// What it announces.
    pub announcement: &'a Announcement,
    /// What is known of that.
    pub kind: Kind,
    /// Whether several accounts announced it lately.
    pub common: bool,
}

#[derive(Debug)]
struct Known {
    software: Arc<Software>,
    /// How many shared announcements are of this kind.
    announcements: u32,
}

/// The table of kinds, bounded.
#[derive(Debug)]
pub(super) struct Kinds {
    most: usize,
    known: Vec<Option<Known>>,
    free: Vec<u16>,
    places: HashMap<Arc<Software>, u16>,
}

impl Kinds {
    pub(super) fn new() -> Kinds {
        Kinds {
            most: 0,
            known: Vec::new(),
            free: Vec::new(),
            places: HashMap::default(),
        }
    }

    /// Whether a new kind has room. The last quarter is for what is common, so that one account with many made-up names cannot
    /// keep out what everybody uses.
    fn has_room(&self, common: bool) -> bool {
        let most = if common {
            self.most
        } else {
            self.most - self.most / 4
        };
        self.places.len() < most
    }

    /// The place of a kind that one more announcement is of; `None` where it is new and has no room.
    fn enter(&mut self, software: Software, common: bool) -> Option<u16> {
        if let Some(place) = self.places.get(&software).copied() {
            if let Some(Some(known)) = self.known.get_mut(usize::from(place)) {
                known.announcements += 1;
            }
            return Some(place);
        }
        if !self.has_room(common) {
            return None;
        }
        let software = Arc::new(software);
        let known = Some(Known {
            software: Arc::clone(&software),
            announcements: 1,
        });
        let place = match self.free.pop() {
            Some(place) => {
                self.known[usize::from(place)] = known;
                place
            }
            None => {
                let place = u16::try_from(self.known.len()).ok()?;
                self.known.push(known);
                place
            }
        };
        self.places.insert(software, place);
        Some(place)
    }

    /// An announcement is gone.
    pub(super) fn leave(&mut self, code: KindCode) {
        if let Kind::Known(place) = code.into()
            && let Some(Some(known)) = self.known.get_mut(usize::from(place))
        {
            known.announcements = known.announcements.saturating_sub(1);
        }
    }

    fn sweep(&mut self) {
        for (place, slot) in self.known.iter_mut().enumerate() {
            if let Some(known) = slot.take_if(|known| known.announcements == 0) {
                self.places.remove(&known.software);
                // The table never has more places than a `u16` counts.
                self.free.push(place as u16);
            }
        }
    }
}

impl Holders {
    /// Sets how many kinds of software are told apart, at most 16,384; none before.
    pub fn limit_kinds(&mut self, most: usize) {
        self.kinds.most = most.min(16_384);
    }

    /// Shows each holder in so many places of the table, from that place on; returns the next place, or `None` at the end.
    pub fn count(
        &self,
        from: usize,
        places: usize,
        mut each: impl FnMut(Counted<'_>),
    ) -> Option<usize> {
        let end = from.saturating_add(places).min(self.slots.len());
        for holder in self.slots.get(from..end).unwrap_or_default() {
            let Some(holder) = holder else { continue };
            if let Some(shared) = self.announcement_of(holder) {
                each(Counted {
                    account: self.accounts.account(self.addresses.get(holder.address)),
                    announcement: &shared.announcement,
                    kind: shared.kind.into(),
                    common: shared.common,
                });
            }
        }
        (end < self.slots.len()).then_some(end)
    }

    /// How many places the table has, taken or not.
    pub fn places(&self) -> usize {
        self.slots.len()
    }

    /// Whether a kind that is not known yet would have room.
    pub fn has_room_for_kind(&self, common: bool) -> bool {
        self.kinds.has_room(common)
    }

    /// Takes note of what an announcement stands for; `None`: its content was not found. Where there is no room for a kind the
    /// announcement stays new.
    pub fn classify(&mut self, announcement: &Announcement, software: Option<Software>) {
        let Some(at) = self.find_shared(announcement) else {
            return;
        };
        let Some(Some(shared)) = self.shared.get_mut(at as usize) else {
            return;
        };
        if matches!(shared.kind.into(), Kind::Known(_)) {
            return;
        }
        let kind = match software {
            None => Kind::Absent,
            Some(software) => self
                .kinds
                .enter(software, shared.common)
                .map_or(Kind::New, Kind::Known),
        };
        shared.kind = kind.into();
    }

    /// The software at a place of the table of kinds.
    pub fn software(&self, place: u16) -> Option<&Software> {
        let known = self.kinds.known.get(usize::from(place))?.as_ref()?;
        Some(&known.software)
    }

    /// Makes room where nobody announces a kind any more.
    pub fn sweep_kinds(&mut self) {
        self.kinds.sweep();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::{LinkId, Settings, Shared};
    use super::*;
    use crate::caps::CapsKey;

    fn holders(most: usize) -> (Holders, Instant) {
        let now = Instant::now();
        let settings = Settings {
            max: 10_000,
            expire_after: Duration::from_secs(60),
            per_key: 8,
        };
        let mut holders = Holders::new(settings, now);
        holders.limit_kinds(most);
        (holders, now)
    }

    fn announcement(number: u32) -> Announcement {
        let mut digest = [0; 20];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        let (family, algorithm) = (crate::caps::Family::Xep0115, crate::caps::Algorithm::Sha1);
        Announcement {
            keys: vec![CapsKey::new(family, algorithm, &digest).unwrap()],
            node_url: "http://a".to_owned(),
        }
    }

    fn named(name: &str) -> Software {
        Software {
            name: Some(name.into()),
            features: 1,
        }
    }

    /// What is known of every holder's announcement.
    fn kinds(holders: &Holders) -> Vec<Kind> {
        let mut kinds = Vec::new();
        assert_eq!(
            holders.count(0, 5000, |counted| kinds.push(counted.kind)),
            None
        );
        kinds
    }

    #[test]
    fn a_shared_announcement_is_no_larger_for_it() {
        /// As [`Shared`] was without the kind.
        struct Without {
            _announcement: Announcement,
            _holders: u32,
            _known: bool,
            _common: bool,
        }
        assert_eq!(size_of::<Option<Shared>>(), size_of::<Option<Without>>());
    }

    #[test]
    fn announcements_of_one_kind_share_its_place_until_all_are_gone() {
        let (mut holders, now) = holders(100);
        for n in 0..3 {
            holders.announce(now, LinkId(0), &format!("a{n}@x/y"), &announcement(n), true);
        }
        assert_eq!(kinds(&holders), [Kind::New; 3]);
        holders.classify(&announcement(0), Some(named("A")));
        holders.classify(&announcement(1), Some(named("A")));
        holders.classify(&announcement(2), None);
        let known = Kind::Known(0);
        assert_eq!(kinds(&holders), [known, known, Kind::Absent]);
        assert_eq!(holders.software(0), Some(&named("A")));
        holders.depart(LinkId(0), "a0@x/y");
        holders.sweep_kinds();
        assert_eq!(holders.software(0), Some(&named("A")));
        // Until the sweep the place is that of the old kind, also for counts that began before.
        holders.depart(LinkId(0), "a1@x/y");
        holders.classify(&announcement(2), Some(named("B")));
        assert_eq!(kinds(&holders), [Kind::Known(1)]);
        holders.sweep_kinds();
        assert_eq!(holders.software(0), None);
    }

    #[test]
    fn made_up_names_leave_room_for_what_is_common() {
        let (mut holders, now) = holders(100);
        for n in 0..1000 {
            holders.announce(now, LinkId(0), &format!("a@x/{n}"), &announcement(n), true);
            holders.classify(&announcement(n), Some(named(&n.to_string())));
        }
        let known = |holders: &Holders| {
            let kinds = kinds(holders).into_iter();
            kinds.filter(|kind| matches!(kind, Kind::Known(_))).count()
        };
        assert_eq!(known(&holders), 75);
        assert!(!holders.has_room_for_kind(false) && holders.has_room_for_kind(true));
        for account in ["b", "c", "d"] {
            holders.announce(
                now,
                LinkId(0),
                &format!("{account}@x"),
                &announcement(5000),
                true,
            );
        }
        holders.classify(&announcement(5000), Some(named("Gajim")));
        assert_eq!(known(&holders), 75 + 3);
        assert_eq!(holders.software(75), Some(&named("Gajim")));
        for n in 0..1000 {
            holders.depart(LinkId(0), &format!("a@x/{n}"));
        }
        holders.sweep_kinds();
        assert!(holders.has_room_for_kind(false));
        assert_eq!(holders.kinds.places.len(), 1);
    }
}
