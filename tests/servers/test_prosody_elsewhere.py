"""Prosody's module and contacts that are no users of the server: what they announce and change, whom they are told of, and what block lists
(XEP-0191) and privacy lists (XEP-0016) keep from either side. A component plays the contact's server."""

import asyncio
import re

import pytest

from harness.caps import DISCO_INFO, info_of, sample
from harness.client import Client
from harness.one_prosody import LONG_HOLD, by_user, configure, connect, people, server  # noqa: F401 (fixtures)
from harness.processes import until
from harness.watched import GATEWAY, MUC, Gateway


async def test_contacts_that_are_no_users_of_this_server(server, connect, people, configure):
    info = sample("beyond")
    configure(hold=LONG_HOLD)
    capsd = await connect()
    asker, = await people(beyond_asker=None)
    gateway = await Gateway(server, info).start()
    try:
        gateway.announce(asker)
        await until(lambda: asker.presences_from(f"friend@{GATEWAY}"), "the presence arrives")
        replies = await asyncio.gather(*(asker.ask(info.node_0115(), to=gateway.contact) for _ in range(5)))
        assert [reply.info.covered() for reply in replies] == [info.covered()] * 5
        assert len(gateway.requests) == 1
        assert (await asker.ask(to=gateway.contact)).info.covered() == info.covered()
        assert len(gateway.requests) == 1
        assert capsd.present()[gateway.contact] is False, "it is seen in passing: capsd may not ask it"
        # What no client sends, a component may: an iq without an id. It is delivered as it is.
        asker.info, asker.mode = sample("beyond-asker"), "silent"
        asker.announce()
        asker.announce(to=gateway.contact)
        for kind in ("get", "result", "error"):
            head = f"<iq type='{kind}' from='{gateway.contact}' to='{asker.jid}'>"
            gateway.writer.write(f"{head}<query xmlns='{DISCO_INFO}' node='{info.node_0115()}'/></iq>".encode())
        await until(lambda: any(question.id is None for question in asker.questions), "the query arrives")
        assert "Traceback" not in server.log.read_text()
        # Who is out of a room is not answered for its occupants any more.
        gateway.show_out(asker)
        await until(lambda: asker.presences_from(f"friend@{GATEWAY}", "unavailable"), "the asker is out")
        await asker.ask(to=gateway.contact)
        assert len(gateway.requests) == 2
        # A full address of which nothing was heard.
        gateway.contact = f"friend@{GATEWAY}/near"
        assert (await asker.ask(info.node_0115(), to=gateway.contact)).kind == "result"
        assert len(gateway.requests) == 3
    finally:
        await gateway.stop()


@pytest.fixture
async def elsewhere(server, connect, people, configure):
    """A contact that is no user of this server and has announced what capsd knows, a user who was told and asks, and what it may announce next."""
    before, after = sample("changing"), sample("changed")
    configure(hold=LONG_HOLD)
    await connect(known={info.node_0115(): info for info in (before, after)})
    asker, = await people(asks_elsewhere=None)
    gateway = await Gateway(server, before).start()
    await gateway.tell(asker)
    assert (await asker.ask(to=gateway.contact)).info.covered() == before.covered()
    assert gateway.requests == []
    yield gateway, asker, after
    await gateway.stop()


async def test_a_contact_elsewhere_changes(elsewhere):
    gateway, asker, after = elsewhere
    old, gateway.info = gateway.info, after
    await gateway.tell(asker)
    for node in (None, after.node_0115()):
        assert (await asker.ask(node, to=gateway.contact)).info.covered() == after.covered()
    assert gateway.requests == []
    assert (await asker.ask(old.node_0115(), to=gateway.contact)).kind == "result"
    assert len(gateway.requests) == 1, "what is older goes its way"


async def by_blocking(asker, contact):
    await asker.block(contact)


async def by_privacy_list(asker, contact):
    await asker.refuse(contact, "presence-in")


async def by_privacy_list_that_is_changed(asker, contact):
    await asker.refuse("nobody@nowhere.example", "presence-in")
    await asker.refuse(contact, "presence-in")


