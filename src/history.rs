//! What the page at `/` shows of the time before now: how many look-ups were hits, and what was refused.
//!
//! It is read off the counters now and then, so whoever counts does nothing for it, and it can hold nothing that a counter does
//! not: no address, no hash. It has a fixed size of some kilobytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::caps::{Family, Reason};
use crate::metrics::{Labels, LookupResult, Metrics, VerificationResult};

/// How often [`History::observe`] is to be called.
pub const TICK: Duration = Duration::from_secs(15);

/// The most samples. When there are as many, two become one each, until a sample stands for [`LONGEST`].
const MAX_SAMPLES: usize = 180;

/// The longest time that one sample stands for; the samples go back 24 hours then.
const LONGEST: Duration = Duration::from_secs(8 * 60);

/// The most refusals.
const MAX_REFUSALS: usize = 64;

/// Refusals of one kind that are no further apart are one.
const TOGETHER: Duration = Duration::from_secs(60);

/// How many look-ups there were in a piece of time, and how many of them were hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it begins.
    pub from: Instant,
    /// When it ends.
    pub until: Instant,
    /// Look-ups that were answered from a tier at once.
    pub hits: u64,
    /// All look-ups of permitted askers.
    pub lookups: u64,
}

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// A look-up was answered with an error.
    Lookup,
    /// What a client answered was not believed.
    Answer,
}

impl Refused {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Refused::Lookup => "look-up",
            Refused::Answer => "answer",
        }
    }
}

/// Something that was refused, once or often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it was.
    pub refused: Refused,
    /// The reason, by its word.
    pub reason: &'static str,
    /// How often.
    pub count: u64,
    /// When it was noticed last, up to [`TICK`] after it happened.
    pub until: Instant,
}

/// What there is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// How long the daemon has been running.
    pub uptime: Duration,
    /// Look-ups over time, the oldest first; the last one ends now.
    pub samples: Vec<Sample>,
    /// Refusals, the latest first.
    pub refusals: Vec<Refusal>,
}

/// The history; see the module.
#[derive(Debug)]
pub struct History {
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    began: Instant,
    /// How long a sample is.
    period: Duration,
    samples: VecDeque<Sample>,
    /// When the sample that has not ended yet began, and what the counters said then.
    since: Instant,
    before: (u64, u64),
    refusals: VecDeque<Refusal>,
    refused_before: Vec<u64>,
}

impl History {
    /// Begins with what the counters say at that time.
    pub fn new(metrics: Arc<Metrics>, now: Instant) -> History {
        let state = State {
            began: now,
            period: TICK,
            samples: VecDeque::new(),
            since: now,
            before: lookups(&metrics),
            refusals: VecDeque::new(),
            refused_before: refused(&metrics).map(|(_, _, count)| count).collect(),
        };
        History {
            metrics,
            state: Mutex::new(state),
        }
    }

    /// Takes note of what the counters say.
    pub fn observe(&self, now: Instant) {
        let mut state = self.lock();
        state.note_refusals(&self.metrics, now);
        let sample = state.unfinished(&self.metrics, now);
        if now.saturating_duration_since(sample.from) >= state.period {
            state.since = now;
            state.before = lookups(&self.metrics);
            state.keep(sample);
        }
    }

    /// What there is to be shown at that time.
    pub fn shown(&self, now: Instant) -> Shown {
        self.observe(now);
        let state = self.lock();
        let unfinished = state.unfinished(&self.metrics, now);
        let begun = (unfinished.until > unfinished.from).then_some(unfinished);
        Shown {
            uptime: now.saturating_duration_since(state.began),
            samples: state.samples.iter().copied().chain(begun).collect(),
            refusals: state.refusals.iter().rev().copied().collect(),
        }
    }

    /// Each change is whole even if somebody panicked in the middle of it: at worst a sample is missing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn unfinished(&self, metrics: &Metrics, now: Instant) -> Sample {
        let (hits, all) = lookups(metrics);
        Sample {
            from: self.since,
            until: now.max(self.since),
            hits: hits.saturating_sub(self.before.0),
            lookups: all.saturating_sub(self.before.1),
        }
    }

    fn keep(&mut self, sample: Sample) {
        self.samples.push_back(sample);
        if self.samples.len() >= MAX_SAMPLES && self.period < LONGEST {
            self.period *= 2;
            let pairs = self.samples.make_contiguous().chunks(2);
            self.samples = pairs.filter_map(joined).collect();
        }
        if self.samples.len() > MAX_SAMPLES {
            self.samples.pop_front();
        }
    }

    fn note_refusals(&mut self, metrics: &Metrics, now: Instant) {
        for ((refused, reason, count), before) in refused(metrics).zip(&mut self.refused_before) {
            let more = count.saturating_sub(std::mem::replace(before, count));
            if more == 0 {
                continue;
            }
            let same = |refusal: &Refusal| refusal.refused == refused && refusal.reason == reason;
            // The latest of a kind stands at the end, so that the order is that of time.
            let latest = self.refusals.iter().rposition(same);
            let recent = latest
                .filter(|place| {
                    now.saturating_duration_since(self.refusals[*place].until) <= TOGETHER
                })
                .and_then(|place| self.refusals.remove(place));
            self.refusals.push_back(Refusal {
                refused,
                reason,
                count: more + recent.map_or(0, |recent| recent.count),
                until: now,
            });
        }
        while self.refusals.len() > MAX_REFUSALS {
            self.refusals.pop_front();
        }
    }
}

