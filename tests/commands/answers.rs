//! What programs read of `lookup` and `resolve`, of orders, and of every command that fails: a word of the closed set beside the words for
//! people.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::contents::{directory, query, ver};
use crate::machine::Machine;

/// A caps node of content `number`.
fn node(number: u32) -> String {
    format!("#{}", ver(number))
}

fn ask(machine: &Machine, command: &str, node: &str, code: i32) -> Value {
    machine.json(command, &[Path::new(node)], code)
}

#[test]
fn why_nothing_is_found_is_a_word() {
    let machine = Machine::new();
    let _daemon = machine.daemon();
    let files = directory(&machine.path("files"), 0..2);
    machine.run("import", &[&files]).expect(0);
    let found = ask(&machine, "lookup", &node(1), 0);
    assert_eq!(
        (&found["found"], &found["query"]),
        (&true.into(), &query(1).into())
    );
    machine
        .run("deny", &[Path::new(&node(1)), Path::new("a broken bot")])
        .expect(0);
    for command in ["lookup", "resolve"] {
        assert_eq!(
            ask(&machine, command, &node(1), 1),
            json!({ "found": false, "reason": "denied", "detail": "a broken bot" })
        );
        for (node, reason, code) in [
            (node(7), "unknown", 1),
            ("no node".to_owned(), "malformed-node", 2),
            (
                "urn:xmpp:caps#crc32.AAAA".to_owned(),
                "unsupported-algorithm",
                2,
            ),
            (format!("#{}", "A".repeat(5000)), "too-large", 2),
        ] {
            let answer = ask(&machine, command, &node, code);
            assert_eq!(
                (&answer["found"], &answer["reason"]),
                (&false.into(), &reason.into()),
                "{answer}"
            );
            assert!(!answer["detail"].as_str().unwrap().is_empty());
            // People read the same.
            let ended = machine.run(command, &[Path::new(&node)]).expect(code);
            let detail = answer["detail"].as_str().unwrap();
            assert!(
                ended.err.contains(detail) && ended.out.is_empty(),
                "{}",
                ended.err
            );
        }
    }
}

/// Whoever reads JSON finds some in any case.
#[test]
fn a_command_that_fails_says_so_in_json() {
    let machine = Machine::new();
    let node = node(1);
    for (command, arguments) in [
        ("lookup", vec![Path::new(&node)]),
        ("resolve", vec![Path::new(&node)]),
        ("status", vec![]),
        ("flights", vec![]),
        ("top", vec![]),
        ("reload", vec![]),
        ("flush", vec![Path::new("--all")]),
        ("deny", vec![Path::new(&node), Path::new("why")]),
        ("undeny", vec![Path::new(&node)]),
        ("pin", vec![Path::new(&node), Path::new("/dev/null")]),
        ("unpin", vec![Path::new(&node)]),
        ("log-level", vec![Path::new("info")]),
        ("sync", vec![]),
    ] {
        let answer = machine.json(command, &arguments, 4);
        let error = answer["error"].as_str().unwrap();
        assert!(
            error.starts_with("no daemon answers at"),
            "{command}: {error}"
        );
    }
    for (command, arguments) in [
        ("import", vec![Path::new("/nowhere")]),
        ("export", vec![Path::new("/dev/null/x")]),
    ] {
        let answer = machine.json(command, &arguments, 2);
        assert!(answer["error"].is_string(), "{command}: {answer}");
    }
}

#[test]
fn an_order_says_in_json_what_was_done() {
    let machine = Machine::new();
    let _daemon = machine.daemon();
    let files = directory(&machine.path("files"), 0..9);
    machine.run("import", &[&files]).expect(0);
    let (node, file) = (node(1), machine.path("1.xml"));
    let node = Path::new(&node);
    fs::write(&file, query(1)).unwrap();
    let kept = Value::Null;
    for (command, arguments, done) in [
        (
            "flush",
            vec![node],
            json!({ "flushed": true, "contents": 1, "stays": false }),
        ),
        (
            "pin",
            vec![node, &file],
            json!({ "pinned": true, "until-restart": kept }),
        ),
        (
            "flush",
            vec![Path::new("--all")],
            json!({ "flushed": true, "contents": 8, "stays": true }),
        ),
        (
            "unpin",
            vec![node],
            json!({ "unpinned": true, "until-restart": kept }),
        ),
        (
            "deny",
            vec![node, Path::new("why")],
            json!({ "denied": true, "until-restart": kept }),
        ),
        (
            "undeny",
            vec![node],
            json!({ "undenied": true, "until-restart": kept }),
        ),
        (
            "log-level",
            vec![Path::new("warn")],
            json!({ "log-level": "warn" }),
        ),
        ("sync", vec![], json!({ "synced": true })),
    ] {
        assert_eq!(machine.json(command, &arguments, 0), done, "{command}");
    }
    // What is refused has the words and the exit code that people get.
    let nowhere = Path::new("/nowhere");
    for (command, arguments, code) in [
        ("flush", vec![Path::new("no node")], 2),
        ("deny", vec![node, Path::new("")], 2),
        ("undeny", vec![node], 1),
        ("pin", vec![node, nowhere], 2),
        ("unpin", vec![node], 1),
    ] {
        let answer = machine.json(command, &arguments, code);
        let told = machine.run(command, &arguments).expect(code).err;
        let error = answer["error"].as_str().unwrap();
        assert_eq!(told, format!("capsd: {error}\n"), "{command}");
    }
    // Something is in the way of the file that keeps orders over a restart.
    fs::create_dir(machine.path("store/orders.new")).unwrap();
    let done = machine.json("deny", &[node, Path::new("why")], 0);
    assert!(done["until-restart"].is_string(), "{done}");
}
