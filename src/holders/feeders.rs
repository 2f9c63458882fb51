//! Which server told of whom, so that one that tells everything anew need not say who went meanwhile.
//!
//! A server that feeds capsd may have lost track of what it told: it was restarted, or capsd did not answer for a while. What it told
//! before holds then only if it is told again (deploy/protocol.md section 6). Nothing is looked through when that begins: each holder knows
//! who told of it and when, so what was not told again is passed over from that moment on, and removed later, some at a time.

use std::time::{Duration, Instant};

use super::{Holder, HolderId, Holders, LinkId};

/// How many feeders are told apart; for any more, telling anew removes nobody.
pub const MAX_FEEDERS: usize = 255;

/// How long after a feeder began anew those are removed whom it has not told of again: most are, within moments, and then keep their places.
pub const REMOVED_AFTER: Duration = Duration::from_secs(3);

/// How many places of the table are looked at in one go.
const SWEEP_PLACES: usize = 16_384;

/// Somebody who feeds capsd over a link. The default is nobody: holders that announced themselves to capsd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeederId(u8);

/// A holder that its feeder did not tell of again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// Who it was.
    pub holder: HolderId,
    /// The link that it was told of over.
    pub link: LinkId,
    /// Its exact address.
    pub address: Box<str>,
}

#[derive(Debug)]
struct Feeder {
    /// The hash of its link and its names.
    name: u64,
    /// What it told before that second counts no more.
    since: u32,
}

/// Where the removal is, and from which second on it goes on.
#[derive(Clone, Copy, Debug)]
struct Sweep {
    begins: u32,
    next: usize,
}

/// All feeders so far: a handful, so they are searched one by one.
#[derive(Debug, Default)]
pub(super) struct Feeders {
    known: Vec<Feeder>,
    sweep: Option<Sweep>,
}

impl Feeders {
    /// The second from which on what that feeder told counts.
    pub(super) fn since(&self, feeder: FeederId) -> u32 {
        let place = usize::from(feeder.0).checked_sub(1);
        let feeder = place.and_then(|place| self.known.get(place));
        feeder.map_or(0, |feeder| feeder.since)
    }
}

impl Holders {
    /// The feeder with that domain on that link, and of those who share it the one of that name.
    pub fn feeder(&mut self, link: LinkId, domain: &str, name: &str) -> FeederId {
        let hash = self.hasher.hash_one((link, domain, name));
        let known = &mut self.feeders.known;
        let place = known.iter().position(|feeder| feeder.name == hash);
        if place.is_none() && known.len() >= MAX_FEEDERS {
            return FeederId::default();
        }
        let place = place.unwrap_or_else(|| {
            known.push(Feeder {
                name: hash,
                since: 0,
            });
            known.len() - 1
        });
        // There are at most 255 places.
        FeederId(place as u8 + 1)
    }

    /// Takes note of who told of a holder last.
    pub fn told_by(&mut self, feeder: FeederId, link: LinkId, address: &str) {
        let since = self.feeders.since(feeder);
        if let Some(slot) = self.find(link, address)
            && let Some(Some(holder)) = self.slots.get_mut(slot as usize)
        {
            holder.feeder = feeder;
            holder.seen = holder.seen.max(since);
        }
    }

    /// What the feeder told before holds no more, unless it is told again.
    pub fn begin_anew(&mut self, now: Instant, feeder: FeederId) {
        let seconds = self.seconds(now);
        let Some(place) = usize::from(feeder.0).checked_sub(1) else {
            return;
        };
        let Some(known) = self.feeders.known.get_mut(place) else {
            return;
        };
        // A second that has not come yet: what was told within the present one is older, too.
        known.since = seconds.max(known.since).saturating_add(1);
        let begins = self.seconds(now + REMOVED_AFTER);
        let sweep = self.feeders.sweep;
        self.feeders.sweep = Some(Sweep {
            begins: sweep.map_or(begins, |sweep| sweep.begins.min(begins)),
            next: 0,
        });
    }

    /// Whether a feeder told of the holder and began anew since.
    pub(super) fn is_untold(&self, holder: &Holder) -> bool {
        holder.seen < self.feeders.since(holder.feeder)
    }

