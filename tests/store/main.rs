//! The learned tier: what it keeps, what it bounds, and what becomes of it when the disk or its files fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compaction;
#[path = "../fixture/content.rs"]
mod content;
#[path = "../bench/contents.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod contents;
mod corpus;
#[path = "../bench/daemon.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod daemon;
mod damage;
mod eviction;
mod failing_disk;
mod fixture;
mod format;
mod full_disk;
mod keeping;
mod kill;
#[path = "../fixture/log.rs"]
mod log;
mod process;
mod refusal;
#[path = "../bench/server.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod server;
