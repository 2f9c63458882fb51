//! map
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cache;
pub mod caps;
pub mod cli;
pub mod component;
pub mod config;
pub mod daemon;
pub mod holders;
pub mod http;
pub mod metrics;
pub mod resolver;
pub mod service;
pub mod stanza;
pub mod store;
pub mod trace;
pub mod trusted;
