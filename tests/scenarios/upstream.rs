//! A way to the holders that takes nothing: the outbox is full, or closed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use capsd::caps::{Policy, Reason};
use capsd::holders::{self, LinkId};
use capsd::metrics::Metrics;
use capsd::resolver::flights::{QuestionId, Settings};
use capsd::resolver::{Resolver, Upstream};
use capsd::trusted::{Sources, Trusted};

use crate::contents::{announcement, key};
use crate::setup::{rate, settings, tiers_in};

#[derive(Default)]
struct Blocked {
    attempts: AtomicUsize,
    takes: AtomicBool,
}

impl Upstream for Blocked {
    fn flush(&self) {}

    fn ask(&self, _: LinkId, _: QuestionId, _: &str, _: &str) -> bool {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        self.takes.load(Ordering::Relaxed)
    }
}

/// Every holder is tried, however many there are, without one call within the other; none is blamed for it.
#[test]
fn questions_that_cannot_be_sent_go_to_the_next_holder() {
    const HOLDERS: usize = 1024;
    let many = rate(1_000_000, Duration::from_secs(1));
    let settings = Settings {
        on_announce: false,
        new_keys_per_domain: many,
        holders: holders::Settings {
            per_key: HOLDERS,
            ..settings().holders
        },
        ..settings()
    };
    let directory = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let now = Instant::now();
    let trusted = Trusted::open(&Sources::default(), &metrics);
    let below = tiers_in(directory.path(), Some(trusted), &metrics, now);
    let metrics = Arc::clone(&metrics);
    let policy = Policy::default();
    let resolver =
        Resolver::start(settings, policy, 1 << 20, 1, below, metrics, move || now).unwrap();
    let upstream = Arc::new(Blocked::default());
    resolver.connect(Arc::clone(&upstream) as Arc<dyn Upstream>);
    resolver.link_up(LinkId(0));
    for n in 0..HOLDERS {
        let jid = format!("user{n}@a/r");
        resolver.announce(now, LinkId(0), &jid, &announcement("K1"), true);
    }
    let ask = || {
        let (tell, told) = mpsc::channel();
        let waiter = move |_, outcome: Result<_, Reason>| tell.send(outcome.err()).unwrap();
        resolver.resolve(now, key("K1"), "one@a/r", Box::new(waiter));
        told
    };
    let told = ask().recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(told, Some(Reason::Unreachable));
    assert_eq!(upstream.attempts.load(Ordering::Relaxed), HOLDERS);
    upstream.takes.store(true, Ordering::Relaxed);
    let told = ask();
    let answered = told.recv_timeout(Duration::from_millis(200));
    assert!(answered.is_err(), "somebody is asked now: {answered:?}");
    assert_eq!(upstream.attempts.load(Ordering::Relaxed), HOLDERS + 1);
}
