//! What is done with an input, and what must hold then.

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use capsd::bundle::{Bundle, Signers};
use capsd::caps::digest::key_of;
use capsd::caps::xep0115::{self, IdentityOrder};
use capsd::caps::xep0390::{self, Inheritance};
use capsd::caps::{Algorithm, Answer, CapsKey, DiscoInfo, Family, Policy, Verdict, verify};
use capsd::component::outbox::Outbox;
use capsd::component::session::{Credentials, Handler, serve};
use capsd::config::Config;
use capsd::http::{Hosts, answer, router};
use capsd::metrics::Metrics;
use capsd::service::announced::announced;
use capsd::stanza::Inbound;
use capsd::stanza::answer::{AnswerLimits, parse_query, parse_query_unwrapped};
use capsd::stanza::read::{
    Extension, Iq, MAX_CONTRIBUTED, MAX_INFOS, MAX_INSTANCE, MAX_KEPT, MAX_KEYS, MAX_REPORTS,
    Operation, Payload, Report,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::served;
use crate::setup::{settings, tiers_in};

/// A document is read; what verifies under its own hash is served so that it verifies again and is the same.
pub(crate) fn disco_info(input: &[u8]) {
    for answer in [
        parse_query(input, AnswerLimits::default()),
        parse_query_unwrapped(input, AnswerLimits::default()),
    ]
    .into_iter()
    .flatten()
    {
        judge(&answer);
    }
}

fn judge(answer: &Answer) {
    let (info, _) = xep0115::canonical(answer);
    let string = xep0115::verification_string(&info, IdentityOrder::Joined);
    let mut keys = vec![key_of(Family::Xep0115, Algorithm::Sha1, &string).unwrap()];
    for inheritance in [Inheritance::Ignored, Inheritance::Applied] {
        let input = xep0390::hash_input_as_sent(answer, inheritance);
        keys.push(key_of(Family::Xep0390, Algorithm::Sha256, &input).unwrap());
    }
    for key in keys {
        for policy in [Policy::default(), Policy::trusted()] {
            if let Verdict::Verified(verified) = verify(&key, answer, &policy) {
                check_served(&key, verified.info(), &policy);
            }
        }
    }
}

fn check_served(key: &CapsKey, info: &DiscoInfo, policy: &Policy) {
    assert_eq!(DiscoInfo::decode(&info.encode()).as_ref(), Ok(info));
    let mut query = b"<query xmlns='http://jabber.org/protocol/disco#info' xml:lang=''>".to_vec();
    info.write_children(&mut query);
    query.extend_from_slice(b"</query>");
    let limits = AnswerLimits {
        max_bytes: 1 << 20,
        max_features: 1 << 20,
    };
    let policy = Policy {
        max_bytes: 1 << 20,
        ..policy.clone()
    };
    let answer = parse_query(&query, limits).unwrap();
    let Verdict::Verified(again) = verify(key, &answer, &policy) else {
        panic!("{info:?} is served so that it does not verify");
    };
    assert_eq!(again.info(), info);
}

/// Looks at everything that a stanza holds.
struct Reader;

impl Handler for Reader {
    fn opened(&self, _: Instant) {}

    fn stanza(&self, _: Instant, mut stanza: Inbound) {
        while let Inbound::Iq(Iq {
            payload: Payload::Forwarded(inner),
            ..
        }) = stanza
        {
            stanza = Inbound::Iq(*inner);
        }
        match stanza {
            Inbound::Presence(presence) => drop(announced(&presence, true)),
            Inbound::Iq(Iq {
                payload: Payload::Answer(answer),
                ..
            }) => judge(&answer),
            Inbound::Iq(Iq {
                payload: Payload::Extension(request),
                ..
            }) => look_at(*request),
            _ => {}
        }
    }

    fn silent(&self) {}
}

/// A request holds no more than it may; one with a fault holds nothing.
fn look_at(request: Extension) {
    let kept = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= MAX_KEPT);
    let items = match request.operation {
        Operation::Lookup(lookup) => {
            assert!(lookup.keys.len() <= MAX_KEYS);
            for key in &lookup.keys {
                assert!(key.node.len() <= MAX_KEPT && kept(&key.jid));
                let _ = CapsKey::from_node(&key.node);
            }
            lookup.keys.len()
        }
        Operation::Contribute(infos) => {
            assert!(infos.len() <= MAX_INFOS);
            let bytes: usize = infos.iter().map(|info| info.answer.size).sum();
            assert!(bytes <= MAX_CONTRIBUTED);
            for info in &infos {
                assert!(kept(&info.node) && kept(&info.jid));
                judge(&info.answer);
            }
            infos.len()
        }
        Operation::Feed(feed) => {
            assert!(feed.reports.len() <= MAX_REPORTS);
            for name in [feed.instance, feed.feeder].into_iter().flatten() {
                assert!((1..=MAX_INSTANCE).contains(&name.len()));
            }
            for report in &feed.reports {
                if let Report::Holder { presence, .. } = report {
                    assert!(presence.from.is_some() && kept(&presence.from));
                    drop(announced(presence, true));
                }
            }
            feed.reports.len()
        }
    };
    assert!(request.fault.is_none() || items == 0);
}

