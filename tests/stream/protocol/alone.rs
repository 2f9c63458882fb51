//! What is good for one address alone: legacy announcements, hash functions that nobody supports, quarantined answers.

use std::num::NonZeroU32;
use std::time::Duration;

use capsd::resolver::limits::Rate;

use super::requests::{
    LEGACY, LEGACY_NODE, SERVER, asked, asked_of, caps, feed, holder, lookup, outcomes,
};
use crate::contents::{mark, query};
use crate::server::{COMPONENT, Server, attribute};
use crate::world::{ASKER, World, answer, node};

const OLD: &str = "old@example.org/r";

type Stream = Server<tokio::net::TcpStream>;

fn marks() -> Vec<String> {
    ["1", "2", "a1"].map(mark).to_vec()
}

/// A legacy announcement by somebody who may be asked.
async fn announced(world: &World) -> Stream {
    let mut server = world.accept().await;
    report(&mut server, &[holder(OLD, true, LEGACY)]).await;
    server
}

async fn report(server: &mut Stream, reports: &[String]) {
    server.send(&feed(SERVER, "", reports)).await;
    assert!(server.next().await.contains("<feed "));
}

async fn outcome(server: &mut Stream, from: &str, attributes: &str, key: String) -> String {
    server.send(&lookup(from, attributes, &[key])).await;
    outcomes(&server.next().await, &marks()).remove(0)
}

/// Has the address asked and answer with content 1.
async fn answered(server: &mut Stream) {
    server
        .send(&lookup(SERVER, "", &[asked_of(LEGACY_NODE, OLD)]))
        .await;
    let question = server.next().await;
    assert_eq!(attribute(&question, "to"), OLD);
    assert_eq!(attribute(&question, "node"), LEGACY_NODE);
    server.send(&answer(&question, "1")).await;
    assert_eq!(outcomes(&server.next().await, &marks()), ["=1alone"]);
}

/// It is asked once, however many want to know, and the answer is for this address, marked, and nobody else's.
#[tokio::test]
async fn a_legacy_answer_is_its_senders_alone() {
    let world = World::new().await;
    let mut server = announced(&world).await;
    let of_old = || asked_of(LEGACY_NODE, OLD);
    let keys = [
        of_old(),
        of_old(),
        asked(LEGACY_NODE),
        asked_of(LEGACY_NODE, "another@example.org/r"),
    ];
    for from in [SERVER, "old@example.org/other"] {
        server.send(&lookup(from, "", &keys)).await;
    }
    let question = server.next().await;
    assert_eq!(attribute(&question, "to"), OLD);
    assert_eq!(server.settle().await, [""; 0]);
    server.send(&answer(&question, "1")).await;
    let replies = [server.next().await, server.next().await];
    assert!(replies[0].contains(&format!(
        "<key node='{LEGACY_NODE}' jid='{OLD}' unverified='true'><query xmlns='http://jabber.org/protocol/disco#info' xml:lang='' node='{LEGACY_NODE}'>"
    )), "{}", replies[0]);
    assert_eq!(
        outcomes(&replies[0], &marks()),
        ["=1alone", "=1alone", "legacy", "legacy"]
    );
    assert_eq!(
        outcomes(&replies[1], &marks()),
        ["=1alone", "=1alone", "legacy", "forbidden"]
    );
    // From memory now; a plain query, and the content's own hashes, know nothing of it.
    assert_eq!(
        outcome(&mut server, SERVER, "wait='false'", of_old()).await,
        "=1alone"
    );
    for wanted in [LEGACY_NODE.to_owned(), node("K1"), node("N1")] {
        for from in [ASKER, SERVER, OLD] {
            server.ask(from, "q", &wanted).await;
            assert!(server.next().await.contains(" type='error'") || wanted.is_empty());
        }
    }
    assert_eq!(world.questions(), 1);
}

