//! `<lookup/>` (deploy/protocol.md section 4): many keys in one request.
//!
//! What is known is collected at once. If keys are left for which somebody is to be waited, the batch waits as one piece of memory that
//! holds references to contents, and is answered when its last key is settled; each key ends by the deadline of its own flight. No lock
//! is held but for putting one result in its place.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ahash::HashMap;

use super::own::OwnCaps;
use super::{Beside, Request, Service};
use crate::cache::Entry;
use crate::caps::{CapsKey, Reason};
use crate::component::Link;
use crate::metrics::{LookupResult, Metrics, Operation, WaiterScope};
use crate::resolver::Waiter;
use crate::resolver::flights::{Outcome, Patience};
use crate::resolver::unverified::{Said, Unproven};
use crate::stanza::jid;
use crate::stanza::read::{Lookup, LookupKey};
use crate::stanza::write::{self, ErrorReply, KeyAnswer, Meaning, Source};

/// For how many seconds whoever asked may keep what is verified.
const MAX_AGE: u32 = 300;

/// What a key costs while its batch waits, beside its texts and content, in bytes.
const OVERHEAD: usize = 256;

/// What was found for a key.
#[derive(Clone, Debug)]
enum Found {
    Entry(Arc<Entry>),
    Own(Arc<OwnCaps>),
    Alone(Arc<Unproven>),
    Refused(Reason),
}

impl Found {
    fn bytes(&self) -> usize {
        match self {
            Found::Entry(entry) => entry.children().len(),
            Found::Own(own) => own.children.len(),
            Found::Alone(content) => content.children().len(),
            Found::Refused(_) => 0,
        }
    }
}

/// What comes next for a key.
enum Next {
    Settled(Found),
    /// It can be verified, but is not in memory.
    Resolve(CapsKey),
    /// It cannot be verified for the given reason; what its address says will do.
    AskAlone(Reason),
}

/// The memory of batches that wait, of all askers together.
#[derive(Debug)]
pub(super) struct Waiting {
    bytes: AtomicUsize,
    max: usize,
    metrics: Arc<Metrics>,
}

impl Waiting {
    pub(super) fn new(max: usize, metrics: &Arc<Metrics>) -> Arc<Waiting> {
        Arc::new(Waiting {
            bytes: AtomicUsize::new(0),
            max,
            metrics: Arc::clone(metrics),
        })
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(bytes).filter(|held| *held <= self.max)
            });
        if taken.is_err() {
            let rejected = self.metrics.waiters_rejected.get(WaiterScope::Batch);
            rejected.inc();
        }
        self.measure();
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.measure();
    }

    fn measure(&self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.metrics.waiting_batch_bytes.set(bytes as i64);
    }
}

/// The results so far.
#[derive(Debug)]
struct Results {
    places: Vec<Option<Found>>,
    /// How many are still to come.
    missing: usize,
    /// The bytes of all contents among them.
    contents: usize,
    /// How much of [`Waiting`] the batch has taken; `None` as long as it does not wait.
    held: Option<usize>,
}

/// A request with its results.
struct Batch {
    service: Arc<Service>,
    link: Arc<Link>,
    from: Box<str>,
    id: Box<str>,
    asked: Instant,
    /// The withdrawals before anything was looked at: what was withdrawn since may be in the answer.
    withdrawals: u64,
    wait: bool,
    keys: Vec<LookupKey>,
    results: Mutex<Results>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(held) = self.lock().held.take() {
            self.service.waiting.give_back(held);
        }
    }
}

