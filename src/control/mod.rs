//! The control socket: how the commands speak to a daemon that runs.
//!
//! | room | what lives there |
//! |---|---|
//! | [`protocol`] | [`Request`] and [`Answer`], one line of JSON each |
//! | [`act`] | what an operator may do, and who did it |
//! | [`adhoc`] | the same by ad-hoc commands |
//! | [`desk`] | what a request does to the tiers; the commands use the same where no daemon runs |
//! | [`server`] | the socket, its lock, its connections |
//! | `transfers` | imports and exports, which take many requests, as one act each |
//! | [`client`] | the other end |
//! | [`words`] | answers in words for people |
//!
//! A connection carries any number of requests, each a line of JSON, and each is answered by one line before the next is
//! read. No request leaves more behind on the server than a few counts for the log: a long work is many short requests, made by a client that goes on
//! where it stopped, so what a client may keep the daemon busy with is bounded by the length of a line, and a client that
//! dies has no more effect than one that stops. Files are read and written by the client, with its user's permissions;
//! nothing that a client sends is believed, whoever may write to the socket: contents are verified by the daemon.
//!
//! Bounds: [`protocol::MAX_LINE`] for a request, `control.connections` at once, `control.timeout` for one line to come or to
//! be taken.

pub mod act;
pub mod adhoc;
pub mod client;
pub mod desk;
pub mod protocol;
pub mod server;
mod transfers;
pub mod words;

pub use protocol::{Answer, Request};
