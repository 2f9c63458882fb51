//! HTTP, read-only: a page for people, an API for programs, `/metrics`, `/healthz`, `/readyz`.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the [page](mod@page); a `GET` with `?node=` and a `POST` with a disco#info answer what was asked on it |
//! | `/api/v1/…` | the [API](mod@api) |
//! | `/metrics` | 200, all metrics in the text format of Prometheus |
//! | `/healthz` | 200 `ok`, while the process can answer at all |
//! | `/readyz` | 200 when the store is open and every link is up, else 503; the body names the state of each |
//!
//! A store that is in memory only still serves: `/readyz` says 200 and "degraded". A link that is down makes it 503 although
//! the others are served; `capsd_component_up` tells them apart.
//!
//! On a loopback address only requests by a name of this machine are answered, others have a 421; what a browser asks for a part of another
//! site's page has a 403, see [`hosts`].
//!
//! Nothing that is asked over HTTP makes capsd ask a client: what is stored is told, and whoever wants more asks over XMPP, where
//! capsd knows who asks. No answer holds a JID of a user or a secret, and no list a hash that only few announce. A connection
//! carries one request, lasts at most `http.timeout`, and at most `http.connections` are open at once, so that a slow or hostile
//! reader cannot use up the process. Nothing is kept for the page but what [`History`] holds, some kilobytes.

pub mod api;
mod body;
pub mod hosts;
pub mod page;
pub mod readiness;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use hosts::Hosts;
pub use readiness::{LinkState, Readiness, Report, StoreState};

use crate::config;
use crate::control::server::Desk;
use crate::history::History;
use crate::metrics::{HttpAnswer, Metrics, Route};
use crate::population::Census;

/// The largest head of a request, in bytes.
const MAX_HEAD_LEN: usize = 16 * 1024;

/// The most header fields of a request.
const MAX_HEADERS: usize = 64;

/// How long answers that have begun may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(1);

/// How long nothing is accepted after accepting failed, which is for want of file descriptors or memory.
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(100);

/// What the answers are made from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// For `/metrics`; HTTP counts itself here too.
    pub metrics: Arc<Metrics>,
    /// For `/readyz`.
    pub readiness: Arc<Readiness>,
    /// For what is stored and what is going on.
    pub desk: Arc<Desk>,
    /// For what was going on before.
    pub history: Arc<History>,
    /// For what is online.
    pub census: Arc<Census>,
}

/// Serves connections of the listener until `shutdown` completes; answers that have begun by then get one more second.
pub async fn serve(
    listener: TcpListener,
    sources: Sources,
    settings: config::Http,
    shutdown: impl Future<Output = ()>,
) {
    let hosts = match listener.local_addr() {
        Ok(address) => Hosts::at(address, &settings.names),
        Err(_) => Hosts::at(settings.listen, &settings.names),
    };
    let router = router(sources.clone(), hosts);
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok(_) if connections.len() >= settings.connections => {
                    sources.metrics.http_connections_rejected.inc();
                }
                Ok((socket, _)) => {
                    failing = false;
                    connections.spawn(answer(socket, router.clone(), settings.timeout));
                }
                Err(fault) => {
                    if !failing {
                        tracing::warn!(%fault, "HTTP connections cannot be accepted; trying again");
                    }
                    failing = true;
                    tokio::time::sleep(PAUSE_AFTER_FAULT).await;
                }
            },
        }
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    // What is not done by then is cut off when the set is dropped.
    let _ = tokio::time::timeout(GRACE, rest).await;
}

/// Answers the one request of a connection, whatever it runs over.
pub async fn answer<S>(stream: S, router: Router, timeout: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_LEN)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(timeout, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => tracing::debug!(%fault, "an HTTP connection ended"),
        Err(_) => tracing::debug!("an HTTP connection was cut off after http.timeout"),
    }
}

/// What is there to be asked for, by those names.
pub fn router(sources: Sources, hosts: Hosts) -> Router {
    let misdirected = (hosts, Arc::clone(&sources.metrics));
    Router::new()
        .merge(api::routes())
        .merge(page::routes())
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(sources.clone(), count))
        .layer(middleware::from_fn_with_state(misdirected, hosts::check))
        .with_state(sources)
}

async fn not_found(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        return api::not_found().into_response();
    }
    let text = "not found: there are /, /api/v1/, /metrics, /healthz and /readyz\n";
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn wrong_method(uri: Uri) -> Response {
    let text = "another method is to be used here: the header `allow` says which";
    if uri.path().starts_with("/api/") {
        return api::Problem::http(StatusCode::METHOD_NOT_ALLOWED, text).into_response();
    }
    (StatusCode::METHOD_NOT_ALLOWED, format!("{text}\n")).into_response()
}

async fn metrics(State(sources): State<Sources>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    (
        [(header::CONTENT_TYPE, content_type)],
        sources.metrics.render(),
    )
}

async fn readyz(State(sources): State<Sources>) -> impl IntoResponse {
    let report = sources.readiness.report();
    let status = match report.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, report.to_string())
}

async fn count(State(sources): State<Sources>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = Route::of(request.uri().path());
    let method = request.method().clone();
    let response = next.run(request).await;
    let metrics = &sources.metrics;
    let answer = HttpAnswer::of(route, method.as_str(), response.status().as_u16());
    if let Some(answer) = answer {
        metrics.http_requests.get(answer).inc();
    }
    let duration = metrics.http_request_duration.get(route);
    duration.observe(begun.elapsed().as_secs_f64());
    response
}
