//! Caps keys: the names under which verified disco infos are known.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::reason::Reason;

/// The longest digest of any supported algorithm, in bytes.
pub const MAX_DIGEST_LEN: usize = 64;

/// How many bytes of a stored key are enough to tell it from others: family, algorithm, and 16 bytes of the digest.
pub const PREFIX_LEN: usize = 2 + 16;

/// The longest node that is looked at, in bytes. Both servers pass longer ones on; no known client sends more than 200.
pub const MAX_NODE_LEN: usize = 1024;

/// What the node of a XEP-0390 query begins with (XEP-0390 section 4.3).
pub const NODE_PREFIX_0390: &str = "urn:xmpp:caps#";

/// The specification whose rules turn disco info into a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// XEP-0115, Entity Capabilities.
    Xep0115,
    /// XEP-0390, Entity Capabilities 2.0.
    Xep0390,
}

impl Family {
    /// Both families, in the order of their numbers.
    pub const ALL: [Family; 2] = [Family::Xep0115, Family::Xep0390];

    /// The word used for the family on the command line, in URLs and as a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Xep0115 => "0115",
            Family::Xep0390 => "0390",
        }
    }
}

/// A hash function, as named in the IANA registry that XEP-0300 refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Algorithm {
    /// MD5; family 0115 only, and off by default (XEP-0414: MUST NOT).
    Md5 = 1,
    /// SHA-1; family 0115 only.
    Sha1 = 2,
    /// SHA-224; family 0115 only.
    Sha224 = 3,
    /// SHA-256; both families.
    Sha256 = 4,
    /// SHA-384; family 0115 only.
    Sha384 = 5,
    /// SHA-512; both families.
    Sha512 = 6,
    /// SHA3-256; family 0390 only.
    Sha3_256 = 7,
    /// SHA3-512; family 0390 only.
    Sha3_512 = 8,
    /// BLAKE2b with a 256-bit digest; family 0390 only.
    Blake2b256 = 9,
    /// BLAKE2b with a 512-bit digest; family 0390 only.
    Blake2b512 = 10,
}

impl Algorithm {
    /// Every supported algorithm.
    pub const ALL: [Algorithm; 10] = [
        Algorithm::Md5,
        Algorithm::Sha1,
        Algorithm::Sha224,
        Algorithm::Sha256,
        Algorithm::Sha384,
        Algorithm::Sha512,
        Algorithm::Sha3_256,
        Algorithm::Sha3_512,
        Algorithm::Blake2b256,
        Algorithm::Blake2b512,
    ];

    /// The name in the registry, as it stands in a `hash` or `algo` attribute.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "md5",
            Algorithm::Sha1 => "sha-1",
            Algorithm::Sha224 => "sha-224",
            Algorithm::Sha256 => "sha-256",
            Algorithm::Sha384 => "sha-384",
            Algorithm::Sha512 => "sha-512",
            Algorithm::Sha3_256 => "sha3-256",
            Algorithm::Sha3_512 => "sha3-512",
            Algorithm::Blake2b256 => "blake2b-256",
            Algorithm::Blake2b512 => "blake2b-512",
        }
    }

    /// The algorithm of that registered name; names are compared exactly.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|a| a.name() == name)
    }

    /// The algorithm with that number in a stored key.
    fn from_number(number: u8) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|a| *a as u8 == number)
    }

    /// The length of a digest, in bytes.
    pub fn digest_len(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha1 => 20,
            Algorithm::Sha224 => 28,
            Algorithm::Sha256 | Algorithm::Sha3_256 | Algorithm::Blake2b256 => 32,
            Algorithm::Sha384 => 48,
            Algorithm::Sha512 | Algorithm::Sha3_512 | Algorithm::Blake2b512 => 64,
        }
    }

    /// The 0115 algorithm whose digests have that length: a 0115 node does not name its algorithm.
    pub fn of_0115_digest_len(len: usize) -> Option<Algorithm> {
        Algorithm::ALL
            .into_iter()
            .find(|a| a.belongs_to(Family::Xep0115) && a.digest_len() == len)
    }

    /// Whether keys of that family may use the algorithm.
    pub fn belongs_to(self, family: Family) -> bool {
        use Algorithm::*;
        match family {
            Family::Xep0115 => matches!(self, Md5 | Sha1 | Sha224 | Sha256 | Sha384 | Sha512),
            Family::Xep0390 => matches!(
                self,
                Sha256 | Sha512 | Sha3_256 | Sha3_512 | Blake2b256 | Blake2b512
            ),
        }
    }
}

