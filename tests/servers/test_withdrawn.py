"""What an operator withdraws, the servers' modules do not go on saying: their own memory is one tier more."""

import asyncio
from collections import Counter

import pytest

from crowd.campaign import Beside
from harness.caps import sample
from harness.client import log_in_all
from harness.processes import until


@pytest.fixture
async def scene(make_crowd_server, make_capsd, make_client):
    """A server with the module, a capsd, and two friends, of whom one has the other's announcement and an answer of the module's own."""
    server = make_crowd_server(module={"retry": 1})
    capsd = make_capsd(server).start()
    await Beside(server, capsd).until_fed()
    info = sample("withdrawn")
    target, asker = make_client("target", info, server=server), make_client("asker", server=server)
    server.befriend(["target", "asker"])
    await log_in_all([asker, target])
    asker.announce_nothing()
    target.announce()
    await until(lambda: asker.presences_from(target.bare), "the announcement arrives")
    lookups = lambda: capsd.metrics().total("capsd_operations_total", operation="lookup")
    asked = lambda: len([question for question in target.questions if question.sender == asker.jid])

    async def ask():
        """Asks the target; how many look-ups and how many questions to the target that took."""
        before = lookups(), asked()
        assert (await asker.ask(info.node_0115(), to=target.jid)).info.covered() == info.covered()
        return lookups() - before[0], asked() - before[1]

    async def until_it_takes(cost):
        """Asks again and again, until one question costs that."""
        costs = []
        while cost not in costs:
            costs.append(await ask())
            assert len(costs) < 200, f"no question takes {cost}: {Counter(costs)}"
            await asyncio.sleep(0.05)

    await until_it_takes((0, 0))
    return capsd, info, ask, until_it_takes


async def test_a_flush_is_one_for_the_modules_too(scene):
    capsd, info, ask, until_it_takes = scene
    for what in ([info.node_0115()], ["--all"]):
        capsd.command("flush", *what)
        # The client is asked by capsd, if at all, and not by who asks.
        await until_it_takes((1, 0))
        assert await ask() == (0, 0), "it is kept again"


async def test_what_is_denied_is_answered_by_the_client_alone(scene):
    capsd, info, ask, until_it_takes = scene
    capsd.command("deny", info.node_0115(), "sent by a broken bot")
    # Nobody is looked up twice for what is denied.
    await until_it_takes((0, 1))
    assert await ask() == (0, 1)
    capsd.command("undeny", info.node_0115())
    await until_it_takes((0, 0))
