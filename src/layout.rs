//! The names of files in a directory of contents, as capsdb is published and as aioxmpp keeps its database.
//!
//! | key | file |
//! |---|---|
//! | 0115 | `hashes/ALGO_NODE.xml`; `NODE` is the node URL, `#` and the digest in base64, percent-encoded |
//! | 0390 | `caps2/ALGO/xx/yy/zzz.xml`; `xxyyzzz` is the digest in base32, in small letters and without padding |
//!
//! Each file is one disco#info `<query/>`. A file of family 0115 is known by its name alone, wherever it lies; one of family 0390
//! by the four directories above it, too.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use data_encoding::BASE32_NOPAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::caps::{Algorithm, CapsKey, Family};

/// The directory of family 0115.
pub const HASHES: &str = "hashes";

/// The directory of family 0390.
pub const CAPS2: &str = "caps2";

/// The longest file name, in bytes: that of every common file system.
const MAX_NAME: usize = 255;

/// What is encoded in names: all but letters, digits and these four (RFC 3986 section 2.3), as Python's `urllib.parse.quote` does.
const RESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~');

/// What is in a file of contents, as far as one byte past `most`.
pub(crate) fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Opening something else, a pipe for one, could wait for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where the file of a key belongs, below the root of a database. For a 0115 key that is announced with that node URL; for a 0390 key
/// the node does not matter. `None` where the name would be longer than a file name may be.
pub fn path_of(key: &CapsKey, node_url: &str) -> Option<PathBuf> {
    let algorithm = key.algorithm().name();
    match key.family() {
        Family::Xep0115 => {
            let node = key.to_node(node_url);
            let node = utf8_percent_encode(&node, &RESERVED);
            let name = format!("{algorithm}_{node}.xml");
            (name.len() <= MAX_NAME).then(|| Path::new(HASHES).join(name))
        }
        Family::Xep0390 => {
            let digest = BASE32_NOPAD.encode(key.digest()).to_ascii_lowercase();
            let (first, rest) = digest.split_at_checked(2)?;
            let (second, rest) = rest.split_at_checked(2)?;
            let path = Path::new(CAPS2).join(algorithm).join(first).join(second);
            Some(path.join(format!("{rest}.xml")))
        }
    }
}

/// The key that a file is of, and for family 0115 the node URL; `None` where it is not named as here.
pub fn key_of_path(path: &Path) -> Option<(CapsKey, Option<String>)> {
    if let Some((key, node_url)) = key_of_name(path.file_name()?.to_str()?) {
        return Some((key, Some(node_url)));
    }
    let parts: Vec<&str> = path
        .components()
        .rev()
        .take(5)
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let [name, second, first, algorithm, CAPS2] = parts[..] else {
        return None;
    };
    let digest = format!("{first}{second}{}", name.strip_suffix(".xml")?).to_ascii_uppercase();
    let digest = BASE32_NOPAD.decode(digest.as_bytes()).ok()?;
    let key = CapsKey::new(Family::Xep0390, Algorithm::from_name(algorithm)?, &digest).ok()?;
    Some((key, None))
}

/// The 0115 key and the node URL in a file's name.
pub fn key_of_name(name: &str) -> Option<(CapsKey, String)> {
    let (algorithm, node) = name.strip_suffix(".xml")?.split_once('_')?;
    let node = percent_decode_str(node).decode_utf8().ok()?;
    let (url, ver) = node.rsplit_once('#')?;
    let key = CapsKey::from_base64(Family::Xep0115, algorithm, ver).ok()?;
    Some((key, url.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made with Python: `urllib.parse.quote(node, safe="")`, and `base64.b32encode(digest)` as aioxmpp splits it.
    #[test]
    fn names_are_those_of_aioxmpp() {
        let key = CapsKey::from_node("#QgayPKawpkPSDYmwT/WM94uAlu0=").unwrap();
        let expected = "hashes/sha-1_http%3A%2F%2Fcode.google.com%2Fp%2F~ex%C3%B6dus%3Fa%3Db%23QgayPKawpkPSDYmwT%2FWM94uAlu0%3D.xml";
        let path = path_of(&key, "http://code.google.com/p/~exödus?a=b").unwrap();
        assert_eq!(path, Path::new(expected));
        let node = Some("http://code.google.com/p/~exödus?a=b".to_owned());
        assert_eq!(key_of_path(&path), Some((key, node)));

        let node = "urn:xmpp:caps#sha-256.kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=";
        let key = CapsKey::from_node(node).unwrap();
        let expected = "caps2/sha-256/sm/yf/s3skrhoab24pxp2pfn4d22trmuydiyo2rhjvjab644pjrmhq.xml";
        assert_eq!(path_of(&key, "ignored"), Some(expected.into()));
        let found = key_of_path(&Path::new("/somewhere").join(expected));
        assert_eq!(found, Some((key, None)));
    }

    #[test]
    fn other_names_are_no_keys() {
        for path in [
            "README.md",
            "sha-1_http%3A%2F%2Fa.xml",
            "sha-1_a%23QgayPKawpkPSDYmwT%2FWM94uAlu0%3D",
            "sha-9_a%23QgayPKawpkPSDYmwT%2FWM94uAlu0%3D.xml",
            "sha-256_a%23QgayPKawpkPSDYmwT%2FWM94uAlu0%3D.xml",
            "caps2/sha-256/sm/yf/s3skrhoab24pxp2pfn4d22trmuydiyo2rhjvjab644pjrmh.xml",
            "caps2/sha-1/sm/yf/s3skrhoab24pxp2pfn4d22trmuydiyo2rhjvjab644pjrmhq.xml",
            "caps3/sha-256/sm/yf/s3skrhoab24pxp2pfn4d22trmuydiyo2rhjvjab644pjrmhq.xml",
            "sm/yf/s3skrhoab24pxp2pfn4d22trmuydiyo2rhjvjab644pjrmhq.xml",
            "..",
            "/",
        ] {
            assert_eq!(key_of_path(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn names_that_no_file_can_have_are_none() {
        let key = CapsKey::from_node("#QgayPKawpkPSDYmwT/WM94uAlu0=").unwrap();
        assert!(path_of(&key, &"a".repeat(210)).is_some());
        assert_eq!(path_of(&key, &"a".repeat(220)), None);
    }

    proptest! {
        #[test]
        fn every_node_comes_back_and_stays_in_its_directory(node_url in ".{0,60}") {
            let key = CapsKey::from_node("#QgayPKawpkPSDYmwT/WM94uAlu0=").unwrap();
            if let Some(path) = path_of(&key, &node_url) {
                prop_assert_eq!(path.components().count(), 2);
                prop_assert!(path.to_str().unwrap().is_ascii());
                prop_assert_eq!(key_of_path(&path), Some((key, Some(node_url))));
            }
        }
    }
}
