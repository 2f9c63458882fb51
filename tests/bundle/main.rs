//! Bundles: many contents in one signed file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../fixture/content.rs"]
mod content;
mod damage;
mod fixture;
mod keeping;
mod signatures;
