//! Throughput, memory and start of the daemon, beside an echo on the same transport.
//!
//! `cargo bench --bench throughput` runs everything; `-- throughput`, `-- memory`, `-- start` or `-- flood` one part, `-- throughput --pairs 9` more
//! pairs. A scripted server in this process talks XEP-0114 to one component at a time, each in a process of its own:
//!
//! - `limit`: counts requests and writes canned replies without reading XML; what the generator itself can do;
//! - `echo`: capsd's own transport with a canned answer; what the transport can do;
//! - `capsd`: the real daemon over a store of 100,000 contents.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod component;
mod contents;
mod daemon;
#[path = "../fixture/disk.rs"]
mod disk;
mod flood;
mod server;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daemon::Daemon;
use server::{Load, Server};

/// How many queries are in flight at once.
const WINDOW: usize = 256;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--component", kind, address] => component::run(kind, address),
        ["throughput", "--pairs", pairs] => throughput(pairs.parse().expect("a number of pairs")),
        ["throughput"] => throughput(5),
        ["memory"] => memory(),
        ["start"] => start(),
        ["flood"] => flood(),
        [] => {
            throughput(5);
            memory();
            start();
            flood();
        }
        _ => panic!("usage: [throughput [--pairs N] | memory | start | flood]"),
    }
}

/// A store of so many contents, made once and kept with the other build products.
fn stored(count: usize) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("store-{count}"));
    if !path.join("complete").exists() {
        println!("making a store of {count} contents in {}", path.display());
        let _ = std::fs::remove_dir_all(&path);
        contents::fill(&path, count);
        std::fs::write(path.join("complete"), "").unwrap();
    }
    path
}

/// A copy of a store that may be written to.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let status = std::process::Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(from.join("."))
        .arg(to.path())
        .status()
        .unwrap();
    assert!(status.success());
    to
}

const QUERIES: usize = 200_000;
const HOT: usize = 1_000;
const STORED: usize = 100_000;

fn throughput(pairs: usize) {
    let store = copy(&stored(STORED));
    let load = Load::mixed(QUERIES, HOT, STORED);
    println!(
        "{QUERIES} queries, window {WINDOW}: 90 % over {HOT} hot keys, the rest over {STORED} stored ones; a reply has about {} bytes",
        contents::children(0).len()
    );
    let limit = run_component("limit", &load);
    println!("limit of the generator: {:.0}/s", limit.per_second);
    let (mut echoes, mut daemons, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 1..=pairs {
        let echo = run_component("echo", &load);
        let capsd = run_daemon(store.path(), &load);
        let ratio = capsd.per_second / echo.per_second;
        println!(
            "pair {pair}: echo {:.0}/s ({:.2} us CPU each), capsd {:.0}/s ({:.2} us CPU each), ratio {ratio:.3}",
            echo.per_second, echo.cpu_micros, capsd.per_second, capsd.cpu_micros
        );
        echoes.push(echo.per_second);
        daemons.push(capsd.per_second);
        ratios.push(ratio);
    }
    println!(
        "medians: echo {:.0}/s, capsd {:.0}/s, ratio {:.3} (least {:.3}, most {:.3})",
        median(&mut echoes),
        median(&mut daemons),
        median(&mut ratios),
        ratios[0],
        ratios[ratios.len() - 1]
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Measured {
    per_second: f64,
    cpu_micros: f64,
}

fn run_component(kind: &str, load: &Load) -> Measured {
    let server = Server::listen();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--component", kind, &server.address()])
        .spawn()
        .unwrap();
    let mut link = server.accept();
    link.query(&load.warming(HOT), WINDOW);
    let before = daemon::processor::time(child.id());
    let took = link.query(load, WINDOW);
    let cpu = daemon::processor::time(child.id()) - before;
    child.kill().unwrap();
    child.wait().unwrap();
    measured(load, took, cpu)
}

fn run_daemon(store: &Path, load: &Load) -> Measured {
    let server = Server::listen();
    let daemon = Daemon::start(store, &server.address(), "16MiB");
    let mut link = server.accept();
    link.query(&load.warming(HOT), WINDOW);
    let before = daemon.cpu_time();
    let took = link.query(load, WINDOW);
    let cpu = daemon.cpu_time() - before;
    assert_eq!(daemon.metric("capsd_upstream_queries_sent_total"), 0);
    measured(load, took, cpu)
}

fn measured(load: &Load, took: Duration, cpu: Duration) -> Measured {
    Measured {
        per_second: load.len() as f64 / took.as_secs_f64(),
        cpu_micros: cpu.as_secs_f64() * 1e6 / load.len() as f64,
    }
}

fn memory() {
    const ENTRIES: usize = 10_000;
    const HOLDERS: usize = 100_000;
    let store = copy(&stored(ENTRIES));
    let server = Server::listen();
    let daemon = Daemon::start(store.path(), &server.address(), "8MiB");
    let mut link = server.accept();
    let empty = daemon.resident();
    link.announce(HOLDERS, ENTRIES);
    daemon.wait_for("capsd_holders", HOLDERS as u64);
    let announced = daemon.resident();
    let everything = Load::each(ENTRIES);
    link.query(&everything, WINDOW);
    link.query(&everything, WINDOW);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(daemon.metric("capsd_holders"), HOLDERS as u64);
    assert_eq!(daemon.metric("capsd_upstream_queries_sent_total"), 0);
    println!(
        "memory: {:.1} MiB resident with {ENTRIES} entries stored, {} hot and {HOLDERS} holders (sled cache 8 MiB); {} MiB at first, {} MiB once announced; peak {} MiB",
        daemon.resident() as f64 / 1048576.0,
        daemon.metric("capsd_cache_entries{tier=\"hot\"}"),
        empty >> 20,
        announced >> 20,
        daemon.peak() >> 20
    );
}

fn flood() {
    let kept = flood::run(|| copy(&stored(STORED)), STORED, 100_000);
    assert!(kept, "the 99th percentile grew to more than 3 times");
}

fn start() {
    const ENTRIES: usize = 200_000;
    let store = copy(&stored(ENTRIES));
    for (name, killed) in [("after an orderly end", false), ("after kill -9", true)] {
        if killed {
            let server = Server::listen();
            let daemon = Daemon::start(store.path(), &server.address(), "16MiB");
            let mut link = server.accept();
            // New contents are learned while the process is killed.
            link.teach(2_000, ENTRIES);
            daemon.kill();
        }
        let server = Server::listen();
        let began = Instant::now();
        let daemon = Daemon::start(store.path(), &server.address(), "16MiB");
        let mut link = server.accept();
        daemon.wait_until_ready();
        let ready = began.elapsed();
        link.query(&Load::each(100), WINDOW);
        assert_eq!(daemon.metric("capsd_upstream_queries_sent_total"), 0);
        println!(
            "start {name}: ready in {} ms with {ENTRIES} stored entries; the first 100 queries are hits",
            ready.as_millis()
        );
    }
}
