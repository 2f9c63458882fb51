"""What capsd serves: the verified content and nothing else, under every key of that content."""

import xml.etree.ElementTree as ET

import pytest

from harness.caps import DATA_FORM, DISCO_INFO, Info, NODE_URL, sample
from harness.client import log_in_all, until_asked

MUST_ALGORITHMS = ["sha-256", "sha3-256", "blake2b-512"]


async def test_learned_by_0115_and_asked_by_0390(capsd, make_client):
    info = sample("old-to-new")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce(info.c_0115())
    await until_asked(client)
    await asker.ask(info.node_0115())
    for algorithm in MUST_ALGORITHMS:
        reply = await asker.ask(info.node_0390(algorithm))
        assert reply.info.covered() == info.covered(), algorithm
        assert reply.node == info.node_0390(algorithm)
    assert capsd.queries() == 1


async def test_learned_by_0390_and_asked_by_0115(capsd, make_client):
    info = sample("new-to-old")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce(info.c_0390("sha-256"))
    await until_asked(client)
    await asker.ask(info.node_0390())
    for node in (info.node_0115(), info.node_0390("blake2b-512")):
        reply = await asker.ask(node)
        assert reply.info.covered() == info.covered(), node
        assert reply.node == node
    assert capsd.queries() == 1


async def test_the_node_url_is_no_part_of_the_key(capsd, make_client):
    info = sample("node-url")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce()
    await until_asked(client)
    await asker.ask(info.node_0115())
    for url in ("https://other.example", "a#b", ""):
        reply = await asker.ask(info.node_0115(url=url))
        assert reply.info.covered() == info.covered()
        assert reply.node == info.node_0115(url=url)
    assert capsd.queries() == 1


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
async def test_0115_with_other_hash_functions(capsd, make_client, algorithm):
    info = sample(f"0115-{algorithm}")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce(info.c_0115(algorithm))
    await until_asked(client)
    assert (await asker.ask(info.node_0115(algorithm))).info.covered() == info.covered()
    assert (await asker.ask(info.node_0115())).info.covered() == info.covered()


class Decorated(Info):
    """Disco info whose answer is full of what 0115 does not cover."""

    def query(self, node=None):
        text = super().query(node)
        text = text.replace("<field var='os'", "<field var='os' type='text-single' label='Your system'")
        text = text.replace("<field var=\"os\"", "<field var=\"os\" type='text-single' label='Your system'")
        ignored = (
            f"<x xmlns='{DATA_FORM}' type='result'><title>Lies</title><field var='admin'><value>mallory</value></field></x>"
            f"<x xmlns='{DATA_FORM}' type='result'><field var='FORM_TYPE'><value>urn:example:not-hidden</value></field></x>"
            "<power xmlns='urn:example:uncovered'>all of it</power>"
        )
        return text.replace("</query>", ignored + "</query>")


async def test_what_the_hash_does_not_cover_is_not_served(capsd, make_client):
    plain = sample("decorated")
    info = Decorated(plain.identities, plain.features, plain.forms)
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce()
    await until_asked(client)
    reply = await asker.ask(info.node_0115())
    assert reply.info.covered() == plain.covered()
    for uncovered in ("label", "Your system", "title", "mallory", "not-hidden", "urn:example:uncovered"):
        assert uncovered not in reply.xml
    allowed = {f"{{{DISCO_INFO}}}{name}" for name in ("query", "identity", "feature")}
    allowed |= {f"{{{DATA_FORM}}}{name}" for name in ("x", "field", "value")}
    assert {element.tag for element in reply.child.iter()} <= allowed
    form = reply.child.find(f"{{{DATA_FORM}}}x")
    assert form.get("type") == "result"
    assert form.find(f"{{{DATA_FORM}}}field[@var='FORM_TYPE']").get("type") == "hidden"


async def test_characters_that_xml_escapes_and_other_scripts_survive(capsd, make_client):
    info = Info(
        [("client", "pc", "", "Tom & \"Jerry\" ' >"), ("client", "pc", "ja", "ソフト"), ("client", "pc", "el", "Ψ 0.11")],
        ["urn:example:a&b", "urn:example:'quoted\"", DISCO_INFO],
        [("urn:xmpp:dataforms:softwareinfo", {"os": ["A & B > C"], "software": ["Ψ"]})],
    )
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce(info.c_0115(), info.c_0390())
    await until_asked(client)
    for node in (info.node_0115(), info.node_0390()):
        assert (await asker.ask(node)).info.covered() == info.covered()


@pytest.mark.parametrize("node, condition, error_type, reason", [
    (sample("never-seen").node_0115(), "item-not-found", "cancel", "unknown"),
    (sample("never-seen").node_0390(), "item-not-found", "cancel", "unknown"),
    ("just some node", "bad-request", "modify", "malformed-node"),
    (f"{NODE_URL}#QgayPKawpkPSDYmwT/WM94uAlu0", "bad-request", "modify", "malformed-node"),
    (f"{NODE_URL}#QgayPKawpkPSDYmwT/WM94uAlu1=", "bad-request", "modify", "malformed-node"),
    ("urn:xmpp:caps#sha-256.QgayPKawpkPSDYmwT/WM94uAlu0=", "bad-request", "modify", "malformed-node"),
    ("urn:xmpp:caps#sha-1.QgayPKawpkPSDYmwT/WM94uAlu0=", "item-not-found", "cancel", "unsupported-algorithm"),
    (f"{NODE_URL}#KwDRdg==", "item-not-found", "cancel", "unsupported-algorithm"),
    ("n" * 2000 + "#QgayPKawpkPSDYmwT/WM94uAlu0=", "bad-request", "modify", "too-large"),
], ids=["unknown-0115", "unknown-0390", "no-hash", "no-padding", "unused-bits", "wrong-length", "0390-sha-1", "odd-length", "too-large"])
async def test_errors_say_why(capsd, make_client, node, condition, error_type, reason):
    asker = await make_client("asker").log_in()
    reply = await asker.ask(node)
    assert (reply.kind, reply.condition, reply.error_type, reply.reason) == ("error", condition, error_type, reason), reply.xml
    assert capsd.metrics().total("capsd_lookup_failures_total", reason=reason) == 1


async def test_a_hit_is_the_same_answer_for_everybody(capsd, make_client):
    info = sample("popular")
    client = make_client("client", info)
    askers = [make_client(f"asker{i}") for i in range(5)]
    await log_in_all([client, *askers])
    client.announce()
    await until_asked(client)
    await askers[0].ask(info.node_0115())
    replies = [await asker.ask(info.node_0115()) for asker in askers]
    assert len({ET.tostring(reply.child) for reply in replies}) == 1
    assert capsd.metrics().total("capsd_lookups_total", frontend="xmpp", result="hit") >= 5
    await client.log_out()
    assert (await askers[0].ask(info.node_0115())).info.covered() == info.covered(), "also after the last holder has left"
