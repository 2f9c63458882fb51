"""Prosody's module and rooms: who is told of whom there decides who is answered."""

import asyncio

from harness.caps import CAPS_0115, sample
from harness.client import Client
from harness.one_prosody import LONG_HOLD, by_user, configure, connect, people, server  # noqa: F401 (fixtures)
from harness.processes import until
from harness.servers import ROOMS, STRANGE_DOMAIN
from harness.watched import MUC, Gateway

OWNER = "http://jabber.org/protocol/muc#owner"
CONFIG = "http://jabber.org/protocol/muc#roomconfig"


class Room:
    """A room of the server."""

    def __init__(self, name):
        self.jid = f"{name}@{ROOMS}"

    def nick(self, client):
        """The address of a client in the room."""
        return f"{self.jid}/{client.bare.split('@')[0]}"

    def announce(self, client):
        """The client enters the room, or says there what it announces by now."""
        caps = client.info.c_0115() if client.info else ""
        client.send(f"<presence to='{self.nick(client)}'>{caps}<x xmlns='{MUC}'/></presence>")

    async def enter(self, client, *others):
        """The client enters the room; these see it."""
        self.announce(client)
        for one in (client, *others):
            await until(lambda: self.shows(client, one), f"{one.bare} sees {client.bare}")

    def shows(self, client, to):
        """Whether the last presence of the client in the room that reached that one is what it announces now."""
        presences = [xml for xml in to.presences if xml.get("from") == self.nick(client)][-1:]
        ver = client.info.ver() if client.info else None
        return any(xml.get("type") is None and (ver is None or ver in [c.get("ver") for c in xml.iter(f"{{{CAPS_0115}}}c")]) for xml in presences)

    async def show(self, owner, *roles):
        """The room is moderated, and tells of occupants with these roles alone."""
        field = lambda var, *values: f"<field var='{var}'>" + "".join(f"<value>{value}</value>" for value in values) + "</field>"
        form = field("FORM_TYPE", CONFIG) + field("muc#roomconfig_moderatedroom", 1) + field("muc#roomconfig_presencebroadcast", *roles)
        reply = await owner.iq(self.jid, f"<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='submit'>{form}</x></query>", "set")
        assert reply.kind == "result", reply.xml


async def ask(room, asker, target, node=None):
    """Asks an occupant; returns how many questions of users reached it for that."""
    before = len(by_user(target))
    reply = await asker.ask(node, to=room.nick(target))
    assert (reply.info.covered(), reply.sender) == (target.info.covered(), room.nick(target))
    return len(by_user(target)) - before


async def test_an_occupant_of_whom_the_room_tells_nobody(server, connect, people):
    info = sample("hidden")
    await connect(known={info.node_0115(): info})
    owner, target, asker = await people(hidden_owner=None, hidden_target=None, hidden_asker=None)
    # A user of a host without the module, of whom nobody knows what he heard.
    server.add_users(["hidden_stranger"], STRANGE_DOMAIN)
    stranger = await Client(server, "hidden_stranger", domain=STRANGE_DOMAIN).log_in()
    room = Room("hidden")
    await room.enter(owner)
    await room.show(owner, "moderator", "participant")
    target.info = info
    for client in (target, asker, stranger):
        await room.enter(client)
    assert not room.shows(target, asker) and not room.shows(target, stranger), "they are visitors, and not shown"
    for client in (asker, owner, stranger):
        for node in (None, info.node_0115()):
            assert await ask(room, client, target, node) == 1, "who was not told asks the client"
    await room.show(owner, "moderator", "participant", "visitor")
    room.announce(target)
    for client in (asker, owner, stranger):
        await until(lambda: room.shows(target, client), "it is told now")
        for node in (None, info.node_0115()):
            assert await ask(room, client, target, node) == 0
    await stranger.log_out()


async def test_a_query_to_an_occupant_is_held(server, connect, people, configure):
    info = sample("held-in-room")
    configure(hold=LONG_HOLD)
    capsd = await connect()
    target, asker = await people(occupant_held=None, occupant_asks=None)
    room = Room("holds")
    target.info = info
    await room.enter(target)
    capsd.silent = True
    room.announce(asker)
    await until(lambda: room.shows(target, asker), "it is told")
    pending = asyncio.gather(*(ask(room, asker, target, node) for node in (None, info.node_0115())))
    await until(lambda: server.statistics()["held", None] >= 2, "both are held")
    capsd.known[info.node_0115()] = info
    capsd.silent = False
    for request in capsd.requests[:]:
        capsd.answer(request)
    assert await pending == [0, 0]


async def test_a_change_in_a_room(server, connect, people):
    before, after = sample("room-before"), sample("room-after")
    await connect(known={info.node_0115(): info for info in (before, after)})
    target, asker = await people(room_changes=None, room_asks=None)
    room = Room("changes")
    target.info = before
    await room.enter(asker)
    await room.enter(target, asker)
    for node in (None, before.node_0115()):
        assert await ask(room, asker, target, node) == 0
    # Not yet announced there: the client says itself what it is by now.
    target.info = after
    target.announce()
    await until(lambda: target.presences[-1].get("from") == target.jid, "it is routed")
    assert await ask(room, asker, target) == 1
    room.announce(target)
    await until(lambda: room.shows(target, asker), "it is told there")
    for node, questions in ((None, 0), (after.node_0115(), 0), (before.node_0115(), 1)):
        assert await ask(room, asker, target, node) == questions, node


async def test_an_occupant_who_is_no_user_of_this_server(server, connect, people):
    info = sample("guest")
    await connect(known={info.node_0115(): info})
    asker, = await people(asks_a_guest=None)
    room = Room("guests")
    await room.enter(asker)
    gateway = await Gateway(server, info).start()
    try:
        nick = f"{room.jid}/guest"
        gateway.send(f"<presence from='{gateway.contact}' to='{nick}'>{info.c_0115()}<x xmlns='{MUC}'/></presence>")
        await until(lambda: [xml for xml in asker.presences if xml.get("from") == nick], "the guest is there")
        for node in (None, info.node_0115()):
            assert (await asker.ask(node, to=nick)).info.covered() == info.covered()
        assert gateway.requests == [], "the guest was not asked"
    finally:
        await gateway.stop()
