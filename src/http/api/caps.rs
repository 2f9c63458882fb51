//! Look-ups: of one key, of many.

use std::str::FromStr as _;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{ContentView, Problem, json_now};
use crate::caps::{Algorithm, CapsKey, Family, NodeError, Reason};
use crate::control::desk::{self, Finding, Found};
use crate::control::protocol::Tier;
use crate::http::{Sources, body};
use crate::metrics::LookupResult;

/// How long an answer may be kept by whoever has it. What a hash means never changes, but an operator may deny it.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=60");

/// The most keys of one request.
const MAX_KEYS: usize = 256;

/// The longest body of a look-up, in bytes: as many keys as may be asked for, each as long as a node may be.
const MAX_BODY: usize = MAX_KEYS * 1280;

/// After how many bytes of contents the rest is left for another request.
const ENOUGH: usize = 1 << 20;

/// In which way a content is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Xml,
}

type Named = Result<Path<(String, String, String)>, PathRejection>;

/// `GET caps/FAMILY/ALGO/BASE64URL`.
pub(super) async fn get(
    State(sources): State<Sources>,
    path: Named,
    request: Request,
) -> Result<Response, Problem> {
    let format = format_of(&request)?;
    let rejected = |problem| {
        sources
            .metrics
            .lookups
            .get(LookupResult::HttpRejected)
            .inc();
        problem
    };
    let Path((family, algorithm, hash)) =
        path.map_err(|_| rejected(NodeError::Malformed.into()))?;
    let key = key_in_path(&family, &algorithm, &hash).map_err(rejected)?;
    let found = find(&sources, key).await?;
    let view = ContentView::new(&key, &found);
    let text = match format {
        Format::Json => serde_json::to_string(&view)
            .map_err(|fault| Problem::http(StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()))?,
        Format::Xml => desk::query(found.info.info()),
    };
    Ok(cacheable(&request, format, found.tier, text))
}

fn key_in_path(family: &str, algorithm: &str, hash: &str) -> Result<CapsKey, Problem> {
    let families = Family::ALL.into_iter();
    let family = families.clone().find(|known| known.as_str() == family);
    let Some(family) = family else {
        let detail = "the family is 0115 or 0390, the number of the specification";
        return Err(Problem::of(Reason::MalformedNode, detail));
    };
    let algorithm = Algorithm::from_name(algorithm).ok_or(NodeError::UnsupportedAlgorithm)?;
    let Ok(digest) = URL_SAFE_NO_PAD.decode(hash.trim_end_matches('=')) else {
        let detail = "the hash is to be in base64url: `-` and `_` instead of `+` and `/`";
        return Err(Problem::of(Reason::MalformedNode, detail));
    };
    let key = CapsKey::new(family, algorithm, &digest);
    key.map_err(|fault| match fault {
        NodeError::Malformed => {
            let (name, wanted, given) = (algorithm.name(), algorithm.digest_len(), digest.len());
            let detail = format!("a {name} hash has {wanted} bytes, and this one {given}");
            Problem::of(Reason::MalformedNode, detail)
        }
        fault => fault.into(),
    })
}

/// The content that is served under a key, counted; nobody is asked for it.
pub(in crate::http) async fn find(sources: &Sources, key: CapsKey) -> Result<Box<Found>, Problem> {
    let finding = sources.desk.find(key).await.unwrap_or(Finding::NotYet);
    let (result, found) = match finding {
        Finding::Found(mut found) => {
            // A node URL that one account made up may be as good as a name. Only the control socket tells those that are not common.
            if !found.tier.is_operators() {
                found.nodes.truncate(found.seen_nodes.unwrap_or_default());
            }
            let result = match found.tier {
                tier if tier.is_operators() => LookupResult::HttpOverride,
                _ => LookupResult::HttpHit,
            };
            (result, Ok(found))
        }
        Finding::Denied(why) => {
            let problem = Problem::of(Reason::Denied, why);
            (LookupResult::HttpRejected, Err(problem))
        }
        Finding::Unknown => {
            let detail = "it is not stored; nobody is asked for it over HTTP";
            let problem = Problem::of(Reason::Unknown, detail);
            (LookupResult::HttpNegative, Err(problem))
        }
        Finding::NotYet => {
            let detail =
                "the tiers cannot be looked in now: capsd has just been started, or is ending";
            (LookupResult::HttpRejected, Err(Problem::not_yet(detail)))
        }
    };
    sources.metrics.lookups.get(result).inc();
    found
}

/// The key of a node, or in the form `FAMILY:ALGO:BASE64`.
pub(in crate::http) fn key_of(text: &str) -> Result<CapsKey, NodeError> {
    match text.contains('#') {
        true => CapsKey::from_node(text),
        false => CapsKey::from_str(text),
    }
}

