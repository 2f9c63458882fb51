//! Input that no sane server sends: capsd goes on, or opens the stream again, and forgets nothing that it knows.

use std::time::Instant;

use capsd::caps::{Algorithm, CapsKey, Family};

use crate::server::COMPONENT;
use crate::world::{ASKER, World, presence};

/// Sends it in the middle of a stream; the stream goes on. What capsd sent about it.
async fn goes_on(xml: &str) -> Vec<String> {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    let began = Instant::now();
    server.send(xml).await;
    let replies = server.settle().await;
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    world.assert_knows_1(&mut server).await;
    replies
}

/// Sends it in the middle of a stream; the stream is opened again. Why it was lost.
async fn opens_again(xml: &str) -> String {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    server.settle().await;
    server.send(xml).await;
    server.rest().await;
    let mut server = world.accept().await;
    world.assert_knows_1(&mut server).await;
    world.cause()
}

fn iq(inside: &str) -> String {
    format!("<iq type='get' from='{ASKER}' to='{COMPONENT}' id='odd'>{inside}</iq>")
}

fn nested(levels: usize) -> String {
    format!("{}{}", "<x>".repeat(levels), "</x>".repeat(levels))
}

const DISCO: &str = "xmlns='http://jabber.org/protocol/disco#info'";

#[tokio::test]
async fn nesting_has_no_bound() {
    let nothing = [""; 0];
    let deep = nested(40_000);
    assert_eq!(goes_on(&deep).await, nothing);
    let replies = goes_on(&iq(&format!("<query {DISCO}>{deep}</query>"))).await;
    assert!(replies[0].contains("type='result'"), "{replies:?}");
    // The parser's time grows with the square of the depth.
    let deep = nested(10_000);
    assert_eq!(
        goes_on(&format!("<message>{deep}</message>")).await,
        nothing
    );
    let presence =
        presence("deep@example.org/r", "K1").replace("</presence>", &format!("{deep}</presence>"));
    assert_eq!(goes_on(&presence).await, nothing);
    let result =
        format!("<iq type='result' from='{ASKER}' id='x'><query {DISCO}>{deep}</query></iq>");
    assert_eq!(goes_on(&result).await, nothing);
    let replies = goes_on(&iq(&deep)).await;
    assert!(replies[0].contains("<service-unavailable "), "{replies:?}");
    let forwarded = format!(
        "<iq type='result' from='{ASKER}' id='account-0123456789abcdef0123456789abcdef'>\
         <privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>\
         <iq xmlns='jabber:client'><query {DISCO}>{deep}</query></iq></forwarded></privilege></iq>"
    );
    assert_eq!(goes_on(&forwarded).await, nothing);
}

#[tokio::test]
async fn names_and_values_have_no_bound() {
    let long = "x".repeat(1 << 20);
    for xml in [
        format!("<presence from='{long}@example.org/r'/>"),
        format!("<{long}/>"),
        format!("<{long}>{long}</{long}>"),
        format!("<x xmlns='{long}'/>"),
        format!("<message {long}1='' {long}2=''/>"),
        format!("<message xmlns:{long}='urn:x'><{long}:x {long}:y=''/></message>"),
        format!("<message a='{}'/>", "&amp;ä".repeat(1 << 18)),
    ] {
        assert_eq!(goes_on(&xml).await, [""; 0]);
    }
    let replies = goes_on(&iq(&format!("<query {DISCO} node='{long}'/>"))).await;
    assert!(replies[0].contains(">too-large<"), "{replies:?}");
    let id = iq("<ping xmlns='urn:xmpp:ping'/>").replace("id='odd'", &format!("id='{long}'"));
    assert_eq!(goes_on(&id).await, [""; 0]);
}

#[tokio::test]
async fn unknown_elements_are_passed_over() {
    for xml in [
        "<unheard-of/>",
        "<unheard-of xmlns='urn:x'>with <b>text</b></unheard-of>",
        "<iq xmlns='jabber:client' type='get' from='asker@example.org/x' to='caps.example.org' id='1'>\
         <ping xmlns='urn:xmpp:ping'/></iq>",
        "<message xmlns='jabber:client'/><presence xmlns='jabber:server'/>",
        "<stream:features/>",
        "<stream:unheard-of/>",
        "<handshake/>",
        " \n\t ",
        "<message><body><![CDATA[<presence/>]]></body></message>",
    ] {
        assert_eq!(goes_on(xml).await, [""; 0], "{xml}");
    }
}

