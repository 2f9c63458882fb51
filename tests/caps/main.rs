//! The verification core and its commands, against the XEPs, a second implementation and real answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod collisions;
mod commands;
mod contents;
mod corpus;
mod hashlib;
mod pairs;
mod properties;
mod readings;
mod rules;
mod vectors;
