//! `capsd check`, without its command line.

use std::path::Path;

use capsd::cli::Exit;
use capsd::cli::check::{CheckArguments, report};
use serde_json::Value;

use crate::{LEAST, Machine};

/// Exit code, standard output and standard error for a configuration in a file.
fn check(machine: &Machine, text: &str, json: bool) -> (Exit, String, String) {
    let text = text.replace("$SECRET", machine.path("secret").to_str().unwrap());
    let arguments = CheckArguments {
        config: machine.file("capsd.toml", text, 0o644),
        connect: false,
        json,
    };
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let code = report(&arguments, &mut output, &mut errors);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(output), text(errors))
}

#[test]
fn a_usable_configuration_is_summarised_and_shown_as_it_is_in_force() {
    let machine = Machine::new();
    let text = format!("{LEAST}[trusted]\ndirectories = []\n");
    let (code, output, errors) = check(&machine, &text, false);
    assert_eq!((code, &errors[..]), (Exit::Done, ""));
    let (summary, in_force) = output.split_once("\n# Every value in force:\n").unwrap();
    let expected = format!(
        "usable: {config}\n\n\
         caps.example.org connects to 127.0.0.1:5347 with the secret in {secret} and serves example.org\n\
         what is learned is kept in /var/lib/capsd\n\
         HTTP is at http://127.0.0.1:9116/\n",
        config = machine.path("capsd.toml").display(),
        secret = machine.path("secret").display(),
    );
    assert_eq!(summary, expected);
    assert_eq!(
        machine.read(in_force).unwrap(),
        machine.read(&text).unwrap()
    );
    assert!(!output.contains("s3cret"));
}

#[test]
fn a_faulty_one_is_said_on_standard_error_alone() {
    let text = format!("{LEAST}[log]\nlevel = 'loud'\nfromat = 'json'\n");
    let machine = Machine::new();
    let (code, output, errors) = check(&machine, &text, false);
    assert_eq!((code, &output[..]), (Exit::Usage, ""));
    let path = machine.path("capsd.toml");
    for (line, word) in [(6, "`log.level`"), (7, "`log.fromat`")] {
        assert!(
            errors.contains(&format!("\n  --> {}:{line}\n", path.display())),
            "{errors}"
        );
        assert!(errors.contains(word), "{errors}");
    }
    assert_eq!(errors.matches("error: ").count(), 2, "{errors}");
}

#[test]
fn json_says_the_same() {
    let machine = Machine::new();
    let (code, output, _) = check(&machine, LEAST, true);
    let usable: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((code, &usable["usable"]), (Exit::Done, &true.into()));
    assert_eq!(usable["configuration"]["resolver"]["deadline"], "5s");
    assert_eq!(
        usable["configuration"]["component"][0]["jid"],
        "caps.example.org"
    );
    assert!(!output.contains("s3cret"));

    let text = format!("{LEAST}[hot]\nmax-bytes = 5\n");
    let (code, output, errors) = check(&machine, &text, true);
    let faulty: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(
        (code, &errors[..], &faulty["usable"]),
        (Exit::Usage, "", &false.into())
    );
    assert_eq!(faulty["faults"][0]["line"], 6);
    assert_eq!(faulty["faults"][0]["key"], "hot.max-bytes");
}

/// As it stands in the file: quotes, underscores and all; of a list the member alone, and of a long one the beginning.
#[test]
fn json_has_the_value_that_is_at_fault() {
    let long = format!("'{}'", "ä".repeat(300));
    for (lines, key, value) in [
        ("[hot]\nmax-bytes = 5", "hot.max-bytes", Some("5")),
        (
            "[resolver]\ndeadline = \"2h\" # long",
            "resolver.deadline",
            Some("\"2h\""),
        ),
        (
            "[limits]\nflights = 99_999_999",
            "limits.flights",
            Some("99_999_999"),
        ),
        (
            "[trusted]\ndirectories = ['/a', 'b']",
            "trusted.directories",
            Some("'b'"),
        ),
        (
            "[trusted]\ndirectories = ['/a', [1, 2]]",
            "trusted.directories",
            Some("[1, 2]"),
        ),
        ("domains = [ ]", "component.domains", Some("[ ]")),
        (
            &format!("[store]\npath = {long}"),
            "store.path",
            Some(&long[..1 + 2 * 199]),
        ),
        // There is none, or it is not that which is wrong.
        (
            "[[component]]\nserver = 'a:1'\nsecret-file = '$SECRET'",
            "component.jid",
            None,
        ),
        ("[store]\npaht = '/x'", "store.paht", None),
    ] {
        let text = format!("{LEAST}{lines}\n");
        let (_, output, _) = check(&Machine::new(), &text, true);
        let answer: Value = serde_json::from_str(&output).unwrap();
        let faults = answer["faults"].as_array().unwrap();
        let fault = faults.iter().find(|fault| fault["key"] == key).unwrap();
        assert_eq!(fault.get("value").unwrap().as_str(), value, "{fault}");
    }
}

#[test]
fn a_missing_file_is_not_usable() {
    let arguments = CheckArguments {
        config: Path::new("/nonexistent/capsd.toml").to_owned(),
        connect: false,
        json: false,
    };
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    assert_eq!(report(&arguments, &mut output, &mut errors), Exit::Usage);
    assert!(output.is_empty());
    assert!(
        String::from_utf8(errors)
            .unwrap()
            .contains("/nonexistent/capsd.toml does not exist")
    );
}

/// A port where nobody listens: what is said of a link there has cause and remedy, and the answer is no.
#[test]
fn links_are_tried_on_request() {
    let machine = Machine::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let text = LEAST
        .replace("127.0.0.1:5347", &address)
        .replace("$SECRET", machine.path("secret").to_str().unwrap());
    for json in [false, true] {
        let arguments = CheckArguments {
            config: machine.file("capsd.toml", text.clone(), 0o644),
            connect: true,
            json,
        };
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        assert_eq!(report(&arguments, &mut output, &mut errors), Exit::No);
        let output = String::from_utf8(output).unwrap();
        assert!(output.contains("network: Connection refused"), "{output}");
        assert!(output.contains("Next step: see whether the server runs"));
        if json {
            let answer: Value = serde_json::from_str(&output).unwrap();
            assert_eq!(answer["links"][0]["up"], false);
        }
    }
}
