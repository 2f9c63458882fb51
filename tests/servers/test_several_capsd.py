"""Two capsd under two addresses, one of them in use; a second one under the same address; and an ejabberd of two nodes."""

import asyncio
import os

import pytest

from crowd.campaign import Beside
from crowd.scene import Scene
from crowd.several import SECOND, cluster, server_for_two
from harness.caps import sample
from harness.client import Client, log_out_all
from harness.one_ejabberd import stats
from harness.processes import until
from harness.raw import RawSession, previous_id
from harness.scripted import ScriptedCapsd
from harness.servers import DOMAIN

LONG = os.environ.get("CAPSD_LONG") == "1"
# Seconds after which capsd forgets whom a feeder that told everything anew did not tell of again.
REMOVED_AFTER = 3
LIMITS = 'new-keys-per-account = "1000/h"'


@pytest.fixture
def server(kind, tmp_path):
    server = server_for_two(kind, tmp_path)
    yield server.start()
    server.kill()


async def until_turned_to(server, capsd, change):
    """Does something upon which the module turns to that capsd, and waits until it has."""
    beside = Beside(server, capsd)
    before = beside.fed()
    change()
    await beside.until_fed(before)


async def test_the_module_goes_from_one_to_the_other_and_back(server, make_capsd, make_client):
    scene = await Scene(server, make_client).begin()
    first = make_capsd(server, limits=LIMITS).start()
    second = make_capsd(server, jid=SECOND, limits=LIMITS).start()
    await scene.until_answered_by_capsd()
    await until_turned_to(server, second, first.stop)
    await scene.until_answered_by_capsd()
    await until_turned_to(server, first, first.start)
    await scene.until_answered_by_capsd()
    if LONG:
        # One that hangs keeps its connection: it is given up when it has not answered for ten seconds.
        before = Beside(server, second).fed()
        first.hang()
        await scene.announce_new()
        await Beside(server, second).until_fed(before)
        await scene.until_answered_by_capsd()
        first.go_on()
    scene.assert_no_trouble()


async def test_a_second_capsd_under_the_same_address_is_noticed(server, make_capsd, make_client):
    scene = await Scene(server, make_client).begin()
    first = make_capsd(server).start()
    await Beside(server, first).until_fed()
    second = make_capsd(server)
    second.start(linked=False)
    if server.kind == "prosody":
        # Prosody permits one connection; the one that is refused says why.
        await until(lambda: "another connection holds" in second.log(), lambda: f"it is said: {second.log()}")
        await scene.until_answered_by_capsd()
        assert "denying connection" in server.log.read_text(), "Prosody says so, too"
    else:
        # ejabberd permits several, and spreads what it sends over them.
        async def is_said():
            await scene.announce_new()
            await scene.ask()
            return any("a second capsd answers under the address" in capsd.log() for capsd in (first, second))

        for _ in range(100):
            if await is_said():
                break
        else:
            raise AssertionError("nobody has noticed")
        scene.assert_no_trouble()


@pytest.fixture
async def nodes(tmp_path):
    """Two nodes of one ejabberd."""
    nodes = cluster(tmp_path)
    try:
        for node in nodes:
            node.start()
        nodes[1].join(nodes[0])
        yield nodes
    finally:
        for node in nodes:
            node.kill()


