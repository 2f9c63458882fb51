//! Stores in private directories, contents by number, processes, and time.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use capsd::caps::{CapsKey, Policy, VerifiedInfo};
use capsd::metrics::Metrics;
use capsd::store::{
    Learned, Store, StoreRefusal, StoreSettings, StoreState, Stored, standard_keys,
};

use crate::{content, log};

/// A directory for one store, and how it is opened.
pub(crate) struct Setup {
    root: tempfile::TempDir,
    pub(crate) settings: StoreSettings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) start: Instant,
}

impl Setup {
    pub(crate) fn new() -> Setup {
        log::begin();
        let root = tempfile::tempdir().unwrap();
        Setup {
            settings: settings(&root.path().join("store")),
            metrics: Arc::new(Metrics::new().unwrap()),
            start: Instant::now(),
            root,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.settings.path
    }

    pub(crate) fn try_open(&self) -> Result<Store, StoreRefusal> {
        open(self.settings.clone(), &self.metrics, self.start)
    }

    pub(crate) fn open(&self) -> Store {
        self.try_open().unwrap()
    }

    /// A moment that many seconds after the start.
    pub(crate) fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    /// The names that begin like that in the store's directory, sorted.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(prefix))
            .collect();
        names.sort();
        names
    }
}

/// What the tests open stores with, unless they say otherwise.
pub(crate) fn settings(path: &Path) -> StoreSettings {
    StoreSettings {
        cache_bytes: 8 << 20,
        ..StoreSettings::new(path.to_owned())
    }
}

/// Opens a store while no process is being begun: see [`SPAWNING`].
pub(crate) fn open(
    settings: StoreSettings,
    metrics: &Arc<Metrics>,
    now: Instant,
) -> Result<Store, StoreRefusal> {
    let _spawning = spawning();
    log::begin();
    // 2021-03-04 05:06:07 UTC.
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_614_834_367);
    Store::open(settings, metrics.clone(), now, date)
}

/// Held while a process is begun, and while a store is opened.
///
/// Between fork and exec a child has a copy of every descriptor, locks of other tests' stores included: one that was just
/// closed would still be held, by this very process.
static SPAWNING: Mutex<()> = Mutex::new(());

pub(crate) fn spawning() -> MutexGuard<'static, ()> {
    // A test that fails to begin a process fails alone.
    SPAWNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins a process; every test does it by this.
pub(crate) fn spawn(command: &mut Command) -> Child {
    let _spawning = spawning();
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a process to its end; what it writes to its standard error is shown.
pub(crate) fn output(command: &mut Command) -> Output {
    let pipes = command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    spawn(pipes).wait_with_output().unwrap()
}

/// The features of content `number`; half of each cannot be packed.
fn features(number: u32) -> Vec<String> {
    (0..22)
        .map(|part| {
            let own = content::like_random(number, part, 40);
            format!("urn:capsd:test:{part:02}:{own}")
        })
        .collect()
}

/// Keys and contents, by number; they are made once, for the tests look at them very often.
static CONTENTS: LazyLock<Mutex<HashMap<u32, (CapsKey, VerifiedInfo)>>> =
    LazyLock::new(Mutex::default);

/// The 0115 sha-1 key of content `number`, from its verification string.
pub(crate) fn key(number: u32) -> CapsKey {
    content(number).0
}

/// Content `number`: about 1.3 kB.
pub(crate) fn info(number: u32) -> VerifiedInfo {
    content(number).1
}

fn content(number: u32) -> (CapsKey, VerifiedInfo) {
    let mut contents = CONTENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let content = contents
        .entry(number)
        .or_insert_with(|| content::client("test", features(number)));
    content.clone()
}

/// Content `number` under its sha-1 key alone.
pub(crate) fn learned(number: u32) -> Learned {
    Learned {
        info: info(number),
        keys: vec![key(number)],
        nodes: vec!["http://capsd.example".to_owned()],
    }
}

/// Content `number` under all its standard keys.
pub(crate) fn learned_fully(number: u32) -> Learned {
    let info = info(number);
    Learned {
        keys: standard_keys(&info, &Policy::default()),
        info,
        nodes: vec!["http://capsd.example".to_owned()],
    }
}

/// Whether content `number` is stored; what is stored must be it.
pub(crate) fn has(store: &mut Store, number: u32) -> bool {
    match store.get(&key(number)) {
        Some(Stored { info: found, .. }) => {
            assert_eq!(found, info(number));
            true
        }
        None => false,
    }
}

pub(crate) fn is_on_disk(store: &Store) -> bool {
    store.state() == StoreState::Disk
}

/// Runs this test program again, for one test, in a process of its own: `wrapper` and its arguments come first, `role` says
/// what the test is to do there, and `path` where.
pub(crate) fn run_again(wrapper: &[&str], test: &str, role: &str, path: &Path) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("CAPSD_TEST_ROLE", role)
        .env("CAPSD_TEST_STORE", path);
    command
}

