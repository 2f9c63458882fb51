//! Every caps key of one answer, with what verification says to each.

use super::digest::key_of;
use super::xep0115::{self, IdentityOrder};
use super::xep0390::{self, Inheritance};
use super::{Algorithm, Answer, CapsKey, Family, Policy, Verdict, verify};

/// A key that an answer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The key.
    pub key: CapsKey,
    /// What sets its hash input apart where it is not the only one of its family: `joined-order` for identities sorted as joined
    /// strings (XEP-0115), `inherited-lang` for a language taken from the `<query/>` (XEP-0390).
    pub variant: Option<&'static str>,
    /// Whether the answer proves it.
    pub verdict: Verdict,
}

/// One way to make a string from the answer that is then hashed.
struct Input {
    family: Family,
    variant: Option<&'static str>,
    bytes: Vec<u8>,
}

/// Every key of the answer as it was sent, by both families and all their algorithms: what is ill-formed has a hash, too.
pub fn hashes(answer: &Answer, policy: &Policy) -> Vec<Hashed> {
    let mut hashed = Vec::new();
    for input in inputs(answer) {
        for algorithm in Algorithm::ALL {
            if let Ok(key) = key_of(input.family, algorithm, &input.bytes) {
                hashed.push(Hashed {
                    key,
                    variant: input.variant,
                    verdict: verify(&key, answer, policy),
                });
            }
        }
    }
    hashed
}

fn inputs(answer: &Answer) -> Vec<Input> {
    let (info, _) = xep0115::canonical(answer);
    let of_0115 = |order, variant| Input {
        family: Family::Xep0115,
        variant,
        bytes: xep0115::verification_string(&info, order),
    };
    let of_0390 = |inheritance, variant| Input {
        family: Family::Xep0390,
        variant,
        bytes: xep0390::hash_input_as_sent(answer, inheritance),
    };
    let mut inputs = vec![of_0115(IdentityOrder::Tuple, None)];
    if xep0115::orders_differ(&info) {
        inputs.push(of_0115(IdentityOrder::Joined, Some("joined-order")));
    }
    inputs.push(of_0390(Inheritance::Ignored, None));
    if xep0390::inherits(answer) {
        inputs.push(of_0390(Inheritance::Applied, Some("inherited-lang")));
    }
    inputs
}
