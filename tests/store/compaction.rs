//! Disk space is given back, while the store is read and written.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use capsd::store::Store;

use crate::fixture::{Clock, Setup, copy_directory, has, is_on_disk, key, learned, learned_fully};
use crate::log;

/// How many contents are put before the bound on entries is lowered.
const FILLED: u32 = 4000;

/// How many of them are left then.
const KEPT: u32 = 400;

/// What the engine's files take on the disk.
fn file_bytes(setup: &Setup) -> u64 {
    bytes_in(&setup.path().join("db"))
}

fn bytes_in(path: &Path) -> u64 {
    let entries = fs::read_dir(path).unwrap();
    entries
        .map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512)
        .sum()
}

/// Contents from here on are left.
const FIRST: u32 = FILLED - KEPT;

/// A closed store in which most of the files lies idle: contents from `FIRST` to `FILLED` are left.
fn wasteful(setup: &Setup) {
    static MADE: LazyLock<Setup> = LazyLock::new(|| {
        let mut setup = Setup::new();
        let mut store = setup.open();
        for number in 0..FILLED {
            store.put(learned(number));
        }
        store.close();
        setup.settings.max_entries = u64::from(KEPT);
        let mut store = setup.open();
        Clock(setup.start).run(&mut store, |store| store.entries() <= u64::from(KEPT));
        store.close();
        setup
    });
    copy_directory(MADE.path(), setup.path());
}

#[test]
fn idle_bytes_are_given_back_while_reads_and_writes_go_on() {
    let mut setup = Setup::new();
    wasteful(&setup);
    let before = file_bytes(&setup);
    setup.settings.max_waste = 1 << 20;
    // Small, so that the copy has checkpoints of its own.
    setup.settings.checkpoint_writes = 500;
    let (_, log) = log::of(|| compact_under_load(&setup, before));
    let lines = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    assert_eq!(lines("lies idle than store.max-waste"), 1, "{log:#?}");
    assert_eq!(
        lines("the bytes that lay idle are given back"),
        1,
        "{log:#?}"
    );
    assert_eq!(lines("WARN") + lines("ERROR"), 0, "{log:#?}");
    assert_eq!(setup.names("db"), ["db"]);
}

fn compact_under_load(setup: &Setup, before: u64) {
    /// These are removed when they were copied; the others are put and read again and again.
    const REMOVED: u32 = 5;
    let mut store = setup.open();
    let mut clock = Clock(setup.start);
    let used = |step: u32| FIRST + REMOVED + step % (KEPT - REMOVED);
    let mut next = FILLED;
    let mut steps = 0;
    while setup.metrics.store_compactions.get() == 0 {
        assert!(steps < 20_000, "it is never compacted");
        clock.step(&mut store, Duration::from_millis(20));
        if steps < 500 {
            store.put(learned(next));
            next += 1;
        }
        store.put(learned_fully(used(steps)));
        if (3..3 + REMOVED).contains(&steps) {
            store.remove_key(&key(FIRST + steps - 3));
        }
        assert!(has(&mut store, next - 1));
        assert!(has(&mut store, used(steps * 7)));
        steps += 1;
        assert!(is_on_disk(&store), "{:?}", store.state());
    }
    assert!(steps > 10, "it was done in {steps} steps, beside nothing");
    store.flush();
    let check = |store: &mut Store| {
        for number in 0..next {
            assert_eq!(has(store, number), number >= FIRST + REMOVED, "{number}");
        }
        assert_eq!(store.entries(), u64::from(next - FIRST - REMOVED));
    };
    check(&mut store);
    let data = store.bytes();
    store.close();

    let after = file_bytes(setup);
    println!("{before} bytes of files before, {after} after, for {data} of data; {steps} steps");
    assert!(after < before / 3, "{after} of {before}");
    // The least that the engine needs is a few of its segments of half a megabyte.
    assert!(after < 3 * data + (2 << 20), "{after} for {data}");
    let mut store = setup.open();
    check(&mut store);
}

