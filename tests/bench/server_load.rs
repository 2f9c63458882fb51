//! Loads two real servers in turns with questions between their users, and answers them: what `tests/bench/servers.py` measures with.
//!
//! ```text
//! server_load PORT,PORT PAIRS SECONDS (ping | disco)
//! ```
//!
//! Each pair is `askerN@example.org/a` and `answererN@example.org/r`, contacts of each other. All answerers announce one content; each
//! asker keeps a window of questions to its answerer in flight. A turn takes a fifth of a second and ends when its last question is
//! answered, so that whatever else the machine does meets both servers alike. `SECONDS` are those of each server.
//!
//! Printed is one JSON object: for each server the questions that were answered, the seconds of its turns, and the questions that reached
//! answerers; and the processor time of this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use memchr::memmem;

#[allow(dead_code, reason = "the benchmarks of the daemon use the rest")]
mod contents;
mod processor;

/// How many questions of one asker are unanswered at once.
const WINDOW: u64 = 64;
/// How long a turn takes.
const TURN: Duration = Duration::from_millis(200);
/// How many turns each server has before they count.
const WARMING: usize = 4;
/// Beside this number no content is another's.
const CONTENT: usize = 7;

/// What is asked, and what the answer is.
struct Task {
    question: String,
    answer: Vec<u8>,
}

impl Task {
    fn named(name: &str) -> Task {
        match name {
            "ping" => Task {
                question: "<ping xmlns='urn:xmpp:ping'/>".to_owned(),
                answer: Vec::new(),
            },
            "disco" => {
                let node = contents::key(CONTENT).to_node(contents::NODE_URL);
                let query =
                    format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'");
                Task {
                    question: format!("{query}/>"),
                    answer: answer_to(&query),
                }
            }
            other => panic!("{other} is neither ping nor disco"),
        }
    }
}

/// The answer to a question that begins so.
fn answer_to(query: &str) -> Vec<u8> {
    let mut answer = format!("{query}>").into_bytes();
    answer.extend_from_slice(&contents::children(CONTENT));
    answer.extend_from_slice(b"</query>");
    answer
}

/// A stream on which somebody has logged in.
fn log_in(port: u16, user: &str, resource: &str) -> TcpStream {
    let header = b"<stream:stream to='example.org' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let secret =
        base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0password").as_bytes());
    let auth =
        format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>");
    let bind = format!(
        "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
    );
    for (said, until) in [
        (header.as_slice(), "</stream:features>"),
        (auth.as_bytes(), "xmpp-sasl"),
        (header.as_slice(), "</stream:features>"),
        (bind.as_bytes(), "</iq>"),
    ] {
        stream.write_all(said).unwrap();
        read_until(&mut stream, until);
    }
    stream
}

