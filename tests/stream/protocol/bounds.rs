//! Floods: quotas, memory, the size of answers.

use std::num::NonZeroU32;
use std::time::Duration;

use capsd::metrics::{Operation, RateScope, WaiterScope};
use capsd::resolver::limits::Rate;

use super::requests::{SERVER, asked, contribute, info, iq, lookup, outcomes};
use crate::contents::{mark, query};
use crate::server::{COMPONENT, attribute};
use crate::world::{ASKER, World, answer, node, presence};

fn few(count: u32) -> Rate {
    Rate {
        interval: Duration::from_secs(3600),
        burst: NonZeroU32::new(count).unwrap(),
    }
}

/// The keys of a batch count, all of them or none; a server's do not.
#[tokio::test]
async fn keys_have_a_quota() {
    let world = World::with(|_, service| {
        service.batch_keys_per_asker = few(300);
        service.queries_per_asker = few(6);
    })
    .await;
    let mut server = world.accept().await;
    let keys = vec![asked(&node("K9")); 256];
    let error = format!(
        "<iq type='error' from='{COMPONENT}' to='{ASKER}' id='r'><error type='wait'>\
         <resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><reason xmlns='urn:capsd:0'>rate-limited</reason></error></iq>"
    );
    server.send(&lookup(ASKER, "", &keys)).await;
    assert!(server.next().await.contains("<lookup "));
    server.send(&lookup(ASKER, "", &keys)).await;
    assert_eq!(server.next().await, error);
    // What is left is still there; contents count as keys do.
    server.send(&lookup(ASKER, "", &keys[..43])).await;
    assert!(server.next().await.contains("<lookup "));
    server.send(&contribute(ASKER, &[info("", "1")])).await;
    assert!(server.next().await.contains("<contribute "));
    server.send(&contribute(ASKER, &[info("", "1")])).await;
    assert_eq!(server.next().await, error);
    assert_eq!(
        world.metrics.rate_limited.get(RateScope::BatchKeys).get(),
        2
    );
    let limited = world.metrics.operations.get(Operation::LookupRateLimited);
    assert_eq!(limited.get(), 1);
    // Nor may there be more requests than that of other queries.
    server.send(&lookup(ASKER, "", &[asked("x")])).await;
    assert_eq!(server.next().await, error);
    server.send(&lookup(ASKER, "", &[asked("x")])).await;
    assert_eq!(server.next().await, error);
    assert_eq!(world.metrics.rate_limited.get(RateScope::Asker).get(), 1);
    for _ in 0..10 {
        server.send(&lookup(SERVER, "", &keys)).await;
        assert!(server.next().await.contains("<lookup "));
    }
}

/// The contents of an answer are bounded; what does not fit is named, and the first always fits.
#[tokio::test]
async fn an_answer_is_bounded_in_bytes() {
    let world = World::with(|_, service| service.batch_bytes = 400).await;
    let mut server = world.that_knows_1().await;
    server.settle().await;
    let served = query("1").len();
    let fit =
        400 / (served - "<query xmlns='http://jabber.org/protocol/disco#info'></query>".len());
    let keys = vec![asked(&node("K1")); 10];
    server
        .send(&lookup(
            ASKER,
            "",
            &[keys.clone(), vec![asked("x"), asked(&node("K9"))]].concat(),
        ))
        .await;
    let got = outcomes(&server.next().await, &[mark("1")]);
    let mut expected = vec!["=1"; fit];
    expected.resize(10, "too-large");
    expected.extend(["malformed-node", "unknown"]);
    assert!(fit > 1 && fit < 10);
    assert_eq!(got, expected);
    let world = World::with(|_, service| service.batch_bytes = 1).await;
    let mut server = world.that_knows_1().await;
    server.settle().await;
    server.send(&lookup(ASKER, "", &keys[..2])).await;
    assert_eq!(
        outcomes(&server.next().await, &[mark("1")]),
        ["=1", "too-large"]
    );
}

