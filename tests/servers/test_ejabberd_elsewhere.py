"""How ejabberd's module treats contacts on other servers and occupants of rooms elsewhere. A scripted component stands for the other server,
another for capsd."""

import asyncio

import pytest

from harness.caps import info_of, sample
from harness.one_ejabberd import ELSEWHERE, connect, elsewhere, patient, people, server, stats  # noqa: F401 (fixtures)
from harness.processes import until
from harness.servers import ROOMS
from test_notifications import MOOD, publish


async def test_contacts_elsewhere_are_answered_for_and_asked_once(server, connect, people, elsewhere):
    known, unknown = sample("elsewhere"), sample("elsewhere-unknown")
    capsd = await connect(known={known.node_0115(): known})
    one, other = await people(hears_elsewhere=None, hears_elsewhere_too=None)
    for name, info in (("known", known), ("unknown", unknown)):
        contact = elsewhere.contact(name)
        for asker in (one, other):
            await elsewhere.announce(contact, asker, info.c_0115())
        await until(lambda: capsd.present().get(contact) is False, "it is reported, and not to be asked")
        answers = asyncio.gather(*(asker.ask(info.node_0115(), to=contact) for asker in (one, other)))
        if info is unknown:
            elsewhere.reply(await elsewhere.until_asked(contact), info, info.node_0115())
        assert all(reply.info.covered() == info.covered() for reply in await answers)
        assert len(elsewhere.questions(contact)) == (1 if info is unknown else 0)
        for asker in (one, other):
            await elsewhere.leave(contact, asker)
        await until(lambda: contact not in capsd.present(), "it is gone")


async def test_an_account_that_is_gone_is_gone_with_all_its_clients(server, connect, people, elsewhere):
    """As a server answers a probe when nobody is there any more, such as after it was killed."""
    info = sample("account-gone")
    await connect(known={info.node_0390(): info})
    asker, = await people(account_gone=None)
    contacts = [elsewhere.contact("account").replace("/r", f"/r{number}") for number in range(2)]
    for contact in contacts:
        await elsewhere.announce(contact, asker, info.c_0390())
        assert (await asker.ask(to=contact)).info.covered() == info.covered()
    assert not elsewhere.questions()
    await elsewhere.leave(contacts[0].split("/")[0], asker)
    for contact in contacts:
        answer = asyncio.create_task(asker.ask(to=contact))
        elsewhere.reply(await elsewhere.until_asked(contact), info)
        assert (await answer).kind == "result"


async def let_in(elsewhere, client, contact):
    """The contact asks to see the client's presence, and may."""
    bare = contact.split("/")[0]
    elsewhere.send(f"<presence type='subscribe' from='{bare}' to='{client.bare}'/>")
    await until(lambda: client.presences_from(bare, "subscribe"), "it asks for a subscription")
    client.send(f"<presence type='subscribed' to='{bare}'/>")
    # What the contact announces comes by another stream, and could be there first.
    await until(lambda: any(presence.get("type") == "subscribed" and presence.get("to") == bare for presence in elsewhere.presences), "it may")


async def test_ejabberd_itself_learns_what_contacts_elsewhere_can_do(server, connect, people, elsewhere):
    info = sample("pep-elsewhere", [f"{MOOD}+notify"])
    await connect(known={info.node_0115(): info})
    publisher, other = await people(pep_home=None, pep_other=None)
    contact = elsewhere.contact("reader")
    # So that the module has the answer at hand, whoever asks.
    await elsewhere.announce(contact, other, info.c_0390(), info.c_0115())
    assert (await other.ask(info.node_0115(), to=contact)).info.covered() == info.covered()
    await let_in(elsewhere, publisher, contact)
    await elsewhere.announce(contact, publisher, info.c_0115())
    for _ in range(100):
        await publish(publisher, "happy")
        if elsewhere.messages:
            break
        await asyncio.sleep(0.1)
    assert {message.get("to") for message in elsewhere.messages} == {contact}, "the contact wants to know, and is told"
    assert not elsewhere.questions(), "nobody there was asked"
    assert not [iq for client in (publisher, other) for iq in client.unasked if iq.get("from") == contact], "what the server asks is its own"


