//! The table of flights: every resolution in progress, as a state machine without I/O and without a clock.
//!
//! Events go in with the time at which they happened; [`Effect`]s come out for the caller to carry out. A flight first looks in
//! the tiers below the hot one, then asks one askable holder after another, all under one deadline.
//!
//! What the invariants of the design come to here:
//! - A key is in at most one flight; whoever asks for it meanwhile waits there. A waiter that loses interest changes nothing.
//! - A flight ends by being settled for each of its keys, by having nobody left to ask, or by its deadline; each way every waiter
//!   is told.
//! - A failure is remembered with the holder, for its keys, and never with a key. A holder that announces anew is forgiven.
//! - An answer that proves a key settles it wherever it is awaited, whoever was asked for it.
//! - A holder that is overdue is passed over, but its answer still counts until the flight ends. One that is not overdue when the
//!   flight ends may still prove its keys, for whoever asks next.

mod changing;
mod questions;
mod settings;
mod snapshot;
mod unasked;
mod upkeep;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ahash::{HashMap, HashSet, RandomState};

pub(super) use questions::random_id;
pub use questions::{Question, QuestionId, Verdicts};
pub use settings::Settings;
pub use snapshot::{FlightView, KeyView, Snapshot};

use super::limits::{self, SourceQuotas};
use crate::cache::Entry;
use crate::caps::{CapsKey, Reason};
use crate::holders::accounts::Common;
use crate::holders::{Announcement, HolderId, Holders, LinkId};
use crate::metrics::{LookupResult, Metrics, WaiterScope};
use crate::trusted::Overrides;

/// Identifies a flight to whoever looks in the tiers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlightId(u64);

/// Where a served entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// From a tier.
    Stored,
    /// From the answer of a holder.
    Resolved,
}

/// How far a waiter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until holders were asked.
    Asking,
    /// Until the tiers were looked in: nobody is asked on its behalf.
    Looking,
}

/// How a lookup ended for one waiter.
pub type Outcome = Result<(Arc<Entry>, Served), Reason>;

/// What the caller is to do.
#[derive(Debug)]
pub enum Effect<W> {
    /// Look for the keys in the tiers below the hot one, and report to [`Flights::loaded`].
    Load(FlightId, Vec<CapsKey>),
    /// Send the question.
    Ask {
        /// The id that the answer must carry.
        id: QuestionId,
        /// The link to send it over.
        link: LinkId,
        /// Whom to ask.
        address: Box<str>,
        /// The node to ask for.
        node: String,
    },
    /// Tell a waiter.
    Tell(W, Outcome),
    /// Note that a key, or a node with it, is announced by several accounts.
    Common(Common),
}

#[derive(Debug)]
struct Flight<W> {
    keys: Vec<CapsKey>,
    waiters: Vec<(CapsKey, Patience, W)>,
    began: Instant,
    tried: HashSet<HolderId>,
    tried_accounts: HashSet<Box<str>>,
    cause: Option<Reason>,
    /// The question whose holder is not overdue yet.
    current: Option<QuestionId>,
    questions: Vec<QuestionId>,
    /// Whether the tiers are still being looked in.
    looking: bool,
    /// The announcement that began the flight, if the flight covers all its keys.
    whole: Option<Announcement>,
    /// Whether the first waiter's lookup is still to be counted.
    uncounted: bool,
    /// Whether nobody wants more of it than that the tiers are looked in.
    only_looks: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Question(QuestionId),
    Flight(FlightId),
}

/// How many look-ups in the tiers may be under way, as a multiple of the bound on flights: they end by themselves within
/// microseconds.
const LOOKUPS_PER_FLIGHT: usize = 16;

/// How many look-ups announcements alone may have under way; further announcements wait their turn. A query that has to be looked
/// up waits for these at the most, some hundred microseconds.
const ANNOUNCED_AT_ONCE: usize = 32;

