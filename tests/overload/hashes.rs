//! Floods of new hashes, each with a valid answer.

use std::collections::HashMap;
use std::time::Duration;

use crate::contents;
use crate::disk::bytes_below;
use crate::many;
use crate::played::{Played, STORED, announces, answer, assert_is_content};
use crate::server::{attribute, query_from};

/// What an account may have written at once, by default: 20 in an hour.
const NEW_KEYS: u64 = 20;

/// What an account may have written by using it a second time: 100 in an hour.
const SECOND_USES: u64 = 100;

/// What the accounts of a domain may have written at once: 200 in a second, 800 to begin with.
const DOMAIN_BURST: u64 = 800;

/// What an account is asked beyond that: 600 in an hour.
const QUESTIONS: u64 = 600;

/// Floods a daemon with so many hashes; whom each is from is said by `announcer`. An accomplice asks for some of them, and
/// honest people for what they always ask for.
struct Flood {
    played: Played,
    count: usize,
    numbers: HashMap<String, usize>,
    /// How many look-ups of the accomplice were answered with the content.
    accomplice: u64,
}

impl Flood {
    fn new(count: usize, announcer: impl Fn(usize) -> String) -> Flood {
        let hashes = STORED..STORED + count;
        let mut flood = Flood {
            played: Played::new(),
            count,
            numbers: hashes
                .map(|n| (contents::key(n).digest_base64(), n))
                .collect(),
            accomplice: 0,
        };
        // In pieces, with honest look-ups between them.
        for piece in 0..count / 100 {
            let presences = piece * 100..(piece + 1) * 100;
            let bytes = presences.flat_map(|n| announces(&announcer(n), STORED + n));
            let bytes: Vec<u8> = bytes.collect();
            flood.played.send(&bytes);
            flood.look_up("honest@example.org/r", piece % STORED);
            flood.look_up("accomplice@example.org/r", STORED + piece * 100 + 99);
        }
        flood
    }

    /// Asks, and answers the questions that come before the reply.
    fn look_up(&mut self, from: &str, number: usize) {
        self.played.send(&query_from(from, "look-up", number));
        loop {
            let stanza = self.played.next();
            if attribute(&stanza, "id") == "look-up" {
                if number < STORED {
                    assert_is_content(&stanza, number);
                } else if stanza.starts_with("<iq type='result'") {
                    assert_is_content(&stanza, number);
                    self.accomplice += 1;
                }
                return;
            }
            let node = attribute(&stanza, "node");
            let (_, ver) = node.rsplit_once('#').unwrap();
            let children = contents::children(self.numbers[ver]);
            let children = String::from_utf8(children).unwrap();
            self.played.send(&answer(&stanza, &children));
        }
    }

    /// How many of them are stored in the end.
    fn written(&mut self) -> u64 {
        let announced = "capsd_announcements_total{kind=\"0115\"}";
        self.played.daemon.wait_for(announced, self.count as u64);
        self.look_up("honest@example.org/r", 0);
        std::thread::sleep(Duration::from_millis(1500));
        let stored = self.metric("capsd_cache_entries{tier=\"learned\"}");
        stored - STORED as u64
    }

    fn metric(&self, name: &str) -> u64 {
        self.played.daemon.metric(name)
    }

    /// A holder takes some 300 bytes and its hash as much; then there are the bounds of what is hot (32 MiB), of the store's cache
    /// (16 MiB), of what it has still to write (8 MiB) and of what is on probation (4 MiB).
    fn assert_memory(&self, what: &str) {
        let most = (60 << 20) + 1024 * self.count as u64;
        self.played.assert_growth(what, most);
        let held = self.metric("capsd_cache_bytes{tier=\"probation\"}");
        assert!(held <= 4 << 20, "{held} bytes on probation");
    }
}

/// 2,000 hashes of one account (100,000 in the long run): what it has written is its quota, and what an accomplice adds is that one's.
#[test]
fn one_client_with_many_hashes() {
    let mut flood = Flood::new(many(2_000), |n| format!("flood@example.org/{n}"));
    let disk = bytes_below(&flood.played.store);
    let written = flood.written();
    assert!(written >= NEW_KEYS, "{written}");
    // One more of each may have come back meanwhile, and the accomplice is not counted for what it gets from the store.
    let help = flood.accomplice.min(SECOND_USES);
    assert!(
        written <= NEW_KEYS + help + 5,
        "{written}, {help} of them with help"
    );
    assert!(flood.metric("capsd_rate_limited_total{scope=\"account\"}") > 0);
    let asked = flood.metric("capsd_upstream_queries_sent_total");
    assert!(asked <= NEW_KEYS + QUESTIONS + 5, "{asked}");
    // sled allocates in segments of half a megabyte.
    assert!(disk <= 16 << 20, "{disk} bytes on disk");
    flood.assert_memory("one client with many hashes");
}

/// 1,000 accounts with two hashes each (a hundred in the long run).
#[test]
fn many_clients_with_some_hashes_each() {
    let count = many(2_000);
    let mut flood = Flood::new(count, |n| format!("flood{}@example.org/{n}", n % 1_000));
    let seconds = std::time::Instant::now();
    let written = flood.written();
    // The domain's quota goes on while the flood comes in.
    let most = 1_000 * NEW_KEYS + SECOND_USES;
    assert!(written <= most.min(count as u64), "{written}");
    assert!(
        written >= DOMAIN_BURST,
        "{written} in {:?}",
        seconds.elapsed()
    );
    flood.assert_memory("many clients with some hashes each");
}

/// 2,000 accounts with one hash each (100,000 in the long run): the quota of their domain holds.
#[test]
fn a_domain_with_many_hashes() {
    let began = std::time::Instant::now();
    let mut flood = Flood::new(many(2_000), |n| format!("flood{n}@example.org/r"));
    let written = flood.written();
    let most = DOMAIN_BURST + 200 * (began.elapsed().as_secs() + 1) + SECOND_USES;
    assert!(written >= DOMAIN_BURST.min(most), "{written}");
    assert!(written <= most, "{written}, more than {most}");
    flood.assert_memory("a domain with many hashes");
}
