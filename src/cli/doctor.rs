//! `capsd doctor`: what is wrong with a deployment, why, and what to do about it.
//!
//! Where a daemon runs, what it knows and tries is used, because a second connection of the same component would disturb it. Where none
//! runs, each link is opened for a moment.

mod finding;
mod links;
mod machine;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Exit, Failure, print};
use crate::component::examine::{LinkStatus, Tried, visit};
use crate::config::{self, Config, ConfigFaults, DEFAULT_PATH};
use crate::control::Request;
use crate::control::client::{Client, ClientFault};
use crate::control::protocol::{Answer, Examined, Status};
use crate::daemon::{self, link_settings};
use crate::http::readiness::NOT_TRIED;
use crate::metrics::Metrics;
use finding::{Finding, State};

/// Check a deployment from outside: server, secret, privileges, presence, a query, store, clock, HTTP
///
/// Each finding is printed with its cause and remedy. While the daemon runs, it is asked; otherwise each link is opened for a moment.
/// Exit code 1: there is a problem.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,

    /// Print a JSON object instead
    #[arg(long)]
    json: bool,
}

/// How long a link that is opened just now may take to show what it has.
const SETTLING: Duration = Duration::from_secs(3);

/// Exit code 0: no problem was found; 1: there is one; 2: the configuration cannot be used.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let config = Config::load(&arguments.config)
        .and_then(|config| daemon::trust::overrides(&config.trusted).map(|_| config));
    let mut findings = Vec::new();
    match &config {
        Ok(_) => findings.push(Finding::fine("configuration", "it is usable")),
        Err(faults) => findings.extend(of_faults(faults)),
    }
    let socket = match &config {
        Ok(config) => Some(config.control.socket.clone()),
        Err(_) => config::control_socket(&arguments.config),
    };
    if let Some(socket) = socket {
        let (running, found) = ask_daemon(&socket);
        findings.push(found);
        match (running, &config) {
            (Some(running), _) => findings.extend(of_daemon(&running)),
            (None, Ok(config)) => findings.extend(without_daemon(config)),
            (None, Err(_)) => {}
        }
    }
    show(arguments, &findings)?;
    Ok(match (&config, findings.iter().any(Finding::is_problem)) {
        (Err(_), _) => Exit::Usage,
        (Ok(_), true) => Exit::No,
        (Ok(_), false) => Exit::Done,
    })
}

fn show(arguments: &Arguments, findings: &[Finding]) -> Result<(), Failure> {
    if arguments.json {
        let healthy = !findings.iter().any(Finding::is_problem);
        return print(&json!({ "healthy": healthy, "findings": findings }).to_string());
    }
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let count = |state| {
        findings
            .iter()
            .filter(|finding| finding.state == state)
            .count()
    };
    let (problems, warnings) = (count(State::Problem), count(State::Warning));
    print(&format!(
        "{}\n\n{problems} problems, {warnings} warnings",
        lines.join("\n")
    ))
}

fn of_faults(faults: &ConfigFaults) -> impl Iterator<Item = Finding> {
    faults.faults.iter().map(|fault| {
        let line = fault
            .line
            .map(|line| format!(":{line}"))
            .unwrap_or_default();
        let place = format!("it stands in {}{line}", fault.file.display());
        Finding::problem("configuration", &fault.message, &place, &fault.hint)
    })
}

/// What a daemon that runs says of itself.
struct Running {
    status: Status,
    examined: Examined,
}

fn ask_daemon(socket: &Path) -> (Option<Running>, Finding) {
    const CHECK: &str = "daemon";
    let asked = Client::connect(socket).and_then(|mut client| {
        let begun = Instant::now();
        let mut status = status(&mut client)?;
        while status.links.iter().any(is_settling) && begun.elapsed() < SETTLING {
            std::thread::sleep(SETTLING / 30);
            status = self::status(&mut client)?;
        }
        match client.ask(&Request::Examine)? {
            Answer::Examined(examined) => Ok(Running { status, examined }),
            _ => Err(unexpected()),
        }
    });
    match asked {
        Ok(running) if running.status.version == env!("CARGO_PKG_VERSION") => {
            let said = format!(
                "it answers, process {}, version {}",
                running.status.process, running.status.version
            );
            (Some(running), Finding::fine(CHECK, &said))
        }
        Ok(running) => {
            let symptom = format!(
                "version {} runs, and version {} is installed",
                running.status.version,
                env!("CARGO_PKG_VERSION")
            );
            let cause = "it was not restarted after an upgrade";
            (
                Some(running),
                Finding::warning(CHECK, &symptom, cause, "restart it"),
            )
        }
        Err(fault @ ClientFault::NoDaemon { .. }) => {
            let cause = "it does not run, or control.socket is another one";
            let remedy =
                "start it (`capsd run`, or its service); its log says why if it ends at once";
            (
                None,
                Finding::problem(CHECK, &fault.to_string(), cause, remedy),
            )
        }
        Err(fault @ ClientFault::Forbidden { .. }) => {
            let cause = "the socket is for the user and the group of capsd";
            let remedy = "run this as that user, as a member of its group, or as root";
            (
                None,
                Finding::problem(CHECK, &fault.to_string(), cause, remedy),
            )
        }
        Err(fault) => {
            let cause = "it hangs, is ending, or is of another version";
            (
                None,
                Finding::problem(
                    CHECK,
                    &fault.to_string(),
                    cause,
                    "see its log, and restart it",
                ),
            )
        }
    }
}

/// Whether a link is so young that the server may still have to say what it grants.
fn is_settling(link: &LinkStatus) -> bool {
    match link.up_seconds {
        Some(up) => up < SETTLING.as_secs() && link.domains.iter().any(|domain| !domain.told),
        None => link.down.as_deref() == Some(NOT_TRIED),
    }
}

fn status(client: &mut Client) -> Result<Status, ClientFault> {
    match client.ask(&Request::Status)? {
        Answer::Status(status) => Ok(*status),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> ClientFault {
    ClientFault::Refused("the daemon's answer is not one to this question".to_owned())
}

fn of_daemon(running: &Running) -> Vec<Finding> {
    let Running { status, examined } = running;
    let mut findings = Vec::new();
    for (link, tried) in status.links.iter().zip(&examined.links) {
        findings.extend(links::check(link, tried, examined.clock));
    }
    findings.push(machine::store(status));
    findings.push(machine::http(&examined.http));
    findings
}

fn without_daemon(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (link, tried) in visited(config) {
        findings.extend(links::check(&link, &tried, machine::now()));
    }
    findings.push(machine::store_place(&config.store.path));
    findings.push(machine::http_place(config.http.listen));
    findings
}

/// Opens every link, one after the other.
fn visited(config: &Config) -> Vec<(LinkStatus, Tried)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let visits = config.components.iter().map(|component| {
        let settings = link_settings(config, component);
        let down = LinkStatus {
            name: component.name.clone(),
            jid: component.jid.to_string(),
            server: settings.server.clone(),
            ..LinkStatus::default()
        };
        let visited = match (
            &runtime,
            Metrics::new().and_then(|m| m.component(&component.name)),
        ) {
            (Ok(runtime), Ok(metrics)) => {
                runtime.block_on(visit(settings, metrics, component.name.clone()))
            }
            _ => Err("the operating system refused a runtime".to_owned()),
        };
        visited.unwrap_or_else(|cause| {
            let down = LinkStatus {
                down: Some(cause),
                ..down
            };
            (down, Tried::default())
        })
    });
    visits.collect()
}
