"""What is Prosody's own in mod_capsd: the switch, statistics, mod_pep, session.caps_cache, ends of sessions, the feed and its pace, bounds,
and failing over. A scripted component stands in for capsd where each of its words counts."""

import asyncio
import copy
import os
import re
import time
import xml.etree.ElementTree as ET

import pytest

from harness.caps import CAPS_0115, DISCO_INFO, info_of, sample
from harness.client import Client, log_out_all
from harness.one_prosody import DEFAULTS, LONG_HOLD, asked, by_user, configure, connect, people, server, show  # noqa: F401 (fixtures)
from harness.processes import until
from harness.scripted import ScriptedCapsd
from harness.servers import COMPONENT, DOMAIN, ROOMS, Prosody
from harness.watched import HIBERNATION, MUC, SECOND, WATCH, Resumable

LONG = os.environ.get("CAPSD_LONG") == "1"


async def watch(client):
    """What the watching module says: full JID → (changes, filters, disco info in session.caps_cache)."""
    reply = await client.iq(DOMAIN, f"<watch xmlns='{WATCH}'/>")
    seen = {}
    for session in reply.child:
        query = session.find(f"{{{DISCO_INFO}}}query")
        cached = None if query is None else info_of(query).covered()
        seen[session.get("jid")] = (int(session.get("changes")), int(session.get("filters")), cached)
    return seen


# The switch


async def test_switched_off_and_on_by_a_reload(server, connect, people, configure):
    info, new = sample("switch"), sample("switch-new")
    target, asker = await people(switch_target=None, switch_asker=None)
    configure(hold=LONG_HOLD)
    capsd = await connect(known={info.node_0115(): info})
    await show(target, asker, info)
    assert await asked(asker, target) == 0
    filtered = (await watch(asker))[asker.jid][1]

    # A query that is held when the module is switched off goes its way at once.
    capsd.silent = True
    await show(target, asker, new)
    pending = asyncio.create_task(asked(asker, target))
    await until(lambda: server.statistics()["held", None] > 0, "the query is held")
    begin = time.monotonic()
    server.set_option("enabled", False)
    assert await pending == 1
    assert time.monotonic() - begin < LONG_HOLD / 2
    assert (await watch(asker))[asker.jid][1] == filtered - 1, "its filter is gone"
    capsd.silent = False
    await show(target, asker, info)
    assert await asked(asker, target) == 1, "everything is as without the module"
    assert (await watch(asker))[target.jid][2] is None

    configure(enabled=True)
    await until(lambda: server.statistics()["usable", None] == 1, "capsd is found again")
    await show(target, asker, info)
    assert await asked(asker, target) == 0


async def test_an_option_out_of_range_is_refused_and_said(server):
    server.set_option("hold", 99)
    try:
        await until(lambda: "capsd_hold must be a number from 0 to 10; 0.8 is used" in server.log.read_text(), "it is said")
    finally:
        server.set_option("hold", DEFAULTS["hold"])


# What the server itself wants to know


async def test_mod_pep_asks_nobody_and_caps_cache_is_filled(server, connect, people):
    first, second = sample("cached"), sample("cached-anew")
    capsd = await connect(known={info.node_0115(): info for info in (first, second)})
    one, other = await people(cached_one=first, cached_other=first)
    await until(lambda: capsd.lookups, "the content is looked up")
    for client in (one, other):
        await until_cached(one, client, first)
    assert (await watch(one))[one.jid][0] == 1, "one change, one event"
    one.info = second
    one.announce()
    await until_cached(one, one, second)
    assert (await watch(one))[other.jid][2] == first.covered()
    assert one.questions == other.questions == []
    assert capsd.lookups == [first.node_0115(), second.node_0115()], "each once"


async def test_caps_cache_is_filled_when_somebody_else_tells_the_truth(server, connect, people):
    info = sample("believed-later")
    await connect(verify=lambda node, content: content.node_0115() == node)
    liar, = await people(caps_liar=None)
    liar.info, liar.liar_info, liar.mode = info, sample("believed-lie"), "lying"
    refused = lambda: server.statistics()["contributions_total", "refused"]
    before = refused()
    liar.announce()
    await until(lambda: refused() > before, "the lie is refused")
    honest, = await people(caps_honest=info)
    for client in (honest, liar):
        await until_cached(honest, client, info)
        assert (await watch(honest))[client.jid][0] == 1, "one event for each"


