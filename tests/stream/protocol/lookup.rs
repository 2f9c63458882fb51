//! Many keys in one request: `<lookup/>`.

use std::time::Duration;

use capsd::metrics::{LookupResult, Operation};

use super::requests::{SERVER, asked, lookup, outcomes};
use crate::contents::{key, mark};
use crate::server::{COMPONENT, attribute};
use crate::world::{ASKER, World, answer, node, presence};

fn marks() -> Vec<String> {
    ["1", "2"].map(mark).to_vec()
}

/// Both families, what is known and what is not, malformed and repeated ones: in the order asked, each with its node to the letter.
#[tokio::test]
async fn a_batch_is_answered_in_its_order() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    server.settle().await;
    let legacy = super::requests::LEGACY;
    let old = format!("<presence from='old@example.org/r' to='{COMPONENT}'>{legacy}</presence>");
    server.send(&old).await;
    let nodes = [
        node("K1"),
        node("K9"),
        node("N1"),
        "nothing".to_owned(),
        node("K1"),
        format!("a&amp;&lt;b#{}", key("K1").digest_base64()),
        "http://a#AAAA".to_owned(),
        super::requests::LEGACY_NODE.to_owned(),
        format!("http://a#{}", "x".repeat(1100)),
    ];
    for wait in ["", "wait='true'", "wait='false'", "wait='0'", "wait=' 1 '"] {
        let before = world.questions();
        server
            .send(&lookup(ASKER, wait, &nodes.clone().map(|n| asked(&n))))
            .await;
        let reply = server.next().await;
        assert!(
            reply.starts_with(&format!(
                "<iq type='result' from='{COMPONENT}' to='{ASKER}' id='r'>"
            )),
            "{reply}"
        );
        let expected = [
            "=1",
            "unknown",
            "=1",
            "malformed-node",
            "=1",
            "=1",
            "unsupported-algorithm",
            "legacy",
            "too-large",
        ];
        assert_eq!(outcomes(&reply, &marks()), expected, "{wait}");
        let answered: Vec<&str> = super::requests::each(&reply, "key")
            .iter()
            .map(|key| {
                key.strip_prefix(" node='")
                    .unwrap()
                    .split('\'')
                    .next()
                    .unwrap()
            })
            .collect();
        assert_eq!(answered, nodes);
        assert_eq!(attribute(&reply, "max-age"), "300");
        assert!(attribute(&reply, "instance").len() <= 64);
        assert_eq!(world.questions(), before);
    }
    let ok = world.metrics.operations.get(Operation::LookupOk);
    assert_eq!(ok.get(), 5);
}

/// One question is asked for all who wait, and the batch is answered when its last key is settled.
#[tokio::test]
async fn a_batch_waits_for_its_last_key() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&presence("one@example.org/r", "K1")).await;
    let first = server.next().await;
    server.send(&presence("two@example.org/r", "K2")).await;
    let second = server.next().await;
    let keys = ["K1", "K2", "K1", "K9"].map(|name| asked(&node(name)));
    server.send(&lookup(ASKER, "", &keys)).await;
    server.send(&lookup(SERVER, "", &keys)).await;
    server.send(&answer(&second, "2")).await;
    assert_eq!(server.settle().await, [""; 0]);
    server.send(&answer(&first, "1")).await;
    for to in [ASKER, SERVER] {
        let reply = server.next().await;
        assert_eq!(attribute(&reply, "to"), to);
        assert_eq!(outcomes(&reply, &marks()), ["=1", "=2", "=1", "unknown"]);
    }
    assert_eq!(world.questions(), 2);
}

