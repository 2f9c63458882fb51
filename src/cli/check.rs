//! `capsd check`: whether a configuration is usable, and what it sets.

mod bundles;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::Exit;
use crate::component::examine::try_link;
use crate::config::{Component, Config, ConfigFaults, DEFAULT_PATH, SecretSource};
use crate::control::Request;
use crate::control::client::Client;
use crate::daemon::{link_settings, trust};
use crate::trusted::{Directory, Overrides};
use bundles::{CheckedBundle, check_bundles};

/// Check a configuration without starting anything
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,

    /// Also connect to each server once. A capsd that runs there may be disturbed, and may be what is in the way
    #[arg(long)]
    pub connect: bool,

    /// Print one JSON object: `usable`, and `configuration`, `overrides`, `directories` and `bundles`, or `faults`, each with `file`, `line`,
    /// `key`, `value`, `message` and `hint`; with `--connect` also `links`
    #[arg(long)]
    pub json: bool,
}

/// Checks a configuration without starting anything, and prints what it sets, or everything that is wrong with it.
///
/// The overrides and bundles that it names are part of it: every content in them is verified. A secret that this user may not read is no
/// fault where a daemon answers: it has it.
///
/// Exit code 0: usable; 1: a link cannot be opened, or a directory or bundle not be used; 2: not usable.
pub fn check(arguments: &CheckArguments) -> Exit {
    let (mut output, mut errors) = (io::stdout().lock(), io::stderr().lock());
    report(arguments, &mut output, &mut errors)
}

/// [`check`], with the place of standard output and standard error given.
///
/// A reader that has gone away changes nothing about the verdict.
pub fn report(
    arguments: &CheckArguments,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> Exit {
    let (config, overrides) = match read(arguments) {
        Ok(read) => read,
        Err(faults) => {
            let _ = print_faults(arguments, &faults, output, errors);
            return Exit::Usage;
        }
    };
    let sources = trust::sources(&config.trusted);
    let directories = sources.listed();
    let checked = Checked {
        links: match arguments.connect {
            true => try_links(&config),
            false => Vec::new(),
        },
        bundles: check_bundles(&directories, &sources),
        directories,
        overrides,
        config,
    };
    let _ = if arguments.json {
        print_json(arguments, &checked, output)
    } else {
        print_settings(arguments, &checked, output)
    };
    let linked = checked.links.iter().all(|link| link.fault.is_none());
    let trusted = checked.bundles.iter().all(|bundle| bundle.fault.is_none());
    let listed = checked.directories.iter().all(|d| fault(d).is_none());
    match linked && trusted && listed {
        true => Exit::Done,
        false => Exit::No,
    }
}

/// Reads the configuration and what it names; without the secrets where only whoever starts the daemon may read them, and one runs.
fn read(arguments: &CheckArguments) -> Result<(Config, Arc<Overrides>), ConfigFaults> {
    trust::configuration(&arguments.config).or_else(|faults| {
        if arguments.connect || !faults.are_unread_secrets() {
            return Err(faults);
        }
        let config = Config::load_without_secrets(&arguments.config)?;
        let answers = Client::connect(&config.control.socket)
            .and_then(|mut client| client.ask(&Request::Status));
        match answers {
            Ok(_) => trust::overrides(&config.trusted).map(|overrides| (config, overrides)),
            Err(_) => Err(faults),
        }
    })
}

/// Why a directory of trusted content cannot be used.
fn fault(directory: &Directory) -> Option<String> {
    let faulty = !directory.is_left_out();
    let error = directory.holds.as_ref().err().filter(|_| faulty)?;
    Some(format!(
        "it cannot be read: {error}. Make it, or take it out of trusted.directories"
    ))
}

/// A directory in words.
fn directory_line(directory: &Directory) -> String {
    let said = match (&directory.holds, fault(directory)) {
        (Ok((files, bundles)), _) => format!("{files} files, {} bundles", bundles.len()),
        (Err(_), Some(fault)) => fault,
        (Err(_), None) => "nothing is installed there".to_owned(),
    };
    format!("directory {}: {said}", directory.path.display())
}

/// What a usable configuration comes to.
struct Checked {
    config: Config,
    overrides: Arc<Overrides>,
    directories: Vec<Directory>,
    bundles: Vec<CheckedBundle>,
    links: Vec<TriedLink>,
}

/// What came of an attempt to open a link.
struct TriedLink {
    name: String,
    fault: Option<String>,
}

fn try_links(config: &Config) -> Vec<TriedLink> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let tried = config.components.iter().map(|component| {
        let settings = link_settings(config, component);
        let fault = match &runtime {
            Ok(runtime) => runtime.block_on(try_link(&settings)).err(),
            Err(error) => Some(format!("the operating system refused a runtime: {error}")),
        };
        let name = component.name.clone();
        TriedLink { name, fault }
    });
    tried.collect()
}

