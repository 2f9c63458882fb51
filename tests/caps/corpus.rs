//! Real answers: the corpus that `CAPSD_CORPUS` names, with the verdicts of another implementation of section 5.4.
//!
//! It is no part of the project. Its layout: `verdicts.tsv` (file, algorithm, verdict, reason) and `hashes/`, one file an
//! entry, named `ALGO_NODE%23VER.xml` in percent-encoding.

use std::path::{Path, PathBuf};
use std::process::Command;

use capsd::caps::{CapsKey, DiscoInfo, Family, Policy, Reason, Verdict, verify, xep0115};
use capsd::stanza::answer::{AnswerLimits, parse_query, parse_query_unwrapped};

/// The entries, other than md5, where the project's rules are stricter than section 5.4, and the rule that each breaks.
pub(crate) const STRICTER: [(&str, &str); 2] = [
    (
        "sha-1_http%3A%2F%2Fstrophe.im%2Fstrophejs%2F%23kR9jljQwQFoklIvoOmy%2FGAli0gA%3D.xml",
        "there is no identity",
    ),
    (
        "sha-1_https%3A%2F%2Fgithub.com%2Frobbiehanson%2FXMPPFramework%23aO0i9MaUBkx3mE7HcD49yGarihY%3D.xml",
        "there is no identity",
    ),
];

/// How many md5 entries the other implementation accepts; they are off by default here.
const MD5_ENTRIES: usize = 5;

/// One line of `verdicts.tsv`.
pub(crate) struct Entry {
    file: String,
    path: PathBuf,
    algorithm: String,
    ver: String,
    accepted: bool,
    reason: String,
}

fn corpus() -> Option<Vec<Entry>> {
    let Some(root) = std::env::var_os("CAPSD_CORPUS") else {
        println!("skipped: CAPSD_CORPUS does not name a corpus of real answers");
        return None;
    };
    let root = Path::new(&root);
    let verdicts = std::fs::read_to_string(root.join("verdicts.tsv")).unwrap();
    let entries: Vec<Entry> = verdicts
        .lines()
        .skip(1)
        .map(|line| entry(root, line))
        .collect();
    assert_eq!(entries.len(), 807);
    Some(entries)
}

fn entry(root: &Path, line: &str) -> Entry {
    let [file, algorithm, verdict, reason] = line.split('\t').collect::<Vec<_>>()[..] else {
        panic!("not four columns: {line}");
    };
    let name = percent_encoding::percent_decode_str(file)
        .decode_utf8()
        .unwrap();
    let (_, ver) = name.strip_suffix(".xml").unwrap().rsplit_once('#').unwrap();
    Entry {
        file: file.to_owned(),
        path: root.join("hashes").join(file),
        algorithm: algorithm.to_owned(),
        ver: ver.to_owned(),
        accepted: verdict == "accept",
        reason: reason.to_owned(),
    }
}

impl Entry {
    /// The file.
    pub(crate) fn name(&self) -> &str {
        &self.file
    }

    /// What the hash covers, the inner query of those that are wrapped.
    pub(crate) fn content(&self) -> DiscoInfo {
        let bytes = std::fs::read(&self.path).unwrap();
        let answer = parse_query_unwrapped(&bytes, AnswerLimits::default()).unwrap();
        xep0115::canonical(&answer).0
    }

    /// Why the other implementation accepts or refuses it.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

/// Every entry; none where there is no corpus, which is said.
pub(crate) fn entries() -> Vec<Entry> {
    corpus().unwrap_or_default()
}

fn key(entry: &Entry) -> CapsKey {
    CapsKey::from_base64(Family::Xep0115, &entry.algorithm, &entry.ver).unwrap()
}

#[test]
fn verdicts_differ_only_where_it_is_meant() {
    let mut md5 = 0;
    let mut stricter = Vec::new();
    for entry in corpus().unwrap_or_default() {
        let bytes = std::fs::read(&entry.path).unwrap();
        let answer = parse_query(&bytes, AnswerLimits::default()).unwrap();
        match verify(&key(&entry), &answer, &Policy::default()) {
            Verdict::Verified(verified) => {
                assert!(entry.accepted && !verified.waived(), "{}", entry.file);
            }
            Verdict::Rejected(Reason::UnsupportedAlgorithm, _) => {
                assert_eq!(entry.algorithm, "md5", "{}", entry.file);
                println!("stricter: {}: md5 is off by default", entry.file);
                md5 += usize::from(entry.accepted);
            }
            Verdict::Quarantined(reason, detail) if entry.accepted => {
                assert_eq!(reason, Reason::Ambiguous, "{}", entry.file);
                println!("stricter: {}: {detail}", entry.file);
                stricter.push((entry.file, detail));
            }
            Verdict::Quarantined(reason, _) => {
                assert_eq!(reason, Reason::IllFormed, "{}", entry.file);
                assert!(entry.reason.starts_with("ill-formed"), "{}", entry.file);
            }
            Verdict::Rejected(reason, _) => {
                assert!(!entry.accepted, "{}", entry.file);
                assert_eq!(reason, Reason::Mismatch, "{}", entry.file);
                assert!(entry.reason.starts_with("mismatch"), "{}", entry.file);
            }
        }
    }
    if std::env::var_os("CAPSD_CORPUS").is_some() {
        assert_eq!(md5, MD5_ENTRIES);
        let expected = STRICTER.map(|(file, rule)| (file.to_owned(), rule.to_owned()));
        assert_eq!(stricter, expected);
    }
}

/// What an operator installs is believed: everything whose hash matches, unwrapped, passes, and is marked where a rule was
/// waived.
#[test]
fn trusted_content_passes_whole() {
    for entry in corpus().unwrap_or_default() {
        let bytes = std::fs::read(&entry.path).unwrap();
        let answer = parse_query_unwrapped(&bytes, AnswerLimits::default()).unwrap();
        let Verdict::Verified(verified) = verify(&key(&entry), &answer, &Policy::trusted()) else {
            panic!("{} does not pass", entry.file);
        };
        let is_stricter = STRICTER.iter().any(|(file, _)| *file == entry.file);
        // The wrapped entries are of a server whose form has no field.
        let needs_waiver = entry.reason.starts_with("ill-formed")
            || entry.reason.starts_with("mismatch")
            || entry.algorithm == "md5"
            || is_stricter;
        assert_eq!(verified.waived(), needs_waiver, "{}", entry.file);
    }
}

/// The program says the same as the library, on every tenth entry.
#[test]
fn the_command_agrees() {
    for entry in corpus().unwrap_or_default().iter().step_by(10) {
        let bytes = std::fs::read(&entry.path).unwrap();
        let answer = parse_query(&bytes, AnswerLimits::default()).unwrap();
        let (expected, code) = match verify(&key(entry), &answer, &Policy::default()) {
            Verdict::Verified(_) => ("verified\n".to_owned(), 0),
            Verdict::Quarantined(reason, _) => (format!("quarantined: {reason}\n"), 1),
            Verdict::Rejected(reason, _) => (format!("rejected: {reason}\n"), 1),
        };
        let output = Command::new(env!("CARGO_BIN_EXE_capsd"))
            .args(["verify", "--hash", &entry.algorithm, "--ver", &entry.ver])
            .arg(&entry.path)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        assert_eq!(output.status.code(), Some(code), "{}", entry.file);
    }
}
