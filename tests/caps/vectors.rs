//! What the XEPs and other projects print.

use base64::Engine as _;
use capsd::caps::xep0115::{self, IdentityOrder};
use capsd::caps::xep0390::{self, Inheritance};
use capsd::caps::{Family, Policy, Reason, Verdict, verify};

use crate::answers::{document, key, outcome, quarantined};

#[test]
fn xep_0115_examples_verify() {
    for (name, digest, string) in [
        (
            "documents/xep0115-simple.xml",
            "QgayPKawpkPSDYmwT/WM94uAlu0=",
            "client/pc//Exodus 0.9.1<http://jabber.org/protocol/caps<http://jabber.org/protocol/disco#info<\
             http://jabber.org/protocol/disco#items<http://jabber.org/protocol/muc<",
        ),
        (
            "documents/xep0115-complex.xml",
            "q07IKJEyjvHSyhy//CH0CxmKi8w=",
            "client/pc/el/Ψ 0.11<client/pc/en/Psi 0.11<http://jabber.org/protocol/caps<\
             http://jabber.org/protocol/disco#info<http://jabber.org/protocol/disco#items<\
             http://jabber.org/protocol/muc<urn:xmpp:dataforms:softwareinfo<ip_version<ipv4<ipv6<os<Mac<\
             os_version<10.5.1<software<Psi<software_version<0.11<",
        ),
    ] {
        let answer = document(name);
        let (info, fault) = xep0115::canonical(&answer);
        assert_eq!(fault, None);
        let ours = xep0115::verification_string(&info, IdentityOrder::Tuple);
        assert_eq!(String::from_utf8(ours).unwrap(), string);
        let key = key(Family::Xep0115, "sha-1", digest);
        let Verdict::Verified(verified) = verify(&key, &answer, &Policy::default()) else {
            panic!("{name} does not verify");
        };
        assert!(!verified.waived());
        assert_eq!(verified.info(), &info);
    }
}

#[test]
fn a_real_tkabber_verifies() {
    let key = key(Family::Xep0115, "sha-1", "+0mnUAF1ozCEc37cmdPPsYbsfhg=");
    let verdict = outcome(&key, &document("documents/tkabber.xml"), &Policy::default());
    assert_eq!(verdict, Ok(()));
}

/// The hash of processone/ejabberd#4158 is right, but the string has no feature, so the grammar does not read it.
#[test]
fn an_identity_without_features_hashes_as_in_ejabberd_4158() {
    let answer = document("documents/no-features.xml");
    let (info, _) = xep0115::canonical(&answer);
    let string = xep0115::verification_string(&info, IdentityOrder::Tuple);
    assert_eq!(string, b"client/bot//<");
    let key = key(Family::Xep0115, "sha-1", "iaTkyKUZtplRPLviKWlgoSGj+Do=");
    let verdict = outcome(&key, &answer, &Policy::default());
    assert_eq!(verdict, quarantined(Reason::Ambiguous));
    assert_eq!(outcome(&key, &answer, &Policy::trusted()), Ok(()));
}

#[test]
fn xep_0390_examples_verify() {
    for (name, len, sha_256, sha3_256) in [
        (
            "documents/xep0390-simple.xml",
            0x1d9,
            "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=",
            "79mdYAfU9rEdTOcWDO7UEAt6E56SUzk/g6TnqUeuD9Q=",
        ),
        (
            "documents/xep0390-complex.xml",
            1347,
            "u79ZroNJbdSWhdSp311mddz44oHHPsEBntQ5b1jqBSY=",
            "XpUJzLAc93258sMECZ3FJpebkzuyNXDzRNwQog8eycg=",
        ),
    ] {
        let answer = document(name);
        let info = xep0390::canonical(&answer, Inheritance::Ignored).unwrap();
        assert_eq!(xep0390::hash_input(&info).len(), len);
        for (algorithm, digest) in [("sha-256", sha_256), ("sha3-256", sha3_256)] {
            let key = key(Family::Xep0390, algorithm, digest);
            assert_eq!(outcome(&key, &answer, &Policy::default()), Ok(()), "{name}");
        }
    }
}

