//! Connections: what is counted, cut off, closed and ended.

use std::time::Duration;

use capsd::config;
use capsd::metrics::{HttpAnswer, Route};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::{Server, read_to_end};

#[tokio::test]
async fn metrics_are_served_with_the_type_that_prometheus_expects() {
    let server = Server::start(config::Http::default()).await;
    server.metrics().upstream_queries_sent.inc_by(7);
    let (status, answer) = server.ask("GET", "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        answer.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\ncapsd_upstream_queries_sent_total 7\n"));
    assert!(answer.contains("\nprocess_resident_memory_bytes "));
}

#[tokio::test]
async fn health_is_that_of_the_process() {
    let server = Server::start(config::Http::default()).await;
    assert_eq!(server.body("/healthz").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn readiness_follows_store_and_links() {
    let server = Server::start(config::Http::default()).await;
    let readiness = &server.sources.readiness;
    let expect = async |status: u16, body: &str| {
        assert_eq!(server.body("/readyz").await, (status, body.to_owned()));
        assert_eq!(
            server.metrics().ready.get(),
            i64::from(status == 200),
            "{body}"
        );
    };

    expect(
        503,
        "not ready\nstore: being opened\nlink caps.one.example: down: not connected yet\n\
         link caps.two.example: down: not connected yet\n",
    )
    .await;

    readiness.link_up(0);
    readiness.link_up(1);
    expect(
        503,
        "not ready\nstore: being opened\nlink caps.one.example: up\nlink caps.two.example: up\n",
    )
    .await;

    readiness.store_on_disk();
    expect(
        200,
        "ready\nstore: on disk\nlink caps.one.example: up\nlink caps.two.example: up\n",
    )
    .await;

    readiness.link_down(1, "wrong secret\r\nInjected: x");
    expect(
        503,
        "not ready\nstore: on disk\nlink caps.one.example: up\nlink caps.two.example: down: wrong secret  Injected: x\n",
    )
    .await;

    readiness.link_up(1);
    readiness.store_in_memory("no space left on device");
    expect(
        200,
        "ready, degraded\nstore: in memory only, a restart loses what is learned: no space left on device\n\
         link caps.one.example: up\nlink caps.two.example: up\n",
    )
    .await;

    // A link that is not in the configuration changes nothing.
    readiness.link_down(2, "?");
    assert_eq!(server.metrics().ready.get(), 1);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_in_words() {
    let server = Server::start(config::Http::default()).await;
    let (status, answer) = server.ask("GET", "/nothing").await;
    assert_eq!(status, 404);
    assert!(answer.contains("content-type: text/plain"), "{answer}");
    assert!(
        answer.ends_with("there are /, /api/v1/, /metrics, /healthz and /readyz\n"),
        "{answer}"
    );
    let (status, answer) = server.ask("POST", "/metrics").await;
    assert_eq!(status, 405);
    assert!(answer.contains("\r\nallow: GET,HEAD\r\n"), "{answer}");
    let (status, answer) = server.ask("HEAD", "/metrics").await;
    assert_eq!(status, 200);
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn requests_are_counted_by_route_method_and_status() {
    let server = Server::start(config::Http::default()).await;
    for (method, path, route, status) in [
        ("GET", "/metrics", Route::Metrics, 200),
        ("HEAD", "/healthz", Route::Healthz, 200),
        ("GET", "/readyz", Route::Readyz, 503),
        ("DELETE", "/readyz", Route::Readyz, 405),
        ("GET", "/user@example.org", Route::Other, 404),
        ("PUT", "/x", Route::Other, 404),
    ] {
        assert_eq!(server.ask(method, path).await.0, status, "{method} {path}");
        let answer = HttpAnswer::of(route, method, status).unwrap();
        assert_eq!(
            server.metrics().http_requests.get(answer).get(),
            1,
            "{method} {path}"
        );
    }
    assert_eq!(
        server
            .metrics()
            .http_request_duration
            .get(Route::Readyz)
            .get_sample_count(),
        2
    );
    assert!(!server.metrics().render().contains("user@example.org"));
}

#[tokio::test]
async fn a_request_without_an_end_is_cut_off() {
    let settings = config::Http {
        timeout: Duration::from_millis(200),
        ..config::Http::default()
    };
    let server = Server::start(settings).await;
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")
        .await
        .unwrap();
    read_to_end(&mut silent).await;
    assert!(!read_to_end(&mut slow).await.contains("200 OK"));
    assert_eq!(server.body("/healthz").await.0, 200);
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let server = Server::start(config::Http::default()).await;
    for head in [
        format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000)),
        format!("GET / HTTP/1.1\r\n{}", "x: y\r\n".repeat(1000)),
    ] {
        let mut socket = server.connect().await;
        // The server may close before all is written.
        let _ = socket.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let reading = socket.read_to_end(&mut answer);
        let _ = timeout(Duration::from_secs(5), reading)
            .await
            .expect("the connection stays open");
        let answer = String::from_utf8(answer).unwrap();
        assert!(!answer.contains("404"), "{answer}");
    }
    assert_eq!(server.body("/healthz").await.0, 200);
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_and_counted() {
    let settings = config::Http {
        connections: 2,
        ..config::Http::default()
    };
    let server = Server::start(settings).await;
    let held = [server.connect().await, server.connect().await];
    let mut third = server.connect().await;
    assert_eq!(read_to_end(&mut third).await, "");
    assert_eq!(server.metrics().http_connections_rejected.get(), 1);
    drop(held);
    let answered = async {
        loop {
            let mut socket = server.connect().await;
            let _ = socket
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await;
            let mut answer = Vec::new();
            if socket.read_to_end(&mut answer).await.is_ok() && !answer.is_empty() {
                break;
            }
        }
    };
    timeout(Duration::from_secs(5), answered)
        .await
        .expect("no connection is accepted again");
}

#[tokio::test]
async fn it_ends_when_it_is_told_to_even_with_open_connections() {
    let server = Server::start(config::Http::default()).await;
    let mut open = server.connect().await;
    assert_eq!(server.body("/healthz").await.0, 200);
    server.stop.send(()).unwrap();
    timeout(Duration::from_secs(3), server.task)
        .await
        .expect("it goes on")
        .unwrap();
    let _ = read_to_end(&mut open).await;
    assert!(TcpStream::connect(server.address).await.is_err());
}
