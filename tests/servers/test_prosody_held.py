"""What becomes of a query that Prosody's module holds when one of the two ends meanwhile."""

import asyncio

import pytest

from harness.caps import sample
from harness.one_prosody import DEFAULTS, LONG_HOLD, by_user, configure, connect, people, server  # noqa: F401 (fixtures)
from harness.processes import until
from harness.servers import DOMAIN
from harness.watched import WATCH


async def breaks_off(target):
    target.abort()


async def logs_out(target):
    await target.log_out()


async def is_unavailable(target):
    target.become_unavailable()


@pytest.fixture
async def capsd(connect):
    return await connect()


@pytest.fixture
async def hold(server, capsd, people, configure):
    """Has a query held; returns the target, the asker, the answer to come, and what makes capsd say that it knows the content, or that not."""

    async def make(name, hold=LONG_HOLD):
        if hold != DEFAULTS["hold"]:
            configure(hold=hold)
        info = sample(f"held-{name}")
        target, asker = await people(**{f"{name}_target": None, f"{name}_asker": None})
        target.info, capsd.slow = info, {"lookup"}
        # By XEP-0390, about which Prosody itself asks nothing.
        target.announce(info.c_0390(), to=asker.jid)
        await until(lambda: asker.presences_from(target.bare), "it arrives")
        answer = asyncio.create_task(asker.ask(to=target.jid))
        await until(lambda: server.statistics()["held", None] == 1, "the query is held")

        def capsd_answers(knows):
            capsd.known, capsd.slow = {info.node_0390(): info} if knows else {}, set()
            for request in [iq for iq in capsd.requests if iq[0].tag.endswith("}lookup")]:
                capsd.answer(request)

        return target, asker, answer, capsd_answers

    return make


@pytest.mark.parametrize("end, kind, asked", [(breaks_off, "error", 0), (logs_out, "error", 0), (is_unavailable, "result", 1)])
async def test_who_is_asked_ends(server, hold, end, kind, asked):
    target, _, answer, capsd_answers = await hold(end.__name__)
    gone = lambda: server.statistics()["reports_total", "gone"]
    before = gone()
    await end(target)
    await until(lambda: gone() > before, "it is gone")
    capsd_answers(knows=True)
    assert (await answer).kind == kind, "as without the module"
    assert len(by_user(target)) == asked
    assert server.statistics()["held", None] == 0


@pytest.mark.parametrize("knows", [True, False])
async def test_who_asks_ends(server, hold, knows):
    target, asker, answer, capsd_answers = await hold(f"asker_ends_{knows}".lower())
    answer.cancel()
    await asker.log_out()
    capsd_answers(knows)
    await until(lambda: server.statistics()["held", None] == 0, "nothing is held any more")
    assert by_user(target) == [], "nobody wants to know any more"


async def test_who_comes_later_is_held_for_the_answer_to_the_first_too(server, connect, people, configure):
    """Each for its own time: the first one has gone its way before the second one came."""
    configure(hold=0.5)
    capsd = await connect()
    info = sample("held-later")
    target, first, second = await people(later_target=None, later_first=None, later_second=None)
    # It is long in coming to an answer.
    target.info, target.mode, capsd.slow = info, "silent", {"lookup"}
    for asker in (first, second):
        target.announce(info.c_0390(), to=asker.jid)
        await until(lambda: asker.presences_from(target.bare), "it arrives")
    early = asyncio.create_task(first.ask(to=target.jid))
    await until(lambda: by_user(target), "the first one was held for long enough")
    late = asyncio.create_task(second.ask(to=target.jid))
    await until(lambda: server.statistics()["held", None] == 1, "the second one is held")
    target.mode = "honest"
    target.answer(by_user(target)[0])
    assert (await early).info.covered() == info.covered()
    capsd.known, capsd.slow = {info.node_0390(): info}, set()
    for request in [iq for iq in capsd.requests if iq[0].tag.endswith("}lookup")]:
        capsd.answer(request)
    assert (await late).kind == "result"
    assert len(by_user(target)) == 1


async def test_it_waits_for_the_answer_from_when_capsd_asks(capsd, hold):
    """However long capsd's question took to come."""
    target, _, answer, capsd_answers = await hold("asked", hold=3)
    target.mode = "silent"
    await asyncio.sleep(2)
    capsd.ask(target.jid, target.info.node_0390())
    await until(lambda: target.questions, "it arrives")
    await asyncio.sleep(1.5)
    assert by_user(target) == []
    capsd_answers(knows=True)
    assert (await answer).kind == "result"
    assert by_user(target) == []


async def test_it_waits_for_an_answer_that_a_busy_server_has_not_read(hold):
    """Of each of its turns, a fortieth of the setting counts."""
    target, asker, answer, capsd_answers = await hold("busy", hold=DEFAULTS["hold"])
    target.mode = "silent"
    asker.send(f"<iq type='set' id='busy' to='{DOMAIN}'><busy xmlns='{WATCH}' turns='15' seconds='0.2'/></iq>")
    await asyncio.sleep(1.3)
    capsd_answers(knows=True)
    assert (await answer).kind == "result"
    assert by_user(target) == []


async def test_a_fault_of_another_module_loses_no_other_query(server, hold):
    target, asker, answer, capsd_answers = await hold("fault")
    failing = asyncio.create_task(asker.ask(to=target.jid, id_="fails"))
    others = [asyncio.create_task(asker.ask(to=target.jid)) for _ in range(3)]
    await until(lambda: server.statistics()["held", None] == 5, "all are held")
    capsd_answers(knows=True)
    for reply in await asyncio.gather(answer, *others):
        assert reply.info.covered() == target.info.covered()
    assert server.statistics()["held", None] == 0
    assert "A query that was held is lost, as a module failed" in server.log.read_text()
    failing.cancel()


async def test_a_report_that_somebody_waits_for_goes_before_its_turn(server, connect, people):
    capsd = await connect()
    info = sample("held-report")
    capsd.known = {info.node_0390(): info}
    target, asker, other = await people(report_target=None, report_asker=None, report_other=None)
    capsd.slow = {"feed"}
    before = len(capsd.named("feed"))
    other.info = sample("held-other")
    other.announce(other.info.c_0390(), to=asker.jid)
    await until(lambda: len(capsd.named("feed")) > before, "a feed is on its way, and is not answered")
    target.info = info
    target.announce(info.c_0390(), to=asker.jid)
    await until(lambda: asker.presences_from(target.bare), "it arrives")
    assert (await asker.ask(to=target.jid)).info.covered() == info.covered()
    assert not by_user(target)
    told = [iq[0] for iq in capsd.requests[-2:]]
    assert [element.tag.split("}")[1] for element in told] == ["feed", "lookup"] and told[0][0].get("jid") == target.jid