async def test_caps_cache_is_filled_for_all_when_capsd_has_learned_it(server, connect, people):
    info, other = sample("known-later"), sample("known-never")
    capsd = await connect()
    first, second, changed = await people(caps_first=None, caps_second=None, caps_changed=None)
    for client in (first, second, changed):
        client.info, client.mode = info, "silent"
        client.announce()
    await until(lambda: first.questions or second.questions or changed.questions, "Prosody asks one of them")
    changed.info = other
    changed.announce()
    third, = await people(caps_third=None)
    third.info, third.mode = info, "silent"
    capsd.known[info.node_0115()] = info
    await asyncio.sleep(0.1)
    third.announce()
    for client in (first, second, third):
        await until_cached(third, client, info)
    assert (await watch(third))[changed.jid][2] is None, "it announces something else by now"


if LONG:

    async def test_what_sessions_announced_is_looked_up_again(server, connect, people):
        info = sample("looked-up-again")
        capsd = await connect()
        client, = await people(caps_again=None)
        client.info, client.mode = info, "silent"
        client.announce()
        await until(lambda: client.questions, "Prosody asks it")
        capsd.known[info.node_0115()] = info
        looked_up = len(capsd.lookups)
        await until(lambda: len(capsd.lookups) > looked_up, "it is looked up again", timeout=60)
        await until_cached(client, client, info)


async def until_cached(client, of, info):
    """Waits until session.caps_cache holds that info."""
    for _ in range(100):
        if (await watch(client))[of.jid][2] == info.covered():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"session.caps_cache of {of.jid} is {(await watch(client))[of.jid]}")


# One question for all


async def test_of_several_queries_one_goes_its_way_and_is_contributed(server, connect, people, configure):
    info = sample("together")
    target, asker = await people(together_target=None, together_asker=None)
    configure(hold=LONG_HOLD)
    capsd = await connect()
    target.delay = 0.3
    await show(target, asker, info)
    replies = await asyncio.gather(*(asker.ask(info.node_0115() if number % 2 else None, to=target.jid) for number in range(10)))
    assert [reply.info.covered() for reply in replies] == [info.covered()] * 10
    assert len(target.questions) == 1, "Prosody's own question among them"
    assert [request[0].get("node") for request in capsd.named("contribute")] == [info.node_0115()]
    assert await asked(asker, target, info.node_0115()) == 0


async def test_by_which_announcement_who_is_answered(server, connect, people, configure):
    info, other_client = sample("families"), "https://other.example/client"
    target, asker = await people(families_target=None, families_asker=None)
    of_0115, of_0390, elsewhere = info.node_0115(), info.node_0390(), info.node_0115(url=other_client)
    configure(hold=LONG_HOLD)
    await connect(known={node: info for node in (of_0115, of_0390, elsewhere)})

    async def heard(*caps):
        """Which of the nodes reach the client while it announces these."""
        before = len(asker.presences)
        target.info = info
        target.announce(*caps, to=asker.jid)
        await until(lambda: len(asker.presences) > before, "it arrives")
        return [await asked(asker, target, node) for node in (None, of_0115, of_0390, elsewhere)]

    assert await heard(info.c_0390("sha-256", "sha3-256")) == [0, 1, 0, 1]
    assert await heard(info.c_0115(), info.c_0390()) == [0, 0, 0, 1]
    assert await heard(info.c_0115()) == [0, 0, 1, 1], "only the node that it announced itself"
    assert await heard(info.c_0115(url=other_client)) == [0, 1, 1, 0], "the same hash under another URL is the same content"
    twice = info.c_0115(), info.c_0390(), info.c_0115(url=other_client), info.c_0390("sha3-256")
    assert await heard(*twice) == [0, 0, 0, 1], "the first of each family counts"
    assert await heard(f"<c xmlns='{CAPS_0115}' node='https://client.example/old' ver='1.0'/>") == [1, 1, 1, 1], "that proves nothing"
    assert await heard(" ") == [1, 1, 1, 1], "it announced nothing"
    configure(**{"0115": False})
    await until(lambda: server.statistics()["usable", None] == 1, "capsd is found again")
    assert await heard(info.c_0115()) == [1, 1, 1, 1]
    assert await heard(info.c_0115(), info.c_0390()) == [0, 0, 0, 1]


