//! The page, as a browser gets it; what it looks like is tried in a browser (tests/page).

use capsd::caps::Reason;
use capsd::config;
use capsd::metrics::{HttpAnswer, LookupResult, Route};
use capsd::resolver::tiers::Below;
use serde_json::{Value, json};

use crate::contents::{NODE_URL, key, query};
use crate::server::{Answer, Server};
use crate::tiers::{self, OWN_NODE_URL};

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

async fn look_up(server: &Server, asked: &str) -> Answer {
    server.get(&format!("/?node={}", encoded(asked))).await
}

async fn check(server: &Server, query: &str, node: &str) -> Answer {
    let form = format!("query={}&node={}", encoded(query), encoded(node));
    server
        .post("/", "application/x-www-form-urlencoded", &form)
        .await
}

#[tokio::test]
async fn it_runs_no_script_and_loads_nothing_from_elsewhere() {
    let server = tiers::start().await;
    let page = server.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(
        !policy.contains("unsafe") && !policy.contains("script"),
        "{policy}"
    );
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("cache-control"), "no-store");
    for forbidden in ["<script", "style=", " on", "http:", "https:", "//"] {
        let rest = page.body.replace("<!DOCTYPE html>", "");
        let found = rest.match_indices(forbidden).any(|(place, _)| {
            let tag = &rest[..place];
            // Within a tag: what people read may say "on".
            tag.rfind('<') > tag.rfind('>')
        });
        assert!(!found, "{forbidden}: {}", page.body);
    }
    for asset in ["/style.css", "/icon.svg"] {
        let answer = server.get(asset).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(!answer.body.contains("url(") && !answer.body.contains("@import"));
    }
    let answer = HttpAnswer::of(Route::Page, "GET", 200).unwrap();
    assert_eq!(server.metrics().http_requests.get(answer).get(), 3);
}

#[tokio::test]
async fn it_says_how_capsd_is() {
    let server = Server::start(config::Http::default()).await;
    let readiness = &server.sources.readiness;
    readiness.store_on_disk();
    readiness.link_up(0);
    readiness.link_down(1, "the secret is <wrong> & old");
    let page = server.get("/").await.body;
    assert!(page.contains("<title>capsd: Not ready</title>"), "{page}");
    assert!(page.contains("1 of 2 links are down."));
    assert!(page.contains("the secret is &lt;wrong&gt; &amp; old"));
    assert!(page.contains("Nobody has looked anything up yet."));
    assert!(page.contains("Nothing was refused since the start."));
    assert!(page.contains("Nothing is being resolved."));

    readiness.link_up(1);
    server.metrics().lookups.get(LookupResult::Hit).inc_by(1999);
    server.metrics().lookups.get(LookupResult::Miss).inc();
    server
        .metrics()
        .lookup_failures
        .get(Reason::RateLimited)
        .inc_by(7);
    let page = server.get("/").await.body;
    assert!(page.contains("<title>capsd: Ready</title>"), "{page}");
    let sentence =
        "1\u{202f}999 of 2\u{202f}000 look-ups were answered from the cache at once: 99.9\u{a0}%.";
    assert!(page.contains(sentence), "{page}");
    assert!(page.contains("<code>rate-limited</code>"), "{page}");

    readiness.store_in_memory("no space left on device");
    let page = server.get("/").await.body;
    assert!(page.contains("<title>capsd: Degraded</title>"), "{page}");
    assert!(page.contains("no space left on device"));
}

#[tokio::test]
async fn the_box_tells_what_is_known_of_a_hash() {
    let server = tiers::start().await;
    for asked in [
        key("K1").to_node("http://any.example"),
        key("N1").to_node(""),
        key("K1").to_string(),
        key("K1").digest_base64(),
        key("N1").digest_base64(),
        format!(
            "  {} ",
            key("K1")
                .digest_base64()
                .replace('/', "_")
                .replace('+', "-")
        ),
    ] {
        let page = look_up(&server, &asked).await;
        assert_eq!(page.status, 200);
        assert!(
            page.body.contains("<strong>client 1</strong>"),
            "{asked}: {}",
            page.body
        );
        assert!(page.body.contains("</span>learned</span>"));
        assert!(!page.body.contains("</span>hot</span>"));
    }
    let trusted = look_up(&server, &key("K2").to_string()).await.body;
    assert!(trusted.contains("</span>trusted</span>") && trusted.contains("in the file sha-1_"));
    let unknown = look_up(&server, &key("K5").to_string()).await.body;
    assert!(unknown.contains("</span>unknown</span>"), "{unknown}");
    let rubbish = look_up(&server, "<script>\"'").await.body;
    assert!(rubbish.contains("</span>malformed-node</span>"));
    assert!(
        !rubbish.contains("malformed-node:"),
        "the word is said once: {rubbish}"
    );
    assert!(
        rubbish.contains("value=\"&lt;script&gt;&quot;'\""),
        "{rubbish}"
    );
}

