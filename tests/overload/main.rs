//! The real daemon under floods: what it remembers is bounded, and whoever is honest is served.
//!
//! The daemon runs in a process of its own, so that the most memory it ever had can be read from the kernel; the server is played by the
//! test. All limits are at their defaults. `CAPSD_LONG=1` makes the floods fifty times as large.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../bench/contents.rs"]
mod contents;
#[allow(dead_code)]
#[path = "../bench/daemon.rs"]
mod daemon;
#[allow(dead_code)]
#[path = "../fixture/disk.rs"]
mod disk;
mod hashes;
mod played;
mod queries;
#[allow(dead_code)]
#[path = "../bench/server.rs"]
mod server;

/// How many of something a flood has.
fn many(short: usize) -> usize {
    match std::env::var_os("CAPSD_LONG") {
        Some(_) => 50 * short,
        None => short,
    }
}
