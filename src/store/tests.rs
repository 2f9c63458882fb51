//! What happens when time passes: checkpoints, a disk that does not answer, pauses between attempts.

use sha1::{Digest as _, Sha1};

use super::engine::{FLUSH_PATIENCE, Fault};
use super::opening::OPEN_MOST;
use super::recovery::{CHECKPOINT_PATIENCE, RETRY_MOST};
use super::*;
use crate::caps::{Algorithm, Answer, Family, Identity, Policy, Verdict, verify};
use crate::metrics::Metrics;

fn open(path: &std::path::Path, now: Instant) -> Store {
    let settings = StoreSettings {
        max_entries: 1000,
        max_bytes: 1 << 20,
        cache_bytes: 1 << 20,
        ..StoreSettings::new(path.join("store"))
    };
    let metrics = Arc::new(Metrics::new().unwrap());
    Store::open(settings, metrics, now, SystemTime::UNIX_EPOCH).unwrap()
}

fn key(number: u32) -> CapsKey {
    let digest = Sha1::digest(format!("client/pc//<urn:test:{number}<"));
    CapsKey::new(Family::Xep0115, Algorithm::Sha1, &digest).unwrap()
}

fn learned(number: u32) -> Learned {
    let answer = Answer {
        identities: vec![Identity {
            category: "client".to_owned(),
            type_: "pc".to_owned(),
            ..Identity::default()
        }],
        own_lang: vec![false],
        features: vec![format!("urn:test:{number}")],
        ..Answer::default()
    };
    let Verdict::Verified(info) = verify(&key(number), &answer, &Policy::default()) else {
        panic!("content {number} does not verify");
    };
    Learned {
        info,
        keys: vec![key(number)],
        nodes: Vec::new(),
    }
}

#[test]
fn a_checkpoint_is_made_when_much_was_written_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut now = Instant::now();
    let mut store = open(directory.path(), now);
    store.settings.checkpoint_writes = 30;
    let mut checkpoints = 0;
    let mut writes = 0;
    for number in 0..40 {
        store.put(learned(number));
        now += Duration::from_secs(1);
        store.tick(now);
        store.end_flush(FLUSH_PATIENCE);
        store.tick(now);
        let so_far = store.disk.as_ref().unwrap().writes();
        checkpoints += u32::from(so_far < writes);
        writes = so_far;
    }
    // Three rows for each entry.
    assert!((2..=4).contains(&checkpoints), "{checkpoints}");
    assert_eq!(store.entries(), 40);
    assert!(!store.disk.as_ref().unwrap().is_counting());
    for number in 0..40 {
        assert!(store.get(&key(number)).is_some(), "{number}");
    }
    assert_eq!(store.state(), StoreState::Disk);
}

#[test]
fn while_there_is_always_something_to_write_a_checkpoint_waits_but_not_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let now = Instant::now();
    let mut store = open(directory.path(), now);
    store.settings.checkpoint_writes = 30;
    // Time stands still, so no flush is due.
    let mut most = 0;
    for number in 0..100 {
        store.put(learned(number));
        store.tick(now);
        most = most.max(store.disk.as_ref().unwrap().writes());
    }
    assert!(
        (30 * CHECKPOINT_PATIENCE - 3..30 * CHECKPOINT_PATIENCE + 3).contains(&most),
        "{most}"
    );
    store.flush();
    assert_eq!(store.entries(), 100);
    for number in 0..100 {
        assert!(store.get(&key(number)).is_some(), "{number}");
    }
}

