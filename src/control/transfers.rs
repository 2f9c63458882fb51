//! Imports and exports by the control socket. Each takes several requests of one connection, and is one line in the log: when it has ended,
//! with what came of it, or when whoever asked for it went away in the middle.

use super::act::{Actor, log};
use super::protocol::{Answer, Judged, Request};

/// What a request is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An import.
    Import,
    /// An export.
    Export,
    /// Neither.
    Neither,
}

impl Part {
    pub(super) fn of(request: &Request) -> Part {
        match request {
            Request::Import { .. } => Part::Import,
            Request::Entries { .. } => Part::Export,
            _ => Part::Neither,
        }
    }
}

/// What was imported so far.
#[derive(Clone, Copy, Debug, Default)]
struct Import {
    new: u64,
    known: u64,
    refused: u64,
}

/// What goes on over one connection. Dropped with it, it logs what did not come to its end.
#[derive(Debug)]
pub(super) struct Transfers {
    by: Actor,
    import: Option<Import>,
    /// How many contents were given out.
    export: Option<u64>,
}

impl Transfers {
    pub(super) fn new(by: Actor) -> Transfers {
        Transfers {
            by,
            import: None,
            export: None,
        }
    }

    /// Takes note of what was answered to a request.
    pub(super) fn note(&mut self, part: Part, answer: &Answer) {
        // A connection does one thing after the other: what comes next ends what was before.
        if part != Part::Import {
            self.end_import();
        }
        if part != Part::Export {
            self.end_export(false);
        }
        match (part, answer) {
            (Part::Import, Answer::Judged { judged }) => {
                let import = self.import.get_or_insert_default();
                for judged in judged {
                    match judged {
                        Judged::Verified { new: true } => import.new += 1,
                        Judged::Verified { new: false } => import.known += 1,
                        Judged::Quarantined { .. } | Judged::Rejected { .. } => {
                            import.refused += 1;
                        }
                    }
                }
            }
            (Part::Export, Answer::Entries { entries, next }) => {
                *self.export.get_or_insert_default() += entries.len() as u64;
                if next.is_none() {
                    self.end_export(true);
                }
            }
            (Part::Import, Answer::Refused { .. }) => {
                self.end_import();
                log(&self.by, "import", answer);
            }
            (Part::Export, Answer::Refused { .. }) => {
                self.end_export(false);
                log(&self.by, "export", answer);
            }
            _ => {}
        }
    }

    fn end_import(&mut self) {
        if let Some(Import {
            new,
            known,
            refused,
        }) = self.import.take()
        {
            let contents = new + known + refused;
            tracing::info!(
                by = %self.by,
                "carried out: import of {contents} contents: {new} new, {known} known, {refused} refused"
            );
        }
    }

    fn end_export(&mut self, whole: bool) {
        if let Some(contents) = self.export.take() {
            let end = if whole { "" } else { ", and broken off then" };
            tracing::info!(by = %self.by, "carried out: export of {contents} contents{end}");
        }
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        self.end_import();
        self.end_export(false);
    }
}
