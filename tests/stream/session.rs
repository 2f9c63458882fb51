//! One stream, over a pipe and with paused time: how it begins, lives and ends.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use capsd::component::outbox::Outbox;
use capsd::component::session::{Credentials, Ended, Handler, serve};
use capsd::stanza::Inbound;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::server::{COMPONENT, HEADER, SECRET, Server};

/// Writes down what a stream brings.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) events: Mutex<Vec<(Instant, String)>>,
    outbox: Arc<Outbox>,
    /// What every stanza is answered with.
    reply: Vec<u8>,
}

impl Log {
    fn note(&self, now: Instant, event: String) {
        self.events.lock().unwrap().push((now, event));
    }

    pub(crate) fn count(&self, event: &str) -> usize {
        let events = self.events.lock().unwrap();
        events.iter().filter(|(_, e)| e.starts_with(event)).count()
    }
}

impl Handler for Log {
    fn opened(&self, now: Instant) {
        self.note(now, "opened".to_owned());
    }

    fn stanza(&self, now: Instant, stanza: Inbound) {
        self.outbox.push(|out| out.extend_from_slice(&self.reply));
        self.note(now, format!("{stanza:?}"));
    }

    fn silent(&self) {
        self.note(clock(), "silent".to_owned());
        self.outbox.push(|out| out.extend_from_slice(b"<ping/>"));
    }
}

pub(crate) fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The component's end, running.
pub(crate) struct Session {
    pub(crate) log: Arc<Log>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) close: CancellationToken,
    ended: JoinHandle<Ended>,
}

impl Session {
    /// A session over a pipe that holds that many bytes each way, with an outbox of that many.
    pub(crate) fn over(pipe: usize, outbox_bytes: usize, reply: &[u8]) -> (Session, DuplexStream) {
        let outbox = Arc::new(Outbox::new(outbox_bytes));
        let log = Arc::new(Log {
            events: Mutex::default(),
            outbox: Arc::clone(&outbox),
            reply: reply.to_vec(),
        });
        Session::again(&log, &outbox, pipe)
    }

    /// Another session with the same outbox.
    pub(crate) fn again(
        log: &Arc<Log>,
        outbox: &Arc<Outbox>,
        pipe: usize,
    ) -> (Session, DuplexStream) {
        let (near, far) = tokio::io::duplex(pipe);
        let close = CancellationToken::new();
        let session = Session {
            log: Arc::clone(log),
            outbox: Arc::clone(outbox),
            close: close.clone(),
            ended: tokio::spawn({
                let (log, outbox) = (Arc::clone(log), Arc::clone(outbox));
                async move {
                    let (reader, writer) = tokio::io::split(near);
                    let credentials = Credentials {
                        jid: COMPONENT.to_owned(),
                        secret: SECRET.to_owned(),
                    };
                    serve(reader, writer, &credentials, &outbox, &*log, clock, &close).await
                }
            }),
        };
        (session, far)
    }

    pub(crate) async fn ended(self) -> Ended {
        self.ended.await.unwrap()
    }
}

fn begin() -> (Session, Server<DuplexStream>) {
    let (session, far) = Session::over(64 * 1024, 1 << 20, b"");
    (session, Server::new(far))
}

async fn begun() -> (Session, Server<DuplexStream>) {
    let (session, far) = Session::over(64 * 1024, 1 << 20, b"");
    (session, Server::accept(far).await)
}

fn stream_error(condition: &str) -> String {
    format!(
        "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>words</text></stream:error></stream:stream>"
    )
}

/// What the server says instead of accepting the handshake.
async fn refused(answer: &str) -> Ended {
    let (session, mut server) = begin();
    server.take_header().await;
    server.send(HEADER).await;
    server.next().await;
    server.send(answer).await;
    session.ended().await
}

#[tokio::test(start_paused = true)]
async fn refusals_are_told_apart() {
    assert_eq!(
        refused(&stream_error("not-authorized")).await,
        Ended::NotAuthorized
    );
    assert_eq!(
        refused(&stream_error("host-unknown")).await,
        Ended::HostUnknown
    );
    assert_eq!(refused(&stream_error("conflict")).await, Ended::Conflict);
    let other = refused(&stream_error("policy-violation")).await;
    assert_eq!(other, Ended::Refused("policy-violation (words)".to_owned()));
    let early = "<presence from='a@example.org/r'/>";
    assert!(matches!(refused(early).await, Ended::Refused(_)));
}