/// Reads, a byte at a time, up to the end of that text, and of the element that it stands in.
fn read_until(stream: &mut TcpStream, text: &str) {
    let mut read = Vec::new();
    let mut byte = [0];
    while !(memmem::find(&read, text.as_bytes()).is_some() && read.ends_with(b">")) {
        stream.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
}

/// Answers whatever arrives until the connection ends, and counts it.
fn answer_all(mut stream: TcpStream, task: &Task, reached: &AtomicU64) {
    let general = answer_to("<query xmlns='http://jabber.org/protocol/disco#info'");
    let mut input = vec![0; 1 << 18];
    let mut kept = 0;
    let mut out = Vec::new();
    loop {
        let read = match stream.read(&mut input[kept..]) {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let bytes = &input[..kept + read];
        let mut begin = 0;
        while let Some(end) = memmem::find(&bytes[begin..], b"</iq>") {
            let stanza = std::str::from_utf8(&bytes[begin..begin + end]).unwrap();
            let stanza = &stanza[stanza.rfind("<iq").unwrap()..];
            begin += end + 5;
            if attribute(stanza, "type") != "get" {
                continue;
            }
            // A server or capsd asks once, and perhaps without a node.
            let asked = stanza.contains(&task.question[..task.question.len() - 2]);
            let answer = if asked { &task.answer } else { &general };
            let (to, id) = (attribute(stanza, "from"), attribute(stanza, "id"));
            write!(out, "<iq type='result' to='{to}' id='{id}'>").unwrap();
            out.extend_from_slice(answer);
            out.extend_from_slice(b"</iq>");
            reached.fetch_add(1, Ordering::Relaxed);
        }
        let rest = bytes.len() - begin;
        input.copy_within(begin..begin + rest, 0);
        kept = rest;
        if stream.write_all(&out).is_err() {
            return;
        }
        out.clear();
    }
}

/// The value of an attribute of the stanza's first element, whatever its quotes; empty if there is none.
fn attribute<'a>(stanza: &'a str, name: &str) -> &'a str {
    let head = &stanza[..stanza.find('>').unwrap()];
    let Some(at) = head.find(&format!(" {name}=")) else {
        return "";
    };
    let value = &head[at + name.len() + 3..];
    &value[..value.find(['\'', '"']).unwrap()]
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// That server's.
    Of(usize),
    /// Nobody's: what is in flight is waited for.
    Nobody,
}

/// What is counted of one server.
#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    reached: AtomicU64,
}

/// What askers share.
struct Run {
    task: Task,
    ready: Barrier,
    state: Mutex<State>,
    turned: Condvar,
    counts: [Counts; 2],
}

/// Whose turn it is, and how many askers are not at rest.
struct State {
    turn: Turn,
    asking: usize,
}

impl Run {
    fn is_turn_of(&self, server: usize) -> bool {
        self.state.lock().unwrap().turn == Turn::Of(server)
    }

    /// Returns when all askers are at rest.
    fn settle(&self, turn: Turn) {
        let mut state = self.state.lock().unwrap();
        state.turn = turn;
        while state.asking > 0 {
            state = self.turned.wait(state).unwrap();
        }
    }

    /// Gives that server a turn, and returns how long it took until the last answer.
    fn give(&self, server: usize) -> Duration {
        let began = Instant::now();
        self.state.lock().unwrap().turn = Turn::Of(server);
        self.turned.notify_all();
        std::thread::sleep(TURN);
        self.settle(Turn::Nobody);
        began.elapsed()
    }

    /// Nothing of an asker is in flight: returns when it may ask again.
    fn rest(&self, server: usize) {
        let mut state = self.state.lock().unwrap();
        state.asking -= 1;
        self.turned.notify_all();
        while state.turn != Turn::Of(server) {
            state = self.turned.wait(state).unwrap();
        }
        state.asking += 1;
    }
}

/// Waits until a server has told of the other's announcement: it may answer only who has heard it.
fn hear(stream: &mut TcpStream, to: &str) {
    let ver = contents::key(CONTENT).digest_base64();
    let mut heard = Vec::new();
    let mut byte = [0];
    while !(memmem::find(&heard, to.as_bytes()).is_some()
        && memmem::find(&heard, ver.as_bytes()).is_some())
    {
        stream.read_exact(&mut byte).unwrap();
        heard.push(byte[0]);
    }
}

