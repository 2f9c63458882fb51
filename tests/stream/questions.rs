//! What holders are asked, and whose answers count.

use capsd::metrics::UpstreamResult;
use capsd::stanza::{Message, Permission};
use tokio::net::TcpStream;

use crate::contents::{mark, query};
use crate::server::{COMPONENT, Server, attribute};
use crate::world::{ASKER, DOMAIN, HOLDER, World, answer, node, presence};

const HOLDER_ACCOUNT: &str = "holder@example.org";

/// Who grants what, as a server says it.
fn grant(from: &str, namespace: &str, permissions: &str) -> String {
    format!(
        "<message from='{from}' to='{COMPONENT}'><privilege xmlns='{namespace}'>{permissions}</privilege></message>"
    )
}

const PRESENCE: &str = "<perm access='presence' type='managed_entity'/>";

fn may_ask(kind: &str) -> String {
    format!(
        "{PRESENCE}<perm access='iq'><namespace ns='http://jabber.org/protocol/disco#info' type='{kind}'/></perm>"
    )
}

/// A world whose server lets capsd ask in the name of its users.
async fn granted() -> (World, Server<TcpStream>) {
    let world = World::new().await;
    let mut server = world.accept().await;
    server
        .send(&grant(DOMAIN, "urn:xmpp:privilege:2", &may_ask("get")))
        .await;
    (world, server)
}

/// What comes back for a privileged question: inside, from the holder; outside, from its account.
fn forwarded(question: &str, account: &str, holder: &str, inside: &str) -> String {
    let outer = attribute(question, "id");
    let (_, inner) = question.split_once("<iq xmlns='jabber:client'").unwrap();
    let inner = attribute(inner, "id");
    format!(
        "<iq type='result' from='{account}' to='{COMPONENT}' id='{outer}' xml:lang='en'>\
         <privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>\
         <iq xmlns='jabber:client' from='{holder}' to='{account}' id='{inner}' {inside}</iq></forwarded></privilege></iq>"
    )
}

fn result(content: &str) -> String {
    format!("type='result' xml:lang='en'>{}", query(content))
}

const ERROR: &str = "type='error'><error type='cancel'>\
     <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";

async fn assert_served(server: &mut Server<TcpStream>, content: &str) {
    server
        .ask(ASKER, "served", &node(&format!("K{content}")))
        .await;
    let reply = server.next().await;
    assert!(reply.contains(&mark(content)), "{reply}");
}

/// From the component itself, to the exact address, for the node that was announced.
#[tokio::test]
async fn a_plain_question() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&presence(HOLDER, "K1")).await;
    let question = server.next().await;
    let id = attribute(&question, "id");
    let node = node("K1");
    assert_eq!(
        question,
        format!(
            "<iq type='get' from='{COMPONENT}' to='{HOLDER}' id='{id}'>\
             <query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/></iq>"
        )
    );
    assert_eq!(id.len(), 32);
}

/// To the account, in its own name; inside, to the exact address.
#[tokio::test]
async fn a_privileged_question() {
    let (_world, mut server) = granted().await;
    server.send(&presence(HOLDER, "K1")).await;
    let question = server.next().await;
    let outer = attribute(&question, "id");
    let inner = outer.strip_prefix("account-").unwrap();
    let node = node("K1");
    assert_eq!(
        question,
        format!(
            "<iq type='get' from='{COMPONENT}' to='{HOLDER_ACCOUNT}' id='{outer}'>\
             <privileged_iq xmlns='urn:xmpp:privilege:2'>\
             <iq xmlns='jabber:client' type='get' to='{HOLDER}' id='{inner}'>\
             <query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/></iq></privileged_iq></iq>"
        )
    );
    server
        .send(&forwarded(&question, HOLDER_ACCOUNT, HOLDER, &result("1")))
        .await;
    assert_served(&mut server, "1").await;
}

#[tokio::test]
async fn what_is_not_granted_is_not_used() {
    let two = "urn:xmpp:privilege:2";
    for said in [
        grant(DOMAIN, two, PRESENCE),
        grant(DOMAIN, two, &may_ask("set")),
        grant(DOMAIN, two, &may_ask("")),
        grant(
            DOMAIN,
            two,
            &may_ask("get").replace("disco#info", "disco#items"),
        ),
        grant(DOMAIN, "urn:xmpp:privilege:1", &may_ask("get")),
        grant(DOMAIN, "urn:xmpp:privilege:3", &may_ask("get")),
        grant("elsewhere.example", two, &may_ask("get")),
        grant("mallory@example.org", two, &may_ask("get")),
        grant("example.org/x", two, &may_ask("get")),
        grant(DOMAIN, two, &may_ask("get")) + &grant(DOMAIN, two, PRESENCE),
    ] {
        let world = World::new().await;
        let mut server = world.accept().await;
        server.send(&said).await;
        server.send(&presence(HOLDER, "K1")).await;
        let question = server.next().await;
        assert_eq!(attribute(&question, "to"), HOLDER, "{said}");
    }
    // Both kinds are one of them.
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&grant(DOMAIN, two, &may_ask("both"))).await;
    server.send(&presence(HOLDER, "K1")).await;
    assert_eq!(attribute(&server.next().await, "to"), HOLDER_ACCOUNT);
    // It is the privilege of accounts, and ends with the stream.
    server.send(&presence(DOMAIN, "K2")).await;
    assert_eq!(attribute(&server.next().await, "to"), DOMAIN);
    server.send(&presence("example.org/bot", "K3")).await;
    assert_eq!(attribute(&server.next().await, "to"), "example.org/bot");
    drop(server);
    let mut server = world.accept().await;
    server.send(&presence(HOLDER, "K4")).await;
    assert_eq!(attribute(&server.next().await, "to"), HOLDER);
}

