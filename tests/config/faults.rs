//! What is refused, each kind of fault with its line, its key, its words and its remedy: the file, keys and sections.

use std::path::Path;

use capsd::config::Config;

use crate::{LEAST, Machine};

/// Asserts that a text has exactly one fault, and what it says.
#[track_caller]
pub(crate) fn one(
    machine: &Machine,
    text: &str,
    line: usize,
    key: Option<&str>,
    message: &str,
    hint: &str,
) {
    let faults = machine.faults(text);
    let [fault] = &faults[..] else {
        panic!("{} faults: {faults:#?}", faults.len());
    };
    assert_eq!(fault.file, Path::new("/etc/capsd/capsd.toml"));
    assert_eq!(
        (fault.line, fault.key.as_deref()),
        (Some(line), key),
        "{fault}"
    );
    assert!(fault.message.contains(message), "{fault}");
    assert!(key.is_none_or(|key| fault.message.contains(key)), "{fault}");
    assert!(fault.hint.contains(hint), "{fault}");
}

/// The same, for a setting added to the least that works: its section on line 5, the setting on line 6.
#[track_caller]
pub(crate) fn setting(section: &str, setting: &str, message: &str, hint: &str) {
    let (key, _) = setting.split_once(" =").unwrap();
    let text = format!("{LEAST}[{section}]\n{setting}\n");
    one(
        &Machine::new(),
        &text,
        6,
        Some(&format!("{section}.{key}")),
        message,
        hint,
    );
}

/// The same, for one line of the component, which is put in the place of `line`.
#[track_caller]
pub(crate) fn component(line: usize, put: &str, key: &str, message: &str, hint: &str) {
    let mut lines: Vec<_> = LEAST.lines().collect();
    lines[line - 1] = put;
    let text = lines.join("\n");
    one(&Machine::new(), &text, line, Some(key), message, hint);
}

#[test]
fn the_whole_message() {
    let text = format!("{LEAST}[resolver]\ndeadline = \"2h\"\n[store]\npaht = \"/x\"\n");
    let shown = Machine::new().read(&text).unwrap_err().to_string();
    let expected = "\
error: `resolver.deadline` is \"2h\", but must be from 100ms to 1m
  --> /etc/capsd/capsd.toml:6

hint: set a value in that range, or remove the key to get the default, 5s

error: `store.paht` is unknown
  --> /etc/capsd/capsd.toml:8

hint: perhaps `path` is meant; known here: path, flush-interval, max-entries, max-bytes, high-water-percent, max-waste, cache";
    assert_eq!(shown, expected);
}

#[test]
fn all_faults_at_once_in_the_order_of_the_lines() {
    let text = "[limits]\nflights = 0\nwaiter = 1\n[[component]]\njid = 'a b'\nserver = 'nowhere'\n[log]\nlevel = 'loud'\n[nonsense]\n";
    let faults = Machine::new().faults(text);
    let found: Vec<_> = faults
        .iter()
        .map(|fault| (fault.line.unwrap(), fault.key.as_deref().unwrap()))
        .collect();
    let expected = [
        (2, "limits.flights"),
        (3, "limits.waiter"),
        (4, "component.secret-file"),
        (5, "component.jid"),
        (6, "component.server"),
        (8, "log.level"),
        (9, "nonsense"),
    ];
    assert_eq!(found, expected, "{faults:#?}");
}

#[test]
fn a_missing_file() {
    let path = Machine::new().path("none.toml");
    let shown = Config::load(&path).unwrap_err().to_string();
    let name = path.display();
    assert!(
        shown.starts_with(&format!(
            "error: the configuration file {name} does not exist\n  --> {name}\n"
        )),
        "{shown}"
    );
    assert!(shown.contains("\n\nhint: create it"), "{shown}");
}

#[test]
fn a_directory_instead_of_a_file() {
    let machine = Machine::new();
    let shown = Config::load(machine.directory.path())
        .unwrap_err()
        .to_string();
    assert!(shown.contains("is not a regular file"), "{shown}");
    assert!(shown.contains("hint: name the file itself"), "{shown}");
}

