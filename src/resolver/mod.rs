//! The resolver: from a key to its verified info, by the tiers or by one question.
//!
//! | room | what lives there |
//! |---|---|
//! | `changing` | what a reload changes |
//! | [`flights`] | the state machine: which keys are being resolved, for whom, by asking whom |
//! | [`forgetting`] | what an operator wants asked for again |
//! | [`limits`] | quotas |
//! | [`probation`] | what is not written before its second use |
//! | `admission` | where what was proven goes |
//! | [`contributions`] | what somebody hands over without being asked |
//! | [`unverified`], `own_answers` | what is good for one address alone |
//! | [`tiers`] | the thread that owns the learned and the trusted tier |
//!
//! [`Resolver`] holds them together and carries out what the state machine decides. Its lock is held for a step of the state
//! machine only: verification, serialisation, sending and the disk are outside.

mod admission;
mod census;
mod changing;
pub mod contributions;
pub mod flights;
pub mod forgetting;
pub mod limits;
mod overriding;
mod own_answers;
pub mod probation;
pub mod tiers;
pub mod unverified;

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Instant;

use tokio::sync::Notify;

use crate::cache::{Entry, HotTier};
use crate::caps::{Answer, CapsKey, Family, Policy, Reason, Verdict, VerifiedInfo, verify};
use crate::holders::feeders::Untold;
use crate::holders::{Announcement, LinkId};
use crate::metrics::{Metrics, UpstreamResult, VerificationResult};
use crate::stanza::jid;
use crate::trusted::{Overrides, Trusted};
use admission::Source;
use flights::{
    Effect, Flights, Outcome, Patience, Question, QuestionId, Served, Settings, Snapshot, Verdicts,
};
use probation::{Probation, Unwritten};
use tiers::{Above, Below, Found, Tiers};
use unverified::Unverified;

/// Sends questions to holders.
pub trait Upstream: Send + Sync {
    /// Sends a disco#info question for the node to the address over the link, such that its answer carries the id. False if it could
    /// not be sent.
    fn ask(&self, link: LinkId, id: QuestionId, address: &str, node: &str) -> bool;

    /// All that one step caused has been said, to holders and to waiters: now it may go out, in one piece.
    fn flush(&self);
}

/// Somebody who waits for a key; called once, with the time and the outcome.
pub type Waiter = Box<dyn FnOnce(Instant, Outcome) + Send>;

/// What a holder replied.
#[derive(Debug)]
pub enum Reply {
    /// A disco#info result.
    Answer(Box<Answer>),
    /// An error, or a result without disco info.
    Refusal(UpstreamResult),
}

/// A waiter with what it wants.
struct Waiting {
    key: CapsKey,
    /// The account that asked; shared by all that it asked for at once.
    asker: Arc<str>,
    tell: Waiter,
}

struct State {
    flights: Flights<Waiting>,
    /// The time for which the timer is set.
    armed: Option<Instant>,
}

/// The resolver.
pub struct Resolver {
    hot: HotTier,
    probation: Probation,
    unverified: Unverified,
    /// How often something was withdrawn from the hot tier.
    withdrawals: AtomicU64,
    overrides: RwLock<Arc<Overrides>>,
    state: Mutex<State>,
    tiers: OnceLock<Tiers>,
    upstream: OnceLock<Arc<dyn Upstream>>,
    policy: Policy,
    metrics: Arc<Metrics>,
    rearm: Notify,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// A resolver over these tiers for that many links; [`Resolver::connect`] gives it its way to the holders. `clock` tells the tiers'
    /// thread the time.
    ///
    /// # Errors
    /// Where the operating system refuses a thread.
    pub fn start(
        settings: Settings,
        policy: Policy,
        hot_bytes: u64,
        links: usize,
        below: Below,
        metrics: Arc<Metrics>,
        clock: impl Fn() -> Instant + Send + Clone + 'static,
    ) -> std::io::Result<Arc<Resolver>> {
        let now = clock();
        let resolver = Arc::new(Resolver {
            hot: HotTier::new(hot_bytes, &metrics),
            probation: Probation::new(settings.probation, &metrics, now),
            unverified: Unverified::new(settings.unverified, &metrics),
            withdrawals: AtomicU64::new(0),
            overrides: RwLock::new(Arc::clone(&below.overrides)),
            state: Mutex::new(State {
                flights: Flights::new(settings, links, Arc::clone(&metrics), now),
                armed: None,
            }),
            tiers: OnceLock::new(),
            upstream: OnceLock::new(),
            policy,
            metrics: Arc::clone(&metrics),
            rearm: Notify::new(),
        });
        resolver.lock().flights.deny(now, &below.overrides);
        let above = Box::new(Back {
            resolver: Arc::downgrade(&resolver),
            clock: clock.clone(),
        });
        let high_water = settings.probation.high_water_percent;
        let tiers = Tiers::start(below, high_water, metrics, clock, above)?;
        // Nothing else sets it.
        let _ = resolver.tiers.set(tiers);
        Ok(resolver)
    }

