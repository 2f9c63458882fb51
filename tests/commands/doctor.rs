//! What `capsd doctor` leaves alone, and what it says of the daemon; what it says of real servers is tried beside them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::machine::{Ended, Machine};

/// What it found.
pub(crate) struct Diagnosis(Vec<Value>);

impl Diagnosis {
    pub(crate) fn of(ended: Ended) -> Diagnosis {
        Diagnosis(ended.json()["findings"].as_array().unwrap().clone())
    }

    #[track_caller]
    pub(crate) fn finding(&self, check: &str) -> &Value {
        let found = self.0.iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("{check} is not in {:?}", self.0))
    }

    pub(crate) fn state(&self, check: &str) -> &str {
        self.finding(check)["state"].as_str().unwrap()
    }

    /// The checks that found a problem.
    pub(crate) fn problems(&self) -> Vec<&str> {
        let problems = self
            .0
            .iter()
            .filter(|finding| finding["state"] == "problem");
        problems
            .map(|finding| finding["check"].as_str().unwrap())
            .collect()
    }
}

/// Something that listens where the configuration says that the server is, and closes every connection.
pub(crate) struct Server(Arc<AtomicUsize>);

impl Server {
    pub(crate) fn listen(machine: &Machine) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let text = std::fs::read_to_string(&machine.config).unwrap();
        std::fs::write(
            &machine.config,
            text.replace("127.0.0.1:1'", &format!("{address}'")),
        )
        .unwrap();
        let counted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&counted);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        Server(counted)
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// While somebody listens at the socket a link is never opened, whatever he says.
#[test]
fn a_daemon_that_cannot_be_asked_is_not_disturbed() {
    let machine = Machine::new();
    let server = Server::listen(&machine);
    let busy = "{\"is\":\"refused\",\"message\":\"as many connections as control.connections allows are open; try again\"}\n";
    for (answer, symptom, remedy) in [
        (busy, "as many connections as", "run this again in a moment"),
        ("", "does not answer any more", "see its log"),
        ("nonsense\n", "does not answer any more", "see its log"),
        (
            "{\"is\":\"synced\"}\n",
            "not one to this request",
            "see its log",
        ),
    ] {
        let listener = UnixListener::bind(machine.path("socket")).unwrap();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut request)
                .unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let diagnosis = Diagnosis(
            machine.json("doctor", &[], 1)["findings"]
                .as_array()
                .unwrap()
                .clone(),
        );
        other.join().unwrap();
        assert_eq!(diagnosis.problems(), ["daemon"]);
        let found = diagnosis.finding("daemon");
        let said = |part: &str| found[part].as_str().unwrap().to_owned();
        assert!(said("symptom").contains(symptom), "{found}");
        assert!(said("symptom").contains("were not looked at"), "{found}");
        assert!(said("remedy").contains(remedy), "{found}");
        std::fs::remove_file(machine.path("socket")).unwrap();
    }
    assert_eq!(server.connections(), 0);
    // Where nobody listens, each link is tried.
    machine.json("doctor", &[], 1);
    assert_eq!(server.connections(), 1);
}

#[test]
fn all_faults_are_found_at_once() {
    let machine = Machine::new();
    let daemon = machine.daemon();
    let text = std::fs::read_to_string(&machine.config).unwrap();
    let text = text.replace(
        "directories = []",
        "directories = []\noverrides = '/nowhere/overrides.toml'",
    );
    std::fs::write(&machine.config, text + "[limits]\nflights = 0\n").unwrap();
    for command in ["check", "reload", "run"] {
        let ended = machine.run(command, &[]).expect(2);
        for words in [
            "`limits.flights` is 0",
            "/nowhere/overrides.toml does not exist",
        ] {
            assert!(ended.err.contains(words), "{command}: {}", ended.err);
        }
    }
    let findings = machine.json("doctor", &[], 2);
    let findings = findings["findings"].as_array().unwrap();
    let faults = findings
        .iter()
        .filter(|finding| finding["check"] == "configuration");
    assert_eq!(faults.count(), 2);
    assert_eq!(daemon.stop().1, 0);
}

#[test]
fn what_was_found_is_counted_as_people_count() {
    let machine = Machine::new();
    let _daemon = machine.daemon();
    let said = machine.run("doctor", &[]).expect(1).out;
    assert!(said.ends_with("\n1 problem, 0 warnings\n"), "{said}");
}
