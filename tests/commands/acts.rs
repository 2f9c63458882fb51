//! What an operator may do while the daemon runs: reload, flush, deny, pin, log level; and that it is logged who did it.

use std::fs;
use std::path::Path;

use crate::contents::{self, directory, node_0390, query, ver};
use crate::machine::{Machine, signal};

fn paths<'a>(texts: &'a [&'a str]) -> Vec<&'a Path> {
    texts.iter().map(Path::new).collect()
}

/// A caps node of content `number`.
fn node(number: u32) -> String {
    format!("#{}", ver(number))
}

/// The key of content `number` as the log has it.
fn key(number: u32) -> String {
    format!("0115:sha-1:{}", ver(number))
}

impl Machine {
    fn do_it(&self, command: &str, arguments: &[&str], code: i32) -> String {
        let ended = self.run(command, &paths(arguments)).expect(code);
        ended.out + &ended.err
    }

    /// Whether content `number` is served, by both of its names.
    fn serves(&self, number: u32) -> bool {
        let found = [node(number), node_0390(number)]
            .map(|node| self.run("lookup", &[Path::new(&node)]).code);
        assert_eq!(found[0], found[1], "one content");
        found[0] == 0
    }

    /// Gives the configuration other words.
    pub(crate) fn rewrite(&self, before: &str, after: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        assert!(text.contains(before));
        fs::write(&self.config, text.replace(before, after)).unwrap();
    }
}

/// Who runs the tests, as the log names him.
fn user() -> String {
    format!(
        "user {} of this machine",
        rustix::process::geteuid().as_raw()
    )
}

#[test]
fn a_flush_forgets_one_content_or_all_for_good() {
    let machine = Machine::new();
    let daemon = machine.daemon();
    machine.do_it(
        "import",
        &[directory(&machine.path("files"), 0..100).to_str().unwrap()],
        0,
    );
    let said = machine.do_it("flush", &[&key(7)], 0);
    assert_eq!(said, "1 content is forgotten, in every tier\n");
    assert!(!machine.serves(7) && machine.serves(8));
    let said = machine.do_it("flush", &[&node(7)], 0);
    assert_eq!(
        said,
        "nothing was stored; what was in memory is forgotten\n"
    );
    assert_eq!(machine.json("status", &[], 0)["entries"], 99);
    let (said, _) = daemon.stop();
    let line = said
        .lines()
        .find(|line| line.contains("carried out: flush of"))
        .unwrap();
    assert!(line.contains(&key(7)) && line.contains(&user()), "{line}");

    let daemon = machine.daemon();
    assert!(!machine.serves(7) && machine.serves(8));
    let said = machine.do_it("flush", &["--all"], 0);
    assert_eq!(said, "99 contents are forgotten, in every tier\n");
    assert!(!machine.serves(8));
    assert_eq!(machine.json("status", &[], 0)["entries"], 0);
    drop(daemon);
    let _daemon = machine.daemon();
    assert!(
        !machine.serves(8),
        "it was on disk before the command ended"
    );
    machine.do_it("flush", &[], 2);
    machine.do_it("flush", &["--all", &key(7)], 2);
    machine.do_it("flush", &["nothing"], 2);
}

#[test]
fn what_is_trusted_stays_and_that_is_said() {
    let machine = Machine::new();
    let files = directory(&machine.path("files"), 0..2);
    machine.rewrite(
        "directories = []",
        &format!("directories = ['{}']", files.display()),
    );
    let _daemon = machine.daemon();
    let said = machine.do_it("flush", &[&key(1)], 0);
    assert!(said.contains("what you trust or pinned stays"), "{said}");
    assert!(machine.do_it("flush", &["--all"], 0).contains("stays"));
    machine.do_it("lookup", &[&node(1)], 0);
}

#[test]
fn a_denied_key_stays_denied_over_a_restart() {
    let machine = Machine::new();
    let daemon = machine.daemon();
    machine.do_it(
        "import",
        &[directory(&machine.path("files"), 0..3).to_str().unwrap()],
        0,
    );
    assert_eq!(
        machine.do_it("deny", &[&node(1), "a broken bot"], 0),
        "done; it is kept over a restart\n"
    );
    let said = machine.do_it("lookup", &[&key(1)], 1);
    assert_eq!(said, "capsd: denied: a broken bot\n");
    machine.do_it("resolve", &[&key(1)], 1);
    drop(daemon);
    let daemon = machine.daemon();
    assert!(
        machine
            .do_it("lookup", &[&key(1)], 1)
            .contains("denied: a broken bot")
    );
    assert_eq!(machine.json("status", &[], 0)["denied"], 1);
    // A reload reads the operator's file, and leaves what was ordered.
    machine.do_it("reload", &[], 0);
    assert!(
        machine
            .do_it("lookup", &[&key(1)], 1)
            .contains("denied: a broken bot")
    );
    assert!(
        machine
            .do_it("unpin", &[&key(1)], 1)
            .contains("the key is not pinned by command")
    );
    machine.do_it("undeny", &[&key(1)], 0);
    assert!(
        machine
            .do_it("undeny", &[&key(1)], 1)
            .contains("the key is not denied by command")
    );
    machine.do_it("lookup", &[&key(1)], 0);
    for reason in ["", "two\nlines", &"x".repeat(501)] {
        assert!(
            machine
                .do_it("deny", &[&key(1), reason], 2)
                .contains("the reason must have 1 to 500 bytes")
        );
    }
    let (said, _) = daemon.stop();
    for act in [&format!("end of the denial of {}", key(1)), "reload"] {
        let line = said
            .lines()
            .find(|line| line.contains(&format!("carried out: {act}")));
        assert!(
            line.is_some_and(|line| line.contains(&user())),
            "{act}: {said}"
        );
    }
    assert!(
        !machine.path("store/orders.json").exists(),
        "nothing is ordered any more"
    );
}

#[test]
fn a_pinned_content_is_served_and_must_have_the_hash() {
    let machine = Machine::new();
    let daemon = machine.daemon();
    let (right, wrong) = (machine.path("right.xml"), machine.path("wrong.xml"));
    fs::write(&right, query(1)).unwrap();
    fs::write(&wrong, query(2)).unwrap();
    let said = machine.do_it("pin", &[&key(1), wrong.to_str().unwrap()], 1);
    assert!(said.contains("it cannot be pinned: mismatch"), "{said}");
    machine.do_it("lookup", &[&key(1)], 1);
    machine.do_it("pin", &[&key(1), "/dev/null"], 2);
    machine.do_it("pin", &[&key(1), "/nowhere"], 2);
    machine.do_it(
        "pin",
        &[&key(1), right.to_str().unwrap(), "--reason", "mine"],
        0,
    );
    drop(daemon);
    // It is in capsd's hands: the file may go.
    fs::remove_file(&right).unwrap();
    let _daemon = machine.daemon();
    let found = machine.json("lookup", &paths(&[&key(1)]), 0);
    assert_eq!(
        (&found["tier"], &found["query"]),
        (&"pinned".into(), &query(1).into())
    );
    machine.do_it("deny", &[&key(1), "after all"], 0);
    assert!(
        machine.do_it("lookup", &[&key(1)], 1).contains("after all"),
        "the last word counts"
    );
    machine.do_it("undeny", &[&key(1)], 0);
    machine.do_it("lookup", &[&key(1)], 1);
}

#[test]
fn the_file_of_the_operator_counts_before_commands() {
    let machine = Machine::new();
    let file = machine.path("overrides.toml");
    fs::write(&file, "").unwrap();
    machine.rewrite(
        "directories = []",
        &format!("directories = []\noverrides = '{}'", file.display()),
    );
    let _daemon = machine.daemon();
    machine.do_it("deny", &[&key(1), "by command"], 0);
    fs::write(
        &file,
        format!("[[deny]]\nkey = '{}'\nreason = 'by file'\n", key(1)),
    )
    .unwrap();
    machine.do_it("reload", &[], 0);
    machine.wait_for("lookup", &[&key(1)], "denied: by file");
    let said = machine.do_it("undeny", &[&key(1)], 2);
    assert!(
        said.contains("the file of overrides speaks for this key"),
        "{said}"
    );
    fs::write(&file, "").unwrap();
    machine.do_it("reload", &[], 0);
    machine.wait_for("lookup", &[&key(1)], "denied: by command");
}

impl Machine {
    /// Runs a command until it says that; what a reload reads comes into force a moment later.
    fn wait_for(&self, command: &str, arguments: &[&str], words: &str) {
        let begun = std::time::Instant::now();
        loop {
            let ended = self.run(command, &paths(arguments));
            if (ended.out.clone() + &ended.err).contains(words) {
                return;
            }
            assert!(
                begun.elapsed() < crate::machine::PATIENCE,
                "{}{}",
                ended.out,
                ended.err
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
fn orders_that_cannot_be_read_are_said_and_keep_nobody_from_starting() {
    let machine = Machine::new();
    let daemon = machine.daemon();
    machine.do_it("deny", &[&key(1), "a"], 0);
    daemon.stop();
    let file = machine.path("store/orders.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains('@'));
    for damaged in [
        "",
        "{",
        &text.replace("\"version\": 1", "\"version\": 2"),
        &text.replace("0115", "0116"),
    ] {
        fs::write(&file, damaged).unwrap();
        let daemon = machine.daemon();
        machine.do_it("lookup", &[&key(1)], 1);
        let (said, code) = daemon.stop();
        assert_eq!(code, 0);
        assert!(
            said.contains("denied and pinned by command cannot be read"),
            "{said}"
        );
    }
}

#[test]
fn a_disk_that_takes_no_orders_is_said() {
    let machine = Machine::new();
    let _daemon = machine.daemon();
    // Where it would be written, something is in the way.
    fs::create_dir(machine.path("store/orders.new")).unwrap();
    let said = machine.do_it("deny", &[&key(1), "a"], 0);
    assert!(said.contains("done, until a restart only:"), "{said}");
    assert!(machine.do_it("lookup", &[&key(1)], 1).contains("denied: a"));
}

#[test]
fn a_reload_says_what_it_applied_and_what_needs_a_restart() {
    let machine = Machine::with("[log]\nlevel = 'info'\n");
    let daemon = machine.daemon();
    let said = machine.do_it("reload", &[], 0);
    assert!(said.starts_with("no key has changed\n"), "{said}");
    machine.rewrite(
        "level = 'info'",
        "level = 'debug'\n[hot]\nmax-bytes = '16MiB'\n[limits]\nqueries-per-asker = '7/s'",
    );
    fs::write(machine.path("secret"), "an other secret\n").unwrap();
    let changes = machine.json("reload", &[], 0);
    assert_eq!(
        changes,
        serde_json::json!({
            "reloaded": true,
            "applied": ["component.secret (caps.example.org)", "limits.queries-per-asker", "log.level"],
            "needs-restart": ["hot.max-bytes"],
        })
    );
    // By signal it is the same, and the log has it.
    machine.rewrite("'7/s'", "'8/s'");
    signal(&daemon.0, "HUP");
    machine.wait_for("reload", &[], "needs a restart: hot.max-bytes");
    let (said, _) = daemon.stop();
    for line in [
        "applied=\"component.secret (caps.example.org), limits.queries-per-asker, log.level\"",
        "applied=\"limits.queries-per-asker\"",
        "need a restart to be in force keys=\"hot.max-bytes\"",
        // Of the level `debug`.
        "trusted content was listed",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("an other secret"), "{said}");
}

#[test]
fn a_reload_of_a_faulty_file_changes_nothing() {
    let machine = Machine::with("[log]\nlevel = 'info'\n");
    let daemon = machine.daemon();
    machine.rewrite(
        "level = 'info'",
        "level = 'debug'\n[limits]\nflights = 0\nno-such-key = 1",
    );
    let ended = machine.run("reload", &[]).expect(2);
    assert_eq!(ended.out, "");
    for words in [
        "nothing was changed",
        "`limits.flights` is 0",
        "`limits.no-such-key`",
        "hint: ",
    ] {
        assert!(ended.err.contains(words), "{}", ended.err);
    }
    let faults = machine.json("reload", &[], 2);
    assert_eq!(faults["faults"].as_array().unwrap().len(), 2);
    fs::remove_file(machine.path("secret")).unwrap();
    machine.rewrite("flights = 0\nno-such-key = 1", "flights = 1");
    let ended = machine.run("reload", &[]).expect(2);
    assert!(ended.err.contains("does not exist"), "{}", ended.err);
    let (said, code) = daemon.stop();
    assert_eq!(code, 0);
    assert!(
        !said.contains(" DEBUG "),
        "the level is the old one: {said}"
    );
}

#[test]
fn the_log_level_changes_at_once_and_until_a_reload() {
    let machine = Machine::new();
    let daemon = machine.daemon();
    machine.do_it("log-level", &["debug"], 0);
    // Both say something at the level `debug`, unless the reload ends that first, as it does.
    machine.do_it("reload", &[], 0);
    machine.do_it("log-level", &["error"], 0);
    machine.do_it("sync", &[], 0);
    machine.do_it("log-level", &["loud"], 2);
    let (said, _) = daemon.stop();
    let line = said
        .lines()
        .find(|line| line.contains("carried out: log level debug"));
    assert!(line.is_some_and(|line| line.contains(&user())), "{said}");
    assert!(
        !said.contains("carried out: log level error"),
        "it is in force: {said}"
    );
    let line = said
        .lines()
        .find(|line| line.contains("wanted: log level error"));
    assert!(line.is_some_and(|line| line.contains(&user())), "{said}");
    assert!(!said.contains("ended"), "{said}");
}

#[test]
fn a_key_that_nobody_announces_cannot_be_resolved() {
    let machine = Machine::new();
    let _daemon = machine.daemon();
    let said = machine.do_it("resolve", &[&node(1)], 1);
    assert_eq!(
        said,
        "capsd: unknown: it is not stored, and nobody who may be asked announces it\n"
    );
    assert_eq!(
        machine.json("resolve", &paths(&[&node(1)]), 1)["found"],
        false
    );
    machine.do_it(
        "import",
        &[directory(&machine.path("files"), 0..3).to_str().unwrap()],
        0,
    );
    let found = machine.do_it("resolve", &[&node(1), "--xml"], 0);
    assert_eq!(found, format!("{}\n", contents::query(1)));
}

#[test]
fn the_status_tells_of_links_and_counts() {
    let machine = Machine::new();
    let daemon = machine.daemon();
    machine.wait_for(
        "status",
        &[],
        "link caps.example.org (127.0.0.1:1): down: network:",
    );
    let status = machine.json("status", &[], 0);
    let link = &status["links"][0];
    assert_eq!(link["domains"][0]["name"], "example.org");
    assert_eq!(link["up-seconds"], serde_json::Value::Null);
    assert_eq!(status["counts"]["lookups"]["hit"], 0);
    assert_eq!(status["process"], daemon.0.id());
}

#[test]
fn what_goes_on_is_shown_once_and_again() {
    let machine = Machine::new();
    let _daemon = machine.daemon();
    assert_eq!(
        machine.do_it("flights", &[], 0),
        "0 in progress, 0 looking in the store, 0 waiting\n"
    );
    assert_eq!(
        machine.json("flights", &paths(&["--all"]), 0)["in-progress"],
        0
    );
    let once = machine.do_it("top", &["--once"], 0);
    assert!(
        once.starts_with("capsd ") && once.contains("0 being resolved"),
        "{once}"
    );
    assert!(!once.contains('\u{1b}'), "this is no terminal");
    let once = machine.json("top", &paths(&["--once"]), 0);
    assert_eq!(once["status"]["links"][0]["name"], "caps.example.org");
    assert_eq!(once["queries-per-second"], serde_json::Value::Null);

    // Whoever reads two reports and goes away ends it.
    let mut top = machine.command("top", &paths(&["--json", "--interval", "1"]));
    let mut top = top.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(top.stdout.take().unwrap());
    let mut read = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    read();
    assert_eq!(read()["queries-per-second"], 0.0);
    drop(lines);
    assert!(top.wait().unwrap().success());

    let top = machine
        .command("top", &[])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    signal(&top, "INT");
    assert!({ top }.wait().unwrap().success());
}
