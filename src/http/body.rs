//! What comes with a request: a bounded body, the fields of a form, the query of a URL.

use std::borrow::Cow;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde::de::DeserializeOwned;

use super::api::Problem;
use crate::caps::Reason;

/// The whole body.
///
/// # Errors
/// `too-large` where it has more bytes than that, and a plain 400 where it breaks off.
pub(super) async fn read(body: Body, most: usize) -> Result<Vec<u8>, Problem> {
    match to_bytes(body, most).await {
        Ok(bytes) => Ok(bytes.into()),
        Err(fault) if is_length(&fault) => {
            let detail = format!("a body of at most {most} bytes is accepted here");
            Err(Problem::of(Reason::TooLarge, detail))
        }
        Err(_) => Err(Problem::http(
            StatusCode::BAD_REQUEST,
            "the body breaks off, or is not encoded as its head says",
        )),
    }
}

/// Whether the bound was hit. The type of that error is not to be had without another crate, its text is documented.
fn is_length(fault: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(fault);
    while let Some(fault) = cause {
        if fault.to_string() == "length limit exceeded" {
            return true;
        }
        cause = fault.source();
    }
    false
}

/// What a body says that is to be a JSON object with those names. serde would take a list of the values for one, too.
///
/// # Errors
/// A plain 400 where it is something else.
pub(super) fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bad = |detail: String| Problem::http(StatusCode::BAD_REQUEST, detail);
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad("the body is to be a JSON object".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|fault| bad(fault.to_string()))
}

/// The media type of the body, in lower case, without its parameters; empty where none is said.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let (media_type, _) = value.split_once(';').unwrap_or((value, ""));
    media_type.trim().to_ascii_lowercase()
}

/// The first field of that name in a form, or in the query of a URL.
pub(super) fn field<'a>(form: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    let mut fields = form_urlencoded::parse(form);
    fields
        .find(|(field, _)| field == name)
        .map(|(_, value)| value)
}

/// The first field of that name in the query of a URL.
pub(super) fn query_field<'a>(uri: &'a Uri, name: &str) -> Option<Cow<'a, str>> {
    field(uri.query().unwrap_or("").as_bytes(), name)
}
