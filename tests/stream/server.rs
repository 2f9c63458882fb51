//! The server's end of a component stream.

use std::time::Duration;

use sha1::Digest as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The component that the server knows.
pub(crate) const COMPONENT: &str = "caps.example.org";

/// Its secret.
pub(crate) const SECRET: &str = "open sesame";

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// The header with which a server answers.
pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
     xmlns:stream='http://etherx.jabber.org/streams' from='caps.example.org' id='stream-1' xml:lang='en'>";

/// A stream as the server sees it.
pub(crate) struct Server<S> {
    pub(crate) io: S,
    received: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<S> {
    pub(crate) fn new(io: S) -> Server<S> {
        let received = Vec::new();
        Server { io, received }
    }

    /// Takes the stream's header and the handshake, checks the secret and accepts it (XEP-0114 section 3).
    pub(crate) async fn accept(io: S) -> Server<S> {
        Server::accept_with(io, SECRET).await
    }

    /// The same with another secret.
    pub(crate) async fn accept_with(io: S, secret: &str) -> Server<S> {
        let mut server = Server::new(io);
        server.take_header().await;
        server.send(HEADER).await;
        let digest = sha1::Sha1::digest(format!("stream-1{secret}"));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(server.next().await.contains(&format!(">{hex}<")));
        server.send("<handshake/>").await;
        server
    }

    /// Takes the header, which names the component.
    pub(crate) async fn take_header(&mut self) {
        while !self.text().contains("<stream:stream") || !self.text().ends_with('>') {
            assert!(self.read().await, "the end instead of a header");
        }
        assert!(
            self.text().contains(&format!("to='{COMPONENT}'")),
            "{}",
            self.text()
        );
        self.received.clear();
    }

    fn text(&self) -> String {
        String::from_utf8(self.received.clone()).unwrap()
    }

    /// Reads some more; false at the end.
    async fn read(&mut self) -> bool {
        self.io.read_buf(&mut self.received).await.unwrap() > 0
    }

    pub(crate) async fn send(&mut self, xml: &str) {
        self.io.write_all(xml.as_bytes()).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// The next element at the top level; `None` where the stream ends instead.
    pub(crate) async fn next_or_end(&mut self) -> Option<String> {
        loop {
            if let Some(end) = end_of_element(&self.received) {
                let rest = self.received.split_off(end);
                let element = std::mem::replace(&mut self.received, rest);
                return Some(String::from_utf8(element).unwrap());
            }
            let read = tokio::time::timeout(PATIENCE, self.read()).await;
            if !read.expect("nothing came") {
                return None;
            }
        }
    }

    /// The next element at the top level.
    pub(crate) async fn next(&mut self) -> String {
        self.next_or_end().await.expect("the stream ended")
    }

    /// Waits until the component has closed the connection; the bytes that came before that and were not taken yet.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.received);
        let all = self.io.read_to_end(&mut rest);
        // A connection that was reset has ended too.
        let _ = tokio::time::timeout(PATIENCE, all)
            .await
            .expect("open still");
        String::from_utf8(rest).unwrap()
    }
}

/// Where the first whole element ends. Everything that capsd sends escapes `<` and `>` in text and attributes.
fn end_of_element(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    while let Some(length) = bytes[at..].iter().position(|byte| *byte == b'>') {
        let end = at + length;
        let start = at + bytes[at..].iter().position(|byte| *byte == b'<')?;
        match (&bytes[start..end], bytes[end - 1]) {
            ([b'<', b'/', ..], _) => depth -= 1,
            (_, b'/') => {}
            _ => depth += 1,
        }
        at = end + 1;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The value of the first attribute of that name.
pub(crate) fn attribute(xml: &str, name: &str) -> String {
    let (_, rest) = xml
        .split_once(&format!(" {name}='"))
        .unwrap_or_else(|| panic!("no {name}: {xml}"));
    rest.split_once('\'').unwrap().0.to_owned()
}