/// Batches that wait take a bounded part of memory, which is given back; who finds none is told what is known.
#[tokio::test]
async fn waiting_batches_are_bounded_in_bytes() {
    let world = World::with(|_, service| service.waiting_batch_bytes = 3000).await;
    let mut server = world.that_knows_1().await;
    server.send(&presence("two@example.org/r", "K2")).await;
    let question = server.next().await;
    server.settle().await;
    // Some 800 bytes each.
    let keys = ["K2", "K1", "K2"].map(|name| asked(&node(name)));
    for _ in 0..10 {
        server.send(&lookup(ASKER, "", &keys)).await;
    }
    let early = server.settle().await;
    assert!((6..9).contains(&early.len()), "{}", early.len());
    for reply in &early {
        assert_eq!(
            outcomes(reply, &[mark("1")]),
            ["overloaded", "=1", "overloaded"]
        );
    }
    let rejected = world.metrics.waiters_rejected.get(WaiterScope::Batch).get();
    assert_eq!(rejected as usize, early.len());
    let held = world.metrics.waiting_batch_bytes.get();
    assert!(held > 1000 && held <= 3000, "{held}");
    server.send(&answer(&question, "2")).await;
    for _ in early.len()..10 {
        let got = outcomes(&server.next().await, &[mark("1"), mark("2")]);
        assert_eq!(got[1], "=1");
        // There may be no room for its content either.
        assert!(["=2", "overloaded"].contains(&&*got[0]), "{got:?}");
    }
    server.settle().await;
    assert_eq!(world.metrics.waiting_batch_bytes.get(), 0);
    assert_eq!(world.metrics.waiters.get(), 0);
}

/// A batch waits once for a key, however often it names it: nobody fills the places of others so.
#[tokio::test]
async fn a_batch_waits_once_for_a_key() {
    let world = World::with(|flights, _| flights.max_waiters_per_flight = 3).await;
    let mut server = world.accept().await;
    server.send(&presence("one@example.org/r", "K1")).await;
    let question = server.next().await;
    for _ in 0..4 {
        server
            .send(&lookup(ASKER, "", &vec![asked(&node("K1")); 100]))
            .await;
    }
    let early = server.settle().await;
    assert_eq!(early.len(), 1);
    assert_eq!(outcomes(&early[0], &[]), ["overloaded"; 100]);
    assert_eq!(world.metrics.waiters.get(), 3);
    server.send(&answer(&question, "1")).await;
    for _ in 0..3 {
        assert_eq!(outcomes(&server.next().await, &[mark("1")]), ["=1"; 100]);
    }
}

/// A contribution of more bytes than may be is not kept while it is read, and refused.
#[tokio::test]
async fn contributions_are_bounded_in_bytes() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let features: String = (0..400)
        .map(|n| format!("<feature var='{}{n}'/>", "x".repeat(40)))
        .collect();
    let large = format!(
        "<info><query xmlns='http://jabber.org/protocol/disco#info'>{features}</query></info>"
    );
    assert!(large.len() * 64 > 1 << 20);
    let all = format!(
        "<contribute xmlns='urn:capsd:0'>{}</contribute>",
        large.repeat(64)
    );
    server.send(&iq("set", SERVER, &all)).await;
    assert!(server.next().await.contains("<bad-request "));
    let some = format!(
        "<contribute xmlns='urn:capsd:0'>{}</contribute>",
        large.repeat(20)
    );
    server.send(&iq("set", SERVER, &some)).await;
    assert_eq!(
        server.next().await.matches(" reason='too-large'").count(),
        20
    );
}

/// Nested garbage, long texts and wrong types are read past; the stream stays in step.
#[tokio::test]
async fn garbage_is_read_past() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    server.settle().await;
    let deep = format!("{}{}", "<a>".repeat(2000), "</a>".repeat(2000));
    let attributes: String = (0..500).map(|n| format!(" a{n}='x'")).collect();
    let junk = format!("{deep}{}<b{attributes}/>", "text ".repeat(20_000));
    for (kind, name, item) in [
        ("get", "lookup", "key"),
        ("set", "contribute", "info"),
        ("set", "feed", "holder"),
        ("set", "feed", "gone"),
    ] {
        for inside in [
            junk.clone(),
            format!("<{item}>{junk}</{item}>"),
            format!(
                "<{item} jid='a@example.org/r' node='{}'>{junk}</{item}>",
                "y".repeat(20_000)
            ),
            format!(
                "<{item} jid='a@example.org/r'><query xmlns='http://jabber.org/protocol/disco#info'>{junk}</query>\
                     <c xmlns='urn:xmpp:caps'>{junk}<hash xmlns='urn:xmpp:hashes:2'>{junk}</hash></c></{item}>"
            ),
        ] {
            let request = format!("<{name} xmlns='urn:capsd:0'>{inside}</{name}>");
            server.send(&iq(kind, SERVER, &request)).await;
            let reply = server.next().await;
            assert_eq!(attribute(&reply, "id"), "r", "{name}/{item}");
        }
    }
    world.assert_knows_1(&mut server).await;
}
