//! Bounds and quotas: what goes beyond the one before fits the one after.

use super::{ASKER, HOLDER, SECOND, THIRD};
use crate::effects::Change;
use crate::linked::Linked;
use crate::server::COMPONENT;

pub(crate) async fn flights(linked: &mut Linked, change: &Change) {
    linked.announce(HOLDER, 1).await;
    linked.question_to(HOLDER).await;
    linked.announce(SECOND, 2).await;
    linked.assert_quiet().await;
    linked.ask(ASKER, 2).await;
    linked.refusal_for(ASKER, "overloaded").await;
    change.apply(linked);
    linked.ask(ASKER, 2).await;
    let question = linked.question_to(SECOND).await;
    linked.answer(&question, 2).await;
    linked.content_for(ASKER, 2).await;
}

pub(crate) async fn waiters(linked: &mut Linked, change: &Change) {
    linked.announce(HOLDER, 1).await;
    let question = linked.question_to(HOLDER).await;
    linked.ask(ASKER, 1).await;
    linked.assert_quiet().await;
    linked.ask(SECOND, 1).await;
    linked.refusal_for(SECOND, "overloaded").await;
    change.apply(linked);
    linked.ask(SECOND, 1).await;
    linked.assert_quiet().await;
    linked.ask(THIRD, 1).await;
    linked.refusal_for(THIRD, "overloaded").await;
    linked.answer(&question, 1).await;
    linked.content_for(ASKER, 1).await;
    linked.content_for(SECOND, 1).await;
}

/// Who has subscribed is told when capsd's own caps change; who was too many is not.
pub(crate) async fn subscribers(linked: &mut Linked, change: &Change) {
    let subscribe = async |linked: &mut Linked, who: &str| {
        let presence =
            format!("<presence type='subscribe' from='{who}@example.org' to='{COMPONENT}'/>");
        linked.server.send(&presence).await;
        linked.until_quiet().await;
    };
    let told = async |linked: &mut Linked, contact: &str| {
        linked.reload(&[("contact.admin", contact)]);
        let presences = linked.until_quiet().await;
        let of = |who: &str| {
            let to = format!(" to='{who}@example.org'");
            presences.iter().any(|presence| presence.contains(&to))
        };
        [of("first"), of("late")]
    };
    subscribe(linked, "first").await;
    subscribe(linked, "late").await;
    assert_eq!(
        told(linked, "['mailto:a@example.org']").await,
        [true, false]
    );
    change.apply(linked);
    subscribe(linked, "late").await;
    assert_eq!(told(linked, "['mailto:b@example.org']").await, [true, true]);
}

pub(crate) async fn queries_per_asker(linked: &mut Linked, change: &Change) {
    linked.ask(ASKER, 0).await;
    linked.content_for(ASKER, 0).await;
    linked.ask(ASKER, 0).await;
    linked.refusal_for(ASKER, "rate-limited").await;
    change.apply(linked);
    for _ in 0..2 {
        linked.ask(ASKER, 0).await;
        linked.content_for(ASKER, 0).await;
    }
}

/// Who has spent the quota is not asked for what it announces.
pub(crate) async fn new_keys(linked: &mut Linked, change: &Change) {
    linked.teach(HOLDER, 1).await;
    // That of a domain is spent by whoever comes first.
    let other = match change.key {
        "limits.new-keys-per-domain" => SECOND,
        _ => HOLDER,
    };
    linked.announce(other, 2).await;
    linked.assert_quiet().await;
    change.apply(linked);
    linked.teach(HOLDER, 3).await;
    linked.teach(other, 4).await;
}

/// Once the quota of new keys is spent, there is one of questions for those who want to know.
pub(crate) async fn questions(linked: &mut Linked, change: &Change) {
    linked.teach(HOLDER, 1).await;
    let asked_for = async |linked: &mut Linked, number| {
        linked.announce(HOLDER, number).await;
        linked.ask(ASKER, number).await;
    };
    let answered = async |linked: &mut Linked, number| {
        asked_for(linked, number).await;
        let question = linked.question_to(HOLDER).await;
        linked.answer(&question, number).await;
        linked.content_for(ASKER, number).await;
    };
    answered(linked, 2).await;
    asked_for(linked, 3).await;
    linked.refusal_for(ASKER, "rate-limited").await;
    change.apply(linked);
    answered(linked, 4).await;
    answered(linked, 5).await;
}

/// What was proven beyond the quota of new keys is written when another account uses it, as often as that one may.
pub(crate) async fn second_uses(linked: &mut Linked, change: &Change) {
    linked.teach(HOLDER, 1).await;
    for number in [2, 3, 4] {
        linked.announce(HOLDER, number).await;
        linked.ask(HOLDER, number).await;
        let question = linked.question_to(HOLDER).await;
        linked.answer(&question, number).await;
        linked.content_for(HOLDER, number).await;
    }
    assert_eq!(linked.entries(), 2);
    for (number, entries) in [(2, 3), (3, 3), (4, 3)] {
        linked.ask(ASKER, number).await;
        linked.content_for(ASKER, number).await;
        assert_eq!(linked.entries(), entries);
    }
    change.apply(linked);
    for (number, entries) in [(3, 4), (4, 5)] {
        linked.ask(ASKER, number).await;
        linked.content_for(ASKER, number).await;
        assert_eq!(linked.entries(), entries);
    }
}
