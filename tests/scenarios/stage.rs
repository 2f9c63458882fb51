//! A resolver with a real store, a clock that is moved by hand, and everybody around it played by the test.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use capsd::cache::Entry;
use capsd::caps::{Policy, Reason};
use capsd::holders::LinkId;
use capsd::metrics::{Metrics, UpstreamResult};
use capsd::resolver::flights::{QuestionId, Served, Settings};
use capsd::resolver::{Reply, Resolver, Upstream};
use capsd::store::Learned;
use capsd::trusted::{Overrides, Sources, Trusted};

use crate::contents::{self, announcement, key};
use crate::setup::{open_store, tiers_in};

/// How many links there are.
pub(crate) const LINKS: usize = 2;

/// A question that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) id: QuestionId,
    pub(crate) link: LinkId,
    pub(crate) address: String,
    pub(crate) node: String,
}

/// What a waiter was told: the content with where it came from, or the reason.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// From the hot tier, without a step of the resolver.
    Hot(Arc<Entry>),
    /// By the resolver.
    By(Result<(Arc<Entry>, Served), Reason>),
}

/// Where questions go.
#[derive(Debug, Default)]
struct Outgoing(Mutex<VecDeque<Asked>>);

impl Upstream for Outgoing {
    fn flush(&self) {}

    fn ask(&self, link: LinkId, id: QuestionId, address: &str, node: &str) -> bool {
        let address = address.to_owned();
        let node = node.to_owned();
        self.0.lock().unwrap().push_back(Asked {
            id,
            link,
            address,
            node,
        });
        true
    }
}

/// The resolver and its world.
pub(crate) struct Stage {
    settings: Settings,
    directory: tempfile::TempDir,
    began: Instant,
    /// Nanoseconds since `began`.
    clock: Arc<AtomicU64>,
    pub(crate) resolver: Arc<Resolver>,
    outgoing: Arc<Outgoing>,
    tell: mpsc::Sender<(String, Told)>,
    told: mpsc::Receiver<(String, Told)>,
    /// Questions that nobody expected yet.
    pub(crate) questions: Vec<Asked>,
    /// What waiters were told and nobody expected yet.
    pub(crate) news: Vec<(String, Told)>,
    /// Questions that were expected and can be answered, the latest last.
    pub(crate) open: Vec<Asked>,
    pub(crate) metrics: Arc<Metrics>,
    runtime: tokio::runtime::Runtime,
}

impl Stage {
    /// A resolver whose links are up; `stored` is in the learned tier and `trusted` in the trusted one.
    pub(crate) fn new(settings: Settings, stored: &[String], trusted: &[String]) -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let metrics = Arc::new(Metrics::new().unwrap());
        write_trusted(&directory.path().join("trusted"), trusted);
        if !stored.is_empty() {
            let mut store = open_store(directory.path().join("store"), &metrics, began);
            for content in stored {
                store.put(Learned {
                    info: contents::verified(content),
                    keys: vec![key(&format!("K{content}")), key(&format!("N{content}"))],
                    nodes: Vec::new(),
                });
            }
            store.close();
        }
        let clock = Arc::new(AtomicU64::new(0));
        let outgoing = Arc::new(Outgoing::default());
        let (tell, told) = mpsc::channel();
        let resolver = start(&settings, &directory, began, &clock, &metrics, &outgoing);
        Stage {
            settings,
            directory,
            began,
            clock,
            resolver,
            outgoing,
            tell,
            told,
            questions: Vec::new(),
            news: Vec::new(),
            open: Vec::new(),
            metrics,
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.began + Duration::from_nanos(self.clock.load(Ordering::Relaxed))
    }

