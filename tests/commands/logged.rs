//! Who did what is logged: every act by every way, in one line, and every refusal. What only looks is not logged.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::contents::{directory, query, ver};
use crate::linked::{Linked, wait};
use crate::server::{COMPONENT, attribute};

/// The commands that change nothing, or do not speak to the daemon.
const LOOKS: &[&str] = &[
    "check", "doctor", "flights", "hash", "lookup", "run", "status", "sync", "top", "verify",
];

/// The ad-hoc commands that change nothing.
const ADHOC_LOOKS: &[&str] = &["lookup", "status"];

/// The key of content `number` as the log has it.
fn key(number: u32) -> String {
    format!("0115:sha-1:{}", ver(number))
}

/// What is in the log of acts from there on, without time and place in the program.
fn acts(linked: &Linked, from: usize) -> Vec<String> {
    let log = linked.log();
    let lines = log[from..].lines();
    let acts = lines.filter(|line| line.contains("carried out: "));
    let acts: Vec<_> = acts.map(str::to_owned).collect();
    for act in &acts {
        assert!(!act.contains('@'), "{act}");
    }
    acts
}

/// That there is one act in the log from there on, by that one.
fn assert_one(linked: &Linked, from: usize, by: &str, act: &str) {
    let acts = acts(linked, from);
    assert_eq!(acts.len(), 1, "{act}: {acts:?}");
    let line = &acts[0];
    let level = match act.starts_with("not ") {
        true => " WARN ",
        false => " INFO ",
    };
    assert!(line.contains(&format!(": {act}")), "{act}: {line}");
    assert!(
        line.contains(&format!("by={by}")) && line.contains(level),
        "{line}"
    );
}

/// The user of this machine who runs the tests.
fn user() -> String {
    let user = rustix::process::geteuid().as_raw();
    format!("user {user} of this machine")
}