#[tokio::test]
async fn stanzas_without_an_address_or_an_id_are_passed_over() {
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    for xml in [
        format!("<iq type='get' from='{ASKER}' to='{COMPONENT}'>{ping}</iq>"),
        format!("<iq type='get' to='{COMPONENT}' id='1'>{ping}</iq>"),
        format!("<iq type='result' to='{COMPONENT}' id='1'>{ping}</iq>"),
        format!("<iq from='{ASKER}' to='{COMPONENT}' id='1'>{ping}</iq>"),
        format!("<iq type='huh' from='{ASKER}' to='{COMPONENT}' id='1'>{ping}</iq>"),
        format!("<iq type='result' from='{ASKER}' to='{COMPONENT}' id='1'/>"),
        format!("<iq type='error' from='{ASKER}' to='{COMPONENT}' id='1'/>"),
        "<iq/><message/><presence/>".to_owned(),
        "<presence type='huh' from='asker@example.org'/>".to_owned(),
        "<presence type='unavailable'/>".to_owned(),
        "<message from='example.org'><privilege xmlns='urn:xmpp:privilege:2'/></message>".to_owned(),
        "<message from='stranger.example'><privilege xmlns='urn:xmpp:privilege:2'><perm/></privilege></message>".to_owned(),
    ] {
        assert_eq!(goes_on(&xml).await, [""; 0], "{xml}");
    }
}

#[tokio::test]
async fn a_request_has_one_child() {
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    for inside in [
        String::new(),
        ping.repeat(2),
        ping.repeat(1000),
        "text".to_owned(),
    ] {
        let replies = goes_on(&iq(&inside)).await;
        assert_eq!(replies.len(), 1);
        assert!(replies[0].contains("<bad-request "), "{replies:?}");
        assert!(replies[0].contains("id='odd'"), "{replies:?}");
    }
}

#[tokio::test]
async fn text_has_no_bound() {
    let text = "&lt;words&gt; ä ".repeat(100_000);
    assert_eq!(
        goes_on(&format!("<message><body>{text}</body></message>")).await,
        [""; 0]
    );
    let presence = presence("wordy@example.org/r", "K1");
    let presence = presence.replace(
        "</presence>",
        &format!("<status>{text}</status></presence>"),
    );
    assert_eq!(goes_on(&presence).await, [""; 0]);
    let replies = goes_on(&iq(&format!("<ping xmlns='urn:xmpp:ping'>{text}</ping>"))).await;
    assert!(replies[0].contains("type='result'"));
    let hash = format!(
        "<presence from='wordy@example.org/r'><c xmlns='urn:xmpp:caps'>\
         <hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>{text}</hash></c></presence>"
    );
    assert_eq!(goes_on(&hash).await, [""; 0]);
}

/// RFC 6120 section 11.1 forbids them on a stream.
#[tokio::test]
async fn what_xmpp_forbids_costs_the_stream() {
    for xml in [
        "<!-- a comment -->",
        "<message><!-- a comment --></message>",
        "<?a processing-instruction?>",
        "<message><?a processing-instruction?></message>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]>",
        "<message>&unheard-of;</message>",
        "<message>&#0;</message>",
        "<message><x:y/></message>",
        "<message a='1' a='2'/>",
        "<message></presence>",
        "<message a=1/>",
        "words",
        "<message>]]></message>",
    ] {
        let cause = opens_again(xml).await;
        assert!(
            cause.starts_with("refused: XML that cannot be read"),
            "{xml}: {cause}"
        );
        assert!(cause.contains("Next step: "), "{cause}");
    }
}

