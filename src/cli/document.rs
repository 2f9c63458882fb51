//! The FILE of `capsd verify` and `capsd hash`: a document whose root is a disco#info `<query/>`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, Failure};
use crate::caps::Answer;
use crate::stanza::answer::{AnswerLimits, parse_query};

/// The largest file that is looked at, in bytes: far more than any policy accepts.
pub(super) const MAX_FILE_BYTES: usize = 1 << 20;

/// The file argument.
#[derive(Debug, Args)]
pub(super) struct Document {
    /// A file that holds one disco#info <query/>, the root of the document; `-` is standard input
    file: PathBuf,
}

impl Document {
    /// The answer in the file; marked too large where it is over the limits.
    ///
    /// # Errors
    /// A [`Failure`] where the file cannot be read or is not a `<query/>`.
    pub(super) fn read(&self, limits: AnswerLimits) -> Result<Answer, Failure> {
        let name = match self.is_stdin() {
            true => "standard input".to_owned(),
            false => format!("`{}`", self.file.display()),
        };
        let failure = |message| Failure {
            message,
            exit: Exit::Usage,
        };
        let bytes = self.bytes().map_err(|error| {
            failure(format!(
                "cannot read {name}: {error}. Name a readable file that holds a disco#info <query/>, or `-`"
            ))
        })?;
        if bytes.len() > MAX_FILE_BYTES {
            return Ok(Answer {
                too_large: true,
                size: bytes.len(),
                ..Answer::default()
            });
        }
        parse_query(&bytes, limits).map_err(|error| {
            failure(format!(
                "{name} is not a disco#info <query/>: {error}. Give the <query/> element alone, without the <iq/> around it"
            ))
        })
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    /// The content, as far as one byte past the bound.
    fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let source: Box<dyn Read> = match self.is_stdin() {
            true => Box::new(std::io::stdin().lock()),
            false => Box::new(File::open(&self.file)?),
        };
        let mut bytes = Vec::new();
        source
            .take(MAX_FILE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Limits for a file that was read whole: nothing is cut, and the policy judges.
pub(super) const WHOLE_FILE: AnswerLimits = AnswerLimits {
    max_bytes: 4 * MAX_FILE_BYTES,
    max_features: MAX_FILE_BYTES,
};