/// Why a string is not the node of a caps key that can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// No separator, no strict base64, or a digest of another length than the named algorithm has.
    #[error(
        "there is no hash of its algorithm's length, in strictly padded base64; a node is NODE#VER or urn:xmpp:caps#ALGO.BASE64"
    )]
    Malformed,
    /// The digest is well-formed base64, of an algorithm that is not supported.
    #[error("the hash is of an algorithm that cannot be verified")]
    UnsupportedAlgorithm,
    /// Longer than [`MAX_NODE_LEN`].
    #[error("the node is longer than {MAX_NODE_LEN} bytes")]
    TooLarge,
}

impl NodeError {
    /// The word for it.
    pub fn reason(self) -> Reason {
        match self {
            NodeError::Malformed => Reason::MalformedNode,
            NodeError::UnsupportedAlgorithm => Reason::UnsupportedAlgorithm,
            NodeError::TooLarge => Reason::TooLarge,
        }
    }
}

/// The name of a disco info: family, algorithm and digest.
///
/// The node URL is not covered by a hash and is no part of the key. 67 bytes, `Copy`, no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CapsKey {
    family: Family,
    algorithm: Algorithm,
    len: u8,
    digest: [u8; MAX_DIGEST_LEN],
}

impl CapsKey {
    /// A key from a raw digest.
    ///
    /// # Errors
    /// [`NodeError::UnsupportedAlgorithm`] where the family does not know the algorithm, [`NodeError::Malformed`] where the
    /// digest has another length than the algorithm's.
    pub fn new(family: Family, algorithm: Algorithm, digest: &[u8]) -> Result<CapsKey, NodeError> {
        if !algorithm.belongs_to(family) {
            return Err(NodeError::UnsupportedAlgorithm);
        }
        if digest.len() != algorithm.digest_len() {
            return Err(NodeError::Malformed);
        }
        let mut bytes = [0; MAX_DIGEST_LEN];
        bytes[..digest.len()].copy_from_slice(digest);
        Ok(CapsKey {
            family,
            algorithm,
            len: digest.len() as u8,
            digest: bytes,
        })
    }

    /// A key from an algorithm's name and a digest in base64, as they stand in a `<c/>` of either family.
    ///
    /// Base64 is strict: padding is required and unused bits are zero, so that one digest has one spelling (XEP-0115 section
    /// 5.1 step 9).
    ///
    /// # Errors
    /// [`NodeError::UnsupportedAlgorithm`] for an unknown name, [`NodeError::Malformed`] for any other fault.
    pub fn from_base64(
        family: Family,
        algorithm: &str,
        digest: &str,
    ) -> Result<CapsKey, NodeError> {
        let algorithm = Algorithm::from_name(algorithm).ok_or(NodeError::UnsupportedAlgorithm)?;
        if !algorithm.belongs_to(family) {
            return Err(NodeError::UnsupportedAlgorithm);
        }
        let mut buffer = [0; MAX_DIGEST_LEN + 2];
        let digest = decode_digest(digest, &mut buffer)?;
        CapsKey::new(family, algorithm, digest)
    }

