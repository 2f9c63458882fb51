//! The control socket: whose it is, and those who misuse it.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Instant;

use crate::contents::{query, ver};
use crate::linked::wait;
use crate::machine::{Machine, PATIENCE, Talk, signal};

#[test]
fn it_is_for_the_user_and_the_group_and_goes_with_its_daemon() {
    let machine = Machine::new();
    let socket = machine.path("socket");
    let daemon = machine.daemon();
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let (_, code) = daemon.stop();
    assert_eq!(code, 0);
    assert!(!socket.exists());
}

#[test]
fn that_of_a_dead_daemon_is_taken_over_and_that_of_a_living_one_is_not() {
    let machine = Machine::new();
    let socket = machine.path("socket");
    let daemon = machine.daemon();
    drop(daemon);
    assert!(socket.exists(), "a killed daemon cannot remove it");
    machine.run("status", &[]).expect(4);
    let daemon = machine.daemon();
    let pid = daemon.0.id();

    // Another daemon with a store of its own, at the same socket.
    let other = Machine::new();
    let text = fs::read_to_string(&other.config).unwrap();
    let text = text.replace(
        other.path("socket").to_str().unwrap(),
        socket.to_str().unwrap(),
    );
    fs::write(&other.config, text).unwrap();
    let (said, code) = other.start_daemon().ended();
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains(&format!("is that of another capsd, process {pid}")),
        "{said}"
    );
    // And a command that would have spoken to the wrong one.
    let ended = other.run("import", &[Path::new("/dev/null")]).expect(2);
    assert!(ended.err.contains("keeps its store in"), "{}", ended.err);
    machine.run("status", &[]).expect(0);
    assert_eq!(daemon.stop().1, 0);
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let machine = Machine::new();
    fs::write(machine.path("socket"), "dear").unwrap();
    let (said, code) = machine.start_daemon().ended();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("is there and is no socket"), "{said}");
    assert_eq!(fs::read(machine.path("socket")).unwrap(), b"dear");
}

#[test]
fn a_place_that_cannot_be_had_is_said_with_the_remedy() {
    let machine = Machine::new();
    let text = fs::read_to_string(&machine.config).unwrap();
    for (socket, remedy) in [
        (
            "/nowhere/socket".to_owned(),
            "make the directory /nowhere for the user that capsd runs as",
        ),
        (format!("/tmp/{}", "a".repeat(120)), "choose a shorter path"),
        (
            machine.path("secret/socket").display().to_string(),
            "choose another path",
        ),
    ] {
        let old = machine.path("socket").display().to_string();
        fs::write(&machine.config, text.replace(&old, &socket)).unwrap();
        let (said, code) = machine.start_daemon().ended();
        assert_eq!(code, 2, "{said}");
        assert!(
            said.contains("control.socket: ") && said.contains(remedy),
            "{said}"
        );
    }
}

/// Where packages would put it, it may be impossible for somebody who tries capsd by hand: that is said, and no more.
#[test]
fn without_a_default_socket_the_daemon_goes_on() {
    if Path::new("/run/capsd").exists() {
        println!("capsd is installed here: its directory was not tried");
        return;
    }
    let machine = Machine::new();
    let text = fs::read_to_string(&machine.config).unwrap();
    let here = machine.path("socket").display().to_string();
    fs::write(
        &machine.config,
        text.replace(&here, "/run/capsd/control.sock"),
    )
    .unwrap();
    let mut daemon = machine.start_daemon_that_logs(&mut machine.command("run", &[]));
    // Not before it has its store: a command would open that itself, and keep it from the daemon.
    let words = "there is no control socket, so commands cannot speak to this daemon";
    wait("it goes on", || machine.log().contains(words));
    let ended = machine.run("import", &[Path::new("/dev/null")]).expect(3);
    assert!(
        ended
            .err
            .contains("no daemon answers at /run/capsd/control.sock"),
        "{}",
        ended.err
    );
    signal(&daemon.0, "TERM");
    assert!(daemon.0.wait().unwrap().success());
    let said = machine.log();
    assert!(said.contains("RuntimeDirectory=capsd"), "{said}");
}

#[test]
fn without_a_daemon_there_is_no_answer() {
    let machine = Machine::new();
    let node = format!("#{}", ver(1));
    for (command, arguments) in [
        ("status", vec![]),
        ("sync", vec![]),
        ("lookup", vec![Path::new(&node)]),
        (
            "import",
            vec![
                Path::new("--socket"),
                Path::new("/nowhere"),
                Path::new("/dev/null"),
            ],
        ),
        (
            "export",
            vec![
                Path::new("--socket"),
                Path::new("/nowhere"),
                Path::new("/dev/null/x"),
            ],
        ),
    ] {
        let ended = machine.run(command, &arguments).expect(4);
        assert!(
            ended.err.contains("no daemon answers at"),
            "{command}: {}",
            ended.err
        );
        assert_eq!(ended.out, "");
    }
    assert!(!machine.path("store").exists());
}

