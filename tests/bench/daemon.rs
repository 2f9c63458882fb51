//! The real daemon in a process of its own.

#[path = "processor.rs"]
pub(crate) mod processor;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Limits that no benchmark reaches.
const NO_LIMITS: &str = "queries-per-asker = '1000000/s'\nnew-keys-per-domain = '1000000/s'";

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    http: String,
    _directory: tempfile::TempDir,
}

/// A daemon that is not started yet.
pub(crate) struct Prepared {
    /// What starts it.
    pub(crate) command: Command,
    http: String,
    directory: tempfile::TempDir,
}

impl Prepared {
    /// Starts it.
    pub(crate) fn start(mut self) -> Daemon {
        Daemon {
            child: self.command.spawn().unwrap(),
            http: self.http,
            _directory: self.directory,
        }
    }
}

impl Daemon {
    /// Starts the daemon over a store, as a component of the server at that address.
    pub(crate) fn start(store: &Path, server: &str, cache: &str) -> Daemon {
        Daemon::start_with(store, server, &format!("cache = '{cache}'"))
    }

    /// Starts it with these lines of `[limits]`, and sections after it, instead of limits that no benchmark reaches.
    pub(crate) fn start_limited(store: &Path, server: &str, limits: &str) -> Daemon {
        Daemon::prepare_limited(store, server, "", limits).start()
    }

    /// Starts the daemon over a store that has these further settings.
    pub(crate) fn start_with(store: &Path, server: &str, settings: &str) -> Daemon {
        Daemon::prepare(store, server, settings).start()
    }

    /// Writes the configuration of a daemon that is to be started.
    pub(crate) fn prepare(store: &Path, server: &str, settings: &str) -> Prepared {
        Daemon::prepare_limited(store, server, settings, NO_LIMITS)
    }

    fn prepare_limited(store: &Path, server: &str, settings: &str, limits: &str) -> Prepared {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&secret, permissions).unwrap();
        let http = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let config = directory.path().join("capsd.toml");
        let text = format!(
            "[[component]]\njid = 'caps.example.org'\nserver = '{server}'\nsecret-file = '{}'\n\
             [store]\npath = '{}'\n{settings}\n[hot]\nmax-bytes = '32MiB'\n\
             [http]\nlisten = '{http}'\n[trusted]\ndirectories = []\n\
             [limits]\n{limits}\n[log]\nlevel = 'warn'\n",
            secret.display(),
            store.display(),
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_capsd"));
        // As deploy/systemd/capsd.service has it.
        command.env("MALLOC_TRIM_THRESHOLD_", "131072");
        command.args(["run", "--config"]).arg(&config);
        Prepared {
            command,
            http,
            directory,
        }
    }

    /// Asks over HTTP; the whole answer.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.http).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Waits until `/readyz` says so.
    pub(crate) fn wait_until_ready(&self) {
        let began = Instant::now();
        while !self
            .get("/readyz")
            .is_some_and(|text| text.starts_with("HTTP/1.1 200"))
        {
            assert!(began.elapsed() < Duration::from_secs(30), "not ready");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").expect("metrics");
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|l| l.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("no metric {name}"));
        line[name.len()..].trim().parse::<f64>().unwrap() as u64
    }

    /// Waits until a metric has that value.
    pub(crate) fn wait_for(&self, name: &str, value: u64) {
        let began = Instant::now();
        while self.metric(name) != value {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{name} is not {value}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The processor time that it took so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        processor::time(self.child.id())
    }

    /// The bytes that are resident now.
    pub(crate) fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most bytes that were ever resident.
    pub(crate) fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// The id of its process.
    #[allow(dead_code, reason = "the tests of the store want it")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
