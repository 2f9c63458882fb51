//! What is flushed is forgotten in every tier: on disk, hot, and in the table in front of that, and asked for again.

use std::time::Duration;

use capsd::caps::{Algorithm, CapsKey, Family, Policy};
use capsd::resolver::forgetting::Forgotten;
use capsd::resolver::tiers::Below;
use capsd::store::Learned;
use tokio::net::TcpStream;

use crate::contents::{key, mark, verified};
use crate::server::{COMPONENT, Server, attribute};
use crate::setup::rate;
use crate::world::{ASKER, HOLDER, World, answer, node, presence};

/// Somebody else with the account of the holder: what he asks for is not used a second time by that.
const SAME_ACCOUNT: &str = "holder@example.org/other";

/// A node of the other family under which content 2 is served, too.
fn other_node_of_2() -> String {
    key("N2").to_node("")
}

impl World {
    /// A world in which an account brings one content, and what it brings beyond is not written at once; with content 2 on probation.
    async fn with_2_on_probation() -> (World, Server<TcpStream>) {
        let world = World::with(|settings, _| {
            settings.new_keys_per_account = rate(1, Duration::from_secs(3600));
        })
        .await;
        let mut server = world.that_knows_1().await;
        server.send(&presence(HOLDER, "K2")).await;
        server.ask(SAME_ACCOUNT, "first", &node("K2")).await;
        let question = server.next().await;
        assert_eq!(attribute(&question, "to"), HOLDER, "{question}");
        server.send(&answer(&question, "2")).await;
        assert!(server.next().await.contains(&mark("2")));
        for node in [node("K2"), other_node_of_2()] {
            server.ask(SAME_ACCOUNT, "more", &node).await;
            assert!(server.next().await.contains(&mark("2")));
        }
        assert!(!world.has_stored("K2").await);
        (world, server)
    }

    async fn has_stored(&self, name: &'static str) -> bool {
        let stored = move |below: &mut Below| below.store.get(&key(name));
        self.resolver.work(stored).await.unwrap().is_some()
    }
}

/// Has the node asked for by somebody who has nothing to do with the holder; the answer, or the question to the holder.
async fn next_after_asking(server: &mut Server<TcpStream>, node: &str) -> String {
    server.ask(ASKER, "again", node).await;
    server.next().await
}

#[tokio::test]
async fn a_flush_of_one_key_forgets_all_of_a_content_on_probation() {
    for flushed in ["K2", "N2"] {
        let (world, mut server) = World::with_2_on_probation().await;
        let nothing_stored = Forgotten {
            contents: 0,
            stays: false,
        };
        assert_eq!(
            world.resolver.forget(key(flushed)).await,
            Ok(nothing_stored)
        );
        let reply = next_after_asking(&mut server, &other_node_of_2()).await;
        assert!(reply.contains(">unknown</reason>"), "{flushed}: {reply}");
        let question = next_after_asking(&mut server, &node("K2")).await;
        assert_eq!(attribute(&question, "to"), HOLDER, "{question}");
        assert!(!world.has_stored("N2").await, "nothing came back to disk");
        world.assert_knows_1(&mut server).await;
    }
}

#[tokio::test]
async fn a_flush_of_everything_forgets_what_is_on_probation() {
    let (world, mut server) = World::with_2_on_probation().await;
    world.resolver.forget_all().await.unwrap();
    let reply = next_after_asking(&mut server, &other_node_of_2()).await;
    assert!(reply.contains(">unknown</reason>"), "{reply}");
}

/// Two accounts may prove one content by different keys; then it is on probation twice.
#[tokio::test]
async fn a_flush_finds_a_content_that_is_on_probation_twice() {
    const OTHER: &str = "other@example.org/r";
    let (world, mut server) = World::with_2_on_probation().await;
    // The other one spends its quota on content 3, then proves 2 by a key that is no standard one.
    server.send(&presence(OTHER, "K3")).await;
    let question = server.next().await;
    server.send(&answer(&question, "3")).await;
    let more = another_key_of_2();
    server.send(&presence_0390(OTHER, &more)).await;
    server
        .ask("other@example.org/x", "own", &more.to_node(""))
        .await;
    let question = server.next().await;
    assert_eq!(attribute(&question, "to"), OTHER, "{question}");
    server.send(&answer(&question, "2")).await;
    assert!(server.next().await.contains(&mark("2")));
    world.resolver.forget(key("K2")).await.unwrap();
    let reply = next_after_asking(&mut server, &other_node_of_2()).await;
    assert!(reply.contains(">unknown</reason>"), "{reply}");
    let question = next_after_asking(&mut server, &more.to_node("")).await;
    assert_eq!(attribute(&question, "to"), OTHER, "{question}");
}

