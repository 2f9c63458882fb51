//! `capsd export`, and the way there and back.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use capsd::bundle::{Bundle, BundleError, Signers};
use capsd::caps::{CapsKey, Policy, Verdict, verify};
use capsd::stanza::answer::{AnswerLimits, parse_query};
use capsd::store::{Learned, PagePlace, Store, standard_keys};

use crate::contents::{NODE_URL, directory, file_name, name, path_0390, query, ver};
use crate::machine::{Machine, tree};

/// Content `number` as the daemon would have learned it from one client that announced it with that node URL.
fn learned(number: u32, node_url: &str) -> Learned {
    let answer = parse_query(query(number).as_bytes(), AnswerLimits::default()).unwrap();
    let key = CapsKey::from_node(&format!("#{}", ver(number))).unwrap();
    let Verdict::Verified(info) = verify(&key, &answer, &Policy::default()) else {
        panic!("content {number}");
    };
    Learned {
        keys: standard_keys(&info, &Policy::default()),
        info,
        nodes: vec![node_url.to_owned()],
    }
}

/// What is in a store: of each content its text, keys and nodes.
fn contents(mut store: Store) -> BTreeSet<(String, Vec<CapsKey>, Vec<String>)> {
    let mut contents = BTreeSet::new();
    let mut place = Some(PagePlace::default());
    while let Some(from) = place {
        let (page, next) = store.page(from, 100).unwrap();
        for mut entry in page {
            entry.keys.sort();
            entry.nodes.sort();
            contents.insert((format!("{:?}", entry.info.info()), entry.keys, entry.nodes));
        }
        place = next;
    }
    store.close();
    contents
}

#[test]
fn only_what_is_common_is_exported_unless_all_is_asked_for() {
    let machine = Machine::new();
    let mut store = machine.store();
    for number in 0..10 {
        store.put(learned(number, "urn:of:one:account"));
    }
    // Several accounts announced the hash of one, and the node with it, too; of two others only the hash.
    store.put_seen(learned(3, NODE_URL));
    for number in [4, 5] {
        store.put_seen(Learned {
            nodes: vec![],
            ..learned(number, "")
        });
    }
    store.close();
    let target = machine.path("exported");
    let report = machine.json("export", &[&target], 0);
    assert_eq!(report["contents"], 3);
    assert_eq!(report["left-out"]["rare"], 7);
    assert_eq!(report["left-out"]["without-node"], 2);
    let files = tree(&target);
    let exported: Vec<_> = files
        .keys()
        .filter(|path| path.starts_with("hashes"))
        .collect();
    assert_eq!(exported, [&Path::new("hashes").join(name(3))]);
    for number in 0..10 {
        let expected = [3, 4, 5].contains(&number);
        assert_eq!(files.contains_key(&path_0390(number)), expected, "{number}");
    }
    assert!(
        !files
            .values()
            .any(|text| String::from_utf8_lossy(text).contains("one:account"))
    );
    let text = machine.run("export", &[&target]).expect(0).out;
    assert!(
        text.contains("       7 contents left out: announced by fewer than 3 accounts"),
        "{text}"
    );

    let report = machine.json("export", &[&target, Path::new("--all")], 0);
    assert_eq!(
        (&report["contents"], &report["left-out"]["rare"]),
        (&10.into(), &0.into())
    );
    let files = tree(&target);
    let of_one = file_name("sha-1", &format!("urn:of:one:account#{}", ver(3)));
    assert!(files.contains_key(&Path::new("hashes").join(of_one)));
    assert!((0..10).all(|number| files.contains_key(&path_0390(number))));
    let help = machine.run("export", &[Path::new("--help")]).expect(0).out;
    assert!(help.contains("Rare hashes identify people"), "{help}");
}

#[test]
fn a_file_is_the_query_and_nothing_else() {
    let machine = Machine::new();
    machine
        .run("import", &[&directory(&machine.path("files"), 0..2)])
        .expect(0);
    let target = machine.path("exported");
    machine.run("export", &[&target]).expect(0);
    let expected = format!("<?xml version='1.0' encoding='utf-8'?>\n{}\n", query(1));
    for path in [Path::new("hashes").join(name(1)), path_0390(1)] {
        assert_eq!(fs::read_to_string(target.join(path)).unwrap(), expected);
    }
}

