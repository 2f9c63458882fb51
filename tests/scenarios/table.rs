//! Rules of the table of flights that need its single steps: limits, metrics, what happens between two steps.

use std::collections::HashMap;
use std::time::Duration;

use capsd::caps::Reason;
use capsd::holders::accounts::Common;
use capsd::metrics::{LookupResult, RateScope, UpstreamResult, WaiterScope};
use capsd::resolver::flights::{Settings, Verdicts};

use crate::contents::{NODE_URL, announcement, key};
use crate::setup::{rate, settings};
use crate::steps::{LINK, Table, proof, tell};

#[test]
fn flights_are_limited() {
    let mut table = Table::new(Settings {
        max_flights: 2,
        ..settings()
    });
    table.announce("alice@a/r", "K1");
    table.announce("bob@a/r", "K2");
    assert_eq!(table.asked().len(), 2);
    table.announce("carol@a/r", "K3");
    table.ask("one", "K3");
    assert_eq!(table.asked(), [""; 0]);
    assert_eq!(table.told(), [tell("one", Reason::Overloaded)]);
    // The query was turned away; the announcement waits its turn.
    assert_eq!(table.metrics.flights_rejected.get(), 1);
    // Who can be served by a flight in progress is.
    table.ask("two", "K1");
    assert_eq!(table.told(), []);
    // A flight that ends makes room.
    table.depart("bob@a/r");
    table.ask("three", "K3");
    assert_eq!(table.asked(), ["carol@a/r"]);
    assert_eq!(table.flights.in_progress(), 2);
}

/// Whoever comes when the process ends already is told so at once: the tiers are closed by then.
#[test]
fn nothing_begins_after_the_end() {
    let mut table = Table::new(settings());
    table.ask_only("one", "K1");
    let ended = table.flights.stop();
    table.take_in(ended);
    assert_eq!(table.told(), [tell("one", Reason::Overloaded)]);
    table.loads.clear();
    table.ask_only("two", "K1");
    table.announce_only("alice@a/r", "K2");
    assert_eq!(table.told(), [tell("two", Reason::Overloaded)]);
    assert_eq!((table.loads.len(), table.flights.in_progress()), (0, 0));
}

/// The tiers answer within microseconds, so more look-ups than flights may be under way, but not any number.
#[test]
fn lookups_are_limited() {
    let mut table = Table::new(Settings {
        max_flights: 1,
        ..settings()
    });
    for n in 1..=16 {
        table.ask_only(&format!("{n}"), &format!("K{n}"));
    }
    assert_eq!(table.told(), []);
    table.ask_only("one more", "K17");
    table.announce_only("alice@a/r", "K18");
    assert_eq!(table.told(), [tell("one more", Reason::Overloaded)]);
    assert_eq!(table.loads.len(), 16);
    assert_eq!(table.metrics.flights_rejected.get(), 1);
    table.load();
    assert!(
        table
            .told()
            .iter()
            .all(|(_, r)| *r == Some(Reason::Unknown))
    );
    // The query was turned away; the announcement waited.
    table.load();
    assert_eq!(table.asked(), ["alice@a/r"]);
    table.depart("alice@a/r");
    table.ask("again", "K17");
    assert_eq!(table.told(), [tell("again", Reason::Unknown)]);
}

/// A login storm takes its time and loses nothing: announcements wait until there is room for their flights.
#[test]
fn announcements_wait_their_turn() {
    let mut table = Table::new(Settings {
        max_flights: 2,
        new_keys_per_domain: rate(10_000, Duration::from_secs(1)),
        ..settings()
    });
    for n in 0..1000 {
        table.announce_only(&format!("user{n:03}@a/r"), &format!("K{n}"));
    }
    assert!(table.loads.len() <= 32, "{}", table.loads.len());
    // Who leaves meanwhile is not asked.
    table.depart("user500@a/r");
    let mut asked = Vec::new();
    for _ in 0..1000 {
        table.load();
        assert!(table.flights.in_progress() <= 2);
        for address in table.asked() {
            table.depart(&address);
            asked.push(address);
        }
    }
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 999);
    assert!(!asked.contains(&"user500@a/r".to_owned()));
    assert_eq!(table.metrics.flights_rejected.get(), 0);
}

