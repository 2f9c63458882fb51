//! A service with its tiers and a link over TCP, and a server that is played by the test.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use capsd::caps::Policy;
use capsd::component::session::Credentials;
use capsd::component::{self, Link, LinkHandler};
use capsd::holders::LinkId;
use capsd::metrics::Metrics;
use capsd::resolver::flights;
use capsd::resolver::limits::Rate;
use capsd::resolver::probation;
use capsd::resolver::{Resolver, Upstream};
use capsd::service::{self, LinkWatcher, Links, Service, ServiceHandler};
use capsd::trusted::{Sources, Trusted};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::contents::{self, key, mark, query};
use crate::server::{COMPONENT, PATIENCE, SECRET, Server, attribute};
use crate::setup;

/// Somebody who may ask.
pub(crate) const ASKER: &str = "asker@example.org/x";

/// Somebody who may be asked.
pub(crate) const HOLDER: &str = "holder@example.org/r";

/// A permitted domain.
pub(crate) const DOMAIN: &str = "example.org";

/// Why the link was lost, each time.
#[derive(Debug, Default)]
struct Downs(Mutex<Vec<String>>);

impl LinkWatcher for Downs {
    fn up(&self, _: LinkId) {}

    fn down(&self, _: LinkId, cause: &str) {
        self.0.lock().unwrap().push(cause.to_owned());
    }
}

/// Everything but the server.
pub(crate) struct World {
    pub(crate) service: Arc<Service>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) links: Arc<Links>,
    pub(crate) metrics: Arc<Metrics>,
    downs: Arc<Downs>,
    listener: TcpListener,
    close: CancellationToken,
    _directory: tempfile::TempDir,
}

/// The settings of the design; nobody asks so much in a test.
fn settings() -> flights::Settings {
    let plenty = Rate {
        interval: Duration::from_micros(1),
        burst: NonZeroU32::new(1_000_000).unwrap(),
    };
    flights::Settings {
        new_keys_per_account: plenty,
        new_keys_per_domain: plenty,
        questions_per_account: plenty,
        questions_per_domain: plenty,
        probation: probation::Settings {
            second_uses_per_account: plenty,
            ..setup::settings().probation
        },
        ..setup::settings()
    }
}

pub(crate) fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(|_, _| {}).await
    }

    /// A world with other settings than the design's.
    pub(crate) async fn with(
        change: impl FnOnce(&mut flights::Settings, &mut service::Settings),
    ) -> World {
        World::without_link(change).await.opened()
    }

    /// A world in which what is trusted is still being read.
    pub(crate) async fn before_trusted_is_read() -> World {
        World::build(|_, _| {}, None, &[DOMAIN]).await.opened()
    }

    /// Opens the link.
    fn opened(self) -> World {
        let world = self;
        let handler = world.handler();
        let link = Arc::clone(world.link());
        tokio::spawn(component::run(link, handler, clock, world.close.clone()));
        world
    }

    /// A world whose link is not opened.
    pub(crate) async fn without_link(
        change: impl FnOnce(&mut flights::Settings, &mut service::Settings),
    ) -> World {
        let nothing = Trusted::open(&Sources::default(), &Metrics::new().unwrap());
        World::build(change, Some(nothing), &[DOMAIN]).await
    }

    /// A world in which other domains than the served one are feeds.
    pub(crate) async fn with_feeds(feeds: &[&str]) -> World {
        let nothing = Trusted::open(&Sources::default(), &Metrics::new().unwrap());
        let world = World::build(|_, _| {}, Some(nothing), feeds).await;
        world.opened()
    }

    async fn build(
        change: impl FnOnce(&mut flights::Settings, &mut service::Settings),
        trusted: Option<Trusted>,
        feeds: &[&str],
    ) -> World {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut flights = settings();
        let mut service = service::Settings {
            allow_md5: false,
            queries_per_asker: flights.new_keys_per_account,
            batch_keys_per_asker: flights.new_keys_per_account,
            batch_bytes: 256 << 10,
            waiting_batch_bytes: 16 << 20,
            max_subscribers: 100,
            wall_clock: SystemTime::now,
        };
        change(&mut flights, &mut service);
        let link = component::Settings {
            credentials: Credentials {
                jid: COMPONENT.to_owned(),
                secret: SECRET.to_owned(),
            },
            server: listener.local_addr().unwrap().to_string(),
            domains: vec![DOMAIN.to_owned()],
            admins: vec!["admin@example.org".to_owned()],
            feeds: feeds.iter().map(|feed| (*feed).to_owned()).collect(),
            queue_bytes: 1 << 20,
        };
        let counted = metrics.component(COMPONENT).unwrap();
        let link = Arc::new(Link::new(LinkId(0), link, counted));
        let links = Arc::new(Links(vec![link]));
        let resolver = start_resolver(flights, trusted, &directory, &metrics);
        resolver.connect(Arc::clone(&links) as Arc<dyn Upstream>);
        let downs = Arc::new(Downs::default());
        let service = Arc::new(Service::new(
            service,
            &Vec::new(),
            Arc::clone(&resolver),
            Arc::clone(&downs) as Arc<dyn LinkWatcher>,
            1,
            Arc::clone(&metrics),
            clock(),
        ));
        let close = CancellationToken::new();
        let timers = Arc::clone(&resolver);
        tokio::spawn(async move { timers.run_timers(clock).await });
        World {
            service,
            resolver,
            links,
            metrics,
            downs,
            listener,
            close,
            _directory: directory,
        }
    }

    pub(crate) fn handler(&self) -> Arc<dyn LinkHandler> {
        Arc::new(ServiceHandler(Arc::clone(&self.service)))
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.links.0[0]
    }

    /// The server's end of the next stream, accepted.
    pub(crate) async fn accept(&self) -> Server<TcpStream> {
        let accepting = tokio::time::timeout(PATIENCE, self.listener.accept());
        let (io, _) = accepting.await.expect("no connection comes").unwrap();
        // Or every second small stanza would wait for the acknowledgement of the first.
        io.set_nodelay(true).unwrap();
        Server::accept(io).await
    }

    /// Why the link was lost the last time.
    pub(crate) fn cause(&self) -> String {
        let downs = self.downs.0.lock().unwrap();
        downs.last().expect("it was never lost").clone()
    }

    pub(crate) fn questions(&self) -> u64 {
        self.metrics.upstream_queries_sent.get()
    }

    /// A stream over which content 1 was learned.
    pub(crate) async fn that_knows_1(&self) -> Server<TcpStream> {
        let mut server = self.accept().await;
        server.learn("1").await;
        server
    }

    /// Whether content 1 is served, and nobody was asked for it.
    pub(crate) async fn assert_knows_1(&self, server: &mut Server<TcpStream>) {
        let before = self.questions();
        server.ask(ASKER, "known", &node("K1")).await;
        let reply = server.next().await;
        assert_eq!(attribute(&reply, "id"), "known", "{reply}");
        assert!(reply.contains(&mark("1")), "{reply}");
        assert_eq!(self.questions(), before);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.close.cancel();
    }
}