/// Prosody says that it does not know the host in a header without an id, before the handshake.
#[tokio::test(start_paused = true)]
async fn an_unknown_host_may_be_said_at_once() {
    let (session, mut server) = begin();
    server.take_header().await;
    server.send(&HEADER.replace("stream-1", "")).await;
    server.send(&stream_error("host-unknown")).await;
    assert_eq!(session.ended().await, Ended::HostUnknown);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_may_come_late() {
    let (session, mut server) = begun().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    server.send(&stream_error("conflict")).await;
    assert_eq!(session.log.count("opened"), 1);
    assert_eq!(session.ended().await, Ended::Conflict);
}

/// The server may leave at any time, with or without a word.
#[tokio::test(start_paused = true)]
async fn a_server_that_leaves_is_a_network_fault() {
    for said in [0, 1, 2, 3] {
        let (session, mut server) = begin();
        if said > 0 {
            server.take_header().await;
            server.send(HEADER).await;
        }
        if said > 1 {
            server.send("<handshake/>").await;
        }
        if said > 2 {
            server.send("</stream:stream>").await;
        }
        drop(server);
        let ended = session.ended().await;
        assert!(matches!(ended, Ended::Network(_)), "{said}: {ended:?}");
    }
    // In the middle of a stanza.
    let (session, mut server) = begun().await;
    server.send("<presence from='a@exam").await;
    drop(server);
    let ended = session.ended().await;
    assert!(matches!(ended, Ended::Network(_)), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn something_else_than_a_server_is_not_taken_for_one() {
    for words in [
        "<html><body/></html>",
        "\0\0\0\0",
        "<a/>",
        "<?xml version='1.1'?>",
    ] {
        let (session, mut server) = begin();
        server.send(words).await;
        let ended = session.ended().await;
        assert!(matches!(ended, Ended::Refused(_)), "{words}: {ended:?}");
    }
    for words in [
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let (session, mut server) = begin();
        server.send(words).await;
        drop(server);
        let ended = session.ended().await;
        assert!(
            matches!(ended, Ended::Refused(_) | Ended::Network(_)),
            "{words}: {ended:?}"
        );
    }
}

/// The opening as a whole takes ten seconds at most, wherever the server stops.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    for said in ["", "<?xml version='1.0'?>", HEADER] {
        let began = clock();
        let (session, mut server) = begin();
        tokio::time::sleep(Duration::from_secs(3)).await;
        server.send(said).await;
        let ended = session.ended().await;
        assert!(
            matches!(&ended, Ended::Network(words) if words.contains("10 seconds")),
            "{ended:?}"
        );
        let took = clock() - began;
        // A second more for the writer to finish.
        assert!(
            took >= Duration::from_secs(10) && took <= Duration::from_secs(11),
            "{took:?}"
        );
    }
}

/// After a minute of silence the server is asked for a sign of life, and has 15 seconds for it.
#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_and_then_given_up() {
    let (session, mut server) = begun().await;
    let began = clock();
    let read = tokio::spawn(async move {
        let ping = server.next().await;
        (clock(), ping, server)
    });
    let log = Arc::clone(&session.log);
    assert_eq!(session.ended().await, Ended::Dead);
    assert_eq!(clock() - began, Duration::from_secs(75));
    assert_eq!(log.count("silent"), 1);
    let (at, ping, _) = read.await.unwrap();
    assert_eq!(
        (at - began, ping.as_str()),
        (Duration::from_secs(60), "<ping/>")
    );
}

/// Whatever comes is a sign of life, a blank too; the minute begins anew.
#[tokio::test(start_paused = true)]
async fn any_sign_of_life_counts() {
    let (session, mut server) = begun().await;
    for sign in [" ", "<iq/>", "\n", "<unheard-of/>"] {
        tokio::time::sleep(Duration::from_secs(74)).await;
        server.send(sign).await;
    }
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(session.log.count("silent"), 4);
    assert_eq!(session.log.count("Iq"), 1);
    assert_eq!(session.log.count("Other"), 1);
    assert!(!session.ended.is_finished());
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(session.ended().await, Ended::Dead);
}

/// A server that stops in the middle of a stanza is dead as well.
#[tokio::test(start_paused = true)]
async fn a_stanza_that_does_not_end_is_no_sign_of_life() {
    let (session, mut server) = begun().await;
    let began = clock();
    server.send("<message><body>and then").await;
    assert_eq!(session.ended().await, Ended::Dead);
    assert!(clock() - began <= Duration::from_secs(75));
}

#[tokio::test(start_paused = true)]
async fn closing_says_goodbye() {
    let (session, mut server) = begun().await;
    session.outbox.push(|out| out.extend_from_slice(b"<last/>"));
    session.close.cancel();
    assert_eq!(server.next().await, "<last/>");
    assert_eq!(server.rest().await, "</stream:stream>");
    assert_eq!(session.ended().await, Ended::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_opening_can_be_closed() {
    let began = clock();
    let (session, mut server) = begin();
    server.take_header().await;
    session.close.cancel();
    assert_eq!(session.ended().await, Ended::Closed);
    assert!(clock() - began <= Duration::from_secs(1));
}

/// A batch of stanzas is answered in one piece, stamped with one time, and nothing is lost however it is cut.
#[tokio::test(start_paused = true)]
async fn stanzas_may_come_byte_by_byte() {
    let (session, far) = Session::over(64 * 1024, 1 << 20, b"<seen/>");
    let mut server = Server::accept(far).await;
    let stanza = "<presence from='ä@example.org/r' to='caps.example.org'><c xmlns='http://jabber.org/protocol/caps' \
         hash='sha-1' node='http://client.example' ver='&#81;gayPKawpkPSDYmwT/WM94uAlu0='/></presence>";
    for byte in stanza.as_bytes() {
        server.io.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(server.next().await, "<seen/>");
    let events = session.log.events.lock().unwrap();
    let (_, presence) = events.last().unwrap();
    assert!(presence.contains("ä@example.org/r"), "{presence}");
    assert!(
        presence.contains("\"QgayPKawpkPSDYmwT/WM94uAlu0=\""),
        "{presence}"
    );
}
