//! The learned tier with many entries: how fast it fills, opens (closed, and after SIGKILL), and reads, and what memory and
//! disk it takes.
//!
//! `cargo bench --bench store -- [ENTRIES]`; 200,000 entries unless told otherwise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use capsd::caps::{CapsKey, Policy};
use capsd::metrics::Metrics;
use capsd::store::{Learned, Store, StoreSettings, standard_keys};

#[path = "../fixture/content.rs"]
mod content;

const ENTRIES: u32 = 200_000;

/// How many reads are measured.
const READS: u32 = 50_000;

fn main() {
    // `cargo bench` adds `--bench` to the arguments.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", path, entries] => fill(Path::new(path), entries.parse().unwrap(), Ending::Close),
        ["fill-and-die", path, entries] => {
            fill(Path::new(path), entries.parse().unwrap(), Ending::Kill)
        }
        ["open", path, entries] => open_and_read(Path::new(path), entries.parse().unwrap()),
        [entries] => measure(entries.parse().unwrap()),
        [] => measure(ENTRIES),
        other => panic!("{other:?}"),
    }
}

/// Each step in a process of its own, so that memory and time at open are those of a new process.
fn measure(entries: u32) {
    let directory = tempfile::tempdir().unwrap();
    for (ending, name) in [("fill", "closed"), ("fill-and-die", "killed")] {
        let path = directory.path().join(name);
        println!("-- {name}");
        run(&[ending, path.to_str().unwrap(), &entries.to_string()]);
        run(&["open", path.to_str().unwrap(), &entries.to_string()]);
    }
}

fn run(arguments: &[&str]) {
    let program = std::env::current_exe().unwrap();
    let status = Command::new(program).args(arguments).status().unwrap();
    // Whoever kills itself ends with a signal, not with a code.
    assert!(
        status.success() || status.code().is_none(),
        "{arguments:?}: {status}"
    );
}

enum Ending {
    Close,
    Kill,
}

fn fill(path: &Path, entries: u32, ending: Ending) {
    let begin = Instant::now();
    let mut longest = Duration::ZERO;
    let mut store = open(path);
    for number in 0..entries {
        store.put(learned(number));
        if number % 64 == 0 {
            let now = Instant::now();
            store.tick(now);
            longest = longest.max(now.elapsed());
        }
    }
    store.flush();
    let took = begin.elapsed();
    println!(
        "filled: {entries} entries of {} bytes with four keys in {:.1} s ({:.0}/s; {} ms of processor time), \
         longest tick {} ms, {} MB on disk, {} MB resident",
        store.bytes() / u64::from(entries),
        took.as_secs_f64(),
        f64::from(entries) / took.as_secs_f64(),
        processor_time(),
        longest.as_millis(),
        megabytes_in(path),
        resident()
    );
    match ending {
        Ending::Close => store.close(),
        Ending::Kill => {
            for number in entries..entries + 500 {
                store.put(learned(number));
            }
            let me = std::process::id().to_string();
            Command::new("kill").args(["-9", &me]).status().unwrap();
        }
    }
}

fn open_and_read(path: &Path, entries: u32) {
    let before = resident();
    let begin = Instant::now();
    let mut store = open(path);
    let opened = begin.elapsed();
    assert!(store.get(&key(0)).is_some());
    let first = begin.elapsed();
    println!(
        "opened in {:.0} ms, first answer after {:.0} ms ({} ms of processor time), {} MB resident ({before} before)",
        opened.as_secs_f64() * 1e3,
        first.as_secs_f64() * 1e3,
        processor_time(),
        resident()
    );

    let mut asleep = Duration::ZERO;
    let begin = Instant::now();
    let mut ticks = 0;
    loop {
        let now = Instant::now();
        let next = store.tick(now);
        ticks += 1;
        if next > now + Duration::from_millis(100) {
            break;
        }
        std::thread::sleep(next - now);
        asleep += next - now;
    }
    let took = begin.elapsed();
    println!(
        "counted {} entries in {ticks} steps over {:.0} ms, {:.0} ms of them work",
        store.entries(),
        took.as_secs_f64() * 1e3,
        took.saturating_sub(asleep).as_secs_f64() * 1e3
    );

    let begin = Instant::now();
    for read in 0..READS {
        let number = (u64::from(read) * 2_654_435_761 % u64::from(entries)) as u32;
        assert!(store.get(&key(number)).is_some(), "{number} is lost");
    }
    let took = begin.elapsed();
    println!(
        "read: {:.0}/s, verified each ({:.1} us), {} MB resident",
        f64::from(READS) / took.as_secs_f64(),
        took.as_secs_f64() * 1e6 / f64::from(READS),
        resident()
    );
    store.close();
}

fn open(path: &Path) -> Store {
    let settings = StoreSettings {
        cache_bytes: 8 << 20,
        ..StoreSettings::new(path.to_owned())
    };
    let metrics = Arc::new(Metrics::new().unwrap());
    Store::open(settings, metrics, Instant::now(), SystemTime::now()).unwrap()
}

/// As long as those of real clients: most are names that many have, some are unlike any other.
fn features(number: u32) -> Vec<String> {
    const COMMON: [&str; 12] = [
        "http://jabber.org/protocol/caps",
        "http://jabber.org/protocol/chatstates",
        "http://jabber.org/protocol/disco#info",
        "http://jabber.org/protocol/disco#items",
        "http://jabber.org/protocol/muc",
        "http://jabber.org/protocol/nick+notify",
        "jabber:iq:version",
        "jabber:x:conference",
        "urn:xmpp:bookmarks:1+notify",
        "urn:xmpp:jingle:apps:file-transfer:5",
        "urn:xmpp:message-correct:0",
        "urn:xmpp:receipts",
    ];
    let own = (0..16).map(|part| {
        let own = content::like_random(number, part, 24);
        format!("urn:example:extension:{own}:{part}")
    });
    let mut features: Vec<_> = COMMON.into_iter().map(str::to_owned).chain(own).collect();
    features.sort();
    features
}

fn key(number: u32) -> CapsKey {
    let features = features(number).join("<");
    content::key_of(&format!("client/pc//bench<{features}<"))
}

fn learned(number: u32) -> Learned {
    let (_, info) = content::client("bench", features(number));
    Learned {
        keys: standard_keys(&info, &Policy::default()),
        info,
        nodes: vec!["http://bench.example".to_owned()],
    }
}

/// What this process has used of the processors, in milliseconds, to ten of them.
fn processor_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    // User and system time, in hundredths of a second.
    [fields[11], fields[12]]
        .map(|ticks| ticks.parse::<u64>().unwrap())
        .iter()
        .sum::<u64>()
        * 10
}

/// The resident memory of this process, in megabytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes / 1024
}

fn megabytes_in(path: &Path) -> u64 {
    let mut bytes = 0;
    let mut directories: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                directories.push(entry.path());
            } else {
                bytes += metadata.len();
            }
        }
    }
    bytes >> 20
}
