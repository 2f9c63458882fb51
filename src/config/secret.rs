//! The secret of a component, and where it comes from.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::fault::Wrong;
use super::source::{Environment, Table, absolute};

/// The longest secret, in bytes.
const MAX_SECRET_LEN: usize = 1024;

/// The name of the systemd credential that holds the secret.
const CREDENTIAL: &str = "secret";

/// Where the secret is when the configuration does not say and systemd passes none: the file that the package's unit passes as
/// the credential, so that `capsd check` by an operator and the daemon under systemd read the same one.
pub const DEFAULT_SECRET_FILE: &str = "/etc/capsd/secret";

/// A secret shared with a server. It shows itself to [`expose`](Secret::expose) only: `Debug` does not print it, and
/// there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The secret itself, for the handshake (XEP-0114 section 3).
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Takes what a file or variable holds; one line end after it is not part of it.
    fn from_bytes(bytes: Vec<u8>) -> Result<Secret, Wrong> {
        let text = String::from_utf8(bytes)
            .map_err(|_| Wrong::new("is not UTF-8 text", "write the secret as text"))?;
        let secret = text.strip_suffix('\n').unwrap_or(&text);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        let server_has = "write the secret that the server has for this component into it";
        if secret.trim().is_empty() {
            return Err(Wrong::new("is empty", server_has));
        }
        if secret.len() > MAX_SECRET_LEN {
            let message = format!("is longer than {MAX_SECRET_LEN} bytes");
            return Err(Wrong::new(message, server_has));
        }
        if secret.chars().any(char::is_control) {
            let message = "holds more than one line, or a control character";
            return Err(Wrong::new(message, server_has));
        }
        Ok(Secret(secret.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the secret of a component was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// `secret-file`, or [`DEFAULT_SECRET_FILE`] where nothing else is given.
    File(PathBuf),
    /// `secret-env`: the name of an environment variable.
    Variable(String),
    /// The systemd credential `secret`, when the configuration names neither.
    Credential,
}

/// Where the secret of the component whose block this is comes from, and the secret itself unless [`Source::without_secrets`] leaves it
/// alone; `None` after a fault, which is then said.
///
/// [`Source::without_secrets`]: super::source::Source::without_secrets
pub(super) fn read(block: &mut Table<'_>) -> Option<(SecretSource, Option<Secret>)> {
    let inline = block.refuse("secret", || {
        let message = "is no key: a secret does not stand in the configuration itself";
        let hint = "write the secret into a file that others cannot read, and name it: \
                    `secret-file = \"/etc/capsd/secret\"`";
        Wrong::new(message, hint)
    });
    let environment = block.source.environment;
    let wanted = block.source.with_secrets;
    let from_file = block.has("secret-file");
    let from_variable = block.has("secret-env");
    let file = block.optional("secret-file", |value| {
        let path = text_of(value).map(absolute)?.ok_or_else(|| {
            Wrong::new(
                "is not an absolute path",
                "write the whole path of the file that holds the secret, beginning with `/`",
            )
        })?;
        let secret = wanted.then(|| read_file(&path)).transpose()?;
        Ok((SecretSource::File(path), secret))
    });
    let variable = block.optional("secret-env", |value| {
        let name = text_of(value)?;
        let secret = wanted.then(|| read_variable(name, environment));
        let secret = secret.transpose()?;
        Ok((SecretSource::Variable(name.to_owned()), secret))
    });
    if from_file && from_variable {
        let message = "stands beside `secret-file`, and the secret can come from one place only";
        block.fault("secret-env", Wrong::new(message, "remove one of the two"));
    }
    if from_file || from_variable || inline {
        return file.or(variable);
    }
    let credentials = environment("CREDENTIALS_DIRECTORY").filter(|name| !name.is_empty());
    let source = match credentials {
        Some(_) => SecretSource::Credential,
        None => SecretSource::File(PathBuf::from(DEFAULT_SECRET_FILE)),
    };
    let secret = wanted.then(|| match &credentials {
        Some(directory) => read_credential(directory),
        None => read_default_file(),
    });
    match secret.transpose() {
        Ok(secret) => Some((source, secret)),
        Err(wrong) => {
            block.fault("secret-file", wrong);
            None
        }
    }
}

/// What stands in one of the keys of this file. It is never repeated unless it turns out to be what it should be: some write the secret
/// itself there.
fn text_of<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Wrong> {
    let wrong = || Wrong::new("is not a string", "write it in quotes");
    value.as_str().ok_or_else(wrong)
}

fn read_variable(name: &str, environment: Environment<'_>) -> Result<Secret, Wrong> {
    let absent = name.is_empty() || name.contains(['=', '\0']);
    let value = if absent { None } else { environment(name) };
    let value = value.ok_or_else(|| {
        Wrong::new(
            "names an environment variable that is not set",
            "set it where capsd is started, or use `secret-file`; the secret itself stands in neither key",
        )
    })?;
    Secret::from_bytes(value.into_encoded_bytes())
        .map_err(|wrong| wrong.after(&format!("names the environment variable {name:?}, which")))
}

fn read_credential(directory: &OsStr) -> Result<Secret, Wrong> {
    read_file(&Path::new(directory).join(CREDENTIAL)).map_err(|wrong| Wrong {
        hint: format!(
            "write the server's secret into the file that the unit's LoadCredential= names ({DEFAULT_SECRET_FILE} in \
             that of the package), and start again"
        ),
        ..wrong.after("is missing, and the systemd credential instead of it")
    })
}

fn read_default_file() -> Result<Secret, Wrong> {
    read_file(Path::new(DEFAULT_SECRET_FILE)).map_err(|wrong| {
        wrong.after(
            "is missing, and so are `secret-env` and the systemd credential `secret`; the default",
        )
    })
}

/// Reads a secret file; the words of the fault follow "`secret-file`".
fn read_file(path: &Path) -> Result<Secret, Wrong> {
    let shown = path.display();
    let unreadable = |error: io::Error| {
        let (message, hint) = match error.kind() {
            io::ErrorKind::NotFound => (
                format!("names {shown}, which does not exist"),
                format!("create it with the server's secret in it, and `chmod 640 {shown}`"),
            ),
            io::ErrorKind::PermissionDenied => (
                format!("names {shown}, which may not be read"),
                format!(
                    "run this as a user who may; if it is the daemon itself that may not, let its user read it: `chgrp capsd {shown}` and \
                     `chmod 640 {shown}`"
                ),
            ),
            _ => (
                format!("names {shown}, which cannot be read: {error}"),
                "name a file that can be read".to_owned(),
            ),
        };
        Wrong {
            unread_secret: error.kind() == io::ErrorKind::PermissionDenied,
            ..Wrong::new(message, hint)
        }
    };
    // Asked before it is opened: opening a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        let message = format!("names {shown}, which is not a regular file");
        return Err(Wrong::new(message, "name the file that holds the secret"));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o004 != 0 {
        let message = format!("names {shown}, which every user of this machine can read");
        return Err(Wrong::new(
            message,
            format!("`chmod 640 {shown}`, and change the secret if others may have seen it"),
        ));
    }
    let mut bytes = Vec::new();
    // Room for a line end of two bytes and one byte more, by which what is longer is seen to be.
    file.take(MAX_SECRET_LEN as u64 + 3)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Secret::from_bytes(bytes).map_err(|wrong| wrong.after(&format!("names {shown}, which")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::from_bytes(b"hunter2\n".to_vec()).unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn one_line_end_is_not_part_of_it_but_spaces_are() {
        let exposed = |bytes: &[u8]| {
            Secret::from_bytes(bytes.to_vec()).map(|secret| secret.expose().to_owned())
        };
        assert_eq!(exposed(b"a b \r\n").unwrap(), "a b ");
        assert!(exposed(b"\n").unwrap_err().message.contains("empty"));
        assert!(
            exposed(b"a\nb\n")
                .unwrap_err()
                .message
                .contains("more than one line")
        );
        assert!(
            exposed(&[b'a'; 1025])
                .unwrap_err()
                .message
                .contains("longer")
        );
        assert_eq!(exposed(&[b'a'; 1024]).unwrap().len(), 1024);
        assert!(exposed(&[0xff]).unwrap_err().message.contains("UTF-8"));
    }
}
