//! What a link does: whom it serves and believes, with what secret it comes; what capsd says of itself; the log.

use super::{ASKER, HOLDER};
use crate::effects::Change;
use crate::linked::{Linked, OTHER_SECRET, wait, write_secret};
use crate::server::COMPONENT;

/// The next connection is made with it, and not before there is a reason for one.
pub(crate) async fn secret(linked: &mut Linked, change: &Change) {
    change.apply(linked);
    linked.assert_unharmed().await;
    linked.reconnect(OTHER_SECRET).await;
}

pub(crate) async fn secret_in_the_same_file(linked: &mut Linked, change: &Change) {
    write_secret(&linked.machine, "secret", OTHER_SECRET);
    secret(linked, change).await;
}

pub(crate) async fn domains(linked: &mut Linked, change: &Change) {
    let who = "somebody@example.net/r";
    linked.ask(who, 0).await;
    assert!(linked.next().await.contains("<forbidden "));
    change.apply(linked);
    linked.ask(who, 0).await;
    linked.content_for(who, 0).await;
}

pub(crate) async fn feeds(linked: &mut Linked, change: &Change) {
    let feed = |from: &str| {
        format!(
            "<iq type='set' from='{from}' to='{COMPONENT}' id='f'><feed xmlns='urn:capsd:0'/></iq>"
        )
    };
    for (is_changed, believed) in [(false, "example.org"), (true, "example.net")] {
        if is_changed {
            change.apply(linked);
        }
        for from in ["example.org", "example.net"] {
            linked.server.send(&feed(from)).await;
            let reply = linked.next().await;
            let (is_result, is_refused) = (
                reply.starts_with("<iq type='result'"),
                reply.contains("<forbidden "),
            );
            assert_eq!(
                (is_result, is_refused),
                (from == believed, from != believed),
                "{reply}"
            );
        }
    }
}

pub(crate) async fn admins(linked: &mut Linked, change: &Change) {
    for (is_changed, admin) in [(false, "admin"), (true, "late")] {
        if is_changed {
            change.apply(linked);
        }
        for who in ["admin", "late"] {
            let command = format!(
                "<iq type='set' from='{who}@example.org/r' to='{COMPONENT}' id='c'>\
                 <command xmlns='http://jabber.org/protocol/commands' node='urn:capsd:0:status'/></iq>"
            );
            linked.server.send(&command).await;
            let reply = linked.next().await;
            assert_eq!(reply.starts_with("<iq type='result'"), who == admin);
        }
    }
}

pub(crate) async fn contact(linked: &mut Linked, change: &Change) {
    let (_, field) = change.key.split_once('.').unwrap();
    let field = format!("<field var='{field}-addresses'");
    linked.ask_info(HOLDER, "").await;
    assert!(!linked.next().await.contains(&field));
    change.apply(linked);
    linked.ask_info(HOLDER, "").await;
    let reply = linked.next().await;
    let (_, value) = reply.split_once(&field).expect("the field");
    let (_, value) = value.split_once("<value>").unwrap();
    let value = value.split_once("</value>").unwrap().0;
    let expected = ["mailto:new@example.org", "https://example.org/status"];
    assert!(expected.contains(&value), "{reply}");
}

pub(crate) async fn log_level(linked: &mut Linked, change: &Change) {
    assert!(!linked.log().contains(" DEBUG "));
    change.apply(linked);
    // Nobody has that content, and nobody is asked for it.
    linked.ask(ASKER, 1).await;
    linked.refusal_for(ASKER, "unknown").await;
    wait("a line of the level debug", || {
        linked.log().contains(" DEBUG ")
    });
}
