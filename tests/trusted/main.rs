//! The trusted tier: directories of files that an operator installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod directories;
mod fixture;
mod whole_corpus;
