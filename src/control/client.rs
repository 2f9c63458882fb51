//! The end of the commands: one request, one answer, with patience.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{Answer, MAX_LINE, Request};
use crate::caps::Reason;
use crate::config;

/// How long an answer may take: as long as the daemon may look for one, and then as long as a slow disk may hold up the tiers, before,
/// between and after: a flush alone may take ten seconds.
const PATIENCE: Duration =
    config::Resolver::LONGEST_DEADLINE.saturating_add(Duration::from_secs(30));

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// Nobody listens.
    #[error("no daemon answers at {}: {error}", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// This user may not.
    #[error(
        "the control socket {} may not be used by this user. Run this as the user that capsd runs as, or as a member of \
         its group", path.display()
    )]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// It went away, or is too slow, in the middle.
    #[error("the daemon at {} does not answer any more: {error}", path.display())]
    Lost {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The daemon will not.
    #[error("{message}")]
    Refused {
        /// The word, where there is one.
        reason: Option<Reason>,
        /// What it says.
        message: String,
    },
    /// It answered something else.
    #[error(
        "the daemon's answer is not one to this request; is it of another version? `capsd status` tells"
    )]
    Unexpected,
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Where nobody listens, or this user may not.
    pub fn connect(path: &Path) -> Result<Client, ClientFault> {
        let stream = UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        let path = path.to_owned();
        match stream {
            Ok(stream) => Ok(Client {
                path,
                stream: BufReader::new(stream),
            }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(ClientFault::Forbidden { path })
            }
            Err(error) => Err(ClientFault::NoDaemon { path, error }),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Where none comes, or a refusal does.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, ClientFault> {
        match self.exchange(request) {
            Ok(Answer::Refused { reason, message }) => Err(ClientFault::Refused {
                reason: reason.and_then(|word| Reason::from_word(&word)),
                message,
            }),
            Ok(answer) => Ok(answer),
            Err(error) => Err(ClientFault::Lost {
                path: self.path.clone(),
                error,
            }),
        }
    }

    fn exchange(&mut self, request: &Request) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        // A daemon that turns us away has said so before it reads: its answer says more than the broken pipe.
        let written = self.stream.get_mut().write_all(&line);
        let mut answer = Vec::new();
        let bound = 2 * MAX_LINE as u64;
        let read = (&mut self.stream)
            .take(bound)
            .read_until(b'\n', &mut answer);
        match (read, written) {
            (Ok(length), _) if length > 0 => Ok(serde_json::from_slice(&answer)?),
            (Ok(_), Err(error)) | (Err(error), _) => Err(error),
            (Ok(_), Ok(())) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_waits_longer_than_any_deadline_and_two_slow_flushes() {
        let slow_disk = Duration::from_secs(10);
        assert!(PATIENCE > config::Resolver::LONGEST_DEADLINE + 2 * slow_disk);
    }
}
