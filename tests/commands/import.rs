//! `capsd import`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::contents::{
    self, children, directory, file_name, in_query, name, path_0390, query, ver, ver_of,
};
use crate::machine::Machine;

/// The verdict, reason and detail on each refused file, by its name.
fn refused(report: &Value) -> Vec<(String, String)> {
    let list = report["list"].as_array().unwrap().iter();
    let mut list: Vec<_> = list
        .map(|refused| {
            let file = Path::new(refused["file"].as_str().unwrap());
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            let verdict = refused["verdict"].as_str().unwrap();
            assert!(!refused["detail"].as_str().unwrap().is_empty());
            (
                name,
                format!("{verdict}: {}", refused["reason"].as_str().unwrap()),
            )
        })
        .collect();
    list.sort();
    list
}

#[test]
fn a_directory_is_taken_in_and_served() {
    let machine = Machine::new();
    let files = directory(&machine.path("files"), 0..200);
    fs::write(files.join("README.md"), "what it is").unwrap();

    let ended = machine.run("import", &[&files]).expect(0);
    assert_eq!(
        ended.out,
        "     200 verified (200 new, 0 known before)\n       1 passed over: no name of a content\n"
    );
    assert_eq!(ended.err, "");
    let again = machine.json("import", &[&files], 0);
    assert_eq!((&again["new"], &again["known"]), (&0.into(), &200.into()));
    assert_eq!(
        (&again["refused"], &again["complete"]),
        (&0.into(), &true.into())
    );

    let daemon = machine.daemon();
    for node in [format!("#{}", ver(7)), contents::node_0390(7)] {
        let (node, xml) = (Path::new(&node), Path::new("--xml"));
        let found = machine.run("lookup", &[node, xml]).expect(0);
        assert_eq!(found.out, query(7) + "\n");
        let found = machine.run("lookup", &[node]).expect(0);
        for line in [
            "learned, and proven",
            "  client/pc n\n",
            "  urn:x:b:000007\n",
        ] {
            assert!(found.out.contains(line), "{}", found.out);
        }
    }
    let missing = format!("#{}", ver(200));
    let missing = machine.run("lookup", &[Path::new(&missing)]).expect(1);
    assert_eq!(
        (missing.out.as_str(), missing.err.as_str()),
        ("", "capsd: unknown: it is not stored\n")
    );
    let found = machine.json("lookup", &[Path::new(&format!("a#{}", ver(7)))], 0);
    assert_eq!(found["tier"], "learned");
    assert_eq!(found["common"], true);
    assert_eq!(found["nodes"], serde_json::json!([contents::NODE_URL]));
    assert_eq!(machine.run("lookup", &[Path::new("nothing")]).code, 2);
    assert_eq!(daemon.stop().1, 0);
}

#[test]
fn a_daemon_takes_in_what_it_then_serves() {
    let machine = Machine::new();
    let daemon = machine.daemon();
    let files = directory(&machine.path("files"), 0..200);
    fs::write(files.join(name(200)), query(201)).unwrap();
    // The answer of "not there" is not remembered.
    let node = format!("#{}", ver(7));
    machine.run("lookup", &[Path::new(&node)]).expect(1);

    let ended = machine.run("import", &[&files]).expect(1);
    assert!(
        ended.out.contains(
            "\n     200 verified (200 new, 0 known before)\n       1 rejected: mismatch\n"
        ),
        "{}",
        ended.out
    );
    machine.run("lookup", &[Path::new(&node)]).expect(0);
    // It is on disk when the command has ended, whatever becomes of the daemon.
    let status = machine.json("status", &[], 0);
    assert_eq!(status["entries"], 200);
    drop(daemon);
    let store = machine.store();
    assert_eq!(store.entries(), 200);
}

