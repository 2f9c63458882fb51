//! That several accounts announced a key reaches the store, whenever the third of them comes.

use capsd::holders::LinkId;
use capsd::resolver::Reply;

use crate::contents::answer;
use crate::setup::settings;
use crate::stage::Stage;

const LINK: LinkId = LinkId(0);

/// How many nodes of the stored content are common; `None` where the content itself is not.
fn seen_nodes(stage: &Stage) -> Option<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let page = stage.resolver.work(|below| {
        below.store.flush();
        below.store.page(Default::default(), 10)
    });
    let (mut entries, _) = runtime.block_on(page).unwrap().unwrap();
    assert_eq!(entries.len(), 1);
    entries.remove(0).seen_nodes
}

/// Whoever is asked answers.
fn reply(stage: &mut Stage) {
    let asked = stage.questions.remove(0);
    let from = asked.address.clone();
    stage.reply(&asked, &from, LINK, Reply::Answer(Box::new(answer("1"))));
}

#[test]
fn the_third_account_may_come_before_the_answer() {
    let mut stage = Stage::new(settings(), &[], &[]);
    for address in ["a@x/1", "b@x/1", "c@x/1"] {
        stage.announce(address, "K1", LINK, true);
    }
    reply(&mut stage);
    stage.settle();
    assert_eq!(seen_nodes(&stage), Some(1));
}

#[test]
fn the_third_account_may_come_after_the_answer() {
    let mut stage = Stage::new(settings(), &[], &[]);
    for address in ["a@x/1", "a@x/2", "b@x/1", "a@x/3"] {
        stage.announce(address, "K1", LINK, true);
    }
    reply(&mut stage);
    stage.settle();
    assert_eq!(seen_nodes(&stage), None);
    stage.announce("c@x/1", "K1", LINK, true);
    assert_eq!(seen_nodes(&stage), Some(1));
}

/// The content is one, whichever of its hashes is common; but a node belongs to the hash that it was announced with.
#[test]
fn a_content_is_common_by_any_of_its_keys() {
    let mut stage = Stage::new(settings(), &["1".to_owned()], &[]);
    for address in ["a@x/1", "b@x/1", "c@x/1"] {
        stage.announce(address, "N1", LINK, true);
    }
    assert_eq!(seen_nodes(&stage), Some(0));
    stage.restart();
    assert_eq!(seen_nodes(&stage), Some(0));
}
