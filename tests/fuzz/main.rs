//! Whatever is read, in any bytes: nothing panics, nothing hangs, and what is accepted keeps its promises.
//!
//! One test for each thing that is parsed. As a test (on stable Rust, in every run) each of its seeds is read, then mutations of them, then
//! random bytes; `CAPSD_LONG=1` tries 25 times as many. `tests/fuzz/run.sh` runs the same targets under libFuzzer, guided
//! by coverage, on stable Rust too, for as long as it is told.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod seeds;
#[path = "../fixture/served.rs"]
mod served;
#[allow(dead_code)]
#[path = "../scenarios/setup.rs"]
mod setup;
mod targets;

use seeds::Kind;

/// Reads seeds, and mutations of them; under a fuzzing engine that is its business.
fn mutate(kind: Kind, target: impl Fn(&[u8])) {
    if std::env::var_os("BOLERO_FUZZER").is_some() {
        return;
    }
    let seeds = seeds::of(kind);
    assert!(!seeds.is_empty());
    let many = if std::env::var_os("CAPSD_LONG").is_some() {
        50_000
    } else {
        2000
    };
    let mut mutation = seeds::Mutation::new(&seeds);
    seeds.iter().for_each(|seed| target(seed));
    for _ in 0..many {
        target(&mutation.next());
    }
    println!("{kind:?}: {} seeds, {many} mutations", seeds.len());
}

/// A test of one target.
macro_rules! fuzz {
    ($name:ident, $kind:expr, $target:expr) => {
        #[test]
        fn $name() {
            mutate($kind, $target);
            bolero::check!()
                .with_iterations(1000)
                .for_each(|input: &[u8]| $target(input));
        }
    };
}

fuzz!(disco_info, Kind::DiscoInfo, targets::disco_info);
fuzz!(stream, Kind::Stream, targets::stream);
fuzz!(requests, Kind::Request, targets::requests);
fuzz!(nodes, Kind::Node, targets::nodes);
fuzz!(bundle, Kind::Bundle, targets::bundle);
fuzz!(stored_value, Kind::StoredValue, targets::stored_value);
fuzz!(configuration, Kind::Configuration, targets::configuration);
fuzz!(overrides, Kind::Overrides, targets::overrides);
fuzz!(http, Kind::Http, targets::http);

/// Writes the seeds of every target to a directory each below `CAPSD_FUZZ_SEEDS`, for libFuzzer to begin with.
#[test]
fn every_target_has_seeds() {
    for (name, kind) in Kind::ALL {
        let seeds = seeds::of(kind);
        assert!(!seeds.is_empty(), "{name}");
        let Some(root) = std::env::var_os("CAPSD_FUZZ_SEEDS") else {
            continue;
        };
        let directory = std::path::Path::new(&root).join(name);
        std::fs::create_dir_all(&directory).unwrap();
        for (nth, seed) in seeds.iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{nth}")), seed).unwrap();
        }
    }
}
