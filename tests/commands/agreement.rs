//! What XMPP serves is what an operator is told, by whatever means he looks; and looking uses nothing.
//!
//! A content that an account brings beyond its quota is served from memory, and written to disk when another account uses it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream as Connection;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::contents::{NODE_URL, digest_0390, node_0390, query, ver};
use crate::machine::{Daemon, Machine};
use crate::server::{COMPONENT, SECRET, Server, attribute};

const HOLDER: &str = "holder@example.org/r";

/// Somebody else with the account of the holder: by what he asks for, nothing is used a second time.
const SAME_ACCOUNT: &str = "holder@example.org/other";

const ANOTHER: &str = "another@example.org/x";

const ADMIN: &str = "admin@example.org/x";

/// A content by both of its names.
struct Names {
    /// As nodes.
    nodes: [String; 2],
    /// As paths of the API.
    paths: [String; 2],
}

impl Names {
    fn of(number: u32) -> Names {
        let ver = ver(number);
        let digests = [BASE64_STANDARD.decode(&ver).unwrap(), digest_0390(number)];
        let digests = digests.map(|digest| URL_SAFE_NO_PAD.encode(digest));
        Names {
            nodes: [format!("{NODE_URL}#{ver}"), node_0390(number)],
            paths: [
                format!("/api/v1/caps/0115/sha-1/{}", digests[0]),
                format!("/api/v1/caps/0390/sha-256/{}", digests[1]),
            ],
        }
    }
}

fn question(node: &str) -> String {
    format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>")
}

/// A daemon, its server, and an operator before both.
struct Scene {
    machine: Machine,
    server: Server<TcpStream>,
    http: String,
    _daemon: Daemon,
}

impl Scene {
    /// Each account brings one content; what it brings beyond is not written at once.
    async fn open() -> Scene {
        let machine = Machine::with("[limits]\nnew-keys-per-account = '1/h'\n");
        fs::write(machine.path("secret"), SECRET).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        machine.rewrite(
            "server = '127.0.0.1:1'",
            &format!("server = '{server}'\nadmins = ['admin@example.org']"),
        );
        let (daemon, http) = machine.daemon_that_logs(&mut machine.command("run", &[]));
        let (io, _) = listener.accept().await.unwrap();
        io.set_nodelay(true).unwrap();
        Scene {
            server: Server::accept(io).await,
            machine,
            http,
            _daemon: daemon,
        }
    }

    /// With content 2 on probation, for which somebody with the account of its holder asked.
    async fn with_2_on_probation() -> Scene {
        let mut scene = Scene::open().await;
        scene.announce(1).await;
        scene.answer(1).await;
        scene.announce(2).await;
        let node = &Names::of(2).nodes[0];
        scene.send("get", SAME_ACCOUNT, &question(node)).await;
        scene.answer(2).await;
        scene.next_with("id='mine'").await;
        scene
    }

    async fn announce(&mut self, number: u32) {
        let ver = ver(number);
        let presence = format!(
            "<presence from='{HOLDER}' to='{COMPONENT}'>\
             <c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{NODE_URL}' ver='{ver}'/></presence>"
        );
        self.server.send(&presence).await;
    }

    /// Answers the next question to the holder.
    async fn answer(&mut self, number: u32) {
        let question = self.next_with(&format!("to='{HOLDER}'")).await;
        let id = attribute(&question, "id");
        let query = query(number);
        let answer =
            format!("<iq type='result' from='{HOLDER}' to='{COMPONENT}' id='{id}'>{query}</iq>");
        self.server.send(&answer).await;
    }

    /// The next stanza with that in it.
    async fn next_with(&mut self, part: &str) -> String {
        loop {
            let next = self.server.next().await;
            if next.contains(part) {
                return next;
            }
        }
    }

    async fn send(&mut self, kind: &str, from: &str, payload: &str) {
        let request =
            format!("<iq type='{kind}' from='{from}' to='{COMPONENT}' id='mine'>{payload}</iq>");
        self.server.send(&request).await;
    }

    /// A request of that type; its answer.
    async fn request(&mut self, kind: &str, from: &str, payload: &str) -> String {
        self.send(kind, from, payload).await;
        self.next_with("id='mine'").await
    }

    async fn ask(&mut self, from: &str, node: &str) -> String {
        self.request("get", from, &question(node)).await
    }

    /// An ad-hoc command about a hash.
    async fn order(&mut self, word: &str, node: &str) -> String {
        let command = format!(
            "<command xmlns='http://jabber.org/protocol/commands' node='urn:capsd:0:{word}' action='complete'>\
             <x xmlns='jabber:x:data' type='submit'><field var='key'><value>{node}</value></field></x></command>"
        );
        self.request("set", ADMIN, &command).await
    }