ROOM_USER = "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/></x>"


@pytest.mark.parametrize("change", ["announces", "leaves", "announces_nothing"])
@pytest.mark.parametrize("extra", ["", ROOM_USER], ids=["contact", "occupant"])
async def test_what_changes_elsewhere_while_a_query_is_held_counts(server, connect, people, elsewhere, patient, change, extra):
    old, new = sample(f"held-{change}-{len(extra)}"), sample("held-new")
    capsd = await connect()
    name = f"held_{change}_{len(extra)}"
    asker, = await people(**{name: None})
    contact = elsewhere.contact(name)
    # By XEP-0390 alone, about which mod_caps asks nothing.
    await elsewhere.announce(contact, asker, old.c_0390(), extra)
    capsd.silent = True
    answer = asyncio.create_task(asker.ask(to=contact))
    await until(lambda: old.node_0390() in capsd.lookups, "the query is held")
    if change == "leaves":
        await elsewhere.leave(contact, asker, extra)
    else:
        await elsewhere.announce(contact, asker, new.c_0390() if change == "announces" else "", extra)
    capsd.known[old.node_0390()] = old
    capsd.silent = False
    for request in [iq for iq in capsd.requests if iq[0].tag.endswith("}lookup")]:
        capsd.answer(request)
    question = await elsewhere.until_asked(contact)
    elsewhere.reply(question, new)
    assert (await answer).info.covered() == new.covered(), "what it announced before is not said any more"



# One question for all


@pytest.mark.parametrize("extra", ["", ROOM_USER], ids=["contact", "occupant"])
async def test_of_many_queries_without_a_node_one_goes_its_way(server, connect, people, elsewhere, patient, extra):
    info = sample(f"node-less-{len(extra)}")
    capsd = await connect(verify=lambda node, content: content.ver() == info.ver())
    askers = await people(**{f"node_less_{len(extra)}_{number}": None for number in range(5)})
    contact = elsewhere.contact("node_less")
    for asker in askers:
        await elsewhere.announce(contact, asker, info.c_0390(), extra)
    answers = asyncio.gather(*(asker.ask(to=contact) for asker in askers))
    elsewhere.reply(await elsewhere.until_asked(contact), info)
    replies = await answers
    assert all(reply.info.covered() == info.covered() and reply.node is None for reply in replies)
    assert len(elsewhere.questions(contact)) == 1
    contributed, = capsd.named("contribute")
    assert (contributed[0].get("jid"), contributed[0].get("node")) == (contact, info.node_0390())


async def test_one_content_under_two_urls_is_asked_for_once(server, connect, people, elsewhere, patient):
    """The hash of XEP-0115 does not cover the URL."""
    info = sample("two-urls")
    capsd = await connect(verify=lambda node, content: content.ver() == info.ver())
    asker, = await people(two_urls=None)
    urls = ["https://one.example", "https://two.example/#caps"]
    nodes = [info.node_0115(url=url) for url in urls]
    contacts = [elsewhere.contact(name) for name in ("one", "two")]
    kept = stats(server)["answers_kept"]
    for contact, url in zip(contacts, urls):
        # As in a room, about whose occupants mod_caps asks nothing.
        await elsewhere.announce(contact, asker, info.c_0115(url=url), ROOM_USER)
    answers = asyncio.gather(*(asker.ask(node, to=contact) for node, contact in zip(nodes, contacts)))
    elsewhere.reply(await elsewhere.until_asked(contacts[0]), info, nodes[0])
    replies = await answers
    assert [reply.node for reply in replies] == nodes and all(reply.info.covered() == info.covered() for reply in replies)
    assert len(elsewhere.questions()) == 1 and len(capsd.named("contribute")) == 1
    assert capsd.lookups == nodes[:1] * 2 and stats(server)["answers_kept"] == kept + 1
    assert (await asker.ask(to=contacts[1])).info.covered() == info.covered() and len(elsewhere.questions()) == 1


