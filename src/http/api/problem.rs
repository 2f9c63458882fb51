//! Problems: what is answered instead of what was asked for (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::caps::{NodeError, Reason};

/// What the `type` of a problem begins with; the reason follows.
const TYPE_PREFIX: &str = "urn:capsd:0#";

/// After how many seconds it is worth asking again when capsd cannot answer yet.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Why a request has no other answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    reason: Option<Reason>,
    detail: String,
}

impl Problem {
    /// A problem with a word; the detail is for people.
    pub fn of(reason: Reason, detail: impl Into<String>) -> Problem {
        Problem {
            status: status_of(reason),
            reason: Some(reason),
            detail: detail.into(),
        }
    }

    /// A problem that only HTTP has, and no word for it.
    pub fn http(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            reason: None,
            detail: detail.into(),
        }
    }

    /// The tiers cannot be asked now.
    pub fn not_yet(detail: &str) -> Problem {
        Problem::of(Reason::Overloaded, detail)
    }

    /// The daemon is about to end.
    pub fn ending() -> Problem {
        Problem::not_yet("the daemon is ending; try again when it runs")
    }

    /// The status that goes with it.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The word, where there is one.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// What it is, for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<NodeError> for Problem {
    fn from(fault: NodeError) -> Problem {
        Problem::of(fault.reason(), fault.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Problem");
        let mut object = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(reason) = self.reason {
            object["type"] = json!(format!("{TYPE_PREFIX}{reason}"));
            object["title"] = json!(title_of(reason));
            object["reason"] = json!(reason.as_str());
        }
        let mut response = (self.status, object.to_string()).into_response();
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, content_type);
        // It may be learned, or allowed, the next moment.
        let no_store = HeaderValue::from_static("no-store");
        headers.insert(header::CACHE_CONTROL, no_store);
        if matches!(self.reason, Some(Reason::RateLimited | Reason::Overloaded)) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// The status that goes with a word.
fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::Unknown
        | Reason::Unreachable
        | Reason::Mismatch
        | Reason::IllFormed
        | Reason::Ambiguous
        | Reason::Legacy
        | Reason::UnsupportedAlgorithm => StatusCode::NOT_FOUND,
        Reason::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Reason::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Denied => StatusCode::GONE,
        Reason::MalformedNode => StatusCode::BAD_REQUEST,
        Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::Forbidden => StatusCode::FORBIDDEN,
    }
}

/// The same short text whenever the word is the same.
pub(in crate::http) fn title_of(reason: Reason) -> &'static str {
    match reason {
        Reason::Unknown => "The hash is not stored",
        Reason::Unreachable => "Nobody who announces the hash could be asked",
        Reason::Mismatch => "The content does not have the hash",
        Reason::IllFormed => "The content breaks a rule of the specification",
        Reason::Ambiguous => "The content could mean something else under the same hash",
        Reason::Timeout => "The deadline passed",
        Reason::Legacy => "Announced without a hash",
        Reason::UnsupportedAlgorithm => "The hash function is not supported",
        Reason::RateLimited => "A quota is spent",
        Reason::Overloaded => "Not now",
        Reason::Denied => "The operator denies the hash",
        Reason::MalformedNode => "Not the node of a caps hash",
        Reason::TooLarge => "Too large",
        Reason::Forbidden => "Not permitted",
    }
}
