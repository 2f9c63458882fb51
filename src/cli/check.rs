//! `capsd check`: whether a configuration is usable, and what it sets.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use super::Exit;
use crate::config::{Component, Config, ConfigFaults, DEFAULT_PATH, SecretSource};

/// Check a configuration without starting anything
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,

    /// Print one JSON object: `usable`, and `configuration` or `faults`
    #[arg(long)]
    pub json: bool,
}

/// Checks a configuration without starting anything, and prints what it sets, or everything that is wrong with it.
///
/// Exit code 0: usable; 2: not.
pub fn check(arguments: &CheckArguments) -> Exit {
    let (mut output, mut errors) = (io::stdout().lock(), io::stderr().lock());
    report(arguments, &mut output, &mut errors)
}

/// [`check`], with the place of standard output and standard error given; the exit code.
///
/// A reader that has gone away changes nothing about the verdict.
pub fn report(
    arguments: &CheckArguments,
    output: &mut impl Write,
    errors: &mut impl Write,
) -> Exit {
    let config = Config::load(&arguments.config);
    let exit = if config.is_ok() {
        Exit::Done
    } else {
        Exit::Usage
    };
    let _ = match (&config, arguments.json) {
        (Ok(config), true) => writeln!(
            output,
            "{:#}",
            json!({ "usable": true, "configuration": config })
        ),
        (Err(ConfigFaults { faults }), true) => {
            writeln!(output, "{:#}", json!({ "usable": false, "faults": faults }))
        }
        (Ok(config), false) => print_settings(arguments, config, output),
        (Err(faults), false) => writeln!(errors, "{faults}"),
    };
    exit
}

fn print_settings(
    arguments: &CheckArguments,
    config: &Config,
    output: &mut impl Write,
) -> io::Result<()> {
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
    let in_force = config.to_toml().map_err(io::Error::other)?;
    writeln!(output, "\n# Every value in force:\n\n{in_force}")
}

fn summary(component: &Component) -> String {
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
        "{jid} connects to {server} with {secret} and serves {}",
        domains.join(", ")
    )
}
