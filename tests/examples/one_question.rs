//! The resolver in another program: a bot that wants to know what its contacts can do, over whatever connection it has.
//!
//!     cargo run --example one_question
//!
//! The connection is an [`Upstream`]: it is given questions and brings the answers back to the resolver. Here two contacts stand
//! behind it who announce the same hash; the first one lies.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Instant, SystemTime};

use capsd::caps::{CapsKey, Policy};
use capsd::holders::{Announcement, LinkId};
use capsd::metrics::Metrics;
use capsd::resolver::flights::{QuestionId, Settings};
use capsd::resolver::tiers::Below;
use capsd::resolver::{Reply, Resolver, Upstream};
use capsd::stanza::answer::{AnswerLimits, parse_query};
use capsd::store::{Store, StoreSettings};
use capsd::trusted::{Sources, Trusted};

/// The bot has one connection.
const CONNECTION: LinkId = LinkId(0);

const NODE: &str = "http://code.google.com/p/exodus";

/// The node that both contacts announce, with the hash of XEP-0115 section 5.2.
pub(crate) const ANNOUNCED: &str = "http://code.google.com/p/exodus#QgayPKawpkPSDYmwT/WM94uAlu0=";

/// A question that is to be sent.
#[derive(Debug)]
struct Question {
    id: QuestionId,
    address: String,
    node: String,
}

/// The connection: a program with a stream would write an IQ with that id, and return false if it cannot.
#[derive(Debug)]
struct Connection(Mutex<mpsc::Sender<Question>>);

impl Upstream for Connection {
    fn ask(&self, _: LinkId, id: QuestionId, address: &str, node: &str) -> bool {
        let question = Question {
            id,
            address: address.to_owned(),
            node: node.to_owned(),
        };
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send(question).is_ok()
    }

    fn flush(&self) {}
}

/// What a contact answers.
fn answer_of(address: &str) -> &'static str {
    if address == "mallory@example.org/x" {
        "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc'/></query>"
    } else {
        "<query xmlns='http://jabber.org/protocol/disco#info'>\
           <identity category='client' type='pc' name='Exodus 0.9.1'/>\
           <feature var='http://jabber.org/protocol/caps'/>\
           <feature var='http://jabber.org/protocol/disco#info'/>\
           <feature var='http://jabber.org/protocol/disco#items'/>\
           <feature var='http://jabber.org/protocol/muc'/>\
         </query>"
    }
}

/// Whom the resolver asked, and what the bot was told about the hash: twice, the second time by somebody who asks later.
///
/// # Errors
/// Where the store cannot be opened or a thread cannot be started.
pub(crate) fn run() -> Result<(Vec<String>, [String; 2]), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let metrics = Arc::new(Metrics::new()?);
    let store = StoreSettings::new(directory.path().join("store"));
    let below = Below {
        store: Store::open(
            store,
            Arc::clone(&metrics),
            Instant::now(),
            SystemTime::now(),
        )?,
        trusted: Some(Trusted::open(&Sources::default(), &metrics)),
        overrides: Arc::default(),
        watcher: Box::new(|_| {}),
    };
    let (settings, policy) = (Settings::default(), Policy::default());
    let resolver = Resolver::start(settings, policy, 1 << 20, 1, below, metrics, Instant::now)?;
    let (sender, questions) = mpsc::channel();
    resolver.connect(Arc::new(Connection(Mutex::new(sender))));
    resolver.link_up(CONNECTION);

    // What contacts announce. A program with a runtime would also poll `resolver.run_timers(…)`, for the deadlines.
    let key = CapsKey::from_node(ANNOUNCED).map_err(|_| "the node is one of XEP-0115")?;
    let announcement = Announcement {
        keys: vec![key],
        node_url: NODE.into(),
    };
    let announce =
        |address| resolver.announce(Instant::now(), CONNECTION, address, &announcement, true);
    announce("mallory@example.org/x");

    let mut told = [String::new(), String::new()];
    let mut asked = Vec::new();
    for place in &mut told {
        let (tell, outcome) = mpsc::channel();
        let waiter = Box::new(move |_, outcome| drop(tell.send(outcome)));
        resolver.resolve(Instant::now(), key, "bot@example.org", waiter);
        *place = loop {
            // Questions are answered until the bot has been told.
            if let Ok(question) = questions.recv_timeout(std::time::Duration::from_millis(10)) {
                let Question { id, address, node } = question;
                if asked.is_empty() {
                    announce("juliet@example.org/balcony");
                }
                asked.push(format!("{address} for {node}"));
                let answer = parse_query(answer_of(&address).as_bytes(), AnswerLimits::default())?;
                let reply = Reply::Answer(Box::new(answer));
                resolver.reply(Instant::now(), id, CONNECTION, &address, reply);
            }
            match outcome.try_recv() {
                Ok(Ok((entry, _))) => break String::from_utf8(entry.children().to_vec())?,
                Ok(Err(reason)) => break reason.to_string(),
                Err(_) => {}
            }
        };
    }
    Ok((asked, told))
}

#[allow(dead_code, reason = "the tests call what it calls")]
fn main() -> Result<(), Box<dyn Error>> {
    let (asked, told) = run()?;
    asked
        .iter()
        .for_each(|question| println!("asked {question}"));
    told.iter().for_each(|told| println!("was told {told}"));
    Ok(())
}
