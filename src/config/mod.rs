//! The configuration: one TOML file, read once into an immutable [`Config`].
//!
//! Every key has a default, but for those of `[[component]]`; `config/capsd.toml` lists them all. Unknown keys and values
//! out of range are refused, never ignored or clamped: what is in force is what is written. All faults that can be found
//! are found at once, each with file, line, key and remedy.
//!
//! | room | what lives there |
//! |---|---|
//! | `sections`, `component`, `population` | what is in each section, and how it is read |
//! | `bounds` | default, minimum and maximum of each number |
//! | `quantity` | durations, sizes, rates as they are written |
//! | `secret` | the secret of a component: file, variable or systemd credential |
//! | [`changes`] | which keys a reload applies, and which need a restart |
//! | [`overrides`] | the file of pinned and denied keys, which is one of its own |
//! | `source`, `fault` | the file while it is read; what is wrong with it |

mod bounds;
pub mod changes;
mod component;
mod fault;
pub mod overrides;
mod population;
mod quantity;
mod secret;
mod sections;
mod source;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use bounds::MAX_COMPONENTS;
use fault::Wrong;
use source::{Source, Table};

pub use component::{Component, ServerAddress};
pub use fault::{ConfigFaults, Fault};
pub use population::Population;
pub use quantity::Rate;
pub use secret::{DEFAULT_SECRET_FILE, Secret, SecretSource};
pub use sections::{
    Contact, Control, DEFAULT_SOCKET, Holders, Hot, Http, Limits, Log, LogFormat, LogLevel,
    Resolve, Resolver, Store, Trusted, UnsignedBundles,
};
pub use source::Environment;

/// Where the configuration is when `--config` does not say.
pub const DEFAULT_PATH: &str = "/etc/capsd/capsd.toml";

/// The largest configuration file, in bytes.
const MAX_FILE_LEN: u64 = 1 << 20;

/// Everything that an operator can set, validated. Serialised, it is a configuration with every key at the value in
/// force, secrets left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// The links, at least one and at most 16.
    #[serde(rename = "component")]
    pub components: Vec<Component>,
    /// The learned tier.
    pub store: Store,
    /// The tier in memory.
    pub hot: Hot,
    /// What the operator installed.
    pub trusted: Trusted,
    /// How holders are asked.
    pub resolver: Resolver,
    /// What is remembered of who announced what.
    pub holders: Holders,
    /// The bounds of the service.
    pub limits: Limits,
    /// What is counted of who is online.
    pub population: Population,
    /// The HTTP listener.
    pub http: Http,
    /// The control socket.
    pub control: Control,
    /// Who is in charge.
    pub contact: Contact,
    /// The log.
    pub log: Log,
}

impl Config {
    /// Reads a configuration file, and the secrets that it names.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it. The process should then end with exit code 2, with nothing started.
    pub fn load(file: &Path) -> Result<Config, ConfigFaults> {
        Config::load_with(file, |_| Ok(())).map(|(config, ())| config)
    }

    /// The same, with what `more` reads of what it names. Both are read whatever is wrong with the other, so that all faults are found at once;
    /// a key that is at fault has its default then.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with either.
    pub fn load_with<T>(
        file: &Path,
        more: impl FnOnce(&Config) -> Result<T, ConfigFaults>,
    ) -> Result<(Config, T), ConfigFaults> {
        let text = read_configuration(file)?;
        let environment = |name: &str| std::env::var_os(name);
        Config::from_source(Source::new(file, &text, &environment), more)
    }

    /// Reads a configuration file, and leaves its secrets alone: for what needs no link, by users who may not read them. Where a secret
    /// comes from is known all the same.
    ///
    /// # Errors
    ///
    /// Everything else that is wrong with it.
    pub fn load_without_secrets(file: &Path) -> Result<Config, ConfigFaults> {
        let text = read_configuration(file)?;
        let environment = |name: &str| std::env::var_os(name);
        let source = Source::new(file, &text, &environment).without_secrets();
        Config::from_source(source, |_| Ok(())).map(|(config, ())| config)
    }

    /// Reads a configuration from its text. `file` is what faults name; `environment` is where `secret-env` and
    /// `$CREDENTIALS_DIRECTORY` are looked up.
    ///
    /// # Errors
    ///
    /// As [`load`](Config::load).
    pub fn from_text(
        text: &str,
        file: &Path,
        environment: Environment<'_>,
    ) -> Result<Config, ConfigFaults> {
        Config::from_source(Source::new(file, text, environment), |_| Ok(()))
            .map(|(config, ())| config)
    }

    fn from_source<T>(
        source: Source<'_>,
        more: impl FnOnce(&Config) -> Result<T, ConfigFaults>,
    ) -> Result<(Config, T), ConfigFaults> {
        let config = {
            let mut root = source.root();
            let config = match source.is_faulty() {
                true => None,
                false => Some(read(&mut root)),
            };
            if config.is_some() {
                root.finish();
            }
            config
        };
        let more = config.as_ref().map(more);
        let faults = source.into_faults();
        match (config, more) {
            (Some(config), Some(Ok(more))) if faults.is_empty() => Ok((config, more)),
            (_, Some(Err(others))) => Err(ConfigFaults {
                faults: faults.into_iter().chain(others.faults).collect(),
            }),
            _ => Err(ConfigFaults { faults }),
        }
    }

