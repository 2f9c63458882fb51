//! Commands by users other than root, as the package leaves things: the secret is root's, the store is the daemon's user's, and the socket is
//! for a group.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::contents::{directory, ver};
use crate::machine::{Daemon, Ended, Machine};

/// The user that plays capsd's, with its group, and a member of the group. Nobody else here has these numbers.
const CAPSD: u32 = 54_321;
const MEMBER: u32 = 54_322;

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
