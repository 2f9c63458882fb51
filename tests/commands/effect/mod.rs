//! What is looked at before and after a key was changed, by the section of the key; `alone` is for answers that are good for one address.

pub(crate) mod alone;
pub(crate) mod limits;
pub(crate) mod link;
pub(crate) mod resolver;
pub(crate) mod store;
pub(crate) mod trusted;

/// Somebody who asks.
const ASKER: &str = "asker@example.org/r";

/// Somebody who announces something.
const HOLDER: &str = "holder@example.org/r";

/// Another one.
const SECOND: &str = "second@example.org/r";

/// And another one.
const THIRD: &str = "third@example.org/r";