    /// Gives the resolver its way to the holders; once.
    pub fn connect(&self, upstream: Arc<dyn Upstream>) {
        let _ = self.upstream.set(upstream);
    }

    /// The prepared answer, if it is hot. This is the path of almost every query.
    pub fn hot(&self, key: &CapsKey) -> Option<Arc<Entry>> {
        self.hot.get(key)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a step of the state machine would be a bug; going on with the table serves more than ending every query.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a step of the state machine and carries out its effects.
    fn step(&self, now: Instant, step: impl FnOnce(&mut Flights<Waiting>) -> Vec<Effect<Waiting>>) {
        let effects = self.decide(step);
        self.carry_out(now, effects);
    }

    /// Runs a step of the state machine; what is to be done then is left to the caller.
    fn decide(
        &self,
        step: impl FnOnce(&mut Flights<Waiting>) -> Vec<Effect<Waiting>>,
    ) -> Vec<Effect<Waiting>> {
        let mut state = self.lock();
        let effects = step(&mut state.flights);
        let next = state.flights.next_timer();
        if next.is_some() && (state.armed.is_none() || next < state.armed) {
            state.armed = next;
            self.rearm.notify_one();
        }
        effects
    }

    fn carry_out(&self, now: Instant, effects: Vec<Effect<Waiting>>) {
        let mut effects = VecDeque::from(effects);
        let mut said = false;
        while let Some(effect) = effects.pop_front() {
            said |= !matches!(effect, Effect::Load(..) | Effect::Common(_));
            match effect {
                Effect::Load(flight, keys) => {
                    if let Some(tiers) = self.tiers.get() {
                        tiers.load(flight, keys);
                    }
                }
                Effect::Ask {
                    id,
                    link,
                    address,
                    node,
                } => {
                    let upstream = self.upstream.get();
                    if !upstream.is_some_and(|u| u.ask(link, id, &address, &node)) {
                        // In turn, not in depth: there may be thousands of holders to go on to.
                        effects.extend(self.decide(|flights| flights.unsent(now, id)));
                    }
                }
                Effect::Tell(waiting, outcome) => {
                    if matches!(outcome, Ok((_, Served::Resolved))) {
                        // Whoever waited for it used it.
                        self.on_probation(now, &waiting.key, &waiting.asker);
                    }
                    (waiting.tell)(now, outcome);
                }
                Effect::Common(common) => {
                    if let Some(tiers) = self.tiers.get() {
                        tiers.common(common);
                    }
                }
            }
        }
        if said && let Some(upstream) = self.upstream.get() {
            upstream.flush();
        }
    }

    /// The prepared answer, if it is on probation. An address of another account than proved it asks or announces here: that is its
    /// second use, with which it is made hot and stored.
    pub fn on_probation(&self, now: Instant, key: &CapsKey, address: &str) -> Option<Arc<Entry>> {
        if self.probation.is_empty() || self.overrides().concerns(key) {
            return None;
        }
        let used = self.probation.used(now, key, jid::bare(address))?;
        if let Some(unwritten) = used.second {
            self.write(&unwritten);
        }
        Some(used.entry)
    }

    /// What is on probation under a key, for whoever only looks at it.
    pub fn unwritten(&self, key: &CapsKey) -> Option<Arc<Unwritten>> {
        let overridden = self.overrides().concerns(key);
        self.probation.get(key).filter(|_| !overridden)
    }

    /// Somebody at that address wants a key that is not hot. The empty address is that of nobody: by its wanting, nothing is used.
    pub fn resolve(&self, now: Instant, key: CapsKey, address: &str, tell: Waiter) {
        self.resolve_all(now, address, Patience::Asking, [(key, tell)]);
    }

    /// Somebody at that address wants several keys that are not hot, each for itself.
    pub fn resolve_all(
        &self,
        now: Instant,
        address: &str,
        patience: Patience,
        wanted: impl IntoIterator<Item = (CapsKey, Waiter)>,
    ) {
        let asker: Arc<str> = jid::bare(address).into();
        self.step(now, |flights| {
            let mut effects = Vec::new();
            for (key, tell) in wanted {
                let asker = Arc::clone(&asker);
                let waiting = Waiting { key, asker, tell };
                effects.append(&mut flights.ask(now, key, patience, waiting));
            }
            effects
        });
    }

    /// Somebody announced keys.
    pub fn announce(
        &self,
        now: Instant,
        link: LinkId,
        address: &str,
        announcement: &Announcement,
        askable: bool,
    ) {
        self.forget_said(now, link, address, Some(announcement));
        let keys = announcement.keys.iter().filter(|_| askable);
        let used = keys.filter_map(|key| self.on_probation(now, key, address));
        let in_memory = used.count() > 0;
        self.step(now, |flights| {
            flights.announce(now, link, address, announcement, askable, in_memory)
        });
    }

    /// Somebody was heard without an announcement (XEP-0115 section 8.4).
    pub fn heard(&self, now: Instant, link: LinkId, address: &str) {
        self.lock().flights.heard(now, link, address);
    }

    /// Somebody is gone.
    pub fn depart(&self, now: Instant, link: LinkId, address: &str) {
        self.forget_said(now, link, address, None);
        self.step(now, |flights| flights.depart(now, link, address));
    }

    /// A link came up.
    pub fn link_up(&self, link: LinkId) {
        self.lock().flights.link_up(link);
    }

    /// A link was lost.
    pub fn link_down(&self, now: Instant, link: LinkId) {
        let ended = self.unverified.forget_link(link);
        self.tell_all(now, ended, &Err(Reason::Unreachable));
        self.step(now, |flights| flights.link_down(now, link));
    }

    fn loaded(&self, now: Instant, found: Vec<Found>) {
        for (_, entries) in &found {
            for (key, entry) in entries {
                self.hot.insert(*key, Arc::clone(entry));
            }
        }
        self.step(now, |flights| {
            let mut effects = Vec::new();
            for (flight, entries) in found {
                effects.append(&mut flights.loaded(now, flight, entries));
            }
            effects
        });
    }

    /// A holder replied. What does not come from the exact address asked, over the link asked, is ignored; returns whether it was
    /// awaited.
    pub fn reply(
        &self,
        now: Instant,
        id: QuestionId,
        link: LinkId,
        from: &str,
        reply: Reply,
    ) -> bool {
        let taken = {
            let mut state = self.lock();
            let question = state.flights.take_question(id, link, from);
            question.map(|question| {
                let provable = state.flights.provable(&question);
                let view = state.flights.holders().view(question.holder);
                let unchanged =
                    view.is_some_and(|view| *view.announcement == question.announcement);
                (question, provable, unchanged)
            })
        };
        let Some((question, provable, unchanged)) = taken else {
            return self.reply_alone(now, id, link, from, &reply);
        };
        let verdicts = match reply {
            Reply::Answer(answer) => {
                let verdicts = self.verdicts(&question, &provable, &answer);
                if unchanged {
                    self.keep_quarantined(&question, &verdicts, &answer);
                }
                verdicts
            }
            Reply::Refusal(result) => Verdicts::Failed(result, Reason::Unreachable),
        };
        self.step(now, |flights| flights.answered(now, question, verdicts));
        true
    }

    /// A server refused a question in the name of a holder's account.
    pub fn refused(
        &self,
        now: Instant,
        id: QuestionId,
        link: LinkId,
        account: &str,
        result: UpstreamResult,
    ) -> bool {
        let question = self.lock().flights.take_refused_question(id, link, account);
        let Some(question) = question else {
            return self.refused_alone(now, id, link, account);
        };
        let verdicts = Verdicts::Failed(result, Reason::Unreachable);
        self.step(now, |flights| flights.answered(now, question, verdicts));
        true
    }

    /// Tries the answer against every key that it may prove; what is proven is made hot and stored before anybody is told, so that
    /// whoever comes later finds it.
    fn verdicts(&self, question: &Question, provable: &[CapsKey], answer: &Answer) -> Verdicts {
        let overrides = self.overrides();
        let mut proven = Vec::new();
        let mut refused = Vec::new();
        let mut contents: Vec<(VerifiedInfo, Vec<CapsKey>)> = Vec::new();
        for key in provable {
            match verify(key, answer, &self.policy) {
                Verdict::Verified(info) => {
                    self.count(key.family(), VerificationResult::Ok);
                    match contents
                        .iter_mut()
                        .find(|(known, _)| known.info() == info.info())
                    {
                        Some((_, keys)) => keys.push(*key),
                        None => contents.push((info, vec![*key])),
                    }
                }
                Verdict::Quarantined(reason, detail) | Verdict::Rejected(reason, detail) => {
                    self.count(key.family(), verification_result(reason));
                    tracing::debug!(%key, %reason, detail, "an answer does not prove an announced key");
                    if question.announcement.keys.contains(key) {
                        tracing::trace!(%key, %reason, from = %question.address, "gave an answer that does not prove its key");
                        refused.push((*key, reason));
                    }
                }
            }
        }
        let deferral = self.deferral(question.spent);
        for (info, keys) in contents {
            let source = Source {
                account: jid::bare(&question.address),
                node_url: &question.announcement.node_url,
                deferral,
            };
            proven.append(&mut self.admit(&overrides, info, keys, provable, source));
        }
        Verdicts::Content {
            proven,
            refused,
            written: deferral.is_none(),
        }
    }

    fn count(&self, family: Family, result: VerificationResult) {
        self.metrics.verifications.get((family, result)).inc();
    }

    /// Does what is due: overdue holders, deadlines, silent holders; returns when it is to be called next, if anything is pending.
    pub fn expire(&self, now: Instant) -> Option<Instant> {
        let mut untold = Vec::new();
        self.step(now, |flights| {
            let mut effects = flights.remove_untold(now, &mut untold);
            effects.extend(flights.expire(now));
            effects
        });
        for Untold { link, address, .. } in untold {
            self.forget_said(now, link, &address, None);
        }
        self.expire_alone(now);
        self.hot.measure(&self.metrics);
        self.probation.sweep();
        let mut state = self.lock();
        state.armed = state.flights.next_timer();
        let alone = self.unverified.next_timer();
        [state.armed, alone].into_iter().flatten().min()
    }

    /// Calls [`Resolver::expire`] whenever something is due, until dropped. `clock` is that of the runtime's timers.
    pub async fn run_timers(&self, clock: impl Fn() -> Instant) {
        const IDLE: std::time::Duration = std::time::Duration::from_secs(1);
        loop {
            let now = clock();
            let idle = now + IDLE;
            let until = self.expire(now).map_or(idle, |next| next.min(idle));
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => {}
                () = self.rearm.notified() => {}
            }
        }
    }

