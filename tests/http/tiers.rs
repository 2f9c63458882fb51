//! A server with something in every tier: `1` is learned, `2` trusted, `K3` denied, `4` pinned.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use capsd::bundle::Signers;
use capsd::caps::CapsKey;
use capsd::config;
use capsd::metrics::Metrics;
use capsd::resolver::tiers::Below;
use capsd::store::Learned;
use capsd::trusted::{Overrides, Sources, Trusted};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::contents::{NODE_URL, key, query, verified};
use crate::server::Server;
use crate::setup::tiers_in;

/// A reason and a name that are HTML, as a hostile world would have them.
pub(crate) const PIN_REASON: &str = "because <b>I</b> say so";
pub(crate) const DENIAL: &str = "<script>alert(1)</script>";

/// A node URL that `5` was announced with by one account alone.
pub(crate) const OWN_NODE_URL: &str = "https://marias-own-client.example";

/// Starts it.
pub(crate) async fn start() -> Server {
    Server::over(config::Http::default(), below).await
}

/// The same, with `5`, which several accounts announced, one of them with a node URL of its own.
pub(crate) async fn start_with_common() -> Server {
    let fifth = |node: &str| Learned {
        info: verified("5"),
        keys: vec![key("K5")],
        nodes: vec![node.to_owned()],
    };
    Server::over(config::Http::default(), |directory, metrics| {
        let mut below = below(directory, metrics);
        below.store.put_seen(fifth(NODE_URL));
        below.store.put(fifth(OWN_NODE_URL));
        below
    })
    .await
}

/// The tiers.
pub(crate) fn below(directory: &Path, metrics: &Arc<Metrics>) -> Below {
    let trusted = directory.join("trusted");
    std::fs::create_dir(&trusted).unwrap();
    let node = key("K2").to_node(NODE_URL);
    let name = utf8_percent_encode(&node, NON_ALPHANUMERIC);
    std::fs::write(trusted.join(format!("sha-1_{name}.xml")), query("2")).unwrap();
    let trusted = Sources {
        directories: vec![trusted],
        bundles: Vec::new(),
        signers: Signers::new(&[], true).unwrap(),
    };
    let trusted = Trusted::open(&trusted, metrics);
    let mut below = tiers_in(directory, Some(trusted), metrics, Instant::now());
    below.overrides = Arc::new(overrides(directory));
    below.store.put(Learned {
        info: verified("1"),
        keys: vec![key("K1"), key("N1")],
        nodes: vec![NODE_URL.to_owned()],
    });
    below
}

fn overrides(directory: &Path) -> Overrides {
    let pinned = directory.join("pinned.xml");
    std::fs::write(&pinned, query("4")).unwrap();
    let rules = format!(
        "[[deny]]\nkey = '{}'\nreason = '{DENIAL}'\n[[pin]]\nkey = '{}'\nfile = {pinned:?}\nreason = '{PIN_REASON}'\n",
        key("K3"),
        key("K4"),
    );
    let file = directory.join("overrides.toml");
    std::fs::write(&file, rules).unwrap();
    Overrides::load(&file).unwrap()
}

/// The path of a key.
pub(crate) fn path(key: &CapsKey) -> String {
    format!(
        "/api/v1/caps/{}/{}/{}",
        key.family().as_str(),
        key.algorithm().name(),
        URL_SAFE_NO_PAD.encode(key.digest())
    )
}