/// Strangers can fill only their own share of what is remembered of grants.
#[tokio::test]
async fn grants_are_bounded() {
    let world = World::without_link(|_, _| {}).await;
    let link = world.link();
    let granted = |from: &str| {
        let permission = Permission {
            access: "presence".to_owned(),
            extent: "managed_entity".to_owned(),
            namespaces: Vec::new(),
        };
        link.granted(&Message {
            from: Some(from.to_owned()),
            privilege: Some("urn:xmpp:privilege:2".to_owned()),
            permissions: vec![permission],
        });
        link.grant(from).presence
    };
    let remembered = (0..10_000).filter(|n| granted(&format!("d{n}.example")));
    assert_eq!(remembered.count(), 4096);
    assert!(granted(DOMAIN));
}

/// However a privileged question is refused, the next holder is asked at once.
#[tokio::test]
async fn a_refused_privileged_question_goes_to_the_next_holder() {
    let refusal = |question: &str, from: &str| {
        let id = attribute(question, "id");
        format!("<iq from='{from}' to='{COMPONENT}' id='{id}' {ERROR}</iq>")
    };
    for case in 0..4 {
        let (world, mut server) = granted().await;
        server.send(&presence(HOLDER, "K1")).await;
        let question = server.next().await;
        server.send(&presence("second@example.org/r", "K1")).await;
        assert_eq!(server.settle().await, [""; 0]);
        let refusal = match case {
            0 => refusal(&question, HOLDER_ACCOUNT),
            1 => forwarded(&question, HOLDER_ACCOUNT, HOLDER, ERROR),
            2 => forwarded(&question, HOLDER_ACCOUNT, HOLDER, "type='result'>"),
            _ => forwarded(&question, HOLDER_ACCOUNT, HOLDER, &result("2")),
        };
        server.send(&refusal).await;
        let question = server.next().await;
        assert_eq!(attribute(&question, "to"), "second@example.org", "{case}");
        server
            .send(&forwarded(
                &question,
                "second@example.org",
                "second@example.org/r",
                &result("1"),
            ))
            .await;
        assert_served(&mut server, "1").await;
        assert_eq!(world.questions(), 2);
    }
}

/// An answer counts if it comes from the exact address that was asked, under the exact id, once.
#[tokio::test]
async fn foreign_answers_are_ignored() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&presence(HOLDER, "K1")).await;
    let question = server.next().await;
    server.ask(ASKER, "waits", &node("K1")).await;
    let honest = answer(&question, "1");
    let id = attribute(&question, "id");
    let from = format!("from='{HOLDER}'");
    for foreign in [
        honest.replace(&from, "from='mallory@example.org/r'"),
        honest.replace(&from, "from='holder@example.org'"),
        honest.replace(&from, "from='holder@example.org/R'"),
        honest.replace(&from, "from='holder@example.org/r/r'"),
        honest.replace(&from, "from='example.org'"),
        honest.replace(&from, ""),
        honest.replace(&id, "disco"),
        honest.replace(&id, &id.to_uppercase()),
        honest.replace(&id, &format!("0{id}")),
        honest.replace(&id, &id[1..]),
        honest.replace(&id, &"0".repeat(32)),
        honest.replace(&format!("id='{id}'"), ""),
        // The refusal of a question in the name of the account, by somebody else.
        honest
            .replace(&id, &format!("account-{id}"))
            .replace(&from, "from='mallory@example.org'"),
        format!("<iq id='{id}' from='mallory@example.org/r' {ERROR}</iq>"),
        honest
            .replace("type='result'", "type='get'")
            .replace(&from, "from='stranger@elsewhere.example'"),
    ] {
        server.send(&foreign).await;
    }
    let replies = server.settle().await;
    assert_eq!(
        replies.len(),
        1,
        "the last one is a stranger's question: {replies:?}"
    );
    assert!(replies[0].contains("<forbidden "), "{replies:?}");
    server.send(&honest).await;
    let reply = server.next().await;
    assert_eq!(attribute(&reply, "id"), "waits");
    assert!(reply.contains(&mark("1")), "{reply}");
    server.send(&answer(&question, "2")).await;
    assert_eq!(server.settle().await, [""; 0]);
    assert_served(&mut server, "1").await;
    let counted = |result| world.metrics.upstream_queries.get(result).get();
    assert_eq!(counted(UpstreamResult::Ok), 1);
    assert_eq!(counted(UpstreamResult::Mismatch), 0);
}

