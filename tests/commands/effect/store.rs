//! What the learned tier keeps, and when it writes.

use super::{ASKER, HOLDER, SECOND};
use crate::contents::{in_query, ver_of};
use crate::effects::Change;
use crate::linked::{Linked, wait};

pub(crate) async fn flush_interval(linked: &mut Linked, change: &Change) {
    let unconfirmed = "capsd_store_unconfirmed ";
    linked.import(&[1, 2]);
    wait("it is counted", || linked.metric(unconfirmed) >= 2.0);
    change.apply(linked);
    wait("all is on disk", || linked.metric(unconfirmed) == 0.0);
}

pub(crate) async fn max_entries(linked: &mut Linked, change: &Change) {
    linked.import(&[1, 2, 3, 4, 5]);
    assert_eq!(linked.entries(), 6);
    change.apply(linked);
    wait("so many are kept", || linked.entries() == 2);
}

/// Contents of 12 KB that cannot be packed well, beginning with that number: `ver` and `<query/>` of each.
fn large(from: usize, count: usize) -> Vec<(String, String)> {
    // Numbers that look random and are the same in every run.
    let mut dice = from as u64 + 1;
    let mut roll = || {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        dice >> 16
    };
    let mut one = || {
        let mut features: Vec<_> = (0..240)
            .map(|_| format!("{:012x}{:012x}{:012x}", roll(), roll(), roll()))
            .collect();
        features.sort();
        let ver = ver_of(&format!("client/pc//n<{}<", features.join("<")));
        let features = features.iter().map(|var| format!("<feature var='{var}'/>"));
        let children = features.collect::<String>();
        let identity = "<identity category='client' type='pc' name='n'/>";
        (ver, in_query(&format!("{identity}{children}")))
    };
    (0..count).map(|_| one()).collect()
}

pub(crate) async fn max_bytes(linked: &mut Linked, change: &Change) {
    let bytes = |linked: &Linked| linked.status()["bytes"].as_u64().unwrap();
    linked.import_all(&large(0, 200));
    assert!(bytes(linked) > 1 << 20, "{}", bytes(linked));
    change.apply(linked);
    wait("so much is kept", || bytes(linked) <= 1 << 20);
    assert!(bytes(linked) > 1 << 19, "not all of it had to go");
}

/// Above the mark a new content is written when it is used by somebody else.
pub(crate) async fn high_water(linked: &mut Linked, change: &Change) {
    linked.teach(HOLDER, 1).await;
    linked.ask(HOLDER, 1).await;
    linked.content_for(HOLDER, 1).await;
    assert_eq!(linked.entries(), 2);
    change.apply(linked);
    // It counts from the next job of the tiers on.
    linked.entries();
    linked.teach(SECOND, 2).await;
    linked.ask(SECOND, 2).await;
    linked.content_for(SECOND, 2).await;
    assert_eq!(linked.entries(), 2);
    linked.ask(ASKER, 2).await;
    linked.content_for(ASKER, 2).await;
    assert_eq!(linked.entries(), 3);
}

pub(crate) async fn max_waste(linked: &mut Linked, change: &Change) {
    let compactions = "capsd_store_compactions_total ";
    linked.import_all(&large(0, 230));
    linked.machine.run("flush", &["--all".as_ref()]).expect(0);
    linked.import(&[0]);
    wait("the files are large", || {
        linked.metric("capsd_store_file_bytes ") > (9 << 20) as f64
    });
    assert_eq!(linked.metric(compactions), 0.0);
    change.apply(linked);
    wait("the files are written anew", || {
        linked.metric(compactions) == 1.0
    });
}
