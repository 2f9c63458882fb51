//! What a request does to the tiers. Nothing here waits for anybody, or reads a clock.

use crate::caps::{
    Algorithm, CapsKey, DiscoInfo, Policy, Reason, Verdict, VerifiedInfo, verify, verify_canonical,
};
use crate::resolver::Resolver;
use crate::resolver::flights::Snapshot;
use crate::resolver::tiers::Below;
use crate::stanza::answer::{AnswerLimits, parse_query_unwrapped};
use crate::store::{Learned, PagePlace, PagedEntry, Store, StoreState, standard_keys};
use crate::trusted::{Overrides, Trusted};

use super::protocol::{
    Answer, BATCH_BYTES, Content, Flight, Flights, Item, Judged, MAX_BATCH, Tier,
};

/// How many entries are read from the store for one answer on the control socket.
pub const PAGE: usize = 32;

/// The most keys of one item: those of [`MAX_KEYS`](crate::store::MAX_KEYS) and some more, which are looked at for nothing.
const MAX_ITEM_KEYS: usize = 32;

/// An item that was verified, or what is wrong with it.
pub type Checked = Result<Learned, Judged>;

/// Verifies an item by that policy, and finds its [standard keys](standard_keys).
pub fn check(item: &Item, policy: &Policy) -> Checked {
    let mut learned = prove(item, policy)?;
    let more = standard_keys(&learned.info, policy).into_iter();
    let more: Vec<_> = more.filter(|key| !learned.keys.contains(key)).collect();
    learned.keys.extend(more);
    Ok(learned)
}

/// Verifies an item by that policy. A content is taken for the keys that it has; if it has none of them, the first one says why.
///
/// It costs about as much as the answer of a client, and touches no tier.
pub fn prove(item: &Item, policy: &Policy) -> Checked {
    let limits = AnswerLimits {
        max_bytes: policy.max_bytes,
        max_features: policy.max_features,
    };
    let answer = parse_query_unwrapped(item.query.as_bytes(), limits)
        .map_err(|fault| rejected(Reason::IllFormed, fault.to_string()))?;
    let mut refused = None;
    let mut proven: Option<(VerifiedInfo, Vec<CapsKey>)> = None;
    for node in item.keys.iter().take(MAX_ITEM_KEYS) {
        let key = CapsKey::from_node(node)
            .map_err(|fault| rejected(fault.reason(), fault.to_string()))?;
        match (verify(&key, &answer, policy), &mut proven) {
            (Verdict::Verified(info), None) => proven = Some((info, vec![key])),
            // Languages may be read in two ways (XEP-0390 section 6.2.1): only what is the same content goes together.
            (Verdict::Verified(info), Some((first, keys))) if info.info() == first.info() => {
                keys.push(key);
            }
            (Verdict::Quarantined(reason, detail), _) => {
                refused.get_or_insert(Judged::Quarantined {
                    reason: reason.to_string(),
                    detail,
                });
            }
            (Verdict::Rejected(reason, detail), _) => {
                refused.get_or_insert(rejected(reason, detail));
            }
            (Verdict::Verified(_), Some(_)) => {}
        }
    }
    let no_key = || {
        rejected(
            Reason::MalformedNode,
            "it is given without a key".to_owned(),
        )
    };
    let (info, keys) = proven.ok_or_else(|| refused.unwrap_or_else(no_key))?;
    Ok(Learned {
        info,
        keys,
        nodes: item.nodes.clone(),
    })
}

fn rejected(reason: Reason, detail: String) -> Judged {
    Judged::Rejected {
        reason: reason.to_string(),
        detail,
    }
}

/// Verifies the items of one request.
///
/// # Errors
/// What to answer where there are too many.
pub fn check_all(items: &[Item], policy: &Policy) -> Result<Vec<Checked>, Answer> {
    if items.len() > MAX_BATCH {
        let message = format!("an import has at most {MAX_BATCH} items in a request");
        return Err(Answer::refused(message));
    }
    Ok(items.iter().map(|item| check(item, policy)).collect())
}

/// Puts what was verified into the learned tier, as seen by several accounts; but under no key that the operator speaks for.
pub fn take_in(
    store: &mut Store,
    overrides: &Overrides,
    trusted: Option<&Trusted>,
    checked: Vec<Checked>,
) -> Answer {
    let outdone =
        |key: &CapsKey| overrides.concerns(key) || trusted.is_some_and(|t| t.contains(key));
    let mut take = |learned: Learned| {
        let first = learned.keys.first().copied();
        if let Some(denial) = first.and_then(|key| overrides.denial(&key)) {
            return rejected(Reason::Denied, denial.to_owned());
        }
        let keys = learned.keys.into_iter().filter(|key| !outdone(key));
        take_in_one(
            store,
            Learned {
                keys: keys.collect(),
                ..learned
            },
        )
    };
    let judged = checked.into_iter();
    let judged = judged.map(|checked| checked.map_or_else(|judged| judged, &mut take));
    Answer::Judged {
        judged: judged.collect(),
    }
}