/// In a privileged answer the account outside and the address inside both count.
#[tokio::test]
async fn foreign_forwarded_answers_are_ignored() {
    let (_world, mut server) = granted().await;
    server.send(&presence(HOLDER, "K1")).await;
    let question = server.next().await;
    let honest = forwarded(&question, HOLDER_ACCOUNT, HOLDER, &result("1"));
    for foreign in [
        forwarded(&question, "mallory@example.org", HOLDER, &result("1")),
        forwarded(
            &question,
            "mallory@example.org",
            "mallory@example.org/r",
            &result("1"),
        ),
        forwarded(
            &question,
            HOLDER_ACCOUNT,
            "holder@example.org/other",
            &result("1"),
        ),
        forwarded(&question, HOLDER_ACCOUNT, HOLDER_ACCOUNT, &result("1")),
        forwarded(&question, HOLDER, HOLDER, &result("1")),
        forwarded(&question, DOMAIN, HOLDER, &result("1")),
        honest.replace("account-", ""),
        honest.replace("account-", "account-account-"),
    ] {
        server.send(&foreign).await;
        server.settle().await;
        server.ask(ASKER, "waits", &node("K1")).await;
    }
    assert_eq!(server.settle().await, [""; 0]);
    server.send(&honest).await;
    for _ in 0..8 {
        assert!(server.next().await.contains(&mark("1")));
    }
}

/// A reply that is no answer goes to the next holder, and nobody is blamed for the key.
#[tokio::test]
async fn what_is_no_answer_goes_to_the_next_holder() {
    let query = query("1");
    for (inside, counted) in [
        (format!("type='error'>{query}<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"), UpstreamResult::Unreachable),
        (ERROR.to_owned(), UpstreamResult::Unreachable),
        ("type='error'><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>".to_owned(), UpstreamResult::Error),
        ("type='error'>".to_owned(), UpstreamResult::Error),
        ("type='result'>".to_owned(), UpstreamResult::Error),
        ("type='result'><ping xmlns='urn:xmpp:ping'/>".to_owned(), UpstreamResult::Error),
        (format!("type='result'>{query}{query}"), UpstreamResult::Error),
    ] {
        let world = World::new().await;
        let mut server = world.accept().await;
        server.send(&presence(HOLDER, "K1")).await;
        let question = server.next().await;
        server.send(&presence("second@example.org/r", "K1")).await;
        let id = attribute(&question, "id");
        server.send(&format!("<iq from='{HOLDER}' to='{COMPONENT}' id='{id}' {inside}</iq>")).await;
        let question = server.next().await;
        assert_eq!(attribute(&question, "to"), "second@example.org/r", "{inside}");
        server.send(&answer(&question, "1")).await;
        assert_served(&mut server, "1").await;
        assert_eq!(world.metrics.upstream_queries.get(counted).get(), 1, "{inside}");
    }
}

/// A language that the server stamps on the stanza, or that the client sets on the query, changes no 0115 hash, and a 0390 hash only
/// where the client meant it.
#[tokio::test]
async fn a_stamped_language_changes_nothing() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let hash = crate::contents::key("N2").digest_base64();
    let xep_0390 = format!(
        "<presence from='new@example.org/r' to='{COMPONENT}' xml:lang='de'><c xmlns='urn:xmpp:caps'>\
         <hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>{hash}</hash></c></presence>"
    );
    for (presence, content) in [(presence(HOLDER, "K1"), "1"), (xep_0390, "2")] {
        server.send(&presence).await;
        let question = server.next().await;
        let stamped = answer(&question, content).replace("xml:lang='en'", "xml:lang='de'");
        server.send(&stamped).await;
        for name in ["K", "N"] {
            server
                .ask(ASKER, "q", &node(&format!("{name}{content}")))
                .await;
            let reply = server.next().await;
            assert!(reply.contains(&mark(content)), "{reply}");
            assert!(!reply.contains("'de'"), "{reply}");
        }
    }
}

/// A link that is lost takes its questions with it; whoever waits over another, or again, is not kept waiting.
#[tokio::test]
async fn a_lost_stream_is_not_waited_for() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server.send(&presence(HOLDER, "K1")).await;
    let old = server.next().await;
    drop(server);
    let mut server = world.accept().await;
    // The holder is a hint still, and is asked anew when somebody wants the key.
    server.ask(ASKER, "waits", &node("K1")).await;
    let question = server.next().await;
    assert_eq!(attribute(&question, "to"), HOLDER);
    server.send(&answer(&old, "1")).await;
    assert_eq!(server.settle().await, [""; 0]);
    server.send(&answer(&question, "1")).await;
    assert_eq!(attribute(&server.next().await, "id"), "waits");
}
