//! What is flushed is forgotten in every tier: on disk, hot, and in the table in front of that, and asked for again.

use capsd::resolver::forgetting::Forgotten;

use crate::contents::{key, mark};
use crate::server::attribute;
use crate::world::{ASKER, HOLDER, World, answer, node, presence};

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