fn take_in_one(store: &mut Store, learned: Learned) -> Judged {
    let Some(key) = learned.keys.first() else {
        // It is served by the trusted tier, or as it is pinned.
        return Judged::Verified { new: false };
    };
    let new = store.get(key).is_none();
    store.put_seen(learned);
    Judged::Verified { new }
}

/// Makes durable what was learned.
pub fn sync(store: &mut Store) -> Answer {
    store.flush();
    match store.state() {
        StoreState::Disk => Answer::Synced,
        StoreState::MemoryOnly { cause, .. } => in_memory(&cause),
    }
}

fn in_memory(cause: &str) -> Answer {
    Answer::refused(format!(
        "the store is in memory only: {cause}. Once that is mended it comes back by itself; try again then"
    ))
}

/// Some entries from there on, at most so many, without the keys that the operator speaks for.
pub fn entries(
    store: &mut Store,
    overrides: &Overrides,
    from: Option<&str>,
    mut most: usize,
) -> Answer {
    let place = match from {
        None => Ok(PagePlace::default()),
        Some(text) => text.parse(),
    };
    let Ok(place) = place else {
        return Answer::refused("`from` is not the `next` of an answer before");
    };
    if from.is_none()
        && let refused @ Answer::Refused { .. } = sync(store)
    {
        return refused;
    }
    // Contents may be large: as many as fit, and at least one step forward.
    loop {
        let (page, next) = match store.page(place, most) {
            Ok(page) => page,
            Err(cause) => return in_memory(&cause),
        };
        let entries = page
            .into_iter()
            .filter_map(|entry| content(entry, overrides));
        let entries: Vec<Content> = entries.collect();
        let bytes: usize = entries.iter().map(|content| content.query.len()).sum();
        if bytes > BATCH_BYTES && most > 1 {
            most = (most / 4).max(1);
            continue;
        }
        let next = next.map(|next| next.to_string());
        return Answer::Entries { entries, next };
    }
}

fn content(entry: PagedEntry, overrides: &Overrides) -> Option<Content> {
    let keys = entry.keys.iter().filter(|key| !overrides.concerns(key));
    let keys: Vec<String> = keys.map(|key| key.to_node("")).collect();
    (!keys.is_empty()).then(|| Content {
        tier: Tier::Learned,
        keys,
        nodes: entry.nodes,
        seen_nodes: entry.seen_nodes,
        query: query(entry.info.info()),
    })
}

/// What is being resolved, with the keys that fewer than three accounts announced only if `all` are wanted.
pub fn flights(snapshot: Snapshot, all: bool) -> Flights {
    let flights = snapshot.flights.into_iter().map(|flight| {
        let told = flight.keys.iter().filter(|view| all || view.common);
        let keys: Vec<String> = told.map(|view| view.key.to_node("")).collect();
        Flight {
            rare_keys: flight.keys.len() - keys.len(),
            keys,
            age_ms: u64::try_from(flight.age.as_millis()).unwrap_or(u64::MAX),
            waiters: flight.waiters,
            asked: flight.asked,
            awaited: flight.awaited,
        }
    });
    Flights {
        in_progress: snapshot.in_progress,
        looking: snapshot.looking,
        waiters: snapshot.waiters,
        flights: flights.collect(),
    }
}

/// The `<query/>` of a content, as a document.
pub fn query(info: &DiscoInfo) -> String {
    let mut children = Vec::new();
    info.write_children(&mut children);
    query_of(&children)
}

/// The `<query/>` around what is in it, as a document.
pub fn query_of(children: &[u8]) -> String {
    let mut bytes = b"<query xmlns='http://jabber.org/protocol/disco#info'>".to_vec();
    bytes.extend_from_slice(children);
    bytes.extend_from_slice(b"</query>");
    // Contents are strings, and so is what is written around them.
    String::from_utf8(bytes).unwrap_or_default()
}

/// A content that is served under a key.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is served from.
    pub tier: Tier,
    /// What sets it apart there, for people: the operator's reason for pinning it, or the file or bundle that he installed.
    pub source: Option<String>,
    /// Its keys; the one that was looked for is among them.
    pub keys: Vec<CapsKey>,
    /// The node URLs that it was announced with.
    pub nodes: Vec<String>,
    /// As [`Content::seen_nodes`].
    pub seen_nodes: Option<usize>,
    /// The content, verified for the key.
    pub info: VerifiedInfo,
}

impl Found {
    /// One of which no more is known than the key that was looked for.
    fn new(tier: Tier, key: CapsKey, info: VerifiedInfo) -> Found {
        Found {
            tier,
            source: None,
            keys: vec![key],
            nodes: Vec::new(),
            seen_nodes: None,
            info,
        }
    }
}

