"""What privacy lists (XEP-0016) and blocking (XEP-0191) keep from being told or heard, ejabberd's module does not reveal either: each
scene is played with the module and without it, and what is said is the same."""

import asyncio

import pytest

from harness.caps import info_of, sample
from harness.client import Client
from harness.one_ejabberd import befriend, connect, elsewhere, people, server, show, stats  # noqa: F401 (fixtures)
from harness.processes import until


async def stop_by_block(client, other, bare):
    await client.block(bare)
    return lambda: client.block(bare, "unblock")


async def stop_by_active(client, other, bare):
    await client.set_privacy("<active name='list'/>")
    return nothing


async def stop_by_default(client, other, bare):
    await client.set_privacy("<default name='list'/>")
    return nothing


async def stop_by_default_of_another(client, other, bare):
    return await stop_by_default(other, client, bare)


async def stop_by_change(client, other, bare):
    # Another session changes the list that is in force.
    await other.set_privacy("<default name='harmless'/>")
    await other.make_privacy_list("harmless", bare, "presence-in")
    return nothing


async def nothing():
    pass


STOPS = [stop_by_block, stop_by_active, stop_by_default, stop_by_default_of_another, stop_by_change]


@pytest.mark.parametrize("stop", STOPS)
async def test_what_a_contact_elsewhere_announces_unheard_makes_nobody_answer_by_what_was_heard(
    server, connect, people, elsewhere, stop
):
    old, new = sample("stopped-old"), sample("stopped-new")
    await connect(known={info.node_0390(): info for info in (old, new)})
    client, = await people(**{stop.__name__: None})
    client.info = sample("says-so-itself")
    other, = await people_of_the_same(server, client)
    try:
        contact = elsewhere.contact(stop.__name__)
        if stop is not stop_by_block:
            await client.make_privacy_list("list", contact.split("/")[0], "presence-in")
            await client.make_privacy_list("harmless", elsewhere.contact("harmless").split("/")[0], "presence-in")
        await elsewhere.announce(contact, client, old.c_0390())
        assert (await client.ask(to=contact)).info.covered() == old.covered() and not elsewhere.questions(contact)

        go_on = await stop(client, other, contact.split("/")[0])
        seen = len(client.presences)
        elsewhere.send(f"<presence from='{contact}' to='{client.jid}'>{new.c_0390()}</presence>")
        await elsewhere.until_handled(contact, client)
        await go_on()
        answer = asyncio.create_task(client.ask(to=contact))
        elsewhere.reply(await elsewhere.until_asked(contact), new)
        assert (await answer).info.covered() == new.covered(), "the contact itself says what it is now"
        assert len(client.presences) == seen, "it was not heard"
    finally:
        await client.refuse_nothing()
        await other.log_out()


async def people_of_the_same(server, client):
    """Another session of the same account."""
    other = Client(server, client.bare.split("@")[0], resource="other")
    await other.log_in()
    other.announce_nothing()
    await until(lambda: any(xml.get("from") == other.jid for xml in client.presences), "the first one has heard of it")
    return other,


# Contacts elsewhere that ask


async def befriend_elsewhere(elsewhere, client, contact):
    """The contact is subscribed to the client's presence."""
    bare = contact.split("/")[0]
    elsewhere.send(f"<presence type='subscribe' from='{bare}' to='{client.bare}'/>")
    await until(lambda: client.presences_from(bare, "subscribe"), "it asks for a subscription")
    client.send(f"<presence type='subscribed' to='{bare}'/>")


async def heard(elsewhere, contact, client, node=None):
    """Whether that contact's question reached the client; it is answered by what the client says of itself now."""
    before = len(client.questions)
    answer = await elsewhere.answer_to(contact, client, node)
    assert info_of(answer[0]).covered() == client.info.covered()
    return any(question.sender == contact for question in client.questions[before:])


async def test_contacts_elsewhere_are_answered_if_they_were_sent_what_is_announced(server, connect, people, elsewhere):
    first, second = sample("told-first"), sample("told-second")
    await connect(known={info.node_0390(): info for info in (first, second)})
    client, = await people(told_elsewhere=None)
    friend, other, stranger = (elsewhere.contact(name) for name in ("friend", "other", "stranger"))
    await befriend_elsewhere(elsewhere, client, friend)

    async def announce(info, to=None):
        client.info = info
        client.announce(info.c_0390(), to=to)
        await ordered(client)

    async def asked():
        return [await heard(elsewhere, contact, client) for contact in (friend, other, stranger)]

    client.info = first
    assert await asked() == [True, True, True], "it has not announced anything"
    await announce(first)
    assert await asked() == [False, True, True], "the subscriber has it"
    await announce(first, to=other)
    assert await asked() == [False, False, True]
    await announce(second, to=other)
    assert await asked() == [True, False, True], "the subscriber has not received that one"
    await announce(second)
    assert await asked() == [False, False, True]
    await announce(first)
    assert await asked() == [False, True, True], "that one was sent to subscribers alone"
    client.send(f"<presence to='{friend}'><status>hello</status></presence>")
    await ordered(client)
    assert await asked() == [True, True, True], "and to it no more is announced"
    await announce(first)
    assert await asked() == [False, True, True]
    client.send(f"<presence type='unavailable' to='{friend.split('/')[0]}'/>")
    await ordered(client)
    assert await asked() == [True, True, True], "it was told that nobody is there"
    await announce(first)
    await announce(second, to=other)
    elsewhere.send(f"<presence type='probe' from='{friend}' to='{client.bare}'/>")
    repeated = lambda: any(xml.get("to") == friend and first.hash_0390() in "".join(xml.itertext()) for xml in elsewhere.presences)
    await until(repeated, "what was sent to all is repeated to who probes")
    assert await asked() == [True, False, True], "which is not what was announced last"
    await announce(second)
    client.send(f"<presence type='unavailable' to='{friend.split('/')[0]}'/>")
    await ordered(client)
    assert await asked() == [True, False, True]
    before = len(elsewhere.presences)
    elsewhere.send(f"<presence type='probe' from='{friend}' to='{client.bare}'/>")
    await until(lambda: any(xml.get("to") == friend for xml in elsewhere.presences[before:]), "it is repeated")
    assert await asked() == [False, False, True], "now it is"