#[tokio::test]
async fn the_box_says_what_is_hot() {
    let server = tiers::start().await;
    let (told, outcome) = tokio::sync::oneshot::channel();
    let tell = move |_, outcome: Result<_, Reason>| told.send(outcome.is_ok()).unwrap();
    let now = std::time::Instant::now();
    let resolver = &server.sources.desk.resolver;
    resolver.resolve(now, key("K1"), "a@x/1", Box::new(tell));
    assert!(outcome.await.unwrap());
    let page = look_up(&server, &key("K1").to_string()).await.body;
    assert!(page.contains("</span>hot</span>"), "{page}");
    assert!(page.contains("</span>learned</span>"));
}

/// What the store has let go of is served as long as it is hot, and so it is shown.
#[tokio::test]
async fn what_is_hot_alone_is_found_and_said_to_be_in_memory_only() {
    let server = tiers::start().await;
    let resolver = &server.sources.desk.resolver;
    for name in ["K1", "N1"] {
        let (told, outcome) = tokio::sync::oneshot::channel();
        let tell = move |_, outcome: Result<_, Reason>| told.send(outcome.is_ok()).unwrap();
        resolver.resolve(
            std::time::Instant::now(),
            key(name),
            "a@x/1",
            Box::new(tell),
        );
        assert!(outcome.await.unwrap());
    }
    let let_go = |below: &mut Below| ["K1", "N1"].map(|name| below.store.remove_key(&key(name)));
    resolver.work(let_go).await.unwrap();
    for [name, other] in [["K1", "N1"], ["N1", "K1"]] {
        let answer = server.get(&tiers::path(&key(name))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("cache-status"), "capsd; hit; detail=hot");
        let found = answer.json();
        assert_eq!(found["tier"], "hot");
        assert_eq!(found["common"], Value::Null, "it is not known");
        assert_eq!(
            found["keys"],
            json!([name, other].map(|name| key(name).to_node("")))
        );
        assert_eq!(found["disco-info"]["features"], json!(["urn:x:1"]));
        let page = look_up(&server, &key(name).to_string()).await.body;
        assert_eq!(page.matches("</span>hot</span>").count(), 1, "{page}");
        assert!(page.contains("It is in memory only"), "{page}");
    }
    let forgotten = resolver.forget(key("K1")).await.unwrap();
    assert_eq!(forgotten.contents, 0);
    assert_eq!(server.get(&tiers::path(&key("N1"))).await.status, 404);
}

#[tokio::test]
async fn whatever_others_wrote_is_escaped() {
    let server = tiers::start().await;
    let pinned = look_up(&server, &key("K4").to_string()).await.body;
    assert!(
        pinned.contains("because &lt;b&gt;I&lt;/b&gt; say so"),
        "{pinned}"
    );
    let denied = look_up(&server, &key("K3").to_string()).await.body;
    assert!(
        denied.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{denied}"
    );
    assert!(!denied.contains("<script"));
    let hostile = "</textarea><script>alert(1)</script>";
    let page = check(&server, hostile, "\"><script>").await.body;
    assert!(
        !page.contains("<script") && !page.contains("</textarea><s"),
        "{page}"
    );
}

#[tokio::test]
async fn the_other_box_judges_what_is_pasted() {
    let server = tiers::start().await;
    let page = check(&server, &query("9"), &key("K9").digest_base64()).await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("</span>verified</span>"),
        "{}",
        page.body
    );
    assert!(page.body.contains(&key("N9").digest_base64()));
    assert!(
        page.body.contains("client 9"),
        "what was pasted is still there"
    );
    let page = check(&server, &query("9"), &key("N8").to_string())
        .await
        .body;
    assert!(page.contains("</span>rejected: mismatch</span>"), "{page}");
    let page = check(&server, &query("a1"), "").await.body;
    assert!(
        page.contains("</span>quarantined: ambiguous</span>"),
        "{page}"
    );
    let page = check(&server, "no xml", "").await.body;
    assert!(page.contains("it is not a disco#info"), "{page}");
    let page = check(&server, &"x".repeat(1 << 20), "").await;
    assert_eq!(page.status, 413);
    assert!(page.body.contains("</span>too-large</span>"));
    let unknown = look_up(&server, &key("K9").to_string()).await.body;
    assert!(unknown.contains("</span>unknown</span>"), "it was kept");
}

#[tokio::test]
async fn it_names_the_node_that_several_accounts_announced_and_no_other() {
    let server = tiers::start_with_common().await;
    let common = look_up(&server, &key("K5").to_string()).await.body;
    assert!(common.contains("Announced as") && common.contains(NODE_URL));
    assert!(!common.contains(OWN_NODE_URL));
    let rare = look_up(&server, &key("K1").to_string()).await.body;
    assert!(rare.contains("urn:x:1") && !rare.contains("Announced as"));
}
