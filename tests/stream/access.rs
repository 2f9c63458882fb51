//! Who may ask, and what is answered.

use std::num::NonZeroU32;
use std::time::Duration;

use capsd::metrics::{LookupResult, RateScope};
use capsd::resolver::limits::Rate;

use crate::contents::{key, mark};
use crate::server::{COMPONENT, attribute};
use crate::world::{ASKER, World, answer, node, presence};

/// Somebody whose domain is not served.
const STRANGER: &str = "stranger@elsewhere.example/x";

const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";

fn request(kind: &str, from: &str, id: &str, inside: &str) -> String {
    format!(
        "<iq type='{kind}' from='{from}' to='{COMPONENT}' id='{id}' xml:lang='de'>{inside}</iq>"
    )
}

/// Whatever a stranger asks, and whatever is known, the reply is the same.
#[tokio::test]
async fn a_stranger_learns_nothing() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    // A key that is announced, not known, and being resolved.
    server.send(&presence("waiting@example.org/r", "K2")).await;
    server.next().await;
    let info = |node: &str| format!("<query xmlns='{DISCO_INFO}' node='{node}'/>");
    let before = world.questions();
    for inside in [
        info(&node("K1")),
        info(&node("N1")),
        info(&node("K2")),
        info(&node("K3")),
        info("malformed"),
        info(&"x".repeat(5000)),
        format!("<query xmlns='{DISCO_INFO}'/>"),
        "<query xmlns='http://jabber.org/protocol/disco#items'/>".to_owned(),
        "<ping xmlns='urn:xmpp:ping'/>".to_owned(),
        "<query xmlns='jabber:iq:version'/>".to_owned(),
        "<time xmlns='urn:xmpp:time'/>".to_owned(),
        "<unheard-of xmlns='urn:x'/>".to_owned(),
        String::new(),
        "<a/><b/>".to_owned(),
    ] {
        for (from, kind) in [
            (STRANGER, "get"),
            (STRANGER, "set"),
            ("elsewhere.example", "get"),
            ("example.org.elsewhere.example", "get"),
            ("asker@sub.example.org/x", "get"),
            ("example.org@elsewhere.example/example.org", "get"),
        ] {
            server.send(&request(kind, from, "q", &inside)).await;
            let expected = format!(
                "<iq type='error' from='{COMPONENT}' to='{from}' id='q'><error type='auth'>\
                 <forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            );
            assert_eq!(server.next().await, expected, "{inside}");
        }
    }
    assert_eq!(world.questions(), before);
    let rejected = world.metrics.lookups.get(LookupResult::Rejected).get();
    assert_eq!(rejected, 14 * 6);
}

/// Every step that a stranger's request takes is counted somewhere, and these counts move the same way whatever was asked: nothing is
/// looked up for one.
#[tokio::test]
async fn a_strangers_requests_go_one_way() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    server.send(&presence("waiting@example.org/r", "K2")).await;
    server.next().await;
    server.settle().await;
    let counts = || -> Vec<String> {
        let text = world.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with("capsd_"));
        // What the threads that nobody asked measure now and then.
        let steady = lines
            .filter(|line| !line.starts_with("capsd_cache_") && !line.starts_with("capsd_store_"));
        steady.map(str::to_owned).collect()
    };
    let info = |node: &str| format!("<query xmlns='{DISCO_INFO}' node='{node}'/>");
    for inside in [
        info(&node("K1")),
        info(&node("N1")),
        info(&node("K2")),
        info(&node("K3")),
        info("malformed"),
        info(&"x".repeat(5000)),
        "<ping xmlns='urn:xmpp:ping'/>".to_owned(),
        String::new(),
    ] {
        for kind in ["get", "set"] {
            let before = counts();
            server.send(&request(kind, STRANGER, "q", &inside)).await;
            assert!(server.next().await.contains("<forbidden "));
            let after = counts();
            let moved: Vec<&str> = before
                .iter()
                .zip(&after)
                .filter(|(before, after)| before != after)
                .map(|(before, _)| before.split(' ').next().unwrap())
                .collect();
            let expected = [
                format!(
                    "capsd_component_stanzas_total{{component=\"{COMPONENT}\",direction=\"in\",kind=\"iq\"}}"
                ),
                format!(
                    "capsd_component_stanzas_total{{component=\"{COMPONENT}\",direction=\"out\",kind=\"iq\"}}"
                ),
                "capsd_lookup_failures_total{reason=\"forbidden\"}".to_owned(),
                "capsd_lookups_total{frontend=\"xmpp\",result=\"rejected\"}".to_owned(),
            ];
            assert_eq!(moved, expected, "{inside}");
        }
    }
    // Nor does a stranger spend anybody's quota, or have one.
    assert_eq!(world.metrics.rate_limited.get(RateScope::Asker).get(), 0);
}

