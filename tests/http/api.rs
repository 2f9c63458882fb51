//! `/api/v1`, as a program uses it.

use std::time::Duration;

use capsd::caps::{Answer, Policy, Reason, Verdict, verify};
use capsd::config;
use capsd::holders::LinkId;
use capsd::metrics::{HttpAnswer, LookupResult, Route};
use capsd::stanza::answer::{AnswerLimits, parse_query};
use serde_json::{Value, json};

use crate::contents::{NODE_URL, announcement, key, query};
use crate::server::Server;
use crate::setup::settings;
use crate::tiers::{self, DENIAL, OWN_NODE_URL, PIN_REASON, path};

/// The simple example of XEP-0115 section 5.2, with the hash that the specification gives.
const EXODUS: &str = "<query xmlns='http://jabber.org/protocol/disco#info'>\
    <identity category='client' name='Exodus 0.9.1' type='pc'/>\
    <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>\
    <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/></query>";
const EXODUS_VER: &str = "QgayPKawpkPSDYmwT/WM94uAlu0=";

fn parsed(xml: &str) -> Answer {
    parse_query(xml.as_bytes(), AnswerLimits::default()).unwrap()
}

#[tokio::test]
async fn a_learned_content_is_given_as_json_with_all_that_is_known_of_it() {
    let server = tiers::start().await;
    let answer = server.get(&path(&key("K1"))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "public, max-age=60");
    assert_eq!(answer.header("vary"), "accept");
    assert_eq!(answer.header("cache-status"), "capsd; hit; detail=learned");
    assert_eq!(
        answer.json(),
        json!({
            "family": "0115",
            "algorithm": "sha-1",
            "hash": key("K1").digest_base64(),
            "tier": "learned",
            "source": null,
            "common": false,
            "keys": [key("K1").to_node(""), key("N1").to_node("")],
            "nodes": [],
            "disco-info": {
                "identities": [{ "category": "client", "type": "pc", "lang": "", "name": "client 1" }],
                "features": ["urn:x:1"],
                "forms": [],
            },
        })
    );
    assert_eq!(server.get(&path(&key("N1"))).await.json()["family"], "0390");
}

#[tokio::test]
async fn a_node_that_one_account_made_up_is_nobodys_business() {
    let server = tiers::start_with_common().await;
    let alone = server.get(&path(&key("K5"))).await.json();
    assert_eq!(
        (&alone["common"], &alone["nodes"]),
        (&json!(true), &json!([NODE_URL]))
    );
    let keys = json!({ "keys": [key("K1").to_node(NODE_URL), key("K5").to_node(OWN_NODE_URL)] });
    let many = server
        .post("/api/v1/lookup", "application/json", &keys.to_string())
        .await
        .json();
    assert_eq!(many["results"][0]["content"]["nodes"], json!([]));
    assert_eq!(many["results"][1]["content"]["nodes"], json!([NODE_URL]));
}

#[tokio::test]
async fn what_the_operator_installed_says_where_it_came_from() {
    let server = tiers::start().await;
    let trusted = server.get(&path(&key("K2"))).await;
    assert_eq!(trusted.header("cache-status"), "capsd; hit; detail=trusted");
    let trusted = trusted.json();
    assert_eq!(trusted["tier"], "trusted");
    assert_eq!(trusted["common"], Value::Null);
    assert!(trusted["source"].as_str().unwrap().starts_with("sha-1_"));
    assert!(!trusted["source"].as_str().unwrap().contains('/'));
    let pinned = server.get(&path(&key("K4"))).await.json();
    assert_eq!(pinned["tier"], "pinned");
    assert_eq!(pinned["source"], PIN_REASON);
}

