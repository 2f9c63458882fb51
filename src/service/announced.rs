//! What a presence announces.

use std::collections::HashSet;

use crate::caps::key::NODE_PREFIX_0390;
use crate::caps::{Algorithm, CapsKey, Family};
use crate::holders::Announcement;
use crate::metrics::AnnouncementKind;
use crate::stanza::{Caps0115, Presence};

/// The longest node URL that is kept, in bytes.
const MAX_NODE_URL: usize = 512;

/// The announcement of a presence.
#[derive(Debug, PartialEq, Eq)]
pub enum Announced {
    /// No `<c/>`: whatever was announced before still holds (XEP-0115 section 8.4).
    Nothing,
    /// Keys that can be verified.
    Keys(Announcement, AnnouncementKind),
    /// Only legacy nodes, `NODE#VER` and `NODE#EXT` (XEP-0115 section 13).
    Legacy(Vec<String>),
    /// Only hashes that cannot be verified, by the nodes to ask for them.
    Unsupported(Vec<String>),
}

/// Reads the announcement of a presence; md5 counts only where it is allowed.
pub fn announced(presence: &Presence, allow_md5: bool) -> Announced {
    if presence.caps_0115.is_none() && !presence.has_caps_0390 {
        return Announced::Nothing;
    }
    let mut announcement = Announcement::default();
    let allowed = |key: &CapsKey| allow_md5 || key.algorithm() != Algorithm::Md5;
    let key_0115 = presence.caps_0115.as_ref().and_then(|caps| {
        let key = CapsKey::from_base64(Family::Xep0115, caps.hash.as_deref()?, &caps.ver).ok()?;
        (allowed(&key) && caps.node.len() <= MAX_NODE_URL).then_some((key, &caps.node))
    });
    if let Some((key, node_url)) = key_0115 {
        announcement.keys.push(key);
        announcement.node_url = node_url.as_str().into();
    }
    for (algorithm, digest) in &presence.caps_0390 {
        if let Ok(key) = CapsKey::from_base64(Family::Xep0390, algorithm, digest)
            && !announcement.keys.contains(&key)
        {
            announcement.keys.push(key);
        }
    }
    let kind = match (key_0115.is_some(), announcement.keys.len()) {
        (_, 0) => return unverifiable(presence),
        (true, 1) => AnnouncementKind::Xep0115,
        (true, _) => AnnouncementKind::Both,
        (false, _) => AnnouncementKind::Xep0390,
    };
    Announced::Keys(announcement, kind)
}

fn unverifiable(presence: &Presence) -> Announced {
    let caps = presence.caps_0115.as_ref();
    let node = |caps: &Caps0115, ver: &str| format!("{}#{ver}", caps.node);
    let of_0115 = caps.map(|caps| {
        let bundles = std::iter::once(&caps.ver).chain(&caps.ext);
        bundles.map(|ver| node(caps, ver)).collect::<Vec<_>>()
    });
    if caps.is_some_and(|caps| caps.hash.is_none()) {
        return Announced::Legacy(of_0115.unwrap_or_default());
    }
    let of_0390 = presence.caps_0390.iter();
    let of_0390 = of_0390.map(|(algo, digest)| format!("{NODE_PREFIX_0390}{algo}.{digest}"));
    Announced::Unsupported(
        of_0115
            .into_iter()
            .flatten()
            .take(1)
            .chain(of_0390)
            .collect(),
    )
}

/// Legacy nodes that were announced lately, so that whoever asks for one is told why there is no answer.
///
/// Two generations of at most [`LegacyNodes::MAX`] each: when the younger one is full, it takes the place of the older.
#[derive(Debug, Default)]
pub struct LegacyNodes {
    younger: HashSet<String, ahash::RandomState>,
    older: HashSet<String, ahash::RandomState>,
}

impl LegacyNodes {
    /// How many nodes a generation holds.
    pub const MAX: usize = 4096;

    /// Remembers nodes.
    pub fn remember(&mut self, nodes: Vec<String>) {
        for node in nodes {
            if self.younger.len() >= Self::MAX {
                self.older = std::mem::take(&mut self.younger);
            }
            self.younger.insert(node);
        }
    }

    /// Whether the node was announced lately.
    pub fn contains(&self, node: &str) -> bool {
        self.younger.contains(node) || self.older.contains(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VER: &str = "QgayPKawpkPSDYmwT/WM94uAlu0=";
    const HASH: &str = "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=";

    fn presence(hash: Option<&str>, ver: &str, hashes: &[(&str, &str)]) -> Presence {
        let caps = Caps0115 {
            node: "http://a".to_owned(),
            hash: hash.map(str::to_owned),
            ver: ver.to_owned(),
            ext: vec!["one".to_owned(), "two".to_owned()],
        };
        Presence {
            caps_0115: Some(caps).filter(|caps| !caps.ver.is_empty()),
            caps_0390: hashes
                .iter()
                .map(|(a, d)| ((*a).to_owned(), (*d).to_owned()))
                .collect(),
            has_caps_0390: !hashes.is_empty(),
            ..Presence::default()
        }
    }

    fn kind(presence: &Presence) -> (AnnouncementKind, usize) {
        match announced(presence, false) {
            Announced::Keys(announcement, kind) => (kind, announcement.keys.len()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_hashes_of_one_presence_are_linked() {
        let both = presence(
            Some("sha-1"),
            VER,
            &[("sha-256", HASH), ("sha-256", HASH), ("x", HASH)],
        );
        assert_eq!(kind(&both), (AnnouncementKind::Both, 2));
        assert_eq!(
            kind(&presence(Some("sha-1"), VER, &[])),
            (AnnouncementKind::Xep0115, 1)
        );
        assert_eq!(
            kind(&presence(None, "", &[("sha-256", HASH)])),
            (AnnouncementKind::Xep0390, 1)
        );
        // A legacy 0115 `<c/>` beside a 0390 one is not worth a word.
        assert_eq!(
            kind(&presence(None, "1.0", &[("sha-256", HASH)])),
            (AnnouncementKind::Xep0390, 1)
        );
    }

    #[test]
    fn what_cannot_be_verified_is_told_apart() {
        assert_eq!(announced(&Presence::default(), false), Announced::Nothing);
        assert_eq!(
            announced(&presence(Some("whirlpool"), VER, &[]), false),
            Announced::Unsupported(vec![format!("http://a#{VER}")])
        );
        assert_eq!(
            announced(&presence(Some("sha-1"), "short", &[]), false),
            Announced::Unsupported(vec!["http://a#short".to_owned()])
        );
        let md5 = presence(Some("md5"), "65KLdMRhWsklTPilUQXwGw==", &[]);
        assert!(matches!(announced(&md5, false), Announced::Unsupported(_)));
        assert!(matches!(announced(&md5, true), Announced::Keys(..)));
        let nodes = ["http://a#0.9", "http://a#one", "http://a#two"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(
            announced(&presence(None, "0.9", &[]), false),
            Announced::Legacy(nodes)
        );
    }

    #[test]
    fn legacy_nodes_are_bounded() {
        let mut nodes = LegacyNodes::default();
        for n in 0..20_000 {
            nodes.remember(vec![format!("a#{n}")]);
        }
        assert!(nodes.younger.len() + nodes.older.len() <= 2 * LegacyNodes::MAX);
        assert!(nodes.contains("a#19999"));
        assert!(!nodes.contains("a#0"));
    }
}
