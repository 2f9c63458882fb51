//! Input that nobody sends: whatever it is, nothing panics and nothing hangs.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capsd::component::session::{Credentials, Ended, Handler, serve};
use capsd::component::{Link, LinkHandler};
use capsd::stanza::Inbound;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::server::{COMPONENT, HEADER, SECRET, Server};
use crate::world::{World, clock};

/// Pieces of stanzas, in any order: most of what they make is not well-formed.
const PIECES: [&str; 60] = [
    "<iq ",
    "<presence ",
    "<message ",
    "<x ",
    "<query ",
    "<c ",
    "<hash ",
    "<error ",
    "<privilege ",
    "<forwarded ",
    "<stream:error ",
    "<identity ",
    "<feature ",
    "<field ",
    "<value>",
    "</value>",
    "</iq>",
    "</presence>",
    "</message>",
    "</x>",
    "</query>",
    "</c>",
    "</hash>",
    "</stream:stream>",
    "/>",
    ">",
    "<",
    "&",
    "&amp;",
    "&#x41;",
    "'",
    "\"",
    " ",
    "type='get' ",
    "type='result' ",
    "type='error' ",
    "type='unavailable' ",
    "type='subscribe' ",
    "id='1' ",
    "id='0123456789abcdef0123456789abcdef' ",
    "id='account-0123456789abcdef0123456789abcdef' ",
    "from='user@example.org/r' ",
    "from='example.org' ",
    "to='caps.example.org' ",
    "from='' ",
    "from='@/' ",
    "xmlns='http://jabber.org/protocol/disco#info' ",
    "xmlns='http://jabber.org/protocol/caps' ",
    "xmlns='urn:xmpp:caps' ",
    "xmlns='jabber:x:data' ",
    "xmlns='urn:xmpp:privilege:2' ",
    "xmlns='jabber:client' ",
    "xmlns='urn:xmpp:forward:0' ",
    "xml:lang='de' ",
    "node='a#QgayPKawpkPSDYmwT/WM94uAlu0=' ",
    "ver='QgayPKawpkPSDYmwT/WM94uAlu0=' ",
    "hash='sha-1' ",
    "algo='sha-256' ",
    "<!--",
    "\u{0}",
];

/// Whole stanzas with odd insides: most of what they make is well-formed.
fn stanza() -> impl Strategy<Value = String> {
    let text = prop_oneof![Just(String::new()), "[a-z@/#.=]{0,20}", "\\PC{0,8}"];
    let attributes = (
        select(vec![
            "get",
            "set",
            "result",
            "error",
            "unavailable",
            "subscribe",
            "probe",
            "",
            "huh",
        ]),
        select(vec![
            "user@example.org/r",
            "example.org",
            "a@elsewhere.example/x",
            "",
            "@",
            "/",
            "caps.example.org",
        ]),
        select(vec![
            "1",
            "",
            "0123456789abcdef0123456789abcdef",
            "account-0123456789abcdef0123456789abcdef",
        ]),
    );
    let leaf = (
        select(vec![
            "query",
            "c",
            "hash",
            "x",
            "field",
            "value",
            "identity",
            "feature",
            "error",
            "privilege",
            "perm",
            "forwarded",
            "iq",
            "ping",
            "time",
            "item-not-found",
        ]),
        select(vec![
            "http://jabber.org/protocol/disco#info",
            "http://jabber.org/protocol/caps",
            "urn:xmpp:caps",
            "urn:xmpp:hashes:2",
            "jabber:x:data",
            "urn:xmpp:privilege:1",
            "urn:xmpp:privilege:2",
            "urn:xmpp:forward:0",
            "jabber:client",
            "jabber:component:accept",
            "urn:xmpp:ping",
            "urn:ietf:params:xml:ns:xmpp-stanzas",
        ]),
        select(vec![
            "node", "ver", "hash", "var", "category", "type", "access", "ns", "algo", "ext",
        ]),
        text,
    );
    let element = leaf
        .prop_map(|(name, namespace, attribute, value)| {
            (name, namespace, attribute, escaped(&value), String::new())
        })
        .prop_recursive(4, 24, 4, |inner| {
            (inner.clone(), prop::collection::vec(inner, 0..4)).prop_map(|(outer, inner)| {
                let inside = inner.iter().map(written).collect();
                (outer.0, outer.1, outer.2, outer.3, inside)
            })
        });
    let children = prop::collection::vec(element, 0..4);
    (
        select(vec!["iq", "presence", "message", "x"]),
        attributes,
        children,
    )
        .prop_map(|(name, (kind, from, id), children)| {
            let inside: String = children.iter().map(written).collect();
            format!(
                "<{name} type='{kind}' from='{from}' to='{COMPONENT}' id='{id}'>{inside}</{name}>"
            )
        })
}

