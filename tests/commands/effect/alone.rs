//! Questions for what cannot be verified, to one address each: they have the bounds and times of the others.

use super::{HOLDER, SECOND};
use crate::effects::Change;
use crate::linked::Linked;
use crate::server::COMPONENT;

/// The node of an announcement without a hash (XEP-0115 section 13).
const NODE: &str = "http://old.example#1.0";

/// The server tells of somebody with that announcement.
async fn tell_of(linked: &mut Linked, who: &str) {
    let feed = format!(
        "<iq type='set' from='example.org' to='{COMPONENT}' id='f'><feed xmlns='urn:capsd:0'><holder jid='{who}' askable='true'>\
         <c xmlns='http://jabber.org/protocol/caps' node='http://old.example' ver='1.0'/></holder></feed></iq>"
    );
    linked.server.send(&feed).await;
    let reply = linked.next().await;
    assert!(reply.starts_with("<iq type='result'"), "{reply}");
}

/// The server wants to know what that one says to the node.
async fn look_up(linked: &mut Linked, who: &str) {
    let iq = format!(
        "<iq type='get' from='example.org' to='{COMPONENT}' id='l'><lookup xmlns='urn:capsd:0'><key node='{NODE}' jid='{who}'/></lookup></iq>"
    );
    linked.server.send(&iq).await;
}

async fn refused(linked: &mut Linked, reason: &str) {
    let reply = linked.next().await;
    assert!(reply.contains(&format!(" reason='{reason}'")), "{reply}");
}

pub(crate) async fn questions(linked: &mut Linked, change: &Change) {
    for who in [HOLDER, SECOND] {
        tell_of(linked, who).await;
    }
    look_up(linked, HOLDER).await;
    linked.question_to(HOLDER).await;
    look_up(linked, SECOND).await;
    refused(linked, "overloaded").await;
    change.apply(linked);
    look_up(linked, SECOND).await;
    linked.question_to(SECOND).await;
}

pub(crate) async fn timeout(linked: &mut Linked, change: &Change) {
    for who in [HOLDER, SECOND] {
        tell_of(linked, who).await;
    }
    look_up(linked, HOLDER).await;
    linked.question_to(HOLDER).await;
    linked.assert_quiet().await;
    change.apply(linked);
    look_up(linked, SECOND).await;
    linked.question_to(SECOND).await;
    refused(linked, "timeout").await;
}

pub(crate) async fn retry_after(linked: &mut Linked, change: &Change) {
    for who in [HOLDER, SECOND] {
        tell_of(linked, who).await;
    }
    // Content 1 is given for both, and an error by whoever is asked first.
    let refuse = async |linked: &mut Linked, who: &str| {
        look_up(linked, who).await;
        let question = linked.question_to(who).await;
        let id = crate::server::attribute(&question, "id");
        let error = format!(
            "<iq type='error' from='{who}' to='{COMPONENT}' id='{id}'><error type='cancel'>\
             <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        );
        linked.server.send(&error).await;
        refused(linked, "unreachable").await;
    };
    refuse(linked, HOLDER).await;
    look_up(linked, HOLDER).await;
    refused(linked, "unreachable").await;
    change.apply(linked);
    refuse(linked, SECOND).await;
    loop {
        look_up(linked, SECOND).await;
        let next = linked.next().await;
        if next.starts_with("<iq type='get'") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
