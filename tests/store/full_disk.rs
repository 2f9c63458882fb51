//! A disk that takes no more: capsd goes on with what it can read, keeps what it learns, and writes it when it can.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use capsd::metrics::Metrics;
use capsd::store::{Store, StoreState};

use crate::failing_disk::Means;
use crate::fixture::{
    Clock, Killed, Setup, has, is_on_disk, learned, open, output, report, reported, reports_of,
    role, run_again, settings, spawn,
};
use crate::log;

/// Puts entries until the disk takes no more, then some more; gives how many. After 1500 `end` is called.
fn fill(store: &mut Store, clock: &mut Clock, end: impl Fn()) -> u32 {
    let mut number = 0;
    while is_on_disk(store) {
        if number == 1500 {
            end();
        }
        store.put(learned(number));
        clock.step(store, Duration::from_millis(20));
        number += 1;
        assert!(number < 100_000, "the disk is never full");
    }
    for more in number..number + 200 {
        store.put(learned(more));
    }
    number + 200
}

fn assert_all_there(store: &mut Store, entries: u32) {
    let missing: Vec<_> = (0..entries).filter(|number| !has(store, *number)).collect();
    assert!(
        missing.is_empty(),
        "{} of {entries}: {:?} {store:?}",
        missing.len(),
        missing.first()
    );
}

/// While the disk is full most of what was learned is there.
fn assert_useful(store: &mut Store, entries: u32) {
    let there = (0..entries).filter(|number| has(store, *number)).count();
    assert!(
        there > entries as usize * 2 / 3,
        "{there} of {entries}: {:?}",
        store.state()
    );
}

fn lines_with(log: &[String], words: &str) -> usize {
    log.iter().filter(|line| line.contains(words)).count()
}

/// Fills the store until it fails, says so, waits for a word, and reports how many entries there are once it works again.
fn fill_and_recover(path: &Path) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut clock = Clock(Instant::now());
    let (entries, log) = log::of(|| {
        let mut store = open(settings(path), &metrics, clock.0).unwrap();
        let entries = fill(&mut store, &mut clock, || {});
        let StoreState::MemoryOnly { cause, .. } = store.state() else {
            panic!("it works");
        };
        report(&cause);
        // An hour of attempts in vain.
        clock.pass(&mut store, Duration::from_secs(3600));
        // The engine may not even open as long as it may not write beyond the limit: then only what was learned since is
        // there. What is there is right.
        let there = (0..entries)
            .filter(|number| has(&mut store, *number))
            .count();
        assert!(there > 0);

        report("full");
        std::io::stdin()
            .lock()
            .read_line(&mut String::new())
            .unwrap();
        clock.run(&mut store, is_on_disk);
        assert_eq!(metrics.store_state.get(), 1);
        clock.run(&mut store, |store| store.entries() >= u64::from(entries));
        assert_all_there(&mut store, entries);
        store.close();
        entries
    });
    // A flush with little in it may succeed below the limit; at least one does not, and each trouble is said once.
    let failed = lines_with(&log, "ERROR");
    assert!((1..20).contains(&failed), "{log:#?}");
    assert_eq!(
        lines_with(&log, "the store works again"),
        failed,
        "{log:#?}"
    );
    report(&format!("{entries} entries; {}", log[0]));
}

#[test]
fn files_may_not_grow_and_then_may_again() {
    const TEST: &str = "full_disk::files_may_not_grow_and_then_may_again";
    if let Some((_, path)) = role() {
        return fill_and_recover(&path);
    }
    let setup = Setup::new();
    // 6 MiB in blocks of 512 bytes; only the soft limit, so that it can be raised again. What is over it is an error
    // (EFBIG) as long as the signal for it is ignored.
    let limited = "trap '' XFSZ; ulimit -S -f 12288; exec \"$@\"";
    let mut command = run_again(&["sh", "-c", limited, "sh"], TEST, "fill", setup.path());
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Killed(spawn(pipes));
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut reports = lines.filter_map(|line| reported(&line.unwrap()).map(str::to_owned));
    assert_eq!(reports.next().unwrap(), "File too large (os error 27)");
    assert_eq!(reports.next().unwrap(), "full");

    let pid = child.0.id().to_string();
    let raised = output(Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]));
    assert!(raised.status.success());
    child.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let end = reports.next().unwrap();
    let (entries, line) = end.split_once(" entries; ").unwrap();
    assert!(line.contains(setup.path().to_str().unwrap()), "{line}");
    assert!(line.contains("ulimit -f"), "{line}");
    assert!(child.0.wait().unwrap().success());
    let mut store = setup.open();
    assert!(is_on_disk(&store));
    assert_all_there(&mut store, entries.parse().unwrap());
}

/// A disk of 8 MiB, of which a file takes 4; or one that is full when a file says so.
enum Room {
    Mounted { ballast: PathBuf },
    Library { full: PathBuf },
}

impl Room {
    /// There is some left.
    fn some(role: &str, path: &Path) -> Room {
        let beside = path.parent().unwrap();
        match role {
            "mounted" => {
                let ballast = beside.join("ballast");
                fs::write(&ballast, vec![0; 4 << 20]).unwrap();
                Room::Mounted { ballast }
            }
            _ => Room::Library {
                full: beside.join("full"),
            },
        }
    }

    /// There is none left at all.
    fn none(&self) {
        match self {
            Room::Mounted { ballast } => assert!(fill_up(ballast) > 0),
            Room::Library { full } => fs::write(full, "").unwrap(),
        }
    }

