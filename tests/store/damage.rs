//! Damaged files: the store opens all the same, serves nothing wrong, and says what it did.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use capsd::metrics::{LoadResult, StoreOperation};
use capsd::store::{Store, StoreState};

use crate::fixture::{
    Setup, copy_directory, has, is_on_disk, key_row, learned, learned_fully, open_engine, rounds,
};
use crate::log;

const ENTRIES: u32 = 150;

/// A closed store with some entries. It was opened twice: only then does the engine have a snapshot, up to which it does
/// not look at its log at open.
fn filled() -> Setup {
    let setup = Setup::new();
    for numbers in [0..ENTRIES / 2, ENTRIES / 2..ENTRIES] {
        let mut store = setup.open();
        for number in numbers {
            store.put(learned(number));
        }
        store.close();
    }
    setup
}

fn assert_said(log: &[String], words: &str) {
    let said = log.iter().filter(|line| line.contains(words)).count();
    assert_eq!(said, 1, "{words}: {log:#?}");
}

/// Opens a store after something was done to its files, checks that it works, and gives how many of its entries are left
/// and what was logged.
fn open_and_check(setup: &Setup) -> (usize, Vec<String>) {
    let (left, log) = log::of(|| {
        let mut store = setup.open();
        // Damage that only shows when a page is read makes the store open its files anew, or set them aside.
        let mut left = 0;
        for start in [0, 100, 200] {
            left = count(&mut store);
            settle(&mut store, setup, start);
        }
        assert!(
            left <= count(&mut store),
            "what was taken over is lost again"
        );
        store.put(learned_fully(ENTRIES));
        store.close();
        left
    });
    // Where the header is damaged of the very part of the file that is being written, the engine notices only at the next
    // start; then it is said, and from then on nothing is lost any more.
    let (mut store, second) = log::of(|| setup.open());
    assert!(is_on_disk(&store));
    if !has(&mut store, ENTRIES) {
        assert_said(&second, "entries are missing that the disk had confirmed");
        settle(&mut store, setup, 0);
        store.put(learned_fully(ENTRIES));
    }
    store.close();
    let (mut store, third) = log::of(|| setup.open());
    assert!(
        has(&mut store, ENTRIES),
        "what was learned after the damage is lost: {log:#?} {second:#?} {third:#?}"
    );
    assert!(
        left <= count(&mut store),
        "what was left is lost after a restart: {log:#?}"
    );
    (left, log)
}

fn count(store: &mut Store) -> usize {
    (0..ENTRIES).filter(|number| has(store, *number)).count()
}

/// Does what the store wants to do, from that second on, until it is on disk and has nothing more to do.
fn settle(store: &mut Store, setup: &Setup, start: u64) {
    for step in 0..5000 {
        let now = setup.at(start) + Duration::from_millis(step * 20);
        let next = store.tick(now);
        if is_on_disk(store) && next >= now + Duration::from_millis(900) {
            return;
        }
        // The disk is a real one, and may be slow; the patience of the store passes by these steps.
        std::thread::sleep(Duration::from_micros(100 + 10 * step));
    }
    panic!("the store does not come to rest: {:?}", store.state());
}

fn assert_set_aside(setup: &Setup, log: &[String]) {
    let aside = setup.names("damaged-");
    assert_eq!(aside.len(), 1, "{aside:?} {log:?}");
    assert!(aside[0].starts_with("damaged-20210304T0506"), "{aside:?}");
    assert_eq!(setup.metrics.store_set_aside.get(), 1);
    let path = setup.path().join(&aside[0]);
    let said = |line: &&String| line.contains(path.to_str().unwrap()) && line.contains("ERROR");
    assert_eq!(log.iter().filter(said).count(), 1, "{log:?}");
    let line = log.iter().find(said).unwrap();
    assert!(line.contains("Check the disk"), "{line}");
}

fn data(setup: &Setup) -> std::path::PathBuf {
    setup.path().join("db/db")
}

fn flip(path: &Path, place: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], place).unwrap();
}

fn file_of_engine(setup: &Setup, prefix: &str) -> std::path::PathBuf {
    let files = fs::read_dir(setup.path().join("db")).unwrap();
    files
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(prefix)
        })
        .unwrap()
}

#[test]
fn a_third_of_the_file_is_missing() {
    let setup = filled();
    let file = OpenOptions::new().write(true).open(data(&setup)).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len * 7 / 10).unwrap();
    let (left, log) = open_and_check(&setup);
    assert!(left < ENTRIES as usize);
    assert_set_aside(&setup, &log);
}

#[test]
fn a_page_is_zeroed() {
    let setup = filled();
    let mut file = OpenOptions::new().write(true).open(data(&setup)).unwrap();
    file.seek(SeekFrom::Start(16 * 4096)).unwrap();
    file.write_all(&[0; 4096]).unwrap();
    let (left, log) = open_and_check(&setup);
    assert!(left < ENTRIES as usize);
    assert_set_aside(&setup, &log);
}

