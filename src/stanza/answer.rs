//! Reading a disco#info `<query/>` from XML events.

use crate::caps::Answer;

/// The bounds within which an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// The largest `<query/>`, in bytes.
    pub max_bytes: usize,
    /// The most features.
    pub max_features: usize,
}

/// Builds an [`Answer`] from the XML events within a `<query/>`.
#[derive(Debug)]
pub struct AnswerBuilder {
    answer: Answer,
}

impl AnswerBuilder {
    /// A builder for a `<query/>` with those attributes.
    pub fn new(
        _limits: AnswerLimits,
        _inherited_lang: &str,
        _query_attrs: &rxml::AttrMap,
    ) -> AnswerBuilder {
        AnswerBuilder {
            answer: Answer::default(),
        }
    }

    /// An element begins.
    pub fn start(&mut self, _name: &rxml::QName, _attrs: &rxml::AttrMap) {}

    /// Text.
    pub fn text(&mut self, _text: &str) {}

    /// An element ends.
    pub fn end(&mut self) {}

    /// The answer.
    pub fn finish(self) -> Answer {
        self.answer
    }
}

/// Why bytes are not a `<query/>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(String);

/// Reads a document whose root is a `<query/>`.
pub fn parse_query(_bytes: &[u8], _limits: AnswerLimits) -> Result<Answer, QueryError> {
    Err(QueryError(String::new()))
}

/// Reads a document whose root is a `<query/>` that may wrap another one.
pub fn parse_query_unwrapped(_bytes: &[u8], _limits: AnswerLimits) -> Result<Answer, QueryError> {
    Err(QueryError(String::new()))
}
