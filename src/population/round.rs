//! One round of counting: every holder once, a piece at a time.

use std::collections::BTreeMap;

use crate::holders::accounts::Sketch;
use crate::holders::{Announcement, Counted, Holders, Kind};

/// How many places of the table are looked at under one lock: some tens of microseconds.
const PIECE: usize = 512;

/// In how many steps a round ends at the latest.
const STEPS: usize = 60;

/// How many places a step looks at, at least.
const STEP: usize = 4096;

/// How many announcements are looked up in one step.
const LOOK_UPS: usize = 64;

/// Of these an announcement whose content was not found is looked up again in every so many-th round.
const AGAIN: u64 = 64;

/// How many holders, and whether they are of several accounts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) sessions: u64,
    pub(super) accounts: Sketch,
}

impl Tally {
    fn add(&mut self, account: u32) {
        self.sessions += 1;
        self.accounts.add(account);
    }

    fn merge(&mut self, other: &Tally) {
        self.sessions += other.sessions;
        self.accounts.merge(&other.accounts);
    }
}

/// What a whole round counted.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// By the name of the software.
    pub(super) named: BTreeMap<Box<str>, Tally>,
    /// Software without a name.
    pub(super) unnamed: u64,
    /// By the place of the feature in the configuration.
    pub(super) features: Vec<Tally>,
    /// Whose content is not known.
    pub(super) unknown: u64,
    /// Whose kind found no room in the table of kinds.
    pub(super) beyond: u64,
}

/// A round under way.
#[derive(Debug, Default)]
pub(super) struct Round {
    number: u64,
    place: usize,
    /// By place in the table of kinds.
    kinds: Vec<Tally>,
    unknown: u64,
    beyond: u64,
    step: Step,
}

/// What is left to do in a step.
#[derive(Debug, Default)]
struct Step {
    places: usize,
    wanted: Vec<Announcement>,
}

impl Round {
    /// Begins a step over a table with that many places.
    pub(super) fn begin_step(&mut self, places: usize) {
        self.step.places = (places / STEPS).max(STEP);
    }

    /// Counts a piece of the table; whether the round goes on in this step.
    pub(super) fn count(&mut self, holders: &Holders) -> bool {
        let piece = PIECE.min(self.step.places);
        self.step.places -= piece;
        let room = [false, true].map(|common| holders.has_room_for_kind(common));
        let mut place = self.place;
        let next = holders.count(self.place, piece, |counted| {
            place += 1;
            self.add(&counted, room[usize::from(counted.common)], place);
        });
        self.place = next.unwrap_or(0);
        next.is_some() && self.step.places > 0
    }

    fn add(&mut self, counted: &Counted<'_>, room: bool, place: usize) {
        let wanted = match counted.kind {
            Kind::Known(kind) => {
                let kind = usize::from(kind);
                if self.kinds.len() <= kind {
                    self.kinds.resize(kind + 1, Tally::default());
                }
                self.kinds[kind].add(counted.account);
                return;
            }
            Kind::New if !room => {
                self.beyond += 1;
                return;
            }
            Kind::New => true,
            Kind::Absent => (place as u64)
                .wrapping_add(self.number)
                .is_multiple_of(AGAIN),
        };
        self.unknown += 1;
        let looked_up = &mut self.step.wanted;
        if wanted && looked_up.len() < LOOK_UPS && !looked_up.contains(counted.announcement) {
            looked_up.push(counted.announcement.clone());
        }
    }

    /// The announcements that are to be looked up after this step.
    pub(super) fn wanted(&mut self) -> Vec<Announcement> {
        std::mem::take(&mut self.step.wanted)
    }

    /// Whether every place was looked at.
    pub(super) fn is_over(&self) -> bool {
        self.place == 0
    }

    /// Ends the round: what it counted, for so many features. The next one begins.
    pub(super) fn end(&mut self, holders: &mut Holders, features: usize) -> Totals {
        let mut totals = Totals {
            features: vec![Tally::default(); features],
            unknown: std::mem::take(&mut self.unknown),
            beyond: std::mem::take(&mut self.beyond),
            ..Totals::default()
        };
        for (place, tally) in self.kinds.iter().enumerate() {
            let software = u16::try_from(place).ok().and_then(|p| holders.software(p));
            let Some(software) = software.filter(|_| tally.sessions > 0) else {
                continue;
            };
            match &software.name {
                Some(name) => totals.named.entry(name.clone()).or_default().merge(tally),
                None => totals.unnamed += tally.sessions,
            }
            for (bit, feature) in totals.features.iter_mut().enumerate() {
                if software.features & (1 << bit) != 0 {
                    feature.merge(tally);
                }
            }
        }
        self.kinds.clear();
        self.number += 1;
        holders.sweep_kinds();
        totals
    }
}
