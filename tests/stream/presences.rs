//! Presences: what is learned from whom, subscriptions, capsd's own caps, the end.

use tokio::net::TcpStream;

use crate::contents::{key, mark};
use crate::server::{COMPONENT, Server, attribute};
use crate::world::{ASKER, HOLDER, World, answer, clock, node, presence};

const USER: &str = "user@example.org";

fn typed(from: &str, kind: &str) -> String {
    format!("<presence from='{from}' to='{COMPONENT}' type='{kind}'/>")
}

fn sent(to: &str, kind: &str) -> String {
    format!("<presence from='{COMPONENT}' to='{to}' type='{kind}'></presence>")
}

fn is_own_presence(stanza: &str, to: &str) -> bool {
    stanza.starts_with(&format!("<presence from='{COMPONENT}' to='{to}'><c "))
        && stanza.contains("xmlns='http://jabber.org/protocol/caps'")
        && stanza.contains("xmlns='urn:xmpp:caps'")
}

async fn subscribed(server: &mut Server<TcpStream>, user: &str) {
    server.send(&typed(user, "subscribe")).await;
    server.send(&typed(user, "subscribed")).await;
    assert_eq!(server.settle().await.len(), 3);
}

fn contact(n: usize) -> Vec<(String, Vec<String>)> {
    let address = format!("xmpp:admin{n}@example.org");
    vec![("admin-addresses".to_owned(), vec![address])]
}

/// capsd approves who subscribes, and asks back then; it never asks first.
#[tokio::test]
async fn subscriptions_are_approved_and_asked_back() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&presence("user@example.org/r", "K1")).await;
    let question = server.next().await;
    server.send(&answer(&question, "1")).await;
    for kind in ["subscribed", "unsubscribed", "unavailable", "error", "huh"] {
        server.send(&typed("other@example.org", kind)).await;
    }
    assert_eq!(server.settle().await, [""; 0], "it never asks first");
    server.send(&typed(USER, "subscribe")).await;
    let replies = server.settle().await;
    assert_eq!(replies[0], sent(USER, "subscribed"));
    assert_eq!(replies[1], sent(USER, "subscribe"));
    assert!(is_own_presence(&replies[2], USER), "{replies:?}");
    assert_eq!(replies.len(), 3);
    server.send(&typed(USER, "subscribed")).await;
    assert_eq!(server.settle().await, [""; 0]);
    server.send(&typed(USER, "unsubscribe")).await;
    assert_eq!(server.settle().await, [sent(USER, "unsubscribed")]);
}

/// A stranger's subscription is refused, and nothing is shown to one.
#[tokio::test]
async fn strangers_cannot_subscribe() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let stranger = "stranger@elsewhere.example";
    server.send(&typed(stranger, "subscribe")).await;
    assert_eq!(server.settle().await, [sent(stranger, "unsubscribed")]);
    server.send(&typed(stranger, "subscribed")).await;
    server.send(&typed(stranger, "probe")).await;
    assert_eq!(server.settle().await, [""; 0]);
    world.service.change_contacts(&contact(1), &world.links);
    assert_eq!(server.settle().await, [""; 0]);
}

#[tokio::test]
async fn a_probe_is_answered() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&typed(USER, "probe")).await;
    let replies = server.settle().await;
    assert!(
        replies.len() == 1 && is_own_presence(&replies[0], USER),
        "{replies:?}"
    );
}

/// Who subscribed is sent the new caps when they change, and only then, and only those who see capsd.
#[tokio::test]
async fn own_caps_are_sent_when_they_change() {
    let world = World::new().await;
    let mut server = world.accept().await;
    subscribed(&mut server, USER).await;
    subscribed(&mut server, "left@example.org").await;
    server.send(&typed("left@example.org", "unsubscribe")).await;
    assert_eq!(server.settle().await.len(), 1);
    assert!(world.service.change_contacts(&contact(1), &world.links));
    let first = server.settle().await;
    assert!(
        first.len() == 1 && is_own_presence(&first[0], USER),
        "{first:?}"
    );
    assert!(!world.service.change_contacts(&contact(1), &world.links));
    assert_eq!(server.settle().await, [""; 0]);
    assert!(world.service.change_contacts(&contact(2), &world.links));
    let second = server.settle().await;
    assert!(is_own_presence(&second[0], USER), "{second:?}");
    assert_ne!(first, second);
}

