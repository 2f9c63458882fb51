//! The table of commands in README: every command and every option is in it, and it names nothing that there is not.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_capsd"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The words that follow two dashes.
fn options(text: &str) -> BTreeSet<String> {
    let options = text.split("--").skip(1).map(|rest| {
        let end = rest
            .find(|c: char| !c.is_ascii_lowercase() && c != '-')
            .unwrap_or(rest.len());
        rest[..end].to_owned()
    });
    options.filter(|option| !option.is_empty()).collect()
}

/// Each command that README's table has, with the options that it names.
fn in_readme() -> BTreeMap<String, BTreeSet<String>> {
    let text = include_str!("../../README.md");
    let section = text
        .split("\n## Commands\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `capsd "));
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let cell = row.split(" | ").next().unwrap();
        for usage in cell.split("`capsd ").skip(1) {
            let name = usage.split([' ', '`']).next().unwrap();
            found
                .entry(name.to_owned())
                .or_default()
                .extend(options(usage));
        }
    }
    found
}

#[test]
fn it_has_every_command() {
    let all = help(&["--help"]);
    let list = all
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let commands = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands = commands.map(|line| line.split_whitespace().next().unwrap().to_owned());
    let commands: BTreeSet<String> = commands.filter(|name| name != "help").collect();
    let in_readme: BTreeSet<String> = in_readme().into_keys().collect();
    assert_eq!(commands, in_readme);
}

/// `run` alone has nothing to say to programs.
#[test]
fn every_command_speaks_json() {
    for command in in_readme().into_keys().filter(|command| command != "run") {
        let usage = help(&[&command, "--help"]);
        let mut lines = usage.lines().map(str::trim_start);
        assert!(lines.any(|line| line.starts_with("--json")), "{command}");
    }
}

#[test]
fn it_has_every_option() {
    for (command, named) in in_readme() {
        let usage = help(&[&command, "--help"]);
        let list = usage.split("Options:\n").nth(1).unwrap();
        let defined = list
            .lines()
            .map(str::trim_start)
            .filter(|line| line.starts_with('-'));
        let mut defined: BTreeSet<String> = defined
            .flat_map(|line| options(line).into_iter().next())
            .collect();
        // What all have, and what the text beneath the table says of those that speak to the daemon.
        for common in ["help", "config", "socket"] {
            defined.remove(common);
        }
        let named: BTreeSet<String> = named
            .into_iter()
            .filter(|option| option != "config")
            .collect();
        assert_eq!(named, defined, "{command}");
    }
}
