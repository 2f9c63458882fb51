//! Imports and exports that are stopped, or killed, at any moment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::contents::{directory, name, path_0390, query, ver};
use crate::export::unfinished;
use crate::machine::{Machine, signal, tree};

/// How many contents are imported: enough to take a while.
const MANY: u32 = 200;

/// How many rounds of killing there are.
fn rounds() -> u32 {
    match std::env::var("CAPSD_LONG").as_deref() {
        Ok("1") => 60,
        _ => 3,
    }
}

/// A moment in something that takes that long, another one in each round.
fn moment(whole: Duration, round: u32) -> Duration {
    whole.mul_f64(f64::from(round * 7919 % 1000) / 1000.0)
}

fn start(machine: &Machine, command: &str, arguments: &[&Path]) -> Child {
    let mut program = machine.command(command, arguments);
    program
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    program.spawn().unwrap()
}

/// Looks at all that is stored: every content that is there is whole, under all its keys, and is what its keys say.
fn whole_entries(machine: &Machine) -> u32 {
    let target = machine.path("looked-at");
    let report = machine.json("export", &[&target], 0);
    assert_eq!(report["left-out"]["unproven"], 0);
    let files = tree(&target);
    let document = |number| {
        format!(
            "<?xml version='1.0' encoding='utf-8'?>\n{}\n",
            query(number)
        )
    };
    let mut whole = 0;
    for number in 0..MANY {
        let of_0115 = files.get(&Path::new("hashes").join(name(number)));
        let of_0390 = files.get(&path_0390(number));
        assert_eq!(of_0115, of_0390, "content {number} is half there");
        if let Some(text) = of_0115 {
            assert_eq!(*text, document(number).into_bytes());
            whole += 1;
        }
    }
    assert_eq!(report["contents"], whole);
    whole
}

/// How long an import of all takes.
fn import_time(files: &Path, running: bool) -> Duration {
    let machine = Machine::new();
    let _daemon = running.then(|| machine.daemon());
    let begun = Instant::now();
    machine.run("import", &[files]).expect(0);
    begun.elapsed()
}

#[test]
fn a_killed_import_leaves_whole_entries_and_the_next_one_completes_it() {
    let files = tempfile::tempdir().unwrap();
    directory(files.path(), 0..MANY);
    for running in [false, true] {
        let whole_time = import_time(files.path(), running);
        let mut found = Vec::new();
        for round in 0..rounds() {
            let machine = Machine::new();
            let daemon = running.then(|| machine.daemon());
            let mut child = start(&machine, "import", &[files.path()]);
            std::thread::sleep(moment(whole_time, round));
            child.kill().unwrap();
            child.wait().unwrap();
            // With the daemon it is killed, too, without a chance to flush.
            drop(daemon);
            let daemon = running.then(|| machine.daemon());
            if machine.path("store").exists() {
                found.push(whole_entries(&machine));
            }
            let report = machine.json("import", &[files.path()], 0);
            assert_eq!(report["verified"], MANY);
            assert_eq!(whole_entries(&machine), MANY);
            drop(daemon);
        }
        println!("running: {running}; whole entries found after kills: {found:?} of {MANY}");
    }
}

/// A first SIGINT is heard: what was done is reported, and is on disk.
#[test]
fn a_stopped_import_says_how_far_it_came() {
    let files = tempfile::tempdir().unwrap();
    directory(files.path(), 0..MANY);
    let whole_time = import_time(files.path(), false);
    let mut stopped = 0;
    for round in 0..100 {
        let machine = Machine::new();
        let child = start(&machine, "import", &[files.path()]);
        // Not before it listens for signals, which is when it has opened the store.
        while !machine.path("store").exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(moment(whole_time, round) / 2);
        signal_if_alive(&child, "INT");
        let output = child.wait_with_output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let left = report["left"].as_u64().unwrap();
        assert_eq!(report["complete"], left == 0);
        assert_eq!(report["verified"].as_u64().unwrap() + left, u64::from(MANY));
        assert_eq!(output.status.code(), Some(i32::from(left > 0)));
        assert_eq!(u64::from(whole_entries(&machine)) + left, u64::from(MANY));
        if left > 0 {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                said.contains("interrupted: what is verified so far is stored"),
                "{said}"
            );
            machine.run("import", &[files.path()]).expect(0);
            assert_eq!(whole_entries(&machine), MANY);
            stopped += 1;
        }
        if stopped == 2 {
            return;
        }
    }
    panic!("never stopped in the middle");
}

