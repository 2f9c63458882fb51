//! What a stranger's page may make somebody's browser send: nothing that it learns by.
//!
//! The browser of whoever can reach capsd over loopback also runs the scripts of strangers. So a request must have a name of this machine. A site may give its own name the address
//! 127.0.0.1 (DNS rebinding); to the browser, capsd's answers are then that site's own, to be read by its scripts. What such a request
//! cannot hide is the name: it stands in `Host`. An address is no name, and `localhost` is never looked up elsewhere (RFC 6761 section
//! 6.3), so neither can be made to lead here.
//!
//! Where capsd listens on another address, whoever can reach it can ask it without the help of anybody's browser, and Prometheus and
//! probes may know it by any name: names are not checked there.
//!
//! A page need not read an answer to learn by it: whether a hash is stored can be told by whether an `<object>` of it was loaded. Browsers
//! say of a request that it is for a part of another site's page (Fetch Metadata, `Sec-Fetch-Site`); such requests are all
//! refused alike. Links from elsewhere to here work.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::api::Problem;
use crate::caps::Reason;
use crate::metrics::{HttpAnswer, Metrics, Route};

/// The names under which capsd may be asked.
#[derive(Clone, Debug)]
pub enum Hosts {
    /// Any.
    Any,
    /// IP addresses, `localhost` with all below it, and these, in lower case.
    Local(Arc<[String]>),
}

impl Hosts {
    /// Those of a listener at that address: on loopback the local ones and `names` (`http.names`), else any.
    pub fn at(listening: SocketAddr, names: &[String]) -> Hosts {
        match listening.ip().to_canonical().is_loopback() {
            true => Hosts::Local(names.into()),
            false => Hosts::Any,
        }
    }

    /// Whether a request for this host, with or without a port, is for capsd.
    fn has(&self, host: &str) -> bool {
        let Hosts::Local(names) = self else {
            return true;
        };
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        let host = authority.host().to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if let Some(bare) = bare {
            return bare.parse::<Ipv6Addr>().is_ok();
        }
        let name = host.strip_suffix('.').unwrap_or(&host);
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<Ipv4Addr>().is_ok()
            || names.iter().any(|known| known == name)
    }

    /// Whether each name that a request has is one of capsd's. Before HTTP/1.1 it need not have any.
    fn are_those_of(&self, request: &Request) -> bool {
        if matches!(self, Hosts::Any) {
            return true;
        }
        let in_url = request.uri().authority().map(Authority::as_str);
        let values = request.headers().get_all(header::HOST).into_iter();
        let in_head = values.map(|value| value.to_str().unwrap_or(""));
        let mut named = in_url.into_iter().chain(in_head).peekable();
        match named.peek() {
            None => request.version() < Version::HTTP_11,
            Some(_) => named.all(|host| self.has(host)),
        }
    }
}

/// Answers requests that are for somebody else, or for a part of another site's page, whatever they ask for; passes on the others.
pub(super) async fn check(
    State((hosts, metrics)): State<(Hosts, Arc<Metrics>)>,
    request: Request,
    next: Next,
) -> Response {
    let problem = if !hosts.are_those_of(&request) {
        misdirected()
    } else if is_part_of_another_site(request.headers()) {
        let detail =
            "the page of another site may link here, but it may not have this as a part of it";
        Problem::of(Reason::Forbidden, detail)
    } else {
        return next.run(request).await;
    };
    let status = problem.status().as_u16();
    // Not under the route that it names: it got nowhere.
    if let Some(answer) = HttpAnswer::of(Route::Other, request.method().as_str(), status) {
        metrics.http_requests.get(answer).inc();
    }
    problem.into_response()
}

fn misdirected() -> Problem {
    Problem::http(
        StatusCode::MISDIRECTED_REQUEST,
        "`Host` is not a name of this capsd, which listens on loopback alone: the page of a stranger may have sent your browser here. \
         Ask by an IP address or as localhost, or write the name into `names` of [http] in the configuration and restart capsd",
    )
}

/// Whether a browser sends it for a page of another site, other than to show the answer in its place.
fn is_part_of_another_site(headers: &HeaderMap) -> bool {
    let is = |name: &str, word: &str| headers.get(name).is_some_and(|value| value == word);
    let is_elsewhere = is("sec-fetch-site", "cross-site") || is("sec-fetch-site", "same-site");
    is_elsewhere && !(is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document"))
}
