//! The real daemon beside a scripted server: killed, and started where it may not.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::contents;
use crate::daemon::{Daemon, Prepared};
use crate::failing_disk::library;
use crate::fixture::{Setup, rounds, spawn, spawning};
use crate::server::{Link, Server};

/// How many contents are learned and confirmed in each round, at least.
const CONFIRMED_PER_ROUND: usize = 8;

/// A daemon over that store, with its link up.
fn start(store: &Path, server: &Server) -> (Daemon, Link) {
    begin(prepare(store, server), server)
}

fn prepare(store: &Path, server: &Server) -> Prepared {
    Daemon::prepare(store, &server.address(), "flush-interval = '100ms'")
}

fn begin(prepared: Prepared, server: &Server) -> (Daemon, Link) {
    let daemon = {
        let _spawning = spawning();
        prepared.start()
    };
    let link = server.accept();
    daemon.wait_until_ready();
    (daemon, link)
}

/// Runs a daemon that does not start: its exit code and what it says.
fn refused(mut prepared: Prepared) -> (Option<i32>, String) {
    let child = spawn(prepared.command.stderr(Stdio::piped()));
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
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

#[test]
fn a_second_daemon_on_one_store_is_refused_and_the_first_goes_on() {
    let setup = Setup::new();
    let server = Server::listen();
    let (daemon, mut link) = start(setup.path(), &server);
    let mut ledger = Ledger::default();
    ledger.learn_and_confirm(&daemon, &mut link, 3);
    let (code, said) = refused(prepare(setup.path(), &server));
    assert_eq!(code, Some(3), "{said}");
    let holder = format!("is in use by process {}", daemon.id());
    assert!(
        said.contains(&holder) && said.contains("stop that one first"),
        "{said}"
    );
    ledger.learn_and_confirm(&daemon, &mut link, 3);
    for number in 0..6 {
        assert!(knows(&mut link, number));
    }
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_not_touched() {
    let setup = Setup::new();
    let server = Server::listen();
    fs::create_dir(setup.path()).unwrap();
    let format = "capsd learned store\nformat 4000000000\n";
    fs::write(setup.path().join("format"), format).unwrap();
    let (code, said) = refused(prepare(setup.path(), &server));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("has format 4000000000"), "{said}");
    assert!(said.contains("run the newer version again"), "{said}");
    assert_eq!(fs::read_dir(setup.path()).unwrap().count(), 1);
}

#[test]
fn a_daemon_over_a_damaged_store_starts_and_learns_again() {
    let setup = Setup::new();
    let server = Server::listen();
    let (daemon, mut link) = start(setup.path(), &server);
    let mut ledger = Ledger::default();
    ledger.learn_and_confirm(&daemon, &mut link, 20);
    daemon.kill();
    let data = OpenOptions::new()
        .write(true)
        .open(setup.path().join("db/db"));
    data.unwrap().write_all_at(&[0xa5; 4096], 0).unwrap();

    let log = setup.root().join("log");
    let mut prepared = prepare(setup.path(), &server);
    prepared.command.stderr(File::create(&log).unwrap());
    let (daemon, mut link) = begin(prepared, &server);
    assert_eq!(daemon.metric("capsd_store_set_aside_total"), 1);
    let lost: Vec<_> = (0..20)
        .filter(|number| !knows(&mut link, *number))
        .collect();
    for number in lost {
        link.teach(1, number);
        assert!(knows(&mut link, number));
    }
    drop(daemon);
    let said = fs::read_to_string(log).unwrap();
    let line = said
        .lines()
        .find(|line| line.contains("the store was damaged"))
        .unwrap();
    assert!(
        line.contains("Check the disk") && line.contains("damaged-"),
        "{line}"
    );
}

#[test]
fn a_daemon_whose_disk_is_full_goes_on_and_comes_back() {
    let setup = Setup::new();
    let server = Server::listen();
    let full = setup.root().join("full");
    let mut prepared = prepare(setup.path(), &server);
    let library = library(setup.root());
    prepared
        .command
        .env("LD_PRELOAD", library)
        .env("CAPSD_TEST_DISK", setup.root());
    let (daemon, mut link) = begin(prepared, &server);
    let mut ledger = Ledger::default();
    ledger.learn_and_confirm(&daemon, &mut link, 5);
    fs::write(&full, "").unwrap();
    link.teach(1500, 5);
    daemon.wait_for("capsd_store_state", 0);
    let ready = daemon.get("/readyz").unwrap();
    assert!(ready.contains("ready, degraded"), "{ready}");
    assert!(
        ready.contains("in memory only") && ready.contains("No space left"),
        "{ready}"
    );
    for number in [0, 4, 5, 700, 1504] {
        assert!(knows(&mut link, number), "{number}");
    }
    fs::remove_file(&full).unwrap();
    daemon.wait_for("capsd_store_state", 1);
    daemon.wait_for("capsd_store_unconfirmed", 0);
    daemon.kill();
    let (_daemon, mut link) = start(setup.path(), &server);
    for number in (0..1505).step_by(50).chain([1504]) {
        assert!(knows(&mut link, number), "{number}");
    }
}
