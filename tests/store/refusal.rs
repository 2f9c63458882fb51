//! What only an operator can change: said with its remedy, and nothing touched.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use capsd::metrics::Metrics;
use capsd::store::StoreRefusal;
use capsd::store::directory::FORMAT;

use crate::failing_disk::Means;
use crate::fixture::{
    Setup, has, learned, open, open_engine, output, report, reports_of, role, run_again, settings,
};
use crate::log;

/// Every file below a directory, with its length and content.
fn snapshot(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(snapshot(&path));
        } else {
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

fn store_with_one_entry() -> Setup {
    let setup = Setup::new();
    let mut store = setup.open();
    store.put(learned(1));
    store.close();
    setup
}

/// Opens the store in this process and reports how that ended.
fn open_and_report(path: &Path) {
    let metrics = Arc::new(Metrics::new().unwrap());
    match open(settings(path), &metrics, Instant::now()) {
        Ok(_) => report("opened"),
        Err(refusal) => report(&format!("exit {}: {refusal}", refusal.exit_code())),
    }
}

#[test]
fn in_use_by_another_process() {
    const TEST: &str = "refusal::in_use_by_another_process";
    if let Some((_, path)) = role() {
        return open_and_report(&path);
    }
    let setup = Setup::new();
    let mut store = setup.open();
    store.put(learned(1));
    store.flush();
    let before = snapshot(setup.path());
    let reports = reports_of(&mut run_again(&[], TEST, "open", setup.path()));
    let expected = format!(
        "exit 3: the store {} is in use by process {}: stop that one first, or give this one another store.path",
        setup.path().display(),
        std::process::id()
    );
    assert_eq!(reports, [expected]);
    assert_eq!(snapshot(setup.path()), before);
    assert!(has(&mut store, 1));
    drop(store);
    let reports = reports_of(&mut run_again(&[], TEST, "open", setup.path()));
    assert_eq!(reports, ["opened"]);
}

#[test]
fn written_by_a_newer_version() {
    let setup = store_with_one_entry();
    let format = setup.path().join("format");
    let text = fs::read_to_string(&format).unwrap();
    let ours = format!("\nformat {FORMAT}\n");
    let newer = format!("\nformat {}\n", FORMAT + 1);
    assert!(text.contains(&ours), "{text}");
    fs::write(&format, text.replace(&ours, &newer)).unwrap();
    let before = snapshot(setup.path());
    let refusal = setup.try_open().unwrap_err();
    assert!(matches!(refusal, StoreRefusal::Newer { found, .. } if found == FORMAT + 1));
    assert_eq!(refusal.exit_code(), 3);
    let text = refusal.to_string();
    assert!(
        text.contains(&setup.path().display().to_string())
            && text.contains(&format!("format {}", FORMAT + 1)),
        "{text}"
    );
    assert_eq!(snapshot(setup.path()), before);
    // With the old format back, all is there.
    let text = String::from_utf8(
        before
            .iter()
            .find(|(p, _)| p.ends_with("format"))
            .unwrap()
            .1
            .clone(),
    );
    fs::write(&format, text.unwrap().replace(&newer, &ours)).unwrap();
    assert!(has(&mut setup.open(), 1));
}

#[test]
fn without_its_format_file_the_database_says_its_format_itself() {
    let setup = store_with_one_entry();
    fs::remove_file(setup.path().join("format")).unwrap();
    let (found, log) = log::of(|| has(&mut setup.open(), 1));
    assert!(found);
    assert!(
        log.iter()
            .any(|line| line.contains("the format file of the store is lost")),
        "{log:?}"
    );
    assert!(setup.path().join("format").exists());

    let db = open_engine(&setup);
    let meta = db.open_tree("meta").unwrap();
    assert_eq!(
        meta.insert("format", &7u32.to_be_bytes()).unwrap().unwrap(),
        FORMAT.to_be_bytes()
    );
    db.flush().unwrap();
    drop((meta, db));
    for format_file in [true, false] {
        if !format_file {
            fs::remove_file(setup.path().join("format")).unwrap();
        }
        let refusal = setup.try_open().unwrap_err();
        assert!(
            matches!(refusal, StoreRefusal::Newer { found: 7, .. }),
            "{refusal}"
        );
        assert!(setup.names("damaged").is_empty());
    }
}

#[test]
fn the_parent_is_missing() {
    let mut setup = Setup::new();
    setup.settings.path = setup.root().join("not/there");
    let refusal = setup.try_open().unwrap_err();
    assert_eq!(refusal.exit_code(), 2);
    let text = refusal.to_string();
    let remedy = format!("mkdir -p {}", setup.root().join("not").display());
    assert!(text.contains(&remedy), "{text}");
    assert_eq!(fs::read_dir(setup.root()).unwrap().count(), 0);
}

#[test]
fn a_file_is_in_the_way() {
    let setup = Setup::new();
    fs::write(setup.path(), "a file").unwrap();
    let refusal = setup.try_open().unwrap_err();
    assert_eq!(refusal.exit_code(), 2);
    assert!(refusal.to_string().contains("not a directory"), "{refusal}");
    assert_eq!(fs::read_to_string(setup.path()).unwrap(), "a file");
}

/// Root passes every check of permissions, unless it gives up the capabilities that let it.
fn without_capabilities() -> &'static [&'static str] {
    let id = output(Command::new("id").arg("-u"));
    match id.stdout.as_slice() {
        b"0\n" => &["setpriv", "--inh-caps=-all", "--bounding-set=-all"],
        _ => &[],
    }
}