fn signal_if_alive(child: &Child, name: &str) {
    // Until it was waited for, its id belongs to nobody else.
    signal(child, name);
}

/// What was exported before, or all of the new one: never a part, and nothing is left beside it in the end.
#[test]
fn a_killed_or_stopped_export_leaves_what_was_there() {
    let files = tempfile::tempdir().unwrap();
    directory(files.path(), 0..MANY);
    let machine = Machine::new();
    machine
        .run("import", &[&directory(&machine.path("few"), 0..5)])
        .expect(0);
    let target = machine.path("target");
    machine.run("export", &[&target]).expect(0);
    let old = tree(&target);
    machine.run("import", &[files.path()]).expect(0);
    let other = machine.path("other");
    let begun = Instant::now();
    machine.run("export", &[&other]).expect(0);
    let whole_time = begun.elapsed();
    let new = tree(&other);
    assert_eq!((old.len(), new.len()), (1 + 5 * 4, 1 + MANY as usize * 4));

    // Another process of that name still writes, as far as anybody can tell.
    let alive = machine.path(&format!(".target.{}.unfinished", std::process::id()));
    fs::create_dir(&alive).unwrap();
    let (mut kept, mut replaced, mut left) = (0, 0, 0);
    for round in 0..rounds() {
        let before = state(&target, &old, &new);
        let mut child = start(&machine, "export", &[&target]);
        std::thread::sleep(moment(whole_time, round));
        match round % 3 {
            2 => signal_if_alive(&child, "INT"),
            _ => child.kill().unwrap(),
        }
        let code = child.wait().unwrap().code();
        let after = state(&target, &old, &new);
        match code {
            Some(0) => assert_eq!(after, "new"),
            Some(1) => assert_eq!(before, after),
            _ => {}
        }
        left += others(&machine, &alive).len();
        match after {
            "old" => kept += 1,
            _ => replaced += 1,
        }
        if after == "new" {
            // To begin with the old one again.
            fs::remove_dir_all(&target).unwrap();
            copy(&old, &target);
        }
    }
    println!(
        "killed or stopped: {kept} kept what was there, {replaced} had it replaced; {left} left something beside it"
    );
    machine.run("export", &[&target]).expect(0);
    assert_eq!(tree(&target), new);
    assert_eq!(others(&machine, &alive), [] as [PathBuf; 0]);
    assert!(alive.exists());
}

fn others(machine: &Machine, alive: &Path) -> Vec<PathBuf> {
    let mut left = unfinished(&machine.path(""));
    left.retain(|path| path != alive);
    left
}

fn state(
    target: &Path,
    old: &BTreeMap<PathBuf, Vec<u8>>,
    new: &BTreeMap<PathBuf, Vec<u8>>,
) -> &'static str {
    match tree(target) {
        found if found == *old => "old",
        found if found == *new => "new",
        found => panic!("{} files, neither the old nor the new export", found.len()),
    }
}

fn copy(files: &BTreeMap<PathBuf, Vec<u8>>, target: &Path) {
    for (path, text) in files {
        let path = target.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Whoever imports through the daemon and goes away in the middle of a request leaves it as it was.
#[test]
fn half_a_request_has_no_effect() {
    let machine = Machine::new();
    let _daemon = machine.daemon();
    let item =
        serde_json::json!({ "keys": [format!("#{}", ver(1))], "nodes": [], "query": query(1) });
    let line = serde_json::json!({ "do": "import", "items": [item] }).to_string();
    let mut talk = machine.talk();
    std::io::Write::write_all(talk.0.get_mut(), &line.as_bytes()[..line.len() - 1]).unwrap();
    drop(talk);
    assert_eq!(machine.json("status", &[], 0)["entries"], 0);
    let answer = machine.talk().say(format!("{line}\n").as_bytes());
    assert_eq!(
        answer,
        "{\"is\":\"judged\",\"judged\":[{\"verdict\":\"verified\",\"new\":true}]}\n"
    );
}