fn print_faults(
    arguments: &CheckArguments,
    faults: &ConfigFaults,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    if arguments.json {
        let faults = &faults.faults;
        writeln!(output, "{:#}", json!({ "usable": false, "faults": faults }))
    } else {
        writeln!(errors, "{faults}")
    }
}

fn print_json(
    arguments: &CheckArguments,
    checked: &Checked,
    output: &mut impl Write,
) -> io::Result<()> {
    let overrides = &checked.overrides;
    let bundles = checked.bundles.iter().map(|bundle| {
        json!({
            "path": bundle.path, "verified": bundle.verified, "waived": bundle.waived,
            "signed": bundle.signed, "fault": bundle.fault,
        })
    });
    let directories = checked.directories.iter().map(|directory| {
        let files = directory.holds.as_ref().ok().map(|(files, _)| files);
        json!({ "path": directory.path, "files": files, "fault": fault(directory) })
    });
    let mut answer = json!({
        "usable": true,
        "configuration": checked.config,
        "overrides": { "denied": overrides.denials(), "pinned": overrides.pins() },
        "directories": directories.collect::<Vec<_>>(),
        "bundles": bundles.collect::<Vec<_>>(),
    });
    if arguments.connect {
        let links = checked.links.iter().map(
            |link| json!({ "name": link.name, "up": link.fault.is_none(), "fault": link.fault }),
        );
        answer["links"] = links.collect();
    }
    writeln!(output, "{answer:#}")
}

fn print_settings(
    arguments: &CheckArguments,
    checked: &Checked,
    output: &mut impl Write,
) -> io::Result<()> {
    let config = &checked.config;
    writeln!(output, "usable: {}\n", arguments.config.display())?;
    for component in &config.components {
        writeln!(output, "{}", summary(component))?;
    }
    writeln!(
        output,
        "what is learned is kept in {}",
        config.store.path.display()
    )?;
    writeln!(output, "HTTP is at http://{}/", config.http.listen)?;
    if let Some(file) = &config.trusted.overrides {
        let (denied, pinned) = (checked.overrides.denials(), checked.overrides.pins());
        let file = file.display();
        writeln!(
            output,
            "overrides {file}: {denied} keys denied, {pinned} pinned"
        )?;
    }
    for directory in &checked.directories {
        writeln!(output, "{}", directory_line(directory))?;
    }
    for bundle in &checked.bundles {
        writeln!(output, "{}", bundle.line())?;
    }
    for TriedLink { name, fault } in &checked.links {
        match fault {
            None => writeln!(output, "link {name}: up")?,
            Some(fault) => writeln!(output, "link {name}: {fault}")?,
        }
    }
    let in_force = config.to_toml().map_err(io::Error::other)?;
    writeln!(output, "\n# Every value in force:\n\n{in_force}")
}

fn summary(component: &Component) -> String {
    let unread = match component.secret {
        Some(_) => "",
        None => " (not readable by you; the daemon that runs has it)",
    };
    let secret = match &component.secret_source {
        SecretSource::File(path) => format!("the secret in {}", path.display()),
        SecretSource::Variable(name) => format!("the secret in the variable {name}"),
        SecretSource::Credential => "the systemd credential `secret`".to_owned(),
    };
    let Component { jid, server, .. } = component;
    let domains: Vec<_> = component
        .domains
        .iter()
        .map(|domain| domain.as_str())
        .collect();
    format!(
        "{jid} connects to {server} with {secret}{unread} and serves {}",
        domains.join(", ")
    )
}
