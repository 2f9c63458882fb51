//! The store is bounded, and what was used lately stays.

use std::time::Duration;

use capsd::metrics::Eviction;

use crate::fixture::{Setup, has, key, learned, learned_fully};

#[test]
fn entries_are_bounded_and_the_oldest_go() {
    let mut setup = Setup::new();
    setup.settings.max_entries = 50;
    let mut store = setup.open();
    for number in 0..120 {
        store.put(learned(number));
        assert!(store.entries() <= 50);
    }
    for number in 0..120 {
        assert_eq!(has(&mut store, number), number >= 70, "{number}");
    }
    let evicted = setup.metrics.cache_evictions.get(Eviction::LearnedSize);
    assert_eq!(evicted.get(), 70);
}

#[test]
fn bytes_are_bounded() {
    let mut setup = Setup::new();
    setup.settings.max_bytes = 100_000;
    let mut store = setup.open();
    for number in 0..500 {
        store.put(learned_fully(number));
        assert!(store.bytes() <= 100_000);
    }
    // Each takes at least the 880 bytes that cannot be packed, and less than its content and its keys twice.
    assert!((50..=113).contains(&store.entries()), "{}", store.entries());
    assert!(has(&mut store, 499));
}

#[test]
fn every_key_of_an_evicted_content_is_gone() {
    let mut setup = Setup::new();
    setup.settings.max_entries = 10;
    let mut store = setup.open();
    let first = learned_fully(0);
    store.put(first.clone());
    for number in 1..=10 {
        store.put(learned(number));
    }
    for key in &first.keys {
        assert!(store.get(key).is_none());
    }
    // And they can be learned again.
    store.put(first.clone());
    for key in &first.keys {
        assert!(store.get(key).is_some());
    }
}

#[test]
fn what_was_read_is_spared_even_after_a_restart() {
    let mut setup = Setup::new();
    setup.settings.max_entries = 100;
    let mut store = setup.open();
    for number in 0..100 {
        store.put(learned(number));
    }
    store.close();
    let mut store = setup.open();
    for number in 0..30 {
        assert!(has(&mut store, number));
    }
    for number in 100..170 {
        store.put(learned(number));
    }
    store.close();
    let mut store = setup.open();
    for number in 0..170 {
        let expected = !(30..100).contains(&number);
        assert_eq!(has(&mut store, number), expected, "{number}");
    }
}

#[test]
fn learning_again_counts_as_use() {
    let mut setup = Setup::new();
    setup.settings.max_entries = 10;
    let mut store = setup.open();
    for number in 0..10 {
        store.put(learned(number));
    }
    store.put(learned(0));
    for number in 10..19 {
        store.put(learned(number));
    }
    assert!(has(&mut store, 0));
    assert!(!has(&mut store, 1));
}

#[test]
fn if_all_were_read_one_goes_all_the_same() {
    let mut setup = Setup::new();
    setup.settings.max_entries = 400;
    let mut store = setup.open();
    for number in 0..400 {
        store.put(learned(number));
    }
    for number in 0..400 {
        assert!(has(&mut store, number));
    }
    store.put(learned(400));
    assert_eq!(store.entries(), 400);
    assert!(has(&mut store, 400));
}

#[test]
fn a_bound_that_was_lowered_is_met_in_bounded_steps() {
    let mut setup = Setup::new();
    let mut store = setup.open();
    for number in 0..1000 {
        store.put(learned(number));
    }
    store.close();
    setup.settings.max_entries = 10;
    let mut store = setup.open();
    assert_eq!(store.entries(), 1000);
    let mut ticks = 0;
    while store.entries() > 10 {
        let before = store.entries();
        store.tick(setup.at(1));
        assert!(before - store.entries() <= 200, "one tick took too much");
        ticks += 1;
        assert!(ticks < 1000, "it is never met");
        // A flush may be running, beside which nothing is written.
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(ticks > 1);
    assert!(has(&mut store, 999));
}

#[test]
fn after_a_crash_the_counters_are_found_again() {
    let setup = Setup::new();
    let mut store = setup.open();
    for number in 0..3000 {
        store.put(learned(number));
    }
    store.flush();
    let (entries, bytes) = (store.entries(), store.bytes());
    // Dropped, not closed: the counters are not marked clean.
    store.remove_key(&key(5));
    drop(store);
    let mut store = setup.open();
    for second in 0..10 {
        store.tick(setup.at(second));
    }
    assert_eq!(store.entries(), entries - 1);
    assert!(store.bytes() < bytes);
    store.put(learned(5));
    assert_eq!((store.entries(), store.bytes()), (entries, bytes));
}
