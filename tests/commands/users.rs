//! Commands by users other than root, as the package leaves things: the secret is root's, the store is the daemon's user's, and the socket is
//! for a group.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::contents::{directory, ver};
use crate::doctor::Diagnosis;
use crate::machine::{Daemon, Ended, Machine};

/// The user that plays capsd's, with its group, and a member of the group. Nobody else here has these numbers.
const CAPSD: u32 = 54_321;
const MEMBER: u32 = 54_322;

/// Somebody else.
const STRANGER: u32 = 54_323;

/// A machine as the package leaves it, with 20 contents in files; none where the tests are not run by root, who alone can be other users.
fn packaged() -> Option<Machine> {
    if !rustix::process::geteuid().is_root() {
        println!("not tried: only root can run commands as other users");
        return None;
    }
    let machine = Machine::new();
    let root = machine.path("");
    fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&machine.config, Permissions::from_mode(0o644)).unwrap();
    directory(&machine.path("files"), 0..20);
    // The directory of the build may be closed to others.
    fs::copy(env!("CARGO_BIN_EXE_capsd"), machine.path("capsd")).unwrap();
    for (name, mode) in [("store", 0o700), ("run", 0o750), ("out", 0o777)] {
        fs::create_dir(machine.path(name)).unwrap();
        fs::set_permissions(machine.path(name), Permissions::from_mode(mode)).unwrap();
        chown(machine.path(name), Some(CAPSD), Some(CAPSD)).unwrap();
    }
    let text = fs::read_to_string(&machine.config).unwrap();
    let socket = machine.path("socket").display().to_string();
    let text = text.replace(&socket, &machine.path("run/socket").display().to_string());
    fs::write(&machine.config, text).unwrap();
    Some(machine)
}

impl Machine {
    /// A command of that user, of the group `capsd` and no other.
    fn command_as(&self, user: u32, command: &str, config: &Path, arguments: &[&Path]) -> Command {
        let mut program = Command::new(self.path("capsd"));
        program.arg(command).arg("--config").arg(config);
        program.args(arguments).env_remove("CAPSD_LOG");
        program.uid(user).gid(CAPSD).current_dir("/");
        program
    }

    /// Runs it to its end.
    fn run_as(&self, user: u32, command: &str, arguments: &[&Path]) -> Ended {
        let mut program = self.command_as(user, command, &self.config, arguments);
        Ended::of(program.output().unwrap())
    }

    fn diagnosed_by(&self, user: u32, code: i32) -> Diagnosis {
        let mut program = self.command_as(user, "doctor", &self.config, &[Path::new("--json")]);
        if user == STRANGER {
            program.gid(STRANGER);
        }
        Diagnosis::of(Ended::of(program.output().unwrap()).expect(code))
    }

    /// Starts the daemon as its user, as systemd does, which reads the secret as root and hands it over.
    fn packaged_daemon(&self) -> Daemon {
        let text = fs::read_to_string(&self.config).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("secret-file"));
        let config = self.path("of-the-daemon.toml");
        fs::write(&config, lines.collect::<Vec<_>>().join("\n")).unwrap();
        fs::create_dir(self.path("credentials")).unwrap();
        let credential = self.path("credentials/secret");
        fs::copy(self.path("secret"), &credential).unwrap();
        chown(&credential, Some(CAPSD), None).unwrap();
        let mut program = self.command_as(CAPSD, "run", &config, &[]);
        program.env("CREDENTIALS_DIRECTORY", self.path("credentials"));
        let daemon = Daemon::start(&mut program);
        self.wait_until_it_answers();
        daemon
    }
}

#[test]
fn contents_are_taken_in_and_out_without_a_daemon_by_the_user_of_the_store() {
    let Some(machine) = packaged() else { return };
    let (files, out) = (machine.path("files"), machine.path("out/database"));
    let ended = machine.run_as(CAPSD, "import", &[&files]).expect(0);
    assert!(ended.out.contains("20 verified (20 new"), "{}", ended.out);
    let ended = machine.run_as(CAPSD, "export", &[&out]).expect(0);
    assert!(ended.out.contains("20 contents"), "{}", ended.out);

    // Others are told which user that is, and nothing is written that the daemon could not read.
    for (user, command) in [(0, "import"), (0, "export"), (MEMBER, "export")] {
        let ended = machine.run_as(user, command, &[&files]).expect(2);
        let words = format!("belongs to user {CAPSD}");
        assert!(
            ended.err.contains(&words) && ended.err.contains("runuser -u"),
            "{}",
            ended.err
        );
    }
}

