//! The learned tier: what it keeps, what it bounds, and what becomes of it when the disk or its files fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compaction;
mod corpus;
mod damage;
mod eviction;
mod fixture;
mod full_disk;
mod keeping;
mod kill;
mod refusal;