/// A runtime whose time is not that of the clock.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}

/// A server sends the input after the handshake; the session ends.
pub(crate) fn stream(input: &[u8]) {
    let header = b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
        xmlns:stream='http://etherx.jabber.org/streams' from='caps.example.org' id='1'><handshake/>";
    let bytes = [header, input].concat();
    let credentials = Credentials {
        jid: "caps.example.org".to_owned(),
        secret: "secret".to_owned(),
    };
    runtime().block_on(async {
        let outbox = Arc::new(Outbox::new(1 << 20));
        let now = || tokio::time::Instant::now().into_std();
        let close = CancellationToken::new();
        let session = serve(
            &bytes[..],
            tokio::io::sink(),
            &credentials,
            &outbox,
            &Reader,
            now,
            &close,
        );
        let ended = tokio::time::timeout(Duration::from_secs(24 * 3600), session).await;
        assert!(ended.is_ok(), "the session does not end");
    });
}

/// Somebody sends the input as a request of either kind.
pub(crate) fn requests(input: &[u8]) {
    for kind in ["get", "set"] {
        let begin = format!("<iq type='{kind}' from='example.org' to='caps.example.org' id='1'>");
        stream(&[begin.as_bytes(), input, b"</iq>"].concat());
    }
}

/// A node and a stored key have one spelling each.
pub(crate) fn nodes(input: &[u8]) {
    if let Some(key) = CapsKey::from_bytes(input) {
        assert_eq!(key.to_bytes(), input);
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(key) = CapsKey::from_node(text) {
        assert_eq!(
            CapsKey::from_node(&key.to_node("http://client.example")),
            Ok(key)
        );
        assert_eq!(CapsKey::from_bytes(&key.to_bytes()), Some(key));
        assert!(text.ends_with(&key.digest_base64()));
    }
    let (algorithm, digest) = text.split_once('.').unwrap_or((text, text));
    for family in Family::ALL {
        if let Ok(key) = CapsKey::from_base64(family, algorithm, digest) {
            assert_eq!(key.digest_base64(), digest);
        }
    }
}

/// A file with the input.
fn file(input: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(input).unwrap();
    file
}

/// A bundle is opened, walked and searched.
pub(crate) fn bundle(input: &[u8]) {
    let file = file(input);
    let Ok(bundle) = Bundle::open(file.path(), &Signers::new(&[], true).unwrap()) else {
        return;
    };
    // However an index is tangled, the walk through it ends.
    let walked = bundle.entries().take(100_000).count();
    assert!(walked < 100_000);
    for key in [[0; 20], [255; 20]] {
        let key = CapsKey::new(Family::Xep0115, Algorithm::Sha1, &key).unwrap();
        let _ = bundle.look_up(&key);
    }
    for entry in bundle.entries().flatten().take(10) {
        for key in &entry.keys {
            let _ = bundle.look_up(key);
            if let Verdict::Verified(verified) = entry.verified(key, &Policy::trusted()) {
                check_served(key, verified.info(), &Policy::trusted());
            }
        }
    }
}

/// A value with the right checksum, so that what is behind it is read.
pub(crate) fn stored_value(input: &[u8]) {
    let Some((id, value)) = input.split_at_checked(16) else {
        return;
    };
    let mut value = value.to_vec();
    let _ = capsd::store::content_of_value(id, &value);
    if value.len() < 5 {
        return;
    }
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(id);
    checksum.update(&value[..1]);
    checksum.update(&value[5..]);
    value[1..5].copy_from_slice(&checksum.finalize().to_le_bytes());
    if let Some(info) = capsd::store::content_of_value(id, &value) {
        assert_eq!(DiscoInfo::decode(&info.encode()), Ok(info));
    }
}

/// A configuration is read; what is in force can be written and read again.
pub(crate) fn configuration(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let environment = |name: &str| (name == "SECRET").then(|| "secret".into());
    match Config::from_text(&text, Path::new("capsd.toml"), &environment) {
        Ok(config) => assert!(!config.to_toml().unwrap().is_empty()),
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
}

/// A file of overrides is read.
pub(crate) fn overrides(input: &[u8]) {
    let file = file(input);
    let read = capsd::config::overrides::read(file.path(), |_, _| Ok::<(), String>(()));
    if let Err(faults) = read {
        assert!(!faults.to_string().is_empty());
    }
}

/// What is served; it is the same for every input.
static ROUTES: LazyLock<axum::Router> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let trusted = Some(served::nothing_trusted());
    let below = tiers_in(directory.path(), trusted, &metrics, Instant::now());
    // The name that the seeds have.
    let hosts = Hosts::Local(Arc::new(["x".to_owned()]));
    router(served::sources(settings(), below, metrics), hosts)
});

/// One connection: whatever is asked, the answer is HTTP or nothing.
pub(crate) fn http(input: &[u8]) {
    runtime().block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let serving = tokio::spawn(answer(server, ROUTES.clone(), Duration::from_secs(10)));
        client.write_all(input).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answered = Vec::new();
        client.read_to_end(&mut answered).await.unwrap();
        serving.await.unwrap();
        assert!(answered.is_empty() || answered.starts_with(b"HTTP/1."));
    });
}