#[test]
fn no_permission() {
    const TEST: &str = "refusal::no_permission";
    if let Some((_, path)) = role() {
        return open_and_report(&path);
    }
    let setup = store_with_one_entry();
    let engine = setup.path().join("db");
    let data = engine.join("db");
    let above = setup.root().join("above");
    fs::create_dir(&above).unwrap();
    // The directory above a store that is to be made; the store; the engine's directory; its file.
    let cases = [
        (above.as_path(), 0o500, above.join("store")),
        (setup.path(), 0o000, setup.path().to_owned()),
        (engine.as_path(), 0o000, setup.path().to_owned()),
        (data.as_path(), 0o400, setup.path().to_owned()),
    ];
    for (denied, mode, store) in cases {
        let before = fs::metadata(denied).unwrap().permissions();
        fs::set_permissions(denied, fs::Permissions::from_mode(mode)).unwrap();
        let reports = reports_of(&mut run_again(without_capabilities(), TEST, "open", &store));
        fs::set_permissions(denied, before).unwrap();
        let expected = format!(
            "exit 2: the store {} cannot be used: Permission denied",
            store.display()
        );
        assert!(
            reports[0].starts_with(&expected),
            "{}: {reports:?}",
            denied.display()
        );
        assert!(reports[0].contains("chown"), "{reports:?}");
    }
    assert!(has(&mut setup.open(), 1));
    assert!(setup.names("damaged").is_empty());
}

#[test]
fn a_read_only_file_system() {
    const TEST: &str = "refusal::a_read_only_file_system";
    if let Some((_, path)) = role() {
        return open_and_report(&path);
    }
    for means in Means::all() {
        let setup = store_with_one_entry();
        let root = setup.root().display();
        fs::write(setup.root().join("read-only"), "").unwrap();
        let mount = format!("mount --bind {root} {root} && mount -o remount,ro,bind {root}");
        let before = snapshot(setup.path());
        for path in [setup.path().to_owned(), setup.root().join("new")] {
            let reports = reports_of(&mut means.run_again(&mount, TEST, &path, &setup));
            let expected = format!(
                "exit 2: the store {} is on a read-only file system: mount it writable",
                path.display()
            );
            assert!(reports[0].starts_with(&expected), "{means:?}: {reports:?}");
        }
        assert_eq!(snapshot(setup.path()), before);
        assert!(has(&mut setup.open(), 1));
    }
}

/// Only an engine that is used without capsd holds the engine's lock without that of the directory.
#[test]
fn the_engine_is_in_use_by_something_else() {
    let setup = store_with_one_entry();
    let db = open_engine(&setup);
    let refusal = setup.try_open().unwrap_err();
    assert!(
        matches!(refusal, StoreRefusal::InUse { holder: None, .. }),
        "{refusal}"
    );
    assert_eq!(refusal.exit_code(), 3);
    drop(db);
    assert!(has(&mut setup.open(), 1));
}