    /// Lets the time pass, timer by timer.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now() + time;
        loop {
            let next = self.resolver.expire(self.now());
            self.settle();
            let at = next.map_or(end, |at| at.min(end));
            let at = u64::try_from((at - self.began).as_nanos()).unwrap();
            self.clock.store(at, Ordering::Relaxed);
            if self.now() == end {
                break;
            }
        }
        self.resolver.expire(end);
        self.settle();
        // The disk is a real one and knows nothing of this clock: by now it would have ended what the store has begun.
        let work = self.resolver.work(|below| below.store.flush());
        self.runtime.block_on(work).unwrap();
    }

    pub(crate) fn announce(&mut self, address: &str, keys: &str, link: LinkId, askable: bool) {
        let announcement = announcement(keys);
        let now = self.now();
        self.resolver
            .announce(now, link, address, &announcement, askable);
        self.settle();
    }

    /// Puts other files of an operator in force: trusted contents, then `deny` and keys, then `pin` and pairs of key and content.
    pub(crate) fn trust(&mut self, words: &[&str]) {
        let directory = self.directory.path().join("trusted");
        std::fs::remove_dir_all(&directory).unwrap();
        let section = |begin: &'static str| {
            let words = words.iter().skip_while(move |word| **word != begin);
            words
                .skip(1)
                .take_while(|word| !["deny", "pin"].contains(word))
        };
        let trusted = words
            .iter()
            .take_while(|word| !["deny", "pin"].contains(word));
        write_trusted(
            &directory,
            &trusted.map(|w| (*w).to_owned()).collect::<Vec<_>>(),
        );
        let mut rules = String::new();
        for name in section("deny") {
            rules += &format!("[[deny]]\nkey = '{}'\nreason = 'a test'\n", key(name));
        }
        for pair in section("pin").collect::<Vec<_>>().chunks(2) {
            let (name, content) = (pair[0], pair[1]);
            let file = self.directory.path().join(format!("pinned-{content}"));
            std::fs::write(&file, contents::query(content)).unwrap();
            rules += &format!(
                "[[pin]]\nkey = '{}'\nfile = {file:?}\nreason = 'a test'\n",
                key(name)
            );
        }
        let file = self.directory.path().join("overrides.toml");
        std::fs::write(&file, rules).unwrap();
        let overrides = Arc::new(Overrides::load(&file).unwrap());
        let trusted = Trusted::open(&sources(&self.directory), &self.metrics);
        self.resolver.trust(trusted, overrides);
        // What is being asked for is looked up again after that.
        self.settle();
    }

    /// Asks as the service does: the hot tier first.
    pub(crate) fn ask(&mut self, who: &str, name: &str) {
        let key = key(name);
        let address = if who.contains('@') {
            who.to_owned()
        } else {
            format!("{who}@a/asker")
        };
        let hot = self.resolver.hot(&key);
        let now = self.now();
        match hot.or_else(|| self.resolver.on_probation(now, &key, &address)) {
            Some(entry) => self.news.push((who.to_owned(), Told::Hot(entry))),
            None => {
                let told = self.tell.clone();
                let who = who.to_owned();
                let tell = move |_, outcome| told.send((who, Told::By(outcome))).unwrap();
                self.resolver.resolve(now, key, &address, Box::new(tell));
            }
        }
        self.settle();
    }

    pub(crate) fn reply(&mut self, asked: &Asked, from: &str, link: LinkId, reply: Reply) {
        self.resolver.reply(self.now(), asked.id, link, from, reply);
        self.settle();
    }

    pub(crate) fn refuse(&mut self, asked: &Asked, result: UpstreamResult) {
        let (link, from) = (asked.link, asked.address.clone());
        self.reply(asked, &from, link, Reply::Refusal(result));
    }

    /// Ends the resolver and begins another over the same store, its links up.
    pub(crate) fn restart(&mut self) {
        self.runtime.block_on(self.resolver.close());
        self.resolver = start(
            &self.settings,
            &self.directory,
            self.began,
            &self.clock,
            &self.metrics,
            &self.outgoing,
        );
    }

    /// Waits until the thread of the tiers has worked off what it was given, and takes in what left the resolver.
    ///
    /// The thread works in order, so it has when it has worked off one thing more.
    pub(crate) fn settle(&mut self) {
        self.runtime.block_on(self.resolver.work(|_| ())).unwrap();
        self.take_in();
    }

    /// Takes in what left the resolver so far.
    pub(crate) fn take_in(&mut self) {
        self.questions
            .extend(self.outgoing.0.lock().unwrap().drain(..));
        self.news.extend(self.told.try_iter());
    }
}

fn sources(directory: &tempfile::TempDir) -> Sources {
    Sources {
        directories: vec![directory.path().join("trusted")],
        ..Sources::default()
    }
}

/// A directory with those contents under their 0115 keys.
fn write_trusted(directory: &Path, contents: &[String]) {
    std::fs::create_dir(directory).unwrap();
    for content in contents {
        let node = key(&format!("K{content}")).to_node(contents::NODE_URL);
        let name = percent_encoding::utf8_percent_encode(&node, percent_encoding::NON_ALPHANUMERIC);
        let path = directory.join(format!("sha-1_{name}.xml"));
        std::fs::write(path, contents::query(content)).unwrap();
    }
}

fn start(
    settings: &Settings,
    directory: &tempfile::TempDir,
    began: Instant,
    clock: &Arc<AtomicU64>,
    metrics: &Arc<Metrics>,
    outgoing: &Arc<Outgoing>,
) -> Arc<Resolver> {
    let trusted = Trusted::open(&sources(directory), metrics);
    let below = tiers_in(directory.path(), Some(trusted), metrics, began);
    let clock = Arc::clone(clock);
    let resolver = Resolver::start(
        *settings,
        Policy::default(),
        1 << 20,
        LINKS,
        below,
        Arc::clone(metrics),
        move || began + Duration::from_nanos(clock.load(Ordering::Relaxed)),
    )
    .unwrap();
    resolver.connect(Arc::clone(outgoing) as Arc<dyn Upstream>);
    for link in 0..LINKS {
        resolver.link_up(LinkId(u16::try_from(link).unwrap()));
    }
    resolver
}
