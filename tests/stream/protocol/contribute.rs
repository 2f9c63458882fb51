//! Contents that are handed over: `<contribute/>`.

use std::num::NonZeroU32;
use std::time::Duration;

use capsd::metrics::{ContributionResult, Deferral};
use capsd::resolver::limits::Rate;

use super::requests::{SERVER, asked, contribute, each, info, lookup, outcomes};
use crate::contents::{key, mark};
use crate::server::attribute;
use crate::world::{ASKER, World, answer, node, presence};

/// The reason of each content, or the nodes that it is known under.
fn results(reply: &str) -> Vec<Vec<String>> {
    assert!(
        reply.contains("<contribute xmlns='urn:capsd:0' instance='"),
        "{reply}"
    );
    let of_one = |info: &str| match info.split_once(" reason='") {
        Some((_, rest)) => vec![rest.split_once('\'').unwrap().0.to_owned()],
        None => each(info, "key")
            .iter()
            .map(|key| attribute(key, "node"))
            .collect(),
    };
    each(reply, "info").into_iter().map(of_one).collect()
}

fn few(count: u32) -> Rate {
    Rate {
        interval: Duration::from_secs(3600),
        burst: NonZeroU32::new(count).unwrap(),
    }
}

/// What verifies is known from then on under every key of its hashes, whoever handed it over.
#[tokio::test]
async fn what_verifies_is_known_from_then_on() {
    for from in [ASKER, SERVER] {
        let world = World::new().await;
        let mut server = world.accept().await;
        let node_1 = format!("node='{}'", node("K1"));
        server.send(&contribute(from, &[info(&node_1, "1")])).await;
        let reply = server.next().await;
        let nodes = results(&reply).remove(0);
        assert_eq!(nodes.len(), 4, "0115 by sha-1, 0390 by three: {nodes:?}");
        assert!(
            nodes.contains(&node("K1")) && nodes.contains(&node("N1")),
            "{nodes:?}"
        );
        for wanted in nodes {
            server.ask(ASKER, "q", &wanted).await;
            assert!(server.next().await.contains(&mark("1")), "{wanted}");
        }
        assert_eq!(world.questions(), 0);
        assert_eq!(
            world
                .metrics
                .contributions
                .get(ContributionResult::Taken)
                .get(),
            1
        );
    }
}

/// Nothing is believed but the content's own hashes.
#[tokio::test]
async fn nothing_is_believed() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let of = |name: &str| format!("node='{}'", node(name));
    let infos = [
        info(&of("K2"), "1"),
        info(&of("Ka1"), "a1"),
        info(&of("Ki1"), "i1"),
        info(&of("Kt1"), "t1"),
        info("", "a2"),
        info("", "3"),
        info("node='http://old.example#1.0'", "4"),
        info("node='http://a#AAAA'", "4"),
        info("node='http://a#65KLdMRhWsklTPilUQXwGw=='", "4"),
    ];
    server.send(&contribute(SERVER, &infos)).await;
    let reply = server.next().await;
    let results = results(&reply);
    let words: Vec<&str> = results.iter().map(|result| result[0].as_str()).collect();
    assert_eq!(
        words[..4],
        ["mismatch", "ambiguous", "ill-formed", "too-large"]
    );
    // Ambiguous by 0115, but 0390 has one reading.
    assert!(
        results[4]
            .iter()
            .all(|node| node.starts_with("urn:xmpp:caps#")),
        "{results:?}"
    );
    assert!(results[5].contains(&node("N3")), "{results:?}");
    assert_eq!(
        words[6..],
        [
            "malformed-node",
            "unsupported-algorithm",
            "unsupported-algorithm"
        ]
    );
    let names = [
        "K2", "Ka1", "Ki1", "Kt1", "K4", "N4", "Ka2", "K1", "N1", "K3",
    ];
    let keys = names.map(|name| asked(&node(name)));
    server.send(&lookup(ASKER, "", &keys)).await;
    let reply = server.next().await;
    let expected = [
        "unknown", "unknown", "unknown", "unknown", "unknown", "unknown", "unknown", "=1", "=1",
        "=2",
    ];
    assert_eq!(outcomes(&reply, &["1", "3"].map(mark)), expected);
}