/// capsd's own caps are what its own answer hashes to, and the last three sets are answered for.
#[tokio::test]
async fn own_caps_are_true_and_the_last_three_are_answered_for() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let mut nodes = Vec::new();
    for n in 0..4 {
        world.service.change_contacts(&contact(n), &world.links);
        server.send(&typed(USER, "probe")).await;
        let own = server.settle().await.pop().unwrap();
        let node_0115 = format!("{}#{}", attribute(&own, "node"), attribute(&own, "ver"));
        let (_, hashes) = own.split_once("algo='sha3-256'>").unwrap();
        let hash = hashes.split_once('<').unwrap().0;
        nodes.push((node_0115, format!("urn:xmpp:caps#sha3-256.{hash}")));
    }
    for (n, (node_0115, node_0390)) in nodes.iter().enumerate() {
        for node in [node_0115, node_0390] {
            server.ask(ASKER, "own", node).await;
            let reply = server.next().await;
            let mine = format!("<value>xmpp:admin{n}@example.org</value>");
            assert_eq!(reply.contains(&mine), n > 0, "{n}: {reply}");
            assert_eq!(reply.contains("<item-not-found "), n == 0, "{n}: {reply}");
            if n > 0 {
                assert_hashes_to(&reply, node);
            }
        }
    }
    // Without a node, the current set.
    let own = format!(
        "<iq type='get' from='{ASKER}' to='{COMPONENT}' id='q'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    );
    server.send(&own).await;
    assert!(server.next().await.contains("xmpp:admin3@example.org"));
}

/// Whoever asks can verify what is answered.
fn assert_hashes_to(reply: &str, node: &str) {
    use capsd::caps::{CapsKey, Policy, Verdict, verify};
    use capsd::stanza::answer::{AnswerLimits, parse_query};
    let start = reply.find("<query").unwrap();
    let end = reply.find("</iq>").unwrap();
    let answer = parse_query(&reply.as_bytes()[start..end], AnswerLimits::default()).unwrap();
    let key = CapsKey::from_node(node).unwrap();
    let verdict = verify(&key, &answer, &Policy::default());
    assert!(matches!(verdict, Verdict::Verified(_)), "{verdict:?}");
}

/// After the link was lost, subscribers see capsd again, and are asked who of them is online: ejabberd does not say.
#[tokio::test]
async fn subscribers_are_greeted_when_the_link_is_back() {
    let world = World::new().await;
    let mut server = world.accept().await;
    subscribed(&mut server, USER).await;
    server
        .send(&typed("halfway@example.org", "subscribe"))
        .await;
    assert_eq!(server.settle().await.len(), 3);
    drop(server);
    let mut server = world.accept().await;
    let mut greetings = server.settle().await;
    greetings.sort();
    assert_eq!(greetings.len(), 3, "{greetings:?}");
    assert!(is_own_presence(&greetings[0], "halfway@example.org"));
    assert_eq!(greetings[1], sent(USER, "probe"));
    assert!(is_own_presence(&greetings[2], USER));
}

/// Only so many subscribers are remembered; whoever comes later is approved all the same.
#[tokio::test]
async fn subscribers_are_bounded() {
    let world = World::with(|_, service| service.max_subscribers = 2).await;
    let mut server = world.accept().await;
    for n in 0..5 {
        subscribed(&mut server, &format!("user{n}@example.org")).await;
    }
    world.service.change_contacts(&contact(1), &world.links);
    assert_eq!(server.settle().await.len(), 2);
    // Who leaves makes room.
    server
        .send(&typed("user0@example.org", "unsubscribe"))
        .await;
    server
        .send(&typed("user0@example.org", "unsubscribed"))
        .await;
    server.settle().await;
    subscribed(&mut server, "user9@example.org").await;
    world.service.change_contacts(&contact(2), &world.links);
    let told = server.settle().await;
    assert!(
        told.len() == 2 && told.iter().any(|t| t.contains("user9@")),
        "{told:?}"
    );
}