/// A reply carries the node that was asked, to the letter, and no language that a server could have stamped.
#[tokio::test]
async fn a_reply_is_for_the_node_that_was_asked() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    server.settle().await;
    let ver = key("K1").digest_base64();
    for node in [
        node("K1"),
        node("N1"),
        format!("http://another.example#{ver}"),
        format!("a#b#{ver}"),
        format!("#{ver}"),
        format!("&lt;&apos;&amp;&#9;ä#{ver}"),
    ] {
        server.ask(ASKER, "q", &node).await;
        let reply = server.next().await;
        let head = format!(
            "<iq type='result' from='{COMPONENT}' to='{ASKER}' id='q'>\
             <query xmlns='{DISCO_INFO}' xml:lang='' node='{node}'><identity "
        );
        assert!(reply.starts_with(&head), "{reply}");
        assert!(reply.contains(&mark("1")), "{reply}");
    }
    // The domain itself may ask too, and a bare JID.
    for from in ["example.org", "asker@example.org"] {
        server.ask(from, "q", &node("K1")).await;
        assert!(server.next().await.contains(&mark("1")));
    }
}

/// The condition, and our word beside it.
#[tokio::test]
async fn every_refusal_has_its_word() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    let legacy = format!(
        "<presence from='old@example.org/r' to='{COMPONENT}'>\
         <c xmlns='http://jabber.org/protocol/caps' node='http://old.example' ver='1.0' ext='a b'/></presence>"
    );
    server.send(&legacy).await;
    server.settle().await;
    let sha256 = key("N1").digest_base64();
    let long = format!("{}#{}", "x".repeat(1024), key("K1").digest_base64());
    for (node, kind, condition, word) in [
        (node("K9"), "cancel", "item-not-found", "unknown"),
        (
            "http://old.example#1.0".to_owned(),
            "cancel",
            "item-not-found",
            "legacy",
        ),
        (
            "http://old.example#b".to_owned(),
            "cancel",
            "item-not-found",
            "legacy",
        ),
        (
            "http://old.example#c".to_owned(),
            "modify",
            "bad-request",
            "malformed-node",
        ),
        (
            format!("urn:xmpp:caps#sha-1.{sha256}"),
            "cancel",
            "item-not-found",
            "unsupported-algorithm",
        ),
        (
            "http://a#65KLdMRhWsklTPilUQXwGw==".to_owned(),
            "cancel",
            "item-not-found",
            "unsupported-algorithm",
        ),
        (
            "http://a#AAAA".to_owned(),
            "cancel",
            "item-not-found",
            "unsupported-algorithm",
        ),
        (
            "nothing".to_owned(),
            "modify",
            "bad-request",
            "malformed-node",
        ),
        (
            "http://a#".to_owned(),
            "modify",
            "bad-request",
            "malformed-node",
        ),
        (long, "modify", "bad-request", "too-large"),
        ("x".repeat(4000), "modify", "bad-request", "too-large"),
    ] {
        server.ask(ASKER, "q", &node).await;
        let expected = format!(
            "<iq type='error' from='{COMPONENT}' to='{ASKER}' id='q'><error type='{kind}'>\
             <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <reason xmlns='urn:capsd:0'>{word}</reason></error></iq>"
        );
        assert_eq!(server.next().await, expected, "{node}");
    }
}

