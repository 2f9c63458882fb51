//! `capsd export`: the learned tier as files.
//!
//! Unless all is asked for, only what several accounts announced leaves the machine, with the node URLs that several accounts announced
//! it with: a hash that one person alone has says who that person is. What is exported is verified once more on its way.
//!
//! **Interrupted or killed**, an export leaves what was there before as it was: it is written beside its name, and takes its place in one
//! step. What a killed one leaves beside it, the next one to the same name removes.

mod bundle;
mod directory;
mod unfinished;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::interrupt::Interrupt;
use super::tier::{Place, Tier};
use super::{Exit, Failure, explain, print, progress};
use crate::bundle::EXTENSION;
use crate::caps::Policy;
use crate::control::desk;
use crate::control::protocol::{Content, Item};
use crate::store::Learned;
use bundle::{BundleFile, Signing};
use directory::{Directory, TargetFault, Written};

/// Write what was learned to files that others can use, whether or not the daemon runs
///
/// A name that ends in `.capsd` becomes a bundle, in one file. Any other becomes a directory, which is a database of aioxmpp:
/// `hashes/ALGO_NODE.xml` for each announced node (XEP-0115) and `caps2/` (XEP-0390). An export that is there already is
/// replaced in one step, when the new one is complete.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What to make: a bundle if it ends in `.capsd`, else a directory
    #[arg(value_name = "DIR|FILE")]
    target: PathBuf,

    /// Also export what fewer than 3 accounts announced. Rare hashes identify people: keep the result to yourself
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    signing: Signing,

    #[command(flatten)]
    place: Place,

    /// Print a JSON object instead
    #[arg(long)]
    pub(super) json: bool,
}

/// What is being written.
enum Output {
    Directory(Directory),
    Bundle(Box<BundleFile>),
}

impl Output {
    fn create(target: &Path, signing: &Signing) -> Result<Output, TargetFault> {
        match target.extension().is_some_and(|e| e == EXTENSION) {
            true => BundleFile::create(target, signing).map(|file| Output::Bundle(Box::new(file))),
            false if signing.is_asked_for() => Err(TargetFault::Signing(format!(
                "only a bundle can be signed. Give it a name that ends in `.{EXTENSION}`"
            ))),
            false => Directory::create(target).map(Output::Directory),
        }
    }

    fn add(&mut self, learned: &Learned) -> io::Result<()> {
        match self {
            Output::Directory(directory) => directory.add(learned),
            Output::Bundle(file) => file.add(learned),
        }
    }

    fn finish(self, contents: u64) -> io::Result<Written> {
        match self {
            Output::Directory(directory) => directory.finish(contents),
            Output::Bundle(file) => file.finish().map(|()| Written {
                files: 1,
                ..Written::default()
            }),
        }
    }
}

/// What came of an export.
#[derive(Debug, Default)]
struct Outcome {
    /// Contents that were exported.
    contents: u64,
    /// Contents that were not, because fewer than three accounts announced them.
    rare: u64,
    /// Contents that were not, because they did not verify on their way.
    unproven: u64,
    written: Written,
}

fn failed(message: String) -> Failure {
    Failure {
        message,
        exit: Exit::Usage,
    }
}

/// Exit code 0: done; 1: interrupted, and nothing was written; 2: usage, or the place cannot be written to; 3: the store is in use or newer
/// than this version.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let target = &arguments.target;
    if target.file_name().is_none() {
        return Err(failed(format!(
            "{} is not a name that a directory can be given",
            target.display()
        )));
    }
    let interrupt = Interrupt::listen();
    let mut tier = arguments.place.open(false)?;
    let exported = export(arguments, &mut tier, &interrupt);
    tier.close();
    let Some(outcome) = exported? else {
        explain("interrupted: nothing was written");
        return Ok(Exit::No);
    };
    match arguments.json {
        true => print(&outcome.json(arguments).to_string())?,
        false => print(&outcome.text(arguments))?,
    }
    Ok(Exit::Done)
}

/// Exports; `None` where it was interrupted.
fn export(
    arguments: &Arguments,
    tier: &mut Tier,
    interrupt: &Interrupt,
) -> Result<Option<Outcome>, Failure> {
    let target = &arguments.target;
    let unwritable =
        |error: io::Error| failed(format!("cannot write {}: {error}", target.display()));
    unfinished::remove_left(target).map_err(unwritable)?;
    let output = Output::create(target, &arguments.signing);
    let mut output = output.map_err(|fault| failed(fault.to_string()))?;
    let mut outcome = Outcome::default();
    let bar = progress::bar(tier.entries()?, "exporting");
    let mut from = None;
    loop {
        let (contents, next) = tier.page(from)?;
        bar.inc(contents.len() as u64);
        for content in contents {
            if let Some(learned) = outcome.choose(content, arguments.all) {
                output.add(&learned).map_err(unwritable)?;
            }
        }
        if interrupt.came() {
            bar.finish_and_clear();
            return Ok(None);
        }
        if next.is_none() {
            break;
        }
        from = next;
    }
    let written = output.finish(outcome.contents);
    outcome.written = written.map_err(unwritable)?;
    bar.finish_and_clear();
    Ok(Some(outcome))
}

impl Outcome {
    /// What of a content is to be exported.
    fn choose(&mut self, mut content: Content, all: bool) -> Option<Learned> {
        if !all {
            let Some(seen) = content.seen_nodes else {
                self.rare += 1;
                return None;
            };
            content.nodes.truncate(seen);
        }
        // The store has its own bounds, and has checked them.
        let policy = Policy {
            max_bytes: usize::MAX,
            max_features: usize::MAX,
            ..Policy::trusted()
        };
        let item = Item {
            keys: content.keys,
            nodes: content.nodes,
            query: content.query,
        };
        let checked = desk::prove(&item, &policy).ok();
        match checked {
            Some(_) => self.contents += 1,
            None => self.unproven += 1,
        }
        checked
    }

    /// What was left out, and why.
    fn left_out(&self) -> [(u64, &'static str, &'static str); 4] {
        [
            (
                self.rare,
                "rare",
                "contents left out: announced by fewer than 3 accounts (--all exports them too)",
            ),
            (
                self.unproven,
                "unproven",
                "contents left out: they did not verify",
            ),
            (
                self.written.without_node,
                "without-node",
                "hashes of XEP-0115 left out: no node is known that 3 accounts announced",
            ),
            (
                self.written.too_long,
                "name-too-long",
                "hashes of XEP-0115 left out: the node is too long for the name of a file",
            ),
        ]
    }

    fn text(&self, arguments: &Arguments) -> String {
        let Outcome {
            contents, written, ..
        } = self;
        let target = arguments.target.display();
        let files = match written.files {
            1 => "1 file".to_owned(),
            many => format!("{many} files"),
        };
        let mut text = format!("{contents:>8} contents in {files}: {target}");
        for (count, _, what) in self.left_out() {
            if count > 0 {
                text += &format!("\n{count:>8} {what}");
            }
        }
        text
    }

    fn json(&self, arguments: &Arguments) -> serde_json::Value {
        let left_out = self.left_out().into_iter();
        let left_out = left_out.map(|(count, word, _)| (word.to_owned(), json!(count)));
        json!({
            "path": arguments.target.to_string_lossy(),
            "contents": self.contents,
            "files": self.written.files,
            "left-out": left_out.collect::<serde_json::Map<_, _>>(),
        })
    }
}