async def test_a_change_of_one_family_alone_is_a_change(server, connect, people):
    before, after = sample("one-family"), sample("one-family-next")
    target, asker, other = await people(family_target=None, family_asker=None, family_other=None)
    await connect(known={before.node_0115(): before, before.node_0390(): before, after.node_0390(): after})
    for client, info in ((asker, before), (other, after)):
        target.info = info
        target.announce(before.c_0115(), info.c_0390(), to=client.jid)
        await until(lambda: client.presences_from(target.bare), "it arrives")
        assert await asked(client, target) == 0
    assert await asked(asker, target) == 1, "what it was told is not what was announced last"


def by_an_algorithm_of_that_name(info):
    """The digest of XEP-0115 as if it were one of XEP-0390, by an algorithm that is named like the other family."""
    c = f"<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='0115'>{info.ver()}</hash></c>"
    return c, f"urn:xmpp:caps#0115.{info.ver()}", "unsupported-algorithm"


def by_a_long_url(info):
    """The same hash with a URL that makes the node longer than capsd takes."""
    url = "https://client.example/" + "x" * 990
    return info.c_0115(url=url), info.node_0115(url=url), "too-large"


@pytest.mark.parametrize("announcement", [by_an_algorithm_of_that_name, by_a_long_url])
async def test_what_one_announces_is_no_bar_for_others(server, connect, people, configure, announcement):
    info = sample(announcement.__name__)
    target, asker, mallory = await people(**{f"{who}_{announcement.__name__}": None for who in ("target", "asker", "mallory")})
    configure(hold=LONG_HOLD)
    capsd = await connect()
    c, node, reason = announcement(info)
    capsd.reasons[node] = reason
    mallory.info = info
    mallory.announce(c, to=asker.jid)
    await until(lambda: asker.presences_from(mallory.bare), "the presence arrives")
    assert (await asker.ask(to=mallory.jid)).info.covered() == info.covered()
    target.delay = 0.3
    await show(target, asker, info)
    replies = await asyncio.gather(*(asker.ask(info.node_0115(), to=target.jid) for _ in range(5)))
    assert [reply.info.covered() for reply in replies] == [info.covered()] * 5
    assert len(target.questions) == 1, "one question for all, as for any other hash"


async def test_one_hash_that_reads_like_two_is_no_bar_for_those_two(server, connect, people):
    info = sample("reads-like-two")
    target, asker, mallory = await people(two_target=None, two_asker=None, two_mallory=None)
    await connect(known={info.node_0390(algorithm): info for algorithm in ("sha-256", "sha3-256")})
    two = f"{info.hash_0390('sha-256')}\nsha3-256.{info.hash_0390('sha3-256')}"
    mallory.announce(f"<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>{two}</hash></c>", to=asker.jid)
    await until(lambda: asker.presences_from(mallory.bare), "the presence arrives")
    target.info = info
    target.announce(info.c_0390("sha-256", "sha3-256"), to=asker.jid)
    await until(lambda: asker.presences_from(target.bare), "the presence arrives")
    assert [await asked(asker, target, node) for node in (None, info.node_0390(), info.node_0390("sha3-256"))] == [0, 0, 0]


async def test_an_answer_that_does_not_verify_serves_nobody_else(server, connect, people, configure):
    info = sample("liar")
    target, asker = await people(liar_target=None, liar_asker=None)
    configure(hold=LONG_HOLD)
    await connect(verify=lambda node, content: False)
    target.liar_info, target.mode = sample("lie"), "lying"
    await show(target, asker, info)
    replies = await asyncio.gather(*(asker.ask(info.node_0115(), to=target.jid) for _ in range(5)))
    assert [reply.info.covered() for reply in replies] == [target.liar_info.covered()] * 5, "it says so itself, to each"
    assert len(by_user(target)) == 5


