//! A server that does not read what it is sent.

use std::sync::Arc;
use std::time::Duration;

use capsd::component::session::Ended;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::server::Server;
use crate::session::{Session, clock};

/// What a pipe holds each way.
const PIPE: usize = 4096;

/// What an outbox holds.
const OUTBOX: usize = 16 * 1024;

/// What every stanza is answered with: a kilobyte.
fn reply() -> Vec<u8> {
    format!("<reply>{}</reply>", "x".repeat(1009)).into_bytes()
}

async fn begun() -> (Session, Server<DuplexStream>) {
    let (session, far) = Session::over(PIPE, OUTBOX, &reply());
    (session, Server::accept(far).await)
}

/// Sends questions until no more are taken; how many were.
async fn flood(server: &mut Server<DuplexStream>) -> usize {
    let mut taken = 0;
    loop {
        let sending = server.io.write_all(b"<iq type='get' id='1'/>");
        match tokio::time::timeout(Duration::from_secs(1), sending).await {
            Ok(sent) => sent.unwrap(),
            Err(_) => return taken,
        }
        taken += 1;
        assert!(taken < 10_000, "the component takes whatever comes");
    }
}

/// The pressure is passed on: what waits to be sent is bounded, and then nothing more is read.
#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_not_read_from() {
    let (session, mut server) = begun().await;
    flood(&mut server).await;
    let waiting = session.outbox.len();
    assert!(waiting <= OUTBOX + reply().len(), "{waiting}");
    let handled = session.log.count("Iq");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(session.log.count("Iq"), handled);
    // Half the bound waits, as much again is with the writer.
    assert!(handled * reply().len() <= 2 * OUTBOX + PIPE, "{handled}");
    assert!(handled * reply().len() >= OUTBOX / 2, "{handled}");
}

/// Whoever reads again gets everything, and is served with the time that it is then.
#[tokio::test(start_paused = true)]
async fn who_reads_again_is_served_again() {
    let (session, mut server) = begun().await;
    let taken = flood(&mut server).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let resumed = clock();
    for _ in 0..taken {
        assert_eq!(server.next().await.len(), reply().len());
    }
    let events = session.log.events.lock().unwrap();
    let (at, last) = events.last().unwrap();
    assert!(last.starts_with("Iq"));
    assert!(*at >= resumed, "{:?} too early", resumed - *at);
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_is_dead() {
    let (session, mut server) = begun().await;
    let began = clock();
    flood(&mut server).await;
    assert_eq!(session.ended().await, Ended::Dead);
    let took = clock() - began;
    assert!(took >= Duration::from_secs(30), "{took:?}");
    assert!(took <= Duration::from_secs(32), "{took:?}");
}

/// A stream that is closed under pressure does not wait for the server.
#[tokio::test(start_paused = true)]
async fn who_does_not_read_cannot_hold_up_the_end() {
    let (session, mut server) = begun().await;
    flood(&mut server).await;
    let closed = clock();
    session.close.cancel();
    assert_eq!(session.ended().await, Ended::Closed);
    assert!(
        clock() - closed <= Duration::from_secs(1),
        "{:?}",
        clock() - closed
    );
}

/// What waits for a server that is gone is not sent to the next one, nor what is for the next one to the one before.
#[tokio::test(start_paused = true)]
async fn streams_do_not_mix() {
    let (session, mut first) = begun().await;
    // More than the pipe holds, too little to stop the reader.
    for _ in 0..7 {
        first.send("<iq type='get' id='1'/>").await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (log, outbox) = (Arc::clone(&session.log), Arc::clone(&session.outbox));
    // The server has nothing more to say, but its end stays open.
    first.io.shutdown().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), session.ended()).await;
    assert!(
        matches!(ended, Ok(Ended::Network(_) | Ended::Dead)),
        "{ended:?}"
    );
    let (_second, far) = Session::again(&log, &outbox, PIPE);
    let mut second = Server::accept(far).await;
    let mut late = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), first.io.read_to_end(&mut late)).await;
    assert!(read.is_ok(), "the first stream is still written to");
    second.send("<iq type='get' id='2'/>").await;
    assert_eq!(second.next().await.into_bytes(), reply());
    let late = String::from_utf8(late).unwrap();
    assert!(!late.contains("stream:stream"), "{late}");
}