async def unblocks(asker, contact):
    await asker.block(contact, "unblock")


async def nothing(asker, contact):
    """A list that stops presences alone stops no query."""


@pytest.mark.parametrize("stop, allow", [(by_blocking, unblocks), (by_privacy_list, nothing), (by_privacy_list_that_is_changed, nothing)])
async def test_what_a_contact_elsewhere_announced_unheard(elsewhere, stop, allow):
    gateway, asker, after = elsewhere
    contact = gateway.contact.split("/")[0]
    await stop(asker, contact)
    try:
        # The presence is dropped: nobody on this server can know what it announces now.
        gateway.info = after
        await gateway.tell(asker, heard=False)
        await allow(asker, contact)
        assert (await asker.ask(to=gateway.contact)).info.covered() == after.covered()
        assert len(gateway.requests) == 1, "only the contact itself can say"
        # What it announces is heard again, and then it need not be asked.
        if stop is not by_blocking:
            await asker.refuse_nothing()
        await gateway.tell(asker)
        assert (await asker.ask(to=gateway.contact)).info.covered() == after.covered()
        assert len(gateway.requests) == 1
    finally:
        await asker.block(contact, "unblock")


async def test_who_is_seen_is_reported_while_somebody_hears_it(server, connect, people):
    info = sample("seen")
    capsd = await connect()
    one, other = await people(sees_one=None, sees_other=None)
    contact, room = f"friend@{GATEWAY}/far", f"room@{GATEWAY}"
    gateway = await Gateway(server, info).start()
    present = lambda: {jid for jid in capsd.present() if GATEWAY in jid}
    now = lambda *expected: until(lambda: present() == set(expected), lambda: f"{expected} are there, not {present()}")
    said = lambda jid: [word for word, of, _, _ in capsd.reports if of == jid]
    gone = "<presence type='unavailable' from='{}' to='{}'/>"
    out = f"<presence type='unavailable' from='{room}/me' to='{{}}'><x xmlns='{MUC}#user'><status code='110'/></x></presence>"
    try:
        for client in (one, other, one):
            await gateway.tell(client)
        await now(contact)
        # One is told that it is gone, as by a block list; the other hears it as before.
        gateway.send(gone.format(contact, one.jid))
        await until(lambda: one.presences_from(f"friend@{GATEWAY}", "unavailable"), "it is told so")
        await gateway.tell(other)
        assert present() == {contact} and said(contact) == ["holder"], "said once"
        gateway.send(gone.format(contact, other.jid))
        await now()
        # A room elsewhere: both are in it, then one leaves, then the connection of the other breaks.
        occupants = [f"{room}/{number}" for number in range(5)]
        for client in (one, other):
            for occupant in occupants:
                gateway.send(f"<presence from='{occupant}' to='{client.jid}'>{info.c_0115()}<x xmlns='{MUC}#user'/></presence>")
        await now(*occupants)
        gateway.send(out.format(one.jid))
        await until(lambda: one.presences_from(room, "unavailable"), "one is out")
        gateway.send(gone.format(occupants[0], other.jid))
        await now(*occupants[1:])
        other.abort()
        await now()
        assert [said(occupant) for occupant in occupants] == [["holder", "gone"]] * 5
    finally:
        await gateway.stop()


async def leaves(gateway, client):
    """The client leaves; what the room says to that has not come yet."""
    client.send(f"<presence type='unavailable' to='friend@{GATEWAY}/me'/>")


async def is_shown_out(gateway, client):
    """The room says that the client is in it no more."""
    gateway.show_out(client)
    await until(lambda: client.presences_from(f"friend@{GATEWAY}", "unavailable"), "the client is out")


