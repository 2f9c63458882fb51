//! The closed set of words that say why a key was not served.

/// Why there is no answer, or why an answer was not accepted.
///
/// The same word stands in IQ errors, HTTP problems, the command line, logs and metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Not stored, and nobody who may be asked announces it.
    Unknown,
    /// Every askable holder answered with an error, or was gone.
    Unreachable,
    /// The content does not have the hash.
    Mismatch,
    /// The content breaks a rule of the family (XEP-0115 section 5.4, XEP-0390 section 4.1).
    IllFormed,
    /// The 0115 verification string has more than one reading.
    Ambiguous,
    /// The deadline passed.
    Timeout,
    /// Announced without a `hash` attribute (XEP-0115 section 13); nothing can be verified.
    Legacy,
    /// The hash function is not supported, or switched off.
    UnsupportedAlgorithm,
    /// The asker's or the source's quota is spent.
    RateLimited,
    /// A bound of the whole service was hit.
    Overloaded,
    /// An operator's rule denies the key.
    Denied,
    /// The node asked for is not that of a caps key.
    MalformedNode,
    /// The node or the content is over a size limit.
    TooLarge,
    /// The asker is not permitted.
    Forbidden,
}

impl Reason {
    /// Every reason, in the order of the design.
    pub const ALL: [Reason; 14] = [
        Reason::Unknown,
        Reason::Unreachable,
        Reason::Mismatch,
        Reason::IllFormed,
        Reason::Ambiguous,
        Reason::Timeout,
        Reason::Legacy,
        Reason::UnsupportedAlgorithm,
        Reason::RateLimited,
        Reason::Overloaded,
        Reason::Denied,
        Reason::MalformedNode,
        Reason::TooLarge,
        Reason::Forbidden,
    ];

    /// The reason that a word stands for.
    pub fn from_word(word: &str) -> Option<Reason> {
        Reason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == word)
    }

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Unknown => "unknown",
            Reason::Unreachable => "unreachable",
            Reason::Mismatch => "mismatch",
            Reason::IllFormed => "ill-formed",
            Reason::Ambiguous => "ambiguous",
            Reason::Timeout => "timeout",
            Reason::Legacy => "legacy",
            Reason::UnsupportedAlgorithm => "unsupported-algorithm",
            Reason::RateLimited => "rate-limited",
            Reason::Overloaded => "overloaded",
            Reason::Denied => "denied",
            Reason::MalformedNode => "malformed-node",
            Reason::TooLarge => "too-large",
            Reason::Forbidden => "forbidden",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
