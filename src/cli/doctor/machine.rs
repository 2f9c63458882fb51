//! What is wrong on this machine: the store's place and the HTTP port.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, access};

use super::finding::Finding;
use crate::control::protocol::Status;

const STORE: &str = "store";
const HTTP: &str = "http";

/// How long HTTP may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

/// The store of a daemon that runs.
pub(super) fn store(status: &Status) -> Finding {
    match &status.memory_only {
        None => Finding::fine(
            STORE,
            &format!("{} contents on disk in {}", status.entries, status.store),
        ),
        Some(cause) => Finding::problem(
            STORE,
            "what is learned is kept in memory only, and a restart loses it",
            cause,
            &format!(
                "see to the disk of {}; the daemon tries again by itself",
                status.store
            ),
        ),
    }
}

/// The place of the store, where no daemon has it open.
pub(super) fn store_place(path: &Path) -> Finding {
    let shown = path.display();
    let (place, what) = match path.exists() {
        true => (path, "the store"),
        false => (path.parent().unwrap_or(path), "the directory of the store"),
    };
    let problem = |symptom: String, cause: &str| {
        let remedy = format!("make {} for the user that capsd runs as", path.display());
        Finding::problem(STORE, &symptom, cause, &remedy)
    };
    match fs::metadata(place) {
        Err(error) => problem(
            format!("{what} {} cannot be used: {error}", place.display()),
            "it is not there",
        ),
        Ok(found) if !found.is_dir() => problem(
            format!("{} is no directory", place.display()),
            "something else has its name",
        ),
        Ok(_) => match access(place, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Finding::fine(STORE, &format!("{shown} can be written to by this user")),
            Err(error) => {
                let error = io::Error::from(error);
                let cause = "it belongs to somebody else, is mounted read-only, or this is not run as the user of capsd";
                problem(
                    format!(
                        "{what} {} cannot be written to by this user: {error}",
                        place.display()
                    ),
                    cause,
                )
            }
        },
    }
}

/// The HTTP port of a daemon that runs.
pub(super) fn http(address: &str) -> Finding {
    let fetched = address
        .parse::<SocketAddr>()
        .map_err(io::Error::other)
        .and_then(|address| fetch(&address));
    match fetched {
        Ok(head) if head.contains(" 200 ") => Finding::fine(
            HTTP,
            &format!("http://{address}/healthz says that the daemon lives"),
        ),
        Ok(head) => Finding::problem(
            HTTP,
            &format!(
                "http://{address}/healthz does not say that the daemon lives: {}",
                head.escape_debug()
            ),
            "something else listens there",
            "choose another http.listen",
        ),
        Err(error) => Finding::problem(
            HTTP,
            &format!("http://{address}/ does not answer: {error}"),
            "a packet filter is in between, or as many connections as http.connections allows are open",
            "see `ss -ltnp` for who listens, and the packet filter of this machine",
        ),
    }
}

/// The first line of the answer.
fn fetch(address: &SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    stream.take(64).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// The HTTP port, where no daemon has it.
pub(super) fn http_place(address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::fine(HTTP, &format!("{address} is free")),
        Err(error) => Finding::problem(
            HTTP,
            &format!("{address} cannot be listened on: {error}"),
            "something else listens there, or the address is not one of this machine",
            "stop that, or choose another http.listen",
        ),
    }
}