/// How many silent holders are forgotten in one go.
const EXPIRE_STEP: usize = 4096;

/// The table of flights with the holders that they ask. `W` is what a waiter is to the caller.
#[derive(Debug)]
pub struct Flights<W> {
    settings: Settings,
    holders: Holders,
    flights: HashMap<FlightId, Flight<W>>,
    by_key: HashMap<CapsKey, FlightId>,
    questions: HashMap<QuestionId, Question>,
    asked: HashMap<HolderId, Vec<QuestionId>>,
    timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    /// Holders whose announcement waits for its flight.
    queued: VecDeque<HolderId>,
    links_up: Vec<bool>,
    overrides: Arc<Overrides>,
    next: u64,
    looking: usize,
    waiters: usize,
    /// Whether the process ends: nothing begins any more.
    stopped: bool,
    new_keys: SourceQuotas,
    more_questions: SourceQuotas,
    dice: RandomState,
    metrics: Arc<Metrics>,
}

impl<W> Flights<W> {
    /// An empty table for that many links, all down; `now` is the beginning of its time.
    pub fn new(
        settings: Settings,
        links: usize,
        metrics: Arc<Metrics>,
        now: Instant,
    ) -> Flights<W> {
        Flights {
            holders: Holders::new(settings.holders, now),
            flights: HashMap::default(),
            by_key: HashMap::default(),
            questions: HashMap::default(),
            asked: HashMap::default(),
            timers: BinaryHeap::new(),
            queued: VecDeque::new(),
            links_up: vec![false; links],
            overrides: Arc::default(),
            next: 0,
            looking: 0,
            waiters: 0,
            stopped: false,
            new_keys: SourceQuotas::new(
                settings.new_keys_per_account,
                settings.new_keys_per_domain,
                now,
            ),
            more_questions: SourceQuotas::new(
                settings.questions_per_account,
                settings.questions_per_domain,
                now,
            ),
            dice: RandomState::new(),
            metrics,
            settings,
        }
    }

    /// The holders, to look at.
    pub fn holders(&self) -> &Holders {
        &self.holders
    }

    /// The holders, to count them.
    pub fn holders_mut(&mut self) -> &mut Holders {
        &mut self.holders
    }

    /// How many flights are in progress beyond the tiers.
    pub fn in_progress(&self) -> usize {
        self.flights.len() - self.looking
    }

