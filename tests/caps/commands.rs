//! `capsd verify` and `capsd hash` as programs: what goes to which stream, and the exit codes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::answers::file;

const SIMPLE: &str = "QgayPKawpkPSDYmwT/WM94uAlu0=";

fn capsd(arguments: &[&str], document: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_capsd"))
        .args(arguments)
        .arg(document)
        .output()
        .unwrap()
}

/// Standard output and the exit code.
fn said(output: &Output) -> (String, i32) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (text, output.status.code().unwrap())
}

#[test]
fn verify_says_one_thing_on_standard_output() {
    let simple = file("documents/xep0115-simple.xml");
    let complex = file("documents/xep0390-complex.xml");
    let split = file("pairs/softwareinfo.one.xml");
    let repeated = file("documents/ill-formed.xml");
    let of_0390 = "u79ZroNJbdSWhdSp311mddz44oHHPsEBntQ5b1jqBSY=";
    let no_padding = SIMPLE.trim_end_matches('=');
    // The strings of the last two are written out and hashed here, not by capsd.
    let hash = |string| crate::answers::key_of_string(string).digest_base64();
    let of_split = hash(
        "client/pc//x<http://jabber.org/protocol/caps<urn:xmpp:ping<urn:xmpp:dataforms:softwareinfo<\
         software_version<1.0<zfoo<zgoo<",
    );
    let of_repeated = hash("client/pc//x<client/pc//x<urn:a<urn:b<urn:b<urn:example:table<os<Mac<");
    for (arguments, document, expected, code) in [
        (
            &["--hash", "sha-1", "--ver", SIMPLE][..],
            &simple,
            "verified",
            0,
        ),
        (
            &["--family", "0115", "--hash", "sha-1", "--ver", SIMPLE],
            &simple,
            "verified",
            0,
        ),
        (
            &["--family", "0390", "--hash", "sha-256", "--ver", of_0390],
            &complex,
            "verified",
            0,
        ),
        (
            &["--hash", "sha-1", "--ver", SIMPLE],
            &complex,
            "rejected: mismatch",
            1,
        ),
        (
            &["--hash", "sha-256", "--ver", of_0390],
            &complex,
            "rejected: mismatch",
            1,
        ),
        (
            &["--hash", "sha-1", "--ver", &of_split],
            &split,
            "quarantined: ambiguous",
            1,
        ),
        (
            &["--hash", "sha-1", "--ver", &of_repeated],
            &repeated,
            "quarantined: ill-formed",
            1,
        ),
        (
            &["--hash", "md5", "--ver", "65KLdMRhWsklTPilUQXwGw=="],
            &simple,
            "rejected: unsupported-algorithm",
            1,
        ),
        (
            &["--hash", "crc32", "--ver", SIMPLE],
            &simple,
            "rejected: unsupported-algorithm",
            1,
        ),
        (
            &["--family", "0390", "--hash", "sha-1", "--ver", SIMPLE],
            &simple,
            "rejected: unsupported-algorithm",
            1,
        ),
        (
            &["--hash", "sha-1", "--ver", no_padding],
            &simple,
            "rejected: malformed-node",
            1,
        ),
        (
            &["--hash", "sha-1", "--ver", "-gayPKawpkPSDYmwT/WM94uAlu0="],
            &simple,
            "rejected: malformed-node",
            1,
        ),
    ] {
        let output = capsd(&[&["verify"], arguments].concat(), document);
        assert_eq!(
            said(&output),
            (format!("{expected}\n"), code),
            "{arguments:?}"
        );
        assert_eq!(output.stderr.is_empty(), code == 0, "{arguments:?}");

        let output = capsd(&[&["verify", "--json"], arguments].concat(), document);
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (verdict, reason) = expected.split_once(": ").unwrap_or((expected, ""));
        assert_eq!(object["verdict"], verdict);
        assert_eq!(object["reason"].as_str().unwrap_or(""), reason);
        assert_eq!(output.status.code(), Some(code));
    }
}

