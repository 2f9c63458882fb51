//! What is refused in a `[[component]]` block.

use crate::faults::{component, one};
use crate::{LEAST, Machine};

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
