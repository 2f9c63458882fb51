//! `[trusted]`: whose bundles count, and what `capsd check` says of bundles and overrides.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use capsd::bundle::{BundleWriter, Label, Signer};
use capsd::caps::{CapsKey, DiscoInfo, Family, Identity, Policy, Verdict, verify_canonical};
use capsd::cli::Exit;
use capsd::cli::check::{CheckArguments, report};
use capsd::config::{Trusted, UnsignedBundles};
use minisign::KeyPair;
use serde_json::Value;

use crate::{LEAST, Machine};

/// The hash of `client/pc//<urn:a<`, made with `openssl sha1 -binary | base64`.
const VER: &str = "uNEeMpTg9tk/GGpYGPkhWr1GUIs=";

const QUERY: &str = "<query xmlns='http://jabber.org/protocol/disco#info'>\
     <identity category='client' type='pc'/><feature var='urn:a'/></query>";

fn read(machine: &Machine, settings: &str) -> Trusted {
    let config = machine.read(&format!("{LEAST}[trusted]\n{settings}"));
    config.unwrap().trusted
}

#[test]
fn the_defaults_trust_nobody_else() {
    let defaults = read(&Machine::new(), "");
    assert_eq!(
        defaults.directories,
        [PathBuf::from("/usr/share/capsd/trusted")]
    );
    assert!(defaults.bundles.is_empty() && defaults.public_keys.is_empty());
    assert_eq!(defaults.unsigned_bundles, UnsignedBundles::Refuse);
    assert_eq!(defaults.overrides, None);
}

#[test]
fn every_key_is_read() {
    let public = KeyPair::generate_unencrypted_keypair()
        .unwrap()
        .pk
        .to_base64();
    let settings = format!(
        "bundles = ['/a/b.capsd']\npublic-keys = ['{public}']\nunsigned-bundles = 'accept'\noverrides = '/a/o.toml'\n"
    );
    let trusted = read(&Machine::new(), &settings);
    assert_eq!(trusted.bundles, [PathBuf::from("/a/b.capsd")]);
    assert_eq!(trusted.public_keys, [public]);
    assert_eq!(trusted.unsigned_bundles, UnsignedBundles::Accept);
    assert_eq!(trusted.overrides, Some(PathBuf::from("/a/o.toml")));
}