#[tokio::test]
async fn as_xml_it_is_what_a_client_would_have_sent() {
    let server = tiers::start().await;
    let path = path(&key("K1"));
    let by_query = server.get(&format!("{path}?format=xml")).await;
    assert_eq!(by_query.header("content-type"), "application/xml");
    let verdict = verify(&key("K1"), &parsed(&by_query.body), &Policy::default());
    assert!(matches!(verdict, Verdict::Verified(_)), "{verdict:?}");
    for (accept, content_type) in [
        ("application/xml", "application/xml"),
        ("text/xml;q=0.5, application/json;q=0.4", "application/xml"),
        (
            "application/*;q=0.9, application/xml;q=0.1",
            "application/json",
        ),
        (
            "text/html, application/xml;q=0.9, */*;q=0.8",
            "application/xml",
        ),
        ("*/*", "application/json"),
        ("application/json, application/xml", "application/json"),
        ("image/png", "application/json"),
        ("application/xml;q=rubbish", "application/json"),
    ] {
        let request = format!("GET {path}");
        let answer = server.send(&request, &[("accept", accept)], "").await;
        assert_eq!(answer.header("content-type"), content_type, "{accept}");
        assert_eq!(answer.status, 200);
    }
    let answer = server.get(&format!("{path}?format=yaml")).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let request = format!("GET {path}?format=json");
    let answer = server.send(&request, &[("accept", "text/xml")], "").await;
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn whoever_has_it_already_is_told_so() {
    let server = tiers::start().await;
    let path = path(&key("K1"));
    let first = server.get(&path).await;
    let etag = first.header("etag");
    assert!(
        etag.starts_with('"') && etag.ends_with('"'),
        "a strong one: {etag}"
    );
    let other = server.get(&format!("{path}?format=xml")).await;
    assert_ne!(other.header("etag"), etag, "other bytes have another tag");
    let conditional = async |tag: &str| {
        let request = format!("GET {path}");
        server.send(&request, &[("if-none-match", tag)], "").await
    };
    for tag in [etag, "*", &format!("\"x\", W/{etag}")] {
        let answer = conditional(tag).await;
        assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{tag}");
        assert_eq!(answer.header("etag"), etag);
        assert_eq!(answer.header("cache-control"), "public, max-age=60");
    }
    assert_eq!(conditional("\"x\"").await.status, 200);
    assert_eq!(conditional(other.header("etag")).await.status, 200);
    let head = server.send(&format!("HEAD {path}"), &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("etag"), etag);
    assert_eq!(server.get(&path).await.body, first.body, "and it stays");
}

/// Status, type and further headers of every reason that a look-up can have.
#[tokio::test]
async fn problems_name_their_reason() {
    let server = tiers::start().await;
    let sha1 = |hash: &str| format!("/api/v1/caps/0115/sha-1/{hash}");
    for (path, status, reason) in [
        (path(&key("K5")), 404, "unknown"),
        (path(&key("K3")), 410, "denied"),
        (sha1("QgayPKawpkPSDYmwT-WM94uAlu"), 400, "malformed-node"),
        (sha1("QgayPKawpkPSDYmwT/WM94uAlu0"), 404, ""),
        (sha1("QgayPKawpkPSDYmwT%2FWM94uAlu0"), 400, "malformed-node"),
        (sha1("%ff"), 400, "malformed-node"),
        (sha1("Zm9v"), 400, "malformed-node"),
        (
            "/api/v1/caps/0115/sha3-256/Zm9v".to_owned(),
            404,
            "unsupported-algorithm",
        ),
        (
            "/api/v1/caps/0115/crc32/Zm9v".to_owned(),
            404,
            "unsupported-algorithm",
        ),
        (
            "/api/v1/caps/0030/sha-1/Zm9v".to_owned(),
            400,
            "malformed-node",
        ),
    ] {
        let answer = server.get(&path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("cache-control"), "no-store");
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        let title = problem["title"].as_str().unwrap();
        assert!(!title.is_empty() && !problem["detail"].as_str().unwrap().is_empty());
        if reason.is_empty() {
            assert_eq!(problem["type"], "about:blank");
        } else {
            assert_eq!(problem["type"], format!("urn:capsd:0#{reason}"));
            assert_eq!(problem["reason"], reason);
            // The word has its own place.
            assert!(!problem["detail"].as_str().unwrap().starts_with(reason));
        }
    }
    let short = server.get(&sha1("Zm9v")).await.json();
    assert_eq!(short["detail"], "a sha-1 hash has 20 bytes, and this one 3");
    let denied = server.get(&path(&key("K3"))).await.json();
    assert_eq!(denied["detail"], DENIAL);
}

#[tokio::test]
async fn before_the_trusted_tier_is_read_and_at_the_end_the_answer_is_later() {
    let server = Server::over(config::Http::default(), |directory, metrics| {
        let now = std::time::Instant::now();
        crate::setup::tiers_in(directory, None, metrics, now)
    })
    .await;
    let expect_later = async || {
        let answer = server.get(&path(&key("K1"))).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.json()["type"], "urn:capsd:0#overloaded");
    };
    expect_later().await;
    server.sources.desk.resolver.close().await;
    expect_later().await;
    for path in ["/api/v1/status", "/"] {
        assert_eq!(server.get(path).await.status, 503, "{path}");
    }
}

