//! Reports of servers: `<feed/>`; and who else answers under the same address.

use capsd::metrics::{AnnouncementKind, Operation};

use super::requests::{SERVER, caps, feed, holder, lookup};
use crate::contents::{key, mark};
use crate::server::{COMPONENT, attribute};
use crate::world::{ASKER, World, answer, node};

fn gone(jid: &str) -> String {
    format!("<gone jid='{jid}'/>")
}

/// A user of the server is asked, whoever else was reported; who is gone is not.
#[tokio::test]
async fn only_the_servers_own_users_are_asked() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let reports = [
        holder("nurse@elsewhere.example/r", true, &caps("K1")),
        holder("room@conference.example.org/one", true, &caps("K1")),
        holder("shy@example.org/r", false, &caps("K1")),
        holder("left@example.org/r", true, &caps("K2")),
        gone("left@example.org/r"),
        holder("user@example.org/r", true, &caps("K1")),
    ];
    server.send(&feed(SERVER, "", &reports)).await;
    let mut asked = Vec::new();
    while asked.last().is_none_or(|last| last != "user@example.org/r") {
        let sent = server.next().await;
        if !sent.contains("<feed xmlns='urn:capsd:0' instance='") {
            asked.push(attribute(&sent, "to"));
        }
    }
    server.settle().await;
    // Who left may have been asked before that was known.
    asked.retain(|address| address != "left@example.org/r");
    assert_eq!(asked, ["user@example.org/r"]);
    assert_eq!(
        world
            .metrics
            .announcements
            .get(AnnouncementKind::Xep0115)
            .get(),
        5
    );
    // K2 has no holder any more.
    server.ask(ASKER, "q", &node("K2")).await;
    assert!(server.next().await.contains(">unknown<"));
}

/// A report takes the place of the one before; one without a `<c/>` changes nothing.
#[tokio::test]
async fn the_last_report_counts() {
    let world = World::with(|flights, _| flights.on_announce = false).await;
    let mut server = world.accept().await;
    let both = format!(
        "<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>\n {} </hash></c><other xmlns='urn:x'/>{}",
        key("N1").digest_base64(),
        caps("K1")
    );
    let reports = [
        holder("user@example.org/r", true, &caps("K2")),
        holder("user@example.org/r", true, &both),
        holder("user@example.org/r", true, ""),
    ];
    server.send(&feed(SERVER, "", &reports)).await;
    server.next().await;
    server.ask(ASKER, "q", &node("K2")).await;
    assert!(server.next().await.contains(">unknown<"));
    server.ask(ASKER, "q", &node("N1")).await;
    let question = server.next().await;
    assert_eq!(attribute(&question, "to"), "user@example.org/r");
    server.send(&answer(&question, "1")).await;
    assert!(server.next().await.contains(&mark("1")));
}

/// A server that tells everything anew need not say who went meanwhile. What others told stays, also others of the same domain.
#[tokio::test]
async fn what_is_told_anew_is_all_that_counts() {
    let world = World::with(|flights, _| flights.on_announce = false).await;
    let mut server = world.accept().await;
    let stays = || holder("stays@example.org/r", true, &caps("K1"));
    let feeds = [
        ("", stays()),
        ("", holder("went@example.org/r", true, &caps("K2"))),
        (
            "feeder='two'",
            holder("other@example.org/r", true, &caps("K3")),
        ),
        ("anew='true'", stays()),
        ("anew='true' feeder='three'", String::new()),
    ];
    for (attributes, report) in feeds {
        server.send(&feed(SERVER, attributes, &[report])).await;
        assert!(server.next().await.contains("<feed "));
    }
    server.ask(ASKER, "q", &node("K2")).await;
    assert!(server.next().await.contains(">unknown<"));
    for (name, address) in [("K1", "stays@example.org/r"), ("K3", "other@example.org/r")] {
        server.ask(ASKER, "q", &node(name)).await;
        assert_eq!(attribute(&server.next().await, "to"), address);
    }
    let later = crate::world::clock() + capsd::holders::feeders::REMOVED_AFTER;
    world.resolver.expire(later);
    assert_eq!(world.metrics.holders.get(), 2);
    // A question to somebody who is gone goes to the next holder, and an empty replay says that nobody is there.
    server.send(&feed(SERVER, "anew='1'", &[])).await;
    assert!(server.next().await.contains("<feed "));
    let later = later + capsd::holders::feeders::REMOVED_AFTER * 2;
    world.resolver.expire(later);
    assert_eq!(world.metrics.holders.get(), 1);
    let reply = server.next().await;
    assert!(reply.contains(" type='error'"), "{reply}");
}

/// Only the domain itself is believed: no user, no other resource of the domain, no other domain.
#[tokio::test]
async fn a_user_cannot_pretend_to_be_a_server() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let report = holder("user@example.org/r", true, &caps("K1"));
    for from in [
        "mallory@example.org/x",
        "mallory@example.org",
        "example.org@example.org",
        "example.org/x",
        "mallory@example.org/example.org",
        "mallory@example.org/capsd",
        "example.org/x/capsd",
        "conference.example.org",
        "elsewhere.example",
    ] {
        for reports in [
            vec![report.clone()],
            vec![],
            vec![gone("x@example.org/r")],
            vec!["<gone/>".to_owned()],
        ] {
            server.send(&feed(from, "instance='x'", &reports)).await;
            let expected = format!(
                "<iq type='error' from='{COMPONENT}' to='{from}' id='r'><error type='auth'>\
                 <forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            );
            assert_eq!(server.next().await, expected);
        }
    }
    assert_eq!(world.questions(), 0);
    world.resolver.expire(crate::world::clock());
    assert_eq!(world.metrics.holders.get(), 0);
    let forbidden = world.metrics.operations.get(Operation::FeedForbidden);
    // Those of other domains are turned away before it is looked at what they want.
    assert_eq!(forbidden.get(), 7 * 4);
    // A user's keys count for a quota, and it may not ask for what others said.
    server
        .send(&lookup(
            "mallory@example.org/x",
            "",
            &[super::requests::asked_of(&node("K1"), "user@example.org/r")],
        ))
        .await;
    assert!(server.next().await.contains(" reason='forbidden'"));
}

