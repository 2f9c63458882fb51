//! The commands that work on the learned tier, used as a person uses them: the program is run, and its output and exit code are looked at.
//!
//! | room | what lives there |
//! |---|---|
//! | [`machine`] | a directory with a configuration, a store and, if asked for, a daemon |
//! | [`contents`] | contents as files, hashed without the code under test |
//! | [`import`], [`export`] | the two commands, and the way there and back |
//! | [`interrupted`] | both of them stopped, and killed, at any moment |
//! | [`acts`] | what an operator may do while the daemon runs |
//! | [`agreement`] | that whoever looks sees what is served, wherever he looks, and uses nothing by it |
//! | [`control`] | the socket, and those who misuse it |
//! | [`readme`] | the table of commands in README |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod acts;
mod agreement;
mod answers;
mod contents;
mod control;
mod doctor;
mod export;
mod import;
mod interrupted;
mod machine;
mod readme;
#[allow(dead_code)]
#[path = "../stream/server.rs"]
mod server;
mod users;
