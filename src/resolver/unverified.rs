//! What cannot be verified: answers that are good for the one address that gave them, and for nobody else.
//!
//! Announcements without a hash (XEP-0115 section 13) or with hash functions that capsd does not support prove nothing, and neither do
//! contents whose hash matches but that break a rule or have several readings. Who made such an announcement is remembered here with
//! its nodes, and its own answers to them: in memory only, until it announces something else, is gone, or its link is lost. The contents
//! have a type of their own, so that none can get where verified ones are.
//!
//! Bounds: [`Settings::max_bytes`] of memory, where the longest unused address makes room; [`Settings::max_questions`] questions at a time,
//! each to an address that was heard and may be asked, and one for all who want to know.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ahash::{HashMap, HashSet, RandomState};
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::flights::QuestionId;
use crate::caps::{Answer, Reason, xep0115};
use crate::holders::LinkId;
use crate::holders::feeders::FeederId;
use crate::metrics::{Eviction, Metrics};

/// What an address costs beside its texts, in bytes: the counters and links of the cache.
const OVERHEAD: usize = 500;

/// The bounds; every one is a setting.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The most bytes of memory for addresses with their nodes and contents.
    pub max_bytes: u64,
    /// How many questions may be open.
    pub max_questions: usize,
    /// How long one may take.
    pub timeout: Duration,
    /// How long an address is not asked again for a node that it did not answer for.
    pub retry_after: Duration,
}

/// The inside of a `<query/>` that nobody proved: for the address that it came from.
#[derive(Debug, PartialEq, Eq)]
pub struct Unproven(Box<[u8]>);

impl Unproven {
    /// Prepares an answer for being given as the answer of whoever gave it.
    pub fn new(answer: &Answer) -> Unproven {
        let (info, _) = xep0115::canonical(answer);
        let mut children = Vec::with_capacity(4096);
        info.write_children(&mut children);
        Unproven(children.as_slice().into())
    }

    /// The inside of the `<query/>`, escaped.
    pub fn children(&self) -> &[u8] {
        &self.0
    }
}

/// What an address said to a node that it announces.
pub type Said = Result<Arc<Unproven>, Reason>;

/// Somebody who waits for what an address says; called once.
pub type Listener = Box<dyn FnOnce(Instant, Said) + Send>;

/// An address on a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Who {
    link: LinkId,
    address: Box<str>,
}

/// Why an address did not answer for a node, and until when it is not asked again.
type Failure = (Reason, Instant);

/// What an address announces that cannot be verified, and what it said. Never changed, only replaced.
#[derive(Clone, Debug)]
struct Announced {
    askable: bool,
    /// Who told of it last.
    feeder: FeederId,
    nodes: Arc<[Box<str>]>,
    /// By place among the nodes.
    said: Vec<(usize, Result<Arc<Unproven>, Failure>)>,
}

impl Announced {
    fn place_of(&self, node: &str) -> Option<usize> {
        self.nodes.iter().position(|announced| **announced == *node)
    }

    fn said(&self, place: usize, now: Instant) -> Option<Said> {
        let said = self.said.iter().find(|(at, _)| *at == place);
        match &said?.1 {
            Ok(content) => Some(Ok(Arc::clone(content))),
            Err((reason, until)) => (*until > now).then_some(Err(*reason)),
        }
    }

    fn bytes(&self) -> usize {
        let nodes: usize = self.nodes.iter().map(|node| node.len()).sum();
        let said = self.said.iter().filter_map(|(_, said)| said.as_ref().ok());
        nodes + said.map(|content| content.0.len()).sum::<usize>()
    }
}

/// A question that was sent.
struct Asked {
    who: Who,
    node: Box<str>,
    until: Instant,
    listeners: Vec<Listener>,
}

#[derive(Default)]
struct Questions {
    open: HashMap<QuestionId, Asked>,
    /// By whom and for what, so that one question serves all.
    by_node: HashMap<(Who, Box<str>), QuestionId>,
    /// Whether the process ends: nobody is asked any more.
    stopped: bool,
}