/// One sample instead of several that follow each other.
fn joined(samples: &[Sample]) -> Option<Sample> {
    Some(Sample {
        from: samples.first()?.from,
        until: samples.last()?.until,
        hits: samples.iter().map(|sample| sample.hits).sum(),
        lookups: samples.iter().map(|sample| sample.lookups).sum(),
    })
}

/// How many look-ups over XMPP were hits, and how many there were of permitted askers.
fn lookups(metrics: &Metrics) -> (u64, u64) {
    use LookupResult::{Coalesced, Hit, Miss, Negative, Override};
    let count = |result| metrics.lookups.get(result).get();
    let hits = count(Hit) + count(Override);
    (
        hits,
        hits + count(Coalesced) + count(Miss) + count(Negative),
    )
}

/// Every counter of refusals with its words, always in the same order.
fn refused(metrics: &Metrics) -> impl Iterator<Item = (Refused, &'static str, u64)> {
    let lookups = Reason::ALL.into_iter().map(|reason| {
        let count = metrics.lookup_failures.get(reason).get();
        (Refused::Lookup, reason.as_str(), count)
    });
    let results = VerificationResult::all().into_iter();
    let answers = results
        .filter(|result| *result != VerificationResult::Ok)
        .map(|result| {
            let count = |family| metrics.verifications.get((family, result)).get();
            let count = Family::ALL.into_iter().map(count).sum();
            (Refused::Answer, result.values()[0], count)
        });
    lookups.chain(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> (Arc<Metrics>, History, Instant) {
        let metrics = Arc::new(Metrics::new().unwrap());
        let now = Instant::now();
        (Arc::clone(&metrics), History::new(metrics, now), now)
    }

    #[test]
    fn samples_become_coarser_and_lose_no_look_up_of_a_day() {
        let (metrics, history, begun) = history();
        let day = Duration::from_secs(24 * 3600);
        let mut now = begun;
        let mut ticks = 0;
        while now < begun + day {
            metrics.lookups.get(LookupResult::Hit).inc_by(3);
            metrics.lookups.get(LookupResult::Miss).inc();
            metrics.lookups.get(LookupResult::Rejected).inc();
            now += TICK;
            ticks += 1;
            history.observe(now);
        }
        let shown = history.shown(now);
        assert_eq!(shown.uptime, day);
        assert_eq!(shown.samples.len(), MAX_SAMPLES);
        let sum = |of: fn(&Sample) -> u64| shown.samples.iter().map(of).sum::<u64>();
        assert_eq!(
            (sum(|s| s.hits), sum(|s| s.lookups)),
            (3 * ticks, 4 * ticks)
        );
        assert_eq!(shown.samples[0].from, begun);
        for pair in shown.samples.windows(2) {
            assert_eq!(pair[0].until, pair[1].from, "without a gap");
        }
        // From now on the oldest goes, and memory stays as it is.
        for _ in 0..10_000 {
            now += TICK;
            history.observe(now);
        }
        let shown = history.shown(now);
        // The one that has not ended comes on top.
        assert_eq!(shown.samples.len(), MAX_SAMPLES + 1);
        let back = now - shown.samples[0].from;
        assert!(back >= day && back < day + LONGEST, "{back:?}");
    }

    #[test]
    fn the_sample_that_has_not_ended_is_shown() {
        let (metrics, history, begun) = history();
        assert_eq!(history.shown(begun).samples, []);
        metrics.lookups.get(LookupResult::Override).inc();
        metrics.lookups.get(LookupResult::Coalesced).inc();
        let now = begun + Duration::from_secs(1);
        let sample = Sample {
            from: begun,
            until: now,
            hits: 1,
            lookups: 2,
        };
        assert_eq!(history.shown(now).samples, [sample]);
    }

    #[test]
    fn refusals_of_a_kind_are_counted_together_and_the_latest_comes_first() {
        let (metrics, history, begun) = history();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let lookup = metrics.lookup_failures.get(Reason::Unknown);
        lookup.inc_by(2);
        let mismatch = VerificationResult::Mismatch;
        for family in Family::ALL {
            metrics.verifications.get((family, mismatch)).inc();
            let good = (family, VerificationResult::Ok);
            metrics.verifications.get(good).inc();
        }
        history.observe(at(15));
        lookup.inc();
        history.observe(at(30));
        lookup.inc();
        let refusal = |refused, reason, count, until| Refusal {
            refused,
            reason,
            count,
            until: at(until),
        };
        assert_eq!(
            history.shown(at(300)).refusals,
            [
                refusal(Refused::Lookup, "unknown", 1, 300),
                refusal(Refused::Lookup, "unknown", 3, 30),
                refusal(Refused::Answer, "mismatch", 2, 15),
            ]
        );
        for minute in 10..200 {
            lookup.inc();
            history.observe(at(minute * 120));
        }
        let refusals = history.shown(at(200 * 120)).refusals;
        assert_eq!(refusals.len(), MAX_REFUSALS);
        assert_eq!(refusals[0].until, at(199 * 120));
    }
}