async def test_an_occupant_elsewhere_of_a_room_here_is_asked_once_without_a_node(server, connect, people, elsewhere, patient):
    info = sample("local-room")
    capsd = await connect(verify=lambda node, content: content.ver() == info.ver())
    askers = await people(**{f"local_room_{number}": None for number in range(3)})
    room, contact = f"local_room@{ROOMS}", elsewhere.contact("guest")
    for asker in askers:
        asker.send(f"<presence to='{room}/{asker.bare.split('@')[0]}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        await until(lambda: asker.presences_from(room), "it is in the room")
    elsewhere.send(f"<presence from='{contact}' to='{room}/guest'><x xmlns='http://jabber.org/protocol/muc'/>{info.c_0390()}</presence>")
    for asker in askers:
        await until(lambda: [xml for xml in asker.presences if xml.get("from") == f"{room}/guest"], "the guest is seen")
    answers = asyncio.gather(*(asker.ask(to=f"{room}/guest") for asker in askers))
    elsewhere.reply(await elsewhere.until_asked(contact), info)
    replies = await answers
    assert all(reply.info.covered() == info.covered() and reply.sender == f"{room}/guest" for reply in replies)
    assert len(elsewhere.questions(contact)) == 1
    contributed, = capsd.named("contribute")
    assert contributed[0].get("jid") == f"{room}/guest", "who that is, the room does not tell"


async def test_a_result_without_a_node_is_learned_of_nobody_who_was_not_asked_for_others(server, connect, people, elsewhere):
    info = sample("not-asked")
    capsd = await connect()
    asker, = await people(not_asked=None)
    contact = elsewhere.contact("not_asked")
    await elsewhere.announce(contact, asker, info.c_0390())
    elsewhere.send(f"<iq type='result' id='invented' from='{contact}' to='{asker.jid}'>{info.query()}</iq>")
    server.set_option("hold", 0)
    try:
        answer = asyncio.create_task(asker.ask(to=contact))
        elsewhere.reply(await elsewhere.until_asked(contact), info)
        assert (await answer).info.covered() == info.covered()
        assert not capsd.named("contribute")
    finally:
        server.set_option("hold", 800)


async def test_a_contact_that_does_not_answer_is_waited_for_ten_seconds_at_most(server, connect, people, elsewhere):
    info = sample("never-answers")
    capsd = await connect()
    asker, other = await people(never_answers=None, never_answers_other=None)
    contact = elsewhere.contact("never_answers")
    for client in (asker, other):
        await elsewhere.announce(contact, client, info.c_0390())
    first = asyncio.create_task(asker.ask(to=contact, timeout=60))
    await elsewhere.until_asked(contact)
    await asyncio.sleep(10.5)
    begun = stats(server)["held"]
    second = asyncio.create_task(other.ask(to=contact))
    elsewhere.reply(await elsewhere.until_asked(contact, 2), info)
    elsewhere.reply(elsewhere.questions(contact)[0], info)
    assert (await second).info.covered() == (await first).info.covered() == info.covered()
    assert stats(server)["held"] == begun, "the second one is not held for an answer that nobody expects any more"
    assert capsd.lookups == [info.node_0390()]


async def test_who_lies_first_keeps_nobody_from_learning_of_the_others(server, connect, people, elsewhere):
    info, lie = sample("honest-second"), sample("lies-first")
    capsd = await connect(verify=lambda node, content: content.ver() == info.ver())
    asker, = await people(asks_liars=None)
    liar, honest = elsewhere.contact("lies_first"), elsewhere.contact("honest_second")
    for contact in (liar, honest):
        await elsewhere.announce(contact, asker, info.c_0390())
    kept = stats(server)["answers_kept_bytes"]
    for contact, content, times in ((liar, lie, 1), (liar, lie, 2), (honest, info, 1)):
        answer = asyncio.create_task(asker.ask(info.node_0390(), to=contact))
        elsewhere.reply(await elsewhere.until_asked(contact, times), content, info.node_0390())
        assert (await answer).info.covered() == content.covered()
        await until(lambda: len(capsd.named("contribute")) == (1 if contact == liar else 2), "it is handed over")
    assert [request[0].get("jid") for request in capsd.named("contribute")] == [liar, honest], "a lie is not verified twice"
    await until(lambda: stats(server)["answers_kept_bytes"] > kept, "the answer is kept")
    for contact in (liar, honest):
        assert (await asker.ask(info.node_0390(), to=contact)).info.covered() == info.covered()


async def test_another_nick_of_ones_own_does_not_make_one_forget_the_room(server, connect, people, elsewhere):
    info = sample("renamed")
    await connect(known={info.node_0390(): info})
    client, = await people(renames=None)
    room = f"renaming@{ELSEWHERE}"
    status = lambda *codes: ROOM_USER.replace("</x>", "".join(f"<status code='{code}'/>" for code in codes) + "</x>")
    await elsewhere.announce(f"{room}/other", client, info.c_0390(), ROOM_USER)
    await elsewhere.announce(f"{room}/me", client, "", status(110))
    await elsewhere.leave(f"{room}/me", client, status(303, 110))
    await elsewhere.announce(f"{room}/myself", client, "", status(110))
    assert (await client.ask(to=f"{room}/other")).info.covered() == info.covered() and not elsewhere.questions()
    await elsewhere.leave(f"{room}/myself", client, status(110))
    answer = asyncio.create_task(client.ask(to=f"{room}/other"))
    elsewhere.reply(await elsewhere.until_asked(f"{room}/other"), info)
    assert (await answer).info.covered() == info.covered(), "out of the room it is asked"


# Occupants of rooms that ask

MUC = "<x xmlns='http://jabber.org/protocol/muc'/>"


async def told(client):
    """The session has handled what the client sent before."""
    await client.iq(client.bare, "<query xmlns='http://jabber.org/protocol/disco#items'/>")


async def askers_that_reach(elsewhere, client, occupants):
    """Which of those addresses are not answered by the server; each is told what the client says of itself."""
    reaching = []
    for occupant in occupants:
        before = len(client.questions)
        answer = await elsewhere.answer_to(occupant, client)
        assert answer.get("type") == "result" and info_of(answer[0]).covered() == client.info.covered()
        if len(client.questions) > before:
            reaching.append(occupant)
    return reaching


async def test_all_occupants_of_a_room_elsewhere_have_what_it_was_sent(server, connect, people, elsewhere):
    first, second = sample("enters-first"), sample("enters-second")
    await connect(known={info.node_0390(): info for info in (first, second)})
    client, = await people(enters=None)
    room = f"hall@{ELSEWHERE}"
    others = [f"{room}/other-{number}" for number in range(20)]

    async def says(info, to="", extra="", type_=""):
        client.info = info
        client.send(f"<presence{to and f' to={chr(34)}{to}{chr(34)}'}{type_}>{extra}{info.c_0390() if not type_ else ''}</presence>")
        await told(client)

    await says(first, f"{room}/other-1")
    assert await askers_that_reach(elsewhere, client, others[:3]) == [others[0], others[2]], "it is in no room yet"
    await says(first, f"{room}/me", MUC)
    assert await askers_that_reach(elsewhere, client, others) == []
    await says(second, f"{room}/other-2")
    assert await askers_that_reach(elsewhere, client, others[:3]) == others[:2], "the room was not sent that one"
    await says(second, f"{room}/me")
    assert await askers_that_reach(elsewhere, client, others) == []
    await says(first)
    assert await askers_that_reach(elsewhere, client, others[:2]) == others[:2], "that one was sent to subscribers alone"
    await says(first, f"{room}/me")
    assert await askers_that_reach(elsewhere, client, others[:2]) == []
    client.send(f"<presence to='{room}/me'/>")
    await told(client)
    assert await askers_that_reach(elsewhere, client, others[:2]) == others[:2], "nothing is announced there"
    await says(first, f"{room}/me")
    assert await askers_that_reach(elsewhere, client, others[:2]) == []
    # Another room, and other addresses of that server, were sent nothing.
    strangers = [f"another@{ELSEWHERE}/other-1", elsewhere.contact("stranger")]
    assert await askers_that_reach(elsewhere, client, strangers) == strangers
    await says(first, f"{room}/me", type_=" type='unavailable'")
    assert await askers_that_reach(elsewhere, client, others[:2]) == others[:2], "it has left"
    # Out of the room by no will of its own.
    await says(first, f"{room}/me", MUC)
    assert await askers_that_reach(elsewhere, client, others[:1]) == []
    await elsewhere.leave(f"{room}/me", client, ROOM_USER.replace("</x>", "<status code='110'/><status code='307'/></x>"))
    assert await askers_that_reach(elsewhere, client, others[:1]) == others[:1]


async def test_occupants_elsewhere_of_a_room_here_have_what_it_was_sent(server, connect, people, elsewhere):
    info, unheard = sample("enters-here"), sample("enters-unheard")
    await connect(known={each.node_0390(): each for each in (info, unheard)})
    client, deaf = await people(enters_here=None, enters_deaf=None)
    client.info = info
    room, guest = f"enters@{ROOMS}", elsewhere.contact("guest")
    for who, nick, caps in ((client, "client", info.c_0390()), (deaf, "deaf", "")):
        who.send(f"<presence to='{room}/{nick}'>{MUC}{caps}</presence>")
        await until(lambda: who.presences_from(room), "it is in the room")
    elsewhere.send(f"<presence from='{guest}' to='{room}/guest'>{MUC}</presence>")
    await until(lambda: [xml for xml in client.presences if xml.get("from") == f"{room}/guest"], "the guest is seen")

    async def guest_reaches():
        before, id_ = len(client.questions), f"g{len(elsewhere.replies)}"
        elsewhere.send(
            f"<iq type='get' id='{id_}' from='{guest}' to='{room}/client'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        )
        answers = lambda: [iq for iq in elsewhere.replies if iq.get("id") == id_]
        await until(answers, "the guest is answered")
        assert answers()[0].get("from") == f"{room}/client" and info_of(answers()[0][0]).covered() == client.info.covered()
        return len(client.questions) > before

    assert not await guest_reaches(), "it is answered in the place of the client"
    # An occupant of this server must have received it.
    await deaf.refuse(room, "presence-in")
    client.info = unheard
    client.send(f"<presence to='{room}/client'>{unheard.c_0390()}</presence>")
    await told(client)
    assert not await guest_reaches()
    before = len(client.questions)
    assert (await deaf.ask(to=f"{room}/client")).info.covered() == unheard.covered()
    assert len(client.questions) == before + 1, "it has not heard, and asks the client"
    await deaf.refuse_nothing()
    client.send(f"<presence type='unavailable' to='{room}/client'/>")
    client.send(f"<presence to='{room}/client'>{MUC}</presence>")
    await told(client)
    assert await guest_reaches(), "nothing was announced since it entered"


async def test_of_many_occupants_elsewhere_that_ask_one_reaches_the_client(server, connect, people, elsewhere, patient):
    info = sample("many-occupants")
    await connect(verify=lambda node, content: content.ver() == info.ver())
    client, = await people(many_occupants=None)
    client.info = info
    room, here, guests = f"crowd@{ELSEWHERE}", f"crowd@{ROOMS}", [elsewhere.contact(f"guest-{number}") for number in range(5)]
    for where in (room, here):
        client.send(f"<presence to='{where}/me'>{MUC}{info.c_0390()}</presence>")
    await until(lambda: client.presences_from(here), "it is in the room")
    for guest in guests:
        elsewhere.send(f"<presence from='{guest}' to='{here}/{guest[:7]}'>{MUC}</presence>")
    there = {f"{here}/{guest[:7]}" for guest in guests}
    await until(lambda: there <= {xml.get("from") for xml in client.presences}, "all are in the room")
    for number, guest in enumerate(guests):
        for sender, to in ((f"{room}/{number}", client.jid), (guest, f"{here}/me")):
            elsewhere.send(
                f"<iq type='get' id='m{to}' from='{sender}' to='{to}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
            )
    await until(lambda: len(elsewhere.replies) == 10, lambda: f"all are answered: {len(elsewhere.replies)}")
    assert all(info_of(reply[0]).covered() == info.covered() for reply in elsewhere.replies) and len(client.questions) == 1
