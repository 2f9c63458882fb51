//! Contents that somebody hands over without being asked. They prove what they prove, and nothing else about them is believed.

use std::time::Instant;

use super::admission::Source;
use super::{Resolver, verification_result};
use crate::caps::digest::key_of;
use crate::caps::xep0115::{self, IdentityOrder};
use crate::caps::xep0390::{self, Inheritance};
use crate::caps::{Algorithm, Answer, CapsKey, Family, Reason, Verdict, VerifiedInfo, verify};
use crate::metrics::VerificationResult;
use crate::stanza::jid;
use crate::store::standard_keys;

/// The longest node URL that is kept with a content, in bytes.
pub const MAX_NODE_URL: usize = 512;

/// What an answer proves.
struct Proof {
    info: VerifiedInfo,
    /// The key that it was tried for.
    key: CapsKey,
    /// Why it does not prove the one that was given, if it proves another.
    refused: Option<Reason>,
}

impl Resolver {
    /// Somebody hands over an answer, to the node of `key` if it is given with its URL; the account of `address` answers for it.
    ///
    /// What verifies is taken in as if a holder had given it, within the quotas of that account, and whoever waits is told. Returns the
    /// keys under which the content is known from now on.
    ///
    /// # Errors
    /// Why it does not prove the key, or, without one, why it has no hash of its own; [`Reason::Mismatch`] also where it does not prove
    /// the key but was taken in under its own hashes; [`Reason::Denied`] by an operator's rule; [`Reason::RateLimited`] where the quotas
    /// are spent.
    pub fn contribute(
        &self,
        now: Instant,
        address: &str,
        key: Option<(CapsKey, &str)>,
        answer: &Answer,
    ) -> Result<Vec<CapsKey>, Reason> {
        if answer.too_large || answer.size > self.policy.max_bytes {
            return Err(Reason::TooLarge);
        }
        if let Some((key, _)) = key
            && self.denial(&key).is_some()
        {
            return Err(Reason::Denied);
        }
        if let Some(keys) = key.and_then(|(key, _)| self.known_already(&key, answer)) {
            return Ok(keys);
        }
        let spent = self.lock().flights.admit(now, address)?;
        let (key, node_url) = key.map_or((None, ""), |(key, node_url)| (Some(key), node_url));
        let proof = self.prove(key, answer);
        if !matches!(proof, Ok(Proof { refused: None, .. })) {
            tracing::trace!(from = address, "handed over what does not prove its key");
        }
        let Proof { info, key, refused } = proof?;
        let overrides = self.overrides();
        let source = Source {
            account: jid::bare(address),
            node_url: Some(node_url)
                .filter(|url| url.len() <= MAX_NODE_URL)
                .unwrap_or_default(),
            deferral: self.deferral(spent),
        };
        let written = source.deferral.is_none();
        let served = self.admit(&overrides, info, vec![key], &[key], source);
        let keys = served.iter().map(|(key, _)| *key).collect();
        self.step(now, |flights| flights.proven(now, &served, written));
        refused.map_or(Ok(keys), Err)
    }

    /// The keys of an answer that says what is hot already: that costs no quota.
    fn known_already(&self, key: &CapsKey, answer: &Answer) -> Option<Vec<CapsKey>> {
        let entry = self.hot(key)?;
        let (info, _) = xep0115::canonical(answer);
        let mut children = Vec::with_capacity(entry.children().len());
        info.write_children(&mut children);
        if *children != *entry.children() {
            return None;
        }
        let Verdict::Verified(info) = verify(key, answer, &self.policy) else {
            return None;
        };
        let mut keys = vec![*key];
        let more = standard_keys(&info, &self.policy).into_iter();
        keys.extend(more.filter(|other| other != key));
        Some(keys)
    }

    /// What an answer proves.
    fn prove(&self, key: Option<CapsKey>, answer: &Answer) -> Result<Proof, Reason> {
        let mut refused = None;
        if let Some(key) = key {
            match self.judged(&key, answer) {
                Ok(info) => {
                    return Ok(Proof {
                        info,
                        key,
                        refused: None,
                    });
                }
                Err(Reason::Mismatch) => refused = Some(Reason::Mismatch),
                Err(reason) => return Err(reason),
            }
        }
        let mut unproven = refused;
        for own in own_keys(answer) {
            match self.judged(&own, answer) {
                Ok(info) => {
                    return Ok(Proof {
                        info,
                        key: own,
                        refused,
                    });
                }
                Err(reason) => unproven = unproven.or(Some(reason)),
            }
        }
        Err(unproven.unwrap_or(Reason::IllFormed))
    }

    fn judged(&self, key: &CapsKey, answer: &Answer) -> Result<VerifiedInfo, Reason> {
        match verify(key, answer, &self.policy) {
            Verdict::Verified(info) => {
                self.count(key.family(), VerificationResult::Ok);
                Ok(info)
            }
            Verdict::Quarantined(reason, detail) | Verdict::Rejected(reason, detail) => {
                self.count(key.family(), verification_result(reason));
                tracing::debug!(%key, %reason, detail, "a contribution does not prove a key");
                Err(reason)
            }
        }
    }
}

/// The hashes that an answer has by the rules of either family, as far as it has one; what they are worth is for `verify` to say.
fn own_keys(answer: &Answer) -> Vec<CapsKey> {
    let (info, _) = xep0115::canonical(answer);
    let string = xep0115::verification_string(&info, IdentityOrder::Tuple);
    let input = xep0390::canonical(answer, Inheritance::Ignored);
    let input = input.map(|info| xep0390::hash_input(&info));
    let of_0115 = key_of(Family::Xep0115, Algorithm::Sha1, &string);
    let of_0390 = input.map(|input| key_of(Family::Xep0390, Algorithm::Sha256, &input));
    of_0115
        .into_iter()
        .chain(of_0390.into_iter().flatten())
        .collect()
}
