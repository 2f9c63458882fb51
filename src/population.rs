//! The population: which client software is online, and which features it has.
//!
//! Nobody reports it to capsd; it follows from what is there already. Every holder has an announcement, an announcement stands
//! for a content, and the content names its software and lists its features. A [`Census`] goes round the table of holders, a piece at a
//! time; each announcement is looked up once, as long as anybody makes it. So nothing is added to the path of a stanza, and nothing to a
//! holder.
//!
//! What is shown cannot tell of a single person: software that fewer than three accounts use is `other`, and a feature that fewer than
//! three accounts have counts as zero. Devices of one account count as one account here. Names are those of [`software`], at most
//! `population.clients` of them; a name keeps its place while no other has more sessions.
//!
//! Counts are of sessions. They are as old as a round takes: a second or two up to 4,096 holders, a minute at the most.

mod places;
mod round;
pub mod software;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::metrics::{Metrics, Uncounted};
use crate::resolver::Resolver;
use places::Places;
use round::{Round, Totals};

/// How often a step of the census is done.
const STEP: Duration = Duration::from_secs(1);

/// How the population is counted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The features that are counted, at most 32.
    pub features: Vec<String>,
    /// How many clients are shown by name.
    pub clients: usize,
    /// How many kinds of software, each a name with a set of features, are told apart.
    pub kinds: usize,
}

/// A client and how many sessions it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Client {
    /// Its name; at least three accounts use it.
    pub client: String,
    /// How many sessions are online with it.
    pub sessions: u64,
}

/// A feature and how many sessions have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// The `var` of the feature, as it is configured.
    pub feature: String,
    /// How many sessions have it; 0 where they are of fewer than three accounts.
    pub sessions: u64,
}

/// What is online, as it was counted last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Population {
    /// All sessions that announce what they can do: the sum of those by client, `other` and `unknown`.
    pub total: u64,
    /// By client, most sessions first, then by name.
    pub clients: Vec<Client>,
    /// Sessions with software that has no name, is not among the largest, or is used by fewer than three accounts.
    pub other: u64,
    /// Sessions whose content capsd does not know (yet), or that are beyond `population.kinds`.
    pub unknown: u64,
    /// By feature, in the order of the configuration.
    pub features: Vec<Feature>,
    /// How many rounds were counted since the start; 0: nothing was counted yet.
    pub rounds: u64,
}

/// Counts the population, again and again.
#[derive(Debug)]
pub struct Census {
    settings: Settings,
    metrics: Arc<Metrics>,
    latest: Mutex<Arc<Population>>,
}

impl Census {
    /// A census that has counted nobody yet; its metrics are at zero.
    pub fn new(settings: Settings, metrics: Arc<Metrics>) -> Census {
        let features = settings.features.iter();
        let features = features.map(|feature| Feature {
            feature: feature.clone(),
            sessions: 0,
        });
        let population = Population {
            features: features.collect(),
            ..Population::default()
        };
        for feature in &population.features {
            metrics.population.show_feature(&feature.feature, 0);
        }
        Census {
            settings,
            metrics,
            latest: Mutex::new(Arc::new(population)),
        }
    }

    /// What was counted last.
    pub fn latest(&self) -> Arc<Population> {
        Arc::clone(&self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts until dropped. `clock` is that of the runtime's timers.
    pub async fn run(&self, resolver: &Resolver, clock: impl Fn() -> Instant) {
        resolver.with_holders(|holders| holders.limit_kinds(self.settings.kinds));
        let mut places = Places::new(self.settings.clients, clock());
        let mut round = Round::default();
        let mut ticks = tokio::time::interval(STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = 0;
        loop {
            ticks.tick().await;
            if let Some(totals) = self.step(resolver, &mut round).await {
                rounds += 1;
                self.publish(&totals, &mut places, clock(), rounds);
            }
        }
    }

    /// Counts some more; what the round counted, if it is over. Then looks up what was new.
    async fn step(&self, resolver: &Resolver, round: &mut Round) -> Option<Totals> {
        round.begin_step(resolver.with_holders(|holders| holders.places()));
        // Others have their turn between the pieces.
        while resolver.with_holders(|holders| round.count(holders)) {
            tokio::task::yield_now().await;
        }
        let features = self.settings.features.len();
        let totals = round
            .is_over()
            .then(|| resolver.with_holders(|holders| round.end(holders, features)));
        for announcement in round.wanted() {
            let mut found = None;
            for key in &announcement.keys {
                if found.is_none() {
                    found = resolver.content(key).await;
                }
            }
            let software = found.map(|info| {
                software::software(&info, &announcement.node_url, &self.settings.features)
            });
            resolver.with_holders(|holders| holders.classify(&announcement, software));
        }
        totals
    }

    fn publish(&self, totals: &Totals, places: &mut Places, now: Instant, rounds: u64) {
        let common: BTreeMap<&str, u64> = totals
            .named
            .iter()
            .filter(|(_, tally)| tally.accounts.is_common())
            .map(|(name, tally)| (&**name, tally.sessions))
            .collect();
        let withdrawn = places.settle(now, &common);
        let mut clients: Vec<Client> = places
            .shown()
            .iter()
            .map(|name| Client {
                client: name.to_string(),
                sessions: common.get(&**name).copied().unwrap_or(0),
            })
            .collect();
        clients.sort_by(|a, b| (b.sessions, &a.client).cmp(&(a.sessions, &b.client)));
        let named: u64 = totals.named.values().map(|tally| tally.sessions).sum();
        let shown: u64 = clients.iter().map(|client| client.sessions).sum();
        let features = self.settings.features.iter().zip(&totals.features);
        let features = features.map(|(feature, tally)| Feature {
            feature: feature.clone(),
            sessions: tally.sessions * u64::from(tally.accounts.is_common()),
        });
        let unknown = totals.unknown + totals.beyond;
        let mut population = Population {
            total: named + totals.unnamed + unknown,
            other: named - shown + totals.unnamed,
            clients,
            unknown,
            features: features.collect(),
            rounds,
        };
        self.show(&population, totals);
        for name in withdrawn {
            self.metrics.population.withdraw_client(&name);
        }
        // A metric keeps a name for a while; whoever reads this wants to know what is online.
        population.clients.retain(|client| client.sessions > 0);
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(population);
    }

    fn show(&self, population: &Population, totals: &Totals) {
        let metrics = &self.metrics.population;
        for client in &population.clients {
            metrics.show_client(&client.client, client.sessions);
        }
        metrics.show_other(population.other);
        for feature in &population.features {
            metrics.show_feature(&feature.feature, feature.sessions);
        }
        for (why, sessions) in [
            (Uncounted::Unknown, totals.unknown),
            (Uncounted::Kinds, totals.beyond),
        ] {
            let sessions = i64::try_from(sessions).unwrap_or(i64::MAX);
            metrics.uncounted.get(why).set(sessions);
        }
    }
}