async def test_a_silent_capsd_costs_one_hold(server, connect, people):
    info, next_info = sample("silent"), sample("silent-next")
    target, asker = await people(silent_target=None, silent_asker=None)
    capsd = await connect()
    received = []
    target.xmpp.add_filter("in", lambda stanza: received.append(copy.deepcopy(stanza.xml)) or stanza)
    query = f"<query xmlns='{DISCO_INFO}' node='{info.node_0115()}'><x xmlns='urn:example:more' a='&lt;1&gt;'>text</x></query>"

    async def as_received(id_):
        await asker.iq(target.jid, query, id_=id_)
        stanza, = [xml for xml in received if xml.get("id") == id_]
        stanza.attrib.pop("id")
        return ET.canonicalize(ET.tostring(stanza))

    # Who announces nothing is asked by everybody himself.
    target.info = info
    original = await as_received("original")
    capsd.silent = True
    await show(target, asker, info)
    begin = time.monotonic()
    assert await as_received("released") == original, "it goes its way unchanged"
    took = time.monotonic() - begin
    assert took >= 0.7, "it was held"
    assert took < 3, "and no longer than by the setting, 0.8, and what a busy machine adds"
    held = server.statistics()["queries_total", "held"]
    await show(target, asker, next_info)
    for _ in range(5):
        assert await asked(asker, target) > 0
    assert server.statistics()["queries_total", "held"] == held, "and nothing is held until capsd has answered again"
    capsd.silent = False
    for request in capsd.requests:
        capsd.answer(request)


async def test_what_passes_while_capsd_is_slow_is_handed_over(server, connect, people):
    info = sample("slow")
    target, asker = await people(slow_target=None, slow_asker=None)
    capsd = await connect()
    capsd.silent = True
    await show(target, asker, info)
    assert await asked(asker, target) == 1
    await until(lambda: capsd.named("contribute"), "its answer is handed over")
    accepted = lambda: server.statistics()["contributions_total", "accepted"]
    before = accepted()
    capsd.silent = False
    for request in capsd.requests[:]:
        capsd.answer(request)
    await until(lambda: accepted() > before, "it is accepted")
    assert await asked(asker, target) == 0


async def test_an_answer_that_nobody_judged_bars_no_other(server, connect, people, configure):
    info = sample("unjudged")
    target, asker = await people(unjudged_target=None, unjudged_asker=None)
    configure(hold=LONG_HOLD)
    capsd = await connect()
    answer = capsd.answer
    capsd.answer = lambda iq: None if iq[0] in capsd.named("contribute") else answer(iq)
    await show(target, asker, info)
    await until(lambda: capsd.named("contribute"), "the answer to Prosody's own question is handed over")
    await capsd.stop()
    await until(lambda: server.statistics()["usable", None] == 0, "the module notices")
    again = await connect()
    target.questions.clear()
    target.delay = 0.3
    replies = await asyncio.gather(*(asker.ask(info.node_0115(), to=target.jid) for _ in range(5)))
    assert [reply.info.covered() for reply in replies] == [info.covered()] * 5
    assert len(target.questions) == 1 and again.named("contribute")


async def test_the_cache_is_bounded(server, connect, people, configure):
    infos = [sample(f"bounded-{number}") for number in range(3)]
    target, asker = await people(bounded_target=None, bounded_asker=None)
    configure(cache_size=2)
    capsd = await connect(known={info.node_0115(): info for info in infos})
    for info in [*infos, infos[2], infos[0]]:
        await show(target, asker, info)
        assert await asked(asker, target) == 0
        assert server.statistics()["cached", None] <= 2
    assert capsd.lookups == [info.node_0115() for info in [*infos, infos[0]]], "the least recently used one had gone"


async def test_statistics(server, connect, people):
    info = sample("statistics")
    target, asker = await people(statistics_target=None, statistics_asker=None)
    before = server.statistics()
    await connect(known={info.node_0115(): info})
    await show(target, asker, info)
    for _ in range(3):
        assert await asked(asker, target) == 0
    after = server.statistics()
    grown = {key: after[key] - before[key] for key in after if key[0].endswith("_total")}
    assert grown["queries_total", "answered"] >= 3
    assert grown["reports_total", "holder"] >= 1
    assert after["usable", None] == 1 and after["cached", None] >= 1
    assert {label for name, label in after if name == "queries_total"} == {"answered", "held", "expired", "passed"}
    assert ("hold_seconds_count", None) in after


# The feed


async def test_who_is_told_of_and_who_may_be_asked(server, connect, people):
    info = sample("reported")
    capsd = await connect()
    one, other = await people(reported_one=info, reported_other=info)
    for client in (one, other):
        client.send(f"<presence to='reported@{ROOMS}/{client.bare.split('@')[0]}'>{info.c_0115()}<x xmlns='{MUC}'/></presence>")
    occupants = {f"reported@{ROOMS}/reported_one": False, f"reported@{ROOMS}/reported_other": False}
    await until(lambda: capsd.present() == {one.jid: True, other.jid: True} | occupants, lambda: f"all are reported: {capsd.present()}")
    await other.log_out()
    await until(lambda: other.jid not in capsd.present(), "the one that left is gone")
    await until(lambda: f"reported@{ROOMS}/reported_other" not in capsd.present(), "and so is the occupant")


