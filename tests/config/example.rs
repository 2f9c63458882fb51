//! `config/capsd.toml` is true: it is usable, it lists every key, and each at its default and with its range.

use std::collections::BTreeSet;
use std::fs;

use capsd::config::SecretSource;
use capsd::config::changes::APPLIED;
use toml::{Table, Value};

use crate::{LEAST, Machine};

fn example() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/capsd.toml");
    let text = fs::read_to_string(path).unwrap();
    text.replace("/etc/capsd/secret\"\n", "$SECRET\"\n")
}

/// A key that is commented out: `#key = value`, without a space.
fn commented(line: &str) -> Option<&str> {
    let setting = line.strip_prefix('#')?;
    setting
        .starts_with(|first: char| first.is_ascii_lowercase())
        .then_some(setting)
}

/// The example with every key in it in force.
pub(crate) fn uncommented() -> String {
    let example = example();
    let lines = example.lines().map(|line| commented(line).unwrap_or(line));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn it_is_usable_as_it_is() {
    let machine = Machine::new();
    let credentials = machine.path("");
    let machine = machine.with_variable("CREDENTIALS_DIRECTORY", credentials);
    let mut config = machine.read(&example()).unwrap();
    assert_eq!(config.components[0].secret_source, SecretSource::Credential);
    config.components[0].secret_source = SecretSource::File(machine.path("secret"));
    assert_eq!(config, machine.read(LEAST).unwrap());
}

#[test]
fn every_commented_key_is_at_its_default() {
    let machine = Machine::new();
    assert_ne!(uncommented(), example());
    assert_eq!(
        machine.read(&uncommented()).unwrap(),
        machine.read(LEAST).unwrap()
    );
}

#[test]
fn what_a_reload_does_not_apply_says_so() {
    let mut section = String::new();
    let (mut comment, mut after_key) = (String::new(), false);
    for line in example().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = commented(line).unwrap_or(line).split_once(" = ") {
            let name = format!("{section}.{key}");
            let applied = APPLIED.contains(&&*name);
            assert_eq!(
                !applied,
                comment.ends_with("eeds a restart."),
                "{name}: {comment}"
            );
            after_key = true;
        } else if line.starts_with("# ") || line.is_empty() {
            // Keys that belong together stand below one comment.
            if std::mem::take(&mut after_key) || line.is_empty() {
                comment.clear();
            }
            comment += line;
        }
    }
    assert_eq!(section, "log");
}

/// `section.key` of everything in a configuration.
pub(crate) fn keys(text: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (section, content) in text.parse::<Table>().unwrap() {
        let tables = match content {
            Value::Table(table) => vec![table],
            Value::Array(blocks) => blocks
                .into_iter()
                .map(|block| block.try_into().unwrap())
                .collect(),
            other => panic!("{section} = {other}"),
        };
        for table in tables {
            keys.extend(table.keys().map(|key| format!("{section}.{key}")));
        }
    }
    keys
}

#[test]
fn every_key_is_in_it() {
    let in_force = Machine::new().read(LEAST).unwrap().to_toml().unwrap();
    assert_eq!(keys(&uncommented()), keys(&in_force));
    assert!(keys(&in_force).len() > 40);
}

/// Sets each number far out of range, takes the range from the words of the refusal, and looks for it in the comment.
#[test]
fn every_range_in_a_comment_is_the_one_in_force() {
    let machine = Machine::new();
    let text = uncommented();
    let lines: Vec<_> = text.lines().collect();
    let mut ranges = 0;
    for (place, line) in lines.iter().enumerate() {
        let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let excess = match value.trim_matches('"') {
            count if count.parse::<u64>().is_ok() => "99999999999".to_owned(),
            rate if rate.ends_with("/s") || rate.ends_with("/h") => "\"99999999/s\"".to_owned(),
            size if size.ends_with("iB") => "\"99999TiB\"".to_owned(),
            period if period.ends_with(['s', 'm', 'h']) && value.len() < 8 => {
                "\"99999h\"".to_owned()
            }
            _ => continue,
        };
        let mut changed = lines.clone();
        let setting = format!("{key} = {excess}");
        changed[place] = &setting;
        let faults = machine.faults(&changed.join("\n"));
        let refusal = faults
            .iter()
            .find(|fault| fault.line == Some(place + 1))
            .unwrap();
        let (_, range) = refusal.message.split_once("must be from ").unwrap();
        assert!(
            comment_above(&lines[..place]).contains(range),
            "the comment on {key} does not say {range}"
        );
        ranges += 1;
    }
    assert_eq!(ranges, 37);
}

/// The comment that stands above a line; several keys may stand under one comment.
fn comment_above(lines: &[&str]) -> String {
    let block = lines.iter().rev().take_while(|line| !line.is_empty());
    let mut comment: Vec<_> = block
        .filter(|line| line.starts_with('#'))
        .copied()
        .collect();
    comment.reverse();
    comment.join(" ").replace("# ", "")
}

#[test]
fn keys_stand_in_the_section_that_the_faults_name() {
    let text = uncommented().replace("deadline = \"5s\"", "deadline = \"5 s\"");
    let faults = Machine::new().faults(&text);
    assert_eq!(faults[0].key.as_deref(), Some("resolver.deadline"));
    let place = text
        .lines()
        .position(|line| line.starts_with("deadline"))
        .unwrap();
    assert_eq!(faults[0].line, Some(place + 1));
}