/// A flood beyond the quota is not worth a look-up for each hash.
#[test]
fn what_is_over_the_quota_costs_no_lookup() {
    let mut table = Table::new(Settings {
        new_keys_per_account: rate(1, Duration::from_secs(3600)),
        ..settings()
    });
    // The first finds its quota full, the second finds it empty.
    table.announce("mallory@a/1", "K1");
    table.announce("mallory@a/2", "K2");
    assert_eq!(table.asked(), ["mallory@a/1"]);
    for n in 3..100 {
        table.announce_only(&format!("mallory@a/{n}"), &format!("K{n}"));
    }
    assert_eq!(table.loads.len(), 0);
    assert_eq!(table.metrics.rate_limited.get(RateScope::Account).get(), 98);
    // Nobody else is held up by that.
    table.announce("alice@a/r", "K50");
    assert_eq!(table.asked(), ["alice@a/r"]);
}

/// However many flights there may be, announcements do not fill the way to the tiers.
#[test]
fn announcements_leave_the_tiers_to_queries() {
    let mut table = Table::new(settings());
    for n in 0..1000 {
        table.announce_only(&format!("user{n}@d{n}/r"), &format!("K{n}"));
    }
    assert_eq!(table.loads.len(), 32);
    table.ask_only("one", "K2000");
    assert_eq!(table.loads.len(), 33);
    for _ in 0..32 {
        table.load();
    }
    assert_eq!(table.asked().len(), 1000);
}

#[test]
fn waiters_are_limited_in_all_and_for_each_flight() {
    let mut table = Table::new(Settings {
        max_waiters: 4,
        max_waiters_per_flight: 3,
        ..settings()
    });
    table.announce("alice@a/r", "K1");
    table.announce("bob@a/r", "K2");
    for who in ["1", "2", "3"] {
        table.ask(who, "K1");
    }
    assert_eq!(table.told(), []);
    table.ask("4", "K1");
    assert_eq!(table.told(), [tell("4", Reason::Overloaded)]);
    let rejected = |table: &Table, scope| table.metrics.waiters_rejected.get(scope).get();
    assert_eq!(rejected(&table, WaiterScope::Flight), 1);
    table.ask("5", "K2");
    assert_eq!(table.told(), []);
    assert_eq!(table.metrics.waiters.get(), 4);
    table.ask("6", "K2");
    assert_eq!(table.told(), [tell("6", Reason::Overloaded)]);
    assert_eq!(rejected(&table, WaiterScope::Global), 1);
    // Who was turned away takes no place, and who was told gives it back.
    table.answer("alice@a/r", &["K1"], &[]);
    assert_eq!(table.told(), ["1", "2", "3"].map(|who| tell(who, None)));
    assert_eq!(table.metrics.waiters.get(), 1);
    for who in ["7", "8"] {
        table.ask(who, "K2");
    }
    assert_eq!(table.told(), []);
    table.pass(Duration::from_secs(5));
    let told = ["5", "7", "8"].map(|who| tell(who, Reason::Timeout));
    assert_eq!(table.told(), told);
    assert_eq!(table.metrics.waiters.get(), 0);
}

#[test]
fn every_lookup_is_counted_once() {
    let mut table = Table::new(Settings {
        on_announce: false,
        ..settings()
    });
    table.announce("alice@a/r", "K1");
    table.ask("one", "K1");
    table.ask("two", "K1");
    table.ask("three", "K2");
    table.ask_only("four", "K3");
    let flight = table.loads.pop().unwrap();
    let found = vec![proof("K3")];
    let effects = table.flights.loaded(table.now, flight, found);
    table.take_in(effects);
    table.answer("alice@a/r", &["K1"], &[]);
    assert_eq!(table.told().len(), 4);
    for (result, count) in [
        (LookupResult::Miss, 1),
        (LookupResult::Coalesced, 1),
        (LookupResult::Negative, 1),
        (LookupResult::Hit, 1),
        (LookupResult::Override, 0),
        (LookupResult::Rejected, 0),
    ] {
        assert_eq!(table.metrics.lookups.get(result).get(), count, "{result:?}");
    }
}

#[test]
fn what_is_known_costs_no_lookup() {
    let mut table = Table::new(settings());
    table.announce("alice@a/r", "K1+N1");
    table.answer("alice@a/r", &["K1", "N1"], &[]);
    table.asked();
    table.announce_only("bob@a/r", "K1+N1");
    assert_eq!((table.loads.len(), table.asked()), (0, vec![]));
    // Other keys beside it are not known yet.
    table.announce_only("carol@a/r", "K1+N2");
    assert_eq!(table.loads.len(), 1);
}

