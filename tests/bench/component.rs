//! The components that capsd is measured against.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use capsd::component::outbox::Outbox;
use capsd::component::session::{Credentials, Handler, serve};
use capsd::stanza::write::{self, Route};
use capsd::stanza::{Inbound, IqKind, Payload};

use crate::contents;
use crate::server::{HANDSHAKE_END, JID};

/// Runs a component until its connection ends.
pub(crate) fn run(kind: &str, address: &str) {
    match kind {
        "limit" => limit(address),
        "echo" => echo(address),
        _ => panic!("unknown component {kind}"),
    }
}

/// Counts requests and writes as many canned replies.
fn limit(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .write_all(b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='x'><handshake>x</handshake>")
        .unwrap();
    let mut greeting = Vec::new();
    let mut byte = [0];
    while !greeting.ends_with(HANDSHAKE_END.as_bytes()) {
        stream.read_exact(&mut byte).unwrap();
        greeting.push(byte[0]);
    }
    let mut reply = Vec::new();
    let route = Route {
        from: JID,
        to: "user1@example.org/resource",
        id: "12345",
    };
    write::disco_info(&mut reply, route, Some("node"), &contents::children(0));
    let mut input = vec![0; 65536];
    let mut kept = 0;
    let mut out = Vec::new();
    loop {
        let read = stream.read(&mut input[kept..]).unwrap();
        if read == 0 {
            return;
        }
        let bytes = &input[..kept + read];
        let mut end = 0;
        for at in memchr::memmem::find_iter(bytes, b"</iq>") {
            out.extend_from_slice(&reply);
            end = at + 5;
        }
        let rest = bytes.len() - end;
        input.copy_within(end..end + rest, 0);
        kept = rest;
        stream.write_all(&out).unwrap();
        out.clear();
    }
}

struct Echo {
    outbox: Arc<Outbox>,
    children: Vec<u8>,
}

impl Handler for Echo {
    fn opened(&self, _: Instant) {}

    fn stanza(&self, _: Instant, stanza: Inbound) {
        if let Inbound::Iq(iq) = stanza
            && iq.kind == IqKind::Get
            && let (Some(from), Some(id)) = (&iq.from, &iq.id)
            && let Payload::DiscoInfo(Some(node)) = &iq.payload
        {
            let route = Route {
                from: JID,
                to: from,
                id,
            };
            self.outbox
                .push(|out| write::disco_info(out, route, Some(node), &self.children));
        }
    }

    fn silent(&self) {}
}

/// capsd's transport with a canned answer.
fn echo(address: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        let outbox = Arc::new(Outbox::new(8 << 20));
        let handler = Echo {
            outbox: Arc::clone(&outbox),
            children: contents::children(0),
        };
        let credentials = Credentials {
            jid: JID.to_owned(),
            secret: "secret".to_owned(),
        };
        // As in the daemon, the stream is served by a task of the runtime, not by the thread that started it.
        let served = tokio::spawn(async move {
            let close = tokio_util::sync::CancellationToken::new();
            serve(
                reader,
                writer,
                &credentials,
                &outbox,
                &handler,
                Instant::now,
                &close,
            )
            .await
        });
        served.await.unwrap();
    });
}
