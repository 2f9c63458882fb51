//! The real daemon beside a scripted server: killed, and started where it may not.

use std::path::Path;
use std::time::Duration;

use crate::contents;
use crate::daemon::Daemon;
use crate::fixture::{Setup, rounds, spawning};
use crate::server::{Link, Server};

/// How many contents are learned and confirmed in each round, at least.
const CONFIRMED_PER_ROUND: usize = 8;

/// A daemon over that store, with its link up.
fn start(store: &Path, server: &Server) -> (Daemon, Link) {
    let daemon = {
        let _spawning = spawning();
        Daemon::start_with(store, &server.address(), "flush-interval = '100ms'")
    };
    let link = server.accept();
    daemon.wait_until_ready();
    (daemon, link)
}

/// Whether the daemon knows content `number`; what it says must be it, all of it and nothing else.
fn knows(link: &mut Link, number: usize) -> bool {
    let reply = link.ask(number);
    if reply.contains("type='error'") {
        assert!(reply.contains("item-not-found"), "{reply}");
        return false;
    }
    let said = |attribute: &str| -> Vec<String> {
        let parts = reply.split(attribute).skip(1);
        let values = parts.map(|rest| rest.split('\'').next().unwrap().to_owned());
        values.collect()
    };
    let info = contents::info(number);
    assert_eq!(said("<feature var='"), info.features, "{reply}");
    assert_eq!(
        said(" name='"),
        [info.identities[0].name.as_str()],
        "{reply}"
    );
    assert_eq!(reply.matches("<identity").count(), 1, "{reply}");
    true
}

/// What the test itself wrote down.
#[derive(Default)]
struct Ledger {
    /// The numbers that a flush confirmed.
    confirmed: Vec<usize>,
    /// The numbers that were learned since.
    unconfirmed: Vec<usize>,
    next: usize,
}

impl Ledger {
    /// Has some contents learned and waits until the daemon says that all of them are on the disk.
    fn learn_and_confirm(&mut self, daemon: &Daemon, link: &mut Link, count: usize) {
        const ENTRIES: &str = "capsd_cache_entries{tier=\"learned\"}";
        let before = daemon.metric(ENTRIES);
        let first = self.next;
        link.teach(count, first);
        self.next += count;
        daemon.wait_for(ENTRIES, before + count as u64);
        daemon.wait_for("capsd_store_unconfirmed", 0);
        self.confirmed.extend(first..self.next);
    }

    /// Has contents learned until the daemon is gone.
    fn learn_on(&mut self, link: &mut Link) {
        loop {
            self.unconfirmed.push(self.next);
            self.next += 1;
            if link.teach_one(self.next - 1).is_err() {
                return;
            }
        }
    }
}

/// Kills the daemon while contents are being learned; gives how many were not confirmed a moment before.
fn kill(daemon: Daemon, round: u32) -> u64 {
    const UNCONFIRMED: &str = "capsd_store_unconfirmed";
    std::thread::sleep(Duration::from_micros(u64::from(round * 7919 % 50_000)));
    let mut unconfirmed = daemon.metric(UNCONFIRMED);
    // Every other time at any moment, else when something waits for the disk.
    while unconfirmed == 0 && round.is_multiple_of(2) {
        unconfirmed = daemon.metric(UNCONFIRMED);
    }
    daemon.kill();
    unconfirmed
}

#[test]
fn a_killed_daemon_has_all_that_was_confirmed() {
    let setup = Setup::new();
    let server = Server::listen();
    let mut ledger = Ledger::default();
    let rounds = rounds(4, 200);
    let (mut unflushed, mut found_unconfirmed) = (0, 0);
    for round in 0..rounds {
        let (daemon, mut link) = start(setup.path(), &server);
        // What is new every time, all of it now and then.
        let new = ledger.confirmed.len().saturating_sub(CONFIRMED_PER_ROUND);
        let from = if round % 50 == 49 { 0 } else { new };
        for number in &ledger.confirmed[from..] {
            assert!(knows(&mut link, *number), "round {round}: {number} is lost");
        }
        for number in ledger.unconfirmed.drain(..) {
            found_unconfirmed += u32::from(knows(&mut link, number));
        }
        assert_eq!(daemon.metric("capsd_store_set_aside_total"), 0);
        assert_eq!(
            daemon.metric("capsd_cache_loaded_total{result=\"corrupt\"}"),
            0
        );
        assert_eq!(
            daemon.metric("capsd_cache_loaded_total{result=\"mismatch\"}"),
            0
        );

        ledger.learn_and_confirm(&daemon, &mut link, CONFIRMED_PER_ROUND);
        let waiting = std::thread::scope(|scope| {
            let killed = scope.spawn(move || kill(daemon, round));
            ledger.learn_on(&mut link);
            killed.join().unwrap()
        });
        unflushed += u32::from(waiting > 0);
    }
    let (daemon, mut link) = start(setup.path(), &server);
    for number in &ledger.confirmed {
        assert!(knows(&mut link, *number), "{number} is lost");
    }
    drop(daemon);
    println!(
        "{rounds} kills of the daemon, {unflushed} with unflushed writes; all {} contents confirmed were found, and \
         {found_unconfirmed} of {} that were not",
        ledger.confirmed.len(),
        ledger.next - ledger.confirmed.len()
    );
    assert!(
        unflushed * 2 >= rounds,
        "only {unflushed} of {rounds} kills met unflushed writes"
    );
    assert!(setup.names("damaged").is_empty());
}
