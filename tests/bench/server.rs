//! A scripted server that generates load: it accepts one component, whatever its secret, and keeps a window of queries in flight.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::contents;

/// The component's JID.
pub(crate) const JID: &str = "caps.example.org";

/// What the server's side of the handshake ends with.
pub(crate) const HANDSHAKE_END: &str = "<handshake/>";

/// Queries in the order in which they are sent, as bytes.
pub(crate) struct Load {
    queries: Vec<Vec<u8>>,
    order: Vec<u32>,
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

fn query(number: usize) -> Vec<u8> {
    let from = format!("user{}@example.org/resource", number % 1000);
    query_from(&from, &number.to_string(), number)
}

/// A question about the content with that number.
pub(crate) fn query_from(from: &str, id: &str, number: usize) -> Vec<u8> {
    let node = contents::key(number).to_node(contents::NODE_URL);
    format!(
        "<iq type='get' from='{from}' to='{JID}' id='{id}'><query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/></iq>"
    )
    .into_bytes()
}

/// An announcement by XEP-0115.
pub(crate) fn presence(from: &str, ver: &str) -> Vec<u8> {
    let node = contents::NODE_URL;
    format!(
        "<presence from='{from}' to='{JID}' xml:lang='en'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{node}' ver='{ver}'/></presence>"
    )
    .into_bytes()
}

impl Load {
    /// 90 % over the first `hot` keys, the rest uniform over the first `stored` ones.
    pub(crate) fn mixed(count: usize, hot: usize, stored: usize) -> Load {
        let mut dice = Dice(1);
        let order = (0..count)
            .map(|_| {
                let among = if dice.roll(10) < 9 { hot } else { stored };
                dice.roll(among) as u32
            })
            .collect();
        Load {
            queries: (0..stored).map(query).collect(),
            order,
        }
    }

    /// Each of the first keys once.
    pub(crate) fn each(count: usize) -> Load {
        Load {
            queries: (0..count).map(query).collect(),
            order: (0..count as u32).collect(),
        }
    }

    /// Each of the first `hot` keys ten times.
    pub(crate) fn warming(&self, hot: usize) -> Load {
        Load {
            queries: self.queries[..hot].to_vec(),
            order: (0..hot as u32 * 10).map(|n| n % hot as u32).collect(),
        }
    }

    /// How many queries there are.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

/// A listening server.
pub(crate) struct Server(TcpListener);

/// A component's link.
pub(crate) struct Link {
    stream: TcpStream,
}

impl Server {
    /// Listens on a free port of the loopback.
    pub(crate) fn listen() -> Server {
        Server(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Accepts a component.
    pub(crate) fn accept(&self) -> Link {
        let (mut stream, _) = self.0.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        let mut opened = false;
        loop {
            let read = stream.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "the component went away");
            said.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&said);
            if !opened && text.contains("<stream:stream") {
                stream
                    .write_all(b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' from='caps.example.org' id='s1'>")
                    .unwrap();
                opened = true;
            }
            if text.contains("</handshake>") {
                stream.write_all(HANDSHAKE_END.as_bytes()).unwrap();
                return Link { stream };
            }
        }
    }
}

impl Link {
    /// The stream itself, for whoever reads and writes it.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends the queries with at most `window` unanswered, and reads all replies. Every reply must be a result.
    pub(crate) fn query(&mut self, load: &Load, window: usize) -> Duration {
        let answered = AtomicUsize::new(0);
        let mut writer = self.stream.try_clone().unwrap();
        let began = Instant::now();
        std::thread::scope(|scope| {
            let sender = std::thread::current();
            let answered = &answered;
            let reader = &mut self.stream;
            let _ = sender;
            let sending = scope.spawn(move || {
                let mut sent = 0;
                let mut out = Vec::with_capacity(1 << 20);
                while sent < load.order.len() {
                    let room = window - (sent - answered.load(Ordering::Acquire));
                    // Small pieces would measure system calls, not components.
                    if room < window / 4 && sent + room < load.order.len() {
                        std::thread::park_timeout(Duration::from_micros(200));
                        continue;
                    }
                    for at in &load.order[sent..load.order.len().min(sent + room)] {
                        out.extend_from_slice(&load.queries[*at as usize]);
                        sent += 1;
                    }
                    writer.write_all(&out).unwrap();
                    out.clear();
                }
            });
            read_replies(reader, load.order.len(), answered, sending.thread());
        });
        began.elapsed()
    }

