//! HTTP over real sockets, in raw bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod connections;
#[allow(dead_code)]
#[path = "../scenarios/contents.rs"]
mod contents;
mod description;
mod hosts;
mod orders;
mod page;
#[path = "../fixture/served.rs"]
mod served;
mod server;
#[allow(dead_code)]
#[path = "../scenarios/setup.rs"]
mod setup;
mod tiers;