/// Import, export of all, import into another store: both hold the same; a third export is the second, byte for byte.
fn there_and_back(first: &Machine, daemon: bool) {
    let there = first.path("there");
    let running = daemon.then(|| first.daemon());
    first.run("export", &[&there, Path::new("--all")]).expect(0);
    drop(running);
    let second = Machine::new();
    let running = daemon.then(|| second.daemon());
    let report = second.json("import", &[&there], 0);
    assert_eq!(report["passed-over"], 1);
    let back = second.path("back");
    second.run("export", &[&back]).expect(0);
    drop(running);
    let (before, after) = (contents(first.store()), contents(second.store()));
    assert!(!before.is_empty());
    assert_eq!(before, after);
    assert_eq!(tree(&there), tree(&back));
}

#[test]
fn what_was_exported_is_imported_again() {
    for daemon in [false, true] {
        let machine = Machine::new();
        machine
            .run("import", &[&directory(&machine.path("files"), 0..100)])
            .expect(0);
        there_and_back(&machine, daemon);
    }
}

#[test]
fn the_corpus_goes_there_and_back() {
    let Some(corpus) = std::env::var_os("CAPSD_CORPUS") else {
        println!("CAPSD_CORPUS is not set: the corpus was not sent there and back");
        return;
    };
    let machine = Machine::new();
    machine.run("import", &[Path::new(&corpus)]).expect(1);
    there_and_back(&machine, false);
}

