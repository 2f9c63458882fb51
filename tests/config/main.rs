//! The configuration: what is accepted, what is refused and in which words, and that the commented example is true.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accepted;
mod check;
mod components;
mod example;
mod faults;
mod overrides;
mod reload;
mod secrets;
mod trusted;
mod values;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use capsd::config::{Config, ConfigFaults, Fault};
use tempfile::TempDir;

/// A directory with a usable secret file.
struct Machine {
    directory: TempDir,
    variables: Vec<(String, OsString)>,
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine {
            directory: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        };
        machine.file("secret", "s3cret\n", 0o640);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// A machine on which that environment variable is set.
    fn with_variable(mut self, name: &str, value: impl Into<OsString>) -> Machine {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Reads a text in which `$SECRET` stands for the path of the usable secret file.
    fn read(&self, text: &str) -> Result<Config, ConfigFaults> {
        let text = text.replace("$SECRET", self.path("secret").to_str().unwrap());
        let environment = |name: &str| {
            let mut variables = self.variables.iter();
            variables
                .find(|(set, _)| set == name)
                .map(|(_, value)| value.clone())
        };
        Config::from_text(&text, Path::new("/etc/capsd/capsd.toml"), &environment)
    }

    fn faults(&self, text: &str) -> Vec<Fault> {
        self.read(text).unwrap_err().faults
    }
}

/// The least that works; four lines.
const LEAST: &str =
    "[[component]]\njid = 'caps.example.org'\nserver = '127.0.0.1:5347'\nsecret-file = '$SECRET'\n";