/// Announcements count from the domains of the link, from subscribers, and where they were sent to capsd itself.
#[tokio::test]
async fn only_believed_announcements_count() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let elsewhere = "friend@elsewhere.example/r";
    server
        .send(&presence("room@rooms.example/nick", "K1").replace(&format!(" to='{COMPONENT}'"), ""))
        .await;
    server
        .send(&presence("room@rooms.example/nick", "K2").replace(COMPONENT, "user@example.org"))
        .await;
    assert_eq!(server.settle().await, [""; 0]);
    // Directed presence.
    server.send(&presence(elsewhere, "K3")).await;
    assert_eq!(attribute(&server.next().await, "to"), elsewhere);
    // A stranger who lets capsd see, which it never asked for.
    server
        .send(&typed("friend@elsewhere.example", "subscribed"))
        .await;
    let forwarded = presence(elsewhere, "K6").replace(COMPONENT, USER);
    server.send(&forwarded).await;
    // Nor does it count when it is repeated.
    let delay = "<delay xmlns='urn:xmpp:delay' stamp='2024-01-01T00:00:00Z'/></presence>";
    let repeated = presence(elsewhere, "K6").replace("</presence>", delay);
    server.send(&repeated).await;
    assert_eq!(server.settle().await, [""; 0]);
    // What a stranger grants says nothing about others, and only so much about itself.
    let foreign = format!(
        "<message from='third.example' to='{COMPONENT}'><privilege xmlns='urn:xmpp:privilege:2'>\
         <perm access='presence' type='roster'/><perm access='iq'>\
         <namespace ns='http://jabber.org/protocol/disco#info' type='get'/></perm></privilege></message>"
    );
    server.send(&foreign).await;
    server.send(&presence("friend@third.example/r", "K7")).await;
    assert_eq!(server.settle().await, [""; 0]);
    server.send(&presence(elsewhere, "K8")).await;
    assert_eq!(attribute(&server.next().await, "to"), elsewhere);
    // Where contacts' presence is forwarded, nothing tells it from directed presence.
    let grant = format!(
        "<message from='example.org' to='{COMPONENT}'><privilege xmlns='urn:xmpp:privilege:1'>\
         <perm access='presence' type='roster'/></privilege></message>"
    );
    server.send(&grant).await;
    server.send(&presence(elsewhere, "K4")).await;
    assert_eq!(server.settle().await, [""; 0]);
    server.send(&presence(HOLDER, "K5")).await;
    assert_eq!(attribute(&server.next().await, "to"), HOLDER);
}

/// A presence without `<c/>` leaves what was announced; unavailable, legacy and unverifiable ones end it.
#[tokio::test]
async fn an_announcement_holds_until_another_or_the_end() {
    let other = |c: &str| format!("<presence from='{HOLDER}' to='{COMPONENT}'>{c}</presence>");
    let legacy = "<c xmlns='http://jabber.org/protocol/caps' node='a' ver='1'/>";
    let odd = "<c xmlns='http://jabber.org/protocol/caps' node='a' ver='1' hash='huh'/>";
    for (then, holds) in [
        (other(""), true),
        (other("<show>away</show>"), true),
        (typed("holder@example.org/other", "unavailable"), true),
        (typed(HOLDER, "unavailable"), false),
        (other(legacy), false),
        (other(odd), false),
        (other("<c xmlns='urn:xmpp:caps'/>"), false),
        (presence(HOLDER, "K2"), false),
    ] {
        let world = World::with(|flights, _| flights.on_announce = false).await;
        let mut server = world.accept().await;
        server.send(&presence(HOLDER, "K1")).await;
        server.send(&then).await;
        server.ask(ASKER, "q", &node("K1")).await;
        let next = server.next().await;
        assert_eq!(next.contains("type='get'"), holds, "{then}: {next}");
    }
}

/// At the end whoever waits and whoever asks is told to come back later, and subscribers that capsd is gone.
#[tokio::test]
async fn at_the_end_everybody_is_told() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    subscribed(&mut server, USER).await;
    server.send(&presence("silent@example.org/r", "K2")).await;
    server.next().await;
    for id in ["a", "b"] {
        server.ask(ASKER, id, &node("K2")).await;
    }
    server.settle().await;
    world.service.stop(clock(), &world.links);
    let later = |id: &str| {
        format!(
            "<iq type='error' from='{COMPONENT}' to='{ASKER}' id='{id}'><error type='wait'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        )
    };
    assert_eq!(server.next().await, later("a"));
    assert_eq!(server.next().await, later("b"));
    assert_eq!(server.next().await, sent(USER, "unavailable"));
    server.ask(ASKER, "c", &node("K1")).await;
    assert_eq!(server.next().await, later("c"));
    // Strangers are told what they are always told.
    server
        .ask("stranger@elsewhere.example/x", "d", &node("K1"))
        .await;
    assert!(server.next().await.contains("<forbidden "));
    assert_eq!(world.metrics.waiters.get(), 0);
}

/// What is announced over a link is not asked over it while it is down, and not lost.
#[tokio::test]
async fn holders_outlive_the_link() {
    let world = World::with(|flights, _| flights.on_announce = false).await;
    let mut server = world.accept().await;
    server.send(&presence(HOLDER, "K1")).await;
    server.settle().await;
    drop(server);
    let mut server = world.accept().await;
    server.ask(ASKER, "q", &node("K1")).await;
    let question = server.next().await;
    server.send(&answer(&question, "1")).await;
    assert!(server.next().await.contains(&mark("1")));
    assert!(world.resolver.hot(&key("K1")).is_some());
    assert!(world.link().metrics.up.get() == 1);
}