    /// It comes to its end, by what was put or because it is said so.
    fn ends(&self) {
        if let Room::Library { .. } = self {
            self.none();
        }
    }

    /// There is plenty again.
    fn plenty(&self) {
        let (Room::Mounted { ballast: file } | Room::Library { full: file }) = self;
        fs::remove_file(file).unwrap();
    }
}

/// Fills a disk, and more, and makes room; and again with no room from the start.
fn fill_small_disk(role: &str, path: &Path) {
    let room = Room::some(role, path);
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut clock = Clock(Instant::now());
    let (entries, log) = log::of(|| {
        let mut store = open(settings(path), &metrics, clock.0).unwrap();
        let entries = fill(&mut store, &mut clock, || room.ends());
        clock.pass(&mut store, Duration::from_secs(300));
        assert!(!is_on_disk(&store));
        // The engine splits a page that is too large when it is read. Where the disk fails in one moment, that may have to be done
        // for every read, and then what is stored cannot be read until there is room again.
        if matches!(room, Room::Mounted { .. }) {
            assert_useful(&mut store, entries);
        }
        for number in entries - 200..entries {
            assert!(has(&mut store, number), "{number} was learned meanwhile");
        }
        room.plenty();
        clock.run(&mut store, is_on_disk);
        clock.run(&mut store, |store| store.entries() >= u64::from(entries));
        store.close();
        entries
    });
    report(&log[0]);
    assert_eq!(lines_with(&log, "ERROR"), 1, "{log:#?}");
    assert_eq!(lines_with(&log, "the store works again"), 1, "{log:#?}");
    let mut store = open(settings(path), &metrics, clock.0).unwrap();
    assert_all_there(&mut store, entries);
    store.close();

    // Full from the start: it begins in memory, touches nothing, and comes back with all that it had.
    room.none();
    let (_, log) = log::of(|| {
        let mut store = open(settings(path), &metrics, clock.0).unwrap();
        store.put(learned(entries));
        store.flush();
        assert!(!is_on_disk(&store));
        assert!(has(&mut store, entries));
        room.plenty();
        clock.run(&mut store, is_on_disk);
        assert_all_there(&mut store, entries + 1);
        store.close();
    });
    assert_eq!(lines_with(&log, "ERROR"), 1, "{log:#?}");
    assert_eq!(lines_with(&log, "the store works again"), 1, "{log:#?}");
    let mut store = open(settings(path), &metrics, clock.0).unwrap();
    assert_all_there(&mut store, entries + 1);
    report(&log[0]);
}

/// Writes to a file until the disk is full; gives how much went into it.
fn fill_up(path: &Path) -> u64 {
    let mut file = fs::File::create(path).unwrap();
    let mut written = 0;
    for size in [1 << 16, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {
            written += size as u64;
        }
    }
    written
}

#[test]
fn the_disk_is_full_and_then_has_room_again() {
    const TEST: &str = "full_disk::the_disk_is_full_and_then_has_room_again";
    if let Some((role, path)) = role() {
        return fill_small_disk(&role, &path);
    }
    for means in Means::all() {
        let setup = Setup::new();
        let mount = format!("mount -t tmpfs -o size=8m none {}", setup.root().display());
        let mut command = means.run_again(&mount, TEST, setup.path(), &setup);
        let reports = reports_of(&mut command);
        assert_eq!(reports.len(), 2);
        for line in reports {
            assert!(line.contains("No space left on device"), "{line}");
            assert!(line.contains("Free space on that file system."), "{line}");
            assert!(line.contains(setup.path().to_str().unwrap()), "{line}");
        }
    }
}

/// As a file system does on which the kernel found an error.
fn turn_read_only(path: &Path) {
    let read_only = path.parent().unwrap().join("read-only");
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut clock = Clock(Instant::now());
    let (_, log) = log::of(|| {
        let mut store = open(settings(path), &metrics, clock.0).unwrap();
        for number in 0..300 {
            store.put(learned(number));
        }
        store.flush();
        fs::write(&read_only, "").unwrap();
        for number in 300..600 {
            store.put(learned(number));
        }
        clock.run(&mut store, |store| !is_on_disk(store));
        clock.pass(&mut store, Duration::from_secs(300));
        assert!(!is_on_disk(&store));
        for number in 300..600 {
            assert!(has(&mut store, number), "{number} was learned meanwhile");
        }
        fs::remove_file(&read_only).unwrap();
        clock.run(&mut store, is_on_disk);
        store.close();
    });
    assert_eq!(lines_with(&log, "ERROR"), 1, "{log:#?}");
    assert_eq!(lines_with(&log, "the store works again"), 1, "{log:#?}");
    report(&log[0]);
    assert_all_there(&mut open(settings(path), &metrics, clock.0).unwrap(), 600);
}

#[test]
fn the_disk_becomes_read_only_and_then_writable_again() {
    const TEST: &str = "full_disk::the_disk_becomes_read_only_and_then_writable_again";
    if let Some((_, path)) = role() {
        return turn_read_only(&path);
    }
    // A file system cannot be mounted read-only while files are open in it for writing.
    let setup = Setup::new();
    let reports = reports_of(&mut Means::Library.run_again("", TEST, setup.path(), &setup));
    assert!(reports[0].contains("Read-only file system"), "{reports:?}");
    assert!(
        reports[0].contains("Mount the file system writable"),
        "{reports:?}"
    );
    assert!(
        reports[0].contains(setup.path().to_str().unwrap()),
        "{reports:?}"
    );
}
