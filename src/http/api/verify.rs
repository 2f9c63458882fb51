//! `POST verify`: what hashes a disco#info has, and whether it has the one that it should have. Nothing is stored.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::{Problem, json_now};
use crate::caps;
use crate::caps::{Answer, CapsKey, Hashed, Policy, Reason, Verdict, hashes};
use crate::http::{Sources, body};
use crate::stanza::answer::{AnswerLimits, parse_query};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    query: String,
    #[serde(default)]
    node: Option<String>,
}

/// What came of a disco#info.
#[derive(Clone, Debug)]
pub(in crate::http) struct Checked {
    /// Every key that it has.
    pub(in crate::http) hashes: Vec<Hashed>,
    /// The key that it should have, and whether it proves it.
    pub(in crate::http) expected: Option<(CapsKey, Verdict)>,
}

/// The longest body in which a document of the largest size that is accepted may come: JSON and forms may take several bytes for one.
pub(in crate::http) fn most_bytes(policy: &Policy) -> usize {
    4096 + policy.max_bytes.saturating_mul(6)
}

/// Checks the `<query/>` against the rules for strangers.
///
/// # Errors
/// Where it is no `<query/>`, or too large.
pub(in crate::http) async fn check(
    query: String,
    expected: Option<CapsKey>,
    policy: Policy,
) -> Result<Checked, Problem> {
    let check = move || check_now(&query, expected, &policy);
    // It takes as long as the answers of some clients; look-ups go on meanwhile.
    let checked = tokio::task::spawn_blocking(check).await;
    checked.map_err(|_| Problem::ending())?
}

fn check_now(query: &str, expected: Option<CapsKey>, policy: &Policy) -> Result<Checked, Problem> {
    let limits = AnswerLimits {
        max_bytes: policy.max_bytes,
        max_features: policy.max_features,
    };
    let answer: Answer = parse_query(query.trim().as_bytes(), limits).map_err(|fault| {
        let detail = format!(
            "it is not a disco#info <query/>: {fault}. Give the <query/> element alone, without the <iq/> around it"
        );
        Problem::http(StatusCode::BAD_REQUEST, detail)
    })?;
    if answer.too_large {
        let (bytes, features) = (policy.max_bytes, policy.max_features);
        let detail = format!("at most {bytes} bytes and {features} features are accepted");
        return Err(Problem::of(Reason::TooLarge, detail));
    }
    Ok(Checked {
        expected: expected.map(|key| (key, caps::verify(&key, &answer, policy))),
        hashes: hashes(&answer, policy),
    })
}

#[derive(Debug, Serialize)]
struct CheckedView {
    expected: Option<HashView>,
    hashes: Vec<HashView>,
}

#[derive(Debug, Serialize)]
struct HashView {
    family: &'static str,
    algorithm: &'static str,
    hash: String,
    node: String,
    variant: Option<&'static str>,
    verdict: &'static str,
    reason: Option<&'static str>,
    detail: Option<String>,
}

impl HashView {
    fn new(key: &CapsKey, variant: Option<&'static str>, verdict: &Verdict) -> HashView {
        let refusal = verdict.refusal();
        HashView {
            family: key.family().as_str(),
            algorithm: key.algorithm().name(),
            hash: key.digest_base64(),
            node: key.to_node(""),
            variant,
            verdict: verdict.word(),
            reason: refusal.map(|(reason, _)| reason.as_str()),
            detail: refusal.map(|(_, detail)| detail.to_owned()),
        }
    }
}

/// `POST verify`.
pub(super) async fn verify(
    State(sources): State<Sources>,
    request: Request,
) -> Result<Response, Problem> {
    let policy = sources.desk.policy.clone();
    let in_url = body::query_field(request.uri(), "node").map(std::borrow::Cow::into_owned);
    let media_type = body::media_type(request.headers());
    let is_xml = match media_type.as_str() {
        "application/json" => false,
        "application/xml" | "text/xml" => true,
        _ => {
            let detail = "the body is to be application/json, or application/xml";
            return Err(Problem::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    };
    let bytes = body::read(request.into_body(), most_bytes(&policy)).await?;
    let bad = |fault: String| Problem::http(StatusCode::BAD_REQUEST, fault);
    let given = if is_xml {
        let query = String::from_utf8(bytes).map_err(|_| bad("not UTF-8".to_owned()))?;
        Given {
            query,
            node: in_url,
        }
    } else {
        let given: Given = body::object(&bytes)?;
        if given.node.is_some() && in_url.is_some() {
            let detail = "`node` stands in the body and in the address: leave one of them out";
            return Err(bad(detail.to_owned()));
        }
        Given {
            node: given.node.or(in_url),
            ..given
        }
    };
    let expected = given.node.as_deref().map(super::key_of).transpose();
    // An algorithm that is not known proves nothing, but it is not a fault of the request.
    let checked = check(given.query, expected?, policy).await?;
    let expected = checked.expected.as_ref();
    Ok(json_now(&CheckedView {
        expected: expected.map(|(key, verdict)| HashView::new(key, None, verdict)),
        hashes: checked
            .hashes
            .iter()
            .map(|hashed| HashView::new(&hashed.key, hashed.variant, &hashed.verdict))
            .collect(),
    }))
}