#[tokio::test]
async fn the_server_may_end_the_stream() {
    let error = |condition: &str| {
        format!(
            "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
        )
    };
    for (xml, word) in [
        ("</stream:stream>".to_owned(), "network: "),
        (error("system-shutdown"), "refused: system-shutdown"),
        (error("conflict"), "conflict: "),
        (error("not-authorized"), "wrong secret: "),
        ("<stream:error/>".to_owned(), "refused: "),
        (
            format!("<stream:error>{}</stream:error>", nested(40_000)),
            "refused: ",
        ),
    ] {
        let cause = opens_again(&xml).await;
        assert!(cause.starts_with(word), "{cause}");
    }
}

#[tokio::test]
async fn a_thousand_hashes_are_not_a_thousand_questions() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    let nodes: Vec<String> = (0..1000_u64)
        .map(|n| {
            let digest = [n.to_be_bytes(); 4].concat();
            let key = CapsKey::new(Family::Xep0390, Algorithm::Sha256, &digest);
            key.unwrap().to_node("")
        })
        .collect();
    let hashes: String = nodes
        .iter()
        .map(|node| {
            let (_, hash) = node.rsplit_once('.').unwrap();
            format!("<hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>{hash}</hash>")
        })
        .collect();
    let presence = format!(
        "<presence from='many@example.org/r'><c xmlns='urn:xmpp:caps'>{hashes}</c>\
         <c xmlns='urn:xmpp:caps'>{hashes}</c></presence>"
    );
    let before = world.questions();
    server.send(&presence).await;
    server.next().await;
    assert_eq!(server.settle().await, [""; 0]);
    assert_eq!(world.questions(), before + 1);
    // The first eight are waited for, the rest was not read.
    for node in &nodes[..8] {
        server.ask(ASKER, "first", node).await;
    }
    server.ask(ASKER, "ninth", &nodes[8]).await;
    let reply = server.next().await;
    assert!(
        reply.contains("id='ninth'") && reply.contains(">unknown<"),
        "{reply}"
    );
    world.assert_knows_1(&mut server).await;
}

#[tokio::test]
async fn what_is_no_hash_is_not_asked_for() {
    let good = presence("odd@example.org/r", "K2");
    for (from, to) in [
        ("ver='", "ver='!"),
        ("=='", "='"),
        ("='/>", "'/>"),
        ("ver='", "ver='AAAA"),
        ("hash='sha-1'", "hash='sha-256'"),
        ("hash='sha-1'", "hash='md5'"),
        ("hash='sha-1'", "hash=''"),
        ("hash='sha-1'", "hash='whirlpool'"),
        ("hash='sha-1'", ""),
        ("ver=", "var="),
    ] {
        let odd = good.replace(from, to);
        if odd != good {
            assert_eq!(goes_on(&odd).await, [""; 0], "{odd}");
        }
    }
}

#[tokio::test]
async fn namespaces_have_no_bound() {
    let declared: String = (0..10_000)
        .map(|n| format!(" xmlns:p{n}='urn:x:{n}'"))
        .collect();
    assert_eq!(
        goes_on(&format!("<message{declared}><p1:x/></message>")).await,
        [""; 0]
    );
    let each: String = (0..10_000)
        .map(|n| format!("<x xmlns='urn:y:{n}' a{n}=''/>"))
        .collect();
    assert_eq!(
        goes_on(&format!("<message>{each}</message>")).await,
        [""; 0]
    );
    let nested: String = (0..10_000)
        .map(|n| format!("<x xmlns:p{n}='urn:z:{n}'>"))
        .collect();
    let ends = "</x>".repeat(10_000);
    assert_eq!(
        goes_on(&format!("<message>{nested}{ends}</message>")).await,
        [""; 0]
    );
}

/// The next stream is as good as the first, however often it is lost.
#[tokio::test]
async fn nothing_wears_out() {
    let world = World::new().await;
    let mut server = world.that_knows_1().await;
    for _ in 0..5 {
        server.settle().await;
        server.send("<!---->").await;
        server.rest().await;
        server = world.accept().await;
        world.assert_knows_1(&mut server).await;
    }
    server.learn("2").await;
    assert_eq!(server.settle().await, [""; 0]);
    assert_eq!(world.questions(), 2);
}
