//! A server on a socket of its own, over tiers in a private directory.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capsd::config;
use capsd::http::{Sources, serve};
use capsd::metrics::Metrics;
use capsd::resolver::flights::Settings;
use capsd::resolver::tiers::Below;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::served;
use crate::setup::{settings, tiers_in};

/// A server with two links, and the means to end it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) sources: Sources,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(header, _)| *header == name);
        found.next().map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }
}

impl Server {
    /// With empty tiers.
    pub(crate) async fn start(settings: config::Http) -> Server {
        Server::over(settings, |directory, metrics| {
            tiers_in(
                directory,
                Some(served::nothing_trusted()),
                metrics,
                Instant::now(),
            )
        })
        .await
    }

    /// Over tiers that are made in a directory.
    pub(crate) async fn over(
        http: config::Http,
        below: impl FnOnce(&Path, &Arc<Metrics>) -> Below,
    ) -> Server {
        Server::with(http, settings(), below).await
    }

    /// With a resolver that has those settings.
    pub(crate) async fn with(
        http: config::Http,
        settings: Settings,
        below: impl FnOnce(&Path, &Arc<Metrics>) -> Below,
    ) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let below = below(directory.path(), &metrics);
        let sources = served::sources(settings, below, metrics);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, sources.clone(), http, async move {
            let _ = stopped.await;
        }));
        Server {
            address,
            sources,
            stop,
            task,
            _directory: directory,
        }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.sources.metrics
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends one request without a body; the status and the whole answer.
    pub(crate) async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut socket = self.connect().await;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut socket).await;
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    /// Sends one request with headers and a body.
    pub(crate) async fn send(
        &self,
        request_line: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = format!("{request_line} HTTP/1.1\r\nHost: localhost\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        let mut socket = self.connect().await;
        // The server may answer before it has read all of it.
        let _ = socket.write_all(request.as_bytes()).await;
        let answer = read_to_end(&mut socket).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// A GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), &[], "").await
    }

    /// A POST of that type.
    pub(crate) async fn post(&self, path: &str, media_type: &str, body: &str) -> Answer {
        let headers = [("content-type", media_type)];
        self.send(&format!("POST {path}"), &headers, body).await
    }

    pub(crate) async fn body(&self, path: &str) -> (u16, String) {
        let answer = self.get(path).await;
        (answer.status, answer.body)
    }
}

pub(crate) async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = socket.read_to_end(&mut answer);
    timeout(Duration::from_secs(5), reading)
        .await
        .expect("the connection stays open")
        .unwrap();
    String::from_utf8(answer).unwrap()
}
