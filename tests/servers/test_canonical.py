"""What capsd serves hashes to its key again in implementations that share nothing with it, and holds nothing that the hash does not cover."""

import base64
import collections
import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import aioxmpp.disco
import aioxmpp.forms  # makes data forms known to aioxmpp's disco#info
import aioxmpp.xml
import pytest
from aioxmpp.entitycaps import caps115, caps390
from slixmpp import ClientXMPP, Iq

from harness.caps import DATA_FORM, DISCO_INFO, LANG
from harness.servers import REPOSITORY

sys.path.append(str(REPOSITORY / "tests/caps"))
import hashlib_reference  # noqa: E402

# The example may have to be built first.
pytestmark = pytest.mark.timeout(1200)

# The elements of a reply, and the attributes that they may have; all of them but `type` of forms and their FORM_TYPE are hashed.
COVERED = {
    f"{{{DISCO_INFO}}}identity": {"category", "type", LANG, "name"},
    f"{{{DISCO_INFO}}}feature": {"var"},
    f"{{{DATA_FORM}}}x": {"type"},
    f"{{{DATA_FORM}}}field": {"var", "type"},
    f"{{{DATA_FORM}}}value": set(),
}


@pytest.fixture(scope="module")
def served():
    """What capsd serves for every input, printed by an example of the tests: (line, `<query/>`)."""
    command = ["cargo", "run", "--quiet", "--locked", "--example", "served_answers"]
    output = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in output.splitlines()]
    assert len(lines) > 1000
    return [(line, ET.fromstring(line["reply"])[0]) for line in lines]


def report(counts):
    """Prints how many hashes were the same, and why others were not."""
    for case, count in counts.items():
        print(f"{count:5} {case or 'the same hash'}")


def texts(query):
    """Every string in a query."""
    for element in query.iter():
        yield from element.attrib.values()
        yield element.text or ""


def test_everything_hashes_to_its_key_by_hashlib(served):
    for line, query in served:
        found = [h["hash"] for h in hashlib_reference.hashes_of(query) if (h["family"], h["algorithm"]) == (line["family"], line["algorithm"])]
        assert line["hash"] in found, line


def test_nothing_is_served_that_the_hash_does_not_cover(served):
    for line, query in served:
        assert set(query.attrib) == {LANG, "node"} and query.get(LANG) == "", line
        assert line["hash"] in query.get("node")
        assert not (query.text or query.tail), line
        for element in query.iter():
            if element is query:
                continue
            assert set(element.attrib) <= COVERED[element.tag], line
            assert element.tail is None and (element.text is None or element.tag == f"{{{DATA_FORM}}}value"), line
            if element.tag == f"{{{DATA_FORM}}}x":
                assert element.get("type") == "result"
                assert element[0].attrib == {"var": "FORM_TYPE", "type": "hidden"}
                assert all("type" not in field.attrib for field in element[1:])
        # The generated inputs were full of what is not covered, always with this word in it.
        assert "uncovered" not in line["reply"], line


def sorts_identities_otherwise(line, query):
    """Whether the key is the hash of identities in the order of the XEP, and their joined strings sort in another one (en, en-US).

    slixmpp and aioxmpp sort joined strings; capsd serves such content under the hashes of both orders.
    """
    plain, joined = (hashlib_reference.string_0115(query, order) for order in (False, True))
    return line["family"] == "0115" and plain != joined and line["hash"] == hashlib_reference.digest("sha-1", plain)


def slixmpp_hash(client, line):
    """The 0115 hash that slixmpp computes for a reply. (It has no XEP-0390.)"""
    xml = ET.fromstring(line["reply"].replace("<iq ", "<iq xmlns='jabber:client' ", 1))
    return client.plugin["xep_0115"].generate_verstring(Iq(client, xml=xml)["disco_info"], line["algorithm"])


def test_everything_hashes_to_its_key_in_slixmpp(served):
    client = ClientXMPP("test@example.org", "")
    client.register_plugin("xep_0004")
    client.register_plugin("xep_0115")
    counts = collections.Counter()
    for line, query in served:
        if line["family"] == "0115":
            reason = "sorts identities as joined strings" if sorts_identities_otherwise(line, query) else None
            assert (slixmpp_hash(client, line) == line["hash"]) == (reason is None), (reason, line)
            counts[reason] += 1
    report(counts)
    assert counts[None] > 300


def aioxmpp_hash(line):
    """The hash that aioxmpp computes for a reply; None where it refuses to read it."""
    reply = line["reply"]
    query = reply[reply.index("<query") : reply.index("</iq>")].encode()
    try:
        info = aioxmpp.xml.read_single_xso(io.BytesIO(query), aioxmpp.disco.xso.InfoQuery)
    except ValueError:
        return None
    if line["family"] == "0115":
        return caps115.hash_query(info, line["algorithm"].replace("-", ""))
    return base64.b64encode(caps390._calculate_hash(line["algorithm"], caps390._get_hash_input(info))).decode()


def aioxmpp_diverges(line, query):
    """Why aioxmpp computes another hash than the XEPs say, or None."""
    if sorts_identities_otherwise(line, query):
        return "sorts identities as joined strings (0115)"
    features = [feature.get("var") for feature in query.findall(f"{{{DISCO_INFO}}}feature")]
    fields = [
        (field.get("var"), [value.text or "" for value in field])
        for field in query.iter(f"{{{DATA_FORM}}}field")
    ]
    if line["family"] == "0115" and any(set(text) & set("&<>") for text in texts(query)):
        return "escapes & and > before it hashes (0115)"
    if len(features) != len(set(features)):
        return "reads features into a set, so that a repeated one is lost (0390)"
    if any(not var for var, _ in fields):
        return "refuses a field whose var is empty"
    if any(sorted(values) != [v[:-1] for v in sorted(value + "\x1f" for value in values)] for _, values in fields):
        return "does not sort values with their separator (0390)"
    return None


def test_everything_hashes_to_its_key_in_aioxmpp_but_for_known_divergences(served):
    counts = collections.Counter()
    for line, query in served:
        reason = aioxmpp_diverges(line, query)
        assert (aioxmpp_hash(line) == line["hash"]) == (reason is None), (reason, line)
        counts[reason] += 1
        is_real = line["input"].startswith(("sha-1_", "md5_"))
        # No real answer is among these but those that repeat a feature.
        assert not is_real or reason is None or "repeated" in reason, line
    report(counts)
    assert counts[None] > 1000
