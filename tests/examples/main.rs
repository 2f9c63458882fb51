//! The examples do what they say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod one_question;
mod own_caps;

use own_caps::{Client, FEATURES};

#[test]
fn own_caps_are_those_of_the_specification_and_announced_when_they_change() {
    let mut client = Client::new(&FEATURES);
    let first = client.announcement().unwrap().expect("it is the first one");
    // XEP-0115 section 5.2.
    assert!(
        first.contains("ver='QgayPKawpkPSDYmwT/WM94uAlu0='"),
        "{first}"
    );
    assert_eq!(client.announcement().unwrap(), None, "nothing changed");
    client.add_feature(FEATURES[0]);
    assert_eq!(client.announcement().unwrap(), None, "it had that feature");
    client.add_feature("urn:xmpp:ping");
    let second = client.announcement().unwrap().expect("it can do more");
    assert_ne!(first, second);
}

#[test]
fn a_hash_costs_questions_until_one_is_answered_truly_and_none_afterwards() {
    let (asked, told) = one_question::run().unwrap();
    let both = ["mallory@example.org/x", "juliet@example.org/balcony"];
    let each_once = both.map(|address| format!("{address} for {}", one_question::ANNOUNCED));
    assert_eq!(asked, each_once);
    assert!(told[0].contains("name='Exodus 0.9.1'"), "{}", told[0]);
    assert_eq!(told[0], told[1]);
}
