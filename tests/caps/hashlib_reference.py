"""Hashes disco#info documents with Python's hashlib, independently of capsd.

Arguments: files. Output: for each file, for each (family, variant, algorithm), the hash in base64, as JSON. A variant that
gives the same string as the plain one is left out, as `capsd hash` does.
"""

import base64
import hashlib
import json
import sys
import xml.etree.ElementTree as ET

DISCO = "{http://jabber.org/protocol/disco#info}"
DATA = "{jabber:x:data}"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def blake2b(size):
    return lambda data: hashlib.blake2b(data, digest_size=size)


ALGORITHMS = {
    "0115": {
        "md5": hashlib.md5,
        "sha-1": hashlib.sha1,
        "sha-224": hashlib.sha224,
        "sha-256": hashlib.sha256,
        "sha-384": hashlib.sha384,
        "sha-512": hashlib.sha512,
    },
    "0390": {
        "sha-256": hashlib.sha256,
        "sha-512": hashlib.sha512,
        "sha3-256": hashlib.sha3_256,
        "sha3-512": hashlib.sha3_512,
        "blake2b-256": blake2b(32),
        "blake2b-512": blake2b(64),
    },
}


def octets(text):
    return text.encode("utf-8")


def values(field):
    return [value.text or "" for value in field.findall(DATA + "value")]


def string_0115(query, joined):
    identities = [
        [octets(e.get(a, "")) for a in ("category", "type", LANG, "name")]
        for e in query.findall(DISCO + "identity")
    ]
    identities.sort(key=(lambda parts: b"/".join(parts)) if joined else None)
    tokens = [b"/".join(parts) for parts in identities]
    tokens += sorted(octets(e.get("var", "")) for e in query.findall(DISCO + "feature"))
    forms = []
    for form in query.findall(DATA + "x"):
        fields = form.findall(DATA + "field")
        named = [f for f in fields if f.get("var") == "FORM_TYPE"]
        if not named or named[0].get("type") != "hidden":
            continue
        content = []
        for field in fields:
            if field.get("var") != "FORM_TYPE":
                content.append((octets(field.get("var", "")), sorted(map(octets, values(field)))))
        forms.append((octets(values(named[0])[0]), sorted(content)))
    for form_type, content in sorted(forms):
        tokens.append(form_type)
        for var, texts in content:
            tokens.append(var)
            tokens += texts
    return b"".join(token + b"<" for token in tokens)


def input_0390(query, inherit):
    inherited = query.get(LANG, "") if inherit else ""

    def part(text):
        return octets(text) + b"\x1f"

    def identity(e):
        parts = (e.get("category", ""), e.get("type", ""), e.get(LANG, inherited), e.get("name", ""))
        return b"".join(map(part, parts)) + b"\x1e"

    def field(e):
        return part(e.get("var", "")) + b"".join(sorted(map(part, values(e)))) + b"\x1e"

    def form(e):
        return b"".join(sorted(map(field, e.findall(DATA + "field")))) + b"\x1d"

    features = [part(e.get("var", "")) for e in query.findall(DISCO + "feature")]
    identities = [identity(e) for e in query.findall(DISCO + "identity")]
    forms = [form(e) for e in query.findall(DATA + "x")]
    return b"".join(b"".join(sorted(items)) + b"\x1c" for items in (features, identities, forms))


def digest(algorithm, data, family="0115"):
    return base64.b64encode(ALGORITHMS[family][algorithm](data).digest()).decode()


def hashes(path):
    return hashes_of(ET.parse(path).getroot())


def hashes_of(query):
    inputs = {
        ("0115", None): string_0115(query, joined=False),
        ("0115", "joined-order"): string_0115(query, joined=True),
        ("0390", None): input_0390(query, inherit=False),
        ("0390", "inherited-lang"): input_0390(query, inherit=True),
    }
    found = []
    for (family, variant), data in inputs.items():
        if variant and data == inputs[family, None]:
            continue
        for algorithm in ALGORITHMS[family]:
            found.append({"family": family, "variant": variant, "algorithm": algorithm, "hash": digest(algorithm, data, family)})
    return found


if __name__ == "__main__":
    print(json.dumps({path: hashes(path) for path in sys.argv[1:]}))