type Element = (&'static str, &'static str, &'static str, String, String);

fn written((name, namespace, attribute, value, inside): &Element) -> String {
    format!("<{name} xmlns='{namespace}' {attribute}='{value}'>{value}{inside}</{name}>")
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('\'', "&apos;")
}

/// The service behind a stream.
struct Behind(Arc<Link>, Arc<dyn LinkHandler>);

impl Handler for Behind {
    fn opened(&self, now: Instant) {
        self.1.up(now, &self.0);
    }

    fn stanza(&self, now: Instant, stanza: Inbound) {
        self.1.stanza(now, &self.0, stanza);
    }

    fn silent(&self) {}
}

/// Sends bytes to a service, from the beginning of the stream or after the handshake; how that ended.
async fn feed(world: &World, bytes: &[u8], handshake: bool) -> Ended {
    let (near, far) = tokio::io::duplex(1 << 20);
    let link = Arc::clone(world.link());
    let handler = Behind(Arc::clone(&link), world.handler());
    let (reader, writer) = tokio::io::split(near);
    let credentials = Credentials {
        jid: COMPONENT.to_owned(),
        secret: SECRET.to_owned(),
    };
    let close = CancellationToken::new();
    let serving = serve(
        reader,
        writer,
        &credentials,
        &link.outbox,
        &handler,
        clock,
        &close,
    );
    let feeding = async {
        let mut far = match handshake {
            true => Server::accept(far).await.io,
            false => far,
        };
        // Who is refused early takes no more.
        let _ = far.write_all(bytes).await;
        let _ = far.shutdown().await;
        let _ = far.read_to_end(&mut Vec::new()).await;
    };
    let both = async { tokio::join!(serving, feeding).0 };
    tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .expect("it hangs")
}

/// Feeds that many streams; how many of them the component read to their end.
fn run(cases: u32, strategy: impl Strategy<Value = Vec<u8>>, handshake: bool) -> u32 {
    let read = Cell::new(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(World::without_link(|_, _| {}));
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&strategy, |bytes| {
        let ended = runtime.block_on(feed(&world, &bytes, handshake));
        prop_assert_ne!(&ended, &Ended::Closed);
        read.set(read.get() + u32::from(matches!(ended, Ended::Network(_))));
        Ok(())
    });
    if let Err(proptest::test_runner::TestError::Fail(why, bytes)) = outcome {
        panic!("{why}: {}", bytes.escape_ascii());
    }
    // It serves on.
    let known = runtime.block_on(feed(&world, b"<presence/></stream:stream>", true));
    assert_eq!(
        known,
        Ended::Network("the server closed the stream".to_owned())
    );
    read.get()
}

#[test]
fn any_bytes_instead_of_a_header() {
    run(300, prop::collection::vec(any::<u8>(), 0..200), false);
}

#[test]
fn any_pieces_after_a_header() {
    let pieces = prop::collection::vec(select(PIECES.to_vec()), 0..40);
    run(
        300,
        pieces.prop_map(|pieces| format!("{HEADER}{}", pieces.concat()).into_bytes()),
        false,
    );
}

#[test]
fn any_bytes_on_a_stream() {
    run(300, prop::collection::vec(any::<u8>(), 0..400), true);
}

#[test]
fn any_pieces_on_a_stream() {
    let pieces = prop::collection::vec(select(PIECES.to_vec()), 0..60);
    run(
        600,
        pieces.prop_map(|pieces| pieces.concat().into_bytes()),
        true,
    );
}

#[test]
fn any_stanzas_on_a_stream() {
    let stanzas = prop::collection::vec(stanza(), 0..20);
    let read = run(
        600,
        stanzas.prop_map(|stanzas| stanzas.concat().into_bytes()),
        true,
    );
    assert_eq!(read, 600, "all of it is well-formed");
}

/// A good stanza with some bytes changed.
#[test]
fn any_changed_bytes_on_a_stream() {
    let changed = (
        stanza(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    );
    let changed = changed.prop_map(|(stanza, changes)| {
        let mut bytes = stanza.into_bytes();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    });
    run(600, changed, true);
}