/// What an address said alone is not known any more of one that its server does not tell of again, and asked anew of one that it does.
#[tokio::test]
async fn what_was_told_before_is_forgotten_when_all_is_told_anew() {
    const OTHER: &str = "other@example.org/r";
    let world = World::new().await;
    let mut server = announced(&world).await;
    answered(&mut server).await;
    let of_another = feed(SERVER, "feeder='two'", &[holder(OTHER, true, LEGACY)]);
    server.send(&of_another).await;
    assert!(server.next().await.contains("<feed "));
    server.send(&feed(SERVER, "anew='true'", &[])).await;
    assert!(server.next().await.contains("<feed "));
    let got = outcome(&mut server, SERVER, "", asked_of(LEGACY_NODE, OLD)).await;
    assert_eq!(got, "legacy");
    report(&mut server, &[holder(OLD, true, LEGACY)]).await;
    answered(&mut server).await;
    // Who waits for one that is gone is told so.
    let waiting = lookup(SERVER, "", &[asked_of(LEGACY_NODE, OTHER)]);
    server.send(&waiting).await;
    assert_eq!(attribute(&server.next().await, "to"), OTHER);
    server
        .send(&feed(SERVER, "feeder='two' anew='true'", &[]))
        .await;
    assert_eq!(outcomes(&server.next().await, &marks()), ["unreachable"]);
    assert!(server.next().await.contains("<feed "));
    let got = outcome(&mut server, SERVER, "", asked_of(LEGACY_NODE, OLD)).await;
    assert_eq!(got, "=1alone");
}

/// Nobody else may ask for what an address says: the answer is the same whether it is online or not.
#[tokio::test]
async fn others_are_told_nothing() {
    let world = World::new().await;
    let mut server = announced(&world).await;
    answered(&mut server).await;
    for jid in [
        OLD,
        "nobody@example.org/r",
        "old@example.org",
        "example.org",
        "",
    ] {
        for wanted in [LEGACY_NODE.to_owned(), node("K1"), "nothing".to_owned()] {
            for wait in ["", "wait='false'"] {
                let key = asked_of(&wanted, jid);
                assert_eq!(
                    outcome(&mut server, ASKER, wait, key).await,
                    "forbidden",
                    "{jid} {wanted}"
                );
            }
        }
    }
    assert_eq!(world.questions(), 1);
}

/// With a new announcement, a departure or the loss of the link, what was said does not count any more.
#[tokio::test]
async fn it_is_forgotten_in_time() {
    let world = World::new().await;
    let mut server = announced(&world).await;
    let of_old = || asked_of(LEGACY_NODE, OLD);
    let other = LEGACY.replace("1.0", "2.0");
    let presence = |kind: &str, caps: &str| {
        format!("<presence from='{OLD}' to='{COMPONENT}' {kind}>{caps}</presence>")
    };
    for (changes, what) in [
        (
            feed(SERVER, "", &[holder(OLD, true, &other)]),
            "another legacy announcement",
        ),
        (feed(SERVER, "", &[format!("<gone jid='{OLD}'/>")]), "gone"),
        (presence("type='unavailable'", ""), "unavailable"),
        (presence("", &other), "a presence with another"),
        (presence("", "<c xmlns='urn:xmpp:caps'/>"), "an empty set"),
    ] {
        report(&mut server, &[holder(OLD, true, LEGACY)]).await;
        answered(&mut server).await;
        // The same announcement again, or none in a presence, is no change.
        report(
            &mut server,
            &[holder(OLD, true, LEGACY), holder(OLD, true, "")],
        )
        .await;
        server.send(&presence("", LEGACY)).await;
        assert_eq!(
            outcome(&mut server, SERVER, "wait='false'", of_old()).await,
            "=1alone"
        );
        server.send(&changes).await;
        server.settle().await;
        assert_eq!(
            outcome(&mut server, SERVER, "", of_old()).await,
            "legacy",
            "{what}"
        );
    }
    // Announcing what can be verified is a change, too.
    report(&mut server, &[holder(OLD, true, LEGACY)]).await;
    answered(&mut server).await;
    server
        .send(&feed(SERVER, "", &[holder(OLD, true, &caps("K2"))]))
        .await;
    server.next().await;
    server.next().await;
    assert_eq!(outcome(&mut server, SERVER, "", of_old()).await, "legacy");
    report(&mut server, &[holder(OLD, true, LEGACY)]).await;
    answered(&mut server).await;
    drop(server);
    let mut server = world.accept().await;
    assert_eq!(outcome(&mut server, SERVER, "", of_old()).await, "legacy");
}

