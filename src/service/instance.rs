//! Which process answers, and whether another one answers under the same address.
//!
//! Servers that feed capsd send back the instance of the last answer that they had (deploy/protocol.md section 6). A process that has
//! answered a server, and finds another instance there, is not the only one. A restart is no such case: what the process before answered
//! may come back until the server has sent back an answer of this one, and nothing is remembered of a server beyond its link.

use std::sync::{Mutex, PoisonError};

use ahash::{HashMap, RandomState};

use crate::component::Link;
use crate::holders::LinkId;

/// What is known of a feeder that was answered.
#[derive(Debug, Default)]
struct Feeder {
    /// The instance that it came with.
    before: Option<Box<str>>,
    /// Whether it has sent back this one.
    knows_us: bool,
    /// The other instance that was told of last.
    told: Option<Box<str>>,
}

/// The name of this process, and who sent back what.
#[derive(Debug)]
pub(super) struct Instance {
    name: String,
    /// By link and domain: no more than the configuration names as feeds.
    feeders: Mutex<HashMap<(LinkId, Box<str>), Feeder>>,
}

impl Instance {
    /// A name that no other process has: 64 random bits.
    pub(super) fn new() -> Instance {
        let mut bytes = [0; 8];
        if getrandom::fill(&mut bytes).is_err() {
            bytes = RandomState::new().hash_one(0).to_ne_bytes();
        }
        Instance {
            name: format!("{:016x}", u64::from_ne_bytes(bytes)),
            feeders: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A feeder believes that this instance answers, and will be answered by us.
    pub(super) fn believed(&self, link: &Link, feeder: &str, instance: Option<&str>) {
        let mut feeders = self.feeders.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (link.id, feeder.into());
        let Some(known) = feeders.get_mut(&key).filter(|_| instance.is_some()) else {
            // One that knows no instance has begun anew.
            let begun = Feeder {
                before: instance.map(Into::into),
                knows_us: instance == Some(self.name()),
                told: None,
            };
            feeders.insert(key, begun);
            return;
        };
        if instance == Some(self.name()) {
            known.knows_us = true;
            return;
        }
        if !known.knows_us && instance == known.before.as_deref() {
            return;
        }
        link.metrics.duplicates.inc();
        if known.told.as_deref() != instance {
            known.told = instance.map(Into::into);
            tracing::warn!(
                component = link.jid(),
                domain = feeder,
                this = self.name,
                other = instance,
                "a second capsd answers under the address of this component: announcements reach one of them, questions the other. \
                 Next step: stop one of the two, or give it a JID of its own in its configuration and the server's"
            );
        }
    }

    /// A link was lost: whoever answers over it meanwhile is none of our business.
    pub(super) fn link_down(&self, link: LinkId) {
        let mut feeders = self.feeders.lock().unwrap_or_else(PoisonError::into_inner);
        feeders.retain(|(of, _), _| *of != link);
    }
}
