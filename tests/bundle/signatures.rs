//! Whose bundles are believed.

use std::fs;
use std::path::Path;

use capsd::bundle::{Bundle, BundleError, Signer, Signers};
use minisign::KeyPair;

use crate::fixture::{Maker, anybody, client, features, write};

fn signed(directory: &Path, maker: &Maker) -> std::path::PathBuf {
    let path = directory.join("signed.capsd");
    write(&path, &features(100), Some(&maker.signer));
    path
}

#[test]
fn a_bundle_of_a_maker_whom_the_operator_named_is_opened() {
    let (directory, maker) = (tempfile::tempdir().unwrap(), Maker::new());
    let path = signed(directory.path(), &maker);
    let other = Maker::new();
    let keys = [other.public, maker.public.clone()];
    for signers in [maker.believed(), Signers::new(&keys, false).unwrap()] {
        let bundle = Bundle::open(&path, &signers).unwrap();
        assert_eq!(bundle.signed(), Some("bundle of capsd"));
        assert!(
            bundle
                .look_up(&client("urn:feature:7").1)
                .unwrap()
                .is_some()
        );
    }
}

#[test]
fn an_unsigned_bundle_is_refused_unless_told_otherwise() {
    let (directory, maker) = (tempfile::tempdir().unwrap(), Maker::new());
    let path = directory.path().join("unsigned.capsd");
    write(&path, &features(1), None);
    let error = Bundle::open(&path, &maker.believed()).unwrap_err();
    assert!(matches!(error, BundleError::Unsigned), "{error}");
    assert!(error.to_string().contains("trusted.unsigned-bundles"));
    assert_eq!(Bundle::open(&path, &anybody()).unwrap().signed(), None);
}

#[test]
fn a_bundle_of_a_stranger_is_refused_unless_told_otherwise() {
    let (directory, maker) = (tempfile::tempdir().unwrap(), Maker::new());
    let path = signed(directory.path(), &maker);
    let error = Bundle::open(&path, &Maker::new().believed()).unwrap_err();
    assert!(matches!(error, BundleError::UnknownSigner), "{error}");
    assert!(error.to_string().contains("trusted.public-keys"));
    assert_eq!(Bundle::open(&path, &anybody()).unwrap().signed(), None);
}

#[test]
fn a_head_that_was_changed_after_it_was_signed_is_refused_even_where_unsigned_ones_are_not() {
    let (directory, maker) = (tempfile::tempdir().unwrap(), Maker::new());
    let path = signed(directory.path(), &maker);
    let text = fs::read(&path).unwrap();
    let at = text.windows(6).position(|w| w == b"a test").unwrap();
    let mut changed = text.clone();
    changed[at] = b'A';
    fs::write(&path, changed).unwrap();
    let lenient = Signers::new(std::slice::from_ref(&maker.public), true).unwrap();
    for signers in [maker.believed(), lenient] {
        let error = Bundle::open(&path, &signers).unwrap_err();
        assert!(matches!(error, BundleError::WrongSignature), "{error}");
    }
}

#[test]
fn the_signature_of_one_bundle_is_none_of_another() {
    let (directory, maker) = (tempfile::tempdir().unwrap(), Maker::new());
    let good = fs::read(signed(directory.path(), &maker)).unwrap();
    let path = directory.path().join("other.capsd");
    write(&path, &features(3), None);
    let other = fs::read(&path).unwrap();
    let end = |bytes: &[u8]| bytes.windows(5).position(|w| w == b"\n---\n").unwrap() + 5;
    let mut forged = other[..end(&other)].to_vec();
    forged.extend_from_slice(&good[end(&good)..4096]);
    forged.resize(4096, b'\n');
    forged.extend_from_slice(&other[4096..]);
    fs::write(&path, forged).unwrap();
    let error = Bundle::open(&path, &maker.believed()).unwrap_err();
    assert!(matches!(error, BundleError::WrongSignature), "{error}");
}

#[test]
fn what_lies_under_a_signed_head_cannot_be_exchanged() {
    // The head of the signed bundle over the contents of another of the same size: nothing but errors.
    let (directory, maker) = (tempfile::tempdir().unwrap(), Maker::new());
    let path = signed(directory.path(), &maker);
    let good = fs::read(&path).unwrap();
    let other = directory.path().join("other.capsd");
    let swapped: Vec<_> = features(100)
        .iter()
        .map(|f| f.replace("feat", "fake"))
        .collect();
    write(&other, &swapped, Some(&Maker::new().signer));
    let other = fs::read(&other).unwrap();
    fs::write(&path, [&good[..4096], &other[4096..]].concat()).unwrap();
    let error = Bundle::open(&path, &maker.believed()).unwrap_err();
    assert!(matches!(error, BundleError::Damaged(_)), "{error}");
}

#[test]
fn keys_that_are_none_are_named() {
    let maker = Maker::new();
    let keys = [maker.public, "nonsense".to_owned()];
    assert_eq!(Signers::new(&keys, false).unwrap_err().0, 1);
}

#[test]
fn a_secret_key_with_a_password_signs_with_the_password_only() {
    let pair = KeyPair::generate_encrypted_keypair(Some("open sesame".into())).unwrap();
    let secret = pair.sk.to_box(None).unwrap().into_string();
    assert!(Signer::from_text(&secret, None).is_err());
    assert!(Signer::from_text(&secret, Some("wrong")).is_err());
    let signer = Signer::from_text(&secret, Some("open sesame")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("signed.capsd");
    write(&path, &features(1), Some(&signer));
    let signers = Signers::new(&[pair.pk.to_base64()], false).unwrap();
    Bundle::open(&path, &signers).unwrap();
}

/// The tool that operators have makes the keys, and can check a bundle on its own by the commands in the README.
#[test]
fn minisign_itself_makes_the_keys_and_checks_a_bundle() {
    let run = |program: &str, arguments: &[&str], directory: &Path| {
        std::process::Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .output()
    };
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let made = run(
        "minisign",
        &["-GW", "-p", "k.pub", "-s", "k.key"],
        directory,
    );
    let Ok(made) = made else {
        println!("skipped: there is no minisign here (tests/install.sh minisign)");
        return;
    };
    assert!(made.status.success(), "{made:?}");
    let secret = fs::read_to_string(directory.join("k.key")).unwrap();
    let public = fs::read_to_string(directory.join("k.pub")).unwrap();
    let public = public.lines().nth(1).unwrap();
    let path = directory.join("NAME.capsd");
    let signer = Signer::from_text(&secret, None).unwrap();
    write(&path, &features(100), Some(&signer));
    let signers = Signers::new(&[public.to_owned()], false).unwrap();
    assert!(Bundle::open(&path, &signers).unwrap().signed().is_some());
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let begin = readme.find("sed '/^---$/q' NAME.capsd").unwrap();
    let commands = readme[begin..].split('`').next().unwrap();
    let commands = commands.replace("-P KEY", &format!("-P {public}"));
    let check = || run("sh", &["-c", &commands], directory).unwrap();
    let checked = check();
    assert!(checked.status.success(), "{checked:?}");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|w| w == b"a test").unwrap();
    bytes[at] = b'A';
    fs::write(&path, bytes).unwrap();
    assert!(!check().status.success());
}
