"""PEP notifications (`+notify`) arrive as without the module, also right after login, and no client is asked for them twice."""

import pytest

from crowd.campaign import Beside
from harness.caps import sample
from harness.processes import until

MOOD = "http://jabber.org/protocol/mood"
PUBSUB = "http://jabber.org/protocol/pubsub"


def moods(client):
    """The moods that the client was told, in order; Prosody may tell the last one several times at login, with the module and without."""
    return [mood[0].tag.split("}")[1] for message in client.messages for mood in message.iter(f"{{{MOOD}}}mood") if len(mood)]


async def publish(client, mood):
    """Sets the client's mood."""
    item = f"<item id='current'><mood xmlns='{MOOD}'><{mood}/></mood></item>"
    reply = await client.iq(None, f"<pubsub xmlns='{PUBSUB}'><publish node='{MOOD}'>{item}</publish></pubsub>", "set")
    assert reply.kind == "result", reply.xml


class Contacts:
    """Accounts that are subscribed to each other, beside one server."""

    def __init__(self, server, make_client, names):
        self.server = server
        self.make_client = make_client
        server.add_users(names)
        server.befriend(names)

    async def log_in(self, name, info):
        """A contact that has logged in and announced itself."""
        client = await self.make_client(name, info, server=self.server).log_in()
        client.announce()
        return client


@pytest.mark.parametrize("with_module", [False, True], ids=["without-module", "with-module"])
async def test_notifications(make_crowd_server, make_capsd, make_client, with_module):
    server = make_crowd_server(module=with_module)
    capsd = make_capsd(server).start()
    if with_module:
        await Beside(server, capsd).until_fed()
    contacts = Contacts(server, make_client, ["publisher", "first", "second", "deaf"])
    wants, deaf = sample("wants", [f"{MOOD}+notify"]), sample("deaf")
    publisher = await contacts.log_in("publisher", deaf)
    await publish(publisher, "happy")

    # Right after login: what was published before. ejabberd alone tells it to the first one only if that answers fast.
    first = await contacts.log_in("first", wants)
    if with_module or server.kind == "prosody":
        await until(lambda: set(moods(first)) == {"happy"}, lambda: f"the last mood is told at login, not {moods(first)}")
    else:
        await until(lambda: first.questions, "the server asks")
    second = await contacts.log_in("second", wants)
    await until(lambda: set(moods(second)) == {"happy"}, lambda: f"the last mood is told at login, not {moods(second)}")

    # While everybody is there.
    other = await contacts.log_in("deaf", deaf)
    await publish(publisher, "sad")
    for client in (first, second):
        await until(lambda: moods(client)[-1:] == ["sad"], lambda: f"the new mood is told, not {moods(client)}")

    # Once more, when everything is known.
    await first.log_out()
    again = await contacts.log_in("first", wants)
    await until(lambda: set(moods(again)) == {"sad"}, lambda: f"the last mood is told at login, not {moods(again)}")

    # One's own items, with a hash that nobody knew.
    if with_module:
        own = sample("own", [f"{MOOD}+notify"])
        elsewhere = await make_client("publisher", own, resource="elsewhere", server=server).log_in()
        elsewhere.announce()
        await until(lambda: set(moods(elsewhere)) == {"sad"}, lambda: f"one's own mood is told, not {moods(elsewhere)}")
        assert len(elsewhere.questions) == 1

    # Nobody is told what he does not want; by now it would have come.
    assert moods(other) == []
    everybody = [publisher, first, second, other, again]
    if with_module:
        asked = {info.ver(): sum(len(client.questions) for client in everybody if client.info is info) for info in (wants, deaf)}
        assert all(times <= 1 for times in asked.values()), asked
        assert again.questions == []
    else:
        assert sum(len(client.questions) for client in everybody) > 2, "the server asks for itself"


@pytest.mark.parametrize("trouble", ["hung", "killed"])
async def test_notifications_while_capsd_is_in_trouble(make_crowd_server, make_capsd, make_client, trouble):
    """The server's own questions go to the clients then, at the latest after a hold, and what they are for happens."""
    server = make_crowd_server(module=True)
    capsd = make_capsd(server).start()
    await Beside(server, capsd).until_fed()
    contacts = Contacts(server, make_client, ["publisher", *(f"unlucky{number}" for number in range(3))])
    publisher = await contacts.log_in("publisher", sample("healthy-publisher"))
    await publish(publisher, "happy")
    await capsd.until_idle()
    capsd.hang() if trouble == "hung" else capsd.kill()
    log_in = lambda number: contacts.log_in(f"unlucky{number}", sample("unlucky", [f"{MOOD}+notify"]))
    first = await log_in(0)
    await until(lambda: first.questions, "the first client is asked")
    # After its answer, on the same stream: the others do not log in before the server has that.
    await first.iq(None, "<ping xmlns='urn:xmpp:ping'/>")
    unlucky = [first, await log_in(1), await log_in(2)]
    # As without the module, ejabberd tells it to the first one only if that answers fast.
    for client in unlucky[1 if server.kind == "ejabberd" else 0 :]:
        await until(lambda: set(moods(client)) == {"happy"}, lambda: f"the last mood is told at login, not {moods(client)}")
    await publish(publisher, "sad")
    for client in unlucky:
        await until(lambda: moods(client)[-1:] == ["sad"], lambda: f"the new mood is told, not {moods(client)}")
    if trouble == "hung":
        capsd.go_on()