/// The role that [`run_again`] gave to this process, if it did, and the path.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    let role = std::env::var("CAPSD_TEST_ROLE").ok()?;
    Some((role, std::env::var_os("CAPSD_TEST_STORE").unwrap().into()))
}

/// Says one line to the process that ran this one.
pub(crate) fn report(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "report: {line}").unwrap();
    out.flush().unwrap();
}

/// The text after `report: `, if the line is such a one; the test harness may have begun the line.
pub(crate) fn reported(line: &str) -> Option<&str> {
    line.split_once("report: ").map(|(_, text)| text)
}

/// Runs to the end and gives what was reported.
pub(crate) fn reports_of(command: &mut Command) -> Vec<String> {
    let output = output(command);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{:?}: {text}", output.status);
    text.lines()
        .filter_map(reported)
        .map(str::to_owned)
        .collect()
}

/// Kills a process with SIGKILL when it goes out of sight.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The store's time in a test: it passes as fast as the test likes, except while the store waits for the real disk.
pub(crate) struct Clock(pub(crate) Instant);

impl Clock {
    /// Lets the store do what is due, and time pass until it wants to be called again, but at most that long.
    pub(crate) fn step(&mut self, store: &mut Store, most: Duration) {
        let next = store.tick(self.0);
        if next < self.0 + Duration::from_millis(10) {
            std::thread::sleep(next - self.0);
        }
        self.0 = next.min(self.0 + most);
    }

    /// Lets time pass until the store is as it should be.
    pub(crate) fn run(&mut self, store: &mut Store, until: impl Fn(&Store) -> bool) {
        for _ in 0..100_000 {
            if until(store) {
                return;
            }
            self.step(store, Duration::from_secs(60));
        }
        panic!("it never gets there: {:?}", store.state());
    }

    /// Lets that much time pass.
    pub(crate) fn pass(&mut self, store: &mut Store, time: Duration) {
        let end = self.0 + time;
        while self.0 < end {
            self.step(store, Duration::from_secs(60));
        }
    }
}

/// How many rounds a test of many rounds has: a few by default, many where `CAPSD_LONG=1` is set.
pub(crate) fn rounds(few: u32, many: u32) -> u32 {
    match std::env::var("CAPSD_LONG").as_deref() {
        Ok("1") => many,
        _ => few,
    }
}

/// Copies a directory and all below it.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Under what the engine knows a key: family, algorithm, and 16 bytes of the digest.
pub(crate) fn key_row(number: u32) -> Vec<u8> {
    key(number).to_bytes()[..18].to_vec()
}

/// Opens the engine's files without capsd. It lets go of them a moment after a store was closed.
pub(crate) fn open_engine(setup: &Setup) -> sled::Db {
    for _ in 0..500 {
        match sled::open(setup.path().join("db")) {
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("the engine does not let go of its files");
}
