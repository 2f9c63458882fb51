//! What is refused: values of the wrong kind or out of range.

use crate::faults::setting;
use crate::{LEAST, Machine};

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
fn a_feature() {
    setting(
        "population",
        "features = ['urn:xmpp:ping', 'two words']",
        "holds \"two words\", which is not a feature",
        "the `var` of a feature",
    );
    setting(
        "population",
        "features = ['a', 'b', 'a']",
        "holds \"a\" twice",
        "remove one",
    );
    let many: Vec<String> = (0..21).map(|n| format!("'f{n}'")).collect();
    setting(
        "population",
        &format!("features = [{}]", many.join(", ")),
        "has 21 members, but may have 20",
        "shorten the list",
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
fn the_names_that_http_is_asked_by() {
    let label = "x".repeat(64);
    let long = "x.".repeat(126) + "xx";
    for wrong in [
        "http://caps.example.org",
        "caps.example.org:9116",
        "caps.example.org/",
        "caps..example.org",
        "",
        "[::1]",
        "höhle.example",
        "*",
        &label,
        &long,
    ] {
        setting(
            "http",
            &format!("names = ['{wrong}']"),
            "which is not a host name",
            "write names alone",
        );
    }
    setting(
        "http",
        "names = 'caps.example.org'",
        "which is not a list",
        "write a list",
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
