"""Disco info and its hashes, computed here and not by capsd: XEP-0115 section 5.1 and XEP-0390 section 4.1, over hashlib."""

import base64
import hashlib
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

DISCO_INFO = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS = "http://jabber.org/protocol/disco#items"
CAPS_0115 = "http://jabber.org/protocol/caps"
CAPS_0390 = "urn:xmpp:caps"
HASHES = "urn:xmpp:hashes:2"
DATA_FORM = "jabber:x:data"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
NODE_URL = "https://client.example/caps"

# hashlib's names for the hash functions of the IANA registry.
FUNCTIONS = {
    "sha-1": hashlib.sha1,
    "sha-256": hashlib.sha256,
    "sha-512": hashlib.sha512,
    "sha3-256": hashlib.sha3_256,
    "sha3-512": hashlib.sha3_512,
    "blake2b-256": lambda data: hashlib.blake2b(data, digest_size=32),
    "blake2b-512": hashlib.blake2b,
}


@dataclass
class Info:
    """Disco info: identities as (category, type, lang, name), features, and forms as (FORM_TYPE, {var: [value, …]})."""

    identities: list
    features: list
    forms: list = field(default_factory=list)

    def covered(self):
        """What a hash covers, so that equal contents compare equal whatever order they were sent in."""
        return (
            sorted(self.identities),
            sorted(self.features),
            sorted((form_type, sorted((var, sorted(values)) for var, values in fields.items())) for form_type, fields in self.forms),
        )

    def ver(self, algorithm="sha-1"):
        """The 0115 verification string."""
        text = "".join(f"{category}/{type_}/{lang}/{name}<" for category, type_, lang, name in sorted(self.identities))
        text += "".join(f"{feature}<" for feature in sorted(self.features))
        for form_type, fields in sorted(self.forms, key=lambda form: form[0]):
            text += f"{form_type}<"
            for var in sorted(fields):
                text += f"{var}<" + "".join(f"{value}<" for value in sorted(fields[var]))
        return digest(algorithm, text.encode())

    def hash_0390(self, algorithm="sha-256"):
        """The 0390 hash."""
        part = lambda *texts: b"".join(text.encode() + b"\x1f" for text in texts)
        features = b"".join(sorted(part(feature) for feature in self.features))
        identities = b"".join(sorted(part(*identity) + b"\x1e" for identity in self.identities))
        forms = []
        for form_type, fields in self.forms:
            every = dict(fields) | {"FORM_TYPE": [form_type]}
            forms.append(
                b"".join(sorted(part(var) + b"".join(sorted(part(value) for value in values)) + b"\x1e" for var, values in every.items()))
                + b"\x1d"
            )
        return digest(algorithm, features + b"\x1c" + identities + b"\x1c" + b"".join(sorted(forms)) + b"\x1c")

    def node_0115(self, algorithm="sha-1", url=NODE_URL):
        """The node to ask for by 0115."""
        return f"{url}#{self.ver(algorithm)}"

    def node_0390(self, algorithm="sha-256"):
        """The node to ask for by 0390."""
        return f"{CAPS_0390}#{algorithm}.{self.hash_0390(algorithm)}"

    def c_0115(self, algorithm="sha-1", url=NODE_URL):
        """The 0115 element of a presence."""
        return f"<c xmlns='{CAPS_0115}' hash='{algorithm}' node={quoteattr(url)} ver='{self.ver(algorithm)}'/>"

    def c_0390(self, *algorithms):
        """The 0390 element of a presence."""
        hashes = "".join(
            f"<hash xmlns='{HASHES}' algo='{algorithm}'>{self.hash_0390(algorithm)}</hash>" for algorithm in algorithms or ("sha-256",)
        )
        return f"<c xmlns='{CAPS_0390}'>{hashes}</c>"

    def query(self, node=None):
        """The content of a disco#info answer, in the order of the lists."""
        xml = f"<query xmlns='{DISCO_INFO}'" + (f" node={quoteattr(node)}>" if node else ">")
        for category, type_, lang, name in self.identities:
            xml += f"<identity category={quoteattr(category)} type={quoteattr(type_)}"
            xml += f" xml:lang={quoteattr(lang)}" if lang else ""
            xml += (f" name={quoteattr(name)}" if name else "") + "/>"
        xml += "".join(f"<feature var={quoteattr(feature)}/>" for feature in self.features)
        for form_type, fields in self.forms:
            xml += f"<x xmlns='{DATA_FORM}' type='result'><field var='FORM_TYPE' type='hidden'><value>{escape(form_type)}</value></field>"
            for var, values in fields.items():
                xml += f"<field var={quoteattr(var)}>" + "".join(f"<value>{escape(value)}</value>" for value in values) + "</field>"
            xml += "</x>"
        return xml + "</query>"


def digest(algorithm, data):
    """The digest in base64."""
    return base64.b64encode(FUNCTIONS[algorithm](data).digest()).decode()


def info_of(query, inherited=""):
    """The disco info in a `<query/>` element: what a hash covers, nothing else.

    XEP-0115 counts the language that an identity states itself. XEP-0390 counts inherited ones, too: `info_as_received`.
    """
    info = Info([], [], [])
    for child in query:
        if child.tag == f"{{{DISCO_INFO}}}identity":
            info.identities.append((child.get("category"), child.get("type"), child.get(LANG, inherited), child.get("name", "")))
        elif child.tag == f"{{{DISCO_INFO}}}feature":
            info.features.append(child.get("var"))
        elif child.tag == f"{{{DATA_FORM}}}x":
            form_type, fields = None, {}
            for form_field in child.findall(f"{{{DATA_FORM}}}field"):
                values = [value.text or "" for value in form_field.findall(f"{{{DATA_FORM}}}value")]
                if form_field.get("var") != "FORM_TYPE":
                    fields.setdefault(form_field.get("var"), []).extend(values)
                elif form_field.get("type") == "hidden":
                    form_type = values[0]
            if form_type is not None:
                info.forms.append((form_type, fields))
    return info


def info_as_received(query, stanza, stream_language):
    """The disco info with the languages that identities inherit from the `<query/>`, its stanza or the stream by which it came."""
    return info_of(query, query.get(LANG, stanza.get(LANG, stream_language)))


def sample(name, extra=()):
    """Disco info of an invented client; each `name` has hashes of its own."""
    return Info(
        [("client", "pc", "", f"Sample {name}"), ("client", "pc", "de", f"Beispiel {name}")],
        ["http://jabber.org/protocol/caps", DISCO_INFO, "urn:xmpp:ping", f"urn:example:feature:{name}", *extra],
        [("urn:xmpp:dataforms:softwareinfo", {"os": ["Linux"], "software": ["Sample"], "software_version": [name]})],
    )
