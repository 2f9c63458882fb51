//! One `[[component]]` block.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use toml::de::DeValue;
use xmpp_parsers::jid::{BareJid, DomainPart, Jid};

use super::fault::Wrong;
use super::quantity::shown;
use super::secret::{self, Secret, SecretSource};
use super::source::{Table, string};

/// A link to one server: who capsd is there, and whom it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// What logs, metrics and `/readyz` call the link: the JID, with the server behind it where two links share the JID.
    pub name: String,
    /// The domain that the server gave to capsd.
    pub jid: DomainPart,
    /// Where the server listens for components.
    pub server: ServerAddress,
    /// The secret that the server has for the component; none in a configuration that was read
    /// [without secrets](super::Config::load_without_secrets).
    pub secret: Option<Secret>,
    /// Where the secret was found.
    pub secret_source: SecretSource,
    /// The domains whose users, and which themselves, may ask. At least one; by default the parent domain of `jid`.
    pub domains: Vec<DomainPart>,
    /// The domains whose own stanzas are believed as a feed. By default `domains`.
    pub feeds: Vec<DomainPart>,
    /// Who may administer capsd. By default nobody.
    pub admins: Vec<BareJid>,
}

impl Component {
    /// Reads a block; `None` after a fault, which is then said.
    pub(super) fn read(block: &mut Table<'_>) -> Option<Component> {
        let jid = block.required("jid", "caps.example.org", domain);
        let server = block.required("server", "127.0.0.1:5347", ServerAddress::read);
        let secret = secret::read(block);
        let domains = read_domains(block, jid.as_ref());
        let feeds = block.list("feeds", domain);
        let admins = block.list("admins", bare_jid).unwrap_or_default();
        let (jid, domains, (secret_source, secret)) = (jid?, domains?, secret?);
        Some(Component {
            name: jid.as_str().to_owned(),
            jid,
            server: server?,
            secret,
            secret_source,
            feeds: feeds.unwrap_or_else(|| domains.clone()),
            domains,
            admins,
        })
    }
}

/// Reads `domains`; `None` after a fault, or when the default cannot be told because `jid` is at fault.
fn read_domains(block: &mut Table<'_>, jid: Option<&DomainPart>) -> Option<Vec<DomainPart>> {
    let given = block.has("domains");
    let domains = block.list("domains", domain);
    let wrong = match domains {
        Some(domains) if !domains.is_empty() => return Some(domains),
        Some(_) => Wrong::new(
            "lists no domain, so nobody could ask",
            "list the domains whose users may ask, as in `domains = [\"example.org\"]`",
        ),
        None if given => return None,
        None => match parent(jid?) {
            Some(parent) => return Some(vec![parent]),
            None => Wrong::new(
                "is missing, and `jid` has no parent domain to take instead",
                "add a line such as `domains = [\"example.org\"]`",
            ),
        },
    };
    block.fault("domains", wrong);
    None
}

/// The domain above; none above a single label or an IP address.
fn parent(jid: &DomainPart) -> Option<DomainPart> {
    let (_, parent) = jid.as_str().split_once('.')?;
    if jid.as_str().parse::<IpAddr>().is_ok() {
        return None;
    }
    DomainPart::new(parent)
        .ok()
        .map(|domain| domain.into_owned())
}

fn domain(value: &DeValue<'_>) -> Result<DomainPart, Wrong> {
    let hint = "write a domain, as in \"example.org\", without user or resource";
    let wrong = |why: String| {
        Wrong::new(
            format!("is {}, which is not a domain{why}", shown(value)),
            hint,
        )
    };
    let text = string(value)?;
    if text.contains(['@', '/']) {
        return Err(wrong(String::new()));
    }
    match DomainPart::new(text) {
        Ok(domain) => Ok(domain.into_owned()),
        Err(error) => Err(wrong(format!(": {error}"))),
    }
}

fn bare_jid(value: &DeValue<'_>) -> Result<BareJid, Wrong> {
    let parsed = Jid::new(string(value)?).ok();
    parsed
        .and_then(|jid| jid.try_into_full().err())
        .filter(|jid| jid.node().is_some())
        .ok_or_else(|| {
            let message = format!("holds {}, which is not the JID of an account", shown(value));
            Wrong::new(
                message,
                "write it as in \"admin@example.org\", without a resource",
            )
        })
}

/// Where a server listens: a host name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The TCP port; never 0.
    pub port: u16,
}

impl ServerAddress {
    fn read(value: &DeValue<'_>) -> Result<ServerAddress, Wrong> {
        ServerAddress::parse(string(value)?).ok_or_else(|| {
            Wrong::new(
                format!("is {}, which is not HOST:PORT", shown(value)),
                "write the server's component port, as in \"127.0.0.1:5347\", \"xmpp.example.org:5347\" or \"[::1]:5347\"",
            )
        })
    }

    fn parse(text: &str) -> Option<ServerAddress> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let in_brackets = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match in_brackets {
            Some(address) => address.parse::<Ipv6Addr>().ok()?.to_string(),
            None => host_name(host)?,
        };
        Some(ServerAddress { host, port })
    }
}

/// A host name, or an IPv4 address, in lower case.
fn host_name(host: &str) -> Option<String> {
    let label_is_valid = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed)
    };
    let valid = host.len() <= 253 && host.split('.').all(label_is_valid);
    valid.then(|| host.to_ascii_lowercase())
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// As it stands in the configuration: with the source of the secret, never the secret.
impl Serialize for Component {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = |domains: &[DomainPart]| -> Vec<String> {
            domains.iter().map(|domain| domain.to_string()).collect()
        };
        let admins: Vec<_> = self.admins.iter().map(BareJid::to_string).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("jid", self.jid.as_str())?;
        map.serialize_entry("server", &self.server.to_string())?;
        match &self.secret_source {
            SecretSource::File(path) => map.serialize_entry("secret-file", path)?,
            SecretSource::Variable(name) => map.serialize_entry("secret-env", name)?,
            SecretSource::Credential => {}
        }
        map.serialize_entry("domains", &texts(&self.domains))?;
        map.serialize_entry("feeds", &texts(&self.feeds))?;
        map.serialize_entry("admins", &admins)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (written, host, port) in [
            ("127.0.0.1:5347", "127.0.0.1", 5347),
            ("Xmpp.Example.org:8888", "xmpp.example.org", 8888),
            ("[::1]:5347", "::1", 5347),
            ("my_host:1", "my_host", 1),
        ] {
            let address = ServerAddress::parse(written).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            let again = ServerAddress::parse(&address.to_string());
            assert_eq!(again, Some(address));
        }
        for wrong in [
            "",
            "localhost",
            "localhost:",
            "localhost:0",
            ":5347",
            "a b:1",
            "::1:5347",
            "[::1]",
            "h:65536",
            "[h]:1",
            "a..b:1",
        ] {
            assert_eq!(ServerAddress::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_parent_domain() {
        let parent_of = |jid: &str| {
            let jid = DomainPart::new(jid).unwrap().into_owned();
            parent(&jid).map(|domain| domain.to_string())
        };
        assert_eq!(
            parent_of("caps.example.org").as_deref(),
            Some("example.org")
        );
        assert_eq!(parent_of("caps.localhost").as_deref(), Some("localhost"));
        assert_eq!(parent_of("caps"), None);
        assert_eq!(parent_of("192.0.2.1"), None);
    }
}
