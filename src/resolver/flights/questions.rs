//! Questions to holders: whom a flight asks next, what their answers come to, and what is remembered of those who did not prove
//! what they announce.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Instant;

use ahash::RandomState;

use super::unasked::take_question;
use super::{Effect, FlightId, Flights, Served, Timer};
use crate::cache::Entry;
use crate::caps::{CapsKey, Reason};
use crate::holders::{Announcement, HolderId, LinkId};
use crate::metrics::{LookupResult, UpstreamResult};
use crate::resolver::limits::{self, Spent};
use crate::stanza::jid;

/// The unguessable id of a question to a holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuestionId(pub u128);

/// A question that was sent and whose answer is awaited.
#[derive(Clone, Debug)]
pub struct Question {
    pub(super) id: QuestionId,
    pub(super) flight: FlightId,
    /// The holder asked.
    pub holder: HolderId,
    /// The link it was asked over; the answer counts from no other.
    pub link: LinkId,
    /// The exact address asked; the answer counts from no other.
    pub address: Box<str>,
    /// What it announced when it was asked.
    pub announcement: Announcement,
    /// Which quota of new keys the holder had spent before: what it proves is not written before its second use.
    pub spent: Option<Spent>,
    pub(super) asked: Instant,
    pub(super) overdue: bool,
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
        /// Whether the content is on its way to the disk.
        written: bool,
    },
    /// No content.
    Failed(UpstreamResult, Reason),
}

/// Whom a flight asks next.
struct NextHolder {
    holder: HolderId,
    /// The quota of new keys that it had spent before.
    spent: Option<Spent>,
}

impl<W> Flights<W> {
    pub(super) fn forget_question(&mut self, id: QuestionId) -> Option<Question> {
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
    pub(super) fn advance(&mut self, now: Instant, id: FlightId, effects: &mut Vec<Effect<W>>) {
        match self.flights.get(&id) {
            Some(flight) if !flight.looking && flight.current.is_none() => {}
            _ => return,
        }
        let next = self.next_holder(now, id);
        let Some(flight) = self.flights.get_mut(&id) else {
            return;
        };
        let view = next.and_then(|next| Some((self.holders.view(next.holder)?, next)));
        let Some((view, NextHolder { holder, spent })) = view else {
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
            spent,
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

    /// Picks an askable holder of the flight's keys that was not tried yet: one of another account if there is one, and at random so
    /// that nobody can arrange to be asked first.
    ///
    /// One whose account and domain have not spent their quota of new keys comes first. Others are asked only for somebody who waits,
    /// and within a quota of its own for that.
    fn next_holder(&mut self, now: Instant, id: FlightId) -> Option<NextHolder> {
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
        let mut spenders = Vec::new();
        for (_, _, holder) in candidates {
            let Some(view) = self.holders.view(holder) else {
                continue;
            };
            match self.new_keys.take(view.address, now) {
                Ok(()) => {
                    let spent = None;
                    return Some(NextHolder { holder, spent });
                }
                Err(spent) => spenders.push((holder, spent)),
            }
        }
        for (holder, spent) in spenders {
            let Some(view) = self.holders.view(holder) else {
                continue;
            };
            limits::beyond(&self.metrics, spent.into(), view.address);
            flight.cause = Some(Reason::RateLimited);
            if flight.waiters.is_empty() {
                continue;
            }
            if take_question(&self.more_questions, &self.metrics, now, view.address) {
                let spent = Some(spent);
                return Some(NextHolder { holder, spent });
            }
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
            Verdicts::Content {
                proven,
                refused,
                written,
            } => {
                if !written && let Some(flight) = self.flights.get_mut(&question.flight) {
                    // The announcement is not marked as known: whoever makes it next may be the second use.
                    flight.whole = None;
                }
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
                    let outcome = Ok((Arc::clone(entry), Served::Resolved));
                    self.settle(*key, &outcome, &mut effects);
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
            self.lose_holder(now, holder, &mut effects);
        }
        effects
    }

    pub(super) fn lose_holder(
        &mut self,
        now: Instant,
        holder: HolderId,
        effects: &mut Vec<Effect<W>>,
    ) {
        let ids = self.asked.get(&holder).cloned().unwrap_or_default();
        self.lose(now, ids, effects);
    }

    /// A question could not be sent: the next holder is asked, and nobody is blamed.
    pub fn unsent(&mut self, now: Instant, id: QuestionId) -> Vec<Effect<W>> {
        let mut effects = Vec::new();
        self.lose(now, vec![id], &mut effects);
        effects
    }

    pub(super) fn lose(
        &mut self,
        now: Instant,
        ids: Vec<QuestionId>,
        effects: &mut Vec<Effect<W>>,
    ) {
        for id in ids {
            if let Some(question) = self.forget_question(id) {
                let gone = Verdicts::Failed(UpstreamResult::Gone, Reason::Unreachable);
                effects.extend(self.answered(now, question, gone));
            }
        }
    }

    pub(super) fn overdue(&mut self, now: Instant, id: QuestionId, effects: &mut Vec<Effect<W>>) {
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
pub(in crate::resolver) fn random_id() -> u128 {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        let state = RandomState::new();
        bytes[..8].copy_from_slice(&state.hash_one(1).to_ne_bytes());
        bytes[8..].copy_from_slice(&state.hash_one(2).to_ne_bytes());
    }
    u128::from_ne_bytes(bytes)
}
