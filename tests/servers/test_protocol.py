"""deploy/protocol.md is true: its examples are valid by its schema, and capsd answers its requests as it says."""

import copy
import re
import xml.etree.ElementTree as ET

import pytest
from lxml import etree

from harness.client import log_in_all
from harness.played import NAMESPACE, PlayedServer
from harness.servers import COMPONENT, DOMAIN, REPOSITORY

CAPSD = "urn:capsd:0"
DISCO_INFO = "http://jabber.org/protocol/disco#info"
DOCUMENT = (REPOSITORY / "deploy/protocol.md").read_text()
BLOCKS = re.findall(r"^\*Example (\d+)\. [^\n]*\*\n\n```xml\n(.*?)```", DOCUMENT, re.M | re.S)
EXAMPLES = {int(number): xml for number, xml in BLOCKS}
REQUESTS = [number for number, xml in EXAMPLES.items() if ET.fromstring(xml).get("type") in ("get", "set")]

# What a request of the document takes to be so before it.
PSI = (REPOSITORY / "tests/caps/documents/xep0115-complex.xml").read_text().partition("-->")[2]
SIMPLE_0390 = "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8="
LIE = f"<query xmlns='{DISCO_INFO}'><identity category='client' type='pc'/></query>"
OLD = f"<query xmlns='{DISCO_INFO}'><identity category='client' type='pc'/><feature var='jabber:iq:version'/></query>"


@pytest.fixture(scope="module")
def schema():
    return etree.XMLSchema(etree.parse(str(REPOSITORY / "deploy/protocol.xsd")))


def of_capsd(xml):
    """The elements of our namespace that stand in a stanza or in its error."""
    stanza = etree.fromstring(xml)
    return [element for path in ("*", "*/*") for element in stanza.findall(path) if element.tag.startswith(f"{{{CAPSD}}}") and element.getparent().tag in ("iq", "error")]


def test_the_document_has_its_examples():
    assert list(EXAMPLES) == list(range(1, 15))
    assert DOCUMENT.count("```xml") == len(EXAMPLES)
    assert REQUESTS == [1, 3, 5, 7, 9, 11, 13]


@pytest.mark.parametrize("number", EXAMPLES)
def test_every_example_is_valid(schema, number):
    elements = of_capsd(EXAMPLES[number])
    # Plain disco#info, and an error that says nothing.
    assert bool(elements) == (number not in (1, 2, 12))
    for element in elements:
        schema.assertValid(etree.ElementTree(copy.deepcopy(element)))


@pytest.mark.parametrize(
    "wrong",
    [
        "<lookup><key/></lookup>",
        "<lookup wait='perhaps'/>",
        "<lookup>" + "<key node='a'/>" * 257 + "</lookup>",
        "<lookup><key node='a' reason='because'/></lookup>",
        "<contribute/>",
        "<contribute>" + "<info/>" * 65 + "</contribute>",
        f"<feed instance='{'x' * 65}'/>",
        "<feed feeder=''/>",
        "<feed anew='perhaps'/>",
        "<feed><holder/></feed>",
        "<feed><gone/></feed>",
        "<feed><key node='a'/></feed>",
        "<reason>because</reason>",
        "<ask/>",
    ],
)
def test_the_schema_can_tell(schema, wrong):
    name = re.match(r"<(\w+)", wrong)[1]
    assert not schema.validate(etree.fromstring(wrong.replace(name, f"{name} xmlns='{CAPSD}'", 1)))


def shape(element):
    """What is compared of an answer: elements, attributes and reasons, but not the values that are another time's."""
    name = element.tag.replace(f"{{{NAMESPACE}}}", "")
    attributes = {key: value for key, value in element.attrib.items() if not key.endswith("}lang")}
    for key in ("instance", "epoch", "var", "name"):
        if key in attributes:
            attributes[key] = "any"
    children = [shape(child) for child in element]
    if name == f"{{{DISCO_INFO}}}query":
        # What stands in it is that of somebody, with an identity and a feature at the least.
        children = sorted({child[0] for child in children} & {f"{{{DISCO_INFO}}}identity", f"{{{DISCO_INFO}}}feature"})
    if name == f"{{{CAPSD}}}info" and children:
        # The document shows two keys of those that there are.
        assert len(children) >= 2 and {child[0] for child in children} == {f"{{{CAPSD}}}key"}
        children = ["keys"]
    return name, attributes, (element.text or "").strip(), children


def expected(number):
    """The answer that stands behind a request."""
    return ET.fromstring(EXAMPLES[number + 1])


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    from harness.daemon import Capsd

    server = PlayedServer()
    daemon = Capsd(tmp_path_factory.mktemp("capsd"), server)
    daemon.start(linked=False)
    yield server.connect()
    daemon.kill()
    server.close()