/// An answer counts from the exact address asked, for the id of the question, while the announcement stands.
#[tokio::test]
async fn only_the_address_itself_answers() {
    let world = World::new().await;
    let mut server = announced(&world).await;
    let of_old = || asked_of(LEGACY_NODE, OLD);
    server.send(&lookup(SERVER, "", &[of_old()])).await;
    let question = server.next().await;
    let id = attribute(&question, "id");
    for (from, id) in [
        ("old@example.org/s", id.as_str()),
        ("old@example.org", &id),
        ("mallory@example.org/r", &id),
        (OLD, "00000000000000000000000000000000"),
        (OLD, &id.to_uppercase()),
    ] {
        let forged = format!(
            "<iq type='result' from='{from}' to='{COMPONENT}' id='{id}'>{}</iq>",
            query("2")
        );
        server.send(&forged).await;
    }
    assert_eq!(server.settle().await, [""; 0]);
    // It changes its mind: what it says to the question before is not what it announces now.
    let other = LEGACY.replace("1.0", "2.0");
    server
        .send(&feed(SERVER, "", &[holder(OLD, true, &other)]))
        .await;
    assert_eq!(outcomes(&server.next().await, &marks()), ["unreachable"]);
    assert!(server.next().await.contains("<feed "));
    server.send(&answer(&question, "1")).await;
    assert_eq!(outcome(&mut server, SERVER, "", of_old()).await, "legacy");
    assert_eq!(world.questions(), 1);
}

/// Whoever was only seen in passing is not asked; nor is one that an asker merely names.
#[tokio::test]
async fn only_who_may_be_asked_is_asked() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let seen = ["nurse@elsewhere.example/r", "shy@example.org/r"];
    report(
        &mut server,
        &[
            holder(seen[0], true, LEGACY),
            holder(seen[1], false, LEGACY),
        ],
    )
    .await;
    for jid in [seen[0], seen[1], "unheard@example.org/r"] {
        let got = outcome(&mut server, SERVER, "", asked_of(LEGACY_NODE, jid)).await;
        assert_eq!(got, "legacy", "{jid}");
    }
    // Nor for another node than it announced.
    report(&mut server, &[holder(OLD, true, LEGACY)]).await;
    let got = outcome(
        &mut server,
        SERVER,
        "",
        asked_of("http://old.example#3.0", OLD),
    )
    .await;
    assert_eq!(got, "malformed-node");
    assert_eq!(world.questions(), 0);
}

/// Silence, refusals and answers over the bounds are told, remembered and not asked for again.
#[tokio::test]
async fn failures_are_remembered() {
    let world =
        World::with(|flights, _| flights.unverified.timeout = Duration::from_millis(200)).await;
    let mut server = world.accept().await;
    for (nth, expected) in ["timeout", "unreachable", "too-large"]
        .into_iter()
        .enumerate()
    {
        let jid = format!("user{nth}@example.org/r");
        report(&mut server, &[holder(&jid, true, LEGACY)]).await;
        server
            .send(&lookup(SERVER, "", &[asked_of(LEGACY_NODE, &jid)]))
            .await;
        let question = server.next().await;
        match expected {
            "unreachable" => {
                let id = attribute(&question, "id");
                let refusal = format!(
                    "<iq type='error' from='{jid}' to='{COMPONENT}' id='{id}'><error type='cancel'/></iq>"
                );
                server.send(&refusal).await;
            }
            "too-large" => server.send(&answer(&question, "t1")).await,
            _ => {}
        }
        assert_eq!(outcomes(&server.next().await, &marks()), [expected]);
        let again = outcome(&mut server, SERVER, "", asked_of(LEGACY_NODE, &jid)).await;
        assert_eq!(again, expected);
    }
    assert_eq!(world.questions(), 3);
}

/// A hash function that nobody supports is as good as none.
#[tokio::test]
async fn an_unsupported_hash_is_its_senders_alone() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let whirlpool = "<c xmlns='http://jabber.org/protocol/caps' hash='whirlpool' node='http://w' ver='AAAA'/>\
                     <c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='whirlpool'>AAAA</hash></c>";
    report(&mut server, &[holder(OLD, true, whirlpool)]).await;
    for wanted in ["http://w#AAAA", "urn:xmpp:caps#whirlpool.AAAA"] {
        server
            .send(&lookup(SERVER, "", &[asked_of(wanted, OLD), asked(wanted)]))
            .await;
        let question = server.next().await;
        assert_eq!(attribute(&question, "node"), wanted);
        server.send(&answer(&question, "1")).await;
        assert_eq!(
            outcomes(&server.next().await, &marks()),
            ["=1alone", "unsupported-algorithm"]
        );
    }
}

