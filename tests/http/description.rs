//! `/api/v1/openapi.json` against what is really answered: the same routes, headers and names, neither more nor fewer.

use std::collections::BTreeSet;

use capsd::caps::Reason;
use capsd::config;
use capsd::control::protocol::Tier;
use capsd::metrics::LookupResult;
use serde_json::{Value, json};

use crate::contents::{NODE_URL, key, query};
use crate::server::{Answer, Server};
use crate::tiers::{self, path};

#[tokio::test]
async fn openapi_says_what_is_there() {
    let server = Server::start(config::Http::default()).await;
    let document = server.get("/api/v1/openapi.json").await;
    assert_eq!(document.header("content-type"), "application/json");
    let document = document.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let path = path
                .replace("{family}", "0115")
                .replace("{algorithm}", "sha-1")
                .replace("{hash}", "x");
            let request = format!("{} {path}", method.to_uppercase());
            let answer = server.send(&request, &[], "").await;
            assert!(
                ![404, 405].contains(&answer.status),
                "{request}: {answer:?}"
            );
        }
    }
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let reasons = &document["components"]["schemas"]["Problem"]["properties"]["reason"]["enum"];
    let words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(*reasons, json!(words));
    let tiers = &document["components"]["schemas"]["Content"]["properties"]["tier"]["enum"];
    assert_eq!(*tiers, json!(Tier::ALL));
    let words: Vec<&str> = tiers
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let pattern = &document["components"]["headers"]["CacheStatus"]["schema"]["pattern"];
    assert_eq!(
        *pattern,
        format!("^capsd; hit; detail=({})$", words.join("|"))
    );
}

/// What every answer over HTTP/1.1 has, or a content type says.
const OF_ANY_ANSWER: [&str; 4] = ["content-type", "content-length", "connection", "date"];

type Names = BTreeSet<String>;

fn names(object: &Value) -> Names {
    let object = object.as_object().into_iter().flatten();
    object.map(|(name, _)| name.to_lowercase()).collect()
}

/// What a `$ref` refers to.
fn resolved<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    match schema["$ref"].as_str() {
        Some(place) => document.pointer(&place[1..]).unwrap(),
        None => schema,
    }
}

/// Whether a value is of that one of several kinds: by its constants, or as nothing.
fn is_meant(kind: &Value, value: &Value) -> bool {
    let properties = kind["properties"].as_object().into_iter().flatten();
    let constants = properties.filter_map(|(name, property)| Some((name, property.get("const")?)));
    (kind["type"] == "null") == value.is_null()
        && constants
            .into_iter()
            .all(|(name, constant)| value[name] == *constant)
}

/// Finds where a value has names that its schema does not have, or lacks some of them.
fn compare(document: &Value, schema: &Value, value: &Value, place: &str, wrong: &mut Vec<String>) {
    let schema = resolved(document, schema);
    if let Some(variants) = schema["oneOf"].as_array() {
        let variant = variants.iter().map(|variant| resolved(document, variant));
        let variant = variant.into_iter().find(|variant| is_meant(variant, value));
        let variant = variant.expect(place);
        return compare(document, variant, value, place, wrong);
    }
    if value.is_object() && schema["properties"].is_object() {
        let described = names(&schema["properties"]);
        let required = schema["required"].as_array().into_iter().flatten();
        let required: Names = required
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        let told = names(value);
        if !told.is_subset(&described) || !required.is_subset(&told) {
            wrong.push(format!(
                "{place}: {told:?}, described {described:?}, required {required:?}"
            ));
        }
        for (name, property) in schema["properties"].as_object().unwrap() {
            compare(
                document,
                property,
                &value[name],
                &format!("{place}.{name}"),
                wrong,
            );
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        compare(
            document,
            &schema["items"],
            item,
            &format!("{place}[{index}]"),
            wrong,
        );
    }
}

#[tokio::test]
async fn the_status_counts_what_was_asked_over_xmpp_and_nothing_else() {
    let server = tiers::start().await;
    server.get(&path(&key("K1"))).await;
    for _ in 0..3 {
        server.metrics().lookups.get(LookupResult::Hit).inc();
    }
    let status = server.get("/api/v1/status").await.json();
    assert_eq!(status["counts"]["lookups"]["hit"], 3);
    assert_eq!(status["counts"]["lookups"], status["lookups"]);
}

#[tokio::test]
async fn each_answer_has_the_names_and_headers_that_are_described() {
    let server = tiers::start().await;
    let document = server.get("/api/v1/openapi.json").await.json();
    let caps = "/api/v1/caps/{family}/{algorithm}/{hash}";
    let mut wrong = Vec::new();
    let mut check = |method: &str, route: &str, answer: &Answer| {
        let described = &document["paths"][route][method]["responses"][answer.status.to_string()];
        let described = resolved(&document, described);
        let place = format!("{method} {route} {}", answer.status);
        assert!(described.is_object(), "{place} is not described");
        let headers = answer.head.lines().skip(1);
        let headers = headers.map(|line| line.split(':').next().unwrap().to_lowercase());
        let headers: Names = headers
            .filter(|name| !OF_ANY_ANSWER.contains(&&**name))
            .collect();
        let told = names(&described["headers"]);
        if headers != told {
            wrong.push(format!("{place}: headers {headers:?}, described {told:?}"));
        }
        for (media_type, content) in described["content"].as_object().into_iter().flatten() {
            if answer.header("content-type") == *media_type && media_type.ends_with("json") {
                compare(
                    &document,
                    &content["schema"],
                    &answer.json(),
                    &place,
                    &mut wrong,
                );
            }
        }
    };
    for name in ["K1", "K2", "K3", "K4", "K9"] {
        check("get", caps, &server.get(&path(&key(name))).await);
    }
    let found = server.get(&path(&key("K1"))).await;
    let again = [("if-none-match", found.header("etag"))];
    let again = server
        .send(&format!("GET {}", path(&key("K1"))), &again, "")
        .await;
    assert_eq!(again.status, 304);
    check("get", caps, &again);
    check("get", caps, &server.get("/api/v1/caps/0115/sha-1/x").await);
    for route in ["status", "flights", "population", "openapi.json"] {
        let route = format!("/api/v1/{route}");
        check("get", &route, &server.get(&route).await);
    }
    // By a name that was led here, and for a part of another page: each route says the same.
    let strangers = [
        ("host", "rebound.example"),
        ("sec-fetch-site", "cross-site"),
    ];
    for (route, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let request = format!("{} {route}", method.to_uppercase());
            let request = request.replace(['{', '}'], "x");
            for stranger in strangers {
                check(method, route, &server.send(&request, &[stranger], "").await);
            }
        }
    }
    let keys = json!({ "keys": [key("K1").to_node(NODE_URL), key("K9").to_node(NODE_URL), "x"] });
    let looked = json!({ "node": key("K1").to_node(NODE_URL), "query": query("1") });
    for (route, body) in [("/api/v1/lookup", keys), ("/api/v1/verify", looked)] {
        for (media_type, body) in [
            ("application/json", body.to_string()),
            ("application/json", String::new()),
            ("text/x", String::new()),
        ] {
            check("post", route, &server.post(route, media_type, &body).await);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