/// Asks in that server's turns, as long as the process lives.
fn ask(mut stream: TcpStream, to: &str, server: usize, run: &Run) {
    hear(&mut stream, to);
    run.ready.wait();
    run.rest(server);
    let mut input = vec![0; 1 << 18];
    let mut kept = 0;
    let (mut sent, mut answered) = (0, 0);
    let mut out = Vec::new();
    loop {
        if sent - answered <= WINDOW / 2 && run.is_turn_of(server) {
            while sent - answered < WINDOW {
                write!(
                    out,
                    "<iq type='get' to='{to}' id='q{sent}'>{}</iq>",
                    run.task.question
                )
                .unwrap();
                sent += 1;
            }
            stream.write_all(&out).unwrap();
            out.clear();
        }
        if sent == answered {
            run.rest(server);
            continue;
        }
        let read = stream.read(&mut input[kept..]).unwrap();
        assert_ne!(read, 0, "the server closed the stream");
        let bytes = &input[..kept + read];
        assert!(
            memmem::find(bytes, b"type='error'").is_none(),
            "an error: {}",
            String::from_utf8_lossy(bytes)
        );
        let before = answered;
        let mut begin = 0;
        // An answer without a child may be an empty element, so beginnings are counted.
        while let Some(at) = memmem::find(&bytes[begin..], b"<iq ") {
            answered += 1;
            begin += at + 4;
        }
        let counts = &run.counts[server];
        counts
            .answered
            .fetch_add(answered - before, Ordering::Relaxed);
        let keep = (bytes.len() - begin).min(3);
        let end = bytes.len();
        input.copy_within(end - keep..end, 0);
        kept = keep;
    }
}

/// Logs a pair in, and lets it ask and answer.
fn start_pair(port: u16, server: usize, number: usize, run: &Arc<Run>) {
    let mut asker = log_in(port, &format!("asker{number}"), "a");
    asker.write_all(b"<presence/>").unwrap();
    let mut answerer = log_in(port, &format!("answerer{number}"), "r");
    let presence = format!(
        "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{}' ver='{}'/></presence>",
        contents::NODE_URL,
        contents::key(CONTENT).digest_base64()
    );
    answerer.write_all(presence.as_bytes()).unwrap();
    let shared = Arc::clone(run);
    std::thread::spawn(move || {
        answer_all(answerer, &shared.task, &shared.counts[server].reached);
    });
    let shared = Arc::clone(run);
    let to = format!("answerer{number}@example.org/r");
    std::thread::spawn(move || ask(asker, &to, server, &shared));
}

/// The servers in alternating order, each that often: the second begins where the first began before.
fn turns(each: usize) -> impl Iterator<Item = usize> {
    (0..each).flat_map(|turn| if turn % 2 == 0 { [0, 1] } else { [1, 0] })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [ports, pairs, seconds, task] = arguments.as_slice() else {
        panic!("usage: server_load PORT,PORT PAIRS SECONDS (ping | disco)");
    };
    let ports = ports.split_once(',').expect("two ports");
    let ports: [u16; 2] = [ports.0, ports.1].map(|port| port.parse().unwrap());
    let pairs: usize = pairs.parse().unwrap();
    let seconds: f64 = seconds.parse().unwrap();
    let run = Arc::new(Run {
        task: Task::named(task),
        ready: Barrier::new(2 * pairs + 1),
        state: Mutex::new(State {
            turn: Turn::Nobody,
            asking: 2 * pairs,
        }),
        turned: Condvar::new(),
        counts: <[Counts; 2]>::default(),
    });
    for (server, port) in ports.into_iter().enumerate() {
        (0..pairs).for_each(|number| start_pair(port, server, number, &run));
    }
    run.ready.wait();
    run.settle(Turn::Nobody);
    for server in turns(WARMING) {
        run.give(server);
    }
    let count = |counts: &AtomicU64| counts.load(Ordering::Relaxed);
    let before = run
        .counts
        .each_ref()
        .map(|counts| (count(&counts.answered), count(&counts.reached)));
    let cpu = processor::time(std::process::id());
    let mut took = [Duration::ZERO; 2];
    for server in turns((seconds / TURN.as_secs_f64()).ceil() as usize) {
        took[server] += run.give(server);
    }
    let servers = [0, 1].map(|server| {
        serde_json::json!({
            "answered": count(&run.counts[server].answered) - before[server].0,
            "reached": count(&run.counts[server].reached) - before[server].1,
            "seconds": took[server].as_secs_f64(),
        })
    });
    let cpu = (processor::time(std::process::id()) - cpu).as_secs_f64();
    println!("{}", serde_json::json!({ "servers": servers, "cpu": cpu }));
}