async def test_all_is_told_anew_at_the_pace_of_the_answers(server, connect, people, configure):
    configure(stanza_size=4096)
    crowd = await people(**{f"paced{number}": sample(f"paced-{number}") for number in range(40)})
    capsd = ScriptedCapsd(server)
    capsd.silent = True
    await capsd.start()
    await capsd.until_fed()
    feeds = lambda: [request for request in capsd.requests if request[0] in capsd.named("feed")]
    while len(capsd.present()) < len(crowd):
        count = len(feeds())
        await asyncio.sleep(0.1)
        assert len(feeds()) == count, "no second feed before the first is answered"
        assert len(feeds()[-1][0]) <= 256
        capsd.answer(feeds()[-1])
        await until(lambda: len(feeds()) > count, "the next feed arrives")
    assert [len(request[0]) for request in feeds()][0] == 0, "it begins with an empty one"
    assert len(feeds()) > 2, "in several parts"
    assert capsd.present() == {client.jid: True for client in crowd}
    capsd.silent = False
    capsd.answer(feeds()[-1])
    # And once more after it has connected again, or when another process answers.
    await capsd.stop()
    again = await connect(instance="two")
    await until(lambda: len(again.present()) == len(crowd), "all is told anew")
    again.instance = "three"
    again.requests.clear()
    crowd[0].announce(sample("paced-changed").c_0115())
    await until(lambda: len(again.present()) == len(crowd), "all is told anew")
    assert "is there a second capsd?" in server.log.read_text()


async def by_a_new_connection(server, capsd):
    """The component is gone for a while, though its process is the same."""
    await capsd.stop()
    await until(lambda: server.statistics()["usable", None] == 0, "the module notices")


async def by_silence(server, capsd):
    """It is there all the time and does not answer: the module notices when a feed was not answered for ten seconds."""
    capsd.silent = True
    await until(lambda: server.statistics()["usable", None] == 0, "the module notices", timeout=20)


@pytest.mark.parametrize("away", [by_a_new_connection, *[by_silence] * LONG])
async def test_who_went_while_nobody_listened(server, connect, people, away):
    capsd = await connect()
    one, other = await people(**{f"{who}_{away.__name__}": sample("unheard") for who in ("stays", "goes")})
    await until(lambda: capsd.present() == {one.jid: True, other.jid: True}, "they are reported")
    noticed = asyncio.create_task(away(server, capsd))
    if away is by_silence:
        await until(lambda: capsd.silent, "it is silent")
        one.announce(sample("unheard-change").c_0115())
    await noticed
    await other.log_out()
    if away is by_silence:
        again, told = capsd, len(capsd.named("feed"))
        capsd.silent = False
        for request in capsd.requests[-3:]:
            capsd.answer(request)
        await until(lambda: any(feed.get("anew") for feed in capsd.named("feed")[told:]), "all is told anew")
    else:
        again = await connect()
    await until(lambda: again.present() == {one.jid: True}, lambda: f"one is there, not {again.present()}")
    assert [feed.get("anew") for feed in again.named("feed")][-1:] + [again.reports[-1][0]] == ["true", "holder"], "nothing is said of the other"
    # Also if nobody is left.
    await by_a_new_connection(server, again)
    await one.log_out()
    last = await connect()
    await until(lambda: [(feed.get("anew"), len(feed)) for feed in last.named("feed")] == [(None, 0), ("true", 0)], "it is said that nobody is there")


async def by_log_out(client):
    await client.log_out()


async def by_abort(client):
    client.abort()


async def by_unavailable(client):
    client.become_unavailable()


async def by_timeout(client):
    client.send(f"<iq type='set' id='end' to='{DOMAIN}'><end xmlns='{WATCH}'/></iq>")
    await until(lambda: not client.connected, "the server has ended it")


@pytest.mark.parametrize("end", [by_log_out, by_abort, by_unavailable, by_timeout])
async def test_ends_of_sessions(server, connect, people, end):
    capsd = await connect()
    client, = await people(**{f"ends_{end.__name__}": sample("ends")})
    await until(lambda: capsd.present() == {client.jid: True}, "it is reported")
    await end(client)
    await until(lambda: capsd.present() == {}, "it is gone")


