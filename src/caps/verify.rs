//! Verification: the only way from what somebody sent to what may be believed.
//!
//! A verdict is reached in a fixed order, and the first "no" counts: the algorithm must be permitted, the content within
//! the bounds, the hash must match, the content must be well-formed, and for family 0115 its string must have one reading.
//! What fails before the hash matched is rejected; what fails after it is quarantined, because the holder was honest.

use super::ambiguity::{self, Clause, Clauses};
use super::digest::key_of;
use super::disco_info::{Answer, DiscoInfo};
use super::ill_formed::{self, IllFormed};
use super::key::{Algorithm, CapsKey, Family};
use super::reason::Reason;
use super::xep0115::{self, IdentityOrder};
use super::xep0390::{self, Inheritance};

/// What an operator allows, and the bounds. Nothing in it waives the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether md5 keys count (family 0115 only; XEP-0414: MUST NOT).
    pub allow_md5: bool,
    /// Whether a 0115 string may have several readings (trusted content only).
    pub waive_ambiguity: bool,
    /// Whether identities, features or forms may be there twice under family 0115 (trusted content only).
    pub waive_duplicates: bool,
    /// The largest content, in bytes: of the `<query/>` as sent, or of all strings of content from a store.
    pub max_bytes: usize,
    /// The most features, repetitions included.
    pub max_features: usize,
}

impl Default for Policy {
    /// For strangers: no md5, no waivers, 16 KiB, 256 features.
    fn default() -> Policy {
        Policy {
            allow_md5: false,
            waive_ambiguity: false,
            waive_duplicates: false,
            max_bytes: 16 * 1024,
            max_features: 256,
        }
    }
}

impl Policy {
    /// For content that the operator installed or pinned: md5, ambiguity and repetitions are waived, the bounds are not.
    pub fn trusted() -> Policy {
        Policy {
            allow_md5: true,
            waive_ambiguity: true,
            waive_duplicates: true,
            ..Policy::default()
        }
    }

    /// Whether keys of that algorithm count at all.
    fn permits(&self, algorithm: Algorithm) -> bool {
        algorithm != Algorithm::Md5 || self.allow_md5
    }
}

/// What verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The content is what the key means.
    Verified(VerifiedInfo),
    /// The hash matches, but the content is ill-formed or ambiguous: good for the one holder that sent it, for nobody else.
    Quarantined(Reason, String),
    /// The content proves nothing about the key. The text is for people.
    Rejected(Reason, String),
}

impl Verdict {
    /// The word for it: `verified`, `quarantined` or `rejected`.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Verified(_) => "verified",
            Verdict::Quarantined(..) => "quarantined",
            Verdict::Rejected(..) => "rejected",
        }
    }

    /// Why it is not "verified", with a text for people.
    pub fn refusal(&self) -> Option<(Reason, &str)> {
        match self {
            Verdict::Verified(_) => None,
            Verdict::Quarantined(reason, detail) | Verdict::Rejected(reason, detail) => {
                Some((*reason, detail))
            }
        }
    }
}

/// Content that was proven to be what a caps key means; only [`verify`] and [`verify_canonical`] make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedInfo {
    info: DiscoInfo,
    waived: bool,
}

impl VerifiedInfo {
    /// The content, in canonical order.
    pub fn info(&self) -> &DiscoInfo {
        &self.info
    }

    /// The content, no longer marked as proven.
    pub fn into_info(self) -> DiscoInfo {
        self.info
    }

    /// Whether it passed only because the policy waived a rule.
    pub fn waived(&self) -> bool {
        self.waived
    }

    /// The key of the same content under another family or algorithm, where that family's rules accept the content and the
    /// policy permits the algorithm; identities are in the order of XEP-0115.
    pub fn key(&self, family: Family, algorithm: Algorithm, policy: &Policy) -> Option<CapsKey> {
        if !policy.permits(algorithm) || !algorithm.belongs_to(family) {
            return None;
        }
        check_rules(family, &self.info, policy).ok()?;
        key_of(family, algorithm, &canonical_input(family, &self.info)).ok()
    }
}

/// Verifies what somebody sent.
///
/// For family 0390 the languages are tried without inheritance, then with it (XEP-0390 section 6.2.1): servers stamp
/// `xml:lang` on every stanza, and the content that matched has the language written on its identities.
pub fn verify(key: &CapsKey, answer: &Answer, policy: &Policy) -> Verdict {
    if let Err(refusal) = check_bounds(
        key,
        answer.size,
        answer.features.len(),
        answer.too_large,
        policy,
    ) {
        return refusal;
    }
    match key.family() {
        Family::Xep0115 => {
            let (info, fault) = xep0115::canonical(answer);
            judge(key, info, fault, policy)
        }
        Family::Xep0390 => verify_0390(key, answer, policy),
    }
}