#[tokio::test]
async fn nobody_is_asked_for_those_who_ask_over_http() {
    let on_demand = capsd::resolver::flights::Settings {
        on_announce: false,
        ..settings()
    };
    let server = Server::with(config::Http::default(), on_demand, tiers::below).await;
    let resolver = &server.sources.desk.resolver;
    resolver.connect(std::sync::Arc::new(Silent));
    resolver.link_up(LinkId(0));
    let now = std::time::Instant::now();
    resolver.announce(now, LinkId(0), "anna@x/1", &announcement("K5"), true);
    assert_eq!(server.get(&path(&key("K5"))).await.status, 404);
    let body = json!({ "keys": [key("K5").to_string()] }).to_string();
    server
        .post("/api/v1/lookup", "application/json", &body)
        .await;
    server
        .get(&format!("/?node=%23{}", key("K5").digest_base64()))
        .await;
    assert_eq!(server.metrics().upstream_queries_sent.get(), 0);
    // Whoever asks over XMPP makes the difference.
    resolver.resolve(now, key("K5"), "ben@x/1", Box::new(|_, _| {}));
    until_flights(&server, 1).await;
    assert_eq!(server.metrics().upstream_queries_sent.get(), 1);
}

#[tokio::test]
async fn look_ups_are_counted_apart_from_those_over_xmpp() {
    let server = tiers::start().await;
    for name in ["K1", "N1", "K2", "K4", "K5", "K3"] {
        server.get(&path(&key(name))).await;
    }
    server.get("/api/v1/caps/0115/sha-1/x").await;
    for (result, count) in [
        (LookupResult::HttpHit, 2),
        (LookupResult::HttpOverride, 2),
        (LookupResult::HttpNegative, 1),
        (LookupResult::HttpRejected, 2),
        (LookupResult::Hit, 0),
        (LookupResult::Negative, 0),
        (LookupResult::Rejected, 0),
    ] {
        let counted = server.metrics().lookups.get(result).get();
        assert_eq!(counted, count, "{result:?}");
    }
    let answer = HttpAnswer::of(Route::Api, "GET", 404).unwrap();
    assert_eq!(server.metrics().http_requests.get(answer).get(), 1);
}

#[tokio::test]
async fn many_are_looked_up_at_once() {
    let server = tiers::start().await;
    let asked = [
        key("K1").to_node("http://any.example"),
        key("N1").to_node(""),
        key("K2").to_string(),
        key("K3").to_string(),
        key("K5").to_string(),
        "rubbish".to_owned(),
    ];
    let body = json!({ "keys": asked }).to_string();
    let answer = server
        .post("/api/v1/lookup", "application/json; charset=utf-8", &body)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["left"], 0);
    let results = answer["results"].as_array().unwrap();
    let words = results.iter().zip(&asked).map(|(result, asked)| {
        assert_eq!(result["asked"], **asked);
        match result["found"].as_bool().unwrap() {
            true => result["content"]["tier"].as_str().unwrap(),
            false => result["reason"].as_str().unwrap(),
        }
    });
    let expected = [
        "learned",
        "learned",
        "trusted",
        "denied",
        "unknown",
        "malformed-node",
    ];
    assert_eq!(words.collect::<Vec<_>>(), expected);
    let single = server.get(&path(&key("K1"))).await.json();
    assert_eq!(results[0]["content"], single, "the same as of one");
}

