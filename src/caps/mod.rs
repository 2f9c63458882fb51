//! The domain of capsd, without any I/O: what a caps hash is, what it covers, and what it proves.
//!
//! | room | what lives there |
//! |---|---|
//! | [`key`] | [`CapsKey`]: family, algorithm and digest; nodes to keys and back |
//! | [`disco_info`] | [`DiscoInfo`], the canonical content that a hash covers, and [`Answer`], what somebody sent |
//! | [`ill_formed`](mod@ill_formed) | the rules of both families that an answer can break |
//! | [`xep0115`] | the verification string of XEP-0115 and its ill-formed rules |
//! | [`xep0390`] | the hash input of XEP-0390 |
//! | [`ambiguity`] | the rule that a 0115 verification string must have exactly one reading |
//! | [`reason`] | the closed set of words for "no" |
//! | [`hashes`](mod@hashes) | every key of one answer |
//! | [`digest`] | the hash functions of both families |
//! | [`verify`](mod@verify) | the only maker of [`VerifiedInfo`] |
//! | [`codec`] | the compact binary form of a [`DiscoInfo`], for stores |
//! | [`children`] | its XML, for replies |

pub mod ambiguity;
pub mod children;
pub mod codec;
pub mod digest;
pub mod disco_info;
pub mod hashes;
pub mod ill_formed;
pub mod key;
pub mod reason;
pub mod verify;
pub mod xep0115;
pub mod xep0390;

pub use codec::DecodeError;
pub use disco_info::{Answer, AnswerField, AnswerForm, DiscoInfo, Field, Form, Identity};
pub use hashes::{Hashed, hashes};
pub use ill_formed::IllFormed;
pub use key::{Algorithm, CapsKey, Family, NodeError};
pub use reason::Reason;
pub use verify::{Policy, Verdict, VerifiedInfo, verify, verify_canonical};