/// A holder that changes its announcement during a flight: what the flight proves says nothing about the new one.
#[test]
fn what_is_not_known_is_not_taken_for_known() {
    let mut table = Table::new(settings());
    table.announce("alice@a/r", "K1");
    table.announce("alice@a/r", "K2");
    table.announce("bob@a/r", "K1");
    let id = table.asked[0].0;
    let question = table.flights.take_question(id, LINK, "alice@a/r").unwrap();
    let verdicts = Verdicts::Content {
        proven: vec![proof("K1")],
        refused: vec![],
        written: true,
    };
    let effects = table.flights.answered(table.now, question, verdicts);
    table.take_in(effects);
    table.answer("alice@a/r", &[], &["K2"]);
    table.asked();
    table.announce("carol@a/r", "K2");
    assert_eq!(table.asked(), ["carol@a/r"]);
}

/// While an answer is being verified, which happens outside of the table, other events come in.
#[test]
fn an_answer_that_is_being_verified_is_awaited() {
    let mut table = Table::new(settings());
    table.announce("alice@a/r", "K1");
    table.ask("one", "K1");
    let id = table.question_to("alice@a/r");
    let question = table.flights.take_question(id, LINK, "alice@a/r").unwrap();
    table.asked();
    // It cannot be answered twice.
    assert!(table.flights.take_question(id, LINK, "alice@a/r").is_none());
    let effects =
        table
            .flights
            .announce(table.now, LINK, "x@a/r", &announcement("K1"), false, false);
    table.take_in(effects);
    table.announce("bob@a/r", "K1");
    table.depart("alice@a/r");
    table.pass(Duration::from_secs(2));
    assert_eq!((table.asked(), table.told()), (vec![], vec![]));
    let verdicts = Verdicts::Content {
        proven: vec![proof("K1")],
        refused: vec![],
        written: true,
    };
    let effects = table.flights.answered(table.now, question, verdicts);
    table.take_in(effects);
    assert_eq!(table.told(), [tell("one", None)]);
    assert_eq!(table.flights.in_progress(), 0);
}

/// As many questions end, one way or another, as were sent.
#[test]
fn every_question_is_counted_when_it_ends() {
    let mut table = Table::new(settings());
    // Settled by the late answer of another.
    table.announce("alice@a/r", "K1");
    table.announce("bob@a/r", "K1");
    table.pass(Duration::from_secs(2));
    table.answer("alice@a/r", &["K1"], &[]);
    // Ended by the deadline before the last one was overdue.
    for who in ["carol@a/r", "dave@a/r", "erin@a/r"] {
        table.announce(who, "K2");
    }
    for _ in 0..5 {
        table.pass(Duration::from_secs(2));
    }
    assert_eq!(table.asked().len(), 5);
    assert_eq!(table.metrics.upstream_queries_sent.get(), 5);
    let timeouts = table.metrics.upstream_queries.get(UpstreamResult::Timeout);
    assert_eq!(timeouts.get(), 5);
}

/// Whoever is asked shortly before the deadline has its time all the same: the answer is learned for the next one who asks.
#[test]
fn an_answer_after_the_deadline_is_learned() {
    let mut table = Table::new(settings());
    for who in ["carol@a/r", "dave@a/r", "erin@a/r"] {
        table.announce(who, "K1");
    }
    table.ask("one", "K1");
    for _ in 0..5 {
        table.pass(Duration::from_secs(1));
    }
    assert_eq!(table.told(), [tell("one", Reason::Timeout)]);
    let last = table.asked.last().unwrap().1.clone();
    let id = table.question_to(&last);
    let question = table.flights.take_question(id, LINK, &last).unwrap();
    assert_eq!(table.flights.provable(&question), [key("K1")]);
    let verdicts = Verdicts::Content {
        proven: vec![proof("K1")],
        refused: vec![],
        written: true,
    };
    let effects = table.flights.answered(table.now, question, verdicts);
    table.take_in(effects);
    assert_eq!(table.told(), []);
}

/// What a holder did not prove is remembered for what it announces now, however often it changed that before.
#[test]
fn old_failures_leave_room_for_new_ones() {
    let mut table = Table::new(Settings {
        on_announce: false,
        new_keys_per_account: rate(1000, Duration::from_secs(1)),
        ..settings()
    });
    let old: Vec<String> = (1..=9).map(|n| format!("K{n}")).collect();
    table.announce("mallory@a/r", &old.join("+"));
    table.ask("one", "K1");
    let id = table.question_to("mallory@a/r");
    table.announce("mallory@a/r", "K20");
    let question = table.flights.take_question(id, LINK, "mallory@a/r");
    let refused = old.iter().map(|k| (key(k), Reason::Mismatch)).collect();
    let verdicts = Verdicts::Content {
        proven: vec![],
        refused,
        written: true,
    };
    let effects = table
        .flights
        .answered(table.now, question.unwrap(), verdicts);
    table.take_in(effects);
    table.asked();
    table.ask("two", "K20");
    table.answer("mallory@a/r", &[], &["K20"]);
    table.asked();
    table.ask("three", "K20");
    assert_eq!(table.asked(), [""; 0]);
    assert_eq!(table.flights.holders().failures(), 1);
}

