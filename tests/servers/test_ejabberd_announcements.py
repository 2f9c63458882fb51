"""By which announcement ejabberd's module answers: that of the last presence, of both families, within bounds."""

import pytest

from harness.caps import CAPS_0115, sample
from harness.client import Client
from harness.one_ejabberd import befriend, connect, people, server, show, stats  # noqa: F401 (fixtures)
from harness.processes import until


async def heard(asker, target, *nodes):
    """How many of the questions for these nodes reach the client itself, one after the other; each is answered."""
    numbers = []
    for node in nodes:
        before = len(target.questions)
        assert (await asker.ask(node, to=target.jid)).info.covered() == target.info.covered()
        numbers.append(len([question for question in target.questions[before:] if question.sender == asker.jid]))
    return numbers


async def test_which_announcement_of_which_family_is_answered_for(server, connect, people):
    info, other_client = sample("families"), "https://other.example/client"
    target, asker = await people(families_target=None, families_asker=None)
    target.info = info
    nodes = of_0115, of_0390, elsewhere = info.node_0115(), info.node_0390(), info.node_0115(url=other_client)
    await connect(known={node: info for node in nodes})

    async def asked(*caps):
        """Which of the nodes reach the client while it announces these."""
        before = len(asker.presences)
        target.announce(*caps, to=asker.jid)
        await until(lambda: len(asker.presences) > before, "it arrives")
        return await heard(asker, target, None, *nodes)

    assert await asked(info.c_0390("sha-256", "sha3-256")) == [0, 1, 0, 1]
    assert await asked(info.c_0115(), info.c_0390()) == [0, 0, 0, 1]
    assert await asked(info.c_0115()) == [0, 0, 1, 1], "only the node that it announced itself"
    assert await asked(info.c_0115(url=other_client)) == [0, 1, 1, 0], "the same hash under another URL is the same content"
    assert await asked(f"<c xmlns='{CAPS_0115}' node='https://client.example/old' ver='1.0'/>") == [1, 1, 1, 1], "that proves nothing"
    assert await asked(" ") == [1, 1, 1, 1], "it announced nothing"
    server.set_option("xep0115", False)
    try:
        assert await asked(info.c_0115()) == [1, 1, 1, 1]
        assert await asked(info.c_0115(), info.c_0390()) == [0, 0, 0, 1]
    finally:
        server.set_option("xep0115", True)


async def test_only_the_client_says_whether_an_announcement_that_it_does_not_repeat_still_holds(server, connect, people):
    info = sample("silent")
    capsd = await connect(known={info.node_0115(): info})
    target, subscriber, told = await people(silent_target=None, silent_subscriber=None, silent_told=None)
    target.info = info
    await befriend(target, subscriber)
    target.announce()
    await until(lambda: subscriber.presences_from(target.bare), "it is announced to all")
    await show(target, told)
    assert await heard(subscriber, target, None, info.node_0115()) == [0, 0]
    assert await heard(told, target, None) == [0]

    seen = len(subscriber.presences_from(target.bare))
    target.announce_nothing("<show>away</show>")
    await until(lambda: len(subscriber.presences_from(target.bare)) > seen, "the presence without a word about capabilities arrives")
    for asker in (subscriber, told):
        assert await heard(asker, target, None, info.node_0115()) == [1, 1]
    await until(lambda: target.jid in capsd.present(), "it is reported")
    assert [jid for _, jid, _, _ in capsd.reports].count(target.jid) == 1, "for capsd it still holds"

    # To one alone it says nothing: that one asks the client, the others do not.
    target.announce()
    await until(lambda: len(subscriber.presences_from(target.bare)) > seen + 1, "it is announced again")
    before = len(told.presences_from(target.bare))
    target.send(f"<presence to='{told.jid}'><status>hello</status></presence>")
    await until(lambda: len(told.presences_from(target.bare)) > before, "the directed presence arrives")
    assert await heard(told, target, None) == [1]
    assert await heard(subscriber, target, None) == [0]


async def test_one_element_of_each_family_counts_however_many_there_are(server, connect, people):
    first, second = sample("first-of-many"), sample("second-of-many")
    capsd = await connect(known={info.node_0115(): info for info in (first, second)} | {info.node_0390(): info for info in (first, second)})
    target, asker = await people(many_target=None, many_asker=None)
    target.info = first
    await show(target, asker)
    several = [first.c_0115(), second.c_0115(), first.c_0390(), second.c_0390()] + [second.c_0115(url=f"https://{n}.example") for n in range(50)]
    before = len(asker.presences)
    target.announce(*several, to=asker.jid)
    await until(lambda: len(asker.presences) > before, "it arrives")
    assert await heard(asker, target, first.node_0115(), first.node_0390(), second.node_0115(), second.node_0390()) == [0, 0, 1, 1]
    reported = lambda: [[c.get("ver") for c in event] for feed in capsd.named("feed") for event in feed if event.get("jid") == target.jid][-1:]
    await until(lambda: reported() in ([[first.ver(), None]], [[None, first.ver()]]), lambda: f"no more is reported, but {reported()}")


async def test_what_the_server_repeats_is_not_what_was_announced_last(server, connect, people):
    """It sends to those who come later what was sent to all, whatever was said to somebody since."""
    before, after = sample("repeated"), sample("said-since")
    capsd = await connect(known={info.node_0115(): info for info in (before, after)})
    target, subscriber, told, late = await people(repeated=None, repeated_subscriber=None, repeated_told=None, repeated_late=None)
    await befriend(target, subscriber)
    target.info = before
    target.announce()
    await until(lambda: subscriber.presences_from(target.bare), "it is announced to all")
    target.info = after
    await show(target, told)
    reported = lambda: [[c.get("ver") for c in event] for feed in capsd.named("feed") for event in feed if event.get("jid") == target.jid]
    await until(lambda: reported()[-1:] == [[after.ver()]], "that is reported")
    reports = reported()

    again = Client(server, subscriber.bare.split("@")[0], resource="again")
    await again.log_in()
    try:
        again.announce_nothing()
        await until(lambda: again.presences_from(target.bare), "it is repeated to whoever logs in")
        await befriend(target, late)
        await until(lambda: late.presences_from(target.bare), "it is repeated to whoever is permitted to see it")
        assert await heard(told, target, None, after.node_0115()) == [0, 0]
        for asker in (subscriber, again, late):
            assert await heard(asker, target, None) == [1], "the client itself says what it is now"
        assert reported() == reports, "nothing has changed"
    finally:
        await again.log_out()
