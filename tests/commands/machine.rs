//! A directory with a configuration and a store, and capsd run in it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use capsd::metrics::Metrics;
use capsd::store::{Store, StoreSettings};
use serde_json::Value;

/// How long anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Ended {
        Ended {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The JSON on its standard output.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}{}", self.out, self.err))
    }

    /// The same, if it ended with that exit code and had nothing to explain.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self
    }
}

/// The directory.
pub(crate) struct Machine {
    root: tempfile::TempDir,
    pub(crate) config: PathBuf,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        Machine::with("")
    }

    /// With more in the configuration.
    pub(crate) fn with(more: &str) -> Machine {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name).display().to_string();
        fs::write(at("secret"), "secret\n").unwrap();
        fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        // Nobody listens on that port; the daemon goes on without its link.
        let text = format!(
            "[[component]]\njid = 'caps.example.org'\nserver = '127.0.0.1:1'\nsecret-file = '{}'\n\
             [store]\npath = '{}'\n[http]\nlisten = '127.0.0.1:0'\n[trusted]\ndirectories = []\n[control]\nsocket = '{}'\n{more}",
            at("secret"),
            at("store"),
            at("socket"),
        );
        let config = root.path().join("capsd.toml");
        fs::write(&config, text).unwrap();
        Machine { root, config }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// `capsd COMMAND --config … ARGUMENTS…`, not started yet.
    pub(crate) fn command(&self, command: &str, arguments: &[&Path]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_capsd"));
        program.arg(command).arg("--config").arg(&self.config);
        program.args(arguments).env_remove("CAPSD_LOG");
        program
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, command: &str, arguments: &[&Path]) -> Ended {
        Ended::of(self.command(command, arguments).output().unwrap())
    }

    /// Runs it with `--json`.
    pub(crate) fn json(&self, command: &str, arguments: &[&Path], code: i32) -> Value {
        let mut program = self.command(command, arguments);
        Ended::of(program.arg("--json").output().unwrap())
            .expect(code)
            .json()
    }

    /// Starts the daemon; it answers when this returns.
    pub(crate) fn daemon(&self) -> Daemon {
        let daemon = self.start_daemon();
        self.wait_until_it_answers();
        daemon
    }

    /// Starts the daemon with its log in a file.
    pub(crate) fn start_daemon_that_logs(&self, program: &mut Command) -> Daemon {
        let log = fs::File::create(self.path("log")).unwrap();
        Daemon(program.stderr(Stdio::from(log)).spawn().unwrap())
    }

    /// What that has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// The same when it answers, with where its HTTP listens, which it chooses itself: a port that was free a moment ago may be anybody's.
    pub(crate) fn daemon_that_logs(&self, program: &mut Command) -> (Daemon, String) {
        let daemon = self.start_daemon_that_logs(program);
        self.wait_until_it_answers();
        let said = self.log();
        let (_, address) = said.split_once("/readyz address=").expect("where it is");
        let address = address.split_whitespace().next().unwrap().to_owned();
        (daemon, address)
    }

    /// Waits for a daemon that was started.
    pub(crate) fn wait_until_it_answers(&self) {
        let begun = Instant::now();
        while self.run("status", &[]).code != 0 {
            assert!(begun.elapsed() < PATIENCE, "the daemon does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the daemon.
    pub(crate) fn start_daemon(&self) -> Daemon {
        Daemon::start(&mut self.command("run", &[]))
    }

    /// The store, opened by the test itself.
    pub(crate) fn store(&self) -> Store {
        let settings = StoreSettings::new(self.path("store"));
        let metrics = Arc::new(Metrics::new().unwrap());
        Store::open(settings, metrics, Instant::now(), SystemTime::now()).unwrap()
    }

    /// A conversation with the daemon, line by line.
    pub(crate) fn talk(&self) -> Talk {
        let stream = UnixStream::connect(self.path("socket")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Talk(BufReader::new(stream))
    }
}

/// A connection to the control socket.
pub(crate) struct Talk(pub(crate) BufReader<UnixStream>);

impl Talk {
    /// Sends bytes and gives the line that comes back; empty if the daemon has closed the connection.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> String {
        // The daemon may have gone away before it took all of it.
        let _ = self.0.get_mut().write_all(bytes);
        let mut line = String::new();
        let _ = self.0.read_line(&mut line);
        line
    }
}

/// A daemon that runs; killed when it goes out of sight.
pub(crate) struct Daemon(pub(crate) Child);

impl Daemon {
    pub(crate) fn start(program: &mut Command) -> Daemon {
        Daemon(program.stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Ends it in good order, and gives what it said and its exit code.
    pub(crate) fn stop(mut self) -> (String, i32) {
        signal(&self.0, "TERM");
        self.ended()
    }

    /// Waits for its end; one that goes on is killed by the failure of the test.
    pub(crate) fn ended(&mut self) -> (String, i32) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "the daemon goes on");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut said = String::new();
        let stderr = self.0.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut BufReader::new(stderr), &mut said).unwrap();
        (said, status.code().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to a child.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Every file below a directory, by its path in it, with what is in it.
pub(crate) fn tree(root: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}