#[test]
fn a_byte_is_flipped_anywhere() {
    let whole = filled();
    let len = fs::metadata(data(&whole)).unwrap().len();
    let mut noticed = 0;
    for round in 0..u64::from(rounds(25, 1000)) {
        let setup = Setup::new();
        copy_directory(whole.path(), setup.path());
        // Near the beginning, where the file has its first header, and anywhere.
        let place = match round % 2 {
            0 => round / 2 * 331 % 4096,
            _ => round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % len,
        };
        flip(&data(&setup), place);
        let (left, log) = open_and_check(&setup);
        if left < ENTRIES as usize {
            noticed += 1;
            let said = |line: &String| {
                let known = line.contains("was damaged") || line.contains("were damaged");
                known && (line.contains("heck the disk"))
            };
            assert!(log.iter().any(said), "byte {place}, {left} left: {log:#?}");
        }
    }
    assert!(noticed > 0, "no flip was in anything that is used");
}

#[test]
fn the_data_file_is_lost() {
    let setup = filled();
    fs::remove_file(data(&setup)).unwrap();
    let (left, log) = open_and_check(&setup);
    assert_eq!(left, 0);
    assert_set_aside(&setup, &log);
}

#[test]
fn all_of_the_engine_is_lost() {
    let setup = filled();
    fs::remove_dir_all(setup.path().join("db")).unwrap();
    let (left, log) = open_and_check(&setup);
    assert_eq!(left, 0);
    assert!(setup.names("damaged").is_empty());
    assert_said(&log, "the files of the store are gone");
    assert_said(&log, "put them back from a backup");
}

#[test]
fn a_foreign_file_stands_in_the_place_of_the_data_file() {
    for foreign in [&b"SQLite format 3\0"[..], b"", &[0; 1 << 20], &[0xff; 5000]] {
        let setup = filled();
        fs::write(data(&setup), foreign).unwrap();
        let (left, log) = open_and_check(&setup);
        assert_eq!(left, 0);
        assert_set_aside(&setup, &log);
    }
}

#[test]
fn a_lost_snapshot_and_garbage_behind_the_end_do_no_harm() {
    let setup = filled();
    fs::remove_file(file_of_engine(&setup, "snap.")).unwrap();
    let mut file = OpenOptions::new().append(true).open(data(&setup)).unwrap();
    file.write_all(&[0xa5; 10_000]).unwrap();
    let (left, _) = open_and_check(&setup);
    assert_eq!(left, ENTRIES as usize);
    assert!(setup.names("damaged").is_empty());
}

#[test]
fn the_snapshot_is_damaged() {
    let setup = filled();
    flip(&file_of_engine(&setup, "snap."), 8);
    let (_, log) = open_and_check(&setup);
    assert_set_aside(&setup, &log);
}