/// A command with its arguments, and what the log says of it.
type ByCommand = (&'static str, Vec<String>, String);

/// Every act by command, in an order in which each has something to do.
fn by_command(linked: &Linked) -> Vec<ByCommand> {
    let path = |name: &str| linked.machine.path(name).display().to_string();
    let files = directory(&linked.machine.path("files"), 1..4);
    let other: PathBuf = linked.machine.path("wrong");
    fs::create_dir(&other).unwrap();
    fs::write(other.join(crate::contents::name(5)), query(6)).unwrap();
    fs::write(path("content.xml"), query(1)).unwrap();
    let files = files.display().to_string();
    let (key, other) = (key(1), other.display().to_string());
    let act = |command, arguments: &[&str], line: String| {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        (command, arguments, line)
    };
    vec![
        act(
            "import",
            &[&files],
            "carried out: import of 3 contents: 3 new, 0 known, 0 refused".into(),
        ),
        act(
            "import",
            &[&files, &other],
            "carried out: import of 4 contents: 0 new, 3 known, 1 refused".into(),
        ),
        act(
            "export",
            &[&path("out")],
            "carried out: export of 4 contents".into(),
        ),
        act(
            "resolve",
            &[&key],
            format!("carried out: resolution of {key}"),
        ),
        act("flush", &[&key], format!("carried out: flush of {key}")),
        act(
            "flush",
            &["--all"],
            "carried out: flush of everything".into(),
        ),
        act(
            "deny",
            &[&key, "a broken\tbot"],
            format!("not carried out: denial of {key}: a broken bot: "),
        ),
        act(
            "deny",
            &[&key, "a bot"],
            format!("carried out: denial of {key}: a bot"),
        ),
        act(
            "undeny",
            &[&key],
            format!("carried out: end of the denial of {key}"),
        ),
        act(
            "undeny",
            &[&key],
            format!(
                "not carried out: end of the denial of {key}: the key is not denied by command"
            ),
        ),
        act(
            "pin",
            &[&key, &path("content.xml")],
            format!("carried out: pin of {key}: pinned by command"),
        ),
        act(
            "unpin",
            &[&key],
            format!("carried out: end of the pin of {key}"),
        ),
        act(
            "unpin",
            &[&key],
            format!("not carried out: end of the pin of {key}: the key is not pinned by command"),
        ),
        act("reload", &[], "carried out: reload".into()),
        act("log-level", &["info"], "carried out: log level info".into()),
    ]
}

#[tokio::test]
async fn every_act_by_command_is_logged_with_its_user() {
    let mut linked = Linked::with(&[]).await;
    let all = by_command(&linked);
    let known: BTreeSet<_> = all
        .iter()
        .map(|(command, ..)| *command)
        .chain(LOOKS.iter().copied())
        .collect();
    let program = capsd::cli::command();
    let there_are: BTreeSet<_> = program.get_subcommands().map(|c| c.get_name()).collect();
    assert_eq!(
        known, there_are,
        "each command is tried here, or only looks"
    );
    for (command, arguments, act) in all {
        let before = linked.log().len();
        let arguments: Vec<_> = arguments.iter().map(Path::new).collect();
        linked.machine.run(command, &arguments);
        assert_one(&linked, before, &user(), &act);
    }
    let text = fs::read_to_string(&linked.machine.config).unwrap();
    fs::write(
        &linked.machine.config,
        format!("{text}[log]\nlevel = 'loud'\n"),
    )
    .unwrap();
    let before = linked.log().len();
    linked.machine.run("reload", &[]).expect(2);
    assert_one(&linked, before, &user(), "not carried out: reload");
    fs::write(&linked.machine.config, text).unwrap();
    linked.import(&[0]);
    linked.assert_unharmed().await;
}

#[tokio::test]
async fn what_only_looks_is_not_logged() {
    let linked = Linked::with(&[]).await;
    let before = linked.log().len();
    let key = key(0);
    for arguments in [
        &["status"][..],
        &["lookup", &key],
        &["flights"],
        &["top", "--once"],
        &["sync"],
        &["doctor"],
    ] {
        let rest: Vec<_> = arguments[1..].iter().map(Path::new).collect();
        linked.machine.run(arguments[0], &rest);
    }
    assert_eq!(acts(&linked, before), [""; 0]);
}

/// Whoever goes away in the middle has done what was done until then.
#[tokio::test]
async fn what_is_broken_off_is_logged() {
    let linked = Linked::with(&[]).await;
    let before = linked.log().len();
    let items = (1..40).map(
        |number| json!({ "keys": [format!("#{}", ver(number))], "nodes": [], "query": query(number) }),
    );
    linked.told(&json!({ "do": "import", "items": items.collect::<Vec<_>>() }));
    let line = "carried out: import of 39 contents: 39 new, 0 known, 0 refused";
    wait("it is logged", || linked.log().contains(line));
    assert_one(&linked, before, &user(), line);
    let before = linked.log().len();
    let page = linked.told(&json!({ "do": "entries" }));
    assert!(page["next"].is_string());
    let line = format!(
        "carried out: export of {} contents, and broken off then",
        page["entries"].as_array().unwrap().len()
    );
    wait("it is logged", || linked.log().contains(&line));
    assert_one(&linked, before, &user(), &line);
    let before = linked.log().len();
    linked.told(&json!({ "do": "entries", "from": "nowhere" }));
    assert_one(&linked, before, &user(), "not carried out: export: ");
}

/// Fields of a form, with their values.
type Fields<'a> = &'a [(&'a str, &'a str)];

impl Linked {
    /// Gives an ad-hoc command with its form filled in; the reply.
    async fn command(&mut self, who: &str, word: &str, action: &str, fields: Fields<'_>) -> String {
        let fields: String = fields
            .iter()
            .map(|(var, value)| {
                let value = value.replace('<', "&lt;");
                format!("<field var='{var}'><value>{value}</value></field>")
            })
            .collect();
        let iq = format!(
            "<iq type='set' from='{who}' to='{COMPONENT}' id='c'><command xmlns='http://jabber.org/protocol/commands' \
             node='urn:capsd:0:{word}' action='{action}'><x xmlns='jabber:x:data' type='submit'>{fields}</x></command></iq>"
        );
        self.server.send(&iq).await;
        let reply = self.next().await;
        assert_eq!(attribute(&reply, "to"), who, "{reply}");
        reply
    }

    /// The words of the ad-hoc commands that there are.
    async fn commands(&mut self) -> BTreeSet<String> {
        let iq = format!(
            "<iq type='get' from='{ADMIN}' to='{COMPONENT}' id='i'><query xmlns='http://jabber.org/protocol/disco#items' \
             node='http://jabber.org/protocol/commands'/></iq>"
        );
        self.server.send(&iq).await;
        let reply = self.next().await;
        let items = reply.split("<item ").skip(1);
        items
            .map(|item| attribute(&format!(" {item}"), "node"))
            .map(|node| node.strip_prefix("urn:capsd:0:").unwrap().to_owned())
            .collect()
    }
}

/// An ad-hoc command with its fields, and what the log says of it.
type ByAdHoc<'a> = (&'static str, Vec<(&'a str, &'a str)>, String);

/// An administrator, and how the log names that one.
const ADMIN: &str = "admin@example.org/r";
const LOGGED_AS: &str = "admin 1 of caps.example.org";

