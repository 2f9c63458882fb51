//! The real daemon in a process of its own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Limits that no benchmark reaches.
pub(crate) const NO_LIMITS: &str =
    "queries-per-asker = '1000000/s'\nnew-keys-per-domain = '1000000/s'";

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    http: String,
    _directory: tempfile::TempDir,
}

impl Daemon {
    /// Starts the daemon over a store, as a component of the server at that address, with other limits than the defaults.
    pub(crate) fn start(store: &Path, server: &str, cache: &str, limits: &str) -> Daemon {
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
             [store]\npath = '{}'\ncache = '{cache}'\n[hot]\nmax-bytes = '32MiB'\n\
             [http]\nlisten = '{http}'\n[trusted]\ndirectories = []\n{}\
             [limits]\n{limits}\n[log]\nlevel = 'warn'\n",
            secret.display(),
            store.display(),
            std::env::var("BENCH_EXTRA").unwrap_or_default()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_capsd"))
            .args(["run", "--config"])
            .arg(&config)
            .spawn()
            .unwrap();
        Daemon {
            child,
            http,
            _directory: directory,
        }
    }

    fn get(&self, path: &str) -> Option<String> {
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
        cpu_time(self.child.id())
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

/// The processor time of a process, of all its threads; `/proc` counts in hundredths of a second.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = text.rsplit_once(") ").unwrap().1;
    let ticks: u64 = after_name
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}