    /// The key that a disco#info node asks for: `urn:xmpp:caps#ALGO.BASE64`, split at the last dot (XEP-0390 section 4.3), or
    /// `NODE#VER`, split at the last `#`, where the length of the digest alone selects the algorithm.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub fn from_node(node: &str) -> Result<CapsKey, NodeError> {
        if node.len() > MAX_NODE_LEN {
            return Err(NodeError::TooLarge);
        }
        if let Some(rest) = node.strip_prefix(NODE_PREFIX_0390) {
            let (algorithm, digest) = rest.rsplit_once('.').ok_or(NodeError::Malformed)?;
            return CapsKey::from_base64(Family::Xep0390, algorithm, digest);
        }
        let (_, ver) = node.rsplit_once('#').ok_or(NodeError::Malformed)?;
        let mut buffer = [0; MAX_DIGEST_LEN + 2];
        let digest = decode_digest(ver, &mut buffer)?;
        let algorithm =
            Algorithm::of_0115_digest_len(digest.len()).ok_or(NodeError::UnsupportedAlgorithm)?;
        CapsKey::new(Family::Xep0115, algorithm, digest)
    }

    /// The node to ask for this key; `node_url` is the node that was announced with it (0115 only).
    pub fn to_node(&self, node_url: &str) -> String {
        match self.family {
            Family::Xep0115 => format!("{node_url}#{}", self.digest_base64()),
            Family::Xep0390 => format!(
                "{NODE_PREFIX_0390}{}.{}",
                self.algorithm.name(),
                self.digest_base64()
            ),
        }
    }

    /// The specification that the key belongs to.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The hash function of the digest.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest, as long as the algorithm says.
    pub fn digest(&self) -> &[u8] {
        &self.digest[..usize::from(self.len)]
    }

    /// The digest in strict base64, as it stands in a `ver` attribute or a 0390 `<hash/>`.
    pub fn digest_base64(&self) -> String {
        BASE64.encode(self.digest())
    }

    /// The key as stored: a byte for the family, a byte for the algorithm, the digest.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(2 + usize::from(self.len));
        bytes.push(match self.family {
            Family::Xep0115 => 1,
            Family::Xep0390 => 2,
        });
        bytes.push(self.algorithm as u8);
        bytes.extend_from_slice(self.digest());
        bytes
    }

    /// The first [`PREFIX_LEN`] bytes of [`CapsKey::to_bytes`], under which tables of fixed rows know a key. Whoever makes two
    /// keys that begin alike (2^64 tries) makes one hide the other, and no more: what is found is verified for the whole key.
    pub fn prefix(&self) -> [u8; PREFIX_LEN] {
        let mut prefix = [0; PREFIX_LEN];
        // No digest is shorter than what is taken of it.
        prefix.copy_from_slice(&self.to_bytes()[..PREFIX_LEN]);
        prefix
    }

    /// The key that [`CapsKey::to_bytes`] wrote; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<CapsKey> {
        let [family, algorithm, digest @ ..] = bytes else {
            return None;
        };
        let family = match family {
            1 => Family::Xep0115,
            2 => Family::Xep0390,
            _ => return None,
        };
        CapsKey::new(family, Algorithm::from_number(*algorithm)?, digest).ok()
    }
}

/// Decodes strict base64 of at most [`MAX_DIGEST_LEN`] bytes, without allocating.
fn decode_digest<'a>(
    text: &str,
    buffer: &'a mut [u8; MAX_DIGEST_LEN + 2],
) -> Result<&'a [u8], NodeError> {
    if text.is_empty() {
        return Err(NodeError::Malformed);
    }
    match BASE64.decode_slice(text, buffer) {
        Ok(len) => Ok(&buffer[..len]),
        Err(base64::DecodeSliceError::OutputSliceTooSmall) => Err(NodeError::UnsupportedAlgorithm),
        Err(base64::DecodeSliceError::DecodeError(_)) => Err(NodeError::Malformed),
    }
}

impl fmt::Display for CapsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}",
            self.family.as_str(),
            self.algorithm.name(),
            self.digest_base64()
        )
    }
}

/// The key in the form in which it is shown: `FAMILY:ALGO:BASE64`.
impl FromStr for CapsKey {
    type Err = NodeError;

    fn from_str(text: &str) -> Result<CapsKey, NodeError> {
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().ok_or(NodeError::Malformed);
        let (family, algorithm, digest) = (part()?, part()?, part()?);
        let family = Family::ALL.into_iter().find(|f| f.as_str() == family);
        CapsKey::from_base64(family.ok_or(NodeError::Malformed)?, algorithm, digest)
    }
}