#[test]
fn what_is_refused_is_listed_and_the_rest_is_taken() {
    let machine = Machine::new();
    let files = directory(&machine.path("files"), 0..3);
    let write = |name: &str, text: &[u8]| fs::write(files.join(name), text).unwrap();
    let of = |string: &str| file_name("sha-1", &format!("n#{}", ver_of(string)));

    let mismatch = name(100);
    write(&mismatch, query(101).as_bytes());
    let twice = of("client/pc//n<urn:x<urn:x<");
    let feature = "<feature var='urn:x'/>";
    let identity = "<identity category='client' type='pc' name='n'/>";
    write(
        &twice,
        in_query(&format!("{identity}{feature}{feature}")).as_bytes(),
    );
    // Of these fields `c` could be a value of `a` as well.
    let ambiguous = of("client/pc//n<urn:x<f<a<b<c<d<");
    let form = "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>f</value></field>\
                <field var='a'><value>b</value></field><field var='c'><value>d</value></field></x>";
    write(
        &ambiguous,
        in_query(&format!("{identity}{feature}{form}")).as_bytes(),
    );
    let md5 = file_name("md5", "n#65KLdMRhWsklTPilUQXwGw==");
    write(&md5, query(0).as_bytes());
    let no_xml = name(102);
    write(&no_xml, b"<query");
    let not_utf8 = name(103);
    write(
        &not_utf8,
        b"<query xmlns='http://jabber.org/protocol/disco#info'>\xff</query>",
    );
    write("nonsense.xml", query(0).as_bytes());
    let bomb = name(104);
    write(&bomb, b"<!DOCTYPE query [<!ENTITY a 'aaaaaaaaaa'>]><query xmlns='http://jabber.org/protocol/disco#info'>&a;</query>");
    let large = name(105);
    write(
        &large,
        in_query(&"<feature var='urn:x'/>".repeat(30_000)).as_bytes(),
    );
    let larger_than_an_answer = name(106);
    write(
        &larger_than_an_answer,
        in_query(&"<feature var='urn:x'/>".repeat(1_000)).as_bytes(),
    );
    let controls = name(107);
    write(&controls, &[1; 500 * 1024]);
    let deep = name(108);
    write(
        &deep,
        in_query(&format!(
            "{}{}",
            "<a>".repeat(50_000),
            "</a>".repeat(50_000)
        ))
        .as_bytes(),
    );

    let mut expected = [
        (mismatch, "rejected: mismatch"),
        (twice, "quarantined: ill-formed"),
        (ambiguous, "quarantined: ambiguous"),
        (md5, "rejected: unsupported-algorithm"),
        (no_xml, "rejected: ill-formed"),
        (not_utf8, "rejected: ill-formed"),
        ("nonsense.xml".to_owned(), "rejected: malformed-node"),
        (bomb, "rejected: ill-formed"),
        (large, "rejected: too-large"),
        (larger_than_an_answer, "rejected: too-large"),
        (controls, "rejected: ill-formed"),
        (deep, "rejected: ill-formed"),
    ]
    .map(|(name, word)| (name, word.to_owned()));
    expected.sort();

    // Without a daemon, then with one.
    let report = machine.json("import", &[&files], 1);
    assert_eq!(refused(&report), expected);
    assert_eq!(
        (&report["verified"], &report["refused"]),
        (&3.into(), &12.into())
    );
    let _daemon = machine.daemon();
    let report = machine.json("import", &[&files], 1);
    assert_eq!(refused(&report), expected);
    assert_eq!(report["known"], 3);
    let text = machine.run("import", &[&files]).expect(1).out;
    assert!(
        text.contains(
            "\n       3 verified (0 new, 3 known before)\n       1 quarantined: ambiguous\n"
        ),
        "{text}"
    );
    assert!(text.contains("       5 rejected: ill-formed\n"), "{text}");
}

/// A content in a second `<query/>` is taken out of it; a verdict on the file itself stays "no".
#[test]
fn a_wrapped_content_is_unwrapped_and_only_by_the_import() {
    let machine = Machine::new();
    let files = directory(&machine.path("files"), 0..0);
    let file = files.join(name(1));
    fs::write(&file, in_query(&query(1))).unwrap();
    let mut verify = Command::new(env!("CARGO_BIN_EXE_capsd"));
    verify
        .args(["verify", "--hash", "sha-1", "--ver", &ver(1)])
        .arg(&file);
    let verdict = verify.output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&verdict.stdout),
        "rejected: mismatch\n"
    );
    let report = machine.json("import", &[&files], 0);
    assert_eq!(report["new"], 1);
    // A content beside the inner one makes it something else.
    fs::write(&file, in_query(&format!("{}{}", query(1), children(2)))).unwrap();
    let report = machine.json("import", &[&files], 1);
    assert_eq!(report["list"][0]["reason"], "mismatch");
}

#[test]
fn the_layout_of_0390_is_known_from_above_and_from_within() {
    let machine = Machine::new();
    let root = machine.path("database");
    for number in 0..3 {
        let file = root.join(path_0390(number));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, query(number)).unwrap();
    }
    let other = root.join(path_0390(3));
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::write(&other, query(4)).unwrap();
    let report = machine.json("import", &[&root.join("caps2/sha-256")], 1);
    assert_eq!((&report["new"], &report["refused"]), (&3.into(), &1.into()));
    assert_eq!(report["list"][0]["reason"], "mismatch");
    let report = machine.json("import", &[&root.join(path_0390(0))], 0);
    assert_eq!(report["known"], 1);
    // A content that was proven by one hash is found by the other.
    let _daemon = machine.daemon();
    machine
        .run("lookup", &[Path::new(&format!("#{}", ver(2)))])
        .expect(0);
}