fn start_resolver(
    settings: flights::Settings,
    trusted: Option<Trusted>,
    directory: &tempfile::TempDir,
    metrics: &Arc<Metrics>,
) -> Arc<Resolver> {
    let below = setup::tiers_in(directory.path(), trusted, metrics, Instant::now());
    let metrics = Arc::clone(metrics);
    Resolver::start(
        settings,
        Policy::default(),
        1 << 20,
        1,
        below,
        metrics,
        Instant::now,
    )
    .unwrap()
}

/// The node of a key.
pub(crate) fn node(name: &str) -> String {
    key(name).to_node(contents::NODE_URL)
}

/// A presence with the `<c/>` of a 0115 key.
pub(crate) fn presence(from: &str, name: &str) -> String {
    let ver = key(name).digest_base64();
    let node = contents::NODE_URL;
    format!(
        "<presence from='{from}' to='{COMPONENT}' xml:lang='en'>\
         <c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{node}' ver='{ver}'/></presence>"
    )
}

/// The answer to a question: the content.
pub(crate) fn answer(question: &str, content: &str) -> String {
    let (from, id) = (attribute(question, "to"), attribute(question, "id"));
    let query = query(content);
    format!("<iq type='result' from='{from}' to='{COMPONENT}' id='{id}' xml:lang='en'>{query}</iq>")
}

impl Server<TcpStream> {
    /// A disco#info question from somebody.
    pub(crate) async fn ask(&mut self, from: &str, id: &str, node: &str) {
        let ask = format!(
            "<iq type='get' from='{from}' to='{COMPONENT}' id='{id}' xml:lang='en'>\
             <query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/></iq>"
        );
        self.send(&ask).await;
    }

    /// Has a holder announce a content and answer the question.
    pub(crate) async fn learn(&mut self, content: &str) {
        self.send(&presence(HOLDER, &format!("K{content}"))).await;
        let question = self.next().await;
        assert_eq!(attribute(&question, "to"), HOLDER, "{question}");
        self.send(&answer(&question, content)).await;
        self.send(&presence(HOLDER, &format!("K{content}"))).await;
    }

    /// Waits until everything before was worked off; what was sent meanwhile.
    pub(crate) async fn settle(&mut self) -> Vec<String> {
        let ping = format!(
            "<iq type='get' from='{ASKER}' to='{COMPONENT}' id='settle'><ping xmlns='urn:xmpp:ping'/></iq>"
        );
        self.send(&ping).await;
        let mut before = Vec::new();
        loop {
            let next = self.next().await;
            if next.contains("id='settle'") {
                return before;
            }
            before.push(next);
        }
    }
}