#[test]
fn nothing_but_an_export_is_replaced() {
    let machine = Machine::new();
    machine
        .run("import", &[&directory(&machine.path("files"), 0..3)])
        .expect(0);
    let target = machine.path("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("letter.txt"), "dear").unwrap();
    let ended = machine.run("export", &[&target]).expect(2);
    assert!(
        ended
            .err
            .contains("is no export of capsd, so it is not replaced"),
        "{}",
        ended.err
    );
    assert_eq!(tree(&target).len(), 1);

    fs::remove_file(target.join("letter.txt")).unwrap();
    machine.run("export", &[&target]).expect(0);
    let files = tree(&target);
    assert_eq!(files.len(), 1 + 3 * 4);
    // What is in the way of a new one goes with the old one.
    fs::remove_file(target.join("hashes").join(name(0))).unwrap();
    fs::write(target.join("hashes/old.xml"), "old").unwrap();
    machine.run("export", &[&target]).expect(0);
    assert_eq!(tree(&target), files);

    let file = machine.path("file");
    fs::write(&file, "dear").unwrap();
    machine.run("export", &[&file]).expect(2);
    assert_eq!(fs::read(&file).unwrap(), b"dear");
    let ended = machine
        .run("export", &[&machine.path("nowhere/target")])
        .expect(2);
    assert!(
        ended
            .err
            .contains("nowhere/target: No such file or directory"),
        "{}",
        ended.err
    );
    for name in ["/", "..", "."] {
        assert_eq!(machine.run("export", &[Path::new(name)]).code, 2, "{name}");
    }
    assert_eq!(unfinished(&machine.path("")), [] as [PathBuf; 0]);
}

/// A bundle holds the same as a directory, and is signed if there is a key.
#[test]
fn a_bundle_goes_there_and_back() {
    let machine = Machine::new();
    machine
        .run("import", &[&directory(&machine.path("files"), 0..100)])
        .expect(0);
    let mut store = machine.store();
    store.put(learned(100, NODE_URL));
    store.close();
    let bundle = machine.path("clients.capsd");
    let ended = machine.run("export", &[&bundle]).expect(0);
    assert!(
        ended.out.starts_with("     100 contents in 1 file: "),
        "{}",
        ended.out
    );
    assert!(
        ended
            .out
            .contains("       1 contents left out: announced by fewer than 3"),
        "{}",
        ended.out
    );
    let second = Machine::new();
    let report = second.json("import", &[&bundle], 0);
    assert_eq!((&report["new"], &report["known"]), (&100.into(), &0.into()));
    let mut expected = contents(machine.store());
    expected.retain(|(text, ..)| !text.contains("urn:x:a:000100"));
    assert_eq!(contents(second.store()), expected);
    assert_eq!(unfinished(&machine.path("")), [] as [PathBuf; 0]);

    // In a directory it is found by its name; damaged it is refused, as far as it is.
    let directory = machine.path("bundles");
    fs::create_dir(&directory).unwrap();
    fs::rename(&bundle, directory.join("clients.capsd")).unwrap();
    assert_eq!(second.json("import", &[&directory], 0)["known"], 100);
    let mut bytes = fs::read(directory.join("clients.capsd")).unwrap();
    bytes[4096 + 100] ^= 1;
    fs::write(directory.join("clients.capsd"), bytes).unwrap();
    let report = second.json("import", &[&directory], 1);
    let detail = report["list"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("it is damaged"), "{detail}");
}

#[test]
fn a_bundle_is_signed_with_the_key_of_minisign() {
    let machine = Machine::new();
    machine
        .run("import", &[&directory(&machine.path("files"), 0..3)])
        .expect(0);
    let keys = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let secret = machine.path("secret.key");
    fs::write(&secret, keys.sk.to_box(None).unwrap().to_string()).unwrap();
    let bundle = machine.path("signed.capsd");
    let sign = Path::new("--sign");
    machine.run("export", &[&bundle, sign, &secret]).expect(0);
    let signers = |keys: &minisign::KeyPair| Signers::new(&[keys.pk.to_base64()], false).unwrap();
    assert_eq!(Bundle::open(&bundle, &signers(&keys)).unwrap().len(), 3);
    let others = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    assert!(matches!(
        Bundle::open(&bundle, &signers(&others)),
        Err(BundleError::UnknownSigner)
    ));

    // A bundle may take the place of a bundle, and of nothing else.
    machine.run("export", &[&bundle]).expect(0);
    assert!(matches!(
        Bundle::open(&bundle, &signers(&keys)),
        Err(BundleError::Unsigned)
    ));
    let letter = machine.path("letter.capsd");
    fs::write(&letter, "dear").unwrap();
    machine.run("export", &[&letter]).expect(2);
    assert_eq!(fs::read(&letter).unwrap(), b"dear");
    for (key, message) in [
        (machine.path("nowhere"), "cannot read"),
        (letter, "Give a secret key that `minisign -G` made"),
    ] {
        let ended = machine.run("export", &[&bundle, sign, &key]).expect(2);
        assert!(ended.err.contains(message), "{}", ended.err);
    }
    let ended = machine
        .run("export", &[&machine.path("directory"), sign, &secret])
        .expect(2);
    assert!(
        ended.err.contains("only a bundle can be signed"),
        "{}",
        ended.err
    );
}

/// What the operator denies is neither taken in nor given out, with and without a daemon.
#[test]
fn denied_keys_are_neither_imported_nor_exported() {
    for running in [false, true] {
        let machine = Machine::new();
        let files = directory(&machine.path("files"), 0..3);
        machine.run("import", &[&files]).expect(0);
        let overrides = machine.path("overrides.toml");
        let node = format!("{NODE_URL}#{}", ver(1));
        fs::write(
            &overrides,
            format!("[[deny]]\nkey = '{node}'\nreason = 'a broken bot'\n"),
        )
        .unwrap();
        let text = fs::read_to_string(&machine.config).unwrap();
        let trusted = format!("[trusted]\noverrides = '{}'", overrides.display());
        fs::write(&machine.config, text.replace("[trusted]", &trusted)).unwrap();

        let daemon = running.then(|| machine.daemon());
        let report = machine.json("import", &[&files], 1);
        assert_eq!(report["refused"], 1);
        assert_eq!(report["list"][0]["reason"], "denied");
        assert_eq!(report["list"][0]["detail"], "a broken bot");
        let target = machine.path("target");
        machine.run("export", &[&target]).expect(0);
        let files = tree(&target);
        assert!(!files.contains_key(&Path::new("hashes").join(name(1))));
        assert!(files.contains_key(&Path::new("hashes").join(name(2))));
        if daemon.is_some() {
            let ended = machine.run("lookup", &[Path::new(&node)]).expect(1);
            assert_eq!(ended.err, "capsd: denied: a broken bot\n");
        }
    }
}

/// A client may announce anything as its node; what could be a JID is not kept, wherever it comes from.
#[test]
fn what_could_be_a_jid_leaves_the_machine_with_nothing() {
    let machine = Machine::new();
    let files = directory(&machine.path("files"), 0..1);
    let node = format!("xmpp:romeo@example.org#{}", ver(1));
    fs::write(files.join(file_name("sha-1", &node)), query(1)).unwrap();
    assert_eq!(machine.json("import", &[&files], 0)["new"], 2);
    let target = machine.path("target");
    let report = machine.json("export", &[&target, Path::new("--all")], 0);
    assert_eq!(
        (&report["contents"], &report["left-out"]["without-node"]),
        (&2.into(), &1.into())
    );
    for (path, text) in tree(&target) {
        assert!(
            !path.to_string_lossy().contains("romeo"),
            "{}",
            path.display()
        );
        assert!(!String::from_utf8_lossy(&text).contains("romeo"));
    }
}

/// What is unfinished in a directory.
pub(crate) fn unfinished(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.to_string_lossy().ends_with(".unfinished"))
        .collect()
}

#[test]
fn there_is_nothing_to_export_where_there_is_no_store() {
    let machine = Machine::new();
    let ended = machine.run("export", &[&machine.path("target")]).expect(2);
    assert!(ended.err.contains("there is no store at"), "{}", ended.err);
    assert!(!machine.path("store").exists() && !machine.path("target").exists());
}
