//! A document whose root is a disco#info `<query/>`: files of the trusted tier, of imports and of the command line.

use rxml::error::EndOrError;
use rxml::parser::CommentMode;
use rxml::{AttrMap, Event, Options, Parse as _, Parser, QName, WithOptions as _};

use super::{AnswerBuilder, AnswerLimits, DISCO_INFO};
use crate::caps::Answer;

/// The deepest nesting of a document, in elements. A query with a form has five levels.
pub const MAX_DEPTH: usize = 64;

/// Why bytes are not a disco#info `<query/>`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// Not well-formed XML, or XML with a document type or a processing instruction, which XMPP forbids.
    #[error(
        "not well-formed XML as XMPP allows it (no document type, UTF-8), near byte {offset}: {cause}"
    )]
    Xml {
        /// How far the parser came, in bytes.
        offset: usize,
        /// What it said.
        cause: rxml::Error,
    },
    /// Something other than comments follows the root.
    #[error("something follows the end of the root element, near byte {offset}")]
    AfterRoot {
        /// Where the root ends, in bytes.
        offset: usize,
    },
    /// The document ends before its root does; an empty file, too.
    #[error("the document ends before its root element does")]
    Incomplete,
    /// The root is something else.
    #[error(
        "the root element is <{name} xmlns='{namespace}'>, expected <query xmlns='{DISCO_INFO}'>"
    )]
    NotAQuery {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("elements are nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
}

/// Reads a document whose root is the `<query/>`. Comments are passed over.
///
/// An answer over the limits is no error: it is marked [`too_large`](Answer::too_large).
///
/// # Errors
/// [`QueryError`].
pub fn parse_query(bytes: &[u8], limits: AnswerLimits) -> Result<Answer, QueryError> {
    let mut document = Document::new(bytes);
    let attrs = document.root()?;
    let mut builder = AnswerBuilder::new(limits, "", &attrs);
    while let Some(event) = document.next()? {
        feed(&mut builder, &event);
    }
    Ok(builder.finish())
}

/// As [`parse_query`], but a `<query/>` whose only child is another `<query/>` stands for that one: the exports of some
/// collectors are wrapped in this way.
///
/// # Errors
/// [`QueryError`].
pub fn parse_query_unwrapped(bytes: &[u8], limits: AnswerLimits) -> Result<Answer, QueryError> {
    match parse_wrapped(bytes, limits)? {
        Some(answer) => Ok(answer),
        None => parse_query(bytes, limits),
    }
}

/// The inner of two queries; `None` where the root is not a mere wrapper.
fn parse_wrapped(bytes: &[u8], limits: AnswerLimits) -> Result<Option<Answer>, QueryError> {
    let mut document = Document::new(bytes);
    let outer = document.root()?;
    let mut builder: Option<AnswerBuilder> = None;
    while let Some(event) = document.next()? {
        match (&event, &mut builder) {
            (Event::StartElement(_, name, attrs), None) if is_query(name) => {
                let lang = super::attribute(&outer, rxml::XMLNS_XML, "lang").unwrap_or("");
                builder = Some(AnswerBuilder::new(limits, lang, attrs));
            }
            // A child that is no query, or a second child of the root.
            (Event::StartElement(..), None) => return Ok(None),
            (Event::StartElement(..), Some(_)) if document.depth == 2 => return Ok(None),
            // The ends of the two queries themselves are not events inside the inner one.
            (Event::EndElement(_), Some(_)) if document.depth < 2 => {}
            (event, Some(builder)) => feed(builder, event),
            (_, None) => {}
        }
    }
    Ok(builder.map(AnswerBuilder::finish))
}

fn feed(builder: &mut AnswerBuilder, event: &Event) {
    match event {
        Event::StartElement(_, name, attrs) => builder.start(name, attrs),
        Event::Text(_, text) => builder.text(text),
        Event::EndElement(_) => builder.end(),
        Event::XmlDeclaration(..) => {}
    }
}

fn is_query(name: &QName) -> bool {
    name.0 == DISCO_INFO && name.1.as_str() == "query"
}

/// A document being read, with its depth.
struct Document<'a> {
    parser: Parser,
    rest: &'a [u8],
    len: usize,
    /// How many elements are open.
    depth: usize,
    /// Whether the root has begun.
    begun: bool,
}

impl<'a> Document<'a> {
    fn new(bytes: &'a [u8]) -> Document<'a> {
        let options = Options {
            comments: CommentMode::Discard,
            // The whole document is in memory already, and an answer is bounded by its own limits.
            max_token_length: bytes.len().max(1024),
            ..Options::default()
        };
        Document {
            parser: Parser::with_options(options),
            rest: without_comments(bytes),
            len: bytes.len(),
            depth: 0,
            begun: false,
        }
    }

    /// The attributes of the root, which must be a `<query/>`.
    fn root(&mut self) -> Result<AttrMap, QueryError> {
        loop {
            match self.next()? {
                Some(Event::StartElement(_, name, attrs)) if is_query(&name) => return Ok(attrs),
                Some(Event::StartElement(_, (namespace, name), _)) => {
                    return Err(QueryError::NotAQuery {
                        name: name.to_string(),
                        namespace: namespace.to_string(),
                    });
                }
                Some(_) => {}
                None => return Err(QueryError::Incomplete),
            }
        }
    }

    /// The next event; `None` once the root has ended.
    fn next(&mut self) -> Result<Option<Event>, QueryError> {
        if self.depth == 0 && self.begun {
            return self.end().map(|()| None);
        }
        let offset = self.len - self.rest.len();
        let event = match self.parser.parse(&mut self.rest, true) {
            Ok(Some(event)) => event,
            Ok(None) | Err(EndOrError::NeedMoreData) => return Err(QueryError::Incomplete),
            Err(EndOrError::Error(rxml::Error::InvalidEof(_))) => {
                return Err(QueryError::Incomplete);
            }
            Err(EndOrError::Error(cause)) => return Err(QueryError::Xml { offset, cause }),
        };
        match event {
            // The parser knows comments only within the root.
            Event::XmlDeclaration(..) => self.rest = without_comments(self.rest),
            Event::StartElement(..) => {
                self.begun = true;
                self.depth += 1;
            }
            Event::EndElement(_) => self.depth = self.depth.saturating_sub(1),
            Event::Text(..) => {}
        }
        match self.depth > MAX_DEPTH {
            true => Err(QueryError::TooDeep),
            false => Ok(Some(event)),
        }
    }

    /// The end of the root: nothing but comments may follow.
    fn end(&self) -> Result<(), QueryError> {
        match without_comments(self.rest) {
            [] => Ok(()),
            _ => Err(QueryError::AfterRoot {
                offset: self.len - self.rest.len(),
            }),
        }
    }
}

/// What follows white space and comments.
fn without_comments(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes.trim_ascii_start();
    while let Some(comment) = rest.strip_prefix(b"<!--") {
        let Some(end) = comment.windows(3).position(|w| w == b"-->") else {
            return rest;
        };
        rest = comment[end + 3..].trim_ascii_start();
    }
    rest
}
