//! An HTTP address that cannot be had: what may be otherwise in a moment is told from what only the configuration can mend.

use std::fs;
use std::net::TcpListener;

use capsd::cli::Exit;

use crate::machine::Machine;

/// How `capsd run` ends that is to listen there, and what it says.
fn ended(listen: &str) -> (String, i32) {
    let machine = Machine::new();
    let text = fs::read_to_string(&machine.config).unwrap();
    fs::write(&machine.config, text.replace("127.0.0.1:0", listen)).unwrap();
    machine.start_daemon().ended()
}

fn assert_said(said: &str, listen: &str, words: &[&str]) {
    let fault = format!("capsd: http.listen: {listen} cannot be listened on: ");
    assert!(said.contains(&fault), "{said}");
    for words in words {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn an_address_that_no_interface_has_may_come() {
    // Reserved for documentation (RFC 5737): no machine has it.
    let listen = "192.0.2.1:9116";
    let (said, code) = ended(listen);
    assert_eq!(code, i32::from(Exit::NotNow.code()), "{said}");
    let words = ["Cannot assign", "hint: no interface", "`ip address` lists"];
    assert_said(&said, listen, &words);
}

#[test]
fn a_port_that_is_taken_may_become_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let (said, code) = ended(&listen);
    assert_eq!(code, i32::from(Exit::NotNow.code()), "{said}");
    let words = ["in use", "hint: stop what listens there"];
    assert_said(&said, &listen, &words);
}

/// It is said for each fault that the operating system can have, without provoking it: root may listen anywhere.
#[test]
fn a_port_that_capsd_may_not_have_is_a_fault_of_the_configuration() {
    use std::io::{Error, ErrorKind};
    for (kind, may_pass) in [
        (ErrorKind::AddrInUse, true),
        (ErrorKind::AddrNotAvailable, true),
        (ErrorKind::PermissionDenied, false),
        (ErrorKind::Unsupported, false),
        (ErrorKind::InvalidInput, false),
    ] {
        assert_eq!(capsd::daemon::may_pass(&Error::from(kind)), may_pass);
    }
}

/// The service manager starts capsd again for whatever may be otherwise later, as often as it takes.
#[test]
fn the_unit_starts_again_what_may_work_later() {
    let unit = include_str!("../../deploy/systemd/capsd.service");
    let setting = |name: &str| {
        let mut lines = unit.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(setting("Restart"), "on-failure");
    assert_eq!(setting("StartLimitIntervalSec"), "0");
    let for_good: Vec<_> = setting("RestartPreventExitStatus").split(' ').collect();
    assert_eq!(for_good, [Exit::Usage.code().to_string()]);
    assert_ne!(Exit::NotNow, Exit::Usage);
}