impl Service {
    /// Answers a batch of keys; `trusted` is whether the sender is a feed.
    pub(super) fn lookup(
        self: &Arc<Self>,
        now: Instant,
        request: &Request<'_>,
        lookup: Lookup,
        trusted: bool,
    ) {
        let Lookup { wait, keys } = lookup;
        let withdrawals = self.resolver.withdrawals();
        let mut resolving: HashMap<CapsKey, Vec<usize>> = HashMap::default();
        let mut alone = Vec::new();
        let mut results = Results {
            places: vec![None; keys.len()],
            missing: keys.len(),
            contents: 0,
            held: None,
        };
        for (place, key) in keys.iter().enumerate() {
            match self.look(now, request, key, trusted) {
                Next::Settled(found) => self.put(&mut results, place, found),
                Next::Resolve(key) => resolving.entry(key).or_default().push(place),
                Next::AskAlone(reason) => alone.push((place, reason)),
            }
        }
        let batch = Arc::new(Batch {
            service: Arc::clone(self),
            link: Arc::clone(request.link),
            from: request.from.into(),
            id: request.id.into(),
            asked: now,
            withdrawals,
            wait,
            keys,
            results: Mutex::new(results),
        });
        if batch.lock().missing == 0 {
            return batch.answer();
        }
        if !batch.begin_to_wait() {
            let places = resolving.into_values().flatten();
            let places: Vec<usize> = places
                .chain(alone.iter().map(|(place, _)| *place))
                .collect();
            return batch.settle(&places, &Found::Refused(Reason::Overloaded));
        }
        let patience = match wait {
            true => Patience::Asking,
            false => Patience::Looking,
        };
        let waiters = resolving.into_iter().map(|(key, places)| {
            let batch = Arc::clone(&batch);
            let tell = move |now, outcome| batch.resolved(now, &key, &places, outcome);
            (key, Box::new(tell) as Waiter)
        });
        self.resolver
            .resolve_all(now, request.from, patience, waiters);
        for (place, reason) in alone {
            batch.ask_alone(now, place, reason);
        }
    }

    /// What is known of a key without waiting for anybody.
    fn look(&self, now: Instant, request: &Request<'_>, asked: &LookupKey, trusted: bool) -> Next {
        let own_account =
            |jid: &str| jid::has_local_part(jid) && jid::bare(jid) == jid::bare(request.from);
        if let Some(jid) = &asked.jid
            && !trusted
            && !own_account(jid)
        {
            return Next::Settled(Found::Refused(Reason::Forbidden));
        }
        let key = match self.key_of(&asked.node) {
            Ok(key) => key,
            Err(reason) if asked.jid.is_some() => return Next::AskAlone(reason),
            Err(reason) => {
                self.metrics.lookups.get(LookupResult::Rejected).inc();
                return Next::Settled(Found::Refused(reason));
            }
        };
        if let Some(entry) = self.resolver.hot(&key) {
            self.count_hit(&entry);
            return Next::Settled(Found::Entry(entry));
        }
        match self.beside_hot(now, &key, request.from) {
            Beside::Denied => Next::Settled(Found::Refused(Reason::Denied)),
            Beside::Own(own) => Next::Settled(Found::Own(own)),
            Beside::Entry(entry) => {
                self.count_hit(&entry);
                Next::Settled(Found::Entry(entry))
            }
            Beside::Nothing => Next::Resolve(key),
        }
    }

    /// Puts a result in its place, as far as its content still fits into the answer. One content always does.
    fn put(&self, results: &mut Results, place: usize, mut found: Found) {
        let bytes = found.bytes();
        if results.contents > 0
            && results.contents.saturating_add(bytes) > self.settings.batch_bytes
        {
            found = Found::Refused(Reason::TooLarge);
        } else if let Some(held) = &mut results.held
            && bytes > 0
        {
            if self.waiting.take(bytes) {
                *held += bytes;
            } else {
                found = Found::Refused(Reason::Overloaded);
            }
        }
        results.contents += found.bytes();
        if let Found::Refused(reason) = &found {
            self.metrics.lookup_failures.get(*reason).inc();
        }
        if let Some(place) = results.places.get_mut(place) {
            results.missing -= usize::from(place.is_none());
            *place = Some(found);
        }
    }
}

