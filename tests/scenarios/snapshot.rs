//! What people are shown of the flights: the oldest ones, their keys only where many announced them, and nobody's address.

use std::time::Duration;

use capsd::control::desk;
use capsd::control::protocol::Flight;
use capsd::holders::LinkId;
use capsd::resolver::Reply;

use crate::contents::{answer, key};
use crate::setup::settings;
use crate::stage::Stage;

const LINK: LinkId = LinkId(0);

/// The flights as they are told, `all` keys or those that are common.
fn told(stage: &Stage, most: usize, all: bool) -> Vec<Flight> {
    desk::flights(stage.resolver.snapshot(stage.now(), most), all).flights
}

#[test]
fn a_flight_is_told_with_its_age_its_waiters_and_how_many_were_asked() {
    let mut stage = Stage::new(settings(), &[], &[]);
    stage.announce("first@x/1", "K1", LINK, true);
    stage.announce("second@x/1", "K1", LINK, true);
    stage.ask("one", "K1");
    stage.ask("two", "K1");
    stage.pass(Duration::from_millis(2500));
    assert_eq!(
        told(&stage, 10, true),
        [Flight {
            keys: vec![key("K1").to_node("")],
            rare_keys: 0,
            age_ms: 2500,
            waiters: 2,
            // The first one is overdue, and may answer all the same.
            asked: 2,
            awaited: 2,
        }]
    );
    stage.reply(
        &stage.questions[0].clone(),
        "first@x/1",
        LINK,
        Reply::Answer(Box::new(answer("1"))),
    );
    stage.settle();
    assert_eq!(told(&stage, 10, true), []);
}

#[test]
fn the_oldest_are_told_first_and_all_are_counted() {
    let mut stage = Stage::new(settings(), &[], &[]);
    for number in 1..=5 {
        stage.announce(&format!("u{number}@x/1"), &format!("K{number}"), LINK, true);
        stage.pass(Duration::from_millis(100));
    }
    let snapshot = stage.resolver.snapshot(stage.now(), 3);
    assert_eq!((snapshot.in_progress, snapshot.looking), (5, 0));
    let ages = snapshot.flights.iter().map(|flight| flight.age.as_millis());
    assert_eq!(ages.collect::<Vec<_>>(), [500, 400, 300]);
    assert_eq!(stage.resolver.snapshot(stage.now(), 5).flights.len(), 5);
}

#[test]
fn a_rare_hash_is_told_only_to_those_who_want_all_and_no_address_to_anybody() {
    let mut stage = Stage::new(settings(), &[], &[]);
    for account in ["anna@x/1", "ben@x/1"] {
        stage.announce(account, "K1", LINK, true);
    }
    let rare = told(&stage, 10, false);
    assert_eq!((rare[0].keys.len(), rare[0].rare_keys), (0, 1));
    assert_eq!(
        told(&stage, 10, true)[0].keys,
        [key("K1").to_node("")],
        "to whoever wants all"
    );
    stage.announce("carla@x/1", "K1", LINK, true);
    assert_eq!(told(&stage, 10, false)[0].keys, [key("K1").to_node("")]);
    let text = format!("{:?}", stage.resolver.snapshot(stage.now(), 10))
        + &serde_json::to_string(&told(&stage, 10, true)).unwrap();
    for name in ["anna", "ben", "carla", "@x"] {
        assert!(!text.contains(name), "{text}");
    }
}