#[test]
fn a_snapshot_that_was_not_finished_does_no_harm() {
    let setup = filled();
    let snapshot = file_of_engine(&setup, "snap.");
    let half = fs::read(&snapshot).unwrap();
    let unfinished = snapshot.with_file_name("snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(unfinished, &half[..half.len() / 2]).unwrap();
    let (left, _) = open_and_check(&setup);
    assert_eq!(left, ENTRIES as usize);
    assert!(setup.names("damaged").is_empty());
}

#[test]
fn the_engines_settings_are_damaged() {
    let setup = filled();
    let path = setup.path().join("db/conf");
    for place in 0..fs::metadata(&path).unwrap().len() {
        flip(&path, place);
    }
    // The engine takes them for what they should be, or refuses them; nothing else may come of it.
    let (left, log) = open_and_check(&setup);
    if left < ENTRIES as usize {
        assert_set_aside(&setup, &log);
    }
}

#[test]
fn a_file_stands_where_the_engine_keeps_its_files() {
    let setup = filled();
    fs::remove_dir_all(setup.path().join("db")).unwrap();
    fs::write(setup.path().join("db"), "foreign").unwrap();
    let (left, log) = open_and_check(&setup);
    assert_eq!(left, 0);
    assert_set_aside(&setup, &log);
}

#[test]
fn a_foreign_file_among_the_engines_does_no_harm() {
    let setup = filled();
    fs::write(setup.path().join("db/notes.txt"), "foreign").unwrap();
    fs::write(setup.path().join("notes.txt"), "foreign").unwrap();
    let (left, log) = open_and_check(&setup);
    assert_eq!(left, ENTRIES as usize);
    assert!(setup.names("damaged").is_empty());
    for name in ["store/notes.txt", "db/notes.txt"] {
        let said = |line: &&String| line.contains(name) && line.contains("left alone");
        assert_eq!(log.iter().filter(said).count(), 1, "{name}: {log:#?}");
    }
    assert!(setup.path().join("notes.txt").exists());
}

#[test]
fn three_damaged_stores_are_kept() {
    let setup = filled();
    for time in 1..=5 {
        let mut file = OpenOptions::new().write(true).open(data(&setup)).unwrap();
        file.write_all(&[0xff; 4096]).unwrap();
        let (mut store, log) = log::of(|| setup.open());
        assert!(is_on_disk(&store));
        assert_eq!(setup.metrics.store_set_aside.get(), time);
        assert_eq!(setup.names("damaged-").len() as u64, time.min(3));
        let removed = log
            .iter()
            .filter(|l| l.contains("removed the oldest"))
            .count();
        assert_eq!(removed, usize::from(time > 3), "{log:?}");
        store.put(learned(1));
        store.close();
    }
}

/// Damage that happens under an open store shows when a page is read: the store opens its files anew, and when that
/// does not help sets them aside. It never stops answering.
#[test]
fn the_file_is_damaged_while_the_store_is_open() {
    let setup = filled();
    let mut store = setup.open();
    let len = fs::metadata(data(&setup)).unwrap().len();
    let file = OpenOptions::new().write(true).open(data(&setup)).unwrap();
    file.write_all_at(&vec![0xa5; len as usize], 0).unwrap();
    let (_, log) = log::of(|| {
        store.put(learned_fully(ENTRIES));
        let left = (0..ENTRIES)
            .filter(|number| has(&mut store, *number))
            .count();
        assert!(left < ENTRIES as usize);
        let StoreState::MemoryOnly { since, cause } = store.state() else {
            panic!("the damage was not noticed");
        };
        assert_eq!(since, setup.start);
        assert!(cause.contains("damaged"), "{cause}");
        assert!(
            has(&mut store, ENTRIES),
            "what was learned meanwhile is lost"
        );
        settle(&mut store, &setup, 1);
    });
    assert_eq!(setup.metrics.store_state.get(), 1);
    let errors = |operation| setup.metrics.store_errors.get(operation).get();
    assert!(errors(StoreOperation::Read) + errors(StoreOperation::Write) > 0);
    assert_set_aside(&setup, &log);
    assert!(
        log.iter()
            .any(|line| line.contains("the store works again")),
        "{log:?}"
    );
    store.close();
    assert!(has(&mut setup.open(), ENTRIES));
}

#[test]
fn the_data_file_is_removed_while_the_store_is_open() {
    let setup = filled();
    let mut store = setup.open();
    store.put(learned(ENTRIES));
    fs::remove_file(data(&setup)).unwrap();
    let (_, log) = log::of(|| settle(&mut store, &setup, 1));
    assert_said(&log, "its data file was removed or replaced");
    assert_said(&log, "the store works again");
    store.close();
    assert!(has(&mut setup.open(), ENTRIES));
}

#[test]
fn the_whole_directory_is_removed_while_the_store_is_open() {
    let setup = filled();
    let mut store = setup.open();
    store.put(learned(ENTRIES));
    fs::remove_dir_all(setup.path()).unwrap();
    let (_, log) = log::of(|| settle(&mut store, &setup, 1));
    assert_said(&log, "its data file was removed or replaced");
    assert_said(&log, "the store works again");
    assert_eq!(
        setup.try_open().unwrap_err().exit_code(),
        3,
        "the lock is not held"
    );
    store.close();
    assert!(has(&mut setup.open(), ENTRIES));
}

#[test]
fn a_value_that_is_not_what_was_written_is_removed_and_not_served() {
    let setup = filled();
    let db = open_engine(&setup);
    let infos = db.open_tree("infos").unwrap();
    let id = db
        .open_tree("keys")
        .unwrap()
        .get(key_row(1))
        .unwrap()
        .unwrap();
    let mut value = infos.get(&id).unwrap().unwrap().to_vec();
    let place = value.len() / 2;
    value[place] ^= 1;
    infos.insert(&id, value).unwrap();
    drop((infos, db));
    let mut store = setup.open();
    let (found, log) = log::of(|| has(&mut store, 1));
    assert!(!found);
    assert!(
        log.iter()
            .any(|l| l.contains("WARN") && l.contains("damaged")),
        "{log:?}"
    );
    assert_eq!(setup.metrics.cache_loaded.get(LoadResult::Corrupt).get(), 1);
    assert!(has(&mut store, 0) && has(&mut store, 2));
    assert!(is_on_disk(&store));
    // It was removed, and can be learned again.
    assert!(!has(&mut store, 1));
    assert_eq!(setup.metrics.cache_loaded.get(LoadResult::Corrupt).get(), 1);
    store.put(learned(1));
    assert!(has(&mut store, 1));
}

#[test]
fn a_key_that_leads_to_other_content_is_removed_and_the_content_stays() {
    let setup = filled();
    let db = open_engine(&setup);
    let keys = db.open_tree("keys").unwrap();
    let other = keys.get(key_row(2)).unwrap().unwrap();
    keys.insert(key_row(1), other).unwrap();
    drop((keys, db));
    let mut store = setup.open();
    assert!(!has(&mut store, 1));
    assert_eq!(
        setup.metrics.cache_loaded.get(LoadResult::Mismatch).get(),
        1
    );
    assert!(has(&mut store, 2));
    store.put(learned(1));
    assert!(has(&mut store, 1) && has(&mut store, 2));
}
