//! The learned tier: what it keeps, what it bounds, and what becomes of it when the disk or its files fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compaction;
#[path = "../fixture/content.rs"]
mod content;
mod corpus;
mod damage;
mod eviction;
mod fixture;
mod full_disk;
mod keeping;
mod kill;
#[path = "../fixture/log.rs"]
mod log;
mod refusal;