impl Questions {
    fn take(&mut self, id: QuestionId) -> Option<Asked> {
        let asked = self.open.remove(&id)?;
        self.by_node
            .remove(&(asked.who.clone(), asked.node.clone()));
        Some(asked)
    }

    fn take_where(&mut self, which: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        let ids: Vec<QuestionId> = self
            .open
            .iter()
            .filter(|(_, asked)| which(asked))
            .map(|(id, _)| *id)
            .collect();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }
}

/// What is to be done for somebody who wants to know what an address says.
pub enum Wanted {
    /// It is known already, or will not be known: the listener is to be told.
    Tell(Listener, Said),
    /// The address is to be asked; the listener is told when it answers.
    Ask(QuestionId),
    /// It is being asked already.
    Waits,
}

/// The table.
pub struct Unverified {
    settings: RwLock<Settings>,
    /// Made when it is needed first: most servers have nobody like that, and an empty one takes memory, too.
    announced: OnceLock<Cache<Who, Announced, RandomState>>,
    metrics: Arc<Metrics>,
    /// How many addresses are there, at the least: what `announced` says lags behind.
    count: Arc<AtomicUsize>,
    questions: Mutex<Questions>,
}

impl std::fmt::Debug for Unverified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified").finish_non_exhaustive()
    }
}

impl Unverified {
    /// An empty table.
    pub fn new(settings: Settings, metrics: &Arc<Metrics>) -> Unverified {
        Unverified {
            settings: RwLock::new(settings),
            announced: OnceLock::new(),
            metrics: Arc::clone(metrics),
            count: Arc::default(),
            questions: Mutex::default(),
        }
    }

    /// Takes other settings; the memory of what was said stays what it was.
    pub fn change(&self, settings: Settings) {
        let mut current = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let max_bytes = current.max_bytes;
        *current = Settings {
            max_bytes,
            ..settings
        };
    }

    fn settings(&self) -> Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn announced(&self) -> &Cache<Who, Announced, RandomState> {
        self.announced.get_or_init(|| {
            let (removed, evictions) = (Arc::clone(&self.count), Arc::clone(&self.metrics));
            Cache::builder()
                .max_capacity(self.settings().max_bytes)
                .eviction_policy(EvictionPolicy::lru())
                .weigher(|who: &Who, announced: &Announced| {
                    let bytes = who.address.len() + announced.bytes() + OVERHEAD;
                    u32::try_from(bytes).unwrap_or(u32::MAX)
                })
                .eviction_listener(move |_, _, cause| {
                    removed.fetch_sub(1, Ordering::Relaxed);
                    if cause == RemovalCause::Size {
                        let evictions = &evictions.cache_evictions;
                        evictions.get(Eviction::UnverifiedSize).inc();
                    }
                })
                .build_with_hasher(RandomState::new())
        })
    }