#[tokio::test]
async fn every_act_by_ad_hoc_command_is_logged_with_its_admin() {
    let mut linked = Linked::with(&[]).await;
    linked.import(&(1..20).collect::<Vec<_>>());
    let (key, content) = (key(1), query(1));
    let (of, why) = (("key", key.as_str()), ("reason", "a bot"));
    let acts: Vec<ByAdHoc<'_>> = vec![
        (
            "export",
            vec![],
            "carried out: export of what is common, page by page; 20 contents stored".into(),
        ),
        (
            "resolve",
            vec![of],
            format!("carried out: resolution of {key}"),
        ),
        ("flush", vec![of], format!("carried out: flush of {key}")),
        (
            "flush-all",
            vec![("sure", "1")],
            "carried out: flush of everything".into(),
        ),
        (
            "deny",
            vec![of, why],
            format!("carried out: denial of {key}: a bot"),
        ),
        (
            "undeny",
            vec![of],
            format!("carried out: end of the denial of {key}"),
        ),
        (
            "undeny",
            vec![of],
            format!(
                "not carried out: end of the denial of {key}: the key is not denied by command"
            ),
        ),
        (
            "pin",
            vec![of, why, ("query", &content)],
            format!("carried out: pin of {key}: a bot"),
        ),
        (
            "unpin",
            vec![of],
            format!("carried out: end of the pin of {key}"),
        ),
        ("reload", vec![], "carried out: reload".into()),
        (
            "log-level",
            vec![("level", "info")],
            "carried out: log level info".into(),
        ),
    ];
    let known: BTreeSet<_> = acts.iter().map(|(word, ..)| (*word).to_owned()).collect();
    let looks = ADHOC_LOOKS.iter().map(|word| (*word).to_owned());
    let known: BTreeSet<_> = known.into_iter().chain(looks).collect();
    assert_eq!(
        known,
        linked.commands().await,
        "each is tried here, or only looks"
    );
    for (word, fields, act) in acts {
        let before = linked.log().len();
        linked.command(ADMIN, word, "execute", &fields).await;
        assert_one(&linked, before, LOGGED_AS, &act);
    }
    let before = linked.log().len();
    for (word, fields) in [("status", &[][..]), ("lookup", &[of])] {
        linked.command(ADMIN, word, "execute", fields).await;
    }
    // One that is not filled in, and one that is given up, does nothing.
    linked.command(ADMIN, "deny", "execute", &[of]).await;
    linked
        .command(ADMIN, "flush-all", "cancel", &[("sure", "1")])
        .await;
    assert_eq!(self::acts(&linked, before), [""; 0]);
    linked.import(&[0]);
    linked.assert_unharmed().await;
}

#[tokio::test]
async fn an_export_by_ad_hoc_command_is_logged_once_however_many_pages_are_read() {
    let mut linked = Linked::with(&[]).await;
    linked.import(&(1..20).collect::<Vec<_>>());
    let act = "carried out: export of what is common, page by page; 20 contents stored";
    let next = |page: &str| {
        let (_, from) = page.split_once("<field var='from'")?;
        let (_, from) = from.split_once("<value>")?;
        Some(from.split_once("</value>")?.0.to_owned())
    };
    let before = linked.log().len();
    let mut page = linked.command(ADMIN, "export", "execute", &[]).await;
    let second = next(&page).expect("a second page");
    let mut pages = 1;
    while let Some(from) = next(&page) {
        page = linked
            .command(ADMIN, "export", "next", &[("from", &from)])
            .await;
        pages += 1;
    }
    assert!(pages > 2, "{pages}");
    assert_one(&linked, before, LOGGED_AS, act);
    // Whoever begins in the middle has not been logged yet.
    let before = linked.log().len();
    linked
        .command(ADMIN, "export", "next", &[("from", &second)])
        .await;
    assert_one(&linked, before, LOGGED_AS, act);
    let before = linked.log().len();
    linked
        .command(ADMIN, "export", "next", &[("from", "nowhere")])
        .await;
    assert_one(&linked, before, LOGGED_AS, "not carried out: export: ");
}

/// That somebody else tried is told at the level `debug`, because anybody can try as often as they like; who it was, at `trace` alone.
#[tokio::test]
async fn what_somebody_else_tries_is_refused_and_logged_without_a_name() {
    const STRANGER: &str = "stranger@example.org/r";
    let mut linked = Linked::with(&[]).await;
    let before = linked.log().len();
    let line = "not carried out: an ad-hoc command of an account that is not among `admins`";
    for level in ["info", "debug", "trace"] {
        linked
            .machine
            .run("log-level", &[Path::new(level)])
            .expect(0);
        let at = linked.log().len();
        let reply = linked
            .command(STRANGER, "flush-all", "execute", &[("sure", "1")])
            .await;
        assert!(reply.contains("<service-unavailable "), "{reply}");
        let told = linked.log()[at..].to_owned();
        assert_eq!(
            told.matches(line).count(),
            usize::from(level != "info"),
            "{told}"
        );
        assert_eq!(
            told.contains("stranger@example.org"),
            level == "trace",
            "{told}"
        );
    }
    assert!(!linked.log()[before..].contains("flush of everything"));
    assert_eq!(linked.entries(), 1);
}
