//! The epoch: by it, those who keep answers learn that something was withdrawn.

use std::sync::Arc;

use capsd::trusted::{Overrides, Sources, Trusted};
use tokio::net::TcpStream;

use super::requests::{SERVER, asked, contribute, feed, info, lookup};
use crate::contents::{key, mark};
use crate::server::{Server, attribute};
use crate::world::{ASKER, HOLDER, World, answer, node, presence};

async fn epoch(server: &mut Server<TcpStream>) -> String {
    server.send(&feed(SERVER, "", &[])).await;
    attribute(&server.next().await, "epoch")
}

/// It is the same in every answer, whatever is learned meanwhile, and another one in another process.
#[tokio::test]
async fn it_stays_while_nothing_is_withdrawn() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let first = epoch(&mut server).await;
    for request in [
        contribute(ASKER, &[info("", "1")]),
        lookup(ASKER, "", &[asked(&node("K1"))]),
        lookup(ASKER, "", &[asked("x")]),
    ] {
        server.send(&request).await;
        assert_eq!(attribute(&server.next().await, "epoch"), first);
    }
    let another = World::new().await;
    assert_ne!(epoch(&mut another.accept().await).await, first);
}

/// What an operator does to contents ends it, by the time at which that is said to be done.
#[tokio::test]
async fn an_order_ends_it() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    let mut before = epoch(&mut server).await;
    let mut ended = async |what: &str| {
        let now = epoch(&mut server).await;
        assert_ne!(std::mem::replace(&mut before, now.clone()), now, "{what}");
    };
    world.resolver.forget(key("K1")).await.unwrap();
    ended("a key is flushed").await;
    world.resolver.forget_all().await.unwrap();
    ended("all is flushed").await;
    world.resolver.rule(Arc::new(Overrides::default()));
    world.resolver.work(|_| ()).await.unwrap();
    ended("a key is denied, pinned, or neither any longer").await;
    let trusted = Trusted::open(&Sources::default(), &world.metrics);
    let overrides = Arc::new(Overrides::default());
    world.resolver.trust(trusted, overrides);
    world.resolver.work(|_| ()).await.unwrap();
    ended("trusted content is read again").await;
}

/// An answer that was begun before that has the epoch of its beginning: what was withdrawn may be in it.
#[tokio::test]
async fn an_answer_has_the_epoch_in_which_it_was_begun() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    let before = epoch(&mut server).await;
    server.send(&presence(HOLDER, "K2")).await;
    let keys = [asked(&node("K1")), asked(&node("K2"))];
    server.send(&lookup(ASKER, "", &keys)).await;
    let question = server.next().await;
    assert_eq!(attribute(&question, "to"), HOLDER, "{question}");
    world.resolver.forget(key("K1")).await.unwrap();
    assert_ne!(epoch(&mut server).await, before);
    server.send(&answer(&question, "2")).await;
    let reply = server.next().await;
    assert!(reply.contains(&mark("1")) && reply.contains(&mark("2")));
    assert_eq!(attribute(&reply, "epoch"), before);
}
