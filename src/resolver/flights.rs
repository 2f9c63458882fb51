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

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::{HashMap, HashSet, RandomState};

use super::limits::{Quotas, Rate};
use crate::cache::Entry;
use crate::caps::{CapsKey, Reason};
use crate::holders::{Announcement, HolderId, Holders, LinkId};
use crate::metrics::{LookupResult, Metrics, RateScope, UpstreamResult, WaiterScope};
use crate::stanza::jid;

/// Bounds and times of the resolver; every one is a setting.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether an unknown key is resolved as soon as it is announced, or only when it is asked for.
    pub on_announce: bool,
    /// How long a flight may take from beginning to end.
    pub deadline: Duration,
    /// How long one holder may take before the next one is asked too.
    pub holder_timeout: Duration,
    /// How long a holder is not asked again for a key that it did not prove.
    pub retry_after: Duration,
    /// How many flights may be in progress.
    pub max_flights: usize,
    /// How many waiters there may be in all.
    pub max_waiters: usize,
    /// How many waiters one flight may have.
    pub max_waiters_per_flight: usize,
    /// How many questions an account may cause by what it announces.
    pub new_keys_per_account: Rate,
    /// How many questions a domain may cause by what its accounts announce.
    pub new_keys_per_domain: Rate,
    /// The bounds of the table of holders.
    pub holders: crate::holders::Settings,
}

/// Identifies a flight to whoever looks in the tiers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlightId(u64);

/// The unguessable id of a question to a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuestionId(pub u128);

/// A question that was sent and whose answer is awaited.
#[derive(Clone, Debug)]
pub struct Question {
    id: QuestionId,
    flight: FlightId,
    /// The holder asked.
    pub holder: HolderId,
    /// The link it was asked over; the answer counts from no other.
    pub link: LinkId,
    /// The exact address asked; the answer counts from no other.
    pub address: Box<str>,
    /// What it announced when it was asked.
    pub announcement: Announcement,
    asked: Instant,
    overdue: bool,
}

/// Where a served entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// From a tier.
    Stored,
    /// From the answer of a holder.
    Resolved,
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
}

/// What came of a question.
#[derive(Debug)]
pub enum Verdicts {
    /// The holder gave content; these keys it proves, and these announced ones it does not, with the reason.
    Content {
        /// Proven keys with the prepared entry.
        proven: Vec<(CapsKey, Arc<Entry>)>,
        /// Announced keys that the content does not prove.
        refused: Vec<(CapsKey, Reason)>,
    },
    /// No content.
    Failed(UpstreamResult, Reason),
}

#[derive(Debug)]
struct Flight<W> {
    keys: Vec<CapsKey>,
    waiters: Vec<(CapsKey, W)>,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Question(QuestionId),
    Flight(FlightId),
}

/// How many look-ups in the tiers may be under way, as a multiple of the bound on flights: they end by themselves within
/// microseconds.
const LOOKUPS_PER_FLIGHT: usize = 16;

