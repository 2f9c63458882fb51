//! What came of an import.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::caps::{CapsKey, Reason};
use crate::cli::Exit;
use crate::control::protocol::Judged;

/// What came of an import, file by file.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// How many contents were not there before.
    new: u64,
    /// How many were.
    known: u64,
    /// What was not taken.
    refused: Vec<Refused>,
    /// What could not be read.
    unreadable: Vec<(PathBuf, String)>,
    /// How many files were not looked at for their names.
    passed_over: u64,
    /// How many files were not looked at because the import was interrupted.
    pub(super) left: u64,
}

/// Where a content comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The file.
    pub(super) file: PathBuf,
    /// Its first key, where the file has several contents.
    pub(super) key: Option<CapsKey>,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{} ({key})", self.file.display()),
            None => write!(f, "{}", self.file.display()),
        }
    }
}

/// A content that was not taken.
#[derive(Debug)]
struct Refused {
    origin: Origin,
    verdict: &'static str,
    reason: String,
    detail: String,
}

impl Report {
    /// A report of nothing yet; so many files were passed over for their names.
    pub(super) fn new(passed_over: u64) -> Report {
        Report {
            passed_over,
            ..Report::default()
        }
    }

    /// Takes note of what came of one content of a file.
    pub(super) fn judged(&mut self, origin: &Origin, judged: Judged) {
        match judged {
            Judged::Verified { new: true } => self.new += 1,
            Judged::Verified { new: false } => self.known += 1,
            Judged::Quarantined { reason, detail } => {
                self.refuse(origin.clone(), "quarantined", reason, detail);
            }
            Judged::Rejected { reason, detail } => {
                self.refuse(origin.clone(), "rejected", reason, detail);
            }
        }
    }

    /// Takes note of a file that is not that of a content.
    pub(super) fn rejected(&mut self, file: &Path, reason: Reason, detail: &str) {
        let origin = Origin {
            file: file.to_owned(),
            key: None,
        };
        self.refuse(origin, "rejected", reason.to_string(), detail.to_owned());
    }

    fn refuse(&mut self, origin: Origin, verdict: &'static str, reason: String, detail: String) {
        self.refused.push(Refused {
            origin,
            verdict,
            reason,
            detail,
        });
    }

    /// Takes note of a file that could not be read.
    pub(super) fn unreadable(&mut self, file: &Path, cause: String) {
        self.unreadable.push((file.to_owned(), cause));
    }

    /// How many were refused, by verdict and reason.
    fn counts(&self) -> BTreeMap<(&'static str, &str), u64> {
        let mut counts = BTreeMap::new();
        for refused in &self.refused {
            *counts
                .entry((refused.verdict, refused.reason.as_str()))
                .or_default() += 1;
        }
        counts
    }

    /// The exit code that goes with it.
    pub(super) fn exit(&self) -> Exit {
        if !self.unreadable.is_empty() {
            Exit::Usage
        } else if !self.refused.is_empty() || self.left > 0 {
            Exit::No
        } else {
            Exit::Done
        }
    }

    /// For people: what was refused, then the counts.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Refused {
            origin,
            verdict,
            reason,
            detail,
        } in &self.refused
        {
            let _ = writeln!(text, "{verdict}: {reason}: {origin}: {detail}");
        }
        for (file, cause) in &self.unreadable {
            let _ = writeln!(text, "unreadable: {}: {cause}", file.display());
        }
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = write!(
            text,
            "{:>8} verified ({} new, {} known before)",
            self.new + self.known,
            self.new,
            self.known
        );
        for ((verdict, reason), count) in self.counts() {
            let _ = write!(text, "\n{count:>8} {verdict}: {reason}");
        }
        for (count, what) in [
            (self.unreadable.len() as u64, "unreadable"),
            (self.passed_over, "passed over: no name of a content"),
            (self.left, "not looked at: interrupted"),
        ] {
            if count > 0 {
                let _ = write!(text, "\n{count:>8} {what}");
            }
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let counts = self.counts().into_iter();
        let counts = counts.map(
            |((verdict, reason), count)| json!({ "verdict": verdict, "reason": reason, "count": count }),
        );
        let refused = self.refused.iter().map(|refused| {
            json!({
                "file": refused.origin.file.to_string_lossy(),
                "key": refused.origin.key.map(|key| key.to_string()),
                "verdict": refused.verdict,
                "reason": refused.reason,
                "detail": refused.detail,
            })
        });
        let unreadable = self.unreadable.iter();
        let unreadable = unreadable
            .map(|(file, cause)| json!({ "file": file.to_string_lossy(), "cause": cause }));
        json!({
            "verified": self.new + self.known,
            "new": self.new,
            "known": self.known,
            "refused": self.refused.len(),
            "counts": counts.collect::<Vec<_>>(),
            "list": refused.collect::<Vec<_>>(),
            "unreadable": unreadable.collect::<Vec<_>>(),
            "passed-over": self.passed_over,
            "complete": self.left == 0,
            "left": self.left,
        })
    }
}
