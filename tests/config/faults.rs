//! What is refused: each kind of fault with its line, its key, its words and its remedy.

use std::os::unix::net::UnixListener;
use std::path::Path;

use capsd::config::Config;

use crate::{LEAST, Machine};

/// Asserts that a text has exactly one fault, and what it says.
#[track_caller]
fn one(machine: &Machine, text: &str, line: usize, key: Option<&str>, message: &str, hint: &str) {
    let faults = machine.faults(text);
    let [fault] = &faults[..] else {
        panic!("{} faults: {faults:#?}", faults.len());
    };
    assert_eq!(fault.file, Path::new("/etc/capsd/capsd.toml"));
    assert_eq!(
        (fault.line, fault.key.as_deref()),
        (Some(line), key),
        "{fault}"
    );
    assert!(fault.message.contains(message), "{fault}");
    assert!(key.is_none_or(|key| fault.message.contains(key)), "{fault}");
    assert!(fault.hint.contains(hint), "{fault}");
}

/// The same, for a setting added to the least that works: its section on line 5, the setting on line 6.
#[track_caller]
fn setting(section: &str, setting: &str, message: &str, hint: &str) {
    let (key, _) = setting.split_once(" =").unwrap();
    let text = format!("{LEAST}[{section}]\n{setting}\n");
    one(
        &Machine::new(),
        &text,
        6,
        Some(&format!("{section}.{key}")),
        message,
        hint,
    );
}

/// The same, for one line of the component, which is put in the place of `line`.
#[track_caller]
fn component(line: usize, put: &str, key: &str, message: &str, hint: &str) {
    let mut lines: Vec<_> = LEAST.lines().collect();
    lines[line - 1] = put;
    let text = lines.join("\n");
    one(&Machine::new(), &text, line, Some(key), message, hint);
}

#[test]
fn the_whole_message() {
    let text = format!("{LEAST}[resolver]\ndeadline = \"2h\"\n[store]\npaht = \"/x\"\n");
    let shown = Machine::new().read(&text).unwrap_err().to_string();
    let expected = "\
error: `resolver.deadline` is \"2h\", but must be from 100ms to 1m
  --> /etc/capsd/capsd.toml:6

hint: set a value in that range, or remove the key to get the default, 5s

error: `store.paht` is unknown
  --> /etc/capsd/capsd.toml:8

hint: perhaps `path` is meant; known here: path, flush-interval, max-entries, max-bytes, cache";
    assert_eq!(shown, expected);
}

#[test]
fn all_faults_at_once_in_the_order_of_the_lines() {
    let text = "[limits]\nflights = 0\nwaiter = 1\n[[component]]\njid = 'a b'\nserver = 'nowhere'\n[log]\nlevel = 'loud'\n[nonsense]\n";
    let faults = Machine::new().faults(text);
    let found: Vec<_> = faults
        .iter()
        .map(|fault| (fault.line.unwrap(), fault.key.as_deref().unwrap()))
        .collect();
    let expected = [
        (2, "limits.flights"),
        (3, "limits.waiter"),
        (4, "component.secret-file"),
        (5, "component.jid"),
        (6, "component.server"),
        (8, "log.level"),
        (9, "nonsense"),
    ];
    assert_eq!(found, expected, "{faults:#?}");
}

// The file.

#[test]
fn a_missing_file() {
    let path = Machine::new().path("none.toml");
    let shown = Config::load(&path).unwrap_err().to_string();
    let name = path.display();
    assert!(
        shown.starts_with(&format!(
            "error: the configuration file {name} does not exist\n  --> {name}\n"
        )),
        "{shown}"
    );
    assert!(shown.contains("\n\nhint: create it"), "{shown}");
}

#[test]
fn a_directory_instead_of_a_file() {
    let machine = Machine::new();
    let shown = Config::load(machine.directory.path())
        .unwrap_err()
        .to_string();
    assert!(shown.contains("is not a regular file"), "{shown}");
    assert!(shown.contains("hint: name the file itself"), "{shown}");
}

#[test]
fn a_file_that_is_not_text() {
    let machine = Machine::new();
    let path = machine.file("capsd.toml", b"[log]\n# caf\xe9\n", 0o644);
    let faults = Config::load(&path).unwrap_err().faults;
    assert_eq!((faults.len(), faults[0].line), (1, Some(2)));
    assert!(faults[0].message.contains("not UTF-8"));
    assert!(faults[0].hint.contains("save the file in UTF-8"));
}