fn verify_0390(key: &CapsKey, answer: &Answer, policy: &Policy) -> Verdict {
    let mut tries = vec![Inheritance::Ignored];
    if xep0390::inherits(answer) {
        tries.push(Inheritance::Applied);
    }
    for inheritance in tries {
        match xep0390::canonical(answer, inheritance) {
            Ok(info) => {
                let verdict = judge(key, info, None, policy);
                if !matches!(verdict, Verdict::Rejected(Reason::Mismatch, _)) {
                    return verdict;
                }
            }
            Err(fault) => {
                if matches(key, &xep0390::hash_input_as_sent(answer, inheritance)) {
                    return Verdict::Quarantined(Reason::IllFormed, fault.to_string());
                }
            }
        }
    }
    mismatch(key)
}

/// Verifies content from a store of our own by the same rules: it is hashed again, whatever the store claims.
///
/// The size is that of all strings, which is less than that of the `<query/>` that they came in. Content that is out of
/// canonical order is put into it.
pub fn verify_canonical(key: &CapsKey, mut info: DiscoInfo, policy: &Policy) -> Verdict {
    let size = info.strings().map(str::len).sum();
    if let Err(refusal) = check_bounds(key, size, info.features.len(), false, policy) {
        return refusal;
    }
    info.sort();
    judge(key, info, None, policy)
}

/// What can be refused without hashing.
fn check_bounds(
    key: &CapsKey,
    size: usize,
    features: usize,
    too_large: bool,
    policy: &Policy,
) -> Result<(), Verdict> {
    if !policy.permits(key.algorithm()) {
        let detail = "md5 is not allowed by the policy (XEP-0414: MUST NOT)".to_owned();
        return Err(Verdict::Rejected(Reason::UnsupportedAlgorithm, detail));
    }
    if too_large || size > policy.max_bytes || features > policy.max_features {
        let detail = format!(
            "at most {} bytes and {} features are accepted",
            policy.max_bytes, policy.max_features
        );
        return Err(Verdict::Rejected(Reason::TooLarge, detail));
    }
    Ok(())
}

/// The verdict on canonical content; `fault` is what made the answer ill-formed before it was canonical.
fn judge(key: &CapsKey, info: DiscoInfo, fault: Option<IllFormed>, policy: &Policy) -> Verdict {
    if !hash_matches(key, &info) {
        return mismatch(key);
    }
    if let Some(fault) = fault {
        return Verdict::Quarantined(Reason::IllFormed, fault.to_string());
    }
    match check_rules(key.family(), &info, policy) {
        Ok(waived) => Verdict::Verified(VerifiedInfo {
            info,
            waived: waived || key.algorithm() == Algorithm::Md5,
        }),
        Err((reason, detail)) => Verdict::Quarantined(reason, detail),
    }
}

fn hash_matches(key: &CapsKey, info: &DiscoInfo) -> bool {
    if matches(key, &canonical_input(key.family(), info)) {
        return true;
    }
    key.family() == Family::Xep0115
        && xep0115::orders_differ(info)
        && matches(
            key,
            &xep0115::verification_string(info, IdentityOrder::Joined),
        )
}

/// What is hashed for canonical content, identities in the order of the XEP.
fn canonical_input(family: Family, info: &DiscoInfo) -> Vec<u8> {
    match family {
        Family::Xep0115 => xep0115::verification_string(info, IdentityOrder::Tuple),
        Family::Xep0390 => xep0390::hash_input(info),
    }
}

fn matches(key: &CapsKey, input: &[u8]) -> bool {
    key_of(key.family(), key.algorithm(), input) == Ok(*key)
}

fn mismatch(key: &CapsKey) -> Verdict {
    let detail = format!("the content does not have the hash {key}");
    Verdict::Rejected(Reason::Mismatch, detail)
}

/// The rules of a family for canonical content whose hash is not in question; whether one of them had to be waived.
fn check_rules(
    family: Family,
    info: &DiscoInfo,
    policy: &Policy,
) -> Result<bool, (Reason, String)> {
    let ill_formed = |fault: IllFormed| (Reason::IllFormed, fault.to_string());
    ill_formed::check(info).map_err(ill_formed)?;
    if family == Family::Xep0390 {
        return Ok(false);
    }
    let mut waived = false;
    let mut clauses = Clauses::ALL;
    if let Err(fault) = xep0115::check_repetitions(info) {
        if !policy.waive_duplicates {
            return Err(ill_formed(fault));
        }
        clauses = clauses
            .without(Clause::FeaturesIncrease)
            .without(Clause::FormsIncrease);
        waived = true;
    }
    if let Err(violation) = ambiguity::check(info, clauses) {
        if !policy.waive_ambiguity {
            return Err((Reason::Ambiguous, violation.to_string()));
        }
        waived = true;
    }
    Ok(waived)
}
