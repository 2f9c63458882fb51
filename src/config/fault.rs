//! What is wrong with a configuration, in words that say what to change.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One thing that is wrong, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What is wrong; names the key, where there is one. Never holds a secret.
    pub message: String,
    /// The configuration file.
    pub file: PathBuf,
    /// The line in it, counted from 1; `None` when the file could not be read.
    pub line: Option<usize>,
    /// The key with its section, as in `resolver.deadline`; `None` when no single key is at fault.
    pub key: Option<String>,
    /// The value of the key, or the member of the list, that is at fault, as the file has it, but at most its first 200 characters. `None`
    /// where there is none, it holds a table, or it could be a secret: the place of one, or the value of an unknown key.
    pub value: Option<String>,
    /// What to do about it.
    pub hint: String,
    /// Whether all that is wrong is that the user who looks may not read a secret. Whoever starts capsd may be able to.
    #[serde(
        default,
        rename = "unread-secret",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub unread_secret: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        write!(f, "  --> {}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, "\n\nhint: {}", self.hint)
    }
}

/// Everything that is wrong with a configuration, in the order of the lines; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigFaults {
    /// The faults.
    pub faults: Vec<Fault>,
}

impl ConfigFaults {
    /// Whether all that is wrong is that the user who looks may not read the secrets.
    pub fn are_unread_secrets(&self) -> bool {
        self.faults.iter().all(|fault| fault.unread_secret)
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, fault) in self.faults.iter().enumerate() {
            let gap = if place == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

/// A fault that does not yet know where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What is wrong, in words that follow the name of the key: "is 5, which is not …".
    pub(super) message: String,
    /// What to do about it.
    pub(super) hint: String,
    /// See [`Fault::unread_secret`].
    pub(super) unread_secret: bool,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Wrong {
        Wrong {
            message: message.into(),
            hint: hint.into(),
            unread_secret: false,
        }
    }

    /// The same, with these words before its own.
    pub(super) fn after(self, words: &str) -> Wrong {
        Wrong {
            message: format!("{words} {}", self.message),
            ..self
        }
    }
}