#[test]
fn a_member_of_the_group_uses_every_command_on_a_daemon_that_runs() {
    let Some(machine) = packaged() else { return };
    let daemon = machine.packaged_daemon();
    let (files, out) = (machine.path("files"), machine.path("out/database"));
    let node = format!("#{}", ver(1));
    for (command, arguments) in [
        ("import", vec![files.as_path()]),
        ("export", vec![out.as_path()]),
        ("lookup", vec![Path::new(&node)]),
        ("status", vec![]),
        ("flights", vec![]),
        ("sync", vec![]),
        ("flush", vec![Path::new(&node)]),
    ] {
        let ended = machine.run_as(MEMBER, command, &arguments);
        assert_eq!(ended.code, 0, "{command}: {}{}", ended.out, ended.err);
    }
    assert_eq!(daemon.stop().1, 0);
}

#[test]
fn a_secret_that_the_daemon_has_and_the_group_has_not_is_no_fault() {
    let Some(machine) = packaged() else { return };
    // Nobody can say whether it is usable where no daemon has it.
    let ended = machine.run_as(MEMBER, "check", &[]).expect(2);
    assert!(ended.err.contains("which may not be read"), "{}", ended.err);
    let diagnosis = machine.diagnosed_by(MEMBER, 2);
    assert_eq!(diagnosis.state("configuration"), "problem");

    let daemon = machine.packaged_daemon();
    let ended = machine.run_as(MEMBER, "check", &[]).expect(0);
    let words = "(not readable by you; the daemon that runs has it)";
    assert!(ended.out.contains(words), "{}", ended.out);
    // Its server is not there; that alone is wrong.
    let diagnosis = machine.diagnosed_by(MEMBER, 1);
    assert_eq!(diagnosis.problems(), ["server"]);
    let said = diagnosis.finding("configuration")["symptom"].to_string();
    assert!(
        said.contains("not readable by you, and the daemon has it"),
        "{said}"
    );

    // Whatever else is wrong is said with it.
    let text = fs::read_to_string(&machine.config).unwrap();
    fs::write(&machine.config, text + "[limits]\nflights = 0\n").unwrap();
    let ended = machine.run_as(MEMBER, "check", &[]).expect(2);
    assert_eq!(ended.err.matches("error: ").count(), 2, "{}", ended.err);
    assert_eq!(
        machine.diagnosed_by(MEMBER, 2).state("configuration"),
        "problem"
    );
    assert_eq!(daemon.stop().1, 0);
}

#[test]
fn whoever_may_not_ask_the_daemon_leaves_its_links_alone() {
    let Some(machine) = packaged() else { return };
    let server = crate::doctor::Server::listen(&machine);
    // He may read the secret, and not the socket.
    chown(machine.path("secret"), Some(STRANGER), None).unwrap();
    let diagnosis = machine.diagnosed_by(STRANGER, 1);
    assert_eq!(diagnosis.problems(), ["daemon"]);
    let found = diagnosis.finding("daemon");
    let said = found["symptom"].as_str().unwrap();
    assert!(
        said.contains("may not be used by this user") && said.contains("were not looked at"),
        "{said}"
    );
    assert_eq!(server.connections(), 0);
    // Its user may: nobody listens there.
    chown(machine.path("secret"), Some(CAPSD), None).unwrap();
    machine.diagnosed_by(CAPSD, 1);
    assert_eq!(server.connections(), 1);
}

#[test]
fn root_sees_whether_the_user_of_the_store_could_write_to_it() {
    let Some(machine) = packaged() else { return };
    if fs::read_to_string("/etc/passwd")
        .unwrap()
        .contains("\ncapsd:")
    {
        println!("not tried: capsd is installed here, and its user is the one that counts");
        return;
    }
    let (files, store) = (machine.path("files"), machine.path("store"));
    machine.run_as(CAPSD, "import", &[&files]).expect(0);
    let diagnosis = machine.diagnosed_by(0, 1);
    assert_eq!(diagnosis.state("store"), "fine");
    // As a command that root ran there would have left it.
    fs::create_dir(store.join("inner")).unwrap();
    chown(store.join("inner"), Some(CAPSD), None).unwrap();
    fs::write(store.join("inner/of-root"), "").unwrap();
    let diagnosis = machine.diagnosed_by(0, 1);
    let found: &Value = diagnosis.finding("store");
    assert_eq!(found["state"], "problem");
    let remedy = format!("`chown -R {CAPSD}: {}`", store.display());
    assert!(
        found["remedy"].as_str().unwrap().contains(&remedy),
        "{found}"
    );
}
