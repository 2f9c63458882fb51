//! Disks that are full or read-only: mounted where that is allowed, and made to fail by a library where it is not (in a
//! container, or below chroot).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixture::{Setup, output, run_again};

/// How a disk is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// A file system of its own.
    Mounted,
    /// `failing_disk.c`, told by files beside the store.
    Library,
}

impl Means {
    /// All that work on this machine: the library always does.
    pub(crate) fn all() -> Vec<Means> {
        let directory = tempfile::tempdir().unwrap();
        let mount = format!("mount -t tmpfs none {}", directory.path().display());
        let mounted = output(Command::new("unshare").args(["-rm", "sh", "-c", &mount]));
        if mounted.status.success() {
            vec![Means::Library, Means::Mounted]
        } else {
            println!("nothing can be mounted here: the library alone makes the disk fail");
            vec![Means::Library]
        }
    }

    /// Runs a test again, in a process whose disk fails; `mount` is the shell command that mounts it.
    pub(crate) fn run_again(self, mount: &str, test: &str, path: &Path, setup: &Setup) -> Command {
        match self {
            Means::Mounted => {
                let mount = format!("{mount} && exec \"$@\"");
                run_again(
                    &["unshare", "-rm", "sh", "-c", &mount, "sh"],
                    test,
                    "mounted",
                    path,
                )
            }
            Means::Library => {
                let mut command = run_again(&[], test, "library", path);
                command
                    .env("LD_PRELOAD", library(setup.root()))
                    .env("CAPSD_TEST_DISK", setup.root());
                command
            }
        }
    }
}

/// The library, compiled by what links Rust programs as well.
pub(crate) fn library(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/failing_disk.c");
    let library = directory.join("failing_disk.so");
    let mut compile = Command::new("cc");
    compile
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library);
    let compiled = output(compile.arg(source).arg("-ldl"));
    assert!(compiled.status.success(), "{compile:?}");
    library
}
