//! The table: registered forms whose fields are known, so that their tokens can be told apart.
//!
//! A name that is also a disco feature (`urn:xmpp:http:upload:0`, `jabber:iq:register`, `urn:xmpp:mam:2`) must never come in:
//! a FORM_TYPE of the table ends the features.

/// A registered form.
#[derive(Debug)]
pub struct Table {
    /// Its FORM_TYPE.
    pub form_type: &'static str,
    /// Its fields.
    pub vars: &'static [Var],
    /// Whether every value is a URI.
    pub uris: bool,
}

/// A field of a registered form.
#[derive(Debug)]
pub struct Var {
    /// The `var`.
    pub name: &'static str,
    /// Whether it may have more than one value.
    pub many: bool,
}

impl Table {
    /// The field of that name.
    pub fn var(&self, name: &str) -> Option<&'static Var> {
        self.vars.iter().find(|var| var.name == name)
    }
}

/// The table for a FORM_TYPE.
pub fn table_of(form_type: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.form_type == form_type)
}

/// Whether a value is a URI (RFC 3986 section 3): a scheme, a colon, and something without spaces and control characters.
pub fn is_uri(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once(':') else {
        return false;
    };
    let scheme_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(scheme_char)
        && !rest.is_empty()
        && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
}

const fn one(name: &'static str) -> Var {
    Var { name, many: false }
}

const fn many(name: &'static str) -> Var {
    Var { name, many: true }
}

static TABLES: [Table; 3] = [
    // XEP-0232, with the fields that XEP-0115 shows.
    Table {
        form_type: "urn:xmpp:dataforms:softwareinfo",
        vars: &[
            many("icon"),
            many("ip_version"),
            one("os"),
            one("os_version"),
            one("software"),
            one("software_version"),
        ],
        uris: false,
    },
    // XEP-0157.
    Table {
        form_type: "http://jabber.org/network/serverinfo",
        vars: &[
            many("abuse-addresses"),
            many("admin-addresses"),
            many("feedback-addresses"),
            many("sales-addresses"),
            many("security-addresses"),
            many("status-addresses"),
            many("support-addresses"),
        ],
        uris: true,
    },
    // XEP-0045 1.35.5, "Field Standardization": all that is registered for muc#roominfo or muc#roomconfig ("any field
    // defined for the muc#roomconfig FORM_TYPE can be included"). The avatar hash is of XEP-0486, slow mode of XEP-0500.
    // `muc#roominfo_changesubject` and `muc#roominfo_pubsub` stood in examples of the XEP until it was noticed that they are not
    // registered; servers still send them.
    //
    // The registrar lists this name as a feature, too ("support for the FORM_TYPE"). No answer that is known has it as one;
    // should there be one, it is refused, and no other content is accepted in its place.
    Table {
        form_type: "http://jabber.org/protocol/muc#roominfo",
        vars: &[
            one("muc#maxhistoryfetch"),
            one("muc#roomconfig_allowinvites"),
            one("muc#roomconfig_allowpm"),
            one("muc#roomconfig_changesubject"),
            one("muc#roomconfig_enablelogging"),
            many("muc#roomconfig_getmemberlist"),
            one("muc#roomconfig_lang"),
            one("muc#roomconfig_maxusers"),
            one("muc#roomconfig_membersonly"),
            one("muc#roomconfig_moderatedroom"),
            one("muc#roomconfig_passwordprotectedroom"),
            one("muc#roomconfig_persistentroom"),
            many("muc#roomconfig_presencebroadcast"),
            one("muc#roomconfig_pubsub"),
            one("muc#roomconfig_publicroom"),
            many("muc#roomconfig_roomadmins"),
            one("muc#roomconfig_roomdesc"),
            one("muc#roomconfig_roomname"),
            many("muc#roomconfig_roomowners"),
            one("muc#roomconfig_roomsecret"),
            one("muc#roomconfig_slow_mode_duration"),
            one("muc#roomconfig_whois"),
            many("muc#roominfo_avatarhash"),
            one("muc#roominfo_changesubject"),
            many("muc#roominfo_contactjid"),
            one("muc#roominfo_description"),
            one("muc#roominfo_lang"),
            one("muc#roominfo_ldapgroup"),
            one("muc#roominfo_logs"),
            one("muc#roominfo_occupants"),
            one("muc#roominfo_pubsub"),
            one("muc#roominfo_slow_mode_duration"),
            one("muc#roominfo_subject"),
            one("muc#roominfo_subjectmod"),
        ],
        uris: false,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_told_from_other_values() {
        for uri in [
            "mailto:a@b",
            "xmpp:a@b?join",
            "http://a/b",
            "x-a+b.1:c",
            "https://é",
        ] {
            assert!(is_uri(uri), "{uri}");
        }
        for other in [
            "",
            "a",
            "mailto:",
            ":a",
            "1a:b",
            "a b:c",
            "mailto:a b",
            "a:b\n",
            "é:b",
        ] {
            assert!(!is_uri(other), "{other}");
        }
    }

    #[test]
    fn no_name_of_the_table_is_a_disco_feature() {
        for feature in [
            "urn:xmpp:http:upload:0",
            "jabber:iq:register",
            "urn:xmpp:mam:2",
            "http://jabber.org/protocol/muc#roomconfig",
        ] {
            assert!(table_of(feature).is_none(), "{feature}");
        }
    }
}
