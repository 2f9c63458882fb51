//! The page at `/`, for people: how capsd is, what it is doing, and two boxes to ask it something.
//!
//! | room | what lives there |
//! |---|---|
//! | this file | what is asked for, and the frame |
//! | `overview` | state, links, tiers, flights, refusals |
//! | `population` | what is online |
//! | `chart` | the hit ratio over time, drawn and as a table |
//! | `boxes` | the box for a hash, the box for a disco#info, and their answers |
//! | `words` | numbers, sizes and times as people write them |
//!
//! It is made on the server, without scripts, and loads nothing from elsewhere; its policy forbids what it does not use. Everything on
//! it is escaped by the macro that writes it. Unasked it shows no hash that only few announce.

mod boxes;
mod chart;
mod overview;
mod population;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};

use super::api::{Problem, StatusView};
use super::{Sources, api, body};
use crate::control::protocol::Flights;
use crate::history::Shown;
use crate::population::Population;
use boxes::{Check, LookUp};

/// What the page may do: take its own style and picture, and send its forms to where it came from.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What is there.
pub(super) fn routes() -> Router<Sources> {
    Router::new()
        .route("/", get(show).post(check))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon))
}

async fn style() -> impl IntoResponse {
    asset("text/css; charset=utf-8", include_str!("style.css"))
}

async fn icon() -> impl IntoResponse {
    asset("image/svg+xml", include_str!("icon.svg"))
}

fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        // A newer version may have another one under the same name.
        (header::CACHE_CONTROL, "max-age=300"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text)
}

/// `GET /`, with `?node=` if something was asked.
async fn show(State(sources): State<Sources>, request: Request) -> Response {
    let asked = body::query_field(request.uri(), "node");
    let look_up = match asked.as_deref().map(str::trim) {
        None | Some("") => LookUp::default(),
        Some(asked) => boxes::look_up(&sources, asked).await,
    };
    page(&sources, StatusCode::OK, &look_up, &Check::default()).await
}

/// `POST /`: a disco#info was pasted.
async fn check(State(sources): State<Sources>, request: Request) -> Response {
    let most = api::most_bytes(&sources.desk.policy);
    let (status, check) = match body::read(request.into_body(), most).await {
        Ok(form) => (StatusCode::OK, boxes::check(&sources, &form).await),
        Err(problem) => (problem.status(), Check::refused(problem)),
    };
    page(&sources, status, &LookUp::default(), &check).await
}

async fn page(sources: &Sources, status: StatusCode, look_up: &LookUp, check: &Check) -> Response {
    let view = match View::now(sources).await {
        Ok(view) => view,
        Err(problem) => {
            let text = format!("{}\n", problem.detail());
            return (problem.status(), text).into_response();
        }
    };
    let headers: [(HeaderName, &str); 6] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    let text = view.render(look_up, check).into_string();
    (status, headers, text).into_response()
}

/// Everything that the page shows unasked.
struct View {
    status: StatusView,
    shown: Shown,
    flights: Flights,
    population: Arc<Population>,
}

impl View {
    async fn now(sources: &Sources) -> Result<View, Problem> {
        Ok(View {
            status: StatusView::now(sources).await?,
            shown: sources.history.shown((sources.desk.clock)()),
            flights: api::flights_now(sources).await?,
            population: sources.census.latest(),
        })
    }

    fn render(&self, look_up: &LookUp, check: &Check) -> Markup {
        let state = overview::state(&self.status);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { "capsd: " (state.word) }
                    link rel="icon" href="/icon.svg" type="image/svg+xml";
                    link rel="stylesheet" href="/style.css";
                }
                body {
                    (overview::masthead(&self.status, &state))
                    main {
                        (overview::figures(&self.status, &self.flights))
                        (overview::links(&self.status))
                        (chart::section(&self.shown))
                        @if look_up.is_answered() { (boxes::look_up_section(look_up)) }
                        @if check.is_answered() { (boxes::check_section(check)) }
                        div.column {
                            @if !look_up.is_answered() { (boxes::look_up_section(look_up)) }
                            (overview::tiers(&self.status))
                        }
                        div.column {
                            @if !check.is_answered() { (boxes::check_section(check)) }
                            (overview::flights(&self.flights))
                        }
                        (population::section(&self.population))
                        (overview::refusals(&self.status))
                    }
                    (overview::footer(&self.status))
                }
            }
        }
    }
}