impl Batch {
    fn lock(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self) -> Request<'_> {
        Request {
            link: &self.link,
            from: &self.from,
            id: &self.id,
        }
    }

    /// Takes the memory that it needs while it waits; false if there is none.
    fn begin_to_wait(&self) -> bool {
        let mut results = self.lock();
        let texts = self.keys.iter().map(|key| {
            let jid = key.jid.as_ref().map_or(0, String::len);
            key.node.len() + jid + OVERHEAD
        });
        let bytes = results.contents + texts.sum::<usize>();
        let taken = self.service.waiting.take(bytes);
        if taken {
            results.held = Some(bytes);
        }
        taken
    }

    /// Puts one result in several places; with the last one the batch is answered.
    fn settle(&self, places: &[usize], found: &Found) {
        let done = {
            let mut results = self.lock();
            for place in places {
                self.service.put(&mut results, *place, found.clone());
            }
            results.missing == 0
        };
        if done {
            self.answer();
        }
    }

    /// A key was resolved, or was not.
    fn resolved(self: &Arc<Self>, now: Instant, key: &CapsKey, places: &[usize], outcome: Outcome) {
        self.service.observe(self.asked, now, &outcome);
        let reason = match outcome {
            Ok((entry, _)) => return self.settle(places, &Found::Entry(entry)),
            Err(reason) => self.service.reason_for(key, reason),
        };
        // What an operator denies is not to be had from anybody.
        let alone = |place: &&usize| {
            let asked = self.keys.get(**place);
            reason != Reason::Denied && asked.is_some_and(|asked| asked.jid.is_some())
        };
        let (alone, refused): (Vec<&usize>, Vec<&usize>) = places.iter().partition(alone);
        for place in alone {
            self.ask_alone(now, *place, reason);
        }
        let refused: Vec<usize> = refused.into_iter().copied().collect();
        if !refused.is_empty() {
            self.settle(&refused, &Found::Refused(reason));
        }
    }

    /// Finds out what the address of a key says, which may be given for this address alone.
    fn ask_alone(self: &Arc<Self>, now: Instant, place: usize, otherwise: Reason) {
        let asked = self.keys.get(place);
        let Some((node, jid)) = asked.and_then(|asked| Some((&asked.node, asked.jid.as_ref()?)))
        else {
            return self.settle(&[place], &Found::Refused(otherwise));
        };
        let of = (self.link.id, jid.as_str(), node.as_str());
        let found = |said: Said| said.map_or_else(Found::Refused, Found::Alone);
        let resolver = &self.service.resolver;
        if self.wait && !self.service.stops() {
            let batch = Arc::clone(self);
            let listener = move |_, said| batch.settle(&[place], &found(said));
            resolver.ask_alone(now, of, otherwise, Box::new(listener));
        } else {
            let said = resolver.said(now, of.0, of.1, of.2);
            self.settle(&[place], &found(said.unwrap_or(Err(otherwise))));
        }
    }

    /// Sends the answer; called once, when nothing is missing.
    fn answer(&self) {
        let service = &self.service;
        let results = std::mem::take(&mut self.lock().places);
        if service.stops() {
            return self
                .request()
                .refuse(ErrorReply::plain("wait", "service-unavailable"));
        }
        service.ended(Operation::LookupOk);
        let denials: Vec<String> = self
            .keys
            .iter()
            .zip(&results)
            .map(|(key, found)| match found {
                Some(Found::Refused(Reason::Denied)) => {
                    let key = CapsKey::from_node(&key.node).ok();
                    key.and_then(|key| service.resolver.denial(&key))
                        .unwrap_or_default()
                }
                _ => String::new(),
            })
            .collect();
        let answers = self
            .keys
            .iter()
            .zip(&results)
            .zip(&denials)
            .map(|((key, found), denial)| {
                let meaning = match found {
                    Some(Found::Entry(entry)) => Meaning::Verified(entry.children()),
                    Some(Found::Own(own)) => Meaning::Verified(&own.children),
                    Some(Found::Alone(content)) => Meaning::Unverified(content.children()),
                    Some(Found::Refused(reason)) => Meaning::Refused(*reason, denial),
                    None => Meaning::Refused(Reason::Unknown, ""),
                };
                KeyAnswer {
                    node: &key.node,
                    jid: key.jid.as_deref(),
                    meaning,
                }
            });
        let source = Source {
            withdrawals: self.withdrawals,
            ..service.source()
        };
        self.request()
            .reply(|out, route| write::lookup(out, route, source, MAX_AGE, answers));
    }
}