#[test]
fn a_file_that_is_not_text() {
    let machine = Machine::new();
    let path = machine.file("capsd.toml", b"[log]\n# caf\xe9\n", 0o644);
    let faults = Config::load(&path).unwrap_err().faults;
    assert_eq!((faults.len(), faults[0].line), (1, Some(2)));
    assert!(faults[0].message.contains("not UTF-8"));
    assert!(faults[0].hint.contains("save the file in UTF-8"));
}

#[test]
fn a_huge_file() {
    let machine = Machine::new();
    let path = machine.file("capsd.toml", vec![b'#'; 1024 * 1024 + 1], 0o644);
    let faults = Config::load(&path).unwrap_err().faults;
    assert!(faults[0].message.contains("larger than 1 MiB"));
}

#[test]
fn a_syntax_error_is_the_only_fault() {
    let text = format!("{LEAST}[log]\nlevel = info\n[nonsense]\n");
    one(
        &Machine::new(),
        &text,
        6,
        None,
        "not TOML",
        "strings stand in quotes",
    );
}

#[test]
fn every_line_that_is_not_toml_is_told() {
    let text =
        format!("{LEAST}[log]\nlevel = info\nformat = text\n[store]\npath = '/x'\npath = '/y'\n");
    let faults = Machine::new().faults(&text);
    let lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [Some(6), Some(7), Some(10)], "{faults:#?}");
    assert!(faults[2].message.contains("duplicate key"), "{faults:#?}");
}

#[test]
fn of_a_file_that_is_no_toml_at_all_so_much_is_told_as_can_be_read() {
    let machine = Machine::new();
    assert_eq!(machine.faults(&"%\n".repeat(30_000)).len(), 100);
    assert_eq!(machine.faults(&"%\n".repeat(500_000)).len(), 1);
}

#[test]
fn a_key_twice() {
    let text = format!("{LEAST}[log]\nlevel = 'info'\nlevel = 'warn'\n");
    one(
        &Machine::new(),
        &text,
        7,
        None,
        "duplicate key",
        "stands once",
    );
}

#[test]
fn no_component() {
    let message = "no `[[component]]` block";
    one(
        &Machine::new(),
        "[log]\nlevel = 'info'\n\n",
        2,
        None,
        message,
        "`jid`, `server` and `secret-file`",
    );
    one(&Machine::new(), "", 1, None, message, "add one");
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    let text = format!(
        "{LEAST}[log]\nlevel = {}{}\n",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    one(
        &Machine::new(),
        &text,
        6,
        None,
        "not TOML",
        "correct that line",
    );
}

#[test]
fn an_unknown_key() {
    setting(
        "store",
        "max-size = '1GiB'",
        "is unknown",
        "known here: path, flush-interval",
    );
    setting(
        "limits",
        "waiters_per_flight = 1",
        "is unknown",
        "perhaps `waiters-per-flight` is meant",
    );
}

#[test]
fn an_unknown_key_in_a_component() {
    let text = format!("{LEAST}domain = ['example.org']\n");
    one(
        &Machine::new(),
        &text,
        5,
        Some("component.domain"),
        "is unknown",
        "perhaps `domains` is meant",
    );
}

#[test]
fn an_unknown_section() {
    let text = format!("{LEAST}[resolvers]\ndeadline = '5s'\n");
    one(
        &Machine::new(),
        &text,
        5,
        Some("resolvers"),
        "is unknown",
        "perhaps `resolver` is meant",
    );
}

#[test]
fn a_setting_where_a_section_belongs() {
    let text = format!("log = 'debug'\n{LEAST}");
    one(
        &Machine::new(),
        &text,
        1,
        Some("log"),
        "is \"debug\", which is not a section",
        "write `[log]`",
    );
}

#[test]
fn a_component_in_single_brackets() {
    let text = LEAST.replace("[[component]]", "[component]");
    one(
        &Machine::new(),
        &text,
        1,
        Some("component"),
        "is a table, not a block",
        "two brackets",
    );
}

#[test]
fn the_secret_in_the_configuration_itself_is_not_repeated() {
    let machine = Machine::new();
    let text = LEAST.replace("secret-file = '$SECRET'", "secret = 'hunter2'");
    let message = "does not stand in the configuration";
    one(
        &machine,
        &text,
        4,
        Some("component.secret"),
        message,
        "secret-file = ",
    );
    assert!(
        !machine
            .read(&text)
            .unwrap_err()
            .to_string()
            .contains("hunter2")
    );
}
