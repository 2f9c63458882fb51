//! What is good for one address alone: the questions for it, and their times.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use capsd::caps::Reason;
use capsd::holders::LinkId;
use capsd::metrics::Metrics;
use capsd::resolver::flights::QuestionId;
use capsd::resolver::unverified::{Listener, Said, Settings, Unproven, Unverified, Wanted};

use crate::contents::answer;
use crate::setup::settings;

const LINK: LinkId = LinkId(0);
const NODE: &str = "http://old.example#1.0";

fn listener() -> (Listener, Receiver<Said>) {
    let (tell, told) = channel();
    (Box::new(move |_, said| tell.send(said).unwrap()), told)
}

fn table() -> Unverified {
    let table = Unverified::new(settings().unverified, &Arc::new(Metrics::new().unwrap()));
    assert!(
        table
            .announce(LINK, "old@a/r", vec![NODE.to_owned()], true)
            .is_empty()
    );
    table
}

fn want(table: &Unverified, now: Instant, id: u128) -> (Option<QuestionId>, Receiver<Said>) {
    let (listener, told) = listener();
    let of = (LINK, "old@a/r", NODE);
    match table.want(now, of, Reason::Legacy, QuestionId(id), || true, listener) {
        Wanted::Ask(id) => (Some(id), told),
        Wanted::Waits => (None, told),
        Wanted::Tell(listener, said) => {
            listener(now, said);
            (None, told)
        }
    }
}

/// A question has its time; silence is remembered, and forgiven after a while.
#[test]
fn silence_has_its_time() {
    let table = table();
    let began = Instant::now();
    let (asked, first) = want(&table, began, 1);
    let (waits, second) = want(&table, began + Duration::from_secs(1), 2);
    assert_eq!((asked, waits), (Some(QuestionId(1)), None));
    let due = began + settings().unverified.timeout;
    assert_eq!(table.next_timer(), Some(due));
    assert_eq!(table.overdue(due - Duration::from_millis(1)), []);
    assert_eq!(table.overdue(due), [QuestionId(1)]);
    let (listeners, said) = table.settle(due, QuestionId(1), Err(Reason::Timeout));
    listeners
        .into_iter()
        .for_each(|listener| listener(due, said.clone()));
    for told in [first, second] {
        assert_eq!(told.try_recv(), Ok(Err(Reason::Timeout)));
    }
    let again = due + settings().unverified.retry_after;
    let (asked, told) = want(&table, again - Duration::from_millis(1), 3);
    assert_eq!((asked, told.try_recv()), (None, Ok(Err(Reason::Timeout))));
    assert_eq!(want(&table, again, 4).0, Some(QuestionId(4)));
}

/// What was asked before is not an answer to what is announced now, whatever is announced in between.
#[test]
fn an_answer_belongs_to_its_announcement() {
    let table = table();
    let now = Instant::now();
    let (asked, told) = want(&table, now, 1);
    assert_eq!(asked, Some(QuestionId(1)));
    let ended = table.announce(LINK, "old@a/r", vec!["http://new#2".to_owned()], true);
    assert_eq!(ended.len(), 1);
    table.announce(LINK, "old@a/r", vec![NODE.to_owned()], true);
    let content = Arc::new(Unproven::new(&answer("1")));
    let (listeners, _) = table.settle(now, QuestionId(1), Ok(content));
    assert!(listeners.is_empty());
    assert_eq!(table.said(now, LINK, "old@a/r", NODE), None);
    drop(ended);
    assert!(told.try_recv().is_err());
}

/// Another link may have heard the same address; what is said over one is not known over the other.
#[test]
fn links_are_kept_apart() {
    let table = table();
    let now = Instant::now();
    let other = LinkId(1);
    table.announce(other, "old@a/r", vec![NODE.to_owned()], true);
    want(&table, now, 1);
    assert_eq!(table.asked(QuestionId(1), |link, _| link == other), None);
    let exact = |link, address: &str| link == LINK && address == "old@a/r";
    assert_eq!(table.asked(QuestionId(1), exact).as_deref(), Some(NODE));
    let content = Arc::new(Unproven::new(&answer("1")));
    let (listeners, _) = table.settle(now, QuestionId(1), Ok(content));
    assert_eq!(listeners.len(), 1);
    assert!(matches!(
        table.said(now, LINK, "old@a/r", NODE),
        Some(Ok(_))
    ));
    assert_eq!(table.said(now, other, "old@a/r", NODE), None);
    table.forget_link(LINK);
    assert_eq!(table.said(now, LINK, "old@a/r", NODE), None);
}

/// A table in which a question is open, and no room any more for the announcement that it is about: that is taken by so many others.
fn crowded(others: usize) -> Unverified {
    let little = Settings {
        max_bytes: 4096,
        ..settings().unverified
    };
    let table = Unverified::new(little, &Arc::new(Metrics::new().unwrap()));
    table.announce(LINK, "old@a/r", vec![NODE.to_owned()], true);
    let (asked, _told) = want(&table, Instant::now(), 1);
    assert_eq!(asked, Some(QuestionId(1)));
    for number in 0..others {
        let address = format!("{number}@a/r");
        table.announce(LINK, &address, vec![NODE.to_owned()], true);
    }
    table
}

/// Room for an announcement may end before the answer comes; the loss of another link is no reason to end the question.
#[test]
fn a_question_outlives_the_loss_of_another_link() {
    let table = crowded(1000);
    assert_eq!(table.forget_link(LinkId(1)).len(), 0);
    assert_eq!(table.forget_link(LINK).len(), 1);
}

/// Nobody waits for an answer over a link that is lost, whoever is remembered.
#[test]
fn a_question_ends_with_its_link_when_nobody_is_remembered_any_more() {
    let table = crowded(1000);
    for number in 0..1000 {
        table.forget(LINK, &format!("{number}@a/r"), &[]);
    }
    table.sweep();
    assert!(table.is_empty());
    assert_eq!(table.forget_link(LINK).len(), 1);
}

/// Whoever comes when the process ends already is told so at once, and nobody is asked for him.
#[test]
fn nobody_is_asked_after_the_end() {
    let table = table();
    let now = Instant::now();
    assert_eq!(want(&table, now, 1).0, Some(QuestionId(1)));
    assert_eq!(table.stop().len(), 1);
    let (asked, told) = want(&table, now, 2);
    assert_eq!(
        (asked, told.try_recv()),
        (None, Ok(Err(Reason::Overloaded)))
    );
}
