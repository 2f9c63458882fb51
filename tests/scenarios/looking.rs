//! Who wants to know what is stored, and makes nobody be asked; contents that are handed over.

use std::time::Duration;

use capsd::caps::Reason;
use capsd::metrics::LookupResult;
use capsd::resolver::flights::Settings;

use crate::setup::settings;
use crate::steps::{Table, proof, tell};

fn on_demand() -> Settings {
    Settings {
        on_announce: false,
        ..settings()
    }
}

/// The flight of one who only looks ends with the tiers, though somebody could be asked.
#[test]
fn who_only_looks_makes_nobody_be_asked() {
    let mut table = Table::new(on_demand());
    table.announce("holder@a/r", "K1");
    table.look_only("one", "K1");
    table.look_only("two", "K1");
    assert_eq!(table.told(), []);
    table.load();
    let unknown = |who| tell(who, Reason::Unknown);
    assert_eq!(table.told(), [unknown("one"), unknown("two")]);
    assert_eq!(table.asked(), [""; 0]);
    assert_eq!(table.flights.in_progress(), 0);
    assert_eq!(
        table.flights.next_timer().map(|at| at > table.now),
        Some(true)
    );
    let lookups = &table.metrics.lookups;
    assert_eq!(lookups.get(LookupResult::Negative).get(), 1);
    assert_eq!(lookups.get(LookupResult::Coalesced).get(), 1);
    assert_eq!(table.metrics.waiters.get(), 0);
}

/// One who waits, or an announcement, makes a flight that began with looking go on; who looks is told all the same.
#[test]
fn a_flight_that_began_with_looking_goes_on_for_others() {
    for announced in [false, true] {
        let mut table = Table::new(Settings {
            on_announce: announced,
            ..settings()
        });
        if !announced {
            table.announce("holder@a/r", "K1");
        }
        table.look_only("one", "K1");
        match announced {
            false => table.ask_only("two", "K1"),
            true => table.announce_only("holder@a/r", "K1"),
        }
        table.load();
        assert_eq!(table.told(), [tell("one", Reason::Unknown)]);
        assert_eq!(table.asked.len(), 1, "announced: {announced}");
        // While the holder is being asked there is nothing to look at, and nobody waits for it who did not want to.
        table.look_only("three", "K1");
        assert_eq!(table.told(), [tell("three", Reason::Unknown)]);
        table.answer("holder@a/r", &["K1"], &[]);
        let expected = [tell("two", None)];
        assert_eq!(table.told(), expected[usize::from(announced)..]);
    }
}

/// What the tiers have is given to both; a failure that is remembered is the reason.
#[test]
fn who_only_looks_is_told_what_is_known() {
    let mut table = Table::new(settings());
    table.announce("liar@a/r", "K1");
    table.answer("liar@a/r", &[], &["K1"]);
    table.look_only("one", "K1");
    table.load();
    assert_eq!(table.told(), [tell("one", Reason::Mismatch)]);
    table.pass(settings().retry_after);
    table.look_only("two", "K1");
    table.load();
    assert_eq!(table.told(), [tell("two", Reason::Unknown)]);
    table.look_only("three", "K2");
    let flight = table.loads.pop().unwrap();
    let effects = table.flights.loaded(table.now, flight, vec![proof("K2")]);
    table.take_in(effects);
    assert_eq!(table.told(), [tell("three", None)]);
}

/// Tiers that do not answer end with the deadline, for everybody.
#[test]
fn the_deadline_is_the_same_for_who_only_looks() {
    let mut table = Table::new(settings());
    table.look_only("one", "K1");
    table.pass(settings().deadline - Duration::from_millis(1));
    assert_eq!(table.told(), []);
    table.pass(Duration::from_millis(1));
    assert_eq!(table.told(), [tell("one", Reason::Timeout)]);
}

/// A content that is handed over settles what waits for it, and the holder's own answer does no harm.
#[test]
fn a_contribution_ends_a_flight() {
    let mut table = Table::new(settings());
    table.announce("holder@a/r", "K1+N1");
    table.ask("one", "N1");
    let effects = table.flights.proven(table.now, &[proof("K1")], true);
    table.take_in(effects);
    assert_eq!(table.told(), [], "another key of the flight is awaited");
    let effects = table.flights.proven(table.now, &[proof("N1")], true);
    table.take_in(effects);
    assert_eq!(table.told(), [tell("one", None)]);
    assert_eq!(table.flights.in_progress(), 0);
    table.answer("holder@a/r", &["K1", "N1"], &[]);
    assert_eq!(table.told(), []);
}