    /// Removes up to `most` holders that were not told of again, once it is time. Returns them.
    pub fn remove_untold(&mut self, now: Instant, most: usize) -> Vec<Untold> {
        let mut removed = Vec::new();
        let seconds = self.seconds(now);
        let Some(sweep) = self.feeders.sweep.filter(|sweep| sweep.begins <= seconds) else {
            return removed;
        };
        let places = sweep.next..self.slots.len().min(sweep.next + SWEEP_PLACES);
        let mut next = places.end;
        for place in places {
            if removed.len() >= most {
                next = place;
                break;
            }
            let holder = self.slots.get(place).and_then(Option::as_ref);
            if let Some(holder) = holder.filter(|holder| self.is_untold(holder)) {
                let slot = place as u32;
                removed.push(Untold {
                    holder: HolderId {
                        slot,
                        generation: holder.generation,
                    },
                    link: holder.link,
                    address: self.addresses.get(holder.address).into(),
                });
                self.remove(slot);
            }
        }
        self.feeders.sweep = (next < self.slots.len()).then_some(Sweep { next, ..sweep });
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::super::addresses::Place;
    use super::super::{Announcement, Settings};
    use super::*;
    use crate::caps::{Algorithm, CapsKey, Family};

    const LINK: LinkId = LinkId(0);

    struct Table {
        holders: Holders,
        now: Instant,
        announcement: Announcement,
    }

    impl Table {
        fn new() -> Table {
            let now = Instant::now();
            let settings = Settings {
                max: 100_000,
                expire_after: Duration::from_secs(3600),
                per_key: 64,
            };
            let key = CapsKey::new(Family::Xep0115, Algorithm::Sha1, &[1; 20]).unwrap();
            Table {
                holders: Holders::new(settings, now),
                now,
                announcement: Announcement {
                    keys: vec![key],
                    node_url: "http://a".into(),
                },
            }
        }

        fn presence(&mut self, address: &str) {
            let announcement = self.announcement.clone();
            self.holders
                .announce(self.now, LINK, address, &announcement, true);
        }

        fn tell(&mut self, feeder: FeederId, address: &str) {
            self.presence(address);
            self.holders.told_by(feeder, LINK, address);
        }

        /// Who may be asked.
        fn askable(&self) -> Vec<String> {
            let key = self.announcement.keys[0];
            let holders = self.holders.of_key(&key);
            let views = holders.filter_map(|id| self.holders.view(id));
            let mut askable: Vec<String> = views.map(|view| view.address.to_owned()).collect();
            askable.sort();
            askable
        }

        /// Removes whom it is time to remove, and returns their addresses.
        fn remove(&mut self, most: usize) -> Vec<String> {
            let removed = self.holders.remove_untold(self.now, most).into_iter();
            removed.map(|untold| untold.address.into_string()).collect()
        }
    }

    #[test]
    fn a_holder_is_no_larger_for_it() {
        /// As [`Holder`] was without its feeder.
        struct Without {
            _address: Place,
            _numbers: [u32; 3],
            _link: LinkId,
            _askable: bool,
        }
        assert_eq!(size_of::<Option<Holder>>(), size_of::<Option<Without>>());
    }

    #[test]
    fn what_is_not_told_again_counts_no_more() {
        let mut table = Table::new();
        let ours = table.holders.feeder(LINK, "x", "");
        let others = table.holders.feeder(LINK, "x", "other");
        assert_ne!(ours, others);
        table.tell(ours, "a@x/stays");
        table.tell(ours, "a@x/went");
        table.tell(others, "b@x/other");
        table.presence("c@x/itself");
        table.holders.begin_anew(table.now, ours);
        // Within the same second, and of those none that was told before.
        assert_eq!(table.askable(), ["b@x/other", "c@x/itself"]);
        table.tell(ours, "a@x/stays");
        table.tell(ours, "a@x/new");
        let left = ["a@x/new", "a@x/stays", "b@x/other", "c@x/itself"];
        assert_eq!(table.askable(), left);
        assert_eq!(table.remove(100), [""; 0], "not yet");
        table.now += REMOVED_AFTER;
        assert_eq!(table.remove(100), ["a@x/went"]);
        assert_eq!(
            (table.askable(), table.holders.len()),
            (left.map(str::to_owned).to_vec(), 4)
        );
        // Twice within a second, with one that is told between.
        table.holders.begin_anew(table.now, ours);
        table.tell(ours, "a@x/new");
        table.holders.begin_anew(table.now, ours);
        assert_eq!(table.askable(), left[2..]);
        // A presence shows that somebody is there, whoever told of it before.
        table.presence("a@x/stays");
        assert_eq!(table.askable(), left[1..]);
    }

    #[test]
    fn the_table_is_looked_through_some_places_at_a_time() {
        let mut table = Table::new();
        let ours = table.holders.feeder(LINK, "x", "");
        let all = SWEEP_PLACES * 2 + 100;
        for number in 0..all {
            table.tell(ours, &format!("a@x/{number}"));
        }
        table.holders.begin_anew(table.now, ours);
        table.tell(ours, "a@x/7");
        table.now += REMOVED_AFTER;
        assert_eq!(table.remove(10).len(), 10);
        let mut rounds = 0;
        let mut removed = 10;
        while table.holders.len() > 1 {
            let count = table.remove(usize::MAX).len();
            assert!(count <= SWEEP_PLACES);
            removed += count;
            rounds += 1;
            assert!(rounds <= 3);
        }
        assert_eq!((removed, rounds), (all - 1, 3));
        assert_eq!(table.askable(), ["a@x/7"]);
        assert_eq!(table.remove(usize::MAX), [""; 0]);
    }

    #[test]
    fn too_many_feeders_are_nobody() {
        let mut table = Table::new();
        for number in 0..MAX_FEEDERS {
            let feeder = table.holders.feeder(LINK, "x", &number.to_string());
            assert_ne!(feeder, FeederId::default());
        }
        let beyond = table.holders.feeder(LINK, "x", "one too many");
        assert_eq!(beyond, FeederId::default());
        table.tell(beyond, "a@x/r");
        table.holders.begin_anew(table.now, beyond);
        assert_eq!(table.askable(), ["a@x/r"]);
    }
}
