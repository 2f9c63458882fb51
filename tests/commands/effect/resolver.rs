//! When holders are asked, how long they have, and how long they are remembered.

use super::{ASKER, HOLDER, SECOND, THIRD};
use crate::effects::Change;
use crate::linked::{Linked, wait};

pub(crate) async fn resolve(linked: &mut Linked, change: &Change) {
    linked.announce(HOLDER, 1).await;
    linked.assert_quiet().await;
    change.apply(linked);
    linked.teach(HOLDER, 2).await;
    linked.assert_served(2).await;
}

pub(crate) async fn deadline(linked: &mut Linked, change: &Change) {
    linked.announce(HOLDER, 1).await;
    linked.ask(ASKER, 1).await;
    let first = linked.question_to(HOLDER).await;
    linked.assert_quiet().await;
    change.apply(linked);
    linked.announce(SECOND, 2).await;
    linked.ask(THIRD, 2).await;
    linked.question_to(SECOND).await;
    linked.refusal_for(THIRD, "timeout").await;
    // The deadline of a flight is that with which it began.
    linked.answer(&first, 1).await;
    linked.content_for(ASKER, 1).await;
}

pub(crate) async fn holder_timeout(linked: &mut Linked, change: &Change) {
    linked.announce(HOLDER, 1).await;
    linked.question_to(HOLDER).await;
    linked.announce(SECOND, 1).await;
    linked.ask(ASKER, 1).await;
    linked.assert_quiet().await;
    change.apply(linked);
    linked.announce(HOLDER, 2).await;
    linked.question_to(HOLDER).await;
    linked.announce(SECOND, 2).await;
    let question = linked.question_to(SECOND).await;
    linked.answer(&question, 2).await;
}

pub(crate) async fn retry_after(linked: &mut Linked, change: &Change) {
    let lie = async |linked: &mut Linked, who: &str, number| {
        linked.announce(who, number).await;
        let question = linked.question_to(who).await;
        linked.answer(&question, 9).await;
        linked.ask(ASKER, number).await;
        linked.refusal_for(ASKER, "mismatch").await;
    };
    lie(linked, HOLDER, 1).await;
    change.apply(linked);
    lie(linked, SECOND, 2).await;
    let question = linked
        .until_question(async |linked| linked.ask(ASKER, 2).await)
        .await;
    linked.answer(&question, 2).await;
    linked.content_for(ASKER, 2).await;
    // What was remembered before keeps its time.
    linked.ask(ASKER, 1).await;
    linked.refusal_for(ASKER, "mismatch").await;
}

pub(crate) async fn expire_after(linked: &mut Linked, change: &Change) {
    linked.teach(HOLDER, 1).await;
    linked.assert_quiet().await;
    wait("the holder is counted", || {
        linked.metric("capsd_holders ") == 1.0
    });
    change.apply(linked);
    wait("the holder is forgotten", || {
        linked.metric("capsd_holders ") == 0.0
    });
    linked.assert_served(1).await;
}
