//! By which names capsd may be asked: a site whose name is led to a loopback address reads nothing (DNS rebinding).

use std::net::SocketAddr;

use capsd::config;
use capsd::http::{Hosts, serve};
use capsd::metrics::{HttpAnswer, Route};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Server, read_to_end};

/// A server on loopback that has a name.
async fn server() -> Server {
    let names = vec!["caps.example.org".to_owned()];
    let settings = config::Http {
        names,
        ..config::Http::default()
    };
    Server::start(settings).await
}

/// The answer to a request with that line and those headers, each with its end of line.
async fn ask(address: SocketAddr, line: &str, headers: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("{line}\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut socket).await
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

const ROUTES: [&str; 8] = [
    "/",
    "/style.css",
    "/api/v1/status",
    "/api/v1/openapi.json",
    "/metrics",
    "/healthz",
    "/readyz",
    "/nothing",
];

#[tokio::test]
async fn a_name_that_was_led_here_reads_nothing() {
    let server = server().await;
    for path in ROUTES {
        // As a browser writes it.
        let headers = format!(
            "Host: rebound.example:{}\r\nConnection: keep-alive\r\nAccept: */*\r\n\
             Origin: http://rebound.example:{}\r\nSec-Fetch-Site: same-origin\r\n",
            server.address.port(),
            server.address.port()
        );
        let answer = ask(server.address, &format!("GET {path} HTTP/1.1"), &headers).await;
        assert_eq!(status(&answer), 421, "{path}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: application/problem+json"));
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 421);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("`names` of [http]"), "{detail}");
        // Nor does it learn that anybody is there by another name.
        assert!(!body.contains("caps.example.org"), "{body}");
    }
    let post = ask(
        server.address,
        "POST /api/v1/lookup HTTP/1.1",
        "Host: rebound.example\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}",
    );
    assert_eq!(status(&post.await), 421);
    let requests = &server.metrics().http_requests;
    let counted = |method| HttpAnswer::of(Route::Other, method, 421).unwrap();
    assert_eq!(requests.get(counted("GET")).get(), ROUTES.len() as u64);
    assert_eq!(requests.get(counted("POST")).get(), 1);
}

#[tokio::test]
async fn each_name_is_judged() {
    let server = server().await;
    for (host, expected) in [
        ("127.0.0.1", 200),
        ("127.0.0.1:9116", 200),
        ("192.0.2.7:80", 200),
        ("[::1]", 200),
        ("[::1]:9116", 200),
        ("localhost", 200),
        ("LocalHost:9116", 200),
        ("localhost.:9116", 200),
        ("capsd.localhost", 200),
        ("caps.example.org", 200),
        ("CAPS.example.org:443", 200),
        ("caps.example.org.", 200),
        ("other.example.org", 421),
        ("sub.caps.example.org", 421),
        ("caps.example.org.evil.example", 421),
        ("evillocalhost", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.0.0.1@evil.example", 421),
        ("[evil.example]", 421),
        ("127.0.0.1 evil.example", 421),
        ("", 421),
    ] {
        let headers = format!("Host: {host}\r\n");
        let answer = ask(server.address, "GET /healthz HTTP/1.1", &headers).await;
        assert_eq!(status(&answer), expected, "{host:?}: {answer}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_learns_nothing_by_having_this_as_a_part() {
    let server = server().await;
    let as_part = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: object";
    let mut answers = std::collections::BTreeSet::new();
    for path in ROUTES {
        let headers = format!("Host: localhost\r\n{as_part}\r\n");
        let answer = ask(server.address, &format!("GET {path} HTTP/1.1"), &headers).await;
        assert_eq!(status(&answer), 403, "{path}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains("\"reason\":\"forbidden\""), "{body}");
        answers.insert(body.to_owned());
    }
    assert_eq!(answers.len(), 1, "they differ: {answers:?}");
    let counted = HttpAnswer::of(Route::Other, "GET", 403).unwrap();
    let counted = server.metrics().http_requests.get(counted).get();
    assert_eq!(counted, ROUTES.len() as u64);
    for (site, mode, dest, expected) in [
        ("same-site", "no-cors", "script", 403),
        ("cross-site", "cors", "empty", 403),
        ("cross-site", "navigate", "iframe", 403),
        ("cross-site", "navigate", "object", 403),
        // Somebody follows a link, types the address, or is on the page already.
        ("cross-site", "navigate", "document", 200),
        ("none", "navigate", "document", 200),
        ("same-origin", "no-cors", "style", 200),
    ] {
        let headers = format!(
            "Host: localhost\r\nSec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {dest}\r\n"
        );
        let answer = ask(server.address, "GET /healthz HTTP/1.1", &headers).await;
        assert_eq!(status(&answer), expected, "{headers}: {answer}");
    }
}

#[tokio::test]
async fn every_name_that_a_request_has_counts() {
    let server = server().await;
    for (line, headers, expected) in [
        ("GET /healthz HTTP/1.0", "", 200),
        ("GET /healthz HTTP/1.0", "Host: evil.example\r\n", 421),
        ("GET /healthz HTTP/1.1", "", 421),
        (
            "GET /healthz HTTP/1.1",
            "Host: localhost\r\nHost: evil.example\r\n",
            421,
        ),
        (
            "GET http://evil.example/healthz HTTP/1.1",
            "Host: localhost\r\n",
            421,
        ),
        (
            "GET http://localhost/healthz HTTP/1.1",
            "Host: localhost\r\n",
            200,
        ),
    ] {
        let answer = ask(server.address, line, headers).await;
        assert_eq!(status(&answer), expected, "{line} {headers:?}: {answer}");
    }
}

#[tokio::test]
async fn where_it_is_open_to_others_every_name_is_answered() {
    let server = server().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
    let settings = config::Http::default();
    let sources = server.sources.clone();
    let serving = tokio::spawn(serve(listener, sources, settings, std::future::pending()));
    for headers in ["Host: capsd:9116\r\n", "Host: evil.example\r\n", ""] {
        let answer = ask(address, "GET /healthz HTTP/1.1", headers).await;
        assert_eq!(status(&answer), 200, "{headers:?}: {answer}");
    }
    serving.abort();
}

#[test]
fn which_addresses_are_loopback() {
    for (address, local) in [
        ("127.0.0.1:1", true),
        ("127.255.0.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("192.0.2.1:1", false),
        ("[2001:db8::1]:1", false),
    ] {
        let hosts = Hosts::at(address.parse().unwrap(), &[]);
        assert_eq!(matches!(hosts, Hosts::Local(_)), local, "{address}");
    }
}
