//! Contents as files. What is hashed is written down here from XEP-0115 and XEP-0390, not computed by the code under test.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// The node URL of every content.
pub(crate) const NODE_URL: &str = "http://client.example/~a";

/// The features of content `number`, in order of octets.
fn features(number: u32) -> [String; 3] {
    ["a", "b", "c"].map(|letter| format!("urn:x:{letter}:{number:06}"))
}

/// The children of the `<query/>` of content `number`.
pub(crate) fn children(number: u32) -> String {
    let features: String = features(number)
        .iter()
        .map(|var| format!("<feature var='{var}'/>"))
        .collect();
    format!("<identity category='client' type='pc' name='n'/>{features}")
}

/// The `<query/>` of content `number`.
pub(crate) fn query(number: u32) -> String {
    in_query(&children(number))
}

pub(crate) fn in_query(children: &str) -> String {
    format!("<query xmlns='http://jabber.org/protocol/disco#info'>{children}</query>")
}

/// The 0115 sha-1 `ver` of content `number`.
pub(crate) fn ver(number: u32) -> String {
    ver_of(&format!("client/pc//n<{}<", features(number).join("<")))
}

/// The 0115 sha-1 `ver` of a verification string.
pub(crate) fn ver_of(string: &str) -> String {
    BASE64_STANDARD.encode(Sha1::digest(string))
}

/// The 0390 sha-256 digest of content `number`.
pub(crate) fn digest_0390(number: u32) -> Vec<u8> {
    let features = features(number).join("\x1f");
    let input = format!("{features}\x1f\x1cclient\x1fpc\x1f\x1fn\x1f\x1e\x1c\x1c");
    Sha256::digest(input).to_vec()
}

/// The 0390 node of content `number`.
pub(crate) fn node_0390(number: u32) -> String {
    let digest = BASE64_STANDARD.encode(digest_0390(number));
    format!("urn:xmpp:caps#sha-256.{digest}")
}

/// The name of a file: everything but letters, digits, `_.-~` percent-encoded.
pub(crate) fn file_name(algorithm: &str, node: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    let node: String = node.bytes().map(encode).collect();
    format!("{algorithm}_{node}.xml")
}

/// The name of the file of content `number`.
pub(crate) fn name(number: u32) -> String {
    file_name("sha-1", &format!("{NODE_URL}#{}", ver(number)))
}

/// Where the file of content `number` lies below `caps2/`.
pub(crate) fn path_0390(number: u32) -> PathBuf {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
    // RFC 4648 section 6, without padding, in small letters.
    let bits: String = digest_0390(number)
        .iter()
        .map(|b| format!("{b:08b}"))
        .collect();
    let encoded: String = bits
        .as_bytes()
        .chunks(5)
        .map(|five| {
            let five = format!("{:0<5}", std::str::from_utf8(five).unwrap());
            char::from(LETTERS[usize::from_str_radix(&five, 2).unwrap()])
        })
        .collect();
    let (first, second, rest) = (&encoded[..2], &encoded[2..4], &encoded[4..]);
    Path::new("caps2/sha-256")
        .join(first)
        .join(second)
        .join(format!("{rest}.xml"))
}

/// Makes a directory with the files of those contents.
pub(crate) fn directory(path: &Path, numbers: std::ops::Range<u32>) -> PathBuf {
    fs::create_dir_all(path).unwrap();
    for number in numbers {
        fs::write(path.join(name(number)), query(number)).unwrap();
    }
    path.to_owned()
}