#[test]
fn a_disk_that_does_not_answer_is_a_fault_until_it_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut now = Instant::now();
    let mut store = open(directory.path(), now);
    store.put(learned(1));
    store.flush();
    store.put(learned(2));
    // A flush that has begun, and of whose end nothing is heard.
    store.flushing_since = Some(now);
    store.put(learned(3));
    now += FLUSH_PATIENCE;
    store.tick(now);
    assert_eq!(store.state(), StoreState::Disk);
    now += Duration::from_secs(1);
    store.tick(now);
    assert_eq!(
        store.state(),
        StoreState::MemoryOnly {
            since: now,
            cause: "the disk has not taken what was written for 10 seconds".to_owned()
        }
    );
    for number in 1..=3 {
        assert!(store.get(&key(number)).is_some(), "{number}");
    }
    // It is not opened a second time as long as the first may still be writing.
    now += RETRY_MOST;
    store.tick(now);
    assert!(!store.writable && store.disk.is_some());
    // The end of that flush, at last.
    store.disk.as_mut().unwrap().start_flush(false).unwrap();
    store.end_flush(FLUSH_PATIENCE);
    assert_ne!(store.state(), StoreState::Disk);
    now += RETRY_MOST;
    store.tick(now);
    store.flush();
    assert_eq!(store.state(), StoreState::Disk);
    assert_eq!(store.entries(), 3);
}

/// An engine that goes round in circles in damaged files: the service goes on, and so does the store in the end.
#[test]
fn files_that_are_never_opened_are_set_aside_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut now = Instant::now();
    let mut store = open(directory.path(), now);
    store.put(learned(1));
    store.flush();
    let damage = "a page is missing".to_owned();
    store.fail(StoreOperation::Read, Fault::Damage { text: damage });
    store.opening = Some(Opening::endless(now));
    store.tick(now);
    store.put(learned(2));
    let mut ticks = 0;
    while store.metrics.store_set_aside.get() == 0 {
        let StoreState::MemoryOnly { cause, .. } = store.state() else {
            panic!("it was opened");
        };
        assert_eq!(
            cause,
            "the storage engine has not finished opening its files"
        );
        assert!(store.get(&key(2)).is_some());
        now = store.tick(now);
        ticks += 1;
        assert!(ticks < 100);
    }
    assert!(now >= store.opened + OPEN_MOST && now < store.opened + OPEN_MOST + RETRY_MOST * 2);
    store.flush();
    assert_eq!(store.state(), StoreState::Disk);
    assert!(store.get(&key(2)).is_some());
    assert!(store.get(&key(1)).is_none());
}

/// What only needs longer than the store waits is taken when it is there.
#[test]
fn files_that_are_opened_late_are_used() {
    let directory = tempfile::tempdir().unwrap();
    let now = Instant::now();
    let mut store = open(directory.path(), now);
    store.put(learned(1));
    store.flush();
    let damage = "a page is missing".to_owned();
    store.fail(StoreOperation::Read, Fault::Damage { text: damage });
    let path = store.settings.path.join("db");
    store.opening = Some(Opening::late(path, now));
    store.tick(now);
    let late = store.state();
    assert!(matches!(late, StoreState::MemoryOnly { .. }), "{late:?}");
    let mut later = now;
    while !store.is_usable() {
        std::thread::sleep(Duration::from_millis(10));
        later = store.tick(later);
        assert!(later < now + OPEN_MOST);
    }
    store.flush();
    assert_eq!(store.state(), StoreState::Disk);
    assert!(store.get(&key(1)).is_some());
    assert_eq!(store.metrics.store_set_aside.get(), 0);
}

#[test]
fn attempts_become_rarer_up_to_one_a_minute() {
    let directory = tempfile::tempdir().unwrap();
    let mut now = Instant::now();
    let mut store = open(directory.path(), now);
    let full = || Fault::Io {
        kind: std::io::ErrorKind::StorageFull,
        text: "full".to_owned(),
    };
    let mut pauses = Vec::new();
    for _ in 0..8 {
        store.fail(StoreOperation::Write, full());
        let next = store.next_tick();
        pauses.push((next - now).as_secs());
        now = next;
        store.now = now;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    // It works for a moment and fails again: that is no new beginning.
    store.try_again();
    store.flush();
    assert_eq!(store.state(), StoreState::Disk);
    store.fail(StoreOperation::Write, full());
    assert_eq!((store.next_tick() - now).as_secs(), 60);
}

/// The store is opened by one thread and owned by another.
#[test]
fn a_store_may_be_handed_to_another_thread() {
    fn may_be_sent<T: Send>(_: &T) {}
    let directory = tempfile::tempdir().unwrap();
    may_be_sent(&open(directory.path(), Instant::now()));
}
