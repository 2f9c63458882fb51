//! Loads a real server with questions between its users, and answers them: what `tests/bench/servers.py` measures servers with.
//!
//! ```text
//! server_load PORT PAIRS SECONDS (ping | disco)
//! ```
//!
//! Each pair is `askerN@example.org/a` and `answererN@example.org/r`, contacts of each other. All answerers announce one content; each
//! asker keeps a window of questions to its answerer in flight. Printed is one JSON object: questions that were answered, the seconds
//! that took, questions that reached answerers, and the processor time of this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use base64::Engine as _;
use memchr::memmem;

#[allow(dead_code, reason = "the benchmarks of the daemon use the rest")]
mod contents;
mod processor;

/// How many questions of one asker are unanswered at once.
const WINDOW: u64 = 64;
/// How long it runs before it counts.
const WARMING: Duration = Duration::from_millis(1500);
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

/// What askers share.
struct Run {
    task: Task,
    ready: Barrier,
    stop: AtomicBool,
    answered: AtomicU64,
}

/// Asks until the run ends.
fn ask(mut stream: TcpStream, to: &str, run: &Run) {
    // A server may answer only who has heard the announcement.
    let ver = contents::key(CONTENT).digest_base64();
    let mut heard = Vec::new();
    let mut byte = [0];
    while !(memmem::find(&heard, to.as_bytes()).is_some()
        && memmem::find(&heard, ver.as_bytes()).is_some())
    {
        stream.read_exact(&mut byte).unwrap();
        heard.push(byte[0]);
    }
    run.ready.wait();
    let mut input = vec![0; 1 << 18];
    let mut kept = 0;
    let (mut sent, mut answered) = (0, 0);
    let mut out = Vec::new();
    loop {
        if !run.stop.load(Ordering::Relaxed) && sent - answered <= WINDOW / 2 {
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
            return;
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
        run.answered.fetch_add(answered - before, Ordering::Relaxed);
        let keep = (bytes.len() - begin).min(3);
        let end = bytes.len();
        input.copy_within(end - keep..end, 0);
        kept = keep;
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, pairs, seconds, task] = arguments.as_slice() else {
        panic!("usage: server_load PORT PAIRS SECONDS (ping | disco)");
    };
    let port: u16 = port.parse().unwrap();
    let pairs: usize = pairs.parse().unwrap();
    let run = Arc::new(Run {
        task: Task::named(task),
        ready: Barrier::new(pairs + 1),
        stop: AtomicBool::new(false),
        answered: AtomicU64::new(0),
    });
    let reached = Arc::new(AtomicU64::new(0));
    let mut askers = Vec::new();
    let mut answerers = Vec::new();
    for number in 0..pairs {
        let mut asker = log_in(port, &format!("asker{number}"), "a");
        asker.write_all(b"<presence/>").unwrap();
        let mut answerer = log_in(port, &format!("answerer{number}"), "r");
        let presence = format!(
            "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{}' ver='{}'/></presence>",
            contents::NODE_URL,
            contents::key(CONTENT).digest_base64()
        );
        answerer.write_all(presence.as_bytes()).unwrap();
        answerers.push(answerer.try_clone().unwrap());
        let (shared, counted) = (Arc::clone(&run), Arc::clone(&reached));
        std::thread::spawn(move || answer_all(answerer, &shared.task, &counted));
        let shared = Arc::clone(&run);
        let to = format!("answerer{number}@example.org/r");
        askers.push(std::thread::spawn(move || ask(asker, &to, &shared)));
    }
    run.ready.wait();
    std::thread::sleep(WARMING);
    let (answered, asked) = (
        run.answered.load(Ordering::Relaxed),
        reached.load(Ordering::Relaxed),
    );
    let cpu = processor::time(std::process::id());
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs_f64(seconds.parse().unwrap()));
    let took = began.elapsed();
    let report = serde_json::json!({
        "answered": run.answered.load(Ordering::Relaxed) - answered,
        "reached": reached.load(Ordering::Relaxed) - asked,
        "seconds": took.as_secs_f64(),
        "cpu": (processor::time(std::process::id()) - cpu).as_secs_f64(),
    });
    run.stop.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.join().unwrap();
    }
    println!("{report}");
}
