"""A process of ejabberd's module that crashes, or is killed, is started anew and goes on: with what is known, with the options in force, and with
the queries that are held."""

import asyncio

import pytest

from harness.caps import sample
from harness.client import Client
from harness.one_ejabberd import SECOND, connect, people, server, show, stats  # noqa: F401 (fixtures)
from harness.processes import until
from harness.servers import DOMAIN
from test_notifications import MOOD, publish

# What none of them expects.
FAULTS = {
    "link": "gen_server:cast(P, {options, nothing})",
    "flights": "gen_server:cast(P, {options, nothing})",
    "pep": "gen_server:cast(P, {wait, nobody, 1, nobody, self()})",
}
KILL = "exit(P, kill)"


async def end(server, part, how):
    """Ends a process of the module; another one is there."""
    name = f"'mod_capsd_{part}_{DOMAIN}'"
    before = server.evaluate(f"whereis({name})")
    assert before.startswith("<")
    server.evaluate(f"P = whereis({name}), {how}")
    await until(lambda: server.evaluate(f"whereis({name})") not in (before, "undefined"), f"{part} is there again")


@pytest.mark.parametrize("how", ["is_killed", "crashes"])
@pytest.mark.parametrize("part", sorted(FAULTS))
async def test_a_process_that_ends_is_replaced_and_nothing_is_lost(server, connect, people, part, how):
    name = f"{part}_{how}"
    warm, cold, later = (sample(f"{name}-{what}") for what in ("warm", "cold", "later"))
    server.options["cache_size"] = 1000
    server.set_option("hold", 5000)
    try:
        capsd = await connect(known={warm.node_0115(): warm})
        holder, other, asker, watched = await people(**{f"{name}_{who}": None for who in ("holder", "other", "asker", "watched")})
        holder.info, other.info, watched.info = warm, cold, later
        for client in (holder, other):
            await show(client, asker)
        assert (await asker.ask(warm.node_0115(), to=holder.jid)).info.covered() == warm.covered()
        watched.announce()
        await until(lambda: watched.jid in capsd.present(), "who announces is reported")
        # These are what counts from now on.
        server.set_option("cache_size", 2)
        capsd.slow = {"lookup"}
        held = asyncio.create_task(asker.ask(cold.node_0115(), to=other.jid))
        await until(lambda: stats(server)["held_now"] == 1, "a query is held")
        timeouts, before = stats(server)["hold_timeouts"], len(capsd.requests)

        await end(server, part, KILL if how == "is_killed" else FAULTS[part])
        if part == "pep":
            capsd.slow = set()
            for request in [iq for iq in capsd.requests if iq[0].tag.endswith("}lookup")]:
                capsd.answer(request)
        assert (await held).info.covered() == cold.covered(), "what was held goes on"
        assert stats(server)["hold_timeouts"] == timeouts and len(other.questions) == 1
        await until(lambda: stats(server)["ready"] and stats(server)["held_now"] == 0, "the module works")
        assert (await asker.ask(warm.node_0115(), to=holder.jid)).info.covered() == warm.covered()
        assert not holder.questions, "what was known and what was heard is known"
        if part == "link":
            await until(lambda: len(capsd.requests) > before and capsd.named("feed")[-1].get("anew"), "all is told anew")
        await until(lambda: {holder.jid, other.jid, watched.jid} <= set(capsd.present()), "and all are there")
        await watched.log_out()
        await until(lambda: watched.jid not in capsd.present(), "the ends of sessions are still reported")

        capsd.slow = set()
        for number in range(4):
            asked, holder.info = len(holder.questions), sample(f"{name}-new-{number}")
            await show(holder, asker)
            for _ in range(2):
                assert (await asker.ask(holder.info.node_0115(), to=holder.jid)).info.covered() == holder.info.covered()
                await until(lambda: holder.info.node_0115() in capsd.known, "what is new is learned")
            assert len(holder.questions) <= asked + 2
        await until(lambda: stats(server)["answers_kept"] <= 2, lambda: f"the options are those in force: {stats(server)}")
    finally:
        del server.options["cache_size"]
        server.set_option("hold", 800)


@pytest.mark.parametrize("how", ["is_killed", "crashes"])
async def test_the_component_is_that_of_the_last_reload(server, connect, people, how):
    first = await connect()
    try:
        before = server.options["component"]
        second = await connect(jid=SECOND)
        server.set_option("component", SECOND)
        await until(lambda: second.named("feed"), "the other one is used")
        first.requests.clear()
        second.requests.clear()
        await end(server, "link", KILL if how == "is_killed" else FAULTS["link"])
        await until(lambda: second.named("feed") and stats(server)["ready"], "it still is")
        assert not first.requests
    finally:
        server.set_option("component", before)


async def test_the_tables_that_are_lost_are_filled_anew(server, connect, people):
    info = sample("keeper")
    capsd = await connect(known={info.node_0115(): info})
    holder, asker = await people(keeper_holder=info, keeper_asker=None)
    await until(lambda: holder.jid in capsd.present(), "it is reported")
    capsd.requests.clear()
    await end(server, "keeper", KILL)
    await until(lambda: holder.jid in capsd.present(), "it is reported anew")
    await show(holder, asker)
    holder.questions.clear()
    assert (await asker.ask(info.node_0115(), to=holder.jid)).info.covered() == info.covered() and not holder.questions
    await holder.log_out()
    await until(lambda: holder.jid not in capsd.present(), "its end is reported")


@pytest.mark.parametrize("how", ["is_killed", "crashes"])
async def test_last_items_arrive_after_login_also_when_that_process_was_replaced(server, connect, people, how):
    info = sample(f"items-{how}", [f"{MOOD}+notify"])
    await connect(known={info.node_0115(): info})
    publisher, = await people(**{f"items_{how}": None})
    await publish(publisher, "happy")
    await end(server, "pep", KILL if how == "is_killed" else FAULTS["pep"])
    reader = Client(server, f"items_{how}", info, resource="later")
    try:
        await reader.log_in()
        reader.announce()
        await until(lambda: [m for m in reader.messages if m.find(f".//{{{MOOD}}}happy") is not None], "the last item arrives")
        assert not reader.questions
    finally:
        await reader.log_out()


async def test_what_a_node_told_is_told_again_when_another_one_that_seemed_dead_is_back(server, connect, people):
    """The other one may have said that the sessions of this node are gone. Here the node sees itself go, having no other."""
    capsd = await connect()
    client, = await people(split=sample("split"))
    await until(lambda: client.jid in capsd.present(), "it is reported")
    feeds = len(capsd.named("feed"))
    for what in ("nodedown", "nodeup"):
        server.evaluate(f"'mod_capsd_link_{DOMAIN}' ! {{{what}, node()}}")
    told = lambda: [event.get("jid") for feed in capsd.named("feed")[feeds:] if feed.get("anew") for event in feed]
    await until(lambda: client.jid in told(), "it is reported anew")
    feeds = len(capsd.named("feed"))
    server.evaluate(f"'mod_capsd_link_{DOMAIN}' ! {{nodeup, node()}}")
    await asyncio.sleep(0.3)
    assert not told(), "once"
