//! Whatever the program, the alerts and README tell an operator to open is where the package puts it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");

/// Every file below a directory of the sources.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(below(&path)),
            false => files.push(path),
        }
    }
    files
}

/// The files and directories that the package installs, as `package.metadata.deb` says.
fn installed() -> BTreeSet<String> {
    let manifest = fs::read_to_string(Path::new(SOURCES).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array();
    let mut found = BTreeSet::new();
    for asset in assets.unwrap() {
        let (from, to) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
        let fixed = from.split('*').next().unwrap();
        let (directory, beginning) = fixed.rsplit_once('/').unwrap_or((".", fixed));
        let directory = Path::new(SOURCES).join(directory);
        if !directory.is_dir() || from.starts_with("target/") {
            found.insert(format!("/{to}"));
            continue;
        }
        for file in below(&directory) {
            let name = file.strip_prefix(&directory).unwrap().to_str().unwrap();
            let ending = from.rsplit('*').next().unwrap();
            if name.starts_with(beginning) && (from == fixed || name.ends_with(ending)) {
                found.insert(format!("/{to}{name}"));
            }
        }
    }
    let directories = found.clone();
    for path in directories.iter().map(Path::new) {
        let above = path.ancestors().skip(1);
        found.extend(above.map(|path| path.to_str().unwrap().to_owned()));
    }
    found
}

/// The text that an operator reads, each with where it stands: messages of the program without the comments of its code, the alerts, README.
fn told() -> Vec<(PathBuf, String)> {
    let mut told = Vec::new();
    for path in below(&Path::new(SOURCES).join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(str::trim_start);
        let code = lines.filter(|line| !line.starts_with("//"));
        // A message may go on in the next line.
        told.push((path, code.collect::<Vec<_>>().join(" ").replace("\\ ", "")));
    }
    for name in ["dashboards/alerts.yml", "README.md"] {
        let path = Path::new(SOURCES).join(name);
        let text = fs::read_to_string(&path).unwrap();
        told.push((path, text.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    told
}

/// The paths in a text that begin so.
fn named<'t>(text: &'t str, beginning: &'t str) -> impl Iterator<Item = (&'t str, &'t str)> {
    text.match_indices(beginning).map(move |(at, _)| {
        let of_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let path = text[at..].split(|c| !of_path(c)).next().unwrap();
        (&text[..at], path.trim_end_matches(['.', '/']))
    })
}

#[test]
fn what_the_operator_is_sent_to_is_in_the_package() {
    let installed = installed();
    assert!(installed.contains("/usr/share/capsd/ejabberd/mod_capsd/src/mod_capsd.erl"));
    let mut count = 0;
    for (place, text) in told() {
        // `capsd export` and others may be told of any directory; these two are ours.
        for beginning in ["/usr/share/capsd/", "/usr/share/doc/capsd/"] {
            for (before, path) in named(&text, beginning) {
                let end = before.len() + path.len();
                let is_there = match text[end..].starts_with('*') {
                    true => installed.iter().any(|known| known.starts_with(path)),
                    false => installed.contains(path),
                };
                assert!(is_there, "{}: {path}", place.display());
                count += 1;
            }
        }
        // A machine with the package has no sources.
        if place.starts_with(Path::new(SOURCES).join("src")) || place.ends_with("alerts.yml") {
            for beginning in ["deploy/", "config/"] {
                for (before, path) in named(&text, beginning) {
                    let rest = &text[before.len() + path.len()..];
                    let is_said =
                        before.ends_with("in the sources ") || rest.starts_with("/ of the sources");
                    let is_taken_in = before.ends_with("../") || before.ends_with('/');
                    assert!(is_said || is_taken_in, "{}: {path}", place.display());
                }
            }
        }
    }
    assert!(count > 10, "{count}");
}
