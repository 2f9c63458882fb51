//! Requests that cannot be taken: each with its error, and the stream in step after it.

use capsd::metrics::Operation;

use super::requests::{SERVER, asked, feed, info, iq, lookup};
use crate::contents::query;
use crate::server::COMPONENT;
use crate::world::{ASKER, World, node};

fn error(to: &str, kind: &str, condition: &str, word: &str) -> String {
    let reason = match word {
        "" => String::new(),
        word => format!("<reason xmlns='urn:capsd:0'>{word}</reason>"),
    };
    format!(
        "<iq type='error' from='{COMPONENT}' to='{to}' id='r'><error type='{kind}'>\
         <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>{reason}</error></iq>"
    )
}

fn in_lookup(attributes: &str, inside: &str) -> (&'static str, String) {
    (
        "get",
        format!("<lookup xmlns='urn:capsd:0' {attributes}>{inside}</lookup>"),
    )
}

fn in_contribute(inside: &str) -> (&'static str, String) {
    (
        "set",
        format!("<contribute xmlns='urn:capsd:0'>{inside}</contribute>"),
    )
}

fn in_feed(attributes: &str, inside: &str) -> (&'static str, String) {
    (
        "set",
        format!("<feed xmlns='urn:capsd:0' {attributes}>{inside}</feed>"),
    )
}

/// Whatever a request lacks or has too much of, it is refused as a whole, and does nothing.
#[tokio::test]
async fn what_cannot_be_taken_is_refused() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    server.settle().await;
    let key = asked(&node("K1"));
    let one = info("", "1");
    let report = "<gone jid='a@example.org/r'/>";
    let holder = "<holder jid='a@example.org/r' askable='true'/>";
    let long = "x".repeat(4000);
    let ill_formed = [
        in_lookup("", ""),
        in_lookup("", "<other/>"),
        in_lookup("", &format!("<other>{key}</other>")),
        in_lookup("", "<key xmlns='urn:x' node='a#b'/>"),
        in_lookup("wait='maybe'", &key),
        in_lookup("wait=''", &key),
        in_lookup("wait='TRUE'", &key),
        in_contribute(""),
        in_contribute("<info/>"),
        in_contribute(&format!(
            "{one}<info node='a#b'><query xmlns='urn:x'/></info>"
        )),
        in_contribute(&format!("<info><a>{}</a></info>", query("1"))),
        in_contribute(&format!("<info>{0}{0}</info>", query("1"))),
        in_contribute(&query("1")),
        in_feed("", &format!("{report}<gone/>")),
        in_feed("", &format!("{report}<holder askable='true'/>")),
        in_feed("", &holder.replace("'true'", "'perhaps'")),
        in_feed("instance=''", report),
        in_feed("feeder=''", report),
        in_feed(&format!("feeder='{}'", "x".repeat(65)), report),
        in_feed("anew='yes'", report),
        in_feed(&format!("instance='{}'", "x".repeat(65)), report),
        in_feed(&format!("instance='{long}'"), report),
    ];
    let malformed = [
        in_lookup("", "<key/>"),
        in_lookup("", &format!("{key}<key jid='a@b/c'/>")),
    ];
    let too_large = [
        in_lookup("", &key.repeat(257)),
        in_lookup("", &asked(&long)),
        in_lookup("", &format!("<key node='a' jid='{long}'/>")),
        in_contribute(&one.repeat(65)),
        in_contribute(&info(&format!("node='{long}'"), "1")),
        in_feed("", &report.repeat(257)),
        in_feed("", &holder.repeat(257)),
        in_feed("", &format!("{}{holder}", report.repeat(256))),
        in_feed("", &format!("<gone jid='{long}'/>")),
    ];
    for (requests, word) in [
        (&ill_formed[..], "ill-formed"),
        (&malformed, "malformed-node"),
        (&too_large, "too-large"),
    ] {
        for (kind, inside) in requests {
            server.send(&iq(kind, SERVER, inside)).await;
            let shown = inside.chars().take(200).collect::<String>();
            assert_eq!(
                server.next().await,
                error(SERVER, "modify", "bad-request", word),
                "{shown}"
            );
        }
    }
    let unavailable = [
        ("set", in_lookup("", &key).1),
        ("get", in_contribute(&one).1),
        ("get", in_feed("", report).1),
        ("get", "<ask xmlns='urn:capsd:0'/>".to_owned()),
        (
            "get",
            format!("<key xmlns='urn:capsd:0' node='{}'/>", node("K1")),
        ),
        (
            "get",
            "<lookup xmlns='urn:capsd:1'><key node='a#b'/></lookup>".to_owned(),
        ),
        ("set", "<feed xmlns='urn:x'/>".to_owned()),
    ];
    for (kind, inside) in unavailable {
        server.send(&iq(kind, SERVER, &inside)).await;
        assert_eq!(
            server.next().await,
            error(SERVER, "cancel", "service-unavailable", ""),
            "{inside}"
        );
    }
    // Two at once are none (RFC 6120 section 8.2.3).
    server
        .send(&iq("get", SERVER, &in_lookup("", &key).1.repeat(2)))
        .await;
    assert_eq!(
        server.next().await,
        error(SERVER, "modify", "bad-request", "")
    );
    for (operation, count) in [
        (Operation::LookupMalformed, 7 + 2 + 3),
        (Operation::ContributeMalformed, 6 + 2),
        (Operation::FeedMalformed, 9 + 4),
    ] {
        let malformed = world.metrics.operations.get(operation);
        assert_eq!(malformed.get(), count, "{operation:?}");
    }
    world.resolver.expire(crate::world::clock());
    assert_eq!(world.metrics.holders.get(), 1, "who announced content 1");
    world.assert_knows_1(&mut server).await;
}