/// Nobody is asked whose link is down, and nothing else is lost with it.
#[test]
fn a_flight_over_a_link_that_is_down_ends_at_once() {
    let mut table = Table::new(settings());
    let effects = table.flights.link_down(table.now, LINK);
    table.take_in(effects);
    table.announce("alice@a/r", "K1");
    table.ask("one", "K1");
    assert_eq!(table.asked(), [""; 0]);
    assert_eq!(table.told(), [tell("one", Reason::Unknown)]);
    table.flights.link_up(LINK);
    table.ask("two", "K1");
    assert_eq!(table.asked(), ["alice@a/r"]);
}

/// Ids are random, and none is used twice.
#[test]
fn ids_of_questions_differ() {
    let mut table = Table::new(Settings {
        new_keys_per_domain: rate(10_000, Duration::from_secs(1)),
        ..settings()
    });
    for n in 0..1000 {
        table.announce(&format!("user{n}@a/r"), &format!("K{n}"));
    }
    let mut bits = HashMap::<u32, u32>::new();
    let mut ids: Vec<u128> = table.asked.iter().map(|(id, _)| id.0).collect();
    for id in &ids {
        for bit in 0..128 {
            *bits.entry(bit).or_default() += u32::try_from(id >> bit & 1).unwrap();
        }
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1000);
    // A bit that is no coin would be found with certainty, a fair one is called unfair once in a billion.
    assert!(
        bits.values().all(|ones| (400..600).contains(ones)),
        "{bits:?}"
    );
}

/// Logins and logouts leave nothing behind.
#[test]
fn memory_does_not_grow_with_logins() {
    let mut table = Table::new(Settings {
        new_keys_per_domain: rate(1_000_000, Duration::from_secs(1)),
        // So few that the counts of accounts, which outlive a login, are as many as they may be before it is measured.
        holders: capsd::holders::Settings {
            max: 1000,
            ..settings().holders
        },
        ..settings()
    });
    let round = |table: &mut Table, n: usize| {
        let address = format!("user{:06}@a/r", n % 1_000_000);
        table.announce(&address, &format!("K{n}"));
        table.depart(&address);
        table.asked.clear();
        table.pass(Duration::from_millis(10));
    };
    for n in 0..2_000 {
        round(&mut table, n);
    }
    let before = table.size();
    for n in 0..100_000 {
        round(&mut table, n);
    }
    let after = table.size();
    assert!(after < before + before / 4, "from {before} to {after}");
    assert_eq!(table.flights.holders().len(), 0);
}

/// Three accounts make a key common, and the node with it; one account with many devices does not.
#[test]
fn a_key_becomes_common_by_the_third_account() {
    let mut table = Table::new(settings());
    for address in ["a@x/1", "a@x/2", "a@x/3", "b@x/1", "b@x/2"] {
        table.announce(address, "K1+N1");
    }
    assert_eq!(table.common, []);
    table.announce("c@x/1", "K1+N1");
    let common = |name, node_url: Option<&str>| Common {
        key: key(name),
        node_url: node_url.map(str::to_owned),
    };
    let all = [common("K1", Some(NODE_URL)), common("N1", None)];
    assert_eq!(std::mem::take(&mut table.common), all);
    // Once is enough, even if everybody left meanwhile.
    for address in ["a@x/1", "a@x/2", "a@x/3", "b@x/1", "b@x/2", "c@x/1"] {
        table.depart(address);
    }
    for account in 0..10 {
        table.announce(&format!("{account}@x/1"), "K1+N1");
    }
    assert_eq!(table.common, []);
    assert!(
        table
            .flights
            .holders()
            .is_common(&key("K1"), Some(NODE_URL))
    );
}

/// Accounts that come one after the other count together, whether or not those before are still there.
#[test]
fn accounts_need_not_be_there_at_the_same_time() {
    let mut table = Table::new(settings());
    for account in ["a@x/1", "b@x/1", "c@x/1"] {
        assert_eq!(table.common, []);
        table.announce(account, "N1");
        table.depart(account);
    }
    assert_eq!(table.common.len(), 1);
}
