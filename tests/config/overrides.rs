//! The file of overrides: what is wrong with it is said with its place and its remedy.

use std::path::{Path, PathBuf};

use capsd::config::overrides::{MAX_PINS, Rules, read};
use capsd::config::{ConfigFaults, Fault};

use crate::Machine;

const KEY: &str = "http://example.org#QgayPKawpkPSDYmwT/WM94uAlu0=";

/// Reads a file with that text; the content of a pinned file is its path, and one called `wrong` is refused.
fn read_text(machine: &Machine, text: &str) -> Result<Rules<PathBuf>, ConfigFaults> {
    let file = machine.file("overrides.toml", text, 0o644);
    read(&file, |_, path| match path.ends_with("wrong") {
        true => Err("mismatch: it does not have the hash".to_owned()),
        false => Ok(path.to_owned()),
    })
}

fn faults(text: &str) -> Vec<Fault> {
    read_text(&Machine::new(), text).unwrap_err().faults
}

#[test]
fn rules_are_read_with_keys_in_each_of_their_spellings() {
    let text = format!(
        "[[deny]]\nkey = '{KEY}'\nreason = 'one'\n\
         [[deny]]\nkey = 'urn:xmpp:caps#sha-256.kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8='\nreason = 'two'\n\
         [[pin]]\nkey = '0115:sha-1:q07IKJEyjvHSyhy//CH0CxmKi8w='\nreason = 'three'\nfile = '/a/b.xml'\n"
    );
    let rules = read_text(&Machine::new(), &text).unwrap();
    let denied: Vec<_> = rules
        .denied
        .iter()
        .map(|(k, r)| (k.to_string(), &r[..]))
        .collect();
    assert_eq!(
        denied,
        [
            ("0115:sha-1:QgayPKawpkPSDYmwT/WM94uAlu0=".to_owned(), "one"),
            (
                "0390:sha-256:kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=".to_owned(),
                "two"
            ),
        ]
    );
    let [(key, file, reason)] = &rules.pinned[..] else {
        panic!("{rules:?}");
    };
    assert_eq!(key.to_string(), "0115:sha-1:q07IKJEyjvHSyhy//CH0CxmKi8w=");
    assert_eq!(
        (file.as_path(), &reason[..]),
        (Path::new("/a/b.xml"), "three")
    );
    let nothing = read_text(&Machine::new(), "# nothing\n").unwrap();
    assert!(nothing.denied.is_empty() && nothing.pinned.is_empty());
}

/// The example, every block of it in force.
#[test]
fn the_example_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/overrides.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let machine = Machine::new();
    let none = read_text(&machine, &text).unwrap();
    assert_eq!((none.denied.len(), none.pinned.len()), (0, 0));
    let in_force: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let all = read_text(&machine, &in_force).unwrap();
    assert_eq!((all.denied.len(), all.pinned.len()), (1, 1));
}

#[test]
fn every_fault_is_named_with_line_key_and_remedy() {
    let cases = [
        ("[[deny]]\nreason = 'x'\n", 1, "deny.key", "is missing"),
        (
            &format!("[[deny]]\nkey = '{KEY}'\n"),
            1,
            "deny.reason",
            "is missing",
        ),
        (
            &format!("[[deny]]\nkey = '{KEY}'\nreason = ''\n"),
            3,
            "deny.reason",
            "is empty",
        ),
        (
            &format!("[[deny]]\nkey = '{KEY}'\nreason = \"a\\nb\"\n"),
            3,
            "deny.reason",
            "several lines",
        ),
        (
            "[[deny]]\nkey = 'nonsense'\nreason = 'x'\n",
            2,
            "deny.key",
            "not a caps key",
        ),
        (
            "[[deny]]\nkey = 'http://a#AAAA'\nreason = 'x'\n",
            2,
            "deny.key",
            "not a caps key",
        ),
        (
            "[[deny]]\nkey = 5\nreason = 'x'\n",
            2,
            "deny.key",
            "not a string",
        ),
        (
            &format!("[[deny]]\nkey = '{KEY}'\nreason = 'x'\nfile = '/a'\n"),
            4,
            "deny.file",
            "is unknown",
        ),
        (
            &format!("[[pin]]\nkey = '{KEY}'\nreason = 'x'\n"),
            1,
            "pin.file",
            "is missing",
        ),
        (
            &format!("[[pin]]\nkey = '{KEY}'\nreason = 'x'\nfile = 'b.xml'\n"),
            4,
            "pin.file",
            "not an absolute path",
        ),
        (
            &format!("[[pin]]\nkey = '{KEY}'\nreason = 'x'\nfile = '/a/wrong'\n"),
            4,
            "pin.file",
            "does not have the hash",
        ),
        (
            &format!(
                "[[pin]]\nkey = '{KEY}'\nreason = 'x'\nfile = '/a'\n[[deny]]\nkey = 'http://b{}'\nreason = 'x'\n",
                &KEY[18..]
            ),
            2,
            "pin.key",
            "earlier block",
        ),
        ("[deny]\nkey = 'x'\n", 1, "deny", "not a block"),
        ("[[allow]]\nkey = 'x'\n", 1, "allow", "is unknown"),
    ];
    for (text, line, key, words) in cases {
        let faults = faults(text);
        let fault = &faults[0];
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(
            (fault.line, fault.key.as_deref()),
            (Some(line), Some(key)),
            "{fault:?}"
        );
        assert!(fault.message.contains(words), "{fault:?}");
        assert!(!fault.hint.is_empty());
        assert!(fault.file.ends_with("overrides.toml"));
    }
    let fault = &faults("[[deny]\n")[0];
    assert_eq!((fault.line, fault.key.as_deref()), (Some(1), None));
    let missing = read(Path::new("/not/there.toml"), |_, _| Ok(())).unwrap_err();
    assert!(
        missing.to_string().contains("file of overrides"),
        "{missing}"
    );
    assert!(
        missing.to_string().contains("`trusted.overrides`"),
        "{missing}"
    );
}

#[test]
fn pins_are_bounded() {
    let pin = |n: usize| {
        let mut digest = [0; 20];
        digest[..8].copy_from_slice(&n.to_be_bytes());
        let key = capsd::caps::CapsKey::new(
            capsd::caps::Family::Xep0115,
            capsd::caps::Algorithm::Sha1,
            &digest,
        );
        format!(
            "[[pin]]\nkey = '{}'\nreason = 'x'\nfile = '/a'\n",
            key.unwrap()
        )
    };
    let most: String = (0..MAX_PINS).map(pin).collect();
    assert_eq!(
        read_text(&Machine::new(), &most).unwrap().pinned.len(),
        MAX_PINS
    );
    let faults = faults(&(most + &pin(MAX_PINS)));
    assert_eq!(faults.len(), 1);
    assert!(faults[0].message.contains("more than 1024"), "{faults:?}");
}