#[test]
fn nonsense_is_refused_and_the_next_one_is_served() {
    let machine = Machine::new();
    let _daemon = machine.daemon();
    let mut talk = machine.talk();
    for line in [
        "",
        "hello",
        "{}",
        "[[[[",
        r#"{"do":"format-disk"}"#,
        r#"{"do":"import","items":7}"#,
        r#"{"do":"entries","from":"../../etc"}"#,
        r#"{"do":"lookup","node":""}"#,
        "\u{fffd}\u{0}",
    ] {
        let answer = talk.say(format!("{line}\n").as_bytes());
        assert!(
            answer.starts_with("{\"is\":\"refused\",\"message\":"),
            "{line}: {answer}"
        );
    }
    let many = serde_json::json!({ "keys": [], "nodes": [], "query": "" });
    let many = serde_json::json!({ "do": "import", "items": vec![many; 65] });
    let answer = talk.say(format!("{many}\n").as_bytes());
    assert!(answer.contains("at most 64 items"), "{answer}");
    // A content with more keys than there are, and a nesting that would be too deep for a tree.
    let item = serde_json::json!({ "keys": vec![format!("#{}", ver(1)); 10_000], "nodes": [], "query": query(2) });
    let answer = talk.say(
        format!(
            "{}\n",
            serde_json::json!({ "do": "import", "items": [item] })
        )
        .as_bytes(),
    );
    assert!(answer.contains("\"reason\":\"mismatch\""), "{answer}");
    let answer = talk.say(format!("{}\n", "[".repeat(100_000)).as_bytes());
    assert!(answer.contains("refused"), "{answer}");
    machine.run("status", &[]).expect(0);
}

#[test]
fn a_line_without_an_end_is_cut_off() {
    let machine = Machine::new();
    let _daemon = machine.daemon();
    let mut talk = machine.talk();
    let answer = talk.say(&vec![b'a'; 5 << 20]);
    assert!(
        answer.is_empty() || answer.contains("a request has at most 4194304 bytes"),
        "{answer}"
    );
    let mut rest = Vec::new();
    let _ = talk.0.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    machine.run("status", &[]).expect(0);
}

/// A connection that the daemon has let in. It may still count one that has just been closed, and turn this one away for that.
fn let_in(machine: &Machine) -> Talk {
    loop {
        let mut talk = machine.talk();
        if talk
            .say(b"{\"do\":\"status\"}\n")
            .contains("\"is\":\"status\"")
        {
            return talk;
        }
    }
}

#[test]
fn the_many_are_turned_away() {
    let machine = Machine::with("connections = 4\ntimeout = '1m'\n");
    let _daemon = machine.daemon();
    let silent: Vec<_> = (0..4).map(|_| let_in(&machine)).collect();
    let mut excess = machine.talk();
    let answer = excess.say(b"{\"do\":\"status\"}\n");
    assert!(
        answer.contains("as many connections as control.connections allows"),
        "{answer}"
    );
    // It is there, and has no time: as if nobody answered.
    let ended = machine.run("status", &[]).expect(4);
    assert!(
        ended.err.contains("as many connections as"),
        "{}",
        ended.err
    );
    let error = machine.json("status", &[], 4)["error"].to_string();
    assert!(error.contains("as many connections as"), "{error}");
    drop(silent);
}

#[test]
fn the_silent_make_room() {
    let machine = Machine::with("connections = 4\ntimeout = '2s'\n");
    let daemon = machine.daemon();
    let mut silent: Vec<_> = (0..4).map(|_| let_in(&machine)).collect();
    // Whoever says nothing, or not all of it, is cut off.
    silent[0].0.get_mut().set_nonblocking(false).unwrap();
    std::io::Write::write_all(silent[0].0.get_mut(), b"{\"do\":").unwrap();
    for talk in &mut silent {
        let mut rest = Vec::new();
        let begun = Instant::now();
        let _ = talk.0.read_to_end(&mut rest);
        assert_eq!(rest, b"");
        assert!(begun.elapsed() < PATIENCE);
    }
    machine.run("status", &[]).expect(0);
    assert_eq!(daemon.stop().1, 0);
}

/// Something that listens there and says nothing sensible is no daemon of this version.
#[test]
fn an_answer_that_is_none_is_said() {
    let machine = Machine::new();
    let listener = UnixListener::bind(machine.path("socket")).unwrap();
    let other = std::thread::spawn(move || {
        for answer in ["", "hello\n", "{\"is\":\"synced\"}\n"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
        }
    });
    assert_eq!(machine.run("status", &[]).code, 4);
    assert_eq!(machine.run("status", &[]).code, 4);
    assert_eq!(machine.run("status", &[]).code, 70);
    other.join().unwrap();
}

#[test]
fn what_is_being_resolved_is_told() {
    let machine = Machine::new();
    let _daemon = machine.daemon();
    let mut talk = machine.talk();
    for line in [r#"{"do":"flights"}"#, r#"{"do":"flights","all":true}"#] {
        let answer: serde_json::Value =
            serde_json::from_str(&talk.say(format!("{line}\n").as_bytes())).unwrap();
        assert_eq!(answer["is"], "flights");
        assert_eq!(answer["in-progress"], 0);
        assert_eq!(answer["flights"], serde_json::json!([]));
    }
}
