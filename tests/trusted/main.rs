//! The trusted tier: directories of files that an operator installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bundles;
mod directories;
mod fixture;
mod overrides;
mod whole_corpus;
