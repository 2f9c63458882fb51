//! Cuts the names and attribute values that are too long for the XML reader, before it sees them.
//!
//! The reader gives up a stream for any token of more than 8,192 bytes, and servers pass on longer ones: one stanza
//! from anybody would cost every user of the server the link. What is cut here is longer than anything that stanzas are read for
//! ([`MAX_KEPT`](crate::stanza::read::MAX_KEPT)), and counts as absent as it would uncut.
//!
//! Only what servers write is understood: tags, attributes in quotes, text, an XML declaration. From a comment, a CDATA section or a document type
//! on, which XMPP forbids (RFC 6120 section 11.1), everything is passed on as it comes, and the reader judges.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use memchr::memchr;
use tokio::io::{AsyncRead, ReadBuf};

/// How much of a name or value is passed on, in bytes; at most some ten more, to the end of a character or reference.
const MAX_TOKEN: usize = 8_000;

/// Longer than any reference that XML allows.
const REFERENCE: usize = 64;

/// Tells names that were cut apart: two attributes of a tag must not be called the same.
const MARKS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A reader whose XML has no long tokens.
#[derive(Debug)]
pub(super) struct Shortening<R> {
    inner: R,
    cutter: Cutter,
}

impl<R> Shortening<R> {
    /// Shortens the XML of that reader, from its beginning.
    pub(super) fn new(inner: R) -> Shortening<R> {
        Shortening {
            inner,
            cutter: Cutter::default(),
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Shortening<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
            let read = &mut buffer.filled_mut()[before..];
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let kept = self.cutter.cut(read);
            buffer.set_filled(before + kept);
            // Nothing kept would look like the end of the stream.
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Text between tags.
    #[default]
    Text,
    /// The beginning of a tag, up to the first character of its name.
    Beginning,
    /// The name of an element.
    ElementName,
    /// A tag, between names and values.
    Tag,
    /// The name of an attribute.
    AttributeName,
    /// The value of an attribute, up to this quote.
    Value(u8),
    /// The XML declaration.
    Declaration,
    /// What servers do not write, and all that comes after it.
    Unknown,
}

/// Where in the XML it is.
#[derive(Debug, Default)]
struct Cutter {
    place: Place,
    /// How many bytes the name or value has so far.
    len: usize,
    /// Whether the rest of the name or value is left out.
    cutting: bool,
    /// Whether the value is within a reference, as far as that matters.
    reference: bool,
    /// How many attribute names of the tag were cut.
    cut_names: usize,
}

impl Cutter {
    /// Cuts what is too long in the next piece of XML, in place; how many bytes are left.
    fn cut(&mut self, bytes: &mut [u8]) -> usize {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() {
            from += self.left_out_whole(&bytes[from..]);
            let rest = &bytes[from..];
            let whole = self.passed_on_whole(rest);
            if whole > 0 {
                bytes.copy_within(from..from + whole, to);
                from += whole;
                to += whole;
                continue;
            }
            let Some(byte) = rest.first().copied() else {
                break;
            };
            from += 1;
            if let Some(kept) = self.next(byte) {
                bytes[to] = kept;
                to += 1;
            }
        }
        to
    }

    /// How many of the next bytes are the rest of a value that is being cut.
    fn left_out_whole(&self, rest: &[u8]) -> usize {
        match self.place {
            Place::Value(quote) if self.cutting => memchr(quote, rest).unwrap_or(rest.len()),
            _ => 0,
        }
    }

    /// How many of the next bytes are passed on without being looked at one by one.
    fn passed_on_whole(&mut self, rest: &[u8]) -> usize {
        match self.place {
            Place::Text => memchr(b'<', rest).unwrap_or(rest.len()),
            Place::Unknown => rest.len(),
            Place::Value(quote) => {
                // A reference that begins here ends before anything is cut.
                let room = (MAX_TOKEN - REFERENCE).saturating_sub(self.len);
                let rest = &rest[..rest.len().min(room)];
                let len = memchr(quote, rest).unwrap_or(rest.len());
                self.len += len;
                len
            }
            _ => 0,
        }
    }

    /// What becomes of one byte.
    fn next(&mut self, byte: u8) -> Option<u8> {
        match (self.place, byte) {
            (Place::Text, b'<') => self.go(Place::Beginning),
            (Place::Beginning, b'/') | (Place::Text | Place::Unknown, _) => {}
            (Place::Beginning, b'?') => self.go(Place::Declaration),
            (Place::Beginning, b'!') => self.go(Place::Unknown),
            (Place::Beginning, _) => {
                self.cut_names = 0;
                self.go(Place::ElementName);
                return self.within(byte);
            }
            (Place::Declaration, b'>') => self.go(Place::Text),
            (Place::Declaration, _) => {}
            (Place::ElementName | Place::Tag | Place::AttributeName, b'>') => self.go(Place::Text),
            (
                Place::ElementName | Place::Tag | Place::AttributeName,
                b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'=',
            ) => self.go(Place::Tag),
            (Place::Tag, b'\'' | b'"') => self.go(Place::Value(byte)),
            (Place::Tag, _) => {
                self.go(Place::AttributeName);
                return self.within(byte);
            }
            (Place::Value(quote), _) if byte == quote => self.go(Place::Tag),
            (Place::ElementName | Place::AttributeName | Place::Value(_), _) => {
                return self.within(byte);
            }
        }
        Some(byte)
    }

    fn go(&mut self, place: Place) {
        self.place = place;
        self.len = 0;
        self.cutting = false;
        self.reference = false;
    }

    /// A byte of a name or value.
    fn within(&mut self, byte: u8) -> Option<u8> {
        let is_value = matches!(self.place, Place::Value(_));
        let continues = byte & 0b1100_0000 == 0b1000_0000 || self.reference;
        self.reference = is_value && (byte == b'&' || self.reference && byte != b';');
        self.len += 1;
        if self.cutting {
            return None;
        }
        if self.len <= MAX_TOKEN || (continues && self.len <= MAX_TOKEN + REFERENCE) {
            return Some(byte);
        }
        self.cutting = true;
        if self.place != Place::AttributeName {
            return None;
        }
        self.cut_names += 1;
        Some(MARKS[self.cut_names % MARKS.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is left of XML that comes in pieces of that length.
    fn cut(xml: &str, piece: usize) -> String {
        let mut cutter = Cutter::default();
        let mut left = Vec::new();
        for piece in xml.as_bytes().chunks(piece) {
            let mut piece = piece.to_vec();
            let kept = cutter.cut(&mut piece);
            left.extend_from_slice(&piece[..kept]);
        }
        String::from_utf8(left).unwrap()
    }

    #[test]
    fn long_tokens_are_cut_at_a_character_or_a_reference() {
        let long = |part: &str| part.repeat(20_000 / part.len());
        for (xml, expected) in [
            (
                format!("<a b='{}' c=\"d\">e</a>", long("x")),
                format!("<a b='{}' c=\"d\">e</a>", "x".repeat(8_000)),
            ),
            (
                format!("<a b='{}'/><c/>", long("€")),
                format!("<a b='{}'/><c/>", "€".repeat(2_667)),
            ),
            (
                format!("<a b=\"{}'&gt;{}\"/>", "x".repeat(7_995), long("x")),
                format!("<a b=\"{}'&gt;\"/>", "x".repeat(7_995)),
            ),
            (
                format!("<a b='{}&#x1F600;{}'/>", "x".repeat(7_999), long("x")),
                format!("<a b='{}&#x1F600;'/>", "x".repeat(7_999)),
            ),
            (
                format!("<{0}><b/></{0}>", long("x")),
                format!("<{0}><b/></{0}>", "x".repeat(8_000)),
            ),
            (
                format!("<a {0}1='' {0}2='' c=''/>", long("x")),
                format!("<a {0}B='' {0}C='' c=''/>", "x".repeat(8_000)),
            ),
        ] {
            for piece in [1, 7, 4_096, 8_000, 100_000] {
                assert_eq!(cut(&xml, piece), expected, "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn text_may_be_long() {
        let xml = format!("<?xml version='1.0'?><a>{}</a>", "it's > ".repeat(20_000));
        assert_eq!(cut(&xml, 4_096), xml);
    }

    proptest! {
        #[test]
        fn short_tokens_are_left_alone(
            xml in "(<[a-z:/?!]{0,4}|[ \n]|='|\"|'|>|/>|&amp;|[a-z=ä€]{0,9}){0,40}",
            piece in 1_usize..50,
        ) {
            prop_assert_eq!(cut(&xml, piece), xml);
        }
    }
}
