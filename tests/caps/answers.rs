//! Answers and keys for the tests, made without the code under test where a hash is expected.

use std::path::PathBuf;

use capsd::caps::{Answer, CapsKey, Family, Policy, Reason, Verdict, verify};
use capsd::stanza::answer::{AnswerLimits, parse_query};

/// The namespace of disco#info.
pub(crate) const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";

/// A file beside these tests.
pub(crate) fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/caps")
        .join(name)
}

/// The answer in a file beside these tests.
pub(crate) fn document(name: &str) -> Answer {
    let bytes = std::fs::read(file(name)).unwrap();
    parse_query(&bytes, AnswerLimits::default()).unwrap()
}

/// The answer with those children.
pub(crate) fn answer(children: &str) -> Answer {
    let query = format!("<query xmlns='{DISCO_INFO}'>{children}</query>");
    parse_query(query.as_bytes(), AnswerLimits::default()).unwrap()
}

/// A key in base64.
pub(crate) fn key(family: Family, algorithm: &str, digest: &str) -> CapsKey {
    CapsKey::from_base64(family, algorithm, digest).unwrap()
}

/// The 0115 sha-1 key of a verification string that is written out.
pub(crate) fn key_of_string(string: &str) -> CapsKey {
    use sha1::Digest as _;
    let digest = sha1::Sha1::digest(string.as_bytes());
    CapsKey::new(Family::Xep0115, capsd::caps::Algorithm::Sha1, &digest).unwrap()
}

/// The 0390 sha-256 key of a hash input that is written out.
pub(crate) fn key_of_input(input: &str) -> CapsKey {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(input.as_bytes());
    CapsKey::new(Family::Xep0390, capsd::caps::Algorithm::Sha256, &digest).unwrap()
}

/// The verdict in short: `Ok`, or the reason and whether the answer is quarantined.
pub(crate) fn outcome(
    key: &CapsKey,
    answer: &Answer,
    policy: &Policy,
) -> Result<(), (Reason, bool)> {
    match verify(key, answer, policy) {
        Verdict::Verified(_) => Ok(()),
        Verdict::Quarantined(reason, _) => Err((reason, true)),
        Verdict::Rejected(reason, _) => Err((reason, false)),
    }
}

/// What a quarantined answer gives.
pub(crate) fn quarantined(reason: Reason) -> Result<(), (Reason, bool)> {
    Err((reason, true))
}

/// What a rejected answer gives.
pub(crate) fn rejected(reason: Reason) -> Result<(), (Reason, bool)> {
    Err((reason, false))
}
