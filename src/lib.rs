//! map
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod caps;
pub mod cli;
pub mod config;
pub mod http;
pub mod metrics;
pub mod trace;
