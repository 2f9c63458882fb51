//! SIGKILL at any moment: the store opens again, what a flush had confirmed is there, and nothing is wrong.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capsd::metrics::{LoadResult, Metrics};

use crate::fixture::{
    Killed, Setup, has, is_on_disk, learned_fully, open, report, reported, role, rounds, run_again,
    settings, spawn,
};

const TEST: &str = "kill::nothing_confirmed_is_lost";

/// How many entries are put between two flushes.
const BETWEEN_FLUSHES: u32 = 20;

/// Puts entries from `first` on for ever, and reports how far each flush that was confirmed reached.
fn write_for_ever(path: &Path, first: u32) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut settings = settings(path);
    settings.max_entries = 3000;
    let mut store = open(settings, &metrics, Instant::now()).unwrap();
    assert!(is_on_disk(&store));
    let mut number = first;
    loop {
        for _ in 0..BETWEEN_FLUSHES {
            store.put(learned_fully(number));
            number += 1;
        }
        store.flush();
        assert!(is_on_disk(&store));
        report(&number.to_string());
        // Some more, that no flush confirms before the next round.
        for extra in 0..number % 17 {
            store.put(learned_fully(number + extra));
        }
    }
}

#[test]
fn nothing_confirmed_is_lost() {
    if let Some((first, path)) = role() {
        return write_for_ever(&path, first.parse().unwrap());
    }
    let setup = Setup::new();
    let mut confirmed: u32 = 0;
    let mut earlier = 0;
    let mut unconfirmed_found = 0;
    let mut seen = BTreeSet::new();
    for round in 0..rounds(10, 200) {
        let mut command = run_again(&[], TEST, &confirmed.to_string(), setup.path());
        let mut child = Killed(spawn(command.stdout(Stdio::piped())));
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let mut reports = lines.filter_map(|line| reported(&line.unwrap())?.parse().ok());
        let before = confirmed;
        for _ in 0..=round % 5 {
            confirmed = reports.next().unwrap();
        }
        // Anywhere in the work that follows.
        std::thread::sleep(Duration::from_micros(u64::from(round * 7919 % 30_000)));
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        // What was reported before the kill counts too.
        confirmed = reports.last().unwrap_or(confirmed);
        assert!(confirmed > before);

        let mut store = setup.open();
        assert!(is_on_disk(&store), "round {round}: {:?}", store.state());
        // The last 2000 are below the bound on entries, whatever was evicted; those of this round and the one before are
        // looked at every time, all of them now and then.
        let from = match round % 20 {
            9 => confirmed.saturating_sub(2000),
            _ => earlier,
        };
        for number in from..confirmed {
            assert!(
                has(&mut store, number),
                "round {round}: {number} of {confirmed} is lost"
            );
        }
        for key in &learned_fully(confirmed - 1).keys {
            assert!(store.get(key).is_some(), "round {round}: a key is lost");
        }
        earlier = before;
        unconfirmed_found += (confirmed..confirmed + 40)
            .filter(|n| has(&mut store, *n))
            .count();
        seen.insert(confirmed);
    }
    let loaded = &setup.metrics.cache_loaded;
    assert_eq!(loaded.get(LoadResult::Mismatch).get(), 0);
    assert_eq!(loaded.get(LoadResult::Corrupt).get(), 0);
    assert!(setup.names("damaged").is_empty());
    assert!(seen.len() >= 10);
    println!(
        "{confirmed} entries confirmed; {unconfirmed_found} more were found that no flush had confirmed"
    );
}