async def test_who_is_invisible_to_a_contact_elsewhere_is_not_answered_for_to_it(server, connect, people, elsewhere):
    info = sample("invisible-elsewhere")
    await connect(known={info.node_0390(): info})
    client, = await people(invisible_elsewhere=None)
    client.info = info
    shown, hidden = elsewhere.contact("shown"), elsewhere.contact("hidden")
    for contact in (shown, hidden):
        await befriend_elsewhere(elsewhere, client, contact)
    await client.refuse(hidden.split("/")[0], "presence-out")
    client.announce(info.c_0390())
    await ordered(client)
    assert [await heard(elsewhere, contact, client) for contact in (shown, hidden)] == [False, True]


async def test_what_lists_say_holds_for_queries_as_without_the_module(server, connect, people, elsewhere):
    info = sample("denies")
    await connect(known={info.node_0390(): info})
    client, asker = await people(denies=None, is_denied=None)
    client.info = info
    client.announce(info.c_0390(), to=asker.jid)
    await until(lambda: asker.presences_from(client.bare), "the announcement arrives")
    contact = elsewhere.contact("is_denied")
    await befriend_elsewhere(elsewhere, client, contact)
    client.announce(info.c_0390())
    await ordered(client)
    replies = {}
    for enabled in (True, False):
        server.set_option("enabled", enabled)
        try:
            for who, bare in (("asker", asker.bare), ("contact", contact.split("/")[0])):
                await client.refuse(bare, "iq", name=who)
                here, there = await asker.ask(to=client.jid), await elsewhere.answer_to(contact, client)
                replies[who, enabled] = here.kind, here.condition, there.get("type")
                await client.refuse_nothing()
            # The one who asks may not either.
            await asker.refuse(client.bare)
            here = await asker.ask(to=client.jid)
            replies["itself", enabled] = here.kind, here.condition
            await asker.refuse_nothing()
        finally:
            server.set_option("enabled", True)
    assert replies["asker", True] == replies["asker", False] == ("error", "service-unavailable", "result")
    assert replies["contact", True] == replies["contact", False] == ("result", None, "error")
    assert replies["itself", True] == replies["itself", False] and replies["itself", True][0] == "error"


async def ordered(client):
    """The session has handled what the client sent before."""
    await client.iq(client.bare, "<query xmlns='http://jabber.org/protocol/disco#items'/>")


def cancelled(client, bare):
    client.send(f"<presence type='unsubscribed' to='{bare}'/>")


def removed(client, bare):
    client.send(f"<iq type='set' id='remove'><query xmlns='jabber:iq:roster'><item jid='{bare}' subscription='remove'/></query></iq>")


@pytest.mark.parametrize("end", [cancelled, removed])
async def test_whose_subscription_has_ended_is_treated_as_without_the_module(server, connect, people, elsewhere, end):
    info = sample(f"ended-{end.__name__}")
    await connect(known={info.node_0390(): info})
    contact = elsewhere.contact(end.__name__)
    client, asker = await people(**{f"{end.__name__}_client": None, f"{end.__name__}_asker": None})
    client.info = info

    async def subscribe():
        await befriend(client, asker)
        await befriend_elsewhere(elsewhere, client, contact)
        before = len(asker.presences_from(client.bare))
        client.announce(info.c_0390())
        await until(lambda: len(asker.presences_from(client.bare)) > before, "the announcement arrives")
        await ordered(client)

    async def reach():
        """What each question meets: whether it reached the client, and what was said."""
        before = len(client.questions)
        here = await asker.ask(to=client.jid)
        middle = len(client.questions)
        there = await elsewhere.answer_to(contact, client)
        return middle > before, here.kind, len(client.questions) > middle, there.get("type")

    await subscribe()
    assert await reach() == (False, "result", False, "result"), "subscribers are answered"
    for bare in (asker.bare, contact.split("/")[0]):
        end(client, bare)
    await until(lambda: asker.presences_from(client.bare, "unavailable"), "the asker does not see the client any more")
    await ordered(client)
    with_module = await reach()
    server.set_option("enabled", False)
    try:
        assert await reach() == with_module == (True, "result", True, "result")
    finally:
        server.set_option("enabled", True)


async def test_who_was_told_that_nobody_is_there_while_its_question_was_held_is_not_answered(server, connect, people, elsewhere):
    info = sample("held-for-elsewhere")
    capsd = await connect()
    client, = await people(held_for_elsewhere=None)
    client.info = info
    contact = elsewhere.contact("waits")
    server.set_option("hold", 5000)
    try:
        client.announce(info.c_0390(), to=contact)
        await ordered(client)
        capsd.silent = True
        answer = asyncio.create_task(elsewhere.answer_to(contact, client))
        await until(lambda: capsd.lookups, "the question is held")
        client.become_unavailable(to=contact)
        await ordered(client)
        capsd.known[info.node_0390()] = info
        capsd.silent = False
        capsd.answer(next(iq for iq in capsd.requests if iq[0].tag.endswith("}lookup")))
        assert info_of((await answer)[0]).covered() == info.covered()
        assert contact in [question.sender for question in client.questions], "the client itself has decided what to say"
    finally:
        server.set_option("hold", 800)