impl From<Found> for Content {
    fn from(found: Found) -> Content {
        Content {
            tier: found.tier,
            keys: found.keys.iter().map(|key| key.to_node("")).collect(),
            nodes: found.nodes,
            seen_nodes: found.seen_nodes,
            query: query(found.info.info()),
        }
    }
}

/// What came of looking for a key.
#[derive(Clone, Debug)]
pub enum Finding {
    /// It is served.
    Found(Box<Found>),
    /// The operator denies it, for that reason.
    Denied(String),
    /// It is not served.
    Unknown,
    /// It cannot be said before what is trusted has been listed.
    NotYet,
}

/// What is served under a key from the tiers below the hot one; nobody is asked.
pub fn find(below: &mut Below, key: &CapsKey, policy: &Policy) -> Finding {
    if let Some(denial) = below.overrides.denial(key) {
        return Finding::Denied(denial.to_owned());
    }
    let of = |tier, info| Found::new(tier, *key, info);
    if let Some((pinned, reason)) = below.overrides.pin(key) {
        return Finding::Found(Box::new(Found {
            source: Some(reason.to_owned()),
            ..of(Tier::Pinned, pinned.clone())
        }));
    }
    let Some(trusted) = &mut below.trusted else {
        return Finding::NotYet;
    };
    if let Some(entry) = trusted.get(key) {
        return Finding::Found(Box::new(Found {
            source: Some(entry.source),
            nodes: entry.nodes,
            ..of(Tier::Trusted, entry.info)
        }));
    }
    let permitted = key.algorithm() != Algorithm::Md5 || policy.allow_md5;
    match below.store.get(key).filter(|_| permitted) {
        Some(stored) => Finding::Found(Box::new(Found {
            keys: stored.keys,
            nodes: stored.nodes,
            seen_nodes: stored.seen_nodes,
            ..of(Tier::Learned, stored.info)
        })),
        None => Finding::Unknown,
    }
}

/// What is served under a key that none of the tiers below knows: it is hot still, or on probation. It is not used by being looked at.
pub fn find_in_memory(resolver: &Resolver, key: &CapsKey, policy: &Policy) -> Finding {
    let found = hot(resolver, key, policy).or_else(|| on_probation(resolver, key, policy));
    found.map_or(Finding::Unknown, |found| Finding::Found(Box::new(found)))
}

fn hot(resolver: &Resolver, key: &CapsKey, policy: &Policy) -> Option<Found> {
    // What the operator installed is looked for below; here it may be about to be withdrawn.
    let entry = resolver.hot(key).filter(|entry| !entry.is_trusted())?;
    let mut found = Found::new(Tier::Hot, *key, proven(key, entry.info()?, policy)?);
    let same = |other: &CapsKey| other != key && resolver.hot(other).as_ref() == Some(&entry);
    let more = standard_keys(&found.info, policy).into_iter();
    found.keys.extend(more.filter(same));
    Some(found)
}

fn on_probation(resolver: &Resolver, key: &CapsKey, policy: &Policy) -> Option<Found> {
    let unwritten = resolver.unwritten(key)?;
    let info = DiscoInfo::decode(&unwritten.content).ok()?;
    let mut found = Found::new(Tier::Probation, *key, proven(key, info, policy)?);
    // A key that was denied meanwhile is served no more.
    let same = |other: &&CapsKey| *other != key && resolver.unwritten(other).is_some();
    found.keys.extend(unwritten.keys.iter().filter(same));
    let node = Some(&unwritten.node_url).filter(|node| !node.is_empty());
    found.nodes.extend(node.cloned());
    Some(found)
}

fn proven(key: &CapsKey, info: DiscoInfo, policy: &Policy) -> Option<VerifiedInfo> {
    match verify_canonical(key, info, policy) {
        Verdict::Verified(info) => Some(info),
        Verdict::Quarantined(..) | Verdict::Rejected(..) => None,
    }
}

/// The key that people name as the log does, or by a caps node.
///
/// # Errors
/// What to answer where it is none.
pub fn key_of(text: &str) -> Result<CapsKey, Answer> {
    let parsed = text.parse().or_else(|_| CapsKey::from_node(text));
    parsed.map_err(|fault| {
        let reason = fault.reason();
        Answer::refused_for(reason, format!("{reason}: {fault}"))
    })
}

impl From<Finding> for Answer {
    fn from(finding: Finding) -> Answer {
        match finding {
            Finding::Found(found) => Answer::Found((*found).into()),
            Finding::Denied(reason) => Answer::NotFound {
                denied: Some(reason),
            },
            Finding::Unknown => Answer::NotFound { denied: None },
            Finding::NotYet => Answer::refused_for(
                Reason::Overloaded,
                "trusted content is still being listed; try again in a moment",
            ),
        }
    }
}
