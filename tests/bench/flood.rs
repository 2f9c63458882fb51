//! Honest look-ups before and during a flood of new hashes.
//!
//! The flood comes over the same link as the honest look-ups, which is the worst case: 5,000 announcements each second, each of a hash
//! that nobody has seen, each with a valid answer ready. An accomplice asks for what was announced as fast as it may. All limits
//! are at their defaults.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use crate::contents;
use crate::daemon::Daemon;
use crate::disk::bytes_below;
use crate::server::{Dice, JID, Server, attribute, presence, query_from};

/// Honest look-ups each second: 90 % over the hot keys, the rest over all stored ones.
const LOOKUPS: f64 = 1_000.0;
const HOT: usize = 1_000;

/// Announcements each second.
const ANNOUNCEMENTS: f64 = 5_000.0;

/// Questions of the accomplice each second, the default of `queries-per-asker`.
const ACCOMPLICE: f64 = 50.0;

/// How long honest look-ups are measured before the flood.
const BEFORE: Duration = Duration::from_secs(8);

/// The most that the 99th percentile may grow by.
const BOUND: f64 = 3.0;

/// Who announces the hash with that number of the flood.
type Announcer = fn(usize) -> String;

/// Floods a daemon in each of the three ways; true if each stayed within the bound.
pub(crate) fn run(store: impl Fn() -> tempfile::TempDir, stored: usize, hashes: usize) -> bool {
    let floods: [(&str, Announcer); 3] = [
        ("one client", |n| format!("flood@example.org/{n}")),
        ("1,000 clients", |n| {
            format!("flood{}@example.org/{n}", n % 1_000)
        }),
        ("a domain, each hash by another account", |n| {
            format!("flood{n}@example.org/r")
        }),
    ];
    println!(
        "{LOOKUPS} honest look-ups/s over {stored} stored hashes; then {ANNOUNCEMENTS} announcements/s of {hashes} new hashes over the same link"
    );
    let mut kept = true;
    for (name, announcer) in floods {
        let directory = store();
        kept &= flood(name, announcer, directory.path(), stored, hashes);
    }
    kept
}

fn flood(name: &str, announcer: Announcer, store: &Path, stored: usize, hashes: usize) -> bool {
    let server = Server::listen();
    let daemon = Daemon::start_limited(store, &server.address(), "");
    let stream = server.accept().into_stream();
    daemon.wait_until_ready();
    let disk = bytes_below(store);
    let resident = daemon.resident();
    let flood = Flood::new(announcer, stored, hashes);
    let (times, flooding) = (Times::default(), AtomicUsize::new(0));
    let done = AtomicBool::new(false);
    let (answers, to_send) = mpsc::channel();
    let (before, during) = std::thread::scope(|scope| {
        let reader = stream.try_clone().unwrap();
        let (times, flood, done) = (&times, &flood, &done);
        let reading = scope.spawn(move || read(reader, times, flood, &answers, done));
        write(stream, times, flood, &to_send, stored, &flooding);
        done.store(true, Ordering::Relaxed);
        let latencies = reading.join().unwrap();
        let border = flooding.load(Ordering::Relaxed);
        let (before, during) = latencies.split_at(border);
        (percentiles(before), percentiles(during))
    });
    std::thread::sleep(Duration::from_secs(2));
    let ratio = during[1] / before[1];
    println!(
        "{name}: honest look-ups before p50 {:.2} ms, p99 {:.2} ms; during p50 {:.2} ms, p99 {:.2} ms: {ratio:.2} times",
        before[0], before[1], during[0], during[1]
    );
    println!(
        "    asked {}, written {}, on probation {}; disk +{:.1} MiB; resident {:.1} MiB before, peak {:.1} MiB",
        daemon.metric("capsd_upstream_queries_sent_total"),
        daemon.metric("capsd_cache_entries{tier=\"learned\"}") - stored as u64,
        daemon.metric("capsd_cache_entries{tier=\"probation\"}"),
        bytes_below(store).saturating_sub(disk) as f64 / 1048576.0,
        resident as f64 / 1048576.0,
        daemon.peak() as f64 / 1048576.0,
    );
    ratio <= BOUND
}

/// What the flood consists of.
struct Flood {
    presences: Vec<Vec<u8>>,
    /// Which content a node's hash stands for.
    numbers: HashMap<String, usize>,
    first: usize,
}

impl Flood {
    fn new(announcer: Announcer, first: usize, hashes: usize) -> Flood {
        let keys = (first..first + hashes).map(|number| (number, contents::key(number)));
        let (presences, numbers) = keys
            .map(|(number, key)| {
                let ver = key.digest_base64();
                let presence = presence(&announcer(number - first), &ver);
                (presence, (ver, number))
            })
            .unzip();
        Flood {
            presences,
            numbers,
            first,
        }
    }