#[test]
fn a_dash_is_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_capsd"))
        .args(["verify", "--hash", "sha-1", "--ver", SIMPLE, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let document = std::fs::read(file("documents/xep0115-simple.xml")).unwrap();
    child.stdin.take().unwrap().write_all(&document).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(said(&output), ("verified\n".to_owned(), 0));
}

#[test]
fn what_cannot_be_read_is_one_message_and_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let deep = "<a xmlns='http://jabber.org/protocol/disco#info'>".repeat(20_000);
    for (document, expected) in [
        (directory.path().join("none.xml"), "cannot read"),
        (directory.path().to_owned(), "cannot read"),
        (write("empty", b""), "ends before its root"),
        (write("garbage", b"\x00\xff\xfe not XML"), "not well-formed"),
        (write("iq", b"<iq xmlns='jabber:client'/>"), "<iq xmlns='jabber:client'>"),
        (write("cut", b"<query xmlns='http://jabber.org/protocol/disco#info'>"), "ends before"),
        (
            write("dtd", b"<!DOCTYPE a [<!ENTITY b 'c'>]><query xmlns='http://jabber.org/protocol/disco#info'/>"),
            "not well-formed",
        ),
        (write("deep", deep.replacen("<a", "<query", 1).as_bytes()), "levels deep"),
    ] {
        for command in [&["verify", "--hash", "sha-1", "--ver", SIMPLE][..], &["hash"]] {
            let output = capsd(command, &document);
            assert_eq!(said(&output), (String::new(), 2), "{document:?}");
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(error.contains(expected), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
    let usage = capsd(&["verify", "--hash", "sha-1"], Path::new("x"));
    assert_eq!(said(&usage), (String::new(), 2));
}

#[test]
fn too_much_is_too_large() {
    let directory = tempfile::tempdir().unwrap();
    let ns = crate::answers::DISCO_INFO;
    let features: String = (0..257).map(|n| format!("<feature var='{n}'/>")).collect();
    for (name, content) in [
        (
            "features",
            format!("<query xmlns='{ns}'>{features}</query>"),
        ),
        (
            "bytes",
            format!("<query xmlns='{ns}'><a>{}</a></query>", "x".repeat(17_000)),
        ),
        (
            "file",
            format!("<query xmlns='{ns}'>{}</query>", " ".repeat(2 << 20)),
        ),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        let output = capsd(&["verify", "--hash", "sha-1", "--ver", SIMPLE], &path);
        assert_eq!(
            said(&output),
            ("rejected: too-large\n".to_owned(), 1),
            "{name}"
        );
    }
    assert_eq!(
        capsd(&["hash"], &directory.path().join("file"))
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn hash_prints_a_line_for_every_key() {
    let output = capsd(&["hash"], &file("documents/xep0115-simple.xml"));
    let (text, code) = said(&output);
    assert_eq!(code, 0);
    assert_eq!(text.lines().count(), 12);
    let line = format!("0115 sha-1 {SIMPLE} NODE#{SIMPLE} verified");
    assert!(text.lines().any(|l| l == line), "{text}");

    let of_0390 = "u79ZroNJbdSWhdSp311mddz44oHHPsEBntQ5b1jqBSY=";
    let (text, _) = said(&capsd(&["hash"], &file("documents/xep0390-complex.xml")));
    let line = format!("0390 sha-256 {of_0390} urn:xmpp:caps#sha-256.{of_0390} verified");
    assert!(text.lines().any(|l| l == line), "{text}");

    let output = capsd(&["hash"], &file("documents/ill-formed.xml"));
    let (text, code) = said(&output);
    assert_eq!(code, 0);
    assert_eq!(text.matches("quarantined: ill-formed").count(), 11);
    assert_eq!(text.matches("rejected: unsupported-algorithm").count(), 1);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("XEP-0115 section 5.4") && error.contains("XEP-0390 section 4.1"));
}