    /// The `most` oldest flights in progress, and how many there are.
    pub fn snapshot(&self, now: Instant, most: usize) -> Snapshot {
        self.lock().flights.snapshot(now, most)
    }

    /// Ends every flight, telling whoever waits.
    pub fn stop(&self, now: Instant) {
        self.step(now, Flights::stop);
        let ended = self.unverified.stop();
        self.tell_all(now, ended, &Err(Reason::Overloaded));
    }

    /// Has something done on the thread of the tiers, in its turn; see [`Tiers::work`].
    pub async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Below) -> T + Send + 'static,
    ) -> Option<T> {
        self.tiers.get()?.work(work).await
    }

    /// Has something done on the thread of the tiers, in its turn, and does not wait for it; the store sees at once to what is due then.
    pub fn order(&self, work: impl FnOnce(&mut Below) + Send + 'static) {
        if let Some(tiers) = self.tiers.get() {
            tiers.order(work);
        }
    }

    /// A sign of life: returns once the tiers' thread has done what it was given before, and the table of flights was free. False
    /// where that thread has ended.
    pub async fn pulse(&self) -> bool {
        let alive = self.work(|_| ()).await.is_some();
        drop(self.lock());
        alive
    }

    /// Flushes and closes the learned tier.
    pub async fn close(&self) {
        if let Some(tiers) = self.tiers.get() {
            tiers.close().await;
        }
    }
}