/// A server that keeps answers to the domain alone from its modules asks by this resource. It is the same feeder.
#[tokio::test]
async fn the_domain_may_have_one_resource() {
    let world = World::with(|flights, _| flights.on_announce = false).await;
    let mut server = world.accept().await;
    let report = holder("user@example.org/r", true, &caps("K1"));
    let holders = |world: &World| {
        let later = crate::world::clock() + capsd::holders::feeders::REMOVED_AFTER * 2;
        world.resolver.expire(later);
        world.metrics.holders.get()
    };
    server.send(&feed("example.org/capsd", "", &[report])).await;
    assert!(server.next().await.contains("<feed "));
    assert_eq!(holders(&world), 1);
    server.send(&feed(SERVER, "anew='true'", &[])).await;
    assert!(server.next().await.contains("<feed "));
    assert_eq!(holders(&world), 0);
}

/// A feed of the configuration may ask, though its domain is none of those whose users may.
#[tokio::test]
async fn a_feed_may_ask_too() {
    let world = World::with_feeds(&["conference.example.org"]).await;
    let mut server = world.that_knows_1().await;
    server.send(&feed("conference.example.org", "", &[])).await;
    assert!(server.next().await.contains("<feed xmlns='urn:capsd:0' "));
    server.ask("conference.example.org", "q", &node("K1")).await;
    assert!(server.next().await.contains(&mark("1")));
    server
        .ask("room@conference.example.org", "q", &node("K1"))
        .await;
    assert!(server.next().await.contains("<forbidden "));
    server.send(&feed("example.org", "", &[])).await;
    assert!(
        server.next().await.contains("<forbidden "),
        "it is no feed now"
    );
}

async fn instance_after(
    server: &mut crate::server::Server<tokio::net::TcpStream>,
    had: Option<&str>,
) -> String {
    let attributes = had.map_or(String::new(), |had| format!("instance='{had}'"));
    server.send(&feed(SERVER, &attributes, &[])).await;
    attribute(&server.next().await, "instance")
}

/// The instance is the same in every answer of a process, and another one in another process.
#[tokio::test]
async fn an_instance_is_a_process() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let name = instance_after(&mut server, None).await;
    server
        .send(&lookup(ASKER, "", &[super::requests::asked("x")]))
        .await;
    assert_eq!(attribute(&server.next().await, "instance"), name);
    server
        .send(&super::requests::contribute(
            ASKER,
            &[super::requests::info("", "1")],
        ))
        .await;
    assert_eq!(attribute(&server.next().await, "instance"), name);
    let another = World::new().await;
    let mut server = another.accept().await;
    assert_ne!(instance_after(&mut server, None).await, name);
}

/// Two processes behind one address, which a server asks in turn: both find out.
#[tokio::test]
async fn a_second_capsd_is_noticed() {
    let (one, other) = (World::new().await, World::new().await);
    let (mut to_one, mut to_other) = (one.accept().await, other.accept().await);
    let duplicates = |world: &World| world.link().metrics.duplicates.get();
    let mut had = None;
    for _ in 0..4 {
        for server in [&mut to_one, &mut to_other] {
            had = Some(instance_after(server, had.as_deref()).await);
        }
    }
    // From its second request on, each is sent the name of the other.
    assert_eq!(duplicates(&one), 3);
    // The other one may be taken for a successor until its own name came back to it, which never happens here.
    assert_eq!(duplicates(&other), 0);
    for is_one in [false, false, true, false] {
        let server = match is_one {
            true => &mut to_one,
            false => &mut to_other,
        };
        had = Some(instance_after(server, had.as_deref()).await);
    }
    assert_eq!(duplicates(&other), 1);
}

/// A restart of either side, a slow answer and a broken link are no second capsd.
#[tokio::test]
async fn a_restart_is_no_second_capsd() {
    let world = World::new().await;
    let mut server = world.accept().await;
    let duplicates = || world.link().metrics.duplicates.get();
    // capsd was restarted: the server still has the name of the process before, also while it waits for an answer in vain.
    let name = instance_after(&mut server, Some("before")).await;
    instance_after(&mut server, Some("before")).await;
    instance_after(&mut server, Some(&name)).await;
    instance_after(&mut server, Some(&name)).await;
    assert_eq!(duplicates(), 0);
    // The server was restarted, or its module was.
    instance_after(&mut server, None).await;
    instance_after(&mut server, Some(&name)).await;
    assert_eq!(duplicates(), 0);
    // The link was lost, and another process had the address meanwhile.
    drop(server);
    let mut server = world.accept().await;
    instance_after(&mut server, Some("meanwhile")).await;
    instance_after(&mut server, Some(&name)).await;
    assert_eq!(duplicates(), 0);
    instance_after(&mut server, Some("meanwhile")).await;
    assert_eq!(duplicates(), 1);
}
