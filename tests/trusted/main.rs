//! The trusted tier: directories of files that an operator installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bundles;
#[path = "../fixture/content.rs"]
mod content;
mod directories;
mod fixture;
#[path = "../fixture/log.rs"]
mod log;
mod overrides;
mod todays_clients;
mod whole_corpus;