#[test]
fn what_cannot_be_read_is_said() {
    let machine = Machine::new();
    let files = directory(&machine.path("files"), 0..2);
    let missing = machine.path("missing");
    let ended = machine.run("import", &[&files, &missing]).expect(2);
    assert!(
        ended.err.contains("missing: No such file or directory"),
        "{}",
        ended.err
    );
    assert!(!machine.path("store").exists());
    assert_eq!(machine.run("import", &[]).code, 2);

    let loops = files.join(name(5));
    std::os::unix::fs::symlink(&loops, &loops).unwrap();
    let pipe = files.join(name(6));
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    std::os::unix::fs::symlink("/", files.join("everything")).unwrap();
    let report = machine.json("import", &[&files], 2);
    assert_eq!(report["new"], 2);
    assert_eq!(report["unreadable"].as_array().unwrap().len(), 2);
    let text = machine.run("import", &[&files]).expect(2).out;
    assert!(text.contains(": not a regular file\n"), "{text}");
    assert!(text.contains("\n       2 unreadable\n"), "{text}");
}

#[test]
fn a_store_that_is_in_use_or_newer_is_left_alone() {
    let machine = Machine::new();
    let files = directory(&machine.path("files"), 0..2);
    let store = machine.store();
    for command in ["import", "export"] {
        let ended = machine.run(command, &[&files]).expect(3);
        let message = format!("is in use by process {}", std::process::id());
        assert!(ended.err.contains(&message), "{}", ended.err);
        assert!(ended.err.contains("no daemon answers at"), "{}", ended.err);
    }
    store.close();
    let format = machine.path("store/format");
    let newer = fs::read_to_string(&format)
        .unwrap()
        .replace("\nformat ", "\nformat 9");
    fs::write(&format, newer).unwrap();
    let ended = machine.run("import", &[&files]).expect(3);
    assert!(
        ended.err.contains("run the newer version again"),
        "{}",
        ended.err
    );
}

/// What somebody has published is common, and what was learned before becomes so by it.
#[test]
fn what_is_imported_counts_as_seen() {
    let machine = Machine::new();
    let files = directory(&machine.path("files"), 0..5);
    machine.run("import", &[&files]).expect(0);
    let mut store = machine.store();
    let (page, _) = store.page(Default::default(), 100).unwrap();
    assert_eq!(page.len(), 5);
    assert!(page.iter().all(|entry| entry.seen_nodes == Some(1)));
}

/// The bar is for people: there is one on a terminal, and none anywhere else.
#[test]
fn progress_is_shown_on_a_terminal_only() {
    let machine = Machine::new();
    let files = directory(&machine.path("files"), 0..300);
    let command = machine.command("import", &[&files]);
    let line = format!("{command:?}");
    let on_terminal = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&on_terminal.stdout);
    assert!(on_terminal.status.success(), "{shown}");
    assert!(
        shown.contains("importing") && shown.contains("/300"),
        "{shown}"
    );
    assert_eq!(machine.run("import", &[&files]).expect(0).err, "");
}

#[test]
fn the_corpus_is_taken_as_its_verdicts_say() {
    let Some(corpus) = std::env::var_os("CAPSD_CORPUS") else {
        println!("CAPSD_CORPUS is not set: the corpus was not imported");
        return;
    };
    let machine = Machine::new();
    let corpus = Path::new(&corpus);
    let report = machine.json("import", &[corpus], 1);
    let refused = refused(&report);
    let verdicts = fs::read_to_string(corpus.join("verdicts.tsv")).unwrap();
    let mut verified = 0;
    for line in verdicts.lines().skip(1) {
        let [file, algorithm, verdict, reason] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let found = refused
            .iter()
            .find(|(name, _)| name == file)
            .map(|(_, word)| word.as_str());
        match (algorithm, verdict, found) {
            ("md5", _, found) => assert_eq!(found, Some("rejected: unsupported-algorithm")),
            // What is in a second `<query/>` is as good as any other.
            (_, "reject", found) if !reason.contains("second <query/>") => {
                assert_eq!(found, Some("quarantined: ill-formed"), "{file}");
            }
            (_, _, None) => verified += 1,
            (_, _, found) => assert_eq!(found, Some("quarantined: ambiguous"), "{file}"),
        }
    }
    assert_eq!(report["verified"], verified);
    assert!(verified > 700, "{verified}");
}