#[tokio::test]
async fn a_batch_is_bounded() {
    let server = tiers::start().await;
    let post = async |body: &str| {
        server
            .post("/api/v1/lookup", "application/json", body)
            .await
    };
    let many = |count: usize| json!({ "keys": vec![key("K5").to_string(); count] }).to_string();
    assert_eq!(post(&many(256)).await.status, 200);
    let answer = post(&many(257)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["type"], "urn:capsd:0#too-large");
    let answer = post(&format!("{{\"keys\":[\"{}\"]}}", "x".repeat(1 << 20))).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    for bad in [
        "",
        "{}",
        "[]",
        "[[]]",
        "{\"keys\":7}",
        "{\"keys\":[7]}",
        "{\"keys\":[],\"more\":1}",
        "[[[[",
    ] {
        let answer = post(bad).await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
        assert_eq!(answer.json()["type"], "about:blank");
    }
    let answer = server
        .post("/api/v1/lookup", "text/plain", "{\"keys\":[]}")
        .await;
    assert_eq!(answer.status, 415);
}

#[tokio::test]
async fn a_disco_info_is_judged_and_not_kept() {
    let server = tiers::start().await;
    let body = json!({ "query": EXODUS, "node": format!("http://exodus#{EXODUS_VER}") });
    let answer = server
        .post("/api/v1/verify", "application/json", &body.to_string())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["expected"]["verdict"], "verified");
    let hashes = answer["hashes"].as_array().unwrap();
    let sha1 = hashes
        .iter()
        .find(|hash| hash["algorithm"] == "sha-1")
        .unwrap();
    assert_eq!(sha1["hash"], EXODUS_VER);
    assert_eq!(
        (&sha1["verdict"], &sha1["reason"]),
        (&json!("verified"), &Value::Null)
    );
    let md5 = hashes
        .iter()
        .find(|hash| hash["algorithm"] == "md5")
        .unwrap();
    assert_eq!(md5["reason"], "unsupported-algorithm");

    let xml = async |node: &str, query: &str| {
        let path = format!("/api/v1/verify{node}");
        server.post(&path, "application/xml", query).await
    };
    let node = format!("?node=%23{}", EXODUS_VER.replace('/', "%2F"));
    assert_eq!(
        xml(&node, EXODUS).await.json()["expected"]["verdict"],
        "verified"
    );
    let other = EXODUS.replace("0.9.1", "0.9.2");
    let expected = &xml(&node, &other).await.json()["expected"];
    assert_eq!(
        (&expected["verdict"], &expected["reason"]),
        (&json!("rejected"), &json!("mismatch"))
    );
    let twice = format!("/api/v1/verify{node}");
    let twice = server
        .post(&twice, "application/json", &body.to_string())
        .await;
    assert_eq!(twice.status, 400, "{twice:?}");
    assert!(twice.body.contains("leave one of them out"), "{twice:?}");
    let ambiguous = xml("", &query("a1")).await.json();
    assert_eq!(ambiguous["expected"], Value::Null);
    assert_eq!(ambiguous["hashes"][1]["reason"], "ambiguous");

    let exodus = capsd::caps::CapsKey::from_node(&format!("#{EXODUS_VER}")).unwrap();
    assert_eq!(server.get(&path(&exodus)).await.status, 404, "it was kept");
}