/// The 0390 sha-512 key of content 2.
fn another_key_of_2() -> CapsKey {
    let policy = Policy::default();
    let key = verified("2").key(Family::Xep0390, Algorithm::Sha512, &policy);
    key.unwrap()
}

/// A presence with the `<c/>` of a 0390 key.
fn presence_0390(from: &str, key: &CapsKey) -> String {
    let (algorithm, hash) = (key.algorithm().name(), key.digest_base64());
    format!(
        "<presence from='{from}' to='{COMPONENT}'><c xmlns='urn:xmpp:caps'>\
         <hash xmlns='urn:xmpp:hashes:2' algo='{algorithm}'>{hash}</hash></c></presence>"
    )
}

#[tokio::test]
async fn a_flush_of_one_key_forgets_all_of_a_content_that_is_hot_and_no_longer_stored() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    let nodes = [node("K1"), key("N1").to_node("")];
    for node in &nodes {
        let reply = next_after_asking(&mut server, node).await;
        assert!(reply.contains(&mark("1")), "{reply}");
    }
    // So many others come that the store has no place for it any more.
    let crowd = |below: &mut Below| {
        (10..3000).for_each(|number: u32| {
            let name = number.to_string();
            below.store.put(Learned {
                info: verified(&name),
                keys: vec![key(&format!("K{name}"))],
                nodes: Vec::new(),
            });
        });
    };
    world.resolver.work(crowd).await.unwrap();
    assert!(!world.has_stored("K1").await);
    for node in &nodes {
        let reply = next_after_asking(&mut server, node).await;
        assert!(reply.contains(&mark("1")), "it is hot: {reply}");
    }
    world.resolver.forget(key("K1")).await.unwrap();
    let reply = next_after_asking(&mut server, &nodes[1]).await;
    assert!(reply.contains(">unknown</reason>"), "{reply}");
}

#[tokio::test]
async fn a_flushed_key_is_asked_for_again_however_hot_it_was() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    for all in [false, true] {
        // The second time it comes from the table in front of the hot tier.
        for _ in 0..3 {
            world.assert_knows_1(&mut server).await;
        }
        let forgotten = match all {
            false => world.resolver.forget(key("K1")).await,
            true => world.resolver.forget_all().await,
        };
        let expected = Forgotten {
            contents: 1,
            stays: false,
        };
        assert_eq!(forgotten, Ok(expected));
        let before = world.questions();
        server.ask(ASKER, "again", &node("K1")).await;
        let question = server.next().await;
        assert_eq!(attribute(&question, "to"), HOLDER, "{question}");
        server.send(&answer(&question, "1")).await;
        let reply = server.next().await;
        assert!(
            reply.contains(&mark("1")) && attribute(&reply, "id") == "again",
            "{reply}"
        );
        assert_eq!(world.questions(), before + 1);
    }
}

#[tokio::test]
async fn an_announcement_after_a_flush_is_resolved_again() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    world.assert_knows_1(&mut server).await;
    world.resolver.forget(key("K1")).await.unwrap();
    server.send(&presence("another@example.org/x", "K1")).await;
    let question = server.next().await;
    server.send(&answer(&question, "1")).await;
    server.settle().await;
    world.assert_knows_1(&mut server).await;
}

#[tokio::test]
async fn who_failed_before_is_asked_again_if_an_operator_wants_to_know() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&presence(HOLDER, "K1")).await;
    let question = server.next().await;
    // A lie.
    server.send(&answer(&question, "2")).await;
    server.settle().await;
    server.ask(ASKER, "refused", &node("K1")).await;
    assert!(server.next().await.contains("mismatch"));
    world.resolver.forgive(&key("K1"));
    server.ask(ASKER, "forgiven", &node("K1")).await;
    let question = server.next().await;
    assert_eq!(attribute(&question, "to"), HOLDER, "{question}");
}

#[tokio::test]
async fn a_domain_that_is_served_no_more_is_neither_answered_nor_asked() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&presence(HOLDER, "K1")).await;
    let question = server.next().await;
    server.send(&answer(&question, "1")).await;
    world.assert_knows_1(&mut server).await;
    let mut settings = (*world.link().settings()).clone();
    settings.domains = vec!["example.net".to_owned()];
    world.link().change(settings);
    world.resolver.forget_domain(world.link().id, "example.org");
    server.ask(ASKER, "stranger", &node("K1")).await;
    assert!(server.next().await.contains("<forbidden "));
    world.resolver.forget_all().await.unwrap();
    server
        .ask("someone@example.net/x", "new", &node("K1"))
        .await;
    let reply = server.next().await;
    assert!(
        reply.contains(">unknown</reason>"),
        "nobody is known to announce it: {reply}"
    );
}
