//! SIGKILL at any moment: the store opens again, what a flush had confirmed is there, and nothing is wrong.
//!
//! A process of its own writes, and says what it does; the ledger of what a flush confirmed is kept in this one, from what it said
//! before it was killed. `daemon.rs` does the same to the daemon.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capsd::metrics::{LoadResult, Metrics};
use capsd::store::Store;

use crate::fixture::{
    Killed, Setup, has, is_on_disk, learned_fully, open, report, reported, role, rounds, run_again,
    settings, spawn,
};
use crate::format::{downgrade, versions};

/// How many entries are put between two flushes, and then without one.
const BETWEEN_FLUSHES: u32 = 20;
const UNFLUSHED: u32 = 30;

/// The bound on entries.
const MAX_ENTRIES: u32 = 3000;

/// What the process is busy with, beside writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// The database is closed and opened whenever there is nothing to write.
    Checkpoints,
    /// What is stored is written anew.
    Compaction,
    /// Values of an older format are brought to the present one.
    Migration,
}

impl Beside {
    /// The bound on entries. The files of few take more than twice their bytes, so that each process has something to compact.
    fn max_entries(self) -> u32 {
        match self {
            Beside::Compaction => 600,
            _ => MAX_ENTRIES,
        }
    }
}

/// What the process said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// A flush confirmed all below this one.
    Confirmed(u32),
    /// All below this one was put.
    Put(u32),
    /// The store is given time to do what is due.
    Tick,
    /// It has done that.
    Tock,
}

impl Said {
    fn report(self) {
        match self {
            Said::Confirmed(number) => report(&format!("confirmed {number}")),
            Said::Put(number) => report(&format!("put {number}")),
            Said::Tick => report("tick"),
            Said::Tock => report("tock"),
        }
    }

    fn read(line: &str) -> Said {
        match line.split_once(' ') {
            Some(("confirmed", number)) => Said::Confirmed(number.parse().unwrap()),
            Some(("put", number)) => Said::Put(number.parse().unwrap()),
            _ if line == "tick" => Said::Tick,
            _ if line == "tock" => Said::Tock,
            _ => panic!("{line}"),
        }
    }
}

/// Puts entries from `first` on for ever, and says what was put and what was confirmed.
fn write_for_ever(path: &Path, first: u32, beside: Beside) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut settings = settings(path);
    settings.max_entries = beside.max_entries().into();
    match beside {
        Beside::Nothing | Beside::Migration => {}
        Beside::Checkpoints => settings.checkpoint_writes = 1,
        Beside::Compaction => settings.max_waste = 0,
    }
    let mut store = open(settings, &metrics, Instant::now()).unwrap();
    assert!(is_on_disk(&store), "{:?}", store.state());
    let mut number = first;
    loop {
        for _ in 0..BETWEEN_FLUSHES {
            store.put(learned_fully(number));
            number += 1;
        }
        store.flush();
        assert!(is_on_disk(&store), "{:?}", store.state());
        Said::Confirmed(number).report();
        // These are not confirmed before the next twenty are.
        for _ in 0..UNFLUSHED {
            store.put(learned_fully(number));
            number += 1;
            Said::Put(number).report();
            if number.is_multiple_of(4) {
                tick(&mut store, beside);
            }
        }
    }
}

fn tick(store: &mut Store, beside: Beside) {
    if beside != Beside::Nothing {
        Said::Tick.report();
        store.tick(Instant::now());
        Said::Tock.report();
    }
}

/// The ledger, and what was seen over all rounds.
#[derive(Default)]
struct Ledger {
    /// All below this one was confirmed.
    confirmed: u32,
    /// All below this one was put.
    put: u32,
    /// In how many rounds something was put that nothing had confirmed.
    unflushed: u32,
    /// In how many rounds the process was killed in the middle of what is done beside writing.
    in_the_middle: u32,
    /// How many entries were found that nothing had confirmed.
    found_unconfirmed: usize,
    seen: BTreeSet<u32>,
}

/// One process from its beginning to its death.
fn one_round(test: &str, setup: &Setup, beside: Beside, round: u32, ledger: &mut Ledger) {
    // Whatever was put is not put again, so that what is found is known to be of one process.
    let first = ledger.put.max(ledger.confirmed);
    let mut command = run_again(&[], test, &first.to_string(), setup.path());
    let mut child = Killed(spawn(command.stdout(Stdio::piped())));
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut said = lines.filter_map(|line| Some(Said::read(reported(&line.unwrap())?)));
    let mut last = Said::Tock;
    let mut take = |said: Said, ledger: &mut Ledger| {
        match said {
            Said::Confirmed(number) => ledger.confirmed = number,
            Said::Put(number) => ledger.put = number,
            Said::Tick | Said::Tock => {}
        }
        last = said;
    };
    for _ in 0..=round % 3 {
        loop {
            let now = said.next().expect("the process ended by itself");
            take(now, ledger);
            if matches!(now, Said::Confirmed(_)) {
                break;
            }
        }
    }
    // Anywhere in the work that follows.
    std::thread::sleep(Duration::from_micros(u64::from(round * 7919 % 30_000)));
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    // What was said before the kill counts too.
    for now in said {
        take(now, ledger);
    }
    ledger.unflushed += u32::from(ledger.put > ledger.confirmed);
    ledger.in_the_middle += u32::from(match beside {
        Beside::Nothing => false,
        Beside::Checkpoints => last == Said::Tick,
        Beside::Compaction => setup.names("db").len() > 1,
        Beside::Migration => versions(setup).len() > 1,
    });
    assert!(ledger.confirmed > first);
    ledger.seen.insert(ledger.confirmed);
}

