//! Parts of a JID, as the server sent it.
//!
//! Servers prepare the addresses that they stamp on stanzas (RFC 7622), so parts are compared octet by octet here, without
//! preparing them again for every stanza. Addresses from the configuration are prepared when they are read.

/// The longest address that is looked at: three parts of at most 1,023 bytes and two separators (RFC 7622 section 3.1).
pub const MAX_LEN: usize = 3071;

/// The bare JID: everything before the first `/`.
pub fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

/// The domain: what stands between the first `@` and the first `/`.
pub fn domain(jid: &str) -> &str {
    let bare = bare(jid);
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}

/// Whether the address is that of an account (with a local part), rather than of a server or component.
pub fn has_local_part(jid: &str) -> bool {
    bare(jid).contains('@')
}

/// Whether the address has a resource.
pub fn is_full(jid: &str) -> bool {
    jid.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_split_as_rfc_7622_says() {
        for (jid, bare_part, domain_part, local) in [
            ("a@b/c", "a@b", "b", true),
            ("b/c@d/e", "b", "b", false),
            ("a@b", "a@b", "b", true),
            ("b", "b", "b", false),
            ("a@b/c@d", "a@b", "b", true),
            ("", "", "", false),
        ] {
            assert_eq!(bare(jid), bare_part, "{jid}");
            assert_eq!(domain(jid), domain_part, "{jid}");
            assert_eq!(has_local_part(jid), local, "{jid}");
            assert_eq!(is_full(jid), jid.contains('/'), "{jid}");
        }
    }
}
