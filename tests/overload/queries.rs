//! Floods of queries, stanzas and answers that are too large, and a server that stops reading.

use std::collections::HashMap;
use std::io::{BufReader, Write as _};
use std::time::Duration;

use crate::contents;
use crate::many;
use crate::played::{Played, STORED, announces, answer, assert_is_content, next};
use crate::server::{JID, attribute, query_from};

/// Sends the queries from a thread of its own, as fast as the daemon takes them, and one of an honest asker after every thousandth;
/// how many replies there were with each word: a reason, or `result`.
fn flood(played: &mut Played, queries: &[Vec<u8>]) -> HashMap<String, usize> {
    let mut writer = played.writer.try_clone().unwrap();
    let mut words = HashMap::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for (place, piece) in queries.chunks(1_000).enumerate() {
                let mut bytes = piece.concat();
                let from = format!("honest{place}@example.org/r");
                bytes.extend(query_from(&from, "honest", place % STORED));
                writer.write_all(&bytes).unwrap();
            }
        });
        let mut honest = 0;
        for _ in 0..queries.len() + queries.len().div_ceil(1_000) {
            let reply = next(&mut played.reader);
            if attribute(&reply, "id") == "honest" {
                assert_is_content(&reply, honest % STORED);
                honest += 1;
                continue;
            }
            let word = match reply.split_once("<reason xmlns='urn:capsd:0'>") {
                Some((_, reason)) => reason.split('<').next().unwrap().to_owned(),
                None if reply.starts_with("<iq type='result'") => "result".to_owned(),
                None => "other".to_owned(),
            };
            *words.entry(word).or_default() += 1;
        }
        assert_eq!(honest, queries.len().div_ceil(1_000));
    });
    words
}

fn query_for_node(from: &str, node: &str) -> Vec<u8> {
    format!(
        "<iq type='get' from='{from}' to='{JID}' id='flood'><query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/></iq>"
    )
    .into_bytes()
}

/// One asker gets what its quota lets it have; others do not notice.
#[test]
fn queries_of_one_asker() {
    let mut played = Played::new();
    let one = |n: usize| query_from("flood@example.org/r", "flood", n % STORED);
    let count = many(10_000);
    let queries: Vec<_> = (0..count).map(one).collect();
    let began = std::time::Instant::now();
    let words = flood(&mut played, &queries);
    // 200 at once, and 50 in each second.
    let most = 200 + 50 * (began.elapsed().as_secs() as usize + 1);
    assert!((200..=most).contains(&words["result"]), "{words:?}");
    assert_eq!(words["result"] + words["rate-limited"], count);
    let limited = played
        .daemon
        .metric("capsd_rate_limited_total{scope=\"asker\"}");
    assert_eq!(limited as usize, words["rate-limited"]);
    played.assert_growth("queries of one asker", 24 << 20);
}

/// Many askers, each within its quota, ask for what is known, for what nobody announces and for what is no hash.
#[test]
fn queries_of_many_askers() {
    let mut played = Played::new();
    let count = many(10_000);
    let queries: Vec<_> = (0..count)
        .map(|n| {
            let from = format!("asker{n}@example.org/r");
            match n % 4 {
                0 => query_from(&from, "flood", n % STORED),
                1 | 2 => query_from(&from, "flood", STORED + n),
                _ => query_for_node(&from, &format!("malformed-{n}")),
            }
        })
        .collect();
    let words = flood(&mut played, &queries);
    assert_eq!(words["result"], count / 4, "{words:?}");
    assert_eq!(words["malformed-node"], count / 4, "{words:?}");
    // Look-ups below the hot tier are bounded; whoever comes too fast for them is told to come again.
    let overloaded = words.get("overloaded").copied().unwrap_or(0);
    assert_eq!(words["unknown"] + overloaded, count / 2, "{words:?}");
    assert_eq!(words.len() - usize::from(overloaded > 0), 3, "{words:?}");
    played.assert_growth("queries of many askers", 32 << 20);
}

/// Stanzas of a megabyte are read to their end and remembered by no more than a few kilobytes.
#[test]
fn stanzas_of_a_megabyte() {
    let mut played = Played::new();
    let text = "x".repeat(1 << 20);
    let children = "<x xmlns='urn:x'/>".repeat(1 << 16);
    for round in 0..many(2) {
        for inside in [&text, &children] {
            let id = format!("large-{round}");
            let query = format!(
                "<iq type='get' from='large{round}@example.org/r' to='{JID}' id='{id}'><query xmlns='http://jabber.org/protocol/disco#info' node='none'>{inside}</query></iq>"
            );
            played.send(query.as_bytes());
            let reply = played.next();
            assert_eq!(attribute(&reply, "id"), id);
            assert!(reply.contains(">malformed-node<"), "{reply}");
            played.send(
                format!("<presence from='p@example.org/r' to='{JID}'>{inside}</presence>")
                    .as_bytes(),
            );
            played.send(
                format!("<message from='p@example.org/r' to='{JID}'>{inside}</message>").as_bytes(),
            );
        }
        played.assert_served(round % STORED);
    }
    played.assert_growth("stanzas of a megabyte", 16 << 20);
}

/// A holder that answers ten megabytes has failed; the next one is asked.
#[test]
fn answers_of_ten_megabytes() {
    // An unoptimised build reads ten megabytes for seconds.
    let mut played = Played::with("[resolver]\nholder-timeout = '1m'\ndeadline = '1m'");
    let feature = |n: usize| format!("<feature var='urn:x:{n:010}'/>");
    let features: String = (0..(10 << 20) / feature(0).len()).map(feature).collect();
    let text = format!("<x>{}</x>", "y".repeat(10 << 20));
    for (place, inside) in [features, text].iter().enumerate() {
        let number = STORED + place;
        played.send(&announces(&format!("large{place}@example.org/r"), number));
        let question = played.next();
        played.send(&announces(&format!("small{place}@example.org/r"), number));
        played.send(&query_from("asker@example.org/r", "asked", number));
        played.send(&answer(&question, inside));
        let question = played.next();
        assert_eq!(
            attribute(&question, "to"),
            format!("small{place}@example.org/r")
        );
        let children = String::from_utf8(contents::children(number)).unwrap();
        played.send(&answer(&question, &children));
        assert_is_content(&played.next(), number);
    }
    let too_large = "capsd_upstream_queries_total{result=\"too-large\"}";
    assert_eq!(played.daemon.metric(too_large), 2);
    played.assert_growth("answers of ten megabytes", 16 << 20);
}

/// A server that stops reading is not read from: what waits for it is bounded, and when it reads again everything is answered.
#[test]
fn a_server_that_stops_reading() {
    let mut played = Played::new();
    let count = many(30_000);
    let mut writer = played.writer.try_clone().unwrap();
    let queries =
        (0..count).map(|n| query_from(&format!("asker{n}@example.org/r"), "flood", n % STORED));
    let bytes = queries.collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || {
            for piece in bytes.chunks(100) {
                writer.write_all(&piece.concat()).unwrap();
            }
        });
        std::thread::sleep(Duration::from_secs(3));
        assert!(!sending.is_finished(), "the daemon takes whatever comes");
        // The queue of 8 MiB, and as much again that is being written.
        played.assert_growth("a server that stops reading", 40 << 20);
        let mut reader =
            BufReader::with_capacity(1 << 20, played.reader.get_ref().try_clone().unwrap());
        for n in 0..count {
            assert_is_content(&next(&mut reader), n % STORED);
        }
    });
    played.assert_served(1);
}
