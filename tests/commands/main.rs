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
//! | [`linked`] | a daemon with a link to a server that is played |
//! | [`effects`], [`effect`] | that each key which a reload applies has its effect |
//! | [`logged`] | that whatever is done is logged, with who did it |
//! | [`listening`] | an HTTP address that cannot be had |
//! | [`control`] | the socket, and those who misuse it |
//! | [`readme`] | the table of commands in README |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod acts;
mod agreement;
mod answers;
mod contents;
mod control;
mod doctor;
mod effect;
mod effects;
mod export;
mod import;
mod interrupted;
mod linked;
mod listening;
mod logged;
mod machine;
mod readme;
#[allow(dead_code)]
#[path = "../stream/server.rs"]
mod server;
mod users;
