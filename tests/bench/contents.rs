//! Contents of about 2 KB whose keys are known.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use capsd::caps::digest::key_of;
use capsd::caps::{
    Algorithm, CapsKey, DiscoInfo, Family, Identity, Policy, Verdict, VerifiedInfo,
    verify_canonical, xep0115,
};
use capsd::metrics::Metrics;
use capsd::store::{Learned, Store, StoreSettings, standard_keys};

/// The node URL that the contents are announced with.
pub(crate) const NODE_URL: &str = "https://client.example/caps";

/// The content with that number.
pub(crate) fn info(number: usize) -> DiscoInfo {
    let mut info = DiscoInfo {
        identities: vec![Identity {
            category: "client".to_owned(),
            type_: "pc".to_owned(),
            lang: String::new(),
            name: format!("Client {number}"),
        }],
        features: (0..36)
            .map(|n| {
                format!(
                    "http://jabber.org/protocol/feature-{n}#part-{}",
                    (number + n) % 97
                )
            })
            .collect(),
        forms: Vec::new(),
    };
    info.sort();
    info
}

/// The key of the content with that number.
pub(crate) fn key(number: usize) -> CapsKey {
    let string = xep0115::verification_string(&info(number), xep0115::IdentityOrder::Tuple);
    key_of(Family::Xep0115, Algorithm::Sha1, &string).unwrap()
}

/// The inside of the `<query/>` for the content with that number.
pub(crate) fn children(number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    info(number).write_children(&mut out);
    out
}

fn verified(number: usize) -> VerifiedInfo {
    match verify_canonical(&key(number), info(number), &Policy::default()) {
        Verdict::Verified(info) => info,
        other => panic!("{other:?}"),
    }
}

/// Makes a store of so many contents.
pub(crate) fn fill(path: &Path, count: usize) {
    let settings = StoreSettings {
        cache_bytes: 256 << 20,
        ..StoreSettings::new(path.to_owned())
    };
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut store = Store::open(settings, metrics, Instant::now(), SystemTime::now()).unwrap();
    for number in 0..count {
        let info = verified(number);
        let keys = standard_keys(&info, &Policy::default());
        store.put(Learned {
            info,
            keys,
            nodes: vec![NODE_URL.to_owned()],
        });
        if number % 1000 == 0 {
            store.tick(Instant::now());
        }
    }
    store.flush();
    assert_eq!(store.entries(), count as u64);
    store.close();
}
