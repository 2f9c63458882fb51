//! What a reload applies and what needs a restart: every key is one or the other, and is treated so.

use std::collections::BTreeSet;

use capsd::config::Config;
use capsd::config::changes::{APPLIED, Changes, NEEDS_RESTART, changes, with_applied};

use crate::Machine;
use crate::example::{keys, uncommented};

/// Every key of the example with another value than its default.
const OTHERS: &[(&str, &str)] = &[
    ("component.jid", "'hashes.example.org'"),
    ("component.server", "'127.0.0.1:5348'"),
    ("component.secret-file", "'$OTHER'"),
    ("component.domains", "['example.org', 'example.net']"),
    ("component.feeds", "['example.net']"),
    ("component.admins", "['admin@example.org']"),
    ("store.path", "'/srv/capsd'"),
    ("store.flush-interval", "'2s'"),
    ("store.max-entries", "1000"),
    ("store.max-bytes", "'1GiB'"),
    ("store.high-water-percent", "80"),
    ("store.max-waste", "'64MiB'"),
    ("store.cache", "'8MiB'"),
    ("hot.max-bytes", "'16MiB'"),
    ("hot.probation-bytes", "'2MiB'"),
    ("trusted.directories", "['/srv/trusted']"),
    ("trusted.bundles", "['/srv/a.capsd']"),
    (
        "trusted.public-keys",
        "['RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3']",
    ),
    ("trusted.unsigned-bundles", "'accept'"),
    ("trusted.overrides", "'/srv/overrides.toml'"),
    ("resolver.resolve", "'on-demand'"),
    ("resolver.deadline", "'6s'"),
    ("resolver.holder-timeout", "'1s'"),
    ("resolver.retry-after", "'5m'"),
    ("holders.max", "1000"),
    ("holders.expire-after", "'1h'"),
    ("holders.per-key", "32"),
    ("holders.unverifiable-bytes", "'2MiB'"),
    ("limits.flights", "100"),
    ("limits.waiters", "100"),
    ("limits.waiters-per-flight", "100"),
    ("limits.subscribers", "100"),
    ("limits.queries-per-asker", "'10/s'"),
    ("limits.new-keys-per-domain", "'10/s'"),
    ("limits.new-keys-per-account", "'10/h'"),
    ("limits.questions-per-domain", "'10/s'"),
    ("limits.questions-per-account", "'10/h'"),
    ("limits.second-uses-per-account", "'10/h'"),
    ("limits.max-disco-bytes", "'32KiB'"),
    ("limits.max-features", "512"),
    ("limits.allow-md5", "true"),
    ("limits.link-queue-bytes", "'4MiB'"),
    ("limits.batch-keys-per-asker", "'1000/s'"),
    ("limits.batch-bytes", "'128KiB'"),
    ("limits.waiting-batch-bytes", "'8MiB'"),
    ("http.listen", "'127.0.0.1:9117'"),
    ("http.names", "['caps.example.org']"),
    ("http.connections", "32"),
    ("http.timeout", "'5s'"),
    ("control.socket", "'/run/capsd/other.sock'"),
    ("control.connections", "8"),
    ("control.timeout", "'20s'"),
    ("contact.abuse", "['mailto:abuse@example.org']"),
    ("contact.admin", "['mailto:admin@example.org']"),
    ("contact.feedback", "['mailto:feedback@example.org']"),
    ("contact.sales", "['mailto:sales@example.org']"),
    ("contact.security", "['mailto:security@example.org']"),
    ("contact.status", "['https://example.org/status']"),
    ("contact.support", "['xmpp:support@example.org']"),
    ("population.clients", "5"),
    ("population.features", "['urn:xmpp:ping']"),
    ("population.kinds", "64"),
    ("log.format", "'json'"),
    ("log.level", "'debug'"),
];

fn machine() -> Machine {
    let machine = Machine::new();
    // The same secret in another place.
    machine.file("other", "s3cret\n", 0o640);
    machine
}

/// The example with that key at that value.
fn with(machine: &Machine, key: &str, value: &str) -> Config {
    let (section, name) = key.split_once('.').unwrap();
    let value = value.replace("$OTHER", machine.path("other").to_str().unwrap());
    let mut inside = false;
    let lines = uncommented();
    let lines = lines.lines().map(|line| {
        if line.starts_with('[') {
            inside = line.trim_matches(['[', ']']) == section;
        }
        match inside && line.starts_with(&format!("{name} = ")) {
            true => format!("{name} = {value}\n"),
            false => format!("{line}\n"),
        }
    });
    machine.read(&lines.collect::<String>()).unwrap()
}

#[test]
fn every_key_has_another_value_here() {
    let others: BTreeSet<String> = OTHERS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(others, keys(&uncommented()));
}

#[test]
fn every_key_is_applied_or_named_as_needing_a_restart() {
    let machine = machine();
    let old = machine.read(&uncommented()).unwrap();
    for (key, value) in OTHERS {
        let new = with(&machine, key, value);
        assert_ne!(old, new, "{key}");
        let name = match *key {
            "component.jid" | "component.server" => "component",
            key => key,
        };
        let shown = match name.strip_prefix("component.") {
            Some(_) => format!("{name} (caps.example.org)"),
            None => name.to_owned(),
        };
        let (is_applied, needs_restart) = (APPLIED.contains(&name), NEEDS_RESTART.contains(&name));
        assert!(is_applied != needs_restart, "{key} is in one of the lists");
        let found = changes(&old, &new);
        let (expected, in_force) = match is_applied {
            true => (
                Changes {
                    applied: vec![shown],
                    ..Changes::default()
                },
                &new,
            ),
            false => (
                Changes {
                    needs_restart: vec![shown],
                    ..Changes::default()
                },
                &old,
            ),
        };
        assert_eq!(found, expected);
        assert_eq!(with_applied(&old, new.clone()), *in_force, "{key}");
    }
}

#[test]
fn what_needs_a_restart_is_named_until_there_is_one() {
    let machine = machine();
    let old = machine.read(&uncommented()).unwrap();
    let new = with(&machine, "http.timeout", "'5s'");
    let in_force = with_applied(&old, new.clone());
    assert_eq!(changes(&in_force, &new).needs_restart, ["http.timeout"]);
    assert!(changes(&new, &new).is_empty());
}

#[test]
fn another_secret_in_the_same_file_is_a_change() {
    let machine = machine();
    let old = machine.read(&uncommented()).unwrap();
    machine.file("secret", "another\n", 0o640);
    let new = machine.read(&uncommented()).unwrap();
    let found = changes(&old, &new);
    assert_eq!(found.applied, ["component.secret (caps.example.org)"]);
    assert!(!format!("{found:?}").contains("another"));
}

#[test]
fn links_that_come_or_go_are_left_alone_together() {
    let machine = machine();
    let old = machine.read(&uncommented()).unwrap();
    let more = "\n[[component]]\njid = 'caps.example.net'\nserver = '127.0.0.1:5347'\nsecret-file = '$SECRET'\n";
    let new = machine
        .read(
            &(uncommented().replace("domains = [\"example.org\"]", "domains = [\"example.com\"]")
                + more),
        )
        .unwrap();
    assert_eq!(new.components.len(), 2);
    let found = changes(&old, &new);
    assert_eq!(
        (found.applied.len(), found.needs_restart),
        (0, vec!["component".to_owned()])
    );
    assert_eq!(with_applied(&old, new), old);
}
