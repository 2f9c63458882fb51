"""What privacy lists (XEP-0016) and blocking (XEP-0191) keep from being told or heard, ejabberd's module does not reveal either: each
scene is played with the module and without it, and what is said is the same."""

import asyncio

import pytest

from harness.caps import sample
from harness.client import Client
from harness.one_ejabberd import befriend, connect, elsewhere, people, server, show, stats  # noqa: F401 (fixtures)
from harness.processes import until

PRIVACY = "jabber:iq:privacy"
BLOCKING = "urn:xmpp:blocking"


async def set_privacy(client, content):
    reply = await client.iq(None, f"<query xmlns='{PRIVACY}'>{content}</query>", "set")
    assert reply.kind == "result", reply.xml


async def list_that_denies(client, jid, what, name="list"):
    """A list that denies one kind of stanzas of or to that address."""
    await set_privacy(client, f"<list name='{name}'><item type='jid' value='{jid}' action='deny' order='1'><{what}/></item></list>")


async def blocking(client, word, jid):
    reply = await client.iq(None, f"<{word} xmlns='{BLOCKING}'><item jid='{jid}'/></{word}>", "set")
    assert reply.kind == "result", reply.xml


async def stop_by_block(client, other, bare):
    await blocking(client, "block", bare)
    return lambda: blocking(client, "unblock", bare)


async def stop_by_active(client, other, bare):
    await list_that_denies(client, bare, "presence-in")
    await set_privacy(client, "<active name='list'/>")
    return nothing


async def stop_by_default(client, other, bare):
    await list_that_denies(client, bare, "presence-in")
    await set_privacy(client, "<default name='list'/>")
    return nothing


async def stop_by_default_of_another(client, other, bare):
    await stop_by_default(other, client, bare)
    return nothing


async def nothing():
    pass


STOPS = [stop_by_block, stop_by_active, stop_by_default, stop_by_default_of_another]


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
        await set_privacy(client, "<active/>")
        await other.log_out()


async def people_of_the_same(server, client):
    """Another session of the same account."""
    other = Client(server, client.bare.split("@")[0], resource="other")
    await other.log_in()
    other.announce_nothing()
    return other,