    /// The answer to a question to one of the flood, if it is one.
    fn answer(&self, question: &str) -> Option<Vec<u8>> {
        let (_, ver) = attribute(question, "node").rsplit_once('#')?;
        let children = String::from_utf8(contents::children(*self.numbers.get(ver)?)).unwrap();
        let (to, id) = (attribute(question, "to"), attribute(question, "id"));
        let answer = format!(
            "<iq type='result' from='{to}' to='{JID}' id='{id}'><query xmlns='http://jabber.org/protocol/disco#info'>{children}</query></iq>"
        );
        Some(answer.into_bytes())
    }
}

/// When each honest look-up was sent, in nanoseconds since the beginning.
struct Times {
    began: Instant,
    sent: std::sync::Mutex<Vec<u64>>,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            began: Instant::now(),
            sent: std::sync::Mutex::default(),
        }
    }
}

impl Times {
    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }
}

/// Sends what is due, once a millisecond; how many honest look-ups came before the flood goes to `border`.
fn write(
    mut stream: TcpStream,
    times: &Times,
    flood: &Flood,
    answers: &Receiver<Vec<u8>>,
    stored: usize,
    border: &AtomicUsize,
) {
    let mut dice = Dice(7);
    let began = Instant::now();
    let (mut asked, mut announced, mut accomplice) = (0, 0, 0);
    let mut out = Vec::new();
    while announced < flood.presences.len() {
        let elapsed = began.elapsed();
        let flooding = elapsed.saturating_sub(BEFORE).as_secs_f64();
        if flooding == 0.0 {
            border.store(asked, Ordering::Relaxed);
        }
        let due = ((flooding * ANNOUNCEMENTS) as usize).min(flood.presences.len());
        while announced > 0 && (accomplice as f64) < flooding * ACCOMPLICE {
            let number = flood.first + dice.roll(announced);
            out.extend_from_slice(&query_from(
                "accomplice@example.org/r",
                "accomplice",
                number,
            ));
            accomplice += 1;
        }
        answers.try_iter().for_each(|answer| out.extend(answer));
        // In the order in which they are due, as a server would pass them on.
        loop {
            let next_look_up = asked as f64 / LOOKUPS;
            let next_presence = BEFORE.as_secs_f64() + announced as f64 / ANNOUNCEMENTS;
            if next_look_up <= next_presence.min(elapsed.as_secs_f64()) {
                let among = if dice.roll(10) < 9 { HOT } else { stored };
                let from = format!("user{}@example.org/resource", asked % 1_000);
                let id = format!("h{asked}");
                out.extend_from_slice(&query_from(&from, &id, dice.roll(among)));
                times.sent.lock().unwrap().push(times.now());
                asked += 1;
            } else if announced < due {
                out.extend_from_slice(&flood.presences[announced]);
                announced += 1;
            } else {
                break;
            }
        }
        stream.write_all(&out).unwrap();
        out.clear();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Takes replies and questions; the time that each honest look-up took, in milliseconds. All must be answered with a result.
fn read(
    mut stream: TcpStream,
    times: &Times,
    flood: &Flood,
    answers: &Sender<Vec<u8>>,
    done: &AtomicBool,
) -> Vec<f64> {
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let end = memchr::memmem::Finder::new("</iq>");
    let mut took = Vec::new();
    let mut answered = 0;
    let (mut input, mut kept) = (vec![0; 4 << 20], 0);
    loop {
        if done.load(Ordering::Relaxed) && answered == times.sent.lock().unwrap().len() {
            return took;
        }
        let Ok(read) = stream.read(&mut input[kept..]) else {
            continue;
        };
        assert_ne!(read, 0, "the component closed the stream");
        let now = times.now();
        let (mut begin, filled) = (0, kept + read);
        while let Some(at) = end.find(&input[begin..filled]) {
            let stanza = std::str::from_utf8(&input[begin..begin + at]).unwrap();
            begin += at + 5;
            if let Some(number) = attribute(stanza, "id").strip_prefix('h') {
                assert!(stanza.starts_with("<iq type='result'"), "{stanza}");
                let number: usize = number.parse().unwrap();
                answered += 1;
                took.resize(took.len().max(number + 1), 0.0);
                took[number] = (now - times.sent.lock().unwrap()[number]) as f64 / 1e6;
            } else if stanza.starts_with("<iq type='get'") {
                let answer = flood
                    .answer(stanza)
                    .expect("a question to one of the flood");
                answers.send(answer).unwrap();
            }
        }
        input.copy_within(begin..filled, 0);
        kept = filled - begin;
    }
}

/// The 50th and the 99th percentile.
fn percentiles(took: &[f64]) -> [f64; 2] {
    let mut sorted = took.to_vec();
    sorted.sort_by(f64::total_cmp);
    [50, 99].map(|percent| sorted[sorted.len() * percent / 100])
}
