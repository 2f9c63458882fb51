//! One stream to a server, from its opening to its end (XEP-0114).
//!
//! The session knows nothing of caps: it opens the stream, proves the secret, hands every stanza to a [`Handler`], keeps the link
//! alive and says why it ended. Anything that can carry bytes will do for a connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::FusedFuture as _;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tokio_xmpp::xmlstream::{ReadError, StreamHeader, Timeouts, XmlStream, initiate_stream};
use xmpp_parsers::component::Handshake;

use super::outbox::{Outbox, OutboxWriter};
use super::shortening::Shortening;
use crate::stanza::{Inbound, StreamFault, ns};

/// How long a server may be silent before it is asked for a sign of life (XEP-0199).
pub const SILENCE: Duration = Duration::from_secs(60);

/// How long it may take to give one.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// How long the opening of a stream may take, up to the accepted handshake.
pub const OPENING: Duration = Duration::from_secs(10);

/// How long the server may take no bytes that wait for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How much is read from the connection at once, in bytes.
const READ_BUFFER: usize = 64 * 1024;

/// Takes what a stream brings.
pub trait Handler: Send + Sync {
    /// The server accepted the handshake; the outbox is open.
    fn opened(&self, now: Instant);
    /// A stanza came. Replies go to the outbox, which the session wakes.
    fn stanza(&self, now: Instant, stanza: Inbound);
    /// The server was silent for [`SILENCE`]: ask for a sign of life.
    fn silent(&self);
}

/// What opens a stream.
#[derive(Clone)]
pub struct Credentials {
    /// The component's JID, a domain.
    pub jid: String,
    /// The secret shared with the server.
    pub secret: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("jid", &self.jid)
            .finish_non_exhaustive()
    }
}

/// Why a session ended, or could not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// We closed it.
    Closed,
    /// The connection failed, or the server closed it without a reason.
    Network(String),
    /// The server was silent, although it was asked for a sign of life, or took no bytes.
    Dead,
    /// The server refused the secret; ejabberd says the same for a host it does not know.
    NotAuthorized,
    /// The server does not know the component's JID.
    HostUnknown,
    /// The server has another connection for the JID, or the JID is one of its own hosts.
    Conflict,
    /// The server said something else, or something that is not XEP-0114.
    Refused(String),
}

impl Ended {
    fn of_fault(fault: &StreamFault) -> Ended {
        match fault.condition.as_str() {
            "not-authorized" => Ended::NotAuthorized,
            "host-unknown" => Ended::HostUnknown,
            "conflict" => Ended::Conflict,
            condition => Ended::Refused(if fault.text.is_empty() {
                condition.to_owned()
            } else {
                format!("{condition} ({})", fault.text)
            }),
        }
    }
}

type Stream<R> = XmlStream<tokio::io::Join<BufReader<Shortening<R>>, OutboxWriter>, Inbound>;

/// Opens a stream over a connection and serves it until it ends, or until `close` is cancelled. The outbox is open while the stream is.
/// `now` tells the time once for every batch of stanzas.
pub async fn serve<R, W>(
    reader: R,
    writer: W,
    credentials: &Credentials,
    outbox: &Arc<Outbox>,
    handler: &dyn Handler,
    now: impl Fn() -> Instant,
    close: &CancellationToken,
) -> Ended
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    outbox.open();
    let writing = {
        let outbox = Arc::clone(outbox);
        tokio::spawn(async move { outbox.write_to(writer, PATIENCE).await })
    };
    // However this ends, the writer ends with it: it must not find the outbox opened for the next stream.
    let writing = AbortOnDropHandle::new(writing);
    let stop_writing = writing.abort_handle();
    let mut writing = writing.fuse();
    let ended = tokio::select! {
        ended = talk(reader, credentials, outbox, handler, now, close) => ended,
        written = &mut writing => match written {
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => Ended::Dead,
            Ok(Err(error)) => Ended::Network(error.to_string()),
            Ok(Ok(())) | Err(_) => Ended::Network("the writer ended".to_owned()),
        },
    };
    if ended == Ended::Closed {
        outbox.push(|out| out.extend_from_slice(b"</stream:stream>"));
    }
    outbox.close();
    // What waits may still be written, but a server that takes nothing must not hold up the next attempt.
    if !writing.is_terminated() {
        let written = tokio::time::timeout(Duration::from_secs(1), &mut writing).await;
        if written.is_err() {
            stop_writing.abort();
            let _ = writing.await;
        }
    }
    ended
}

