//! `capsd import`: contents from files into the learned tier.
//!
//! Every content is verified by the rules for strangers, by the daemon where one runs. What is taken counts as announced by several
//! accounts, because it was published.
//!
//! **Interrupted** by a signal, the import ends after the step at hand and reports how far it came. **Killed**, it reports nothing. Either
//! way every entry in the store is whole: it is found by a key only once its content is there, and is checked against that key at every
//! reading. The same import again completes it; what is there already is counted as known.

mod files;
mod report;

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::interrupt::Interrupt;
use super::tier::{Place, Tier};
use super::{Exit, Failure, explain, print, progress};
use crate::bundle::{Bundle, BundleEntry, BundleError, EXTENSION, Signers};
use crate::caps::Reason;
use crate::control::desk::query;
use crate::control::protocol::{BATCH_BYTES, Item, MAX_BATCH};
use files::{Files, NotAContent};
use report::{Origin, Report};

/// Verify contents and take them into the learned tier, whether or not the daemon runs
///
/// PATH is a file or a directory in the layout of capsdb and of aioxmpp's database: `ALGO_NODE.xml` with the node
/// percent-encoded (XEP-0115), `caps2/ALGO/xx/yy/zzz.xml` (XEP-0390); each file is one disco#info <query/>. Or it is a
/// bundle, `NAME.capsd`; nobody need have signed it, because its contents are verified one by one. What is refused is
/// listed with its reason, and the rest is taken.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files and directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    #[command(flatten)]
    place: Place,

    /// Print a JSON object instead: counts, and `list` of what was refused
    #[arg(long)]
    pub(super) json: bool,
}

/// Exit code 0: all was taken; 1: some was refused, or it was interrupted; 2: usage, or something could not be read; 3: the store is in use
/// or newer than this version.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let files = Files::find(&arguments.paths).map_err(|fault| Failure {
        message: fault.to_string(),
        exit: Exit::Usage,
    })?;
    let interrupt = Interrupt::listen();
    let mut tier = arguments.place.open(true)?;
    let mut import = Import {
        tier: &mut tier,
        batch: Vec::new(),
        bytes: 0,
        bar: progress::bar(files.paths.len() as u64, "importing"),
        report: Report::new(files.passed_over),
    };
    let done = import.all(&files.paths, &interrupt);
    let report = import.report;
    let flushed = tier.flush();
    tier.close();
    match arguments.json {
        true => print(&report.json().to_string())?,
        false => print(&report.text())?,
    }
    // What was found out until then has been told all the same.
    if let Err(failure) = done.and(flushed) {
        explain(&failure.message);
        return Ok(failure.exit);
    }
    if report.left > 0 {
        explain(
            "interrupted: what is verified so far is stored; the same import again does the rest",
        );
    }
    Ok(report.exit())
}

/// An import that is going on.
struct Import<'t> {
    tier: &'t mut Tier,
    /// Contents that are not judged yet, with where each comes from.
    batch: Vec<(Origin, Item)>,
    bytes: usize,
    report: Report,
    bar: ProgressBar,
}

impl Import<'_> {
    fn all(&mut self, paths: &[PathBuf], interrupt: &Interrupt) -> Result<(), Failure> {
        for (place, path) in paths.iter().enumerate() {
            if interrupt.came() {
                self.report.left = (paths.len() - place) as u64;
                break;
            }
            if path.extension().is_some_and(|e| e == EXTENSION) {
                if !self.bundle(path, interrupt)? {
                    self.report.left = (paths.len() - place) as u64;
                    break;
                }
            } else {
                self.file(path)?;
            }
            self.bar.inc(1);
        }
        let judged = self.judge();
        self.bar.finish_and_clear();
        judged
    }

    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let content = match files::read(path) {
            Ok(content) => content,
            Err(fault) => {
                self.refuse(path, fault);
                return Ok(());
            }
        };
        let item = Item {
            keys: vec![content.key.to_node("")],
            nodes: content.node_url.into_iter().collect(),
            query: content.query,
        };
        let origin = Origin {
            file: path.to_owned(),
            key: None,
        };
        self.add(origin, item)
    }

    /// Imports the contents of a bundle; whether it came to their end.
    fn bundle(&mut self, path: &Path, interrupt: &Interrupt) -> Result<bool, Failure> {
        // Whoever signed it, and whether anybody did, does not matter: nothing is believed.
        let signers = Signers::new(&[], true).unwrap_or_default();
        let bundle = match Bundle::open(path, &signers) {
            Ok(bundle) => bundle,
            Err(fault) => {
                self.refuse_bundle(path, &fault);
                return Ok(true);
            }
        };
        // Its head may say what it likes; this is only shown.
        self.bar.inc_length(bundle.len());
        for entry in bundle.entries() {
            if interrupt.came() {
                return Ok(false);
            }
            self.bar.inc(1);
            match entry {
                Ok(entry) => self.bundled(path, entry)?,
                Err(fault) => self.refuse_bundle(path, &fault),
            }
        }
        Ok(true)
    }

    fn bundled(&mut self, path: &Path, entry: BundleEntry) -> Result<(), Failure> {
        let origin = Origin {
            file: path.to_owned(),
            key: entry.keys.first().copied(),
        };
        let item = Item {
            keys: entry.keys.iter().map(|key| key.to_node("")).collect(),
            nodes: entry.nodes,
            query: query(&entry.info),
        };
        self.add(origin, item)
    }

    fn refuse_bundle(&mut self, path: &Path, fault: &BundleError) {
        match fault {
            BundleError::Unreadable(error) => self.report.unreadable(path, error.to_string()),
            fault => {
                let detail = fault.to_string();
                self.report.rejected(path, Reason::IllFormed, &detail);
            }
        }
    }

    fn refuse(&mut self, path: &Path, fault: NotAContent) {
        let (reason, detail) = match fault {
            NotAContent::Unreadable(error) => {
                return self.report.unreadable(path, error.to_string());
            }
            NotAContent::Name => (
                Reason::MalformedNode,
                "it is named neither ALGO_NODE.xml, the node with its hash percent-encoded, nor as below caps2/".to_owned(),
            ),
            NotAContent::TooLarge => (
                Reason::TooLarge,
                format!("it is larger than {} bytes", files::MAX_FILE_LEN),
            ),
            NotAContent::NotText => (Reason::IllFormed, "it is not text in UTF-8".to_owned()),
        };
        self.report.rejected(path, reason, &detail);
    }

    fn add(&mut self, origin: Origin, item: Item) -> Result<(), Failure> {
        if item.query.len() as u64 > files::MAX_FILE_LEN {
            self.refuse(&origin.file, NotAContent::TooLarge);
            return Ok(());
        }
        if self.bytes + item.query.len() > BATCH_BYTES {
            self.judge()?;
        }
        self.bytes += item.query.len();
        self.batch.push((origin, item));
        match self.batch.len() >= MAX_BATCH {
            true => self.judge(),
            false => Ok(()),
        }
    }

    /// Has the contents at hand judged and taken in.
    fn judge(&mut self) -> Result<(), Failure> {
        self.bytes = 0;
        let (origins, items): (Vec<_>, Vec<_>) = self.batch.drain(..).unzip();
        if items.is_empty() {
            return Ok(());
        }
        let judged = self.tier.import(items)?;
        for (origin, judged) in origins.iter().zip(judged) {
            self.report.judged(origin, judged);
        }
        Ok(())
    }
}