#[tokio::test]
async fn an_asker_has_a_quota() {
    let few = Rate {
        interval: Duration::from_secs(3600),
        burst: NonZeroU32::new(3).unwrap(),
    };
    let world = World::with(|_, service| service.queries_per_asker = few).await;
    let mut server = world.accept().await;
    // All resources of an account are one asker.
    for resource in ["a", "b", "c", "d"] {
        let from = format!("{ASKER}{resource}");
        server.ask(&from, resource, &node("K9")).await;
        let reply = server.next().await;
        let expected = if resource == "d" {
            "rate-limited"
        } else {
            "unknown"
        };
        assert!(reply.contains(&format!(">{expected}<")), "{reply}");
        assert_eq!(reply.contains("<resource-constraint "), resource == "d");
    }
    server.ask("another@example.org/x", "q", &node("K9")).await;
    assert!(server.next().await.contains(">unknown<"));
    assert_eq!(world.metrics.rate_limited.get(RateScope::Asker).get(), 1);
}

/// What capsd says of itself, to those who may ask.
#[tokio::test]
async fn capsd_speaks_for_itself() {
    let world = World::new().await;
    let mut server = world.accept().await;
    for (inside, expected) in [
        (
            format!("<query xmlns='{DISCO_INFO}'/>"),
            "<identity category='component' type='generic' name='capsd'/>",
        ),
        (
            format!("<query xmlns='{DISCO_INFO}' node=''/>"),
            " node=''>",
        ),
        (
            "<query xmlns='http://jabber.org/protocol/disco#items'/>".to_owned(),
            "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        ),
        (
            "<query xmlns='jabber:iq:version'/>".to_owned(),
            "<name>capsd</name>",
        ),
        (
            "<time xmlns='urn:xmpp:time'/>".to_owned(),
            "<tzo>+00:00</tzo>",
        ),
    ] {
        server.send(&request("get", ASKER, "q", &inside)).await;
        let reply = server.next().await;
        assert!(
            reply.starts_with(&format!(
                "<iq type='result' from='{COMPONENT}' to='{ASKER}' id='q'>"
            )),
            "{reply}"
        );
        assert!(reply.contains(expected), "{reply}");
        server.send(&request("set", ASKER, "q", &inside)).await;
        assert!(server.next().await.contains("<service-unavailable "));
    }
    // An address below the component is nobody.
    let below = request("get", ASKER, "q", &format!("<query xmlns='{DISCO_INFO}'/>"));
    server
        .send(&below.replace(&format!("to='{COMPONENT}'"), &format!("to='x@{COMPONENT}'")))
        .await;
    assert!(server.next().await.contains("<service-unavailable "));
}

/// A hundred who ask during the flight are all answered by one question; each gets its own id and node back.
#[tokio::test]
async fn everybody_who_waits_is_answered() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&presence("holder@example.org/r", "K1")).await;
    let question = server.next().await;
    for n in 0..100 {
        let from = format!("user{n}@example.org/x");
        server
            .ask(
                &from,
                &format!("id{n}"),
                &format!("n{n}#{}", key("K1").digest_base64()),
            )
            .await;
    }
    assert_eq!(server.settle().await, [""; 0]);
    server.send(&answer(&question, "1")).await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let reply = server.next().await;
        let id = attribute(&reply, "id");
        let n = id.strip_prefix("id").unwrap();
        assert_eq!(attribute(&reply, "to"), format!("user{n}@example.org/x"));
        assert!(
            attribute(&reply, "node").starts_with(&format!("n{n}#")),
            "{reply}"
        );
        assert!(reply.contains(&mark("1")));
        ids.insert(id);
    }
    assert_eq!(ids.len(), 100);
    assert_eq!(world.questions(), 1);
}
