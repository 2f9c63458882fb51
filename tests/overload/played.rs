//! A server with everybody behind it, beside a daemon.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::contents;
use crate::daemon::Daemon;
use crate::server::{JID, Server, attribute, presence, query_from};

/// Contents that are stored from the beginning.
pub(crate) const STORED: usize = 100;

/// A daemon and the server's end of its link.
pub(crate) struct Played {
    pub(crate) daemon: Daemon,
    pub(crate) store: PathBuf,
    pub(crate) writer: TcpStream,
    pub(crate) reader: BufReader<TcpStream>,
    /// The most memory that the daemon had before.
    before: u64,
    _directory: tempfile::TempDir,
}

impl Played {
    /// A daemon that knows the first [`STORED`] contents, with the default settings.
    pub(crate) fn new() -> Played {
        Played::with("")
    }

    /// One with other settings: lines of `[limits]` and sections after it.
    pub(crate) fn with(settings: &str) -> Played {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        contents::fill(&store, STORED);
        let server = Server::listen();
        let daemon = Daemon::start_limited(&store, &server.address(), settings);
        let writer = server.accept().into_stream();
        daemon.wait_until_ready();
        let reader = writer.try_clone().unwrap();
        let patience = Some(Duration::from_secs(60));
        reader.set_read_timeout(patience).unwrap();
        writer.set_write_timeout(patience).unwrap();
        let mut played = Played {
            before: 0,
            daemon,
            store,
            writer,
            reader: BufReader::new(reader),
            _directory: directory,
        };
        for number in 0..STORED {
            played.assert_served(number);
        }
        played.before = played.daemon.peak();
        played
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).unwrap();
    }

    /// The next iq.
    pub(crate) fn next(&mut self) -> String {
        next(&mut self.reader)
    }

    /// Whether an honest asker gets the content with that number, at once.
    pub(crate) fn assert_served(&mut self, number: usize) {
        let from = format!("honest{number}@example.org/r");
        self.send(&query_from(&from, "honest", number));
        let reply = self.next();
        assert_eq!(attribute(&reply, "id"), "honest", "{reply}");
        assert_is_content(&reply, number);
    }

    /// By how many bytes the most memory that the daemon ever had has grown since the beginning.
    pub(crate) fn growth(&self) -> u64 {
        self.daemon.peak() - self.before
    }

    /// Says how much memory something took, and checks that it was not more.
    pub(crate) fn assert_growth(&self, what: &str, most: u64) {
        let growth = self.growth();
        println!(
            "{what}: the peak grew by {:.1} MiB",
            growth as f64 / 1048576.0
        );
        assert!(growth <= most, "{what}: {growth} bytes, more than {most}");
    }
}

/// The next iq of a stream.
pub(crate) fn next(reader: &mut BufReader<TcpStream>) -> String {
    let mut stanza = Vec::new();
    while !stanza.ends_with(b"</iq>") {
        let read = reader.read_until(b'>', &mut stanza).expect("nothing came");
        assert_ne!(read, 0, "the daemon closed the stream");
    }
    String::from_utf8(stanza).unwrap()
}

pub(crate) fn assert_is_content(reply: &str, number: usize) {
    let children = String::from_utf8(contents::children(number)).unwrap();
    assert!(reply.starts_with("<iq type='result'"), "{reply}");
    assert!(reply.contains(&children), "{reply}");
}

/// A presence that announces the content with that number.
pub(crate) fn announces(from: &str, number: usize) -> Vec<u8> {
    presence(from, &contents::key(number).digest_base64())
}

/// The answer to a question, with that inside.
pub(crate) fn answer(question: &str, inside: &str) -> Vec<u8> {
    let (to, id) = (attribute(question, "to"), attribute(question, "id"));
    format!(
        "<iq type='result' from='{to}' to='{JID}' id='{id}'><query xmlns='http://jabber.org/protocol/disco#info'>{inside}</query></iq>"
    )
    .into_bytes()
}