/// Without waiting, nobody is asked, though somebody could be; what is stored but not in memory is found.
#[tokio::test]
async fn who_does_not_wait_makes_nobody_be_asked() {
    let world = World::with(|flights, _| flights.on_announce = false).await;
    let mut server = world.accept().await;
    server.send(&presence("one@example.org/r", "K1")).await;
    let keys = [asked(&node("K1"))];
    server.send(&lookup(ASKER, "wait='false'", &keys)).await;
    assert_eq!(outcomes(&server.next().await, &marks()), ["unknown"]);
    assert_eq!(world.questions(), 0);
    // The other one makes it be asked; meanwhile the first still has no answer.
    server.send(&lookup(ASKER, "", &keys)).await;
    let question = server.next().await;
    server.send(&lookup(SERVER, "wait='false'", &keys)).await;
    let reply = server.next().await;
    assert_eq!(attribute(&reply, "to"), SERVER);
    assert_eq!(outcomes(&reply, &marks()), ["unknown"]);
    server.send(&answer(&question, "1")).await;
    assert_eq!(outcomes(&server.next().await, &marks()), ["=1"]);
}

/// A failure that is remembered is told without waiting, too.
#[tokio::test]
async fn a_remembered_failure_is_told_without_asking() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&presence("one@example.org/r", "Ka1")).await;
    let question = server.next().await;
    server.send(&answer(&question, "a1")).await;
    for wait in ["wait='false'", "wait='true'"] {
        server
            .send(&lookup(ASKER, wait, &[asked(&node("Ka1"))]))
            .await;
        assert_eq!(
            outcomes(&server.next().await, &marks()),
            ["ambiguous"],
            "{wait}"
        );
    }
    assert_eq!(world.questions(), 1);
}

/// The deadline of the resolver ends what is left, and what is known is given.
#[tokio::test]
async fn the_deadline_ends_a_batch() {
    let world = World::with(|flights, _| {
        flights.deadline = Duration::from_millis(300);
        flights.holder_timeout = Duration::from_millis(300);
    })
    .await;
    let mut server = world.that_knows_1().await;
    server.send(&presence("two@example.org/r", "K2")).await;
    server.next().await;
    let keys = ["K1", "K2"].map(|name| asked(&node(name)));
    server.send(&lookup(ASKER, "", &keys)).await;
    assert_eq!(outcomes(&server.next().await, &marks()), ["=1", "timeout"]);
    assert_eq!(world.metrics.waiters.get(), 0);
    assert_eq!(world.metrics.waiting_batch_bytes.get(), 0);
}

/// What is found is counted as other look-ups are.
#[tokio::test]
async fn keys_are_counted_as_look_ups() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    server.settle().await;
    let hits = || world.metrics.lookups.get(LookupResult::Hit).get();
    let before = hits();
    let keys = ["K1", "N1", "K1"].map(|name| asked(&node(name)));
    server.send(&lookup(ASKER, "", &keys)).await;
    server.next().await;
    // The 0390 key may have to be looked up in the store first.
    assert_eq!(hits() - before, 3);
}

/// capsd's own keys, as it announces them.
#[tokio::test]
async fn its_own_keys_are_answered() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let subscribe =
        format!("<presence type='subscribe' from='asker@example.org' to='{COMPONENT}'/>");
    server.send(&subscribe).await;
    let sent = server.settle().await.concat();
    let ver = attribute(&sent[sent.find("<c ").unwrap()..], "ver");
    server
        .send(&lookup(ASKER, "", &[asked(&format!("urn:capsd:0#{ver}"))]))
        .await;
    let reply = server.next().await;
    assert!(reply.contains("name='capsd'"), "{reply}");
    assert!(reply.contains("<feature var='urn:capsd:0'/>"), "{reply}");
}

/// Who waits when the process ends is told to come back later.
#[tokio::test]
async fn the_end_of_the_process_is_told() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&presence("one@example.org/r", "K1")).await;
    server.next().await;
    server.send(&lookup(ASKER, "", &[asked(&node("K1"))])).await;
    server.settle().await;
    world.service.stop(crate::world::clock(), &world.links);
    let reply = server.next().await;
    assert!(
        reply.contains("<error type='wait'><service-unavailable "),
        "{reply}"
    );
    server.send(&lookup(ASKER, "", &[asked(&node("K1"))])).await;
    assert!(server.next().await.contains("<service-unavailable "));
}
