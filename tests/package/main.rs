//! What the package holds besides the program: manual pages and completions, held against the program itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod manual;
mod named_files;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use capsd::cli::Exit;
use tempfile::TempDir;

/// All pages, as files.
fn pages() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in manual::command_pages().unwrap() {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let page = manual::configuration_page();
    fs::write(directory.path().join("capsd.toml.5"), page).unwrap();
    directory
}

fn names(directory: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(directory).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// What a program prints; it must be installed (tests/install.sh does that).
fn output(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}; run tests/install.sh"))
}

/// A page as it is read, each run of white space as one space.
fn read(directory: &TempDir, name: &str) -> String {
    let path = directory.path().join(name);
    let path = path.to_str().unwrap();
    let out = output("mandoc", &["-Tutf8", "-O", "width=500", path]).stdout;
    // Bold and underlined characters are written twice, with a backspace between.
    let mut plain = String::new();
    for character in String::from_utf8(out).unwrap().chars() {
        match character {
            '\u{8}' => drop(plain.pop()),
            _ => plain.push(character),
        }
    }
    words(&plain)
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn capsd(arguments: &[&str]) -> String {
    let output = output(env!("CARGO_BIN_EXE_capsd"), arguments);
    String::from_utf8(output.stdout).unwrap()
}

/// The commands of the program, as its help lists them.
fn commands() -> Vec<String> {
    let help = capsd(&["--help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let entries = listed.filter(|line| line.starts_with("  ") && !line.starts_with("    "));
    let names = entries.map(|line| line.split_whitespace().next().unwrap().to_owned());
    names.filter(|name| name != "help").collect()
}

/// The long options of a command, as its help lists them.
fn options(command: &str) -> BTreeSet<String> {
    let help = capsd(&[command, "--help"]);
    let entries = help.lines().map(str::trim_start);
    let entries = entries.filter(|line| line.starts_with('-'));
    let words = entries.flat_map(|line| line.split([' ', ',', '=']));
    words
        .filter(|word| word.starts_with("--"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_formatter_complains_about_a_page() {
    let directory = pages();
    for name in names(directory.path()) {
        let path = directory.path().join(&name);
        let path = path.to_str().unwrap();
        let lint = output("mandoc", &["-Tlint", "-Wwarning", path]);
        assert!(lint.status.success(), "{lint:?}");
        let groff = output("man", &["--warnings", "-E", "UTF-8", "-Tutf8", "-l", path]);
        assert!(
            groff.status.success() && groff.stderr.is_empty(),
            "{groff:?}"
        );
    }
}

#[test]
fn every_command_has_a_page_with_every_option() {
    let directory = pages();
    let whole = read(&directory, "capsd.1");
    let commands = commands();
    assert!(commands.len() >= 9, "{commands:?}");
    for command in &commands {
        assert!(whole.contains(&format!("capsd-{command}(1)")), "{command}");
        let page = read(&directory, &format!("capsd-{command}.1"));
        let options = options(command);
        assert!(options.contains("--help"), "{options:?}");
        for option in options {
            assert!(page.contains(&option), "{command} {option}");
        }
    }
    // None but these, capsd(1) and capsd.toml(5).
    assert_eq!(names(directory.path()).len(), commands.len() + 2);
}

#[test]
fn the_manual_lists_every_exit_code() {
    let whole = read(&pages(), "capsd.1");
    let (_, codes) = whole.split_once("EXIT STATUS").unwrap();
    let (codes, _) = codes.split_once("SIGNALS").unwrap();
    for exit in Exit::ALL {
        let meaning = exit.meaning().replace('`', "");
        assert!(
            codes.contains(&format!("{} {meaning}", exit.code())),
            "{codes}"
        );
    }
}

/// A signal and a command that do the same are described by the same words.
#[test]
fn the_manual_says_of_the_signal_to_reload_what_the_command_says() {
    let whole = read(&pages(), "capsd.1");
    let (_, signals) = whole.split_once("SIGNALS").unwrap();
    let (signals, _) = signals.split_once("ENVIRONMENT").unwrap();
    let (_, hangup) = signals.split_once("SIGHUP ").unwrap();
    let help = capsd(&["reload", "--help"]);
    let first = help.split("\n\n").next().unwrap();
    assert!(
        hangup
            .to_lowercase()
            .starts_with(&words(first).to_lowercase()),
        "{hangup}"
    );
    // The example says of each section what a reload applies; here no section is named as if it were the only one.
    assert!(!hangup.contains('['), "{hangup}");
}

/// The same table stands in README.
#[test]
fn readme_lists_the_exit_codes_of_the_manual() {
    let rows = include_str!("../../README.md")
        .split("| exit code | means |\n|---|---|\n")
        .nth(1)
        .unwrap()
        .lines();
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    let known = Exit::ALL.map(|exit| format!("| {} | {} |", exit.code(), exit.meaning()));
    assert_eq!(rows, known);
}

/// What `capsd check` prints of the least configuration is every key at its default, section by section.
#[test]
fn the_page_on_the_configuration_has_every_key_with_its_default() {
    let directory = pages();
    let page = read(&directory, "capsd.toml.5");
    let secret = directory.path().join("secret");
    fs::write(&secret, "secret\n").unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&secret, permissions).unwrap();
    let least = format!(
        "[[component]]\njid = 'caps.example.org'\nserver = '127.0.0.1:5347'\nsecret-file = '{}'\n",
        secret.display()
    );
    let config = directory.path().join("least.toml");
    fs::write(&config, least).unwrap();
    let in_force = capsd(&["check", "--config", config.to_str().unwrap()]);
    let mut rest = page.as_str();
    let mut keys = 0;
    let mut is = "as in";
    for line in in_force.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            rest = rest.split_once(line).unwrap_or_else(|| panic!("{line}")).1;
            is = if line.starts_with("[[") {
                "as in"
            } else {
                "default"
            };
        } else if let Some((key, value)) = line.split_once(" = ") {
            let begin = match is {
                // An empty list is no example.
                "as in" if value != "[]" => format!(" {key} (as in "),
                _ => format!(" {key} (default {value})"),
            };
            let section = rest.split_once(" [").map_or(rest, |(section, _)| section);
            assert!(rest.contains(&begin), "{begin}: {section}");
            keys += 1;
        }
    }
    assert!(keys > 40, "{in_force}");
}

/// The words of the example, the bounds among them, are those of the page.
#[test]
fn the_page_on_the_configuration_has_all_that_the_example_says() {
    let page = read(&pages(), "capsd.toml.5");
    let blocks = manual::EXAMPLE.split("\n\n").flat_map(|block| {
        let comment = block.lines().map(|line| match line.strip_prefix('#') {
            Some(text) if text.starts_with(' ') => text,
            _ => "\u{c}",
        });
        let comment = comment.collect::<Vec<_>>().join(" ");
        let comments: Vec<_> = comment.split('\u{c}').map(str::to_owned).collect();
        comments
    });
    let blocks: Vec<_> = blocks.map(|block| words(&block.replace('`', ""))).collect();
    assert!(blocks.iter().any(|block| block.contains("100ms to 1m.")));
    for block in blocks {
        assert!(page.contains(&block), "{block}");
    }
}

/// The package's own change log begins with the version of the program; its heading in CHANGELOG.md has a date, or no page could be made.
#[test]
fn the_change_logs_are_of_this_version() {
    let debian = include_str!("../../deploy/debian/changelog");
    let first = format!("capsd ({}-1) ", env!("CARGO_PKG_VERSION"));
    assert!(debian.starts_with(&first), "{debian}");
    let date = manual::date();
    assert!(date.len() == 10 && date.starts_with("20"), "{date}");
}

/// What the shell offers after these words, by the function that the script defines.
fn bash_offers(words: &[&str]) -> BTreeSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let script = &manual::completions()[0];
    assert_eq!(script.0, "capsd");
    let path = directory.path().join("capsd");
    fs::write(&path, &script.1).unwrap();
    let ask = format!(
        "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; _capsd capsd '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        path.display(),
        words.join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len().saturating_sub(2)],
    );
    let output = output("bash", &["-euc", &ask]);
    assert!(output.stderr.is_empty(), "{output:?}");
    let offers = String::from_utf8(output.stdout).unwrap();
    offers.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    let offered = bash_offers(&["capsd", "\"\""]);
    for command in commands() {
        assert!(offered.contains(&command), "{offered:?}");
        let mut known = bash_offers(&["capsd", &command, "--"]);
        known.remove("-h");
        assert_eq!(known, options(&command), "{command}");
    }
    assert_eq!(
        bash_offers(&["capsd", "ver"]),
        BTreeSet::from(["verify".to_owned()])
    );
}

/// zsh and fish are installed for the long run only.
#[test]
fn zsh_and_fish_can_read_their_completions() {
    if std::env::var_os("CAPSD_LONG").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (shell, (name, script)) in ["bash", "zsh", "fish"]
        .into_iter()
        .zip(manual::completions())
    {
        let path = directory.path().join(name);
        fs::write(&path, script).unwrap();
        let read = output(shell, &["-n", path.to_str().unwrap()]);
        assert!(
            read.status.success() && read.stderr.is_empty(),
            "{shell}: {read:?}"
        );
    }
}
