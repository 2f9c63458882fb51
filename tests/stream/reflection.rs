//! No input makes capsd send anything to a third party, but for one disco#info question for each key that it announced.
//!
//! Random sequences of everything that can come over a stream are sent from a small crowd, and every byte that comes back is put
//! on the account of whoever it goes to. It must be a reply to that account's own request, capsd's presence for a presence of its own in
//! the same step, or a question; and an address is asked about a key no more often than it announced it.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tokio::net::TcpStream;

use crate::contents::{key, query};
use crate::server::{COMPONENT, Server, attribute};
use crate::world::{World, answer, node};

/// Everybody: users, the domain, strangers, an occupant of a room, a gateway, capsd itself, and nobody.
const CROWD: [&str; 14] = [
    "a@example.org/1",
    "a@example.org/2",
    "b@example.org/1",
    "c@example.org/1",
    "d@example.org",
    "victim@example.org/1",
    "victim@example.org/2",
    "example.org",
    "x@elsewhere.example/1",
    "x@elsewhere.example",
    "room@rooms.example/nick",
    "gateway.example.org",
    COMPONENT,
    "",
];

/// How many contents there are: so few that most are asked for by many.
const CONTENTS: usize = 12;

#[derive(Clone, Debug)]
enum Step {
    /// A presence with these keys.
    Announce(Index, Vec<(bool, usize)>, &'static str, usize),
    /// A presence without any.
    Presence(Index, &'static str),
    /// A disco#info request.
    Ask(Index, &'static str, &'static str, usize),
    /// Any iq: type, id, payload.
    Iq(Index, &'static str, Index, &'static str),
    Message(Index, &'static str),
    /// Something about a question that is open: an answer, by the one asked or by another.
    Answer(Index, Option<Index>, &'static str),
}

fn step() -> impl Strategy<Value = Step> {
    let who = any::<Index>;
    let keys = prop::collection::vec((any::<bool>(), 0..CONTENTS), 1..4);
    let to = select(vec![
        COMPONENT,
        COMPONENT,
        COMPONENT,
        "victim@example.org",
        "delayed",
    ]);
    let presences = vec![
        "subscribe",
        "subscribed",
        "unsubscribe",
        "unsubscribed",
        "probe",
        "unavailable",
        "error",
        "huh",
        "",
    ];
    let nodes = vec!["K", "K", "N", "malformed", "empty", "none"];
    let payloads = vec![
        "answer",
        "forwarded",
        "ping",
        "error",
        "items",
        "two",
        "nothing",
    ];
    let privileges = vec![
        "<body>words</body>",
        "<privilege xmlns='urn:xmpp:privilege:2'><perm access='presence' type='managed_entity'/><perm access='iq'>\
         <namespace ns='http://jabber.org/protocol/disco#info' type='get'/></perm></privilege>",
        "<privilege xmlns='urn:xmpp:privilege:1'><perm access='presence' type='roster'/></privilege>",
    ];
    prop_oneof![
        6 => (who(), keys, to, select(vec![0_usize, 1, 300])).prop_map(|(w, k, t, n)| Step::Announce(w, k, t, n)),
        4 => (who(), select(presences)).prop_map(|(w, kind)| Step::Presence(w, kind)),
        6 => (who(), select(vec!["get", "get", "set"]), select(nodes), 0..CONTENTS)
            .prop_map(|(w, kind, node, n)| Step::Ask(w, kind, node, n)),
        4 => (who(), select(vec!["get", "set", "result", "error", "huh"]), any::<Index>(), select(payloads))
            .prop_map(|(w, kind, id, payload)| Step::Iq(w, kind, id, payload)),
        1 => (who(), select(privileges)).prop_map(|(w, inside)| Step::Message(w, inside)),
        6 => (any::<Index>(), prop::option::weighted(0.3, who()), select(vec!["true", "true", "lie", "error", "ambiguous"]))
            .prop_map(|(q, by, how)| Step::Answer(q, by, how)),
    ]
}

/// What became of one account.
#[derive(Debug, Default)]
struct Account {
    bytes_in: usize,
    bytes_out: usize,
    keys_announced: usize,
    questions: usize,
    replies: usize,
}

#[derive(Default)]
struct Ledger {
    accounts: HashMap<String, Account>,
    /// Requests that were not answered yet, by id.
    requests: HashMap<String, String>,
    /// How often each address announced each hash and was not asked about it since.
    announced: HashMap<(String, String), usize>,
    /// Questions that were not answered yet.
    open: Vec<String>,
    sent: usize,
}

fn bare(jid: &str) -> &str {
    jid.split('/').next().unwrap()
}

fn stamped(from: &str) -> String {
    match from {
        "" => String::new(),
        from => format!(" from='{from}'"),
    }
}

impl Ledger {
    fn id(&mut self) -> String {
        self.sent += 1;
        format!("request-{}", self.sent)
    }

    fn who<'a>(place: &Index) -> &'a str {
        CROWD[place.index(CROWD.len())]
    }

    /// A stanza, and whom it is from.
    fn stanza(&mut self, step: &Step) -> (String, &'static str) {
        match step {
            Step::Announce(who, keys, to, padding) => {
                let from = Ledger::who(who);
                self.announce(from, keys);
                (announcement(from, keys, to, *padding), from)
            }
            Step::Presence(who, kind) => {
                let from = Ledger::who(who);
                (
                    format!(
                        "<presence{} to='{COMPONENT}' type='{kind}'/>",
                        stamped(from)
                    ),
                    from,
                )
            }
            Step::Ask(who, kind, about, number) => {
                let from = Ledger::who(who);
                let node = match *about {
                    "malformed" => " node='malformed'".to_owned(),
                    "empty" => " node=''".to_owned(),
                    "none" => String::new(),
                    family => format!(" node='{}'", node(&format!("{family}{number}"))),
                };
                let inside =
                    format!("<query xmlns='http://jabber.org/protocol/disco#info'{node}/>");
                (self.request(from, kind, &inside), from)
            }
            Step::Iq(who, kind, id, payload) => {
                let from = Ledger::who(who);
                let forged = self.open.get(id.index(self.open.len() + 1));
                let forged = forged.map(|question| attribute(question, "id"));
                let inside = payload_of(payload, from, forged.as_deref().unwrap_or("0"));
                match (*kind, forged) {
                    ("get" | "set", _) => (self.request(from, kind, &inside), from),
                    (_, Some(id)) => (
                        format!(
                            "<iq type='{kind}'{} to='{COMPONENT}' id='{id}'>{inside}</iq>",
                            stamped(from)
                        ),
                        from,
                    ),
                    (_, None) => (
                        format!(
                            "<iq type='{kind}'{} to='{COMPONENT}' id='{:032x}'>{inside}</iq>",
                            stamped(from),
                            7
                        ),
                        from,
                    ),
                }
            }
            Step::Message(who, inside) => {
                let from = Ledger::who(who);
                (
                    format!(
                        "<message{} to='{COMPONENT}'>{inside}</message>",
                        stamped(from)
                    ),
                    from,
                )
            }
            Step::Answer(which, by, how) => {
                if self.open.is_empty() {
                    return ("<message/>".to_owned(), "");
                }
                let place = which.index(self.open.len());
                let question = match by {
                    Some(_) => self.open[place].clone(),
                    None => self.open.swap_remove(place),
                };
                let asked = attribute(&question, "to");
                let from = by.as_ref().map_or_else(
                    || {
                        CROWD
                            .into_iter()
                            .find(|c| *c == asked || bare(c) == asked)
                            .unwrap()
                    },
                    Ledger::who,
                );
                (answered(&question, from, how), from)
            }
        }
    }

    fn announce(&mut self, from: &str, keys: &[(bool, usize)]) {
        let account = self.accounts.entry(bare(from).to_owned()).or_default();
        account.keys_announced += keys.len();
        for (_, number) in keys {
            // One of them is announced; which one, does not matter here.
            for family in ["K", "N"] {
                let hash = key(&format!("{family}{number}")).digest_base64();
                *self.announced.entry((from.to_owned(), hash)).or_default() += 1;
            }
        }
    }

    /// A question was asked: once for each time that its addressee announced the hash.
    fn asked(&mut self, question: &str, cause: &str) {
        let inner = question.split_once("<iq xmlns='jabber:client'");
        let holder = attribute(inner.map_or(question, |(_, inner)| inner), "to");
        let node = attribute(question, "node");
        let (_, hash) = node.rsplit_once(['#', '.']).unwrap();
        let left = self.announced.get_mut(&(holder, hash.to_owned()));
        let left = left.filter(|left| **left > 0);
        *left.unwrap_or_else(|| panic!("not announced: {question} after {cause}")) -= 1;
    }

    fn request(&mut self, from: &str, kind: &str, inside: &str) -> String {
        let id = self.id();
        self.requests.insert(id.clone(), bare(from).to_owned());
        format!(
            "<iq type='{kind}'{} to='{COMPONENT}' id='{id}'>{inside}</iq>",
            stamped(from)
        )
    }

    /// Books what came back after a stanza from somebody.
    fn book(&mut self, cause: &str, from: &str, out: Vec<String>) {
        self.accounts
            .entry(bare(from).to_owned())
            .or_default()
            .bytes_in += cause.len();
        let mut presences = 0;
        for stanza in out {
            let to = attribute(&stanza, "to");
            let account = self.accounts.entry(bare(&to).to_owned()).or_default();
            account.bytes_out += stanza.len();
            if stanza.starts_with("<iq type='get'") {
                account.questions += 1;
                self.asked(&stanza, cause);
                self.open.push(stanza);
            } else if stanza.starts_with("<iq ") {
                account.replies += 1;
                let asked_by = self.requests.remove(&attribute(&stanza, "id"));
                assert_eq!(
                    asked_by.as_deref(),
                    Some(bare(&to)),
                    "{stanza} after {cause}"
                );
            } else {
                presences += 1;
                assert!(cause.starts_with("<presence"), "{stanza} after {cause}");
                assert_eq!(bare(&to), bare(from), "{stanza} after {cause}");
                assert!(presences <= 3, "{presences} presences after {cause}");
            }
        }
    }
}

fn announcement(from: &str, keys: &[(bool, usize)], to: &str, padding: usize) -> String {
    let url = format!("http://client.example/{}", "x".repeat(padding));
    let (mut caps, mut hashes) = (String::new(), String::new());
    for (is_0115, number) in keys {
        if *is_0115 && caps.is_empty() {
            let ver = key(&format!("K{number}")).digest_base64();
            caps = format!(
                "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{url}' ver='{ver}'/>"
            );
        } else {
            let hash = key(&format!("N{number}")).digest_base64();
            hashes += &format!("<hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>{hash}</hash>");
        }
    }
    let (to, delay) = match to {
        "delayed" => (
            COMPONENT,
            "<delay xmlns='urn:xmpp:delay' stamp='2024-01-01T00:00:00Z'/>",
        ),
        to => (to, ""),
    };
    format!(
        "<presence{} to='{to}'>{caps}<c xmlns='urn:xmpp:caps'>{hashes}</c>{delay}</presence>",
        stamped(from)
    )
}

fn payload_of(payload: &str, from: &str, id: &str) -> String {
    match payload {
        "answer" => query("1"),
        "forwarded" => format!(
            "<privilege xmlns='urn:xmpp:privilege:2'><forwarded xmlns='urn:xmpp:forward:0'>\
             <iq xmlns='jabber:client' type='result' from='{from}' id='{id}'>{}</iq></forwarded></privilege>",
            query("2")
        ),
        "ping" => "<ping xmlns='urn:xmpp:ping'/>".to_owned(),
        "error" => ERROR.to_owned(),
        "items" => "<query xmlns='http://jabber.org/protocol/disco#items'/>".to_owned(),
        "two" => "<ping xmlns='urn:xmpp:ping'/>".repeat(2),
        _ => String::new(),
    }
}

const ERROR: &str =
    "<error type='cancel'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";

/// The content whose key a question is about.
fn content_of(question: &str) -> String {
    let contents = (0..CONTENTS).map(|number| number.to_string());
    let asked = attribute(question, "node");
    let is_asked = |number: &String| {
        ["K", "N"]
            .iter()
            .any(|family| asked.ends_with(&key(&format!("{family}{number}")).digest_base64()))
    };
    contents.into_iter().find(is_asked).unwrap()
}

fn answered(question: &str, from: &str, how: &str) -> String {
    let content = match how {
        "true" => content_of(question),
        "ambiguous" => "a1".to_owned(),
        _ => "99".to_owned(),
    };
    let id = attribute(question, "id");
    if how == "error" {
        return format!(
            "<iq type='error'{} to='{COMPONENT}' id='{id}'>{ERROR}</iq>",
            stamped(from)
        );
    }
    let Some((_, inner)) = question.split_once("<iq xmlns='jabber:client'") else {
        return answer(
            &question.replacen(&attribute(question, "to"), from, 1),
            &content,
        );
    };
    let (holder, inner) = (attribute(inner, "to"), attribute(inner, "id"));
    format!(
        "<iq type='result' from='{}' to='{COMPONENT}' id='{id}'><privilege xmlns='urn:xmpp:privilege:2'>\
         <forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' type='result' from='{holder}' id='{inner}'>{}</iq>\
         </forwarded></privilege></iq>",
        bare(from),
        query(&content)
    )
}

async fn play(server: &mut Server<TcpStream>, ledger: &mut Ledger, steps: &[Step]) {
    for step in steps {
        let (stanza, from) = ledger.stanza(step);
        server.send(&stanza).await;
        let mut out = server.settle().await;
        // What the tiers' thread finds out comes a little later.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        out.extend(server.settle().await);
        ledger.book(&stanza, from, out);
    }
}

/// 20 sequences of 50 stanzas each, a hundred times as many in the long run; in one world each ten, so that later ones find what earlier
/// ones left.
#[tokio::test]
async fn nobody_is_sent_what_they_did_not_ask_for() {
    let long = std::env::var_os("CAPSD_LONG").is_some();
    let sequences = if long { 2_000 } else { 20 };
    let mut runner = TestRunner::new(Config::default());
    let mut world = World::new().await;
    let mut server = world.accept().await;
    let mut ledger = Ledger::default();
    for played in 0..sequences {
        if played % 10 == 9 {
            // In a new world everything is unknown again.
            world = World::new().await;
            server = world.accept().await;
            ledger.requests.clear();
            ledger.open.clear();
            ledger.announced.clear();
        }
        let steps = prop::collection::vec(step(), 50);
        let steps = steps.new_tree(&mut runner).unwrap().current();
        play(&mut server, &mut ledger, &steps).await;
    }
    let sum = |of: fn(&Account) -> usize| ledger.accounts.values().map(of).sum::<usize>();
    let questions = sum(|a| a.questions);
    assert!(questions > sequences, "{questions} questions");
    assert!(sum(|a| a.replies) > 5 * sequences, "replies");
    println!(
        "{} stanzas in, {} bytes; {} bytes out; {questions} questions for {} announced keys",
        50 * sequences,
        sum(|a| a.bytes_in),
        sum(|a| a.bytes_out),
        sum(|a| a.keys_announced),
    );
}