/// A quarantined answer is kept for the one who gave it, without a second question; what verifies is given unmarked.
#[tokio::test]
async fn a_quarantined_answer_is_its_senders_alone() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server
        .send(&feed(SERVER, "", &[holder(OLD, true, &caps("Ka1"))]))
        .await;
    let sent = [server.next().await, server.next().await];
    let question = sent.iter().find(|sent| sent.contains("#info")).unwrap();
    server.send(&answer(question, "a1")).await;
    let keys = [
        asked_of(&node("Ka1"), OLD),
        asked_of(&node("Ka1"), "another@example.org/r"),
        asked(&node("Ka1")),
    ];
    for wait in ["wait='true'", "wait='false'"] {
        server.send(&lookup(SERVER, wait, &keys)).await;
        assert_eq!(
            outcomes(&server.next().await, &marks()),
            ["=3alone", "ambiguous", "ambiguous"],
            "{wait}"
        );
    }
    server.ask(OLD, "q", &node("Ka1")).await;
    assert!(server.next().await.contains(">ambiguous<"));
    // The same announcement again is no change, though it is asked about again: it may be honest now.
    let again = feed(SERVER, "", &[holder(OLD, true, &caps("Ka1"))]);
    server.send(&again).await;
    let sent = [server.next().await, server.next().await];
    let question = sent.iter().find(|sent| sent.contains("#info")).unwrap();
    let of_old = asked_of(&node("Ka1"), OLD);
    assert_eq!(
        outcome(&mut server, SERVER, "wait='false'", of_old).await,
        "=3alone"
    );
    server.send(&answer(question, "a1")).await;
    server.learn("1").await;
    let of_it = asked_of(&node("K1"), crate::world::HOLDER);
    assert_eq!(outcome(&mut server, SERVER, "", of_it).await, "=1");
}

/// A lie is not kept, for anybody.
#[tokio::test]
async fn a_lie_is_nobodys() {
    let world = World::new().await;
    let mut server = world.accept().await;
    server
        .send(&feed(SERVER, "", &[holder(OLD, true, &caps("K1"))]))
        .await;
    let sent = [server.next().await, server.next().await];
    let question = sent.iter().find(|sent| sent.contains("#info")).unwrap();
    server.send(&answer(question, "2")).await;
    let got = outcome(&mut server, SERVER, "", asked_of(&node("K1"), OLD)).await;
    assert_eq!(got, "mismatch");
}

/// Memory is bounded: the longest unused makes room. So are the questions to one account.
#[tokio::test]
async fn memory_and_questions_are_bounded() {
    let world = World::with(|flights, _| {
        flights.unverified.max_bytes = 20_000;
        flights.unverified.timeout = Duration::from_millis(100);
        flights.questions_per_account = Rate {
            interval: Duration::from_secs(3600),
            burst: NonZeroU32::new(2).unwrap(),
        };
    })
    .await;
    let mut server = world.accept().await;
    for batch in 0..10 {
        let holders =
            (0..100).map(|n| holder(&format!("user{batch}-{n}@example.org/r"), true, LEGACY));
        let holders: Vec<String> = holders.collect();
        report(&mut server, &holders).await;
    }
    world.resolver.expire(crate::world::clock());
    let evicted = world
        .metrics
        .cache_evictions
        .get(capsd::metrics::Eviction::UnverifiedSize)
        .get();
    assert!((900..1000).contains(&evicted), "{evicted}");
    for (nth, expected) in ["timeout", "timeout", "rate-limited"]
        .into_iter()
        .enumerate()
    {
        let jid = format!("chatty@example.org/r{nth}");
        report(&mut server, &[holder(&jid, true, LEGACY)]).await;
        server
            .send(&lookup(SERVER, "", &[asked_of(LEGACY_NODE, &jid)]))
            .await;
        let sent = server.next().await;
        match expected {
            "timeout" => {
                assert_eq!(attribute(&sent, "to"), jid);
                assert_eq!(outcomes(&server.next().await, &marks()), ["timeout"]);
            }
            _ => assert_eq!(outcomes(&sent, &marks()), [expected]),
        }
    }
}