/// The format that is wanted: by `?format=`, else by `Accept`, else JSON.
fn format_of(request: &Request) -> Result<Format, Problem> {
    match body::query_field(request.uri(), "format").as_deref() {
        Some("json") => return Ok(Format::Json),
        Some("xml") => return Ok(Format::Xml),
        Some(_) => {
            let detail = "`format` is json or xml";
            return Err(Problem::http(StatusCode::BAD_REQUEST, detail));
        }
        None => {}
    }
    let quality = |types: &[&str]| {
        let types = types.iter();
        types.map(|name| quality(request.headers(), name)).max()
    };
    let json = quality(&["application/json"]);
    let xml = quality(&["application/xml", "text/xml"]);
    Ok(if xml > json {
        Format::Xml
    } else {
        Format::Json
    })
}

/// How much a media type is wanted, in thousandths: by the most specific range of `Accept` that holds it (RFC 9110 section 12.5.1).
fn quality(headers: &HeaderMap, media_type: &str) -> u32 {
    let (main, _) = media_type.split_once('/').unwrap_or_default();
    let mut best = (0, 0);
    let values = headers.get_all(header::ACCEPT).into_iter();
    let ranges = values.filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specific = match name.as_str() {
            name if name == media_type => 3,
            name if name.strip_suffix("/*") == Some(main) => 2,
            "*/*" => 1,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight = weight.map_or(Ok(1.0), str::parse::<f32>).unwrap_or(0.0);
        if specific > best.0 {
            best = (specific, (weight.clamp(0.0, 1.0) * 1000.0) as u32);
        }
    }
    best.1
}

/// An answer that may be kept for a while, or the word that the one at hand is still good.
fn cacheable(request: &Request, format: Format, tier: Tier, text: String) -> Response {
    let digest = Sha256::digest(text.as_bytes());
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..16]));
    let values = request.headers().get_all(header::IF_NONE_MATCH).into_iter();
    let mut known = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"));
    let mut response = match known.any(|tag| tag == "*" || tag == etag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => text.into_response(),
    };
    let content_type = match format {
        Format::Json => "application/json",
        Format::Xml => "application/xml",
    };
    // Where it came from, in the words of RFC 9211.
    let cache_status = match tier {
        Tier::Learned => "capsd; hit; detail=learned",
        Tier::Trusted => "capsd; hit; detail=trusted",
        Tier::Pinned => "capsd; hit; detail=pinned",
        Tier::Hot => "capsd; hit; detail=hot",
        Tier::Probation => "capsd; hit; detail=probation",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert("cache-status", HeaderValue::from_static(cache_status));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LookUp {
    /// Nodes, or keys in the form `FAMILY:ALGO:BASE64`.
    keys: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Results {
    /// One for each key, in their order, up to where it was enough.
    results: Vec<ResultView>,
    /// How many keys at the end were not looked at, because the contents before them are enough for one answer.
    left: usize,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ResultView {
    Found {
        asked: String,
        found: bool,
        content: Box<ContentView>,
    },
    NotFound {
        asked: String,
        found: bool,
        reason: &'static str,
        detail: String,
    },
}

/// `POST lookup`.
pub(super) async fn look_up(
    State(sources): State<Sources>,
    request: Request,
) -> Result<Response, Problem> {
    if body::media_type(request.headers()) != "application/json" {
        let detail = "the body is to be application/json";
        return Err(Problem::http(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let bytes = body::read(request.into_body(), MAX_BODY).await?;
    let LookUp { keys } = body::object(&bytes)?;
    if keys.len() > MAX_KEYS {
        let detail = format!("at most {MAX_KEYS} keys are looked up at once");
        return Err(Problem::of(Reason::TooLarge, detail));
    }
    let mut left = keys.len();
    let mut bytes = 0;
    let mut results = Vec::with_capacity(left);
    for asked in keys {
        if bytes > ENOUGH {
            break;
        }
        left -= 1;
        let found = match key_of(&asked) {
            Ok(key) => find(&sources, key).await.map(|found| (key, found)),
            Err(fault) => {
                sources
                    .metrics
                    .lookups
                    .get(LookupResult::HttpRejected)
                    .inc();
                Err(fault.into())
            }
        };
        results.push(match found {
            Ok((key, found)) => {
                let strings = found.info.info().strings();
                bytes += strings.map(str::len).sum::<usize>();
                ResultView::Found {
                    asked,
                    found: true,
                    content: Box::new(ContentView::new(&key, &found)),
                }
            }
            Err(problem) => ResultView::NotFound {
                asked,
                found: false,
                reason: problem.reason().map_or("", Reason::as_str),
                detail: problem.detail().to_owned(),
            },
        });
    }
    Ok(json_now(&Results { results, left }))
}
