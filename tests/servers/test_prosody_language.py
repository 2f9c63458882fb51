"""Prosody's module and languages: what it serves verifies as it is received, and what it contributes counts the language of the stanza."""

import xml.etree.ElementTree as ET

import pytest

from crowd.campaign import Beside
from harness.caps import Info, info_as_received, sample
from harness.client import Client, log_in_all, log_out_all
from harness.processes import until
from harness.servers import Prosody


@pytest.fixture(scope="module", params=["en", "de"])
def server(request, tmp_path_factory):
    """A Prosody with the module whose clients have streams of that language."""
    server = Prosody(tmp_path_factory.mktemp("prosody"), language=request.param, module={"hold": 5}, own_caps=True)
    yield server.start()
    server.kill()


@pytest.fixture
async def friends(server, make_capsd):
    """Two clients beside the module and capsd, and a function by which the first announces something that the second receives."""
    capsd = make_capsd(server, resolver='holder-timeout = "500ms"\ndeadline = "1s"').start()
    await Beside(server, capsd).until_fed()
    server.add_users(["client", "asker"])
    client, asker = await log_in_all([Client(server, "client"), Client(server, "asker")])
    asker.announce_nothing()

    async def show(info, *elements):
        client.info = info
        before = len(asker.presences)
        client.announce(*elements)
        client.announce(*elements, to=asker.jid)
        await until(lambda: len(asker.presences) > before, "it arrives")

    yield client, asker, show
    await log_out_all([client, asker])
    capsd.stop()


async def test_the_module_serves_what_verifies_as_it_is_received(server, friends):
    client, asker, show = friends
    info = sample("served")
    await show(info, info.c_0115(), info.c_0390())
    await asker.ask(info.node_0390(), to=client.jid)
    asked = len(client.questions)
    for node in (info.node_0390(), info.node_0115(), None):
        reply = await asker.ask(node, to=client.jid)
        assert (reply.info.covered(), reply.node) == (info.covered(), node)
        # Whatever the language of the stream by which it came.
        received = info_as_received(reply.child, ET.fromstring(reply.xml), server.language)
        assert received.hash_0390() == info.hash_0390(), ET.tostring(reply.child)
    assert len(client.questions) == asked, "the module answered"


async def test_an_answer_that_passes_by_is_contributed_with_its_language(server, friends):
    client, asker, show = friends
    plain = sample("stream")
    # The hash counts the language of the client's stream, which no element of its answer repeats.
    spoken = Info([(category, type_, lang or server.language, name) for category, type_, lang, name in plain.identities], plain.features, plain.forms)
    # capsd asks in vain.
    answer = client.answer
    client.answer = lambda question: answer(question) if question.sender == asker.jid else None
    await show(plain, spoken.c_0390())
    assert (await asker.ask(spoken.node_0390(), to=client.jid)).info.covered() == plain.covered(), "the client answers itself"
    asked = len(client.questions)
    reply = await asker.ask(spoken.node_0390(), to=client.jid)
    assert len(client.questions) == asked, "and after that the module"
    assert reply.info.covered() == spoken.covered()