#[test]
fn a_huge_file() {
    let machine = Machine::new();
    let path = machine.file("capsd.toml", vec![b'#'; 1024 * 1024 + 1], 0o644);
    let faults = Config::load(&path).unwrap_err().faults;
    assert!(faults[0].message.contains("larger than 1 MiB"));
}

#[test]
fn a_syntax_error_is_the_only_fault() {
    let text = format!("{LEAST}[log]\nlevel = info\n[nonsense]\n");
    one(
        &Machine::new(),
        &text,
        6,
        None,
        "not TOML",
        "strings stand in quotes",
    );
}

#[test]
fn a_key_twice() {
    let text = format!("{LEAST}[log]\nlevel = 'info'\nlevel = 'warn'\n");
    one(
        &Machine::new(),
        &text,
        7,
        None,
        "duplicate key",
        "stands once",
    );
}

#[test]
fn no_component() {
    let message = "no `[[component]]` block";
    one(
        &Machine::new(),
        "[log]\nlevel = 'info'\n\n",
        2,
        None,
        message,
        "`jid`, `server` and `secret-file`",
    );
    one(&Machine::new(), "", 1, None, message, "add one");
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    let text = format!(
        "{LEAST}[log]\nlevel = {}{}\n",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    one(
        &Machine::new(),
        &text,
        6,
        None,
        "not TOML",
        "correct that line",
    );
}

// Keys and sections.

#[test]
fn an_unknown_key() {
    setting(
        "store",
        "max-size = '1GiB'",
        "is unknown",
        "known here: path, flush-interval",
    );
    setting(
        "limits",
        "waiters_per_flight = 1",
        "is unknown",
        "perhaps `waiters-per-flight` is meant",
    );
}

#[test]
fn an_unknown_key_in_a_component() {
    let text = format!("{LEAST}domain = ['example.org']\n");
    one(
        &Machine::new(),
        &text,
        5,
        Some("component.domain"),
        "is unknown",
        "perhaps `domains` is meant",
    );
}

#[test]
fn an_unknown_section() {
    let text = format!("{LEAST}[resolvers]\ndeadline = '5s'\n");
    one(
        &Machine::new(),
        &text,
        5,
        Some("resolvers"),
        "is unknown",
        "perhaps `resolver` is meant",
    );
}

#[test]
fn a_setting_where_a_section_belongs() {
    let text = format!("log = 'debug'\n{LEAST}");
    one(
        &Machine::new(),
        &text,
        1,
        Some("log"),
        "is \"debug\", which is not a section",
        "write `[log]`",
    );
}

#[test]
fn a_component_in_single_brackets() {
    let text = LEAST.replace("[[component]]", "[component]");
    one(
        &Machine::new(),
        &text,
        1,
        Some("component"),
        "is a table, not a block",
        "two brackets",
    );
}

#[test]
fn the_secret_in_the_configuration_itself_is_not_repeated() {
    let machine = Machine::new();
    let text = LEAST.replace("secret-file = '$SECRET'", "secret = 'hunter2'");
    let message = "does not stand in the configuration";
    one(
        &machine,
        &text,
        4,
        Some("component.secret"),
        message,
        "secret-file = ",
    );
    assert!(
        !machine
            .read(&text)
            .unwrap_err()
            .to_string()
            .contains("hunter2")
    );
}

// Values.

#[test]
fn a_duration() {
    setting(
        "resolver",
        "deadline = 5",
        "is 5, which is not a duration",
        "units are ms, s, m, h and d",
    );
    setting(
        "resolver",
        "deadline = '5 seconds'",
        "is \"5 seconds\"",
        "such as \"5s\"",
    );
    setting(
        "resolver",
        "retry-after = '999ms'",
        "must be from 1s to 24h",
        "the default, 10m",
    );
}

#[test]
fn a_holder_timeout_above_the_deadline() {
    let message = "one holder may take 6s, and all together 5s";
    setting(
        "resolver",
        "holder-timeout = '6s'",
        message,
        "at most `deadline`",
    );
    let message = "one holder may take 2s, and all together 1s";
    setting("resolver", "deadline = '1s'", message, "at most `deadline`");
}

#[test]
fn a_size() {
    setting(
        "hot",
        "max-bytes = '32MB'",
        "is \"32MB\", which is not a size",
        "KiB, MiB, GiB",
    );
    setting(
        "hot",
        "max-bytes = '1KiB'",
        "must be from 1MiB to 64GiB",
        "the default, 32MiB",
    );
    setting(
        "limits",
        "max-disco-bytes = '257KiB'",
        "must be from 1KiB to 256KiB",
        "the default, 16KiB",
    );
}

#[test]
fn a_count() {
    setting(
        "holders",
        "max = 'many'",
        "is \"many\", which is not a whole number",
        "without quotes",
    );
    setting(
        "holders",
        "max = -1",
        "is -1, which is not a whole number",
        "without quotes",
    );
    setting(
        "holders",
        "per-key = 4097",
        "must be from 1 to 4096",
        "the default, 64",
    );
}

#[test]
fn a_rate() {
    setting(
        "limits",
        "queries-per-asker = '50'",
        "is \"50\", which is not a rate",
        "/s, /m and /h",
    );
    setting(
        "limits",
        "queries-per-asker = '0/s'",
        "is not a rate",
        "at least 1",
    );
    setting(
        "limits",
        "queries-per-asker = '1000001/s'",
        "must be from 1/h to 1000000/s",
        "50/s",
    );
}

#[test]
fn a_boolean() {
    setting(
        "limits",
        "allow-md5 = 'yes'",
        "is \"yes\", which is neither true nor false",
        "`true` or `false`",
    );
}

#[test]
fn a_word() {
    setting(
        "log",
        "level = 'verbose'",
        "is \"verbose\"",
        "\"error\", \"warn\", \"info\", \"debug\", \"trace\"",
    );
    setting("log", "format = 'xml'", "is \"xml\"", "\"text\", \"json\"");
    setting(
        "resolver",
        "resolve = true",
        "is true",
        "\"on-announce\", \"on-demand\"",
    );
}

#[test]
fn a_path() {
    setting(
        "store",
        "path = 'capsd'",
        "is \"capsd\", which is not an absolute path",
        "beginning with `/`",
    );
    setting(
        "store",
        "path = ''",
        "not an absolute path",
        "beginning with `/`",
    );
    setting(
        "trusted",
        "directories = ['trusted']",
        "not an absolute path",
        "beginning with `/`",
    );
    setting(
        "trusted",
        "directories = '/x'",
        "is \"/x\", which is not a list",
        "write a list",
    );
}

#[test]
fn where_http_listens() {
    let hint = "write an address of this machine";
    setting(
        "http",
        "listen = '9116'",
        "is \"9116\", which is not an IP address and a port",
        hint,
    );
    setting(
        "http",
        "listen = 'localhost:9116'",
        "is \"localhost:9116\"",
        hint,
    );
    setting(
        "http",
        "listen = '127.0.0.1:70000'",
        "is \"127.0.0.1:70000\"",
        hint,
    );
}

#[test]
fn a_contact_address() {
    setting(
        "contact",
        "abuse = ['abuse@example.org']",
        "which is not a URI",
        "mailto:",
    );
    setting(
        "contact",
        "admin = ['mailto:a b']",
        "which is not a URI",
        "mailto:",
    );
    setting("contact", "admin = ['x:']", "which is not a URI", "mailto:");
}

#[test]
fn a_list_that_is_too_long() {
    let list = format!("admin = [{}]", "'x:y',".repeat(1025));
    setting(
        "contact",
        &list,
        "has 1025 members, but may have 1024",
        "shorten the list",
    );
}

#[test]
fn each_wrong_member_of_a_list_is_named_by_its_own_line() {
    let text = format!("{LEAST}[contact]\nabuse = [\n  'x:ok',\n  'wrong',\n  5,\n]\n");
    let faults = Machine::new().faults(&text);
    let lines: Vec<_> = faults.iter().map(|fault| fault.line.unwrap()).collect();
    assert_eq!(lines, [8, 9]);
}

// Components.

#[test]
fn a_component_without_jid_or_server() {
    let text = "[[component]]\nsecret-file = '$SECRET'\ndomains = ['example.org']\n";
    let faults = Machine::new().faults(text);
    let shown: Vec<_> = faults
        .iter()
        .map(|fault| (fault.line, &fault.message[..], &fault.hint[..]))
        .collect();
    let expected = [
        (
            Some(1),
            "`component.jid` is missing",
            "add a line such as `jid = \"caps.example.org\"`",
        ),
        (
            Some(1),
            "`component.server` is missing",
            "add a line such as `server = \"127.0.0.1:5347\"`",
        ),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_jid_that_is_no_domain() {
    let hint = "without user or resource";
    component(
        2,
        "jid = 'user@example.org'",
        "component.jid",
        "which is not a domain",
        hint,
    );
    component(
        2,
        "jid = 'example.org/x'",
        "component.jid",
        "which is not a domain",
        hint,
    );
    component(
        2,
        "jid = 'a b.example.org'",
        "component.jid",
        "which is not a domain",
        hint,
    );
    component(
        2,
        "jid = ''",
        "component.jid",
        "which is not a domain",
        hint,
    );
    component(
        2,
        "jid = 5",
        "component.jid",
        "is 5, which is not a string",
        "in quotes",
    );
}

#[test]
fn a_server_address() {
    for wrong in [
        "127.0.0.1",
        "localhost:",
        "localhost:0",
        "::1:5347",
        "local host:5347",
        "h:99999",
    ] {
        let put = format!("server = '{wrong}'");
        component(
            3,
            &put,
            "component.server",
            "which is not HOST:PORT",
            "\"127.0.0.1:5347\"",
        );
    }
}

#[test]
fn domains() {
    let hint = "list the domains whose users may ask";
    let text = format!("{LEAST}domains = []\n");
    one(
        &Machine::new(),
        &text,
        5,
        Some("component.domains"),
        "lists no domain",
        hint,
    );
    let text = format!("{LEAST}domains = ['a@b']\n");
    let faults = Machine::new().faults(&text);
    assert!(
        faults[0]
            .message
            .contains("is \"a@b\", which is not a domain"),
        "{faults:#?}"
    );
    let text = LEAST.replace("caps.example.org", "caps");
    let hint = "`domains = [\"example.org\"]`";
    one(
        &Machine::new(),
        &text,
        1,
        Some("component.domains"),
        "has no parent domain",
        hint,
    );
}

#[test]
fn admins() {
    for wrong in [
        "example.org",
        "admin@example.org/phone",
        "@",
        "a b@example.org",
    ] {
        let text = format!("{LEAST}admins = ['{wrong}']\n");
        let message = "which is not the JID of an account";
        one(
            &Machine::new(),
            &text,
            5,
            Some("component.admins"),
            message,
            "without a resource",
        );
    }
}

#[test]
fn the_same_component_twice() {
    let again = LEAST.replace("caps.example.org", "CAPS.example.org");
    let message = "is caps.example.org at 127.0.0.1:5347, and so is that of an earlier block";
    let text = format!("{LEAST}{again}");
    one(
        &Machine::new(),
        &text,
        6,
        Some("component.jid"),
        message,
        "remove one of the blocks",
    );
}

#[test]
fn seventeen_components() {
    let blocks: String = (0..17)
        .map(|n| LEAST.replace("caps", &format!("caps{n}")))
        .collect();
    let message = "has 17 blocks, but may have 16";
    one(
        &Machine::new(),
        &blocks,
        65,
        Some("component"),
        message,
        "run a second capsd",
    );
}

// Secrets.

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
        "names the environment variable \"NONE\", which is not set",
        hint,
    );
    component(4, "secret-env = ''", key, "which is not set", hint);
    component(4, "secret-env = 'A=B'", key, "which is not set", hint);
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
    let text = format!("{LEAST}secret = 'hunter2'\n");
    let message = "does not stand in the configuration";
    one(
        &machine,
        &text,
        5,
        Some("component.secret"),
        message,
        "secret-file = ",
    );
}

#[test]
fn no_place_for_the_secret() {
    let text = LEAST.replace("secret-file = '$SECRET'\n", "");
    let key = Some("component.secret-file");
    one(
        &Machine::new(),
        &text,
        1,
        key,
        "is missing, and so are `secret-env`",
        "secret-file = ",
    );
    let machine = Machine::new().with_variable("CREDENTIALS_DIRECTORY", "/nonexistent");
    let message =
        "the systemd credential instead of it names /nonexistent/secret, which does not exist";
    one(&machine, &text, 1, key, message, "create it");
}
