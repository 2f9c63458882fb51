"""Servers stamp a language on every stanza that has none. That changes no verdict and no answer, whatever the language is."""

import xml.etree.ElementTree as ET

import pytest

from crowd.campaign import Beside
from harness.caps import Info, info_as_received, sample
from harness.client import Client, log_in_all, log_out_all, until_asked
from harness.processes import until


class Speaking(Info):
    """Disco info whose answer states a language for all of it, which identities without one of their own inherit."""

    language = "de"

    def query(self, node=None):
        return super().query(node).replace("<query ", f"<query xml:lang='{self.language}' ", 1)

    def inherited(self):
        """The same content with the inherited language written out."""
        return Info(
            [(category, type_, lang or self.language, name) for category, type_, lang, name in self.identities], self.features, self.forms
        )


@pytest.fixture(scope="module", params=["en", "de"])
def server(request, make_server):
    return make_server(language=request.param)


async def test_the_stamp_changes_no_verdict_and_no_answer(capsd, server, make_client):
    """Among the identities is one without a language; each family is learned by itself, so that each verdict is seen."""
    by_0115, by_0390 = sample("stamped-0115"), sample("stamped-0390")
    old, new, asker = make_client("old", by_0115), make_client("new", by_0390), make_client("asker")
    await log_in_all([old, new, asker])
    old.announce(by_0115.c_0115())
    new.announce(by_0390.c_0390("sha-256"))
    await until_asked(old)
    await until_asked(new)
    for info in (by_0115, by_0390):
        for node in (info.node_0115(), info.node_0390(), info.node_0390("blake2b-512")):
            reply = await asker.ask(node)
            assert reply.info.covered() == info.covered(), node
    metrics = capsd.metrics()
    assert metrics.total("capsd_verifications_total", result="mismatch") == 0
    assert capsd.queries() == 2


async def test_the_answer_to_a_0390_node_verifies_as_it_is_received(capsd, server, make_client):
    """A receiver that counts inherited languages, as XEP-0390 says, must come to the same hash under any stamp."""
    info = sample("received")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce(info.c_0390())
    await until_asked(client)
    reply = await asker.ask(info.node_0390())
    assert as_received(reply, server).hash_0390() == info.hash_0390()


def as_received(reply, server):
    """The disco info of a reply with inherited languages; that of the stream is the server's."""
    return info_as_received(reply.child, ET.fromstring(reply.xml), server.language)


async def test_a_language_that_the_0390_hash_counts_is_served_explicitly(capsd, server, make_client):
    plain = sample("inherited")
    info = Speaking(plain.identities, plain.features, plain.forms)
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce(info.inherited().c_0390())
    await until_asked(client)
    reply = await asker.ask(info.inherited().node_0390())
    assert reply.info.covered() == info.inherited().covered()


# The same through the server's module, which answers in the place of clients.


@pytest.fixture(scope="module")
def module_server(kind, server, make_server):
    """A server of the same language with the module."""
    return make_server(language=server.language, module=True)


@pytest.fixture
async def fed(module_server, make_capsd):
    """A capsd that is fed by the module."""
    capsd = make_capsd(module_server).start()
    await Beside(module_server, capsd).until_fed()
    return capsd


async def test_what_the_module_says_verifies_as_it_is_received(fed, module_server):
    info = sample("interception")
    module_server.add_users(["holder", "asker"])
    holder, asker = Client(module_server, "holder", info), Client(module_server, "asker")
    try:
        await log_in_all([holder, asker])
        asker.announce_nothing()
        holder.announce(info.c_0390(), to=asker.jid)
        await fed.until_metric("capsd_verifications_total", 1, result="ok")
        await until(lambda: asker.presences_from(holder.bare), "the announcement arrives")
        holder.questions.clear()
        for node in (info.node_0390(), None):
            assert as_received(await asker.ask(node, to=holder.jid), module_server).hash_0390() == info.hash_0390()
        assert not holder.questions, "the server has answered"
    finally:
        await log_out_all([holder, asker])