impl fmt::Debug for CapsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIMPLE_0115: &str = "QgayPKawpkPSDYmwT/WM94uAlu0=";
    const SIMPLE_0390: &str = "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=";

    #[test]
    fn a_0115_node_is_split_at_the_last_hash() {
        let key = CapsKey::from_node(&format!("http://a#b#{SIMPLE_0115}")).unwrap();
        assert_eq!(key.family(), Family::Xep0115);
        assert_eq!(key.algorithm(), Algorithm::Sha1);
        assert_eq!(key.digest_base64(), SIMPLE_0115);
        assert_eq!(
            key.to_node("http://a#b"),
            format!("http://a#b#{SIMPLE_0115}")
        );
    }

    #[test]
    fn a_0390_node_is_split_at_the_last_dot() {
        let node = format!("urn:xmpp:caps#sha-256.{SIMPLE_0390}");
        let key = CapsKey::from_node(&node).unwrap();
        assert_eq!(key.family(), Family::Xep0390);
        assert_eq!(key.algorithm(), Algorithm::Sha256);
        assert_eq!(key.to_node("ignored"), node);
        assert_eq!(
            CapsKey::from_node(&format!("urn:xmpp:caps#a.b.{SIMPLE_0390}")),
            Err(NodeError::UnsupportedAlgorithm)
        );
    }

    #[test]
    fn base64_has_one_spelling() {
        for (node, error) in [
            ("nothing", NodeError::Malformed),
            ("http://a#", NodeError::Malformed),
            ("http://a#QgayPKawpkPSDYmwT/WM94uAlu0", NodeError::Malformed),
            (
                "http://a#QgayPKawpkPSDYmwT/WM94uAlu1=",
                NodeError::Malformed,
            ),
            (
                "http://a#QgayPKawpkPSDYmwT_WM94uAlu0=",
                NodeError::Malformed,
            ),
            (
                "http://a#QgayPKawpkPSDYmwT/WM94uAlu0=\n",
                NodeError::Malformed,
            ),
            ("http://a#AAAA", NodeError::UnsupportedAlgorithm),
            ("urn:xmpp:caps#sha-256", NodeError::Malformed),
            ("urn:xmpp:caps#sha-256.AAAA", NodeError::Malformed),
            (
                "urn:xmpp:caps#sha-1.QgayPKawpkPSDYmwT/WM94uAlu0=",
                NodeError::UnsupportedAlgorithm,
            ),
        ] {
            assert_eq!(CapsKey::from_node(node), Err(error), "{node}");
        }
        let long = format!("http://a#{}", "A".repeat(400));
        assert_eq!(
            CapsKey::from_node(&long),
            Err(NodeError::UnsupportedAlgorithm)
        );
        let longer = format!("{}#{SIMPLE_0115}", "a".repeat(MAX_NODE_LEN));
        assert_eq!(CapsKey::from_node(&longer), Err(NodeError::TooLarge));
    }

    #[test]
    fn every_0115_length_names_one_algorithm() {
        for algorithm in Algorithm::ALL {
            if algorithm.belongs_to(Family::Xep0115) {
                assert_eq!(
                    Algorithm::of_0115_digest_len(algorithm.digest_len()),
                    Some(algorithm)
                );
            }
        }
    }

    #[test]
    fn stored_keys_come_back() {
        for family in Family::ALL {
            for algorithm in Algorithm::ALL {
                let digest = vec![7; algorithm.digest_len()];
                match CapsKey::new(family, algorithm, &digest) {
                    Ok(key) => {
                        assert_eq!(CapsKey::from_bytes(&key.to_bytes()), Some(key));
                        assert_eq!(key.to_string().parse(), Ok(key));
                        assert_eq!(key.prefix()[..], key.to_bytes()[..PREFIX_LEN]);
                    }
                    Err(error) => assert_eq!(error, NodeError::UnsupportedAlgorithm),
                }
            }
        }
        for bytes in [&[][..], &[1], &[1, 2], &[3, 2, 0], &[1, 99, 0]] {
            assert_eq!(CapsKey::from_bytes(bytes), None);
        }
        for text in [
            "",
            "0115",
            "0115:sha-1",
            "0115:sha-1:",
            "0115:sha-1:AAAA",
            "115:md5:x",
        ] {
            assert!(text.parse::<CapsKey>().is_err(), "{text}");
        }
    }
}
