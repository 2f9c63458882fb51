//! What an operator denies, pins and trusts, as askers see it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use capsd::caps::{Algorithm, CapsKey, Family};
use capsd::metrics::Metrics;
use capsd::trusted::{Overrides, Sources, Trusted};
use md5::Digest as _;
use tokio::net::TcpStream;

use crate::contents::{key, mark, query};
use crate::server::{COMPONENT, Server, attribute};
use crate::world::{ASKER, HOLDER, World, answer, node, presence};

/// What an operator installed.
struct Operator {
    directory: tempfile::TempDir,
    rules: String,
}

impl Operator {
    fn new() -> Operator {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("trusted")).unwrap();
        Operator {
            directory,
            rules: String::new(),
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn install(&self, key: &CapsKey, content: &str) {
        let node = key.to_node("http://client.example");
        let node = percent_encoding::utf8_percent_encode(&node, percent_encoding::NON_ALPHANUMERIC);
        let name = format!("trusted/{}_{node}.xml", key.algorithm().name());
        std::fs::write(self.path().join(name), query(content)).unwrap();
    }

    fn deny(&mut self, name: &str, reason: &str) {
        self.rules += &format!("[[deny]]\nkey = '{}'\nreason = '{reason}'\n", key(name));
    }

    fn read(&self) -> (Trusted, Arc<Overrides>) {
        let file = self.path().join("overrides.toml");
        std::fs::write(&file, &self.rules).unwrap();
        let sources = Sources {
            directories: vec![self.path().join("trusted")],
            ..Sources::default()
        };
        let trusted = Trusted::open(&sources, &Metrics::new().unwrap());
        (trusted, Arc::new(Overrides::load(&file).unwrap()))
    }

    /// Has everything read, and waits until it is in force.
    async fn reload(&self, world: &World) {
        let before = world.resolver.withdrawals();
        let (trusted, overrides) = self.read();
        world.resolver.trust(trusted, overrides);
        while world.resolver.withdrawals() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn asked(server: &mut Server<TcpStream>, id: &str, node: &str) -> String {
    server.ask(ASKER, id, node).await;
    let reply = server.next().await;
    assert_eq!(attribute(&reply, "id"), id, "{reply}");
    reply
}

/// The very stanza: condition, the operator's words, and our word; and it counts from one question to the next, however hot the
/// content was.
#[tokio::test]
async fn a_denied_key_is_answered_with_the_operators_reason() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    for n in 0..20 {
        let reply = asked(&mut server, &n.to_string(), &node("K1")).await;
        assert!(reply.contains(&mark("1")), "{reply}");
    }
    let mut operator = Operator::new();
    operator.deny("K1", "a <broken> bot & friends");
    operator.deny("K2", "also");
    operator.reload(&world).await;
    let questions = world.questions();
    let reply = asked(&mut server, "denied", &node("K1")).await;
    assert_eq!(
        reply,
        format!(
            "<iq type='error' from='{COMPONENT}' to='{ASKER}' id='denied'><error type='cancel'>\
             <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>a &lt;broken&gt; bot &amp; friends</text>\
             <reason xmlns='urn:capsd:0'>denied</reason></error></iq>"
        )
    );
    // Nobody is asked for what is denied, announced or not.
    server.send(&presence(HOLDER, "K2")).await;
    let reply = asked(&mut server, "other", &node("K2")).await;
    assert!(reply.contains(">denied</reason>"), "{reply}");
    assert_eq!(world.questions(), questions);
    let denied = world
        .metrics
        .lookup_failures
        .get(capsd::caps::Reason::Denied);
    assert_eq!(denied.get(), 2);
    // By another name of the same content it is found.
    let reply = asked(&mut server, "other", &node("N1")).await;
    assert!(reply.contains(&mark("1")), "{reply}");
    // And everything is as it was when it is denied no more.
    Operator::new().reload(&world).await;
    let reply = asked(&mut server, "again", &node("K1")).await;
    assert!(reply.contains(&mark("1")), "{reply}");
}

/// What was hot is not served from any table in front of the tiers once it is trusted differently.
#[tokio::test]
async fn what_is_trusted_no_more_is_served_no_more() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let operator = Operator::new();
    operator.install(&key("Ka1"), "a1");
    operator.reload(&world).await;
    for n in 0..3 {
        let reply = asked(&mut server, &n.to_string(), &node("Ka1")).await;
        assert!(reply.contains(&mark("a1")), "{reply}");
    }
    Operator::new().reload(&world).await;
    let reply = asked(&mut server, "gone", &node("Ka1")).await;
    assert!(reply.contains(">unknown</reason>"), "{reply}");
}

#[tokio::test]
async fn a_trusted_md5_hash_is_served_and_no_other_one() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let digest = md5::Md5::digest("client/pc//client 1<urn:x:1<");
    let md5 = CapsKey::new(Family::Xep0115, Algorithm::Md5, &digest).unwrap();
    let node = md5.to_node("http://client.example");
    let reply = asked(&mut server, "before", &node).await;
    assert!(reply.contains(">unsupported-algorithm</reason>"), "{reply}");
    let operator = Operator::new();
    operator.install(&md5, "1");
    operator.reload(&world).await;
    let reply = asked(&mut server, "after", &node).await;
    assert!(reply.contains(&mark("1")), "{reply}");
    assert_eq!(world.questions(), 0);
}

/// As long as it is not known what the operator trusts, questions wait; what was trusted all along is never asked for.
#[tokio::test]
async fn questions_wait_until_what_is_trusted_was_read() {
    let world = World::before_trusted_is_read().await;
    let mut server = world.accept().await;
    server.send(&presence(HOLDER, "K1")).await;
    server.send(&presence("other@example.org/r", "K2")).await;
    server.ask(ASKER, "one", &node("K1")).await;
    assert_eq!(server.settle().await, [""; 0], "too early");
    let mut operator = Operator::new();
    operator.install(&key("K1"), "1");
    operator.deny("K3", "a test");
    operator.reload(&world).await;
    // The holder of the one that is not trusted is asked, and the other question answered.
    let [first, second] = [server.next().await, server.next().await];
    let (question, reply) = match first.contains("'get'") {
        true => (first, second),
        false => (second, first),
    };
    assert!(reply.contains(&mark("1")), "{reply}");
    assert_eq!(attribute(&question, "to"), "other@example.org/r");
    server.send(&answer(&question, "2")).await;
    let reply = asked(&mut server, "two", &node("K2")).await;
    assert!(reply.contains(&mark("2")), "{reply}");
    let reply = asked(&mut server, "three", &node("K3")).await;
    assert!(reply.contains(">denied</reason>"), "{reply}");
    assert_eq!(world.questions(), 1);
}

/// Somebody who learned a content under one of its hashes does not learn it under one that is denied.
#[tokio::test]
async fn a_denied_key_is_not_learned_by_another_hash() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let mut operator = Operator::new();
    operator.deny("N1", "a test");
    operator.reload(&world).await;
    server.learn("1").await;
    world.assert_knows_1(&mut server).await;
    let reply = asked(&mut server, "denied", &node("N1")).await;
    assert!(reply.contains(">denied</reason>"), "{reply}");
    Operator::new().reload(&world).await;
    let reply = asked(&mut server, "again", &node("N1")).await;
    assert!(reply.contains(">unknown</reason>"), "{reply}");
}
