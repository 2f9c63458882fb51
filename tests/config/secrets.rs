//! What is refused of secrets, and that no message repeats one.

use std::os::unix::net::UnixListener;
use std::path::Path;

use capsd::config::{DEFAULT_SECRET_FILE, SecretSource};

use crate::faults::{component, one};
use crate::{LEAST, Machine};

#[test]
fn a_secret_file_that_is_missing() {
    let put = "secret-file = '/nonexistent/secret'";
    component(
        4,
        put,
        "component.secret-file",
        "/nonexistent/secret, which does not exist",
        "create it",
    );
}

#[test]
fn a_secret_file_with_a_relative_path() {
    component(
        4,
        "secret-file = 'secret'",
        "component.secret-file",
        "not an absolute path",
        "beginning with `/`",
    );
}

/// What is wrong with a file of that content and mode that is named as the secret file.
#[track_caller]
fn secret_file(content: &[u8], mode: u32, message: &str, hint: &str) {
    let machine = Machine::new();
    let path = machine.file("other", content, mode);
    let text = LEAST.replace("$SECRET", path.to_str().unwrap());
    one(
        &machine,
        &text,
        4,
        Some("component.secret-file"),
        message,
        hint,
    );
    let shown = machine.read(&text).unwrap_err().to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_secret_file_that_is_not_usable() {
    secret_file(b"", 0o600, "which is empty", "write the secret");
    secret_file(b"\n", 0o600, "which is empty", "write the secret");
    secret_file(
        b"hunter2\nhunter2\n",
        0o600,
        "more than one line",
        "write the secret",
    );
    secret_file(
        &[b'x'; 5000],
        0o600,
        "longer than 1024 bytes",
        "write the secret",
    );
    secret_file(b"hunter2\xff", 0o600, "not UTF-8 text", "as text");
}

#[test]
fn a_secret_file_that_everybody_can_read() {
    secret_file(
        b"hunter2\n",
        0o644,
        "which every user of this machine can read",
        "chmod 640 ",
    );
    secret_file(
        b"hunter2\n",
        0o604,
        "which every user of this machine can read",
        "chmod 640 ",
    );
}

#[test]
fn a_secret_file_that_is_no_file() {
    let machine = Machine::new();
    let _listener = UnixListener::bind(machine.path("socket")).unwrap();
    for path in [machine.path(""), machine.path("socket"), "/dev/null".into()] {
        let text = LEAST.replace("$SECRET", path.to_str().unwrap());
        let message = "which is not a regular file";
        one(
            &machine,
            &text,
            4,
            Some("component.secret-file"),
            message,
            "name the file",
        );
    }
}

#[test]
fn a_secret_variable() {
    let key = "component.secret-env";
    let hint = "set it where capsd is started";
    component(
        4,
        "secret-env = 'NONE'",
        key,
        "names an environment variable that is not set",
        hint,
    );
    component(4, "secret-env = ''", key, "that is not set", hint);
    component(4, "secret-env = 'A=B'", key, "that is not set", hint);
    let machine = Machine::new().with_variable("CAPSD_SECRET", "");
    let text = LEAST.replace("secret-file = '$SECRET'", "secret-env = 'CAPSD_SECRET'");
    one(
        &machine,
        &text,
        4,
        Some(key),
        "\"CAPSD_SECRET\", which is empty",
        "write the secret",
    );
}

#[test]
fn two_places_for_the_secret() {
    let machine = Machine::new().with_variable("CAPSD_SECRET", "x");
    let text = format!("{LEAST}secret-env = 'CAPSD_SECRET'\n");
    let message = "stands beside `secret-file`";
    one(
        &machine,
        &text,
        5,
        Some("component.secret-env"),
        message,
        "remove one",
    );
}

/// Where nothing is said of the secret it is the systemd credential, and where there is none the file at the default place. What that holds
/// on this machine is not ours to change, so only its absence, or that it is refused or read, can be tried.
#[test]
fn no_place_for_the_secret() {
    let text = LEAST.replace("secret-file = '$SECRET'\n", "");
    let key = Some("component.secret-file");
    let default = Path::new(DEFAULT_SECRET_FILE);
    if default.exists() {
        let config = Machine::new().read(&text).unwrap();
        let source = &config.components[0].secret_source;
        assert_eq!(source, &SecretSource::File(default.to_owned()));
    } else {
        let message = "the default names /etc/capsd/secret, which does not exist";
        one(&Machine::new(), &text, 1, key, message, "create it");
    }
    let machine = Machine::new().with_variable("CREDENTIALS_DIRECTORY", "/nonexistent");
    let message =
        "the systemd credential instead of it names /nonexistent/secret, which does not exist";
    one(&machine, &text, 1, key, message, "LoadCredential=");
}

/// Some write the secret itself where its place belongs. The message is on a terminal, in the journal and in the log of a reload.
#[test]
fn a_secret_at_the_place_of_its_name_is_not_repeated() {
    for (put, message) in [
        ("secret-env = 'hunter2secret'", "variable that is not set"),
        ("secret-env = 'HUNTER2SECRET'", "variable that is not set"),
        ("secret-file = 'hunter2secret'", "not an absolute path"),
        ("secret-file = \"/hunter2\\n\"", "not an absolute path"),
        ("secret-env = hunter2secret", "not TOML"),
        ("secret-env = 2222222", "not a string"),
        ("secret-file = 2222222", "not a string"),
        ("secret-file = ['hunter2secret']", "not a string"),
        (
            "secret = 'hunter2secret'",
            "does not stand in the configuration",
        ),
        ("password = 'hunter2secret'", "is unknown"),
        ("domains = [{ secret = 'hunter2secret' }]", "not a string"),
        ("feeds = { secret = 'hunter2secret' }", "not a list"),
    ] {
        let text = LEAST.replace("secret-file = '$SECRET'", put);
        let faults = Machine::new().read(&text).unwrap_err();
        let shown = faults.to_string();
        assert!(shown.contains(message), "{shown}");
        let shown = (shown + &serde_json::to_string(&faults).unwrap()).to_lowercase();
        assert!(
            !shown.contains("hunter2") && !shown.contains("2222"),
            "{shown}"
        );
    }
}