/// How many look-ups announcements alone may have under way; further announcements wait their turn.
const ANNOUNCED_AT_ONCE: usize = 256;

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
    next: u64,
    looking: usize,
    waiters: usize,
    accounts: Quotas,
    domains: Quotas,
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
            next: 0,
            looking: 0,
            waiters: 0,
            accounts: Quotas::new(settings.new_keys_per_account, now),
            domains: Quotas::new(settings.new_keys_per_domain, now),
            dice: RandomState::new(),
            metrics,
            settings,
        }
    }

    /// The holders, to look at.
    pub fn holders(&self) -> &Holders {
        &self.holders
    }

    /// How many flights are in progress beyond the tiers.
    pub fn in_progress(&self) -> usize {
        self.flights.len() - self.looking
    }

    /// Takes note of an announcement, and resolves its keys if that is the setting.
    pub fn announce(
        &mut self,
        now: Instant,
        link: LinkId,
        address: &str,
        announcement: &Announcement,
        askable: bool,
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
        for key in &announcement.keys {
            if let Some(id) = self.by_key.get(key).copied() {
                self.join(now, id, noted.holder, &mut effects);
            }
        }
        if self.settings.on_announce && askable && !noted.known {
            if self.queued.len() < self.settings.holders.max {
                self.queued.push_back(noted.holder);
            } else {
                self.metrics.flights_rejected.inc();
            }
            self.begin_queued(now, &mut effects);
        }
        effects
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
                .filter(|key| !self.by_key.contains_key(*key))
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
    pub fn ask(&mut self, now: Instant, key: CapsKey, waiter: W) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        if self.waiters >= self.settings.max_waiters {
            self.metrics.waiters_rejected.get(WaiterScope::Global).inc();
            effects.push(Effect::Tell(waiter, Err(Reason::Overloaded)));
            return effects;
        }
        let (id, began) = match self.by_key.get(&key) {
            Some(id) => (*id, false),
            None => {
                let keys = self.with_linked(key);
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
        } else {
            self.metrics.lookups.get(LookupResult::Coalesced).inc();
        }
        flight.waiters.push((key, waiter));
        self.waiters += 1;
        self.metrics.waiters.set(self.waiters as i64);
        effects
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
            keys.extend(more.filter(|k| **k != key && !self.by_key.contains_key(*k)));
        }
        keys
    }

    fn begin(
        &mut self,
        now: Instant,
        keys: Vec<CapsKey>,
        effects: &mut Vec<Effect<W>>,
    ) -> Option<FlightId> {
        if self.looking >= self.settings.max_flights.saturating_mul(LOOKUPS_PER_FLIGHT) {
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
            && let Some((wanted, _)) = flight.waiters.first()
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
            self.settle(key, &entry, Served::Stored, &mut effects);
        }
        if self.flights.contains_key(&id) && self.in_progress() > self.settings.max_flights {
            self.metrics.flights_rejected.inc();
            self.end(id, Reason::Overloaded, &mut effects);
        }
        self.advance(now, id, &mut effects);
        self.begin_queued(now, &mut effects);
        effects
    }

    /// Settles a key wherever it is awaited.
    fn settle(
        &mut self,
        key: CapsKey,
        entry: &Arc<Entry>,
        served: Served,
        effects: &mut Vec<Effect<W>>,
    ) {
        let Some(id) = self.by_key.remove(&key) else {
            return;
        };
        let Some(flight) = self.flights.get_mut(&id) else {
            return;
        };
        flight.keys.retain(|k| *k != key);
        let mut waiting = Vec::new();
        for (wanted, waiter) in flight.waiters.drain(..) {
            if wanted == key {
                effects.push(Effect::Tell(waiter, Ok((Arc::clone(entry), served))));
                self.waiters -= 1;
            } else {
                waiting.push((wanted, waiter));
            }
        }
        flight.waiters = waiting;
        self.metrics.waiters.set(self.waiters as i64);
        if flight.keys.is_empty() {
            if let Some(announcement) = flight.whole.take() {
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
        effects.extend(told.map(|(_, waiter)| Effect::Tell(waiter, Err(reason))));
    }

    fn forget_question(&mut self, id: QuestionId) -> Option<Question> {
        let question = self.questions.remove(&id)?;
        if let Some(ids) = self.asked.get_mut(&question.holder) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.asked.remove(&question.holder);
            }
        }
        Some(question)
    }

    /// Asks the next holder, if none is being asked; ends the flight if there is none.
    fn advance(&mut self, now: Instant, id: FlightId, effects: &mut Vec<Effect<W>>) {
        match self.flights.get(&id) {
            Some(flight) if !flight.looking && flight.current.is_none() => {}
            _ => return,
        }
        let holder = self.next_holder(now, id);
        let Some(flight) = self.flights.get_mut(&id) else {
            return;
        };
        let view = holder.and_then(|holder| Some((holder, self.holders.view(holder)?)));
        let Some((holder, view)) = view else {
            // An overdue holder may still answer before the deadline: as long as one is awaited, there is hope.
            if flight.questions.is_empty() {
                let reason = flight.cause.unwrap_or(Reason::Unknown);
                self.end(id, reason, effects);
            }
            return;
        };
        if std::mem::take(&mut flight.uncounted) && !flight.waiters.is_empty() {
            self.metrics.lookups.get(LookupResult::Miss).inc();
        }
        let question_id = loop {
            let candidate = QuestionId(random_id());
            if !self.questions.contains_key(&candidate) {
                break candidate;
            }
        };
        let node = asked_node(view.announcement, &flight.keys);
        let question = Question {
            id: question_id,
            flight: id,
            holder,
            link: view.link,
            address: view.address.into(),
            announcement: view.announcement.clone(),
            asked: now,
            overdue: false,
        };
        flight.tried.insert(holder);
        flight.tried_accounts.insert(jid::bare(view.address).into());
        flight.current = Some(question_id);
        flight.questions.push(question_id);
        effects.push(Effect::Ask {
            id: question_id,
            link: question.link,
            address: question.address.clone(),
            node,
        });
        self.asked.entry(holder).or_default().push(question_id);
        self.questions.insert(question_id, question);
        let due = now + self.settings.holder_timeout;
        self.timers
            .push(Reverse((due, Timer::Question(question_id))));
        self.metrics.upstream_queries_sent.inc();
    }

    /// Picks an askable holder of the flight's keys that was not tried yet: one of another account if there is one, at random so
    /// that nobody can arrange to be asked first, and only within the quotas of its account and domain.
    fn next_holder(&mut self, now: Instant, id: FlightId) -> Option<HolderId> {
        let flight = self.flights.get_mut(&id)?;
        let mut candidates: Vec<(bool, u64, HolderId)> = Vec::new();
        for key in &flight.keys {
            for holder in self.holders.of_key(key) {
                let Some(view) = self.holders.view(holder) else {
                    continue;
                };
                let link_up = self.links_up.get(usize::from(view.link.0)).copied();
                if !view.askable || link_up != Some(true) || flight.tried.contains(&holder) {
                    continue;
                }
                if let Some(reason) = self.holders.failure(holder, key, now) {
                    flight.cause.get_or_insert(reason);
                    continue;
                }
                let account = jid::bare(view.address);
                let again = flight.tried_accounts.contains(account);
                let die = self.dice.hash_one((id, holder, now));
                candidates.push((again, die, holder));
            }
        }
        candidates.sort_unstable_by_key(|(again, die, _)| (*again, *die));
        // Who holds several of the keys is one candidate, with one die.
        candidates.dedup_by_key(|(_, _, holder)| *holder);
        for (_, _, holder) in candidates {
            let Some(view) = self.holders.view(holder) else {
                continue;
            };
            // The account first: one that is over its quota must not spend that of its domain.
            let scope = if !self.accounts.take(jid::bare(view.address), now) {
                RateScope::Account
            } else if !self.domains.take(jid::domain(view.address), now) {
                RateScope::Domain
            } else {
                return Some(holder);
            };
            self.metrics.rate_limited.get(scope).inc();
            flight.cause = Some(Reason::RateLimited);
            flight.tried.insert(holder);
        }
        None
    }

    /// Takes the question that an answer carries the id of, if it comes over the link and from the exact address that was asked.
    ///
    /// Its flight awaits what [`Flights::answered`] is told of it, and asks nobody else meanwhile.
    pub fn take_question(&mut self, id: QuestionId, link: LinkId, from: &str) -> Option<Question> {
        let question = self.questions.get(&id)?;
        if question.link != link || *question.address != *from {
            return None;
        }
        self.forget_question(id)
    }

    /// Takes the question that an error carries the id of, if it comes over the link and from the account of the address that was
    /// asked: that is how a server refuses a question in the name of the account.
    pub fn take_refused_question(
        &mut self,
        id: QuestionId,
        link: LinkId,
        account: &str,
    ) -> Option<Question> {
        let question = self.questions.get(&id)?;
        if question.link != link || jid::bare(&question.address) != account {
            return None;
        }
        self.forget_question(id)
    }

    /// The keys that an answer to the question may prove: those announced when it was asked, and those that the holder announces
    /// now.
    pub fn provable(&self, question: &Question) -> Vec<CapsKey> {
        let mut keys = question.announcement.keys.clone();
        if let Some(view) = self.holders.view(question.holder) {
            let now = view.announcement.keys.iter();
            keys.extend(now.filter(|key| !question.announcement.keys.contains(key)));
        }
        keys
    }

    /// What came of a question that was taken, which its flight awaits no more.
    pub fn answered(
        &mut self,
        now: Instant,
        question: Question,
        verdicts: Verdicts,
    ) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        if let Some(flight) = self.flights.get_mut(&question.flight) {
            flight.questions.retain(|id| *id != question.id);
            flight.current = flight.current.filter(|id| *id != question.id);
        }
        let elapsed = now.saturating_duration_since(question.asked);
        self.metrics
            .upstream_query_duration
            .observe(elapsed.as_secs_f64());
        match verdicts {
            Verdicts::Content { proven, refused } => {
                let result = match refused.first() {
                    _ if !proven.is_empty() => UpstreamResult::Ok,
                    Some((_, Reason::IllFormed)) => UpstreamResult::IllFormed,
                    Some((_, Reason::Ambiguous)) => UpstreamResult::Ambiguous,
                    Some((_, Reason::TooLarge)) => UpstreamResult::TooLarge,
                    _ => UpstreamResult::Mismatch,
                };
                self.count_end(&question, result);
                if !refused.is_empty() {
                    self.metrics.announcements_unverified.inc();
                }
                for (key, entry) in &proven {
                    self.settle(*key, entry, Served::Resolved, &mut effects);
                }
                for (key, reason) in refused {
                    self.blame(now, &question, key, reason);
                }
            }
            Verdicts::Failed(UpstreamResult::Gone, reason) => {
                // It left, or could not be asked: nothing that it did not prove.
                self.count_end(&question, UpstreamResult::Gone);
                self.note_cause(&question, reason);
            }
            Verdicts::Failed(result, reason) => {
                self.count_end(&question, result);
                self.blame_for_all(now, &question, reason);
            }
        }
        self.advance(now, question.flight, &mut effects);
        self.begin_queued(now, &mut effects);
        effects
    }

    fn count_end(&self, question: &Question, result: UpstreamResult) {
        // An overdue question was counted as a timeout when it became overdue.
        if !question.overdue {
            self.metrics.upstream_queries.get(result).inc();
        }
    }

    /// Remembers that the holder did not prove the key, unless it announced anew since it was asked.
    fn blame(&mut self, now: Instant, question: &Question, key: CapsKey, reason: Reason) {
        let flight = self.flights.get(&question.flight);
        let forgiven = flight.is_some_and(|flight| !flight.tried.contains(&question.holder));
        if !forgiven {
            let until = now + self.settings.retry_after;
            self.holders.fail(question.holder, key, until, reason);
        }
        self.note_cause(question, reason);
    }

    fn blame_for_all(&mut self, now: Instant, question: &Question, reason: Reason) {
        for key in &question.announcement.keys {
            self.blame(now, question, *key, reason);
        }
    }

    fn note_cause(&mut self, question: &Question, reason: Reason) {
        if let Some(flight) = self.flights.get_mut(&question.flight) {
            flight.cause = Some(reason);
        }
    }

    /// A holder said that it is gone: whatever it was asked goes to the next one.
    pub fn depart(&mut self, now: Instant, link: LinkId, address: &str) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        if let Some(holder) = self.holders.depart(link, address) {
            let ids = self.asked.get(&holder).cloned().unwrap_or_default();
            self.lose(now, ids, &mut effects);
        }
        effects
    }

    /// A question could not be sent: the next holder is asked, and nobody is blamed.
    pub fn unsent(&mut self, now: Instant, id: QuestionId) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        self.lose(now, vec![id], &mut effects);
        effects
    }

    fn lose(&mut self, now: Instant, ids: Vec<QuestionId>, effects: &mut Vec<Effect<W>>) {
        for id in ids {
            if let Some(question) = self.forget_question(id) {
                let gone = Verdicts::Failed(UpstreamResult::Gone, Reason::Unreachable);
                effects.extend(self.answered(now, question, gone));
            }
        }
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

    /// When [`Flights::expire`] is to be called next.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Does what is due: overdue holders, deadlines, silent holders; writes the gauges.
    pub fn expire(&mut self, now: Instant) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::Question(id) => self.overdue(now, id, &mut effects),
                Timer::Flight(id) => self.end(id, Reason::Timeout, &mut effects),
            }
        }
        self.begin_queued(now, &mut effects);
        self.holders.expire(now, EXPIRE_STEP);
        self.accounts.sweep();
        self.domains.sweep();
        self.shrink();
        self.measure();
        effects
    }

    /// Gives back what a burst of flights made the tables grow to.
    fn shrink(&mut self) {
        const KEEP: usize = 64;
        if self.flights.capacity() > KEEP.max(self.flights.len() * 8) {
            self.flights.shrink_to(KEEP);
            self.by_key.shrink_to(KEEP);
            self.questions.shrink_to(KEEP);
            self.asked.shrink_to(KEEP);
        }
        if self.timers.capacity() > KEEP.max(self.timers.len() * 8) {
            self.timers.shrink_to(KEEP);
        }
        if self.queued.capacity() > KEEP.max(self.queued.len() * 8) {
            self.queued.shrink_to(KEEP);
        }
    }

    fn overdue(&mut self, now: Instant, id: QuestionId, effects: &mut Vec<Effect<W>>) {
        let Some(question) = self.questions.get_mut(&id) else {
            return;
        };
        question.overdue = true;
        let question = question.clone();
        self.metrics
            .upstream_queries
            .get(UpstreamResult::Timeout)
            .inc();
        self.blame_for_all(now, &question, Reason::Timeout);
        match self.flights.get_mut(&question.flight) {
            Some(flight) => flight.current = flight.current.filter(|current| *current != id),
            None => {
                self.forget_question(id);
            }
        }
        self.advance(now, question.flight, effects);
    }

    /// Ends every flight; whoever waits is told. For the end of the process.
    pub fn stop(&mut self) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        self.queued.clear();
        let ids: Vec<FlightId> = self.flights.keys().copied().collect();
        for id in ids {
            self.end(id, Reason::Overloaded, &mut effects);
        }
        effects
    }

    /// How long ago the oldest flight began.
    pub fn oldest(&self, now: Instant) -> Option<Duration> {
        let began = self.flights.values().map(|flight| flight.began).min()?;
        Some(now.saturating_duration_since(began))
    }

    fn measure(&mut self) {
        let metrics = &self.metrics;
        metrics.flights.set(self.in_progress() as i64);
        metrics.holders.set(self.holders.len() as i64);
        metrics
            .upstream_penalized
            .set(self.holders.failures() as i64);
        let counts = self.holders.take_counts();
        use crate::metrics::HolderEviction::{Expired, Full, PerKey};
        for (reason, count) in [
            (Expired, counts.expired),
            (Full, counts.full),
            (PerKey, counts.per_key),
        ] {
            metrics.holders_evicted.get(reason).inc_by(count);
        }
    }
}

/// The node to ask a holder for: that of a key which is wanted, if it announces one, else that of its first key.
fn asked_node(announcement: &Announcement, wanted: &[CapsKey]) -> String {
    let keys = &announcement.keys;
    let key = keys
        .iter()
        .find(|key| wanted.contains(key))
        .or(keys.first());
    key.map(|key| key.to_node(&announcement.node_url))
        .unwrap_or_default()
}

/// 128 random bits from the operating system (invariant 5); without a source of randomness, which Linux never lacks, a keyed hash
/// of the time-independent kind stands in.
fn random_id() -> u128 {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        let state = RandomState::new();
        bytes[..8].copy_from_slice(&state.hash_one(1).to_ne_bytes());
        bytes[8..].copy_from_slice(&state.hash_one(2).to_ne_bytes());
    }
    u128::from_ne_bytes(bytes)
}
