//! map
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod caps;
pub mod cli;
pub mod metrics;
pub mod stanza;
pub mod store;
pub mod trusted;
