//! What is wrong on this machine: the store's place and the HTTP port.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

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
    let (place, what) = match path.exists() {
        true => (path, "the store"),
        false => (path.parent().unwrap_or(path), "the directory of the store"),
    };
    let problem = |symptom: &str, cause: &str, remedy: &str| {
        let symptom = format!("{what} {} {symptom}", place.display());
        Finding::problem(STORE, &symptom, cause, remedy)
    };
    let make_it = format!("make {} for the user that capsd runs as", path.display());
    match fs::metadata(place) {
        Err(error) => problem(
            &format!("cannot be used: {error}"),
            "it is not there",
            &make_it,
        ),
        Ok(found) if !found.is_dir() => {
            problem("is no directory", "something else has its name", &make_it)
        }
        // Root may write everywhere, the daemon may not.
        Ok(found) if place == path && geteuid().is_root() => {
            let (shown, user) = (path.display(), owner(&found));
            match of_others(path, user) {
                None => Finding::fine(
                    STORE,
                    &format!("{shown} and all in it belong to user {user}"),
                ),
                Some((file, other)) => problem(
                    &format!(
                        "cannot be written to by user {user}: {} belongs to user {other}",
                        file.display()
                    ),
                    "capsd, or a command of it, was run as that user",
                    &format!(
                        "give all of it to the user that capsd runs as: `chown -R {user}: {shown}`"
                    ),
                ),
            }
        }
        Ok(_) => match access(place, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Finding::fine(
                STORE,
                &format!("{} can be written to by this user", path.display()),
            ),
            Err(error) => problem(
                &format!(
                    "cannot be written to by this user: {}",
                    io::Error::from(error)
                ),
                "it belongs to somebody else, is mounted read-only, or this is not run as the user of capsd",
                &make_it,
            ),
        },
    }
}

/// Whose a store has to be: that of the user of the package's unit where there is one, else whose its directory is.
fn owner(store: &fs::Metadata) -> u32 {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    user_of_unit(&accounts).unwrap_or(store.uid())
}

/// The number of the user as whom the package's unit runs capsd, by the lines of passwd(5).
fn user_of_unit(accounts: &str) -> Option<u32> {
    let mut users = accounts.lines().map(|line| line.split(':'));
    let mut user =
        users.find_map(|mut fields| (fields.next() == Some("capsd")).then_some(fields))?;
    user.nth(1)?.parse().ok()
}

/// The store, or something in it, that is another user's; and whose.
fn of_others(store: &Path, user: u32) -> Option<(PathBuf, u32)> {
    let mut ahead = vec![store.to_owned()];
    while let Some(path) = ahead.pop() {
        let found = fs::symlink_metadata(&path).ok()?;
        if found.uid() != user {
            return Some((path, found.uid()));
        }
        if found.is_dir() {
            let within = fs::read_dir(&path).into_iter().flatten().flatten();
            ahead.extend(within.map(|entry| entry.path()));
        }
    }
    None
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
            "see `ss -tnp` for who is connected, `ss -ltnp` for who listens, and the packet filter of this machine",
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
    // Of a connection that is one too many nothing is said.
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_the_unit_is_found_by_its_name() {
        let accounts = "root:x:0:0:root:/root:/bin/bash\nxcapsd:x:7:7::/:/bin/sh\ncapsd:x:998:997:capsd:/:/usr/sbin/nologin\n";
        assert_eq!(user_of_unit(accounts), Some(998));
        for without in [
            "",
            "root:x:0:0:root:/root:/bin/bash\n",
            "capsd\n",
            "capsd:x:\n",
        ] {
            assert_eq!(user_of_unit(without), None);
        }
    }
}
