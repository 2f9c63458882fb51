//! What fuzzing begins with: real and small inputs, and mutations of them.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use capsd::bundle::{BundleWriter, Label};
use capsd::caps::{CapsKey, Policy, Verdict, VerifiedInfo, verify};
use capsd::metrics::Metrics;
use capsd::stanza::answer::{AnswerLimits, parse_query};
use capsd::store::{Learned, Store, StoreSettings};

/// What is parsed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    DiscoInfo,
    Stream,
    Request,
    Node,
    Bundle,
    StoredValue,
    Configuration,
    Overrides,
    Http,
}

impl Kind {
    /// Every kind, by the name of its test.
    pub(crate) const ALL: [(&str, Kind); 9] = [
        ("disco_info", Kind::DiscoInfo),
        ("stream", Kind::Stream),
        ("requests", Kind::Request),
        ("nodes", Kind::Node),
        ("bundle", Kind::Bundle),
        ("stored_value", Kind::StoredValue),
        ("configuration", Kind::Configuration),
        ("overrides", Kind::Overrides),
        ("http", Kind::Http),
    ];
}

/// The seeds of a kind.
pub(crate) fn of(kind: Kind) -> Vec<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let kept = |name| read(&tests.join("fuzz/seeds").join(name));
    match kind {
        Kind::DiscoInfo => {
            let mut seeds = read(&tests.join("caps/documents"));
            seeds.extend(read(&tests.join("caps/pairs")));
            if let Some(corpus) = std::env::var_os("CAPSD_CORPUS") {
                seeds.extend(read(&PathBuf::from(corpus).join("hashes")));
            }
            seeds
        }
        Kind::Stream => kept("stream"),
        Kind::Request => kept("request"),
        Kind::Node => kept("node"),
        Kind::Overrides => kept("overrides"),
        Kind::Http => kept("http"),
        Kind::Configuration => read(&tests.join("../config")),
        Kind::Bundle => vec![bundle(0), bundle(1), bundle(20)],
        Kind::StoredValue => stored_values(),
    }
}

/// The files of a directory, in the order of their names.
fn read(directory: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// Contents, each with the key of its hash.
fn contents() -> impl Iterator<Item = (CapsKey, VerifiedInfo)> {
    (0..).map(|nth| {
        let query = format!(
            "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc' name='{nth}'/>\
             <feature var='urn:xmpp:ping'/><x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'>\
             <value>urn:xmpp:dataforms:softwareinfo</value></field><field var='os'><value>{nth}</value></field></x></query>"
        );
        let answer = parse_query(query.as_bytes(), AnswerLimits::default()).unwrap();
        let string = format!("client/pc//{nth}<urn:xmpp:ping<urn:xmpp:dataforms:softwareinfo<os<{nth}<");
        let digest = <sha1::Sha1 as sha1::Digest>::digest(string);
        let key = CapsKey::new(capsd::caps::Family::Xep0115, capsd::caps::Algorithm::Sha1, &digest).unwrap();
        let Verdict::Verified(info) = verify(&key, &answer, &Policy::default()) else {
            panic!("{query} has another hash");
        };
        (key, info)
    })
}

/// A bundle of so many contents, not signed.
fn bundle(count: usize) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seed.capsd");
    let mut writer = BundleWriter::create(&path, SystemTime::UNIX_EPOCH, "a seed").unwrap();
    for (key, info) in contents().take(count) {
        let nodes = ["http://client.example".to_owned()];
        assert!(
            writer
                .add(&info, &[key], &nodes, &Label::default())
                .unwrap()
        );
    }
    writer.finish(None).unwrap();
    std::fs::read(path).unwrap()
}

/// Values as they lie on disk, each behind its id.
fn stored_values() -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let settings = StoreSettings::new(directory.path().join("store"));
    let metrics = std::sync::Arc::new(Metrics::new().unwrap());
    let mut store =
        Store::open(settings.clone(), metrics, Instant::now(), SystemTime::now()).unwrap();
    for (key, info) in contents().take(3) {
        store.put(Learned {
            info,
            keys: vec![key],
            nodes: vec!["http://client.example".to_owned()],
        });
    }
    store.flush();
    store.close();
    let mut values = Vec::new();
    let mut directories = vec![settings.path];
    while let Some(directory) = directories.pop() {
        let below = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        directories.extend(below.filter(|path| path.is_dir()));
        if !directory.join("conf").exists() {
            continue;
        }
        let database = sled::open(&directory).unwrap();
        for tree in database.tree_names() {
            let rows = database.open_tree(tree).unwrap();
            for row in &rows {
                let (id, value) = row.unwrap();
                if capsd::store::content_of_value(&id, &value).is_some() {
                    values.push([&*id, &*value].concat());
                }
            }
        }
    }
    values
}

/// Mutations of seeds, the same in every run: bits flipped, bytes replaced, parts cut, doubled, moved, or taken from another seed.
pub(crate) struct Mutation<'a> {
    seeds: &'a [Vec<u8>],
    state: u64,
}

impl<'a> Mutation<'a> {
    pub(crate) fn new(seeds: &'a [Vec<u8>]) -> Mutation<'a> {
        Mutation { seeds, state: 1 }
    }

    /// A number below the bound (splitmix64).
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }

    /// A short part of some bytes.
    fn part(&mut self, len: usize) -> std::ops::Range<usize> {
        let from = self.below(len + 1);
        let to = from + self.below((len - from).min(64) + 1);
        from..to
    }

    /// The next mutation.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let seeds = self.seeds;
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let part = self.part(bytes.len());
            let at = self.below(bytes.len() + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => {
                    bytes[at] = [0, b'<', b'>', b'\'', b'/', b'#', 0x7f, 0xff][self.below(8)]
                }
                2 => drop(bytes.drain(part)),
                3 => {
                    let copy = bytes[part].to_vec();
                    bytes.splice(at..at, copy);
                }
                4 => {
                    let other = &seeds[self.below(seeds.len())];
                    let copy = other[self.part(other.len())].to_vec();
                    bytes.splice(at..at, copy);
                }
                _ => bytes.truncate(at),
            }
        }
        bytes
    }
}
