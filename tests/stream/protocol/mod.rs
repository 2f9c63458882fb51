//! Requests of `urn:capsd:0` (deploy/protocol.md).
//!
//! | room | what lives there |
//! |---|---|
//! | [`requests`] | how requests are written here |
//! | [`lookup`] | many keys in one request |
//! | [`contribute`] | contents that are handed over |
//! | [`feed`] | reports of servers, and who else answers |
//! | [`epoch`] | whether answers that were kept still count |
//! | [`alone`] | what is good for one address alone |
//! | [`faults`] | requests that cannot be taken |
//! | [`bounds`] | floods |
//! | [`examples`] | every example of the document |

mod alone;
mod bounds;
mod contribute;
mod epoch;
mod faults;
mod feed;
mod lookup;
mod requests;
