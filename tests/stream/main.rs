//! The stream: a server that is played by the test, over pipes with paused time and over TCP.
//!
//! | room | what lives there |
//! |---|---|
//! | [`server`] | the server's end of a stream |
//! | [`world`] | a service with its tiers and a link over TCP |
//! | [`session`] | one stream: how it begins, lives and ends |
//! | [`pressure`] | a server that does not read |
//! | [`reconnect`] | the pauses between streams |
//! | [`robustness`] | input that no sane server sends |
//! | [`garbage`] | input that nobody sends |
//! | [`access`] | who may ask, and what is answered |
//! | [`questions`] | what holders are asked, and whose answers count |
//! | [`reflection`] | that nobody is sent what they did not ask for |
//! | [`protocol`] | requests of `urn:capsd:0` |
//! | [`presences`] | subscriptions, capsd's own caps, the end |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
#[allow(dead_code)]
#[path = "../scenarios/contents.rs"]
mod contents;
mod garbage;
mod presences;
mod pressure;
mod protocol;
mod questions;
mod reconnect;
mod reflection;
mod robustness;
mod server;
mod session;
#[allow(dead_code)]
#[path = "../scenarios/setup.rs"]
mod setup;
mod trust;
mod world;