#[tokio::test]
async fn what_is_no_disco_info_is_refused_in_words() {
    let server = tiers::start().await;
    let large = format!(
        "<query xmlns='http://jabber.org/protocol/disco#info'><feature var='{}'/></query>",
        "x".repeat(17_000)
    );
    for (media_type, body, status) in [
        ("application/xml", "", 400),
        ("application/xml", "<iq/>", 400),
        (
            "application/xml",
            "<!DOCTYPE x [<!ENTITY a 'b'>]><query/>",
            400,
        ),
        ("application/xml", &large, 413),
        ("text/xml", &"x".repeat(1 << 20), 413),
        ("application/json", "{\"query\":7}", 400),
        ("application/json", "{}", 400),
        (
            "application/json",
            "[\"<query xmlns='http://jabber.org/protocol/disco#info'/>\", null]",
            400,
        ),
        (
            "application/json",
            "{\"query\":\"<query/>\",\"node\":\"x\"}",
            400,
        ),
        ("text/plain", EXODUS, 415),
        ("", EXODUS, 415),
    ] {
        let answer = server.post("/api/v1/verify", media_type, body).await;
        assert_eq!(answer.status, status, "{media_type} {body:.80}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn status_and_flights_are_told_without_addresses_and_rare_hashes() {
    let server = tiers::start().await;
    let readiness = &server.sources.readiness;
    readiness.store_on_disk();
    readiness.link_up(0);
    let resolver = &server.sources.desk.resolver;
    resolver.link_up(LinkId(0));
    resolver.connect(std::sync::Arc::new(Silent));
    let now = std::time::Instant::now();
    for (address, name) in [
        ("anna@x/1", "K5"),
        ("ben@x/1", "K6"),
        ("carla@x/1", "K6"),
        ("dora@x/1", "K6"),
    ] {
        resolver.announce(now, LinkId(0), address, &announcement(name), true);
    }
    server
        .metrics()
        .lookup_failures
        .get(Reason::Unknown)
        .inc_by(2);
    server.metrics().lookups.get(LookupResult::Hit).inc_by(9);
    let flights = until_flights(&server, 2).await;
    assert_eq!(flights["in-progress"], 2);
    let mut keys: Vec<_> = flights["flights"].as_array().unwrap().iter().collect();
    keys.sort_by_key(|flight| flight["rare-keys"].as_u64());
    assert_eq!(keys[0]["keys"], json!([key("K6").to_node("")]));
    assert_eq!(
        (&keys[1]["keys"], &keys[1]["rare-keys"]),
        (&json!([]), &json!(1))
    );

    let answer = server.get("/api/v1/status").await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let status = answer.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["entries"], 1);
    assert_eq!(status["ready"], false);
    let links = status["links"].as_array().unwrap().iter();
    let links: Vec<_> = links.map(|link| (&link["name"], &link["down"])).collect();
    let [one, two] = ["caps.one.example", "caps.two.example"].map(|name| json!(name));
    assert_eq!(
        links,
        [(&one, &json!(null)), (&two, &json!("not connected yet"))]
    );
    assert_eq!(status["lookups"]["hit"], 9);
    let refusal =
        json!({ "refused": "look-up", "reason": "unknown", "count": 2, "seconds-ago": 0 });
    assert_eq!(status["refusals"], json!([refusal]));
    let page = server.get("/").await.body;
    for text in [flights.to_string(), answer.body, page] {
        for name in ["anna", "ben@", "@x", &key("K5").digest_base64()] {
            assert!(!text.contains(name), "{name}: {text}");
        }
    }
}

/// Whoever is asked says nothing.
struct Silent;

impl capsd::resolver::Upstream for Silent {
    fn ask(&self, _: LinkId, _: capsd::resolver::flights::QuestionId, _: &str, _: &str) -> bool {
        true
    }

    fn flush(&self) {}
}

/// What is told once the tiers have been looked in for all.
async fn until_flights(server: &Server, count: usize) -> Value {
    for _ in 0..500 {
        let flights = server.get("/api/v1/flights").await.json();
        if flights["in-progress"] == count {
            return flights;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("there are no {count} flights");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let server = Server::start(config::Http::default()).await;
    for (request, status) in [
        ("GET /api/v1/nothing", 404),
        ("GET /api/v2/status", 404),
        ("DELETE /api/v1/status", 405),
        ("GET /api/v1/lookup", 405),
        ("POST /api/v1/flights", 405),
        ("PUT /api/v1/caps/0115/sha-1/x", 405),
    ] {
        let answer = server.send(request, &[], "").await;
        assert_eq!(answer.status, status, "{request}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("allow").is_empty(), status == 404);
    }
}
