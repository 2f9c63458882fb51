//! The domain of capsd, without any I/O: what a caps hash is, what it covers, and what it proves.
//!
//! | room | what lives there |
//! |---|---|
//! | [`key`] | [`CapsKey`]: family, algorithm and digest; nodes to keys and back |
//! | [`disco_info`] | [`DiscoInfo`], the canonical content that a hash covers, and [`Answer`], what somebody sent |
//! | [`xep0115`] | the verification string of XEP-0115 and its ill-formed rules |
//! | [`xep0390`] | the hash input of XEP-0390 |
//! | [`ambiguity`] | the rule that a 0115 verification string must have exactly one reading |
//! | [`reason`] | the closed set of words for "no" |
//! | [`verify`](mod@verify) | the only maker of [`VerifiedInfo`] |

pub mod ambiguity;
pub mod disco_info;
pub mod key;
pub mod reason;
pub mod verify;
pub mod xep0115;
pub mod xep0390;

pub use disco_info::{Answer, AnswerField, AnswerForm, DiscoInfo, Field, Form, Identity};
pub use key::{Algorithm, CapsKey, Family, NodeError};
pub use reason::Reason;
pub use verify::{Policy, Verdict, VerifiedInfo, verify};