/// What a receiver does not know is passed over.
#[tokio::test]
async fn what_is_not_known_is_passed_over() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    server.settle().await;
    let (kind, inside) = in_lookup(
        "instance='a' later='b' wait='false' xml:lang='fr'",
        &format!(
            "text<new xmlns='urn:x'><key xmlns='urn:capsd:0'/></new>\
             <key node='{0}' later='c'><query xmlns='http://jabber.org/protocol/disco#info'><key/></query>text</key>\
             <gone/><other><deep><deeper/></deep></other><key xmlns:x='urn:x' x:node='a' node='{0}'/>",
            node("K1")
        ),
    );
    server.send(&iq(kind, ASKER, &inside)).await;
    assert_eq!(
        super::requests::outcomes(&server.next().await, &[crate::contents::mark("1")]),
        ["=1", "=1"]
    );
    let (kind, inside) = in_contribute(&format!(
        "<note/>{}<info node='{}'><note><query/></note>{}<note/></info>",
        info("later='d'", "2"),
        node("K3"),
        query("3")
    ));
    server.send(&iq(kind, ASKER, &inside)).await;
    let reply = server.next().await;
    assert!(
        !reply.contains("reason") && reply.matches("<info").count() == 2,
        "{reply}"
    );
}

/// As many as may be are taken.
#[tokio::test]
async fn as_many_as_may_be_are_taken() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    server.settle().await;
    server
        .send(&lookup(ASKER, "", &vec![asked(&node("K1")); 256]))
        .await;
    assert_eq!(server.next().await.matches("<query ").count(), 256);
    server
        .send(&super::requests::contribute(
            SERVER,
            &vec![info("", "1"); 64],
        ))
        .await;
    assert_eq!(server.next().await.matches("<info>").count(), 64);
    server
        .send(&feed(
            SERVER,
            &format!("instance='{}'", "x".repeat(64)),
            &vec!["<gone jid='a@b/c'/>".to_owned(); 256],
        ))
        .await;
    assert!(server.next().await.contains("<feed "));
    // A node as long as an attribute may be is answered with the same node.
    let longest = "x".repeat(3072);
    server.send(&lookup(ASKER, "", &[asked(&longest)])).await;
    assert!(
        server
            .next()
            .await
            .contains(&format!("<key node='{longest}' reason='too-large'></key>"))
    );
}