@pytest.mark.parametrize("end", [leaves, is_shown_out])
async def test_who_is_no_longer_in_a_room_elsewhere(server, connect, people, end):
    info = sample("was-in-a-room")
    await connect(known={info.node_0115(): info})
    client, = await people(**{f"room_{end.__name__}": info})
    gateway = await Gateway(server, info).start()
    room = f"friend@{GATEWAY}"
    occupant = f"{room}/far"
    try:
        client.announce(to=f"{room}/me", extra=f"<x xmlns='{MUC}'/>")
        await gateway.hears(client, f"{room}/me")
        gateway.send(f"<presence from='{occupant}' to='{client.jid}'>{info.c_0115()}<x xmlns='{MUC}#user'/></presence>")
        await until(lambda: client.presences_from(room), "the occupant is seen")
        assert (await client.ask(to=occupant)).info.covered() == info.covered() and gateway.requests == []
        assert await gateway.ask(client, of=occupant) == info and by_user(client) == []
        await end(gateway, client)
        await client.ask(to=occupant)
        assert len(gateway.requests) == 1, "it is for the room to answer or to refuse that"
        assert await gateway.ask(client, of=occupant) == info
        assert len(by_user(client)) == 1, "who is in the room is told nothing any more"
    finally:
        await gateway.stop()


@pytest.fixture
async def subscriber(server, connect, people, configure, request):
    """A contact that is no user of this server and is subscribed to one who announced what capsd knows, that one, and what it may announce next."""
    before, after = sample("shown"), sample("shown-next")
    configure(hold=LONG_HOLD)
    await connect(known={info.node_0115(): info for info in (before, after)})
    target, = await people(**{f"of_{re.sub(r'[^a-z_]+', '_', request.node.name)}": before})
    gateway = await Gateway(server, before).start()
    await gateway.befriend(target)
    assert await gateway.ask(target) == before
    assert await gateway.ask(target, before.node_0115()) == before
    assert by_user(target) == []
    yield gateway, target, after
    await target.refuse_nothing()
    await gateway.stop()


async def test_a_subscriber_elsewhere_who_is_not_told(subscriber):
    gateway, target, after = subscriber
    await target.refuse(gateway.contact.split("/")[0], "presence-out")
    target.info = after
    target.announce()
    # Somebody else is told, so it is known to the server.
    target.announce(to=f"other@{GATEWAY}/x")
    await gateway.hears(target, f"other@{GATEWAY}/x")
    assert await gateway.ask(target) == after
    assert await gateway.ask(target, after.node_0115()) == after
    assert len(by_user(target)) == 2, "it was told nothing, so the client is asked"
    await target.refuse_nothing()
    target.announce()
    await gateway.hears(target)
    assert await gateway.ask(target) == after
    assert len(by_user(target)) == 2


async def unsubscribed(gateway, target):
    target.send(f"<presence type='unsubscribed' to='{gateway.contact.split('/')[0]}'/>")
    await until(lambda: "unsubscribed" in [xml.get("type") for xml in gateway.presences], "it is told so")


async def unsubscribes(gateway, target):
    contact = gateway.contact.split("/")[0]
    gateway.send(f"<presence type='unsubscribe' from='{contact}' to='{target.bare}'/>")
    # What comes behind it shows that it was taken.
    gateway.send(f"<presence type='unavailable' from='{contact}/m' to='{target.jid}'/>")
    await until(lambda: target.presences_from(contact, "unavailable"), "it has arrived")


async def removed(gateway, target):
    contact = gateway.contact.split("/")[0]
    await target.iq(None, f"<query xmlns='jabber:iq:roster'><item jid='{contact}' subscription='remove'/></query>", "set")


@pytest.mark.parametrize("cancel", [unsubscribed, unsubscribes, removed])
async def test_a_subscriber_elsewhere_who_is_none_any_more(subscriber, cancel):
    gateway, target, _ = subscriber
    await cancel(gateway, target)
    assert await gateway.ask(target) == target.info
    assert await gateway.ask(target, target.info.node_0115()) == target.info
    assert len(by_user(target)) == 2, "a stranger asks the client"