/// Whoever waits for the key is answered, and the holder's own answer is then one of many.
#[tokio::test]
async fn who_waits_is_answered() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&presence("one@example.org/r", "K1")).await;
    let question = server.next().await;
    server.ask(ASKER, "q", &node("K1")).await;
    let keys = [asked(&node("K1")), asked(&node("K9"))];
    server.send(&lookup(ASKER, "", &keys)).await;
    assert_eq!(server.settle().await, [""; 0]);
    server.send(&contribute(SERVER, &[info("", "1")])).await;
    let mut replies = [
        server.next().await,
        server.next().await,
        server.next().await,
    ];
    replies.sort_by_key(|reply| reply.contains("<contribute "));
    assert!(replies[0].contains(&mark("1")) && replies[1].contains(&mark("1")));
    server.send(&answer(&question, "1")).await;
    world.assert_knows_1(&mut server).await;
    assert_eq!(world.questions(), 1);
    world.resolver.expire(crate::world::clock());
    assert_eq!(world.metrics.flights.get(), 0);
}

/// Beyond the quotas of the account a content stays in memory until another account uses it; beyond those too it is refused.
#[tokio::test]
async fn quotas_are_those_of_announcers() {
    let world = World::with(|flights, _| {
        flights.new_keys_per_account = few(1);
        flights.questions_per_account = few(1);
    })
    .await;
    let mut server = world.accept().await;
    let infos = ["1", "2", "3"].map(|content| info("", content));
    server.send(&contribute(ASKER, &infos)).await;
    let results_of_asker = results(&server.next().await);
    assert_eq!(results_of_asker[2], ["rate-limited"]);
    assert_eq!(results_of_asker[1].len(), 4, "{results_of_asker:?}");
    let deferred = world
        .metrics
        .cache_admission_deferred
        .get(Deferral::Account);
    assert_eq!(deferred.get(), 1);
    // It is served all the same.
    server.ask(ASKER, "q", &node("K2")).await;
    assert!(server.next().await.contains(&mark("2")));
    // A server answers for itself, or for the one who gave the answer.
    let by = |jid: &str, content: &str| info(&format!("jid='{jid}'"), content);
    let infos = [
        by("a@example.org/r", "4"),
        by("b@example.org/r", "5"),
        by("a@example.org/s", "6"),
        by("a@example.org/t", "7"),
        info("", "8"),
    ];
    server.send(&contribute(SERVER, &infos)).await;
    let lengths: Vec<usize> = results(&server.next().await).iter().map(Vec::len).collect();
    assert_eq!(lengths, [4, 4, 4, 1, 4]);
    assert_eq!(deferred.get(), 2);
    // What is known already costs nobody anything.
    let node_5 = format!("node='{}' jid='a@example.org/t'", node("K5"));
    server
        .send(&contribute(SERVER, &[info(&node_5, "5")]))
        .await;
    assert_eq!(results(&server.next().await)[0].len(), 4);
}

/// Whoever is no server cannot spend the quotas of another account.
#[tokio::test]
async fn a_user_speaks_for_nobody_else() {
    let world = World::new().await;
    let mut server = world.accept().await;
    for jid in ["victim@example.org/r", "asker@example.org/y", "example.org"] {
        let named = info(&format!("jid='{jid}'"), "1");
        server.send(&contribute(ASKER, &[named])).await;
        assert_eq!(results(&server.next().await), [["forbidden"]], "{jid}");
    }
    server.ask(ASKER, "q", &key("K1").to_node("http://a")).await;
    assert!(server.next().await.contains(">unknown<"));
    assert_eq!(
        world
            .metrics
            .contributions
            .get(ContributionResult::Refused)
            .get(),
        3
    );
}

/// The language that a server stamps on the stanza is no part of an answer, unless its hash says so.
#[tokio::test]
async fn a_stamped_language_does_no_harm() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let node_1 = format!("node='{}'", node("N1"));
    server
        .send(&contribute(SERVER, &[info(&node_1, "1")]))
        .await;
    assert_eq!(results(&server.next().await)[0].len(), 4);
}
