//! `capsd doctor`: what is wrong with a deployment, why, and what to do about it.
//!
//! Where a daemon runs, what it knows and tries is used, because a second connection of the same component would disturb it. Where nobody
//! listens at the control socket, each link is opened for a moment. Where somebody does and cannot be asked, the links are left alone.

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
use crate::control::words::counted;
use crate::daemon::{link_settings, trust};
use crate::http::readiness::NOT_TRIED;
use crate::metrics::Metrics;
use finding::{Finding, State};

/// Check a deployment from outside: server, secret, privileges, presence, a query, store, clock, HTTP
///
/// Each finding is printed with its cause and remedy. While the daemon runs, it is asked; where none does, each link is opened for a moment.
/// Exit code 1: there is a problem.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,

    /// Print a JSON object instead
    #[arg(long)]
    pub(super) json: bool,
}

/// What is said of the configuration.
const CONFIGURATION: &str = "configuration";

/// How long a link that is opened just now may take to show what it has.
const SETTLING: Duration = Duration::from_secs(3);

/// Exit code 0: no problem was found; 1: there is one; 2: the configuration cannot be used.
pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let config = trust::configuration(&arguments.config).map(|(config, _)| config);
    let socket = match &config {
        Ok(config) => Some(config.control.socket.clone()),
        Err(_) => config::control_socket(&arguments.config),
    };
    let asked = socket.as_deref().map(ask_daemon);
    let runs = matches!(asked, Some((Asked::Running(_), _)));
    let (usable, mut findings) = match &config {
        Ok(_) => (true, vec![Finding::fine(CONFIGURATION, "it is usable")]),
        Err(faults) if runs && faults.are_unread_secrets() => (true, vec![unread_secrets()]),
        Err(faults) => (false, of_faults(faults).collect()),
    };
    if let Some((asked, found)) = asked {
        findings.push(found);
        match (asked, &config) {
            (Asked::Running(running), _) => findings.extend(of_daemon(&running)),
            (Asked::Absent, Ok(config)) => findings.extend(without_daemon(config)),
            (Asked::Absent, Err(_)) | (Asked::InTheWay, _) => {}
        }
    }
    show(arguments, &findings)?;
    Ok(match (usable, findings.iter().any(Finding::is_problem)) {
        (false, _) => Exit::Usage,
        (true, true) => Exit::No,
        (true, false) => Exit::Done,
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
            .map(|_| 1)
            .sum()
    };
    let (problems, warnings) = (count(State::Problem), count(State::Warning));
    print(&format!(
        "{}\n\n{}, {}",
        lines.join("\n"),
        counted(problems, "problem"),
        counted(warnings, "warning")
    ))
}

fn of_faults(faults: &ConfigFaults) -> impl Iterator<Item = Finding> {
    faults.faults.iter().map(|fault| {
        let line = fault
            .line
            .map(|line| format!(":{line}"))
            .unwrap_or_default();
        let place = format!("it stands in {}{line}", fault.file.display());
        Finding::problem(CONFIGURATION, &fault.message, &place, &fault.hint)
    })
}

/// The package leaves the secret to root, who hands it to the daemon.
fn unread_secrets() -> Finding {
    Finding::fine(
        CONFIGURATION,
        "it is usable; the secret is not readable by you, and the daemon has it",
    )
}

/// What a daemon that runs says of itself.
struct Running {
    status: Status,
    examined: Examined,
}

/// What came of asking the daemon.
enum Asked {
    /// It answered.
    Running(Box<Running>),
    /// Nobody is there.
    Absent,
    /// Somebody may be there who cannot be asked.
    InTheWay,
}

fn ask_daemon(socket: &Path) -> (Asked, Finding) {
    const CHECK: &str = "daemon";
    let asked = Client::connect(socket).and_then(|mut client| {
        let begun = Instant::now();
        let mut status = status(&mut client)?;
        while status.links.iter().any(is_settling) && begun.elapsed() < SETTLING {
            std::thread::sleep(SETTLING / 30);
            status = self::status(&mut client)?;
        }
        match client.ask(&Request::Examine)? {
            Answer::Examined(examined) => Ok(Box::new(Running { status, examined })),
            _ => Err(ClientFault::Unexpected),
        }
    });
    match asked {
        Ok(running) if running.status.version == env!("CARGO_PKG_VERSION") => {
            let said = format!(
                "it answers, process {}, version {}",
                running.status.process, running.status.version
            );
            (Asked::Running(running), Finding::fine(CHECK, &said))
        }
        Ok(running) => {
            let symptom = format!(
                "version {} runs, and version {} is installed",
                running.status.version,
                env!("CARGO_PKG_VERSION")
            );
            let cause = "it was not restarted after an upgrade";
            (
                Asked::Running(running),
                Finding::warning(CHECK, &symptom, cause, "restart it"),
            )
        }
        Err(fault @ ClientFault::NoDaemon { .. }) => {
            let cause = "it does not run, or control.socket is another one";
            let remedy =
                "start it (`capsd run`, or its service); its log says why if it ends at once";
            (
                Asked::Absent,
                Finding::problem(CHECK, &fault.to_string(), cause, remedy),
            )
        }
        Err(fault) => {
            let (cause, remedy) = unasked(&fault);
            let symptom = format!("{fault}; {NOT_LOOKED_AT}");
            (
                Asked::InTheWay,
                Finding::problem(CHECK, &symptom, cause, remedy),
            )
        }
    }
}

/// What is not done while a daemon may run.
const NOT_LOOKED_AT: &str = "the links, the store and HTTP were not looked at, because a daemon that runs would be disturbed";

/// Why a daemon that may be there cannot be asked, and what to do.
fn unasked(fault: &ClientFault) -> (&'static str, &'static str) {
    match fault {
        ClientFault::Forbidden { .. } => (
            "the socket is for the user and the group of capsd",
            "run this as that user, as a member of its group, or as root",
        ),
        ClientFault::Refused { .. } => (
            "it is there, and turns this away for now, as it says",
            "run this again in a moment; `ss -xp` shows who is connected to the control socket, and `control.connections` is how many may be",
        ),
        ClientFault::NoDaemon { .. } | ClientFault::Lost { .. } | ClientFault::Unexpected => (
            "it hangs, is ending, or is of another version",
            "see its log, and restart it",
        ),
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
        _ => Err(ClientFault::Unexpected),
    }
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
