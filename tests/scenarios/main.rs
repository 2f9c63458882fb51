//! The rules of the resolver, each shown by what happens and when.
//!
//! | room | what lives there |
//! |---|---|
//! | `scripts/` | one behaviour each, as text; [`script`] runs them over a resolver with a real store |
//! | [`stage`] | that resolver, with everybody around it played by the test |
//! | [`setup`] | what that resolver is made of |
//! | [`contents`] | contents and their keys, hashed without the code under test |
//! | [`steps`] | the table of flights, step by step |
//! | [`looking`] | who wants to know what is stored, and makes nobody be asked |
//! | [`alone`] | what is good for one address alone |
//! | [`table`] | rules of the table of flights that text does not fit: limits, metrics, races |
//! | [`common`] | what three accounts announced reaches the store |
//! | [`snapshot`] | what people are shown of the flights |
//! | [`holders`] | the table of holders against a naive model |
//! | [`upstream`] | a way to the holders that fails |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alone;
mod contents;
mod holders;
mod looking;
mod script;
mod setup;
mod snapshot;
mod stage;
mod steps;
mod table;
mod third_account;
mod upstream;

/// Runs every scenario; what is wrong with any of them is said for all of them.
#[test]
fn scenarios() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "scenario"))
        .collect();
    paths.sort();
    assert!(paths.len() > 20, "where are the scenarios?");
    let failed: Vec<String> = paths
        .iter()
        .filter_map(|path| script::run(path).err())
        .collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}