    /// Whether nobody is remembered; cheap. Nobody else is asked then; who was asked before may answer still.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    fn lock(&self) -> MutexGuard<'_, Questions> {
        self.questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, who: Who, announced: Announced) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.announced().insert(who, announced);
    }

    /// Takes note of an announcement that cannot be verified. What the address said before is kept if it announced the same. Returns
    /// who waits for an answer that nobody may be given any more.
    pub fn announce(
        &self,
        link: LinkId,
        address: &str,
        nodes: Vec<String>,
        askable: bool,
    ) -> Vec<Listener> {
        let who = Who {
            link,
            address: address.into(),
        };
        let nodes: Arc<[Box<str>]> = nodes.into_iter().map(String::into_boxed_str).collect();
        let mut questions = self.lock();
        let known = self.announced().get(&who);
        match known.filter(|known| known.nodes == nodes) {
            Some(known) if known.askable == askable => Vec::new(),
            Some(known) => {
                self.insert(who, Announced { askable, ..known });
                Vec::new()
            }
            None => {
                let ended = questions.take_where(|asked| asked.who == who);
                let said = Vec::new();
                let announced = Announced {
                    askable,
                    feeder: FeederId::default(),
                    nodes,
                    said,
                };
                self.insert(who, announced);
                listeners(ended)
            }
        }
    }

    /// The address is gone, or announces something else than those nodes. Returns who waits for its answer.
    pub fn forget(&self, link: LinkId, address: &str, unless: &[String]) -> Vec<Listener> {
        if self.is_empty() {
            return Vec::new();
        }
        let who = Who {
            link,
            address: address.into(),
        };
        let mut questions = self.lock();
        let known = self.announced().get(&who);
        let same = |known: &Announced| known.nodes.iter().map(|node| &**node).eq(unless);
        if known.is_none_or(|known| same(&known)) {
            return Vec::new();
        }
        self.announced().invalidate(&who);
        listeners(questions.take_where(|asked| asked.who == who))
    }

    /// Takes note of who told of that announcement last.
    pub fn told_by(&self, feeder: FeederId, link: LinkId, address: &str) {
        if self.is_empty() {
            return;
        }
        let who = Who {
            link,
            address: address.into(),
        };
        let _questions = self.lock();
        let known = self.announced().get(&who);
        if let Some(known) = known.filter(|known| known.feeder != feeder) {
            self.insert(who, Announced { feeder, ..known });
        }
    }

    /// A link was lost: what its addresses announce meanwhile is not heard. Returns who waits for answers over it.
    pub fn forget_link(&self, link: LinkId) -> Vec<Listener> {
        self.forget_where(|who, _| who.link == link)
    }

    /// What that feeder told holds no more. Returns who waits for answers.
    pub fn forget_feeder(&self, feeder: FeederId) -> Vec<Listener> {
        if feeder == FeederId::default() {
            return Vec::new();
        }
        self.forget_where(|_, announced| announced.is_some_and(|known| known.feeder == feeder))
    }

    /// An address may be asked whose announcement there was no room to keep: then nothing is known of that.
    fn forget_where(&self, which: impl Fn(&Who, Option<&Announced>) -> bool) -> Vec<Listener> {
        let mut questions = self.lock();
        let mut forgotten = HashSet::default();
        for (who, announced) in self.announced.get().into_iter().flatten() {
            if which(&who, Some(&announced)) {
                self.announced().invalidate(&*who);
                forgotten.insert(who);
            }
        }
        let concerned = |asked: &Asked| forgotten.contains(&asked.who) || which(&asked.who, None);
        listeners(questions.take_where(concerned))
    }

    /// Remembers what an address answered to one of these nodes, which it announces, and which proves nothing about anybody else.
    pub fn keep(
        &self,
        link: LinkId,
        address: &str,
        nodes: Vec<String>,
        node: &str,
        content: Unproven,
    ) {
        let who = Who {
            link,
            address: address.into(),
        };
        let _questions = self.lock();
        let nodes: Arc<[Box<str>]> = nodes.into_iter().map(String::into_boxed_str).collect();
        let known = self
            .announced()
            .get(&who)
            .filter(|known| known.nodes == nodes);
        let announced = known.unwrap_or(Announced {
            askable: true,
            feeder: FeederId::default(),
            nodes,
            said: Vec::new(),
        });
        if let Some(place) = announced.place_of(node) {
            self.note(who, announced, place, Ok(Arc::new(content)));
        }
    }

    fn note(
        &self,
        who: Who,
        mut announced: Announced,
        place: usize,
        said: Result<Arc<Unproven>, Failure>,
    ) {
        announced.said.retain(|(at, _)| *at != place);
        announced.said.push((place, said));
        self.insert(who, announced);
    }

    /// What the address said to a node that it announces; `None` where it does not announce it, or has not been asked.
    pub fn said(&self, now: Instant, link: LinkId, address: &str, node: &str) -> Option<Said> {
        let (announced, place) = self.announcement(link, address, node)?;
        announced.said(place, now)
    }

    fn announcement(&self, link: LinkId, address: &str, node: &str) -> Option<(Announced, usize)> {
        if self.is_empty() {
            return None;
        }
        let who = Who {
            link,
            address: address.into(),
        };
        let announced = self.announced().get(&who)?;
        let place = announced.place_of(node)?;
        Some((announced, place))
    }

    /// Somebody wants to know what the address says to the node, and would wait for it; `otherwise` is why there is no answer if it
    /// does not announce the node. `id` is that of the question, if there has to be one and `may_ask` permits it.
    pub fn want(
        &self,
        now: Instant,
        (link, address, node): (LinkId, &str, &str),
        otherwise: Reason,
        id: QuestionId,
        may_ask: impl FnOnce() -> bool,
        listener: Listener,
    ) -> Wanted {
        let mut questions = self.lock();
        let Some((announced, place)) = self.announcement(link, address, node) else {
            return Wanted::Tell(listener, Err(otherwise));
        };
        if let Some(said) = announced.said(place, now) {
            return Wanted::Tell(listener, said);
        }
        if !announced.askable {
            return Wanted::Tell(listener, Err(otherwise));
        }
        let who = Who {
            link,
            address: address.into(),
        };
        let key = (who, node.into());
        let open = questions.by_node.get(&key).copied();
        if let Some(asked) = open.and_then(|id| questions.open.get_mut(&id)) {
            asked.listeners.push(listener);
            return Wanted::Waits;
        }
        let settings = self.settings();
        let room = !questions.stopped && questions.open.len() < settings.max_questions;
        if !room || questions.open.contains_key(&id) {
            return Wanted::Tell(listener, Err(Reason::Overloaded));
        }
        if !may_ask() {
            return Wanted::Tell(listener, Err(Reason::RateLimited));
        }
        let asked = Asked {
            who: key.0.clone(),
            node: key.1.clone(),
            until: now + settings.timeout,
            listeners: vec![listener],
        };
        questions.by_node.insert(key, id);
        questions.open.insert(id, asked);
        Wanted::Ask(id)
    }

    /// The node that a question is about, if it is open and was asked of that address over that link; `account` is enough where a server
    /// refuses a question in the name of the account.
    pub fn asked(&self, id: QuestionId, from: impl Fn(LinkId, &str) -> bool) -> Option<String> {
        let questions = self.lock();
        let asked = questions.open.get(&id)?;
        from(asked.who.link, &asked.who.address).then(|| asked.node.to_string())
    }

    /// The question was answered, or not: that is remembered. Returns who waits for it, and what they are to be told: nothing of an
    /// address that announces something else by now.
    pub fn settle(&self, now: Instant, id: QuestionId, said: Said) -> (Vec<Listener>, Said) {
        let Some(asked) = self.lock().take(id) else {
            return (Vec::new(), said);
        };
        let Who { link, address } = &asked.who;
        let Some((announced, place)) = self.announcement(*link, address, &asked.node) else {
            return (asked.listeners, Err(Reason::Unreachable));
        };
        let until = now + self.settings().retry_after;
        let noted = said.clone().map_err(|reason| (reason, until));
        self.note(asked.who, announced, place, noted);
        (asked.listeners, said)
    }

    /// The question could not be sent; nobody is blamed.
    pub fn unsent(&self, id: QuestionId) -> Vec<Listener> {
        let asked = self.lock().take(id);
        listeners(asked)
    }

    /// Ends all questions, and no other begins. Returns who waits.
    pub fn stop(&self) -> Vec<Listener> {
        let mut questions = self.lock();
        questions.stopped = true;
        listeners(questions.take_where(|_| true))
    }

    /// The questions that are overdue.
    pub fn overdue(&self, now: Instant) -> Vec<QuestionId> {
        let questions = self.lock();
        let open = questions.open.iter();
        open.filter(|(_, asked)| asked.until <= now)
            .map(|(id, _)| *id)
            .collect()
    }

    /// When the first question is overdue.
    pub fn next_timer(&self) -> Option<Instant> {
        let questions = self.lock();
        questions.open.values().map(|asked| asked.until).min()
    }

    /// Brings what lags behind up to date.
    pub fn sweep(&self) {
        if !self.is_empty() {
            self.announced().run_pending_tasks();
        }
    }
}

fn listeners(asked: impl IntoIterator<Item = Asked>) -> Vec<Listener> {
    asked
        .into_iter()
        .flat_map(|asked| asked.listeners)
        .collect()
}
