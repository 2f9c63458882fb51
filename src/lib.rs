//! capsd: a shared, verifying cache for XMPP entity capabilities.
//!
//! Clients announce a hash of what they can do (XEP-0115, XEP-0390). capsd is an external component (XEP-0114) that learns who
//! announces which hash, asks one holder of an unknown hash what it means, proves that the answer has the hash and only one
//! meaning, keeps it, and serves it to everybody who is permitted to ask.
//!
//! # The way of a stanza
//!
//! ```text
//!                    a server's component stream
//!                              |
//!                   component (session, outbox)         bytes <-> stanzas; connect, keep alive, come back
//!                              |  stanza                stanzas without trees
//!                           service                     who may ask; what a presence announces; capsd's own caps
//!                              |
//!     hit: cache -- Entry --> reply                     one look-up, one copy of prepared bytes
//!                              |
//!     miss:                 resolver                    the table of flights, a state machine
//!                           /      \
//!        tiers: trusted, store      holders             a thread that may wait for the disk; whom to ask
//!                           \      /
//!                 caps::verify: the only maker of a VerifiedInfo
//! ```
//!
//! # The rooms
//!
//! Imports go downward only: a room uses those below it.
//!
//! | room | what lives there |
//! |---|---|
//! | [`cli`] | the commands |
//! | [`daemon`] | the process: start, signals, end; what systemd is told |
//! | [`http`] | the page at `/`, `/api/v1`, `/metrics`, `/healthz`, `/readyz` |
//! | [`control`], [`trace`] | the control socket, and the desk that answers it; the log |
//! | [`population`] | which software is online, with which features |
//! | [`service`] | an inbound stanza to what is done about it |
//! | [`component`] | the links to servers (XEP-0114, XEP-0356) |
//! | [`resolver`] | from a key to its verified info: flights, limits, the tiers' thread |
//! | [`holders`] | who announces what |
//! | [`cache`], [`trusted`], [`store`] | the hot tier (moka), the trusted tier (files), the learned tier (sled) |
//! | [`layout`] | the names of files that hold contents |
//! | [`bundle`] | many contents in one signed file |
//! | [`stanza`] | XML in, XML out, as plain data |
//! | [`history`] | what the counters said before |
//! | [`metrics`], [`config`] | every count; every setting with default, minimum and maximum |
//! | [`caps`] | the domain, without I/O: keys, disco info, verification strings, ambiguity, `verify` |
//!
//! # What holds everywhere
//!
//! - **Time is an argument.** Only [`component`] and [`daemon`] read a clock, that of the runtime's timers; whatever has a deadline is
//!   told what time it is.
//! - **Nobody waits for a disk** but the tiers' thread, and no lock is held across an await.
//! - **Everything is bounded**, each bound is a setting, and a metric shows that it was hit.
//! - **No JID is stored, counted or, below the level `trace`, logged.**
//! - **No input ends the process.** Stanzas are read by a state machine that keeps a bounded part of them; what makes no sense is
//!   counted and dropped; a stream that cannot be read is opened again.
//!
//! # In other programs
//!
//! [`caps`] needs nothing else of capsd, no runtime and no I/O: it hashes, verifies and says what is ambiguous. [`cache`], [`store`], [`holders`]
//! and [`resolver`] need threads and a directory; a program gives the resolver an [`Upstream`](resolver::Upstream), its own way to
//! put questions, and tells it what it hears: announcements, departures, replies, the time. Two examples are run by the tests:
//! `tests/examples/own_caps.rs`, what a client announces and when it must announce anew, and `tests/examples/one_question.rs`, a
//! bot that asks as few of its contacts as it can. These modules, and [`metrics`], [`trusted`] and [`stanza`], from which they take what they are
//! given, keep to semantic versioning; the other rooms are the daemon's own and may change with any release.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod bundle;
pub mod cache;
pub mod caps;
pub mod cli;
pub mod component;
pub mod config;
pub mod control;
pub mod daemon;
pub mod history;
pub mod holders;
pub mod http;
pub mod layout;
pub mod metrics;
pub mod population;
pub mod resolver;
pub mod service;
pub mod stanza;
pub mod store;
pub mod trace;
pub mod trusted;
