//! Contents are packed: most of their bytes are the names of features that every client has.
//!
//! With a dictionary of such names LZ4 makes a quarter of a real content and unpacks it in less than a microsecond. The
//! engine writes every byte several times, and what it wrote since it was opened last it reads again at open; so this
//! decides how fast a start after a crash is.

use super::record::MAX_CONTENT_LEN;

/// Names of features and of form fields from the registries of the XSF and from the XEPs.
///
/// It belongs to the format: what was packed with one dictionary can be unpacked with no other. A new one is a new
/// version of the value.
const DICTIONARY: &[u8] = include_bytes!("dictionary.txt");

/// How long the unpacked content is (big-endian), before the packed one.
const LEN_BYTES: usize = 4;

/// Packs a content.
pub(super) fn pack(content: &[u8], packed: &mut Vec<u8>) {
    packed.extend_from_slice(&(content.len() as u32).to_be_bytes());
    packed.extend_from_slice(&lz4_flex::block::compress_with_dict(content, DICTIONARY));
}

/// Unpacks what [`pack`] made; `None` for anything else, and for what would be longer than [`MAX_CONTENT_LEN`].
pub(super) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let (len, packed) = packed.split_at_checked(LEN_BYTES)?;
    let len = u32::from_be_bytes(len.try_into().ok()?) as usize;
    if len > MAX_CONTENT_LEN {
        return None;
    }
    let content = lz4_flex::block::decompress_with_dict(packed, len, DICTIONARY).ok()?;
    (content.len() == len).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        pack(content, &mut packed);
        packed
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(content: Vec<u8>, times in 1..50usize) {
            let content = content.repeat(times);
            prop_assert_eq!(unpack(&packed(&content)), Some(content));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>) {
            if let Some(content) = unpack(&bytes) {
                prop_assert!(content.len() <= MAX_CONTENT_LEN);
            }
        }
    }

    #[test]
    fn known_names_take_next_to_nothing() {
        let names = [
            "http://jabber.org/protocol/chatstates",
            "http://jabber.org/protocol/disco#items",
            "jabber:iq:version",
            "urn:xmpp:chat-markers:0",
            "urn:xmpp:jingle:apps:file-transfer:5",
            "urn:xmpp:omemo:2:devices+notify",
        ];
        let content = names.join(" ");
        assert!(packed(content.as_bytes()).len() < content.len() / 2);
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_anything_is_allocated() {
        for len in [MAX_CONTENT_LEN as u32 + 1, u32::MAX] {
            let mut bytes = packed(b"content");
            bytes[..4].copy_from_slice(&len.to_be_bytes());
            assert_eq!(unpack(&bytes), None);
        }
    }

    /// The dictionary belongs to the format of the value; its checksum was computed with `crc32` from zlib.
    #[test]
    fn the_dictionary_is_that_of_the_format() {
        assert_eq!(crc32fast::hash(DICTIONARY), 0x09c1_799a);
    }
}