    /// Announces the first `keys` keys, in turn, from so many users.
    pub(crate) fn announce(&mut self, holders: usize, keys: usize) {
        let mut out = Vec::new();
        for holder in 0..holders {
            let ver = contents::key(holder % keys).digest_base64();
            let from = format!("user{holder}@example.org/resource{holder}");
            out.extend_from_slice(&presence(&from, &ver));
            if out.len() > 1 << 16 {
                self.stream.write_all(&out).unwrap();
                out.clear();
            }
        }
        self.stream.write_all(&out).unwrap();
    }

    /// Announces so many unknown keys, from one account each, and answers the questions about them.
    pub(crate) fn teach(&mut self, count: usize, from: usize) {
        for number in from..from + count {
            self.teach_one(number).unwrap();
        }
    }

    /// Announces one unknown key, and answers the question about it.
    pub(crate) fn teach_one(&mut self, number: usize) -> std::io::Result<()> {
        let ver = contents::key(number).digest_base64();
        let presence = presence(&format!("user{number}@example.org/r"), &ver);
        self.stream.write_all(&presence)?;
        let question = read_stanza(&mut self.stream)?;
        let id = attribute(&question, "id");
        let children = String::from_utf8(contents::children(number)).unwrap();
        let answer = format!(
            "<iq type='result' from='user{number}@example.org/r' to='{JID}' id='{id}'><query xmlns='http://jabber.org/protocol/disco#info'>{children}</query></iq>"
        );
        self.stream.write_all(answer.as_bytes())
    }

    /// Asks for one key, and gives the reply.
    #[allow(dead_code, reason = "the tests of the store ask so")]
    pub(crate) fn ask(&mut self, number: usize) -> String {
        self.stream.write_all(&query(number)).unwrap();
        read_stanza(&mut self.stream).unwrap()
    }
}

fn read_stanza(reader: &mut TcpStream) -> std::io::Result<String> {
    let mut stanza = Vec::new();
    let mut byte = [0];
    while !stanza.ends_with(b"</iq>") {
        reader.read_exact(&mut byte)?;
        stanza.push(byte[0]);
    }
    Ok(String::from_utf8(stanza).unwrap())
}

/// The value of the first attribute of that name.
pub(crate) fn attribute<'a>(stanza: &'a str, name: &str) -> &'a str {
    let begin = stanza.find(&format!(" {name}='")).unwrap() + name.len() + 3;
    let end = stanza[begin..].find('\'').unwrap();
    &stanza[begin..begin + end]
}

fn read_replies(
    reader: &mut TcpStream,
    count: usize,
    answered: &AtomicUsize,
    sender: &std::thread::Thread,
) {
    let end = memchr::memmem::Finder::new("</iq>");
    let result = b"<iq type='result'";
    let mut input = vec![0; 1 << 20];
    let (mut kept, mut seen) = (0, 0);
    while seen < count {
        let read = reader.read(&mut input[kept..]).unwrap();
        assert_ne!(
            read, 0,
            "the component closed the stream after {seen} replies"
        );
        let bytes = &input[..kept + read];
        let mut begin = 0;
        while let Some(at) = end.find(&bytes[begin..]) {
            let reply = &bytes[begin..begin + at];
            assert!(
                reply.starts_with(result),
                "not a result: {}",
                String::from_utf8_lossy(reply)
            );
            seen += 1;
            begin += at + 5;
        }
        let rest = bytes.len() - begin;
        input.copy_within(begin..begin + rest, 0);
        kept = rest;
        answered.store(seen, Ordering::Release);
        sender.unpark();
    }
}