async def test_a_resource_that_is_taken_over(server, connect, people):
    capsd = await connect()
    first, = await people(taken=sample("taken"))
    await until(lambda: capsd.present() == {first.jid: True}, "it is reported")
    second = Client(server, "taken", sample("taken-over"))
    await second.log_in()
    await until(lambda: capsd.present() == {}, "the first is gone")
    second.announce()
    await until(lambda: capsd.present() == {first.jid: True}, "the second is there")
    await second.log_out()


async def test_a_session_that_waits_to_be_resumed(server, connect, people):
    info, later = sample("resumed"), sample("resumed-later")
    capsd = await connect(known={i.node_0115(): i for i in (info, later)})
    server.add_users(["resumable"])
    client = await Resumable(server, "resumable").log_in()
    client.writer.write(f"<presence>{info.c_0115()}</presence>".encode())
    await until(lambda: capsd.present() == {client.jid: True}, "it is reported")
    client.abort()
    await until(lambda: capsd.present() == {client.jid: False}, "it is there, but would not answer")
    await client.resume()
    await until(lambda: capsd.present() == {client.jid: True}, "it is back")

    # What it receives on its new connection is seen, too.
    target, = await people(resumed_target=None)
    target.info = later
    target.announce()
    target.announce(to=client.jid)
    question = f"<iq type='get' id='q' to='{target.jid}'><query xmlns='{DISCO_INFO}'/></iq>"
    await client.exchange("", "<presence[^>]*resumed_target.*</presence>")
    answer = await client.exchange(question, "<iq[^>]*id='q'.*</iq>")
    assert "urn:example:feature:resumed-later" in answer
    assert by_user(target) == []
    await target.log_out()

    client.abort()
    await until(lambda: capsd.present() == {client.jid: False}, "it waits again")
    await until(lambda: capsd.present() == {}, "and is gone when nobody came back", timeout=HIBERNATION + 10)


# Two capsd


async def test_one_capsd_takes_over_from_another(server, make_capsd, people):
    first = make_capsd(server).start()
    second = make_capsd(server, jid=SECOND).start()
    target, asker = await people(over_target=None, over_asker=None)
    used = lambda: re.findall(r"\tinfo\t(\S+) is used\n", server.log.read_text())[-1:]
    await until(lambda: used() == [COMPONENT], lambda: f"the first is used, not {used()}")

    async def serves(capsd, name):
        """What is announced from now on is answered by that one."""
        before = capsd.metrics().total("capsd_verifications_total", result="ok")
        await show(target, asker, sample(name))
        assert (await asker.ask(to=target.jid)).info.covered() == target.info.covered()
        await capsd.until_metric("capsd_verifications_total", before + 1, result="ok")

    await serves(first, "over-first")
    first.kill()
    await until(lambda: used() == [SECOND], lambda: f"the second is used, not {used()}")
    await serves(second, "over-second")
    first.start()
    await until(lambda: used() == [COMPONENT], lambda: f"the first is used again, not {used()}", timeout=20)
    await serves(first, "over-first-again")


@pytest.mark.parametrize("component, option", [(COMPONENT, ""), (SECOND, f'\tcapsd_component = "{SECOND}"\n')])
async def test_nothing_is_needed_but_a_module_and_a_component(tmp_path, make_capsd, component, option):
    snippet = f'''
VirtualHost "{DOMAIN}"
	modules_enabled = {{ "capsd" }}
{option}
Component "{component}"
	component_secret = "CHANGE-ME"
'''
    server = Prosody(tmp_path, module=True, own_caps=True, snippet=snippet).start()
    clients = []
    try:
        capsd = make_capsd(server, jid=component).start(linked=False)
        await until(lambda: "is used" in server.log.read_text(), "the module has found capsd")
        server.add_users(["alone", "other"])
        info = sample("alone")
        clients = [Client(server, user, info) for user in ("alone", "other")]
        for client in clients:
            await client.log_in()
            client.announce()
        await capsd.until_metric("capsd_verifications_total", 1, result="ok")
        assert await asked(clients[0], clients[0], info.node_0115()) == 0
        questions = [question for client in clients for question in client.questions]
        assert [question.sender for question in questions] == [component]
    finally:
        await log_out_all(clients)
        server.kill()
