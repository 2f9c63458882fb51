//! Contents, keys to sign with, and a directory for bundles.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use capsd::bundle::{Bundle, BundleWriter, Label, Signer, Signers};
use capsd::caps::{CapsKey, VerifiedInfo};
use minisign::KeyPair;

use crate::content;

/// The day on which every bundle of these tests was made.
pub(crate) fn day() -> SystemTime {
    // 20,000 days after the epoch is 2024-10-04.
    SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * 86_400)
}

/// A client that has a feature with that name, and its sha-1 key.
pub(crate) fn client(feature: &str) -> (VerifiedInfo, CapsKey) {
    let (key, info) = content::client("", vec![feature.to_owned()]);
    (info, key)
}

/// Somebody who can sign, and the text of their public key.
pub(crate) struct Maker {
    pub(crate) signer: Signer,
    pub(crate) public: String,
}

impl Maker {
    pub(crate) fn new() -> Maker {
        let pair = KeyPair::generate_unencrypted_keypair().unwrap();
        let secret = pair.sk.to_box(None).unwrap().into_string();
        Maker {
            signer: Signer::from_text(&secret, None).unwrap(),
            public: pair.pk.to_base64(),
        }
    }

    /// Those who believe this maker alone.
    pub(crate) fn believed(&self) -> Signers {
        Signers::new(std::slice::from_ref(&self.public), false).unwrap()
    }
}

/// Those who believe anybody.
pub(crate) fn anybody() -> Signers {
    Signers::new(&[], true).unwrap()
}

/// A bundle of the clients with these features.
pub(crate) fn write(path: &Path, features: &[String], signer: Option<&Signer>) {
    let mut writer = BundleWriter::create(path, day(), "a test").unwrap();
    for feature in features {
        let (info, key) = client(feature);
        let node = format!("http://example.org/{feature}");
        assert!(writer.add(&info, &[key], &[node], &label(feature)).unwrap());
    }
    assert_eq!(writer.finish(signer).unwrap(), features.len() as u64);
}

pub(crate) fn label(feature: &str) -> Label {
    Label {
        client: format!("Client {feature}"),
        version: "1.0".into(),
        date: "2024-10-04".into(),
    }
}

pub(crate) fn features(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("urn:feature:{n}")).collect()
}

/// A directory with one bundle that is not signed.
pub(crate) fn bundle_of(count: usize) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clients.capsd");
    write(&path, &features(count), None);
    (directory, path)
}

pub(crate) fn open(path: &Path) -> Bundle {
    Bundle::open(path, &anybody()).unwrap()
}
