//! A daemon with a link to a server that is played by the test, and with settings that change.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::contents::{self, children, node_0390, query, ver};
use crate::machine::{Daemon, Machine, PATIENCE};
use crate::server::{COMPONENT, SECRET, Server, attribute};

/// The secret after a change.
pub(crate) const OTHER_SECRET: &str = "open barley";

/// Settings by their names: `section.key`. One without a value is not set.
pub(crate) type Settings<'a> = &'a [(&'a str, &'a str)];

/// A daemon whose link is up, and which knows content 0.
pub(crate) struct Linked {
    pub(crate) machine: Machine,
    pub(crate) daemon: Daemon,
    pub(crate) server: Server<TcpStream>,
    listener: TcpListener,
    http: String,
    settings: BTreeMap<String, String>,
    asked: u32,
}

impl Linked {
    /// A daemon with these settings beside those of every test. `$DIR` in a value is its directory.
    pub(crate) async fn with(settings: Settings<'_>) -> Linked {
        let machine = Machine::new();
        for (name, secret) in [("secret", SECRET), ("other", OTHER_SECRET)] {
            write_secret(&machine, name, secret);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("'{}'", listener.local_addr().unwrap());
        let mut all = BTreeMap::new();
        let usual = [
            ("component.jid", "'caps.example.org'"),
            ("component.server", server.as_str()),
            ("component.secret-file", "'$DIR/secret'"),
            ("component.domains", "['example.org']"),
            ("component.feeds", "['example.org']"),
            ("component.admins", "['admin@example.org']"),
            ("store.path", "'$DIR/store'"),
            ("http.listen", "'127.0.0.1:0'"),
            ("trusted.directories", "[]"),
            ("control.socket", "'$DIR/socket'"),
        ];
        for (key, value) in usual.iter().chain(settings) {
            all.insert((*key).to_owned(), (*value).to_owned());
        }
        write(&machine, &all);
        let mut program = machine.command("run", &[]);
        program.env("FIRST", SECRET).env("SECOND", OTHER_SECRET);
        let (daemon, http) = machine.daemon_that_logs(&mut program);
        let server = accept(&listener, SECRET).await;
        let mut linked = Linked {
            machine,
            daemon,
            server,
            listener,
            http,
            settings: all,
            asked: 0,
        };
        linked.import(&[0]);
        linked.assert_served(0).await;
        linked
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.machine.log()
    }

    /// Gives settings other values and reloads; what the reload says.
    pub(crate) fn reload(&mut self, settings: Settings<'_>) -> Value {
        for (key, value) in settings {
            self.settings.insert((*key).to_owned(), (*value).to_owned());
        }
        write(&self.machine, &self.settings);
        self.machine.json("reload", &[], 0)
    }

    /// What the daemon answers to a request on its socket.
    pub(crate) fn told(&self, request: &Value) -> Value {
        let answer = self.machine.talk().say(format!("{request}\n").as_bytes());
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"))
    }

    pub(crate) fn status(&self) -> Value {
        self.told(&json!({ "do": "status" }))
    }

    /// How many contents are in the learned tier, with those that wait for a flush to end.
    pub(crate) fn entries(&self) -> u64 {
        assert_eq!(self.told(&json!({ "do": "sync" }))["is"], "synced");
        self.status()["entries"].as_u64().unwrap()
    }

    /// Imports contents by their numbers.
    pub(crate) fn import(&self, numbers: &[u32]) {
        let queries = numbers.iter().map(|number| (ver(*number), query(*number)));
        self.import_all(&queries.collect::<Vec<_>>());
    }

    /// Imports contents: `ver` and `<query/>` of each.
    pub(crate) fn import_all(&self, contents: &[(String, String)]) {
        let mut talk = self.machine.talk();
        for some in contents.chunks(64) {
            let items = some.iter().map(
                |(ver, query)| json!({ "keys": [format!("#{ver}")], "nodes": [], "query": query }),
            );
            let request = json!({ "do": "import", "items": items.collect::<Vec<_>>() });
            let answer = talk.say(format!("{request}\n").as_bytes());
            let verified = answer.matches("\"verified\"").count();
            assert_eq!(verified, some.len(), "{answer}");
        }
        // What it does next ends the import.
        talk.say(b"{\"do\":\"status\"}\n");
    }

    /// The value of a metric, labels and all.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.http).unwrap();
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("no metric {name}"));
        line.trim().parse().unwrap()
    }

    /// The next stanza that capsd sends, but for its question whether the server is there, which comes whenever that has been silent for
    /// long.
    pub(crate) async fn next(&mut self) -> String {
        loop {
            let next = self.server.next().await;
            if !(next.starts_with("<iq type='get'") && next.contains("<ping ")) {
                return next;
            }
            let id = attribute(&next, "id");
            let here = format!("<iq type='result' from='example.org' to='{COMPONENT}' id='{id}'/>");
            self.server.send(&here).await;
        }
    }

    /// What capsd sends before it has worked off all that it was sent, look-ups included.
    pub(crate) async fn until_quiet(&mut self) -> Vec<String> {
        let mut before = self.until_pong().await;
        wait("nothing is being looked up", || {
            self.told(&json!({ "do": "flights" }))["looking"] == 0
        });
        before.append(&mut self.until_pong().await);
        before
    }

    async fn until_pong(&mut self) -> Vec<String> {
        let ping = "<iq type='get' from='example.org' to='caps.example.org' id='quiet'><ping xmlns='urn:xmpp:ping'/></iq>";
        self.server.send(ping).await;
        let mut before = Vec::new();
        loop {
            let next = self.next().await;
            if next.contains("id='quiet'") {
                return before;
            }
            before.push(next);
        }
    }

    /// Nothing is sent for what was sent to capsd last.
    pub(crate) async fn assert_quiet(&mut self) {
        assert_eq!(self.until_quiet().await, [""; 0]);
    }

    /// Somebody announces a content.
    pub(crate) async fn announce(&mut self, who: &str, number: u32) {
        let (node, ver) = (contents::NODE_URL, ver(number));
        let presence = format!(
            "<presence from='{who}' to='{COMPONENT}'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{node}' ver='{ver}'/></presence>"
        );
        self.server.send(&presence).await;
    }

    /// Somebody asks for a content.
    pub(crate) async fn ask(&mut self, who: &str, number: u32) {
        let (node, ver) = (contents::NODE_URL, ver(number));
        self.ask_info(who, &format!("node='{node}#{ver}'")).await;
    }

    /// Somebody asks capsd for its own disco info, or that of a node.
    pub(crate) async fn ask_info(&mut self, who: &str, node: &str) {
        let iq = format!(
            "<iq type='get' from='{who}' to='{COMPONENT}' id='ask'><query xmlns='http://jabber.org/protocol/disco#info' {node}/></iq>"
        );
        self.server.send(&iq).await;
    }

    /// The next stanza is a question to that one.
    pub(crate) async fn question_to(&mut self, who: &str) -> String {
        let question = self.next().await;
        assert!(question.starts_with("<iq type='get'"), "{question}");
        assert_eq!(attribute(&question, "to"), who, "{question}");
        question
    }

    /// Asks again and again until it is not refused but makes capsd put a question: that question.
    pub(crate) async fn until_question(&mut self, ask: impl AsyncFn(&mut Linked)) -> String {
        for _ in 0..400 {
            ask(self).await;
            let next = self.next().await;
            if next.starts_with("<iq type='get'") {
                return next;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody is asked");
    }

    /// Who was asked answers with a content.
    pub(crate) async fn answer(&mut self, question: &str, number: u32) {
        let (from, id, query) = (
            attribute(question, "to"),
            attribute(question, "id"),
            query(number),
        );
        let iq = format!("<iq type='result' from='{from}' to='{COMPONENT}' id='{id}'>{query}</iq>");
        self.server.send(&iq).await;
    }

    /// Somebody announces a content, is asked for it, and answers.
    pub(crate) async fn teach(&mut self, who: &str, number: u32) {
        self.announce(who, number).await;
        let question = self.question_to(who).await;
        self.answer(&question, number).await;
    }

    /// The next stanza gives that one the content.
    pub(crate) async fn content_for(&mut self, who: &str, number: u32) {
        let reply = self.next().await;
        let is_for = attribute(&reply, "to") == who && reply.starts_with("<iq type='result'");
        assert!(is_for && reply.contains(&children(number)), "{reply}");
    }

    /// The next stanza refuses it to that one, for that reason.
    pub(crate) async fn refusal_for(&mut self, who: &str, reason: &str) {
        let reply = self.next().await;
        let is_for = attribute(&reply, "to") == who && reply.starts_with("<iq type='error'");
        assert!(
            is_for && reply.contains(&format!(">{reason}</reason>")),
            "{reply}"
        );
    }

    /// A content is served by both of its names, to somebody who never asked before.
    pub(crate) async fn assert_served(&mut self, number: u32) {
        self.asked += 1;
        let who = format!("somebody{}@example.org/r", self.asked);
        self.ask(&who, number).await;
        self.content_for(&who, number).await;
        self.asked += 1;
        let who = format!("somebody{}@example.org/r", self.asked);
        let node = node_0390(number);
        self.ask_info(&who, &format!("node='{node}'")).await;
        self.content_for(&who, number).await;
    }

    /// Whether a content is served; nobody is asked for it.
    pub(crate) async fn serves(&mut self, number: u32) -> bool {
        self.asked += 1;
        let who = format!("somebody{}@example.org/r", self.asked);
        self.ask(&who, number).await;
        let reply = self.next().await;
        assert_eq!(attribute(&reply, "to"), who, "{reply}");
        reply.starts_with("<iq type='result'")
    }

    /// Daemon and link are those of the beginning, and what was known is.
    pub(crate) async fn assert_unharmed(&mut self) {
        assert!(
            self.daemon.0.try_wait().unwrap().is_none(),
            "{}",
            self.log()
        );
        self.assert_served(0).await;
        let again = tokio::time::timeout(Duration::from_millis(1), self.listener.accept());
        assert!(again.await.is_err(), "there is another stream");
    }

    /// The server cuts the stream off, and capsd comes again with that secret.
    pub(crate) async fn reconnect(&mut self, secret: &str) {
        let server = accept(&self.listener, secret);
        self.server.send("</stream:stream>").await;
        self.server = server.await;
    }
}

async fn accept(listener: &TcpListener, secret: &str) -> Server<TcpStream> {
    let accepting = tokio::time::timeout(PATIENCE, listener.accept());
    let (io, _) = accepting.await.expect("no connection comes").unwrap();
    io.set_nodelay(true).unwrap();
    Server::accept_with(io, secret).await
}

/// A secret that its owner alone can read.
pub(crate) fn write_secret(machine: &Machine, name: &str, secret: &str) {
    let path = machine.path(name);
    fs::write(&path, format!("{secret}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn in_directory(machine: &Machine, text: &str) -> String {
    let directory = machine.path("").display().to_string();
    text.replace("$DIR", directory.trim_end_matches('/'))
}

/// Writes the configuration.
fn write(machine: &Machine, settings: &BTreeMap<String, String>) {
    let mut text = String::new();
    let mut last = "";
    for (key, value) in settings.iter().filter(|(_, value)| !value.is_empty()) {
        let (section, key) = key.split_once('.').unwrap();
        if section != last {
            text += &match section {
                "component" => "[[component]]\n".to_owned(),
                section => format!("[{section}]\n"),
            };
            last = section;
        }
        text += &format!("{key} = {}\n", in_directory(machine, value));
    }
    fs::write(&machine.config, text).unwrap();
}

/// Waits for something that comes by itself.
pub(crate) fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        // Less than the shortest time after which it would come without the change that is tried.
        assert!(begun.elapsed() < Duration::from_secs(40), "{what}: not yet");
        std::thread::sleep(Duration::from_millis(10));
    }
}