    /// Takes note of an announcement, and resolves its keys if that is the setting and they are not `in_memory` already.
    pub fn announce(
        &mut self,
        now: Instant,
        link: LinkId,
        address: &str,
        announcement: &Announcement,
        askable: bool,
        in_memory: bool,
    ) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        let Some(noted) = self
            .holders
            .announce(now, link, address, announcement, askable)
        else {
            return effects;
        };
        if let Some(replaced) = &noted.replaced {
            self.replaced(noted.holder, replaced);
        }
        effects.extend(noted.common.into_iter().map(Effect::Common));
        for key in &announcement.keys {
            if let Some(id) = self.by_key.get(key).copied() {
                self.join(now, id, noted.holder, &mut effects);
            }
        }
        let wanted = self.settings.on_announce && askable && !noted.known && !in_memory;
        self.ask_beyond_the_tiers(wanted, announcement);
        if wanted && let Some(spent) = self.new_keys.spent(address, now) {
            // Nobody waits, so it would not be asked: a flood is not worth a look-up for each hash.
            limits::beyond(&self.metrics, spent.into(), address);
        } else if wanted {
            if self.queued.len() < self.settings.holders.max {
                self.queued.push_back(noted.holder);
            } else {
                self.metrics.flights_rejected.inc();
            }
            self.begin_queued(now, &mut effects);
        }
        effects
    }

    /// Flights for these keys that would end in the tiers go on to ask, if that is wanted.
    fn ask_beyond_the_tiers(&mut self, wanted: bool, announcement: &Announcement) {
        for key in announcement.keys.iter().filter(|_| wanted) {
            let flight = self.by_key.get(key);
            if let Some(flight) = flight.and_then(|id| self.flights.get_mut(id)) {
                flight.only_looks = false;
            }
        }
    }

    /// Begins flights for announcements in the order in which they came, as many as may be under way: a login storm or a replay of
    /// presences then takes its time, and loses nothing.
    fn begin_queued(&mut self, now: Instant, effects: &mut Vec<Effect<W>>) {
        // What is being looked up may go on to ask, so it counts as in progress here.
        while self.looking < ANNOUNCED_AT_ONCE && self.flights.len() < self.settings.max_flights {
            let Some(holder) = self.queued.pop_front() else {
                return;
            };
            let Some(view) = self.holders.view(holder).filter(|view| !view.known) else {
                continue;
            };
            let announced = view.announcement.keys.iter();
            let missing: Vec<CapsKey> = announced
                .filter(|key| self.may_begin(key))
                .copied()
                .collect();
            if missing.is_empty() {
                continue;
            }
            let whole = missing.len() == view.announcement.keys.len();
            let whole = whole.then(|| view.announcement.clone());
            if let Some(id) = self.begin(now, missing, effects)
                && let Some(flight) = self.flights.get_mut(&id)
            {
                flight.whole = whole;
            }
        }
    }

    /// A holder took back what it announced before it was asked for it: that announcement was never verified.
    fn replaced(&self, holder: HolderId, announcement: &Announcement) {
        let in_flight = |key: &CapsKey| self.by_key.contains_key(key);
        if announcement.keys.iter().any(in_flight) && !self.asked.contains_key(&holder) {
            self.metrics.announcements_unverified.inc();
        }
    }

    /// A holder joins a flight that is in progress; if it was asked before, it may be asked again.
    fn join(&mut self, now: Instant, id: FlightId, holder: HolderId, effects: &mut Vec<Effect<W>>) {
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.tried.remove(&holder);
        }
        self.advance(now, id, effects);
    }

    /// Takes note that a holder was heard without an announcement.
    pub fn heard(&mut self, now: Instant, link: LinkId, address: &str) {
        self.holders.heard(now, link, address);
    }

    /// A waiter wants the key, which is not hot.
    pub fn ask(
        &mut self,
        now: Instant,
        key: CapsKey,
        patience: Patience,
        waiter: W,
    ) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        if self.overrides.denial(&key).is_some() {
            effects.push(Effect::Tell(waiter, Err(Reason::Denied)));
            return effects;
        }
        if self.waiters >= self.settings.max_waiters {
            self.metrics.waiters_rejected.get(WaiterScope::Global).inc();
            effects.push(Effect::Tell(waiter, Err(Reason::Overloaded)));
            return effects;
        }
        let looking = patience == Patience::Looking;
        let (id, began) = match self.by_key.get(&key) {
            Some(id) => (*id, false),
            None => {
                let keys = match patience {
                    Patience::Asking => self.with_linked(key),
                    Patience::Looking => vec![key],
                };
                match self.begin(now, keys, &mut effects) {
                    Some(id) => (id, true),
                    None => {
                        self.metrics.flights_rejected.inc();
                        effects.push(Effect::Tell(waiter, Err(Reason::Overloaded)));
                        return effects;
                    }
                }
            }
        };
        let Some(flight) = self.flights.get_mut(&id) else {
            effects.push(Effect::Tell(waiter, Err(Reason::Overloaded)));
            return effects;
        };
        if flight.waiters.len() >= self.settings.max_waiters_per_flight {
            self.metrics.waiters_rejected.get(WaiterScope::Flight).inc();
            effects.push(Effect::Tell(waiter, Err(Reason::Overloaded)));
            return effects;
        }
        if began {
            flight.uncounted = true;
            flight.only_looks = looking;
        } else if looking && !flight.looking {
            self.metrics.lookups.get(LookupResult::Negative).inc();
            let reason = self.known_failure(now, &key);
            effects.push(Effect::Tell(waiter, Err(reason)));
            return effects;
        } else {
            flight.only_looks &= looking;
            self.metrics.lookups.get(LookupResult::Coalesced).inc();
        }
        flight.waiters.push((key, patience, waiter));
        self.waiters += 1;
        self.metrics.waiters.set(self.waiters as i64);
        // Somebody waits now: that may be what it takes for the next holder to be asked.
        self.advance(now, id, &mut effects);
        effects
    }

    /// Whether a flight may begin for a key: it is in none, and not denied.
    fn may_begin(&self, key: &CapsKey) -> bool {
        !self.by_key.contains_key(key) && self.overrides.denial(key).is_none()
    }

    /// Denies what the operator denies, from now on: whoever waits for such a key is told, and nobody is asked for it.
    pub fn deny(&mut self, now: Instant, overrides: &Arc<Overrides>) -> Vec<Effect<W>> {
        self.overrides = Arc::clone(overrides);
        let mut effects = Vec::new();
        let awaited = self.by_key.keys();
        let denied = awaited.filter(|key| overrides.denial(key).is_some());
        for key in denied.copied().collect::<Vec<_>>() {
            self.settle(key, &Err(Reason::Denied), &mut effects);
        }
        self.begin_queued(now, &mut effects);
        effects
    }

    /// Looks in the tiers again for whatever is being asked for.
    pub fn look_again(&self) -> Vec<Effect<W>> {
        let flights = self.flights.iter().filter(|(_, flight)| !flight.looking);
        flights
            .map(|(id, flight)| Effect::Load(*id, flight.keys.clone()))
            .collect()
    }

    /// The key with those that are announced together with it and are in no flight: one question serves all.
    fn with_linked(&self, key: CapsKey) -> Vec<CapsKey> {
        let mut keys = vec![key];
        let linked = self
            .holders
            .of_key(&key)
            .next()
            .and_then(|holder| self.holders.view(holder));
        if let Some(view) = linked {
            let more = view.announcement.keys.iter();
            keys.extend(more.filter(|k| **k != key && self.may_begin(k)));
        }
        keys
    }

    fn begin(
        &mut self,
        now: Instant,
        keys: Vec<CapsKey>,
        effects: &mut Vec<Effect<W>>,
    ) -> Option<FlightId> {
        let room = self.settings.max_flights.saturating_mul(LOOKUPS_PER_FLIGHT);
        if self.stopped || self.looking >= room {
            return None;
        }
        self.next += 1;
        let id = FlightId(self.next);
        for key in &keys {
            self.by_key.insert(*key, id);
        }
        effects.push(Effect::Load(id, keys.clone()));
        let deadline = now + self.settings.deadline;
        self.timers.push(Reverse((deadline, Timer::Flight(id))));
        self.looking += 1;
        self.flights.insert(
            id,
            Flight {
                keys,
                waiters: Vec::new(),
                began: now,
                tried: HashSet::default(),
                tried_accounts: HashSet::default(),
                cause: None,
                current: None,
                questions: Vec::new(),
                looking: true,
                whole: None,
                uncounted: false,
                only_looks: false,
            },
        );
        Some(id)
    }

    /// The tiers were looked in: these keys were found.
    pub fn loaded(
        &mut self,
        now: Instant,
        id: FlightId,
        found: Vec<(CapsKey, Arc<Entry>)>,
    ) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        let Some(flight) = self.flights.get_mut(&id) else {
            return effects;
        };
        if std::mem::replace(&mut flight.looking, false) {
            self.looking -= 1;
        }
        if flight.uncounted
            && let Some((wanted, ..)) = flight.waiters.first()
            && let Some((_, entry)) = found.iter().find(|(key, _)| key == wanted)
        {
            flight.uncounted = false;
            self.metrics
                .lookups
                .get(if entry.is_trusted() {
                    LookupResult::Override
                } else {
                    LookupResult::Hit
                })
                .inc();
        }
        for (key, entry) in found {
            self.settle(key, &Ok((entry, Served::Stored)), &mut effects);
        }
        self.looked(now, id, &mut effects);
        if self.flights.contains_key(&id) && self.in_progress() > self.settings.max_flights {
            self.metrics.flights_rejected.inc();
            self.end(id, Reason::Overloaded, &mut effects);
        }
        self.advance(now, id, &mut effects);
        self.begin_queued(now, &mut effects);
        effects
    }

    /// Settles a key wherever it is awaited.
    fn settle(&mut self, key: CapsKey, outcome: &Outcome, effects: &mut Vec<Effect<W>>) {
        let Some(id) = self.by_key.remove(&key) else {
            return;
        };
        let Some(flight) = self.flights.get_mut(&id) else {
            return;
        };
        flight.keys.retain(|k| *k != key);
        let mut waiting = Vec::new();
        for (wanted, patience, waiter) in flight.waiters.drain(..) {
            if wanted == key {
                effects.push(Effect::Tell(waiter, outcome.clone()));
                self.waiters -= 1;
            } else {
                waiting.push((wanted, patience, waiter));
            }
        }
        flight.waiters = waiting;
        self.metrics.waiters.set(self.waiters as i64);
        if flight.keys.is_empty() {
            if outcome.is_ok()
                && let Some(announcement) = flight.whole.take()
            {
                self.holders.mark_known(&announcement);
            }
            self.end(id, Reason::Unknown, effects);
        }
    }

    /// Ends a flight; whoever still waits is told the reason.
    fn end(&mut self, id: FlightId, reason: Reason, effects: &mut Vec<Effect<W>>) {
        let Some(flight) = self.flights.remove(&id) else {
            return;
        };
        if flight.looking {
            self.looking -= 1;
        }
        for key in &flight.keys {
            self.by_key.remove(key);
        }
        // Who is not overdue has its time all the same: the answer is learned, though nobody waits for it.
        for id in &flight.questions {
            if self.questions.get(id).is_some_and(|q| q.overdue) {
                self.forget_question(*id);
            }
        }
        if flight.uncounted && !flight.waiters.is_empty() {
            self.metrics.lookups.get(LookupResult::Negative).inc();
        }
        self.waiters -= flight.waiters.len();
        self.metrics.waiters.set(self.waiters as i64);
        let told = flight.waiters.into_iter();
        effects.extend(told.map(|(_, _, waiter)| Effect::Tell(waiter, Err(reason))));
    }

    /// A link came up.
    pub fn link_up(&mut self, link: LinkId) {
        if let Some(up) = self.links_up.get_mut(usize::from(link.0)) {
            *up = true;
        }
    }

    /// A link was lost: what was asked over it will not be answered. Its holders are kept as hints for when it is back.
    pub fn link_down(&mut self, now: Instant, link: LinkId) -> Vec<Effect<W>> {
        if let Some(up) = self.links_up.get_mut(usize::from(link.0)) {
            *up = false;
        }
        let mut effects = Vec::new();
        let lost = self.questions.iter().filter(|(_, q)| q.link == link);
        let lost = lost.map(|(id, _)| *id).collect();
        self.lose(now, lost, &mut effects);
        effects
    }

    /// Ends every flight; whoever waits is told, and whoever comes later is told at once. For the end of the process.
    pub fn stop(&mut self) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        // A request may be on its way here that saw no sign of the end; the tiers would not look for it any more.
        self.stopped = true;
        self.queued.clear();
        let ids: Vec<FlightId> = self.flights.keys().copied().collect();
        for id in ids {
            self.end(id, Reason::Overloaded, &mut effects);
        }
        effects
    }
}