async fn talk<R: AsyncRead + Send + Unpin>(
    reader: R,
    credentials: &Credentials,
    outbox: &Arc<Outbox>,
    handler: &dyn Handler,
    now: impl Fn() -> Instant,
    close: &CancellationToken,
) -> Ended {
    let opening = tokio::time::timeout(OPENING, open(reader, credentials, outbox));
    let mut stream = tokio::select! {
        opened = opening => match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(ended)) => return ended,
            Err(_) => return Ended::Network(format!(
                "the server did not finish the handshake within {} seconds", OPENING.as_secs()
            )),
        },
        () = close.cancelled() => return Ended::Closed,
    };
    handler.opened(now());
    let mut time = now();
    loop {
        let next = match stream.next().now_or_never() {
            Some(next) => next,
            None => {
                // Nothing more to read: whatever the last batch caused goes out in one piece.
                outbox.wake();
                let next = tokio::select! {
                    next = stream.next() => next,
                    () = close.cancelled() => return Ended::Closed,
                };
                time = now();
                next
            }
        };
        match next {
            Some(Ok(Inbound::StreamError(fault))) => return Ended::of_fault(&fault),
            Some(Ok(stanza)) => {
                handler.stanza(time, stanza);
                if !outbox.has_room() {
                    tokio::select! {
                        () = outbox.room() => time = now(),
                        () = close.cancelled() => return Ended::Closed,
                    }
                }
            }
            Some(Err(ReadError::SoftTimeout)) => {
                handler.silent();
                outbox.wake();
            }
            // Our reader accepts every element, so this does not occur; if it does, the stream is still in step.
            Some(Err(ReadError::ParseError(_))) => {}
            Some(Err(ReadError::HardError(error))) => return read_failed(&error),
            Some(Err(ReadError::StreamFooterReceived)) | None => {
                return Ended::Network("the server closed the stream".to_owned());
            }
        }
    }
}

fn read_failed(error: &std::io::Error) -> Ended {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match error.kind() {
        std::io::ErrorKind::TimedOut => Ended::Dead,
        std::io::ErrorKind::InvalidData if matches!(cause, Some(rxml::Error::InvalidEof(_))) => {
            Ended::Network("the server closed the connection".to_owned())
        }
        std::io::ErrorKind::InvalidData => {
            Ended::Refused(format!("XML that cannot be read: {error}"))
        }
        _ => Ended::Network(error.to_string()),
    }
}

/// Opens the stream and proves the secret (XEP-0114 section 3).
async fn open<R: AsyncRead + Send + Unpin>(
    reader: R,
    credentials: &Credentials,
    outbox: &Arc<Outbox>,
) -> Result<Stream<R>, Ended> {
    let io = tokio::io::join(
        BufReader::with_capacity(READ_BUFFER, Shortening::new(reader)),
        OutboxWriter(Arc::clone(outbox)),
    );
    let header = StreamHeader {
        to: Some(credentials.jid.as_str().into()),
        from: None,
        id: None,
    };
    let timeouts = Timeouts {
        read_timeout: SILENCE,
        response_timeout: SIGN_OF_LIFE,
    };
    let failed = |error: std::io::Error| read_failed(&error);
    let mut pending = initiate_stream(io, ns::COMPONENT, header, timeouts)
        .await
        .map_err(failed)?;
    let id = pending.take_header().id.unwrap_or_default().into_owned();
    let mut stream: Stream<R> = pending.skip_features();
    let handshake = Handshake::from_stream_id_and_password(id, &credentials.secret);
    stream.send(&handshake).await.map_err(failed)?;
    match stream.next().await {
        Some(Ok(Inbound::Handshake)) => Ok(stream),
        Some(Ok(Inbound::StreamError(fault))) => Err(Ended::of_fault(&fault)),
        Some(Ok(_)) => Err(Ended::Refused(
            "a stanza came before the handshake was accepted".to_owned(),
        )),
        Some(Err(ReadError::HardError(error))) => Err(read_failed(&error)),
        Some(Err(error)) => Err(Ended::Network(error.to_string())),
        None => Err(Ended::Network(
            "the server closed the connection".to_owned(),
        )),
    }
}