async def test_each_node_of_a_cluster_feeds_its_own_sessions(nodes, make_capsd):
    one, two = nodes
    names = ["here", "there"]
    one.add_users(names)
    one.befriend(names)
    first = make_capsd(one, limits=LIMITS).start()
    second = make_capsd(two, jid=SECOND, limits=LIMITS).start()
    here, there = Client(one, "here", sample("here")), Client(two, "there", sample("there"))
    for client in (here, there):
        await client.log_in()
        client.announce()
    await until(lambda: here.presences_from(there.bare) and there.presences_from(here.bare), "they see each other")

    async def ask_each_other():
        for asker, asked in ((here, there), (there, here)):
            for node in (asked.info.node_0115(), None):
                assert (await asker.ask(node, to=asked.jid)).info.covered() == asked.info.covered()

    await first.until_metric("capsd_holders", 2)
    await ask_each_other()
    # Both nodes turn to the second one, which is told of the sessions of both, and asks nobody whom the first one asked: it asks them anew.
    first.stop()
    await second.until_metric("capsd_holders", 2)
    await second.until_idle()
    for client in (here, there):
        client.questions.clear()
    await ask_each_other()
    assert [client.questions for client in (here, there)] == [[], []]
    # Each told everything anew, which says nothing about what the other one told; it would be gone after some seconds.
    await asyncio.sleep(REMOVED_AFTER + 1)
    assert second.metrics().total("capsd_holders") == 2

    # A session ends on one node; its own node says so.
    await there.log_out()
    await until(lambda: second.metrics().total("capsd_holders") == 1, "it is no holder any more")
    # A new one, with a hash that nobody knows, on the node to which capsd is not connected.
    first.start()
    await first.until_metric("capsd_holders", 1)
    seen = len(here.presences_from(there.bare))
    there = await Client(two, "there", sample("new")).log_in()
    there.announce()
    await until(lambda: len(here.presences_from(there.bare)) > seen, "it is back")
    assert (await here.ask(there.info.node_0115(), to=there.jid)).info.covered() == there.info.covered()
    await first.until_idle()
    assert len(there.questions) == 1
    await log_out_all([here, there])
    for node in nodes:
        node.process.require_running()


async def test_a_node_that_dies_leaves_nobody_behind(nodes, make_capsd):
    one, two = nodes
    names = ["survives", "dies"]
    one.add_users(names)
    capsd = make_capsd(one, limits=LIMITS).start()
    survivor, dead = (Client(node, name, sample(name)) for node, name in zip(nodes, names))
    for client in (survivor, dead):
        await client.log_in()
        client.announce()
    await capsd.until_metric("capsd_holders", 2)
    two.kill()
    await until(lambda: capsd.metrics().total("capsd_holders") == 1, "the other node says that its sessions are gone")
    # The node comes back, and speaks for itself.
    two.start()
    again = await Client(two, "dies", sample("back")).log_in()
    again.announce()
    await until(lambda: capsd.metrics().total("capsd_holders") == 2, "who is back is there")
    await asyncio.sleep(REMOVED_AFTER + 1)
    assert capsd.metrics().total("capsd_holders") == 2
    await log_out_all([survivor, again])
    one.process.require_running()


async def test_a_session_that_goes_on_on_another_node_is_still_there(nodes):
    one, two = nodes
    one.add_users(["moves"])
    capsd = await ScriptedCapsd(one).start()
    address, info = f"moves@{DOMAIN}/r", sample("moves")
    sessions = []

    async def begin(node):
        sessions.append(await RawSession().open(node, "moves"))
        return sessions[-1]

    try:
        session = await begin(one)
        await session.bind("r")
        enabled = await session.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>", "<enabled")
        await session.say(f"<presence>{info.c_0390()}</presence>", "<presence")
        await until(lambda: capsd.present().get(address), "it is reported")
        session.writer.transport.abort()
        session = await begin(two)
        await session.say(f"<resume xmlns='urn:xmpp:sm:3' previd='{previous_id(enabled)}' h='0'/>", "<resumed")
        await until(lambda: stats(one)["sessions_announcing"] == 0, "the first node has it no longer")
        await until(lambda: stats(two)["sessions_announcing"] == 1, "the second one has")
        # The same address begins anew on the first node.
        session = await begin(one)
        await session.bind("r")
        await session.say(f"<presence>{info.c_0390()}</presence>", "<presence")
        await until(lambda: stats(two)["sessions_announcing"] == 0, "it was replaced")
        await asyncio.sleep(0.5)
        assert capsd.present().get(address) and "gone" not in {word for word, jid, _, _ in capsd.reports if jid == address}
        await session.say("</stream:stream>", "</stream:stream>")
        await until(lambda: address not in capsd.present(), "its end is reported")
    finally:
        for session in sessions:
            session.writer.close()
        await capsd.stop()