#[test]
fn what_is_wrong_is_named() {
    for (setting, key, words) in [
        ("bundles = ['b.capsd']", "trusted.bundles", "absolute path"),
        (
            "public-keys = ['nonsense']",
            "trusted.public-keys",
            "public key of minisign",
        ),
        (
            "unsigned-bundles = 'maybe'",
            "trusted.unsigned-bundles",
            "none of its values",
        ),
        ("overrides = 'o.toml'", "trusted.overrides", "absolute path"),
    ] {
        let faults = Machine::new().faults(&format!("{LEAST}[trusted]\n{setting}\n"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(
            (faults[0].line, faults[0].key.as_deref()),
            (Some(6), Some(key))
        );
        assert!(faults[0].message.contains(words), "{faults:?}");
    }
}

/// A bundle with one content.
fn write_bundle(path: &Path, signer: Option<&Signer>) {
    let key = CapsKey::from_base64(Family::Xep0115, "sha-1", VER).unwrap();
    let info = DiscoInfo {
        identities: vec![Identity {
            category: "client".into(),
            type_: "pc".into(),
            ..Identity::default()
        }],
        features: vec!["urn:a".into()],
        forms: Vec::new(),
    };
    let Verdict::Verified(info) = verify_canonical(&key, info, &Policy::default()) else {
        panic!("not verified");
    };
    let mut writer = BundleWriter::create(path, SystemTime::UNIX_EPOCH, "a test").unwrap();
    writer.add(&info, &[key], &[], &Label::default()).unwrap();
    writer.finish(signer).unwrap();
}

/// Exit code and JSON for these settings of `[trusted]`.
fn check(machine: &Machine, settings: &str) -> (Exit, Value) {
    let text = format!("{LEAST}[trusted]\n{settings}");
    let text = text.replace("$SECRET", machine.path("secret").to_str().unwrap());
    let arguments = CheckArguments {
        config: machine.file("capsd.toml", text, 0o644),
        connect: false,
        json: true,
    };
    let mut output = Vec::new();
    let code = report(&arguments, &mut output, &mut Vec::new());
    (code, serde_json::from_slice(&output).unwrap())
}

#[test]
fn check_reads_bundles_from_end_to_end() {
    let machine = Machine::new();
    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let secret = pair.sk.to_box(None).unwrap().into_string();
    let signer = Signer::from_text(&secret, None).unwrap();
    let directory = machine.path("trusted");
    std::fs::create_dir(&directory).unwrap();
    let (found, named) = (directory.join("found.capsd"), machine.path("named.capsd"));
    write_bundle(&found, Some(&signer));
    write_bundle(&named, None);
    let settings = |more: &str| {
        format!(
            "directories = [{directory:?}]\nbundles = [{named:?}]\npublic-keys = ['{}']\n{more}\n",
            pair.pk.to_base64()
        )
    };
    let (code, answer) = check(&machine, &settings("unsigned-bundles = 'accept'"));
    assert_eq!(code, Exit::Done, "{answer:#}");
    for (bundle, path, signed) in [(0, &found, true), (1, &named, false)] {
        let bundle = &answer["bundles"][bundle];
        assert_eq!(bundle["path"], path.to_str().unwrap());
        assert_eq!(
            (&bundle["verified"], &bundle["waived"]),
            (&1.into(), &0.into())
        );
        assert_eq!(bundle["signed"], signed);
        assert_eq!(bundle["fault"], Value::Null);
    }
    let (code, answer) = check(&machine, &settings(""));
    assert_eq!(code, Exit::No);
    let fault = |bundle: usize| answer["bundles"][bundle]["fault"].as_str();
    assert_eq!(fault(0), None);
    assert!(fault(1).unwrap().contains("not signed"), "{answer:#}");
    // One byte of a content: opening would not notice it, `check` does.
    let mut bytes = std::fs::read(&found).unwrap();
    bytes[4100] ^= 1;
    std::fs::write(&found, bytes).unwrap();
    let (code, answer) = check(&machine, &settings("unsigned-bundles = 'accept'"));
    assert_eq!(code, Exit::No);
    let fault = answer["bundles"][0]["fault"].as_str().unwrap();
    assert!(fault.contains("damaged"), "{fault}");
}

/// A directory that is not there was a warning in the daemon's log, and nothing here.
#[test]
fn check_looks_at_every_directory() {
    let machine = Machine::new();
    let there = machine.path("there");
    std::fs::create_dir(&there).unwrap();
    let name = format!(
        "sha-1_http%3A%2F%2Fa%23{}.xml",
        VER.replace('/', "%2F").replace('=', "%3D")
    );
    std::fs::write(there.join(name), QUERY).unwrap();
    let (code, answer) = check(&machine, &format!("directories = [{there:?}]\n"));
    assert_eq!(code, Exit::Done, "{answer:#}");
    let found = serde_json::json!([{ "path": there, "files": 1, "fault": null }]);
    assert_eq!(answer["directories"], found);
    let (code, answer) = check(
        &machine,
        &format!("directories = [{there:?}, '/nowhere']\n"),
    );
    assert_eq!((code, &answer["usable"]), (Exit::No, &true.into()));
    let fault = answer["directories"][1]["fault"].as_str().unwrap();
    assert!(fault.contains("trusted.directories"), "{fault}");
    // That of the package need not be there.
    let (code, answer) = check(&machine, "");
    assert_eq!(code, Exit::Done, "{answer:#}");
    assert_eq!(answer["directories"][0]["fault"], Value::Null);
}

#[test]
fn check_validates_overrides() {
    let machine = Machine::new();
    let pinned = machine.file("pinned.xml", QUERY, 0o644);
    let overrides = machine.path("overrides.toml");
    let settings = format!("directories = []\noverrides = {overrides:?}\n");
    let rules = |ver: &str| {
        format!(
            "[[deny]]\nkey = 'http://a#QgayPKawpkPSDYmwT/WM94uAlu0='\nreason = 'x'\n\
             [[pin]]\nkey = 'http://a#{ver}'\nfile = {pinned:?}\nreason = 'x'\n"
        )
    };
    machine.file("overrides.toml", rules(VER), 0o644);
    let (code, answer) = check(&machine, &settings);
    assert_eq!(code, Exit::Done, "{answer:#}");
    assert_eq!(answer["overrides"]["denied"], 1);
    assert_eq!(answer["overrides"]["pinned"], 1);
    // Another hash is nothing that an operator can pin a content to.
    machine.file(
        "overrides.toml",
        rules("q07IKJEyjvHSyhy//CH0CxmKi8w="),
        0o644,
    );
    let (code, answer) = check(&machine, &settings);
    assert_eq!((code, &answer["usable"]), (Exit::Usage, &false.into()));
    let fault = &answer["faults"][0];
    assert_eq!(
        (&fault["key"], &fault["line"]),
        (&"pin.file".into(), &6.into())
    );
    assert_eq!(fault["file"], overrides.to_str().unwrap());
    assert!(
        fault["message"].as_str().unwrap().contains("mismatch"),
        "{fault}"
    );
    std::fs::remove_file(&overrides).unwrap();
    let (code, answer) = check(&machine, &settings);
    assert_eq!(code, Exit::Usage, "{answer:#}");
}