def asked_by_server(server, request):
    """Sends a request, answers what capsd asks for it, and returns the answer to the request."""
    server.send(request)
    wanted = ET.fromstring(request).get("id")
    while (stanza := server.next()).get("id") != wanted:
        question = stanza.find(f"{{{DISCO_INFO}}}query")
        node = question.get("node")
        content = OLD if node == "http://example.org/old#1.0" else PSI if "psi-im" in node else LIE
        server.send(f"<iq type='result' from='{stanza.get('to')}' to='{COMPONENT}' id='{stanza.get('id')}'>{content}</iq>")
    return stanza


def iq(kind, child, sender=DOMAIN, id_="before"):
    return f"<iq type='{kind}' from='{sender}' to='{COMPONENT}' id='{id_}'>{child}</iq>"


@pytest.fixture(scope="module")
def prepared(played):
    """What the examples take to be so: Psi is known, somebody lied about a hash of XEP-0390, Romeo's client is an old one."""
    contribution = f"<contribute xmlns='{CAPSD}'><info>{PSI}</info></contribute>"
    assert "reason" not in ET.tostring(asked_by_server(played, iq("set", contribution)), encoding="unicode")
    holders = (
        f"<holder jid='liar@{DOMAIN}/r' askable='true'><c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>{SIMPLE_0390}</hash></c></holder>"
        f"<holder jid='romeo@{DOMAIN}/orchard' askable='true'><c xmlns='http://jabber.org/protocol/caps' node='http://example.org/old' ver='1.0'/></holder>"
    )
    asked_by_server(played, iq("set", f"<feed xmlns='{CAPSD}'>{holders}</feed>"))
    waited = f"<lookup xmlns='{CAPSD}'><key node='urn:xmpp:caps#sha-256.{SIMPLE_0390}'/></lookup>"
    asked_by_server(played, iq("get", waited))
    return played


@pytest.mark.parametrize("number", REQUESTS)
def test_every_request_is_answered_as_it_says(schema, prepared, number):
    """From the component port of a server that is played, because only servers are believed to be servers."""
    answer = asked_by_server(prepared, EXAMPLES[number])
    assert shape(answer) == shape(expected(number))
    for element in of_capsd(ET.tostring(answer).decode().replace(f"{{{NAMESPACE}}}", "")):
        schema.assertValid(etree.ElementTree(element))


def of_a_user(xml, jid):
    """The request of an example, as a client sends it."""
    stanza = ET.fromstring(xml)
    return stanza.get("type"), ET.tostring(stanza[0], encoding="unicode"), jid


async def test_users_ask_and_tell_through_a_real_server(capsd, make_client):
    """What users may send goes through real servers unchanged, and so does the answer."""
    juliet, romeo = make_client("juliet"), make_client("romeo")
    await log_in_all([juliet, romeo])
    found = await juliet.ask()
    assert any(feature.get("var") == CAPSD for feature in found.child)
    told = await romeo.iq(COMPONENT, f"<contribute xmlns='{CAPSD}'><info>{PSI}</info></contribute>", "set")
    assert told.kind == "result" and "reason" not in told.xml, told.xml
    kind, lookup, _ = of_a_user(EXAMPLES[3], juliet.jid)
    answer = await juliet.iq(COMPONENT, lookup, kind)
    reasons = [key.get("reason") for key in answer.child]
    assert reasons == [None, "unknown", "unknown"]
    assert [feature.get("var") for feature in answer.child[0][0].iter(f"{{{DISCO_INFO}}}feature")][-1] == "http://jabber.org/protocol/muc"
    assert [key.get("node") for key in answer.child] == [key.get("node") for key in ET.fromstring(lookup)]
    for number, condition in ((11, "forbidden"), (13, "bad-request")):
        kind, child, _ = of_a_user(EXAMPLES[number], juliet.jid)
        answer = await juliet.iq(COMPONENT, child, kind)
        assert (answer.condition, answer.reason) == (condition, expected(number)[0].findtext(f"{{{CAPSD}}}reason"))
    # Nobody may speak for the server by any address that a user can have.
    assert capsd.metrics().total("capsd_holders") == 0


async def test_a_whole_batch_fits_through_a_real_server(capsd, make_client):
    """256 keys in one round trip, though their contents make a large stanza."""
    juliet = make_client("juliet")
    await log_in_all([juliet])
    await juliet.iq(COMPONENT, f"<contribute xmlns='{CAPSD}'><info>{PSI}</info></contribute>", "set")
    keys = "<key node='http://psi-im.org#q07IKJEyjvHSyhy//CH0CxmKi8w='/>" * 256
    answer = await juliet.iq(COMPONENT, f"<lookup xmlns='{CAPSD}'>{keys}</lookup>")
    contents = [key for key in answer.child if len(key)]
    assert len(answer.child) == 256 and len(answer.xml) > 200_000
    assert {key.get("reason") for key in answer.child if not len(key)} <= {"too-large"}
    assert len(contents) > 200
