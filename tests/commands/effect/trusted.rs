//! What the operator trusts: it is read when it is named, and in force a moment later.

use std::fs;
use std::path::Path;

use minisign::KeyPair;

use crate::contents::{directory, ver};
use crate::effects::Change;
use crate::linked::{Linked, wait};
use crate::machine::Machine;

pub(crate) async fn directories(linked: &mut Linked, change: &Change) {
    directory(&linked.machine.path("files"), 1..2);
    assert!(!linked.serves(1).await);
    change.apply(linked);
    until(linked, true).await;
}

/// Waits until content 1 is served, or is not any more.
async fn until(linked: &mut Linked, served: bool) {
    for _ in 0..1000 {
        if linked.serves(1).await == served {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("still: {}", linked.log());
}

/// A bundle of content 1, and the public key of whoever signed it.
fn signed_bundle(linked: &Linked) -> String {
    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let key = linked.machine.path("minisign.key");
    fs::write(&key, pair.sk.to_box(None).unwrap().into_string()).unwrap();
    let other = Machine::new();
    let files = directory(&other.path("files"), 1..2);
    other.run("import", &[&files]).expect(0);
    let bundle = linked.machine.path("signed.capsd");
    other
        .run("export", &[&bundle, Path::new("--sign"), &key])
        .expect(0);
    pair.pk.to_base64()
}

pub(crate) async fn bundles(linked: &mut Linked, change: &Change) {
    signed_bundle(linked);
    not_served_by_a_reload(linked, change).await;
    change.apply(linked);
    until(linked, true).await;
}

pub(crate) async fn public_keys(linked: &mut Linked, change: &Change) {
    let public = signed_bundle(linked);
    not_served_by_a_reload(linked, change).await;
    change.check(&linked.reload(&[(change.key, &format!("['{public}']"))]));
    until(linked, true).await;
}

/// The bundle is there, and reading it again does not suffice.
async fn not_served_by_a_reload(linked: &mut Linked, change: &Change) {
    let refusals = |linked: &Linked| linked.log().matches("signed.capsd").count();
    let before = refusals(linked);
    linked.reload(&[]);
    if change.key != "trusted.bundles" {
        wait("it is said", || refusals(linked) > before);
    }
    assert!(!linked.serves(1).await);
}

pub(crate) async fn overrides(linked: &mut Linked, change: &Change) {
    linked.import(&[1]);
    linked.assert_served(1).await;
    let text = format!("[[deny]]\nkey = '0115:sha-1:{}'\nreason = 'why'\n", ver(1));
    fs::write(linked.machine.path("deny.toml"), text).unwrap();
    change.apply(linked);
    until(linked, false).await;
}
