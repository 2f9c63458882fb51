//! `/api/v1`: what capsd knows, for programs. Reading only: nothing that is asked here changes anything, makes capsd ask a client,
//! or keeps what was sent.
//!
//! | request | answer |
//! |---|---|
//! | `GET caps/FAMILY/ALGO/BASE64URL` | a content, as JSON or as the `<query/>` |
//! | `POST lookup` | many contents |
//! | `POST verify` | the hashes of a disco#info `<query/>`, and whether it has a given one |
//! | `GET status`, `GET flights`, `GET population` | what the page shows |
//! | `GET openapi.json` | all this for programs |
//!
//! Whoever can connect can find out whether a given hash is stored, by the answer or by the time that it takes. A hash that
//! only few announce may tell who is online, so no list ever holds one; a given one is told, because whoever names it has it
//! already. That is why `http.listen` is a loopback address unless the operator says otherwise.

mod caps;
mod content;
mod problem;
mod status;
mod verify;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;

use super::Sources;

pub(super) use caps::{find, key_of};
use content::ContentView;
pub use problem::Problem;
pub(super) use problem::title_of;
pub(super) use status::{StatusView, flights_now};
pub(super) use verify::{Checked, check, most_bytes};

/// What is there.
pub(super) fn routes() -> Router<Sources> {
    Router::new()
        .route("/api/v1/caps/{family}/{algorithm}/{hash}", get(caps::get))
        .route("/api/v1/lookup", post(caps::look_up))
        .route("/api/v1/verify", post(verify::verify))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/flights", get(status::flights))
        .route("/api/v1/population", get(status::population))
        .route("/api/v1/openapi.json", get(openapi))
}

/// The answer to what is not there.
pub(super) fn not_found() -> Problem {
    let detail = "there is no such thing below /api/v1/; /api/v1/openapi.json says what is there";
    Problem::http(StatusCode::NOT_FOUND, detail)
}

async fn openapi() -> impl IntoResponse {
    let content_type = (header::CONTENT_TYPE, "application/json");
    ([content_type], include_str!("openapi.json"))
}

/// Something as JSON that is as it is for this moment only.
fn json_now(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => {
            let headers = [
                (header::CONTENT_TYPE, "application/json"),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, text).into_response()
        }
        // What is written here has no maps with other keys than strings, and no numbers that JSON lacks.
        Err(fault) => {
            let detail = format!("it cannot be written as JSON: {fault}");
            Problem::http(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        }
    }
}