/// The parts of the hash input that XEP-0390 section 4.5 prints.
#[test]
fn the_0390_input_is_the_printed_one() {
    let input = |name| {
        let info = xep0390::canonical(&document(name), Inheritance::Ignored).unwrap();
        xep0390::hash_input(&info)
    };
    let simple = input("documents/xep0390-simple.xml");
    assert!(simple.starts_with(
        b"http://jabber.org/protocol/bytestreams\x1fhttp://jabber.org/protocol/chatstates\x1f"
    ));
    assert!(simple.ends_with(
        b"urn:xmpp:receipts\x1furn:xmpp:time\x1f\x1cclient\x1fmobile\x1f\x1fBombusMod\x1f\x1e\x1c\x1c"
    ));

    let printed = "\
        Z2FtZXM6Ym9hcmQfaHR0cDovL2phYmJlci5vcmcvcHJvdG9jb2wvYWN0aXZpdHkfaHR0cDovL2ph\
        YmJlci5vcmcvcHJvdG9jb2wvYWN0aXZpdHkrbm90aWZ5H2h0dHA6Ly9qYWJiZXIub3JnL3Byb3Rv\
        Y29sL2J5dGVzdHJlYW1zH2h0dHA6Ly9qYWJiZXIub3JnL3Byb3RvY29sL2NoYXRzdGF0ZXMfaHR0\
        cDovL2phYmJlci5vcmcvcHJvdG9jb2wvY29tbWFuZHMfaHR0cDovL2phYmJlci5vcmcvcHJvdG9j\
        b2wvZGlzY28jaW5mbx9odHRwOi8vamFiYmVyLm9yZy9wcm90b2NvbC9kaXNjbyNpdGVtcx9odHRw\
        Oi8vamFiYmVyLm9yZy9wcm90b2NvbC9ldmlsH2h0dHA6Ly9qYWJiZXIub3JnL3Byb3RvY29sL2Zl\
        YXR1cmUtbmVnH2h0dHA6Ly9qYWJiZXIub3JnL3Byb3RvY29sL2dlb2xvYx9odHRwOi8vamFiYmVy\
        Lm9yZy9wcm90b2NvbC9nZW9sb2Mrbm90aWZ5H2h0dHA6Ly9qYWJiZXIub3JnL3Byb3RvY29sL2li\
        Yh9odHRwOi8vamFiYmVyLm9yZy9wcm90b2NvbC9pcWliYh9odHRwOi8vamFiYmVyLm9yZy9wcm90\
        b2NvbC9tb29kH2h0dHA6Ly9qYWJiZXIub3JnL3Byb3RvY29sL21vb2Qrbm90aWZ5H2h0dHA6Ly9q\
        YWJiZXIub3JnL3Byb3RvY29sL3Jvc3RlcngfaHR0cDovL2phYmJlci5vcmcvcHJvdG9jb2wvc2kf\
        aHR0cDovL2phYmJlci5vcmcvcHJvdG9jb2wvc2kvcHJvZmlsZS9maWxlLXRyYW5zZmVyH2h0dHA6\
        Ly9qYWJiZXIub3JnL3Byb3RvY29sL3R1bmUfaHR0cDovL3d3dy5mYWNlYm9vay5jb20veG1wcC9t\
        ZXNzYWdlcx9odHRwOi8vd3d3LnhtcHAub3JnL2V4dGVuc2lvbnMveGVwLTAwODQuaHRtbCNucy1t\
        ZXRhZGF0YStub3RpZnkfamFiYmVyOmlxOmF2YXRhch9qYWJiZXI6aXE6YnJvd3NlH2phYmJlcjpp\
        cTpkdGNwH2phYmJlcjppcTpmaWxleGZlch9qYWJiZXI6aXE6aWJiH2phYmJlcjppcTppbmJhbmQf\
        amFiYmVyOmlxOmppZGxpbmsfamFiYmVyOmlxOmxhc3QfamFiYmVyOmlxOm9vYh9qYWJiZXI6aXE6\
        cHJpdmFjeR9qYWJiZXI6aXE6cm9zdGVyH2phYmJlcjppcTp0aW1lH2phYmJlcjppcTp2ZXJzaW9u\
        H2phYmJlcjp4OmRhdGEfamFiYmVyOng6ZXZlbnQfamFiYmVyOng6b29iH3Vybjp4bXBwOmF2YXRh\
        cjptZXRhZGF0YStub3RpZnkfdXJuOnhtcHA6cGluZx91cm46eG1wcDpyZWNlaXB0cx91cm46eG1w\
        cDp0aW1lHxw=";
    let features = base64::engine::general_purpose::STANDARD
        .decode(printed)
        .unwrap();
    let complex = input("documents/xep0390-complex.xml");
    let rest = complex.strip_prefix(features.as_slice()).unwrap();
    let identities =
        "client\x1fpc\x1fen\x1fTkabber\x1f\x1eclient\x1fpc\x1fru\x1fТкаббер\x1f\x1e\x1c";
    let form = "FORM_TYPE\x1furn:xmpp:dataforms:softwareinfo\x1f\x1eos\x1fWindows\x1f\x1eos_version\x1fXP\x1f\x1e\
                software\x1fTkabber\x1f\x1esoftware_version\x1f0.11.1-svn-20111216-mod (Tcl/Tk 8.6b2)\x1f\x1e\x1d\x1c";
    assert_eq!(rest, format!("{identities}{form}").as_bytes());
}