    fn http(&self, request: &str, body: &str) -> String {
        let mut connection = Connection::connect(&self.http).unwrap();
        let length = body.len();
        let request = format!(
            "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The contents on disk.
    fn stored(&self) -> Value {
        self.machine.run("sync", &[]).expect(0);
        self.machine.json("status", &[], 0)["entries"].clone()
    }

    /// Looks for the content in every way; wherever, it is in that tier, and is what clients get.
    async fn assert_in(&mut self, tier: &str, words: &str, number: u32) {
        let names = Names::of(number);
        let feature = format!("urn:x:a:{number:06}");
        for (node, path) in names.nodes.iter().zip(&names.paths) {
            let served = self.ask(SAME_ACCOUNT, node).await;
            assert!(served.contains(&feature), "{served}");
            for command in ["lookup", "resolve"] {
                let found = self.machine.json(command, &[Path::new(node)], 0);
                assert_eq!(found["tier"], tier, "{command} {node}");
                assert_eq!(found["query"], query(number));
                let keys = found["keys"].as_array().unwrap();
                for node in &names.nodes {
                    // Keys are told without a node URL.
                    let node = node.trim_start_matches(NODE_URL);
                    assert!(keys.contains(&json!(node)), "{keys:?}");
                }
                let said = self.machine.run(command, &[Path::new(node)]).expect(0);
                assert!(said.out.starts_with(words), "{}", said.out);
                let said = self.order(command, node).await;
                assert!(said.contains(words) && said.contains(&feature), "{said}");
            }
            let found = self.http(&format!("GET {path}"), "");
            assert!(found.contains(&format!("\"tier\":\"{tier}\"")), "{found}");
            assert!(
                found.contains(&format!("capsd; hit; detail={tier}\r\n")),
                "{found}"
            );
            let nodes = found.contains("\"nodes\":[]");
            assert!(nodes, "one account alone named it so: {found}");
            let body = json!({ "keys": [node] }).to_string();
            let found = self.http("POST /api/v1/lookup", &body);
            assert!(found.contains(&format!("\"tier\":\"{tier}\"")), "{found}");
            let page = self.page(node);
            assert!(page.contains(&format!("</span>{tier}</span>")), "{page}");
            assert!(page.contains(&feature), "{page}");
        }
    }

    fn page(&self, node: &str) -> String {
        let node: String = node.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.http(&format!("GET /?node={node}"), "")
    }

    /// Looks for it in every way; nobody knows it.
    async fn assert_unknown(&mut self, node: &str, path: &str) {
        let served = self.ask(ANOTHER, node).await;
        assert!(served.contains(">unknown</reason>"), "{served}");
        for command in ["lookup", "resolve"] {
            let found = self.machine.json(command, &[Path::new(node)], 1);
            assert_eq!(found["reason"], "unknown", "{command}");
            let said = self.order(command, node).await;
            assert!(said.contains("not stored"), "{said}");
        }
        let found = self.http(&format!("GET {path}"), "");
        assert!(found.contains("\"reason\":\"unknown\""), "{found}");
        let page = self.page(node);
        assert!(page.contains("</span>unknown</span>"), "{page}");
    }
}

#[tokio::test]
async fn whoever_looks_sees_what_is_served_and_uses_nothing() {
    let mut scene = Scene::open().await;
    scene.announce(1).await;
    scene.answer(1).await;
    scene.announce(2).await;
    // The commands come by another way than the announcements: these have been heard.
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    scene.request("get", SAME_ACCOUNT, ping).await;
    // Nobody is asked for what is beyond the quota before somebody wants it; the first who does is an operator.
    let node = Names::of(2).nodes[0].clone();
    let mut resolving = scene.machine.command("resolve", &[Path::new(&node)]);
    let mut resolving = resolving
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    scene.answer(2).await;
    let words = "on probation, and proven by its hash; in memory only";
    scene.assert_in("probation", words, 2).await;
    assert!(resolving.wait().unwrap().success());
    assert_eq!(scene.stored(), 1, "an operator's look is no use");

    let served = scene.ask(ANOTHER, &node).await;
    assert!(served.contains("urn:x:a:000002"), "{served}");
    assert_eq!(scene.stored(), 2, "that was its second use");
    scene.assert_in("learned", "learned", 2).await;
}

#[tokio::test]
async fn what_is_flushed_from_probation_is_gone_wherever_one_looks() {
    let mut scene = Scene::with_2_on_probation().await;
    scene.assert_in("probation", "on probation", 2).await;
    let Names { nodes, paths } = Names::of(2);
    let flush = scene.machine.run("flush", &[Path::new(&nodes[0])]);
    let flush = flush.expect(0);
    let said = flush.out + &flush.err;
    assert!(said.contains("what was in memory is forgotten"), "{said}");
    scene.assert_unknown(&nodes[1], &paths[1]).await;
    assert_eq!(scene.stored(), 1);
}

#[tokio::test]
async fn a_denied_key_of_what_is_on_probation_is_denied_wherever_one_looks() {
    let mut scene = Scene::with_2_on_probation().await;
    let [node, denied] = Names::of(2).nodes;
    let order = [denied.as_str(), "mine"].map(Path::new);
    scene.machine.run("deny", &order).expect(0);
    let served = scene.ask(SAME_ACCOUNT, &denied).await;
    assert!(served.contains(">denied</reason>"), "{served}");
    let found = scene.machine.json("lookup", &order[..1], 1);
    assert_eq!(found["reason"], "denied");
    let page = scene.page(&denied);
    assert!(page.contains("</span>denied</span>"), "{page}");
    // The rule is about that key alone.
    let served = scene.ask(SAME_ACCOUNT, &node).await;
    assert!(served.contains("urn:x:a:000002"), "{served}");
    let found = scene.machine.json("lookup", &[Path::new(&node)], 0);
    assert_eq!(found["tier"], "probation");
    let keys = found["keys"].as_array().unwrap();
    assert!(!keys.contains(&json!(denied)), "{keys:?}");
}