/// The resolver, as the tiers' thread sees it.
struct Back<C> {
    resolver: Weak<Resolver>,
    clock: C,
}

impl<C: Fn() -> Instant + Send> Above for Back<C> {
    fn found(&self, found: Vec<Found>) {
        if let Some(resolver) = self.resolver.upgrade() {
            resolver.loaded((self.clock)(), found);
        }
    }

    fn trust(&self, trusted: &Trusted, overrides: &Arc<Overrides>) {
        if let Some(resolver) = self.resolver.upgrade() {
            resolver.trusted((self.clock)(), trusted, overrides);
        }
    }

    fn rule(&self, overrides: &Arc<Overrides>) {
        if let Some(resolver) = self.resolver.upgrade() {
            resolver.ruled((self.clock)(), overrides);
        }
    }

    fn outdone(&self, keys: &[CapsKey]) {
        if let Some(resolver) = self.resolver.upgrade() {
            resolver.withdraw(keys);
        }
    }
}

fn verification_result(reason: Reason) -> VerificationResult {
    match reason {
        Reason::IllFormed => VerificationResult::IllFormed,
        Reason::Ambiguous => VerificationResult::Ambiguous,
        Reason::UnsupportedAlgorithm => VerificationResult::UnsupportedAlgorithm,
        Reason::TooLarge => VerificationResult::TooLarge,
        _ => VerificationResult::Mismatch,
    }
}