/// Opens the store and looks for what the ledger says.
fn check(setup: &Setup, beside: Beside, round: u32, from: u32, ledger: &mut Ledger) {
    let mut store = setup.open();
    assert!(is_on_disk(&store), "round {round}: {:?}", store.state());
    let confirmed = ledger.confirmed;
    // Two thirds of the bound on entries are there, whatever was evicted; what is new is looked at every time, all of them
    // now and then.
    let from = match round % 20 {
        9 => confirmed.saturating_sub(beside.max_entries() * 2 / 3),
        _ => from,
    };
    // What was put last by an earlier process may or may not be there.
    let unsure = |number: u32| {
        let ends = ledger.seen.range(..=number).next_back();
        ends.is_some_and(|end| number - end < UNFLUSHED)
    };
    for number in (from..confirmed).filter(|number| !unsure(*number)) {
        assert!(
            has(&mut store, number),
            "round {round}: {number} of {from}..{confirmed} is lost"
        );
    }
    for key in &learned_fully(confirmed - 1).keys {
        assert!(store.get(key).is_some(), "round {round}: a key is lost");
    }
    ledger.found_unconfirmed += (confirmed..ledger.put)
        .filter(|n| has(&mut store, *n))
        .count();
}

/// Fills a store, so that there is something to do.
fn fill(setup: &Setup) -> u32 {
    let mut store = setup.open();
    for number in 0..MAX_ENTRIES / 2 {
        store.put(learned_fully(number));
    }
    store.close();
    MAX_ENTRIES / 2
}

fn kill_again_and_again(test: &str, beside: Beside, few: u32, many: u32) {
    if let Some((first, path)) = role() {
        return write_for_ever(&path, first.parse().unwrap(), beside);
    }
    let setup = Setup::new();
    let mut ledger = Ledger::default();
    let rounds = rounds(few, many);
    let mut before = 0;
    if beside == Beside::Migration {
        ledger.confirmed = fill(&setup);
    }
    for round in 0..rounds {
        if beside == Beside::Migration {
            downgrade(&setup);
        }
        one_round(test, &setup, beside, round, &mut ledger);
        check(&setup, beside, round, before, &mut ledger);
        before = ledger.confirmed;
    }
    let loaded = &setup.metrics.cache_loaded;
    assert_eq!(loaded.get(LoadResult::Mismatch).get(), 0);
    assert_eq!(loaded.get(LoadResult::Corrupt).get(), 0);
    assert!(setup.names("damaged").is_empty());
    assert_eq!(ledger.seen.len(), rounds as usize);
    let Ledger {
        confirmed,
        unflushed,
        in_the_middle,
        found_unconfirmed,
        ..
    } = ledger;
    println!(
        "{rounds} rounds, {unflushed} of them with unflushed writes, {in_the_middle} in the middle of {beside:?}; all \
         {confirmed} entries confirmed were found, and {found_unconfirmed} that were not"
    );
    assert!(
        unflushed * 2 >= rounds,
        "only {unflushed} of {rounds} rounds had unflushed writes"
    );
    if beside != Beside::Nothing {
        assert!(
            in_the_middle * 4 >= rounds,
            "only {in_the_middle} of {rounds} kills were in the middle"
        );
    }
}

#[test]
fn nothing_confirmed_is_lost() {
    kill_again_and_again("kill::nothing_confirmed_is_lost", Beside::Nothing, 10, 200);
}

#[test]
fn nothing_confirmed_is_lost_by_a_kill_while_it_is_closed_and_opened() {
    const TEST: &str = "kill::nothing_confirmed_is_lost_by_a_kill_while_it_is_closed_and_opened";
    kill_again_and_again(TEST, Beside::Checkpoints, 6, 100);
}

#[test]
fn nothing_confirmed_is_lost_by_a_kill_while_it_is_written_anew() {
    const TEST: &str = "kill::nothing_confirmed_is_lost_by_a_kill_while_it_is_written_anew";
    kill_again_and_again(TEST, Beside::Compaction, 6, 100);
}

#[test]
fn nothing_confirmed_is_lost_by_a_kill_while_it_is_migrated() {
    const TEST: &str = "kill::nothing_confirmed_is_lost_by_a_kill_while_it_is_migrated";
    kill_again_and_again(TEST, Beside::Migration, 4, 100);
}