    /// The configuration in force, as TOML that can be read again: every key with its value, and no secret.
    ///
    /// # Errors
    ///
    /// When a value cannot be written as TOML, which would be a bug.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// The control socket that a configuration file names, or the default one; whatever else may be wrong with it is not looked at. `None` where
/// it is no TOML, or says something else there.
pub fn control_socket(file: &Path) -> Option<PathBuf> {
    let text = read_configuration(file).ok()?;
    let table: toml::Table = text.parse().ok()?;
    match table
        .get("control")
        .and_then(|control| control.get("socket"))
    {
        Some(socket) => socket.as_str().map(PathBuf::from),
        None => Some(PathBuf::from(DEFAULT_SOCKET)),
    }
}

fn read_configuration(file: &Path) -> Result<String, ConfigFaults> {
    read_text(file, "configuration file", "`--config FILE`")
}

/// The text of a configuration file; `what` it is, and the `option` that names it, is for the faults.
fn read_text(file: &Path, what: &str, option: &str) -> Result<String, ConfigFaults> {
    let fault = |message: String, hint: &str| ConfigFaults {
        faults: vec![Fault {
            message,
            file: file.to_owned(),
            line: None,
            key: None,
            value: None,
            hint: hint.to_owned(),
            unread_secret: false,
        }],
    };
    let shown = file.display();
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => fault(
            format!("the {what} {shown} does not exist"),
            &format!(
                "create it (/usr/share/doc/capsd/examples has a commented example, in the sources config/), or name another with {option}"
            ),
        ),
        io::ErrorKind::PermissionDenied => fault(
            format!("the {what} {shown} may not be read"),
            "let capsd's user read it, or start capsd as a user who may",
        ),
        _ => fault(
            format!("the {what} {shown} cannot be read: {error}"),
            &format!("name a file that can be read with {option}"),
        ),
    };
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        let message = format!("the {what} {shown} is not a regular file");
        return Err(fault(
            message,
            &format!("name the file itself with {option}"),
        ));
    }
    if metadata.len() > MAX_FILE_LEN {
        let message = format!("the {what} {shown} is larger than 1 MiB");
        return Err(fault(
            message,
            &format!("name a {what} of capsd with {option}"),
        ));
    }
    let bytes = fs::read(file).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let message = "the file is not UTF-8 text".to_owned();
        let mut faults = fault(message, "save the file in UTF-8");
        faults
            .faults
            .iter_mut()
            .for_each(|fault| fault.line = Some(line));
        faults
    })
}

/// Reads all sections. What is at fault has its default in the result, which is then not used.
fn read(root: &mut Table<'_>) -> Config {
    Config {
        components: read_components(root),
        store: read_section(root, "store", Store::read),
        hot: read_section(root, "hot", Hot::read),
        trusted: read_section(root, "trusted", Trusted::read),
        resolver: read_section(root, "resolver", Resolver::read),
        holders: read_section(root, "holders", Holders::read),
        limits: read_section(root, "limits", Limits::read),
        population: read_section(root, "population", Population::read),
        http: read_section(root, "http", Http::read),
        control: read_section(root, "control", Control::read),
        contact: read_section(root, "contact", Contact::read),
        log: read_section(root, "log", Log::read),
    }
}

fn read_section<'s, T>(
    root: &mut Table<'s>,
    key: &'static str,
    read: impl FnOnce(&mut Table<'s>) -> T,
) -> T {
    let mut section = root.section(key);
    let settings = read(&mut section);
    section.finish();
    settings
}

fn read_components(root: &mut Table<'_>) -> Vec<Component> {
    let given = root.has("component");
    let mut blocks = root.blocks("component");
    if !given {
        root.source.fault_at_end(
            "there is no `[[component]]` block, so there is no server to connect to",
            "add one: `[[component]]` with `jid`, `server` and `secret-file`",
        );
    }
    if let Some(excess) = blocks.get(MAX_COMPONENTS) {
        let message = format!("has {} blocks, but may have {MAX_COMPONENTS}", blocks.len());
        excess.fault_at_start(Wrong::new(
            message,
            "run a second capsd for the other servers",
        ));
    }
    let mut components: Vec<Component> = Vec::new();
    for block in &mut blocks {
        if let Some(component) = Component::read(block) {
            let same =
                |other: &Component| other.jid == component.jid && other.server == component.server;
            if components.iter().any(same) {
                let Component { jid, server, .. } = &component;
                let message = format!("is {jid} at {server}, and so is that of an earlier block");
                let hint = "remove one of the blocks, or correct its `jid` or `server`";
                block.fault("jid", Wrong::new(message, hint));
            }
            components.push(component);
        }
    }
    blocks.into_iter().for_each(Table::finish);
    name_apart(&mut components);
    components
}

/// Adds the server to the names of links that share a JID.
fn name_apart(components: &mut [Component]) {
    let jids: Vec<_> = components
        .iter()
        .map(|component| component.jid.clone())
        .collect();
    for component in components {
        if jids.iter().filter(|jid| **jid == component.jid).count() > 1 {
            component.name = format!("{} at {}", component.jid, component.server);
        }
    }
}

/// The settings of a section that is left out.
macro_rules! default_is_what_an_empty_section_gives {
    ($($section:ident),+) => {
        $(impl Default for $section {
            fn default() -> $section {
                let source = Source::new(Path::new(""), "", &|_| None);
                $section::read(&mut source.root())
            }
        })+
    };
}

default_is_what_an_empty_section_gives!(
    Store, Hot, Trusted, Resolver, Holders, Limits, Population, Http, Control, Log
);
