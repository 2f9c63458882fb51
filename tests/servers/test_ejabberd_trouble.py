"""How ejabberd's module treats a capsd that is away, slow, new, or one of two; a scripted component is made to behave like that."""

import asyncio
import os

from harness.caps import sample
from harness.one_ejabberd import SECOND, connect, people, server, show, stats  # noqa: F401 (fixtures)
from harness.processes import until
from harness.servers import COMPONENT

LONG = os.environ.get("CAPSD_LONG") == "1"


async def test_nobody_waits_twice_for_a_capsd_that_hangs(server, connect, people):
    info = sample("hangs")
    capsd = await connect()
    holder, *askers = await people(hang_holder=None, hang_first=None, hang_second=None)
    holder.info = info
    await show(holder, *askers)
    capsd.silent = True
    held = stats(server)["held"]
    for asker in askers:
        assert (await asker.ask(info.node_0115(), to=holder.jid)).info.covered() == info.covered()
        assert stats(server)["held"] == held + 1, "the first one waits, and no other"
    assert [question.sender for question in holder.questions] == [asker.jid for asker in askers] and stats(server)["ready"] == 0
    capsd.silent = False
    await until(lambda: stats(server)["ready"], "it is noticed that capsd answers again", timeout=20)


async def test_a_client_that_is_slow_makes_nobody_doubt_capsd(server, connect, people):
    """A look-up waits for the client that is asked: meanwhile everything goes on."""
    warm, slow, learned = sample("warm"), sample("slow"), sample("learned")
    capsd = await connect(known={warm.node_0115(): warm}, verify=lambda node, content: node == learned.node_0115())
    holder, asker = await people(slow_holder=None, slow_asker=None)

    async def ask(info):
        holder.info = info
        await show(holder, asker)
        holder.questions.clear()
        assert (await asker.ask(info.node_0115(), to=holder.jid)).info.covered() == info.covered()
        return len(holder.questions)

    assert await ask(warm) == 0
    capsd.slow = {"lookup"}
    timeouts = stats(server)["hold_timeouts"]
    assert await ask(slow) == 1, "it was held in vain"
    assert stats(server)["ready"] == 1 and stats(server)["hold_timeouts"] == timeouts + 1
    if LONG:
        # The look-up itself is given up after ten seconds; capsd may be set to wait for longer.
        for _ in range(110):
            await asyncio.sleep(0.1)
            assert stats(server)["ready"] == 1
    assert await ask(warm) == 0, "what is known is answered"
    capsd.slow = set()
    held = stats(server)["held"]
    assert await ask(learned) == 1
    assert stats(server)["held"] == held + 1, "what is not known is held"
    await until(lambda: len(capsd.named("contribute")) == 2, lambda: f"what passes by is handed over: {capsd.requests}")
    await until(lambda: learned.node_0115() in capsd.known, "it is verified")
    assert await ask(learned) == 0


async def test_what_is_known_is_answered_while_capsd_seems_to_hang(server, connect, people):
    warm, cold = sample("hang-warm"), sample("hang-cold")
    capsd = await connect(known={warm.node_0115(): warm})
    server.set_option("hold", 300)
    try:
        holder, asker, other = await people(seems_holder=None, seems_asker=None, seems_other=None)
        other.info = holder.info = warm
        await show(holder, asker)
        assert (await asker.ask(warm.node_0115(), to=holder.jid)).info.covered() == warm.covered()
        capsd.silent = True
        other.info = cold
        await show(other, asker)
        assert (await asker.ask(cold.node_0115(), to=other.jid)).info.covered() == cold.covered()
        assert stats(server)["ready"] == 0, "it has answered nothing"
        assert (await asker.ask(warm.node_0115(), to=holder.jid)).info.covered() == warm.covered()
        assert not holder.questions
        held = stats(server)["held"]
        other.info = sample("hang-colder")
        await show(other, asker)
        assert (await asker.ask(other.info.node_0115(), to=other.jid)).info.covered() == other.info.covered()
        assert stats(server)["held"] == held, "nobody is held any more"
        capsd.silent = False
        await until(lambda: stats(server)["ready"], "it answers again")
    finally:
        server.set_option("hold", 800)


async def test_without_capsd_everything_goes_its_way(server, connect, people):
    info = sample("absent")
    capsd = await connect(known={info.node_0390(): info})
    holder, asker = await people(absent_holder=None, absent_asker=None)
    holder.info = info
    before = len(asker.presences)
    holder.announce(info.c_0390(), to=asker.jid)
    await until(lambda: len(asker.presences) > before, "it arrives")
    for asked in (0, 1, 1):
        assert (await asker.ask(info.node_0390(), to=holder.jid)).info.covered() == info.covered()
        assert len(holder.questions) == asked
        if asked == 0:
            await capsd.stop()
            await until(lambda: stats(server)["ready"] == 0, "the module notices")
        elif not stats(server)["ready"]:
            await capsd.start()
            await until(lambda: stats(server)["ready"], "it is found again")


async def test_a_new_instance_is_told_everything_and_two_that_take_turns_are_said(server, connect, people):
    capsd = await connect(instance="first")
    client, = await people(instance_client=sample("instance"))
    await until(lambda: client.jid in capsd.present(), "the client is reported")
    capsd.requests.clear()
    capsd.instance = "second"
    await until(lambda: client.jid in capsd.present(), "it is reported anew")
    replays = stats(server)["replays"]
    capsd.instance = "first"
    await until(lambda: stats(server)["instance_conflicts"] >= 1, "it is noticed")
    capsd.instance = "second"
    await until(lambda: stats(server)["instance_conflicts"] >= 2, "and again")
    assert stats(server)["replays"] == replays, "nothing is replayed to and fro"
    said = lambda: [line for line in server.log.read_text().splitlines() if "two capsd answer in turns" in line]
    await until(said, "it is said")
    assert len(said()) == 1 and COMPONENT in said()[0]


async def test_the_second_component_is_used_while_the_first_is_away_and_told_everything(server, connect, people):
    info = sample("failover")
    client, asker = await people(failover=info, failover_asker=None)
    second = await connect(jid=SECOND, instance="two", known={info.node_0115(): info})
    await until(lambda: second.present().get(client.jid), "the second component is told")
    first = await connect(instance="one", known={info.node_0115(): info})
    await until(lambda: first.present().get(client.jid), "the first one is told everything")
    assert stats(server)["component"] == 1
    # It hangs, with its connection open.
    first.silent = True
    second.requests.clear()
    await until(lambda: second.present().get(client.jid), "the second one is used, and told anew", timeout=30)
    assert stats(server)["component"] == 2 and stats(server)["failovers"] >= 2
    await show(client, asker)
    # The server has asked it when no component was there yet.
    client.questions.clear()
    assert (await asker.ask(info.node_0115(), to=client.jid)).info.covered() == info.covered() and not client.questions
    first.silent = False
    first.requests.clear()
    await until(lambda: first.present().get(client.jid), "the first one is used again", timeout=20)
