//! Stanzas as plain data: what is read from a component stream, and the bytes that are written to it.
//!
//! Nothing here holds an XML tree. A stanza of any depth or breadth is read by a state machine that keeps the few strings
//! that capsd acts on, each within a bound, and discards the rest; so no input can exhaust the stack, and a stanza that
//! makes no sense is still a stanza, not the end of the stream (RFC 6120 section 8).
//!
//! | room | what lives there |
//! |---|---|
//! | [`answer`] | a disco#info `<query/>` to an [`Answer`](crate::caps::Answer), on the stream and from files |
//! | [`read`] | [`Inbound`]: every top-level element of a component stream |
//! | [`form`] | the bytes of ad-hoc commands and their forms |
//! | [`write`](mod@write) | the bytes of what capsd sends |
//! | [`jid`] | parts of a JID as the server sent it |

pub mod answer;
pub mod form;
pub mod jid;
pub mod read;
pub mod write;

pub use read::{
    Action, Caps0115, Command, Inbound, Iq, IqKind, Message, Payload, Permission, Presence,
    PresenceKind, StreamFault,
};

/// Namespaces that stand in stanzas of capsd, each with the specification that defines it.
pub mod ns {
    /// XEP-0114, stanzas between a server and a component.
    pub const COMPONENT: &str = "jabber:component:accept";
    /// RFC 6120, stanzas of clients; found inside forwarded stanzas.
    pub const CLIENT: &str = "jabber:client";
    /// RFC 6120, the stream itself.
    pub const STREAM: &str = "http://etherx.jabber.org/streams";
    /// RFC 6120 section 4.9, conditions of stream errors.
    pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
    /// RFC 6120 section 8.3, conditions of stanza errors.
    pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
    /// XEP-0030, disco#info.
    pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
    /// XEP-0030, disco#items.
    pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
    /// XEP-0004, data forms.
    pub const DATA_FORMS: &str = "jabber:x:data";
    /// XEP-0050, ad-hoc commands.
    pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
    /// XEP-0115, entity capabilities.
    pub const CAPS_0115: &str = "http://jabber.org/protocol/caps";
    /// XEP-0390, entity capabilities 2.0.
    pub const CAPS_0390: &str = "urn:xmpp:caps";
    /// XEP-0300, hashes.
    pub const HASHES: &str = "urn:xmpp:hashes:2";
    /// XEP-0199, ping.
    pub const PING: &str = "urn:xmpp:ping";
    /// XEP-0092, software version.
    pub const VERSION: &str = "jabber:iq:version";
    /// XEP-0202, entity time.
    pub const TIME: &str = "urn:xmpp:time";
    /// XEP-0203, delayed delivery.
    pub const DELAY: &str = "urn:xmpp:delay";
    /// XEP-0297, stanza forwarding.
    pub const FORWARD: &str = "urn:xmpp:forward:0";
    /// XEP-0356, privileged entity, as ejabberd 23.01 speaks it.
    pub const PRIVILEGE_1: &str = "urn:xmpp:privilege:1";
    /// XEP-0356, privileged entity, as of version 0.4: Prosody, and ejabberd from 24.10.
    pub const PRIVILEGE_2: &str = "urn:xmpp:privilege:2";
    /// Our own extension: the word that says why, beside an error condition.
    pub const CAPSD: &str = "urn:capsd:0";
}