#[test]
fn nothing_is_compacted_below_the_setting_and_not_twice_for_the_same() {
    let mut setup = Setup::new();
    wasteful(&setup);
    let run = |setup: &Setup, minutes: u64| {
        let mut store = setup.open();
        let minutes = Duration::from_secs(minutes * 60);
        Clock(setup.start).pass(&mut store, minutes);
        store.close();
        setup.metrics.store_compactions.get()
    };
    setup.settings.max_waste = 1 << 30;
    assert_eq!(run(&setup, 2), 0);
    assert!(setup.metrics.store_file_bytes.get() > 1 << 20);
    // Not more than what fresh files take is idle in them, even if nothing at all may be.
    setup.settings.max_waste = 0;
    assert_eq!(run(&setup, 5), 1);
}

/// The order of use and the marks of what was read outlive it.
#[test]
fn what_was_used_lately_is_still_spared() {
    let mut setup = Setup::new();
    wasteful(&setup);
    setup.settings.max_waste = 1 << 20;
    let mut store = setup.open();
    let first = FIRST;
    let mut clock = Clock(setup.start);
    for number in first..first + 100 {
        assert!(has(&mut store, number));
    }
    clock.run(&mut store, |_| setup.metrics.store_compactions.get() > 0);
    store.close();
    // The marks are in memory only, but reading again sets them: read, and fill beyond the bound.
    setup.settings.max_entries = u64::from(KEPT);
    let mut store = setup.open();
    for number in first..first + 100 {
        assert!(has(&mut store, number));
    }
    for number in FILLED..FILLED + 200 {
        store.put(learned(number));
    }
    for number in first..FILLED + 200 {
        let expected = !(first + 100..first + 300).contains(&number);
        assert_eq!(has(&mut store, number), expected, "{number}");
    }
}

/// What is copied fails: it is given up, said, and the store goes on as it was.
#[test]
fn where_it_cannot_be_done_nothing_is_lost() {
    let mut setup = Setup::new();
    wasteful(&setup);
    // Left by a process that was killed, or by somebody else.
    fs::write(setup.path().join("db.new"), "in the way").unwrap();
    setup.settings.max_waste = 1 << 20;
    let copy = setup.path().join("db.new/db");
    let mut store = setup.open();
    let (_, log) = log::of(|| {
        let mut clock = Clock(setup.start);
        while clock.0 < setup.at(60) {
            clock.step(&mut store, Duration::from_millis(20));
            let _ = fs::remove_file(&copy);
        }
    });
    let said = |line: &&String| line.contains("WARN") && line.contains("could not be written anew");
    let lines: Vec<_> = log.iter().filter(said).collect();
    assert_eq!(lines.len(), 1, "{log:#?}");
    assert!(lines[0].contains("tried again in 10 minutes"), "{lines:?}");
    assert!(lines[0].contains("nothing is lost"), "{lines:?}");
    assert_eq!(setup.names("db"), ["db"]);
    for number in FIRST..FILLED {
        assert!(has(&mut store, number));
    }
    store.put(learned(FILLED));
    store.flush();
    assert!(is_on_disk(&store) && has(&mut store, FILLED));
    assert_eq!(setup.metrics.store_compactions.get(), 0);
}

/// What is evicted meanwhile does not come back with the copy.
#[test]
fn the_bounds_hold_during_and_after_it() {
    let mut setup = Setup::new();
    wasteful(&setup);
    setup.settings.max_waste = 1 << 20;
    setup.settings.max_entries = u64::from(KEPT);
    let mut store = setup.open();
    let mut clock = Clock(setup.start);
    let mut next = FILLED;
    while setup.metrics.store_compactions.get() == 0 {
        clock.step(&mut store, Duration::from_millis(20));
        // What was evicted is not in what was copied, at no moment.
        assert!(store.entries() <= u64::from(KEPT));
        store.put(learned(next));
        next += 1;
    }
    store.flush();
    assert!(next > FILLED + 10);
    for number in FIRST..next {
        assert_eq!(has(&mut store, number), number >= next - KEPT, "{number}");
    }
    assert_eq!(store.entries(), u64::from(KEPT));
}