async def test_a_subscriber_elsewhere_who_is_blocked(subscriber):
    gateway, target, after = subscriber
    contact = gateway.contact.split("/")[0]
    await target.block(contact)
    await until(lambda: gateway.presences[-1].get("type") == "unavailable", "it is told that nobody is there")
    for number, node in enumerate((None, target.info.node_0115())):
        gateway.send_question(target, f"blocked{number}", node)
        await until(lambda: f"blocked{number}" in gateway.replies, "a reply arrives")
        assert gateway.replies[f"blocked{number}"].get("type") == "error"
    target.info = after
    target.announce()
    await target.block(contact, "unblock")
    await gateway.hears(target)
    assert await gateway.ask(target) == after
    assert by_user(target) == []


async def test_directed_presence_is_for_whom_it_was_sent_to(subscriber):
    gateway, target, after = subscriber
    other = f"other@{GATEWAY}/x"
    target.info = after
    target.announce(to=other)
    await gateway.hears(target, other)
    assert await gateway.ask(target, of=other) == after
    assert by_user(target) == []
    assert await gateway.ask(target, of=f"other@{GATEWAY}/y") == after
    assert await gateway.ask(target) == after
    assert len(by_user(target)) == 2, "neither another client of that account nor the subscriber was told"
    # The server repeats to other clients of the account what was broadcast last, and that changes nothing.
    again = Client(target.server, target.bare.split("@")[0], None, resource="again")
    await again.log_in()
    again.announce_nothing()
    await until(lambda: again.presences_from(target.bare), "the other one sees it")
    assert await gateway.ask(target, of=other) == after
    assert await gateway.ask(target) == after
    assert len(by_user(target)) == 3
    await again.log_out()
    target.announce()
    await gateway.hears(target)
    assert await gateway.ask(target) == after
    assert len(by_user(target)) == 3


async def test_directed_presence_to_a_subscriber(subscriber):
    gateway, target, after = subscriber
    target.info = after
    target.announce(to=gateway.contact)
    await gateway.hears(target, gateway.contact)
    assert await gateway.ask(target) == after
    assert by_user(target) == []
    assert await gateway.ask(target, of=f"friend@{GATEWAY}/near") == after
    assert len(by_user(target)) == 1, "another client of that account was told something else last"
    target.become_unavailable(to=gateway.contact)
    await until(lambda: gateway.presences[-1].get("type") == "unavailable", "it is told so")
    assert await gateway.ask(target) == after
    assert len(by_user(target)) == 2
    # A probe, as another server sends it for a user who logs in, brings what was broadcast last.
    target.announce(to=gateway.contact)
    target.announce()
    await gateway.hears(target)
    assert await gateway.ask(target, of=f"friend@{GATEWAY}/near") == after
    assert len(by_user(target)) == 2, "the whole account is told"
    target.become_unavailable(to=gateway.contact)
    await until(lambda: gateway.presences[-1].get("type") == "unavailable", "it is told so")
    gateway.send(f"<presence type='probe' from='{gateway.contact}' to='{target.bare}'/>")
    await gateway.hears(target, gateway.contact)
    assert await gateway.ask(target) == after
    assert len(by_user(target)) == 2


async def test_a_held_query_outlives_the_connection_that_it_came_by(server, connect, people, configure):
    known, unknown = sample("outlives"), sample("outlives-unknown")
    configure(hold=LONG_HOLD)
    capsd = await connect()
    target, = await people(is_asked_before_the_end=None)
    for number, info in enumerate((known, unknown)):
        gateway = await Gateway(server, info).start()
        target.info = info
        capsd.silent = True
        target.announce(to=gateway.contact)
        await gateway.hears(target, gateway.contact)
        gateway.send_question(target, f"outlives{number}")
        await until(lambda: server.statistics()["held", None] > 0, "the query is held")
        await gateway.stop()
        again = await Gateway(server, info).start()
        # Then capsd knows the one, and not the other.
        capsd.known[known.node_0115()] = known
        capsd.silent = False
        for request in capsd.requests[:]:
            capsd.answer(request)
        await until(lambda: f"outlives{number}" in again.replies, "the answer arrives by the new connection")
        assert info_of(again.replies[f"outlives{number}"][0]) == info
        assert len(by_user(target)) == number
        await again.stop()
