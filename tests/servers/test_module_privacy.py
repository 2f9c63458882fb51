"""The modules reveal no more than the servers do without them: each scene is played beside a server with the module and one without it,
and what the asker gets is the same in both. Where the module may answer, the asked client hears nothing of it."""

from dataclasses import dataclass, field

import pytest

from crowd.campaign import Beside
from crowd.servers import CROWD_KINDS
from harness.caps import CAPS_0115, sample
from harness.client import Client, log_out_all
from harness.processes import until
from harness.servers import ROOMS

MUC = "http://jabber.org/protocol/muc"
# Nothing may go its way only because this machine is slow. Prosody's module counts in seconds, ejabberd's in milliseconds.
PATIENT = {"prosody": {"hold": 5}, "ejabberd": {"hold": 5000}}


@pytest.fixture(scope="module")
def make_scenery(kind, tmp_path_factory):
    """Starts a server with rooms and blocking, with or without the module; it is stopped after the module."""
    servers = []

    def make(module):
        servers.append(CROWD_KINDS[kind](tmp_path_factory.mktemp(kind), module=module, own_caps=False))
        return servers[-1].start()

    yield make
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def without_module(make_scenery):
    return make_scenery(False)


@pytest.fixture(scope="module")
def with_module(make_scenery, kind):
    return make_scenery(PATIENT[kind])


@pytest.fixture(scope="module")
def narrow_module(make_scenery, kind):
    """A server whose module answers none but subscribers and occupants of a common room."""
    return make_scenery(PATIENT[kind] | {"answer": "subscribed"})


@dataclass
class Stage:
    """One server, and what was asked and heard on it. Every scene has accounts of its own."""

    server: object
    scene: str
    # The one beside a server with the module, which knows nothing at first.
    capsd: object = None
    clients: list = field(default_factory=list)
    # What askers got, in order; and for each of these questions, whether the asked client heard it.
    got: list = field(default_factory=list)
    heard: list = field(default_factory=list)

    async def enter(self, name, info=None):
        """A client that has logged in; with `info` it announces that to its contacts."""
        user = f"{self.scene}-{name}"
        self.server.add_users([user])
        client = Client(self.server, user, info)
        self.clients.append(client)
        await client.log_in()
        if info:
            client.announce()
        return client

    async def befriend(self, *names_and_infos):
        """Two clients that are subscribed to each other; each announces its info, if it has one, and that has arrived."""
        one, other = [await self.enter(name, None) for name, _ in names_and_infos]
        for client in (one, other):
            client.announce_nothing()
        for asking, asked in ((one, other), (other, one)):
            asking.send(f"<presence type='subscribe' to='{asked.bare}'/>")
            await until(lambda: asked.presences_from(asking.bare, "subscribe"), f"{asked.bare} is asked for a subscription")
            asked.send(f"<presence type='subscribed' to='{asking.bare}'/>")
            await until(lambda: asking.presences_from(asked.bare), f"{asking.bare} sees {asked.bare}")
        for client, to, (_, info) in ((one, other, names_and_infos[0]), (other, one, names_and_infos[1])):
            client.info = info
            if info:
                await self.tell(client, to)
        return one, other

    async def tell(self, client, to, directed=False):
        """The client announces its info, by directed presence or to all; `to` has received it, and what is new to capsd has been learned: a
        question could overtake the report."""
        verified = "capsd_verifications_total"
        before = self.capsd.metrics().total(verified, result="ok") if self.capsd else 0
        client.announce(to=to.jid if directed else None)
        await until(lambda: announced(client.info, to, client.bare), f"{to.bare} hears of {client.bare}")
        if self.capsd and not directed:
            await self.capsd.until_metric(verified, before + 1, result="ok")

    async def ask(self, asker, target, node=None, to=None, id_=None):
        """Asks a client for its disco info; keeps what came back, and whether the client itself was asked by the asker."""
        before = len(target.questions)
        reply = await asker.ask(node, to=to or target.jid, id_=id_)
        self.got.append((reply.kind, reply.condition, reply.node, reply.info.covered() if reply.kind == "result" else None))
        self.heard.append(any(q.sender in (asker.jid, asker_in_room(asker)) for q in target.questions[before:]))

    async def learn(self, asker, target, to=None):
        """What is announced to some alone need not be reported to capsd: the first answer that passes by tells it."""
        assert (await asker.ask(target.info.node_0115(), to=to or target.jid)).kind == "result"

    async def join(self, client, room="room", others=()):
        """Enters a room and waits until everybody there has seen it; the first makes the room."""
        client.send(f"<presence to='{nick(room, client)}'>{client.info.c_0115() if client.info else ''}<x xmlns='{MUC}'/></presence>")
        for one in (client, *others):
            await until(lambda: has_seen(one, nick(room, client)), f"{one.bare} sees {client.bare} in the room")


def nick(room, client):
    """The address of a client in a room."""
    return f"{room}@{ROOMS}/{client.bare.split('@')[0]}"


def asker_in_room(client):
    """From where a question of that client comes if it was asked in a room."""
    return nick("room", client)


def has_seen(client, sender, type_=None):
    """Whether a presence of that type has come from exactly that address."""
    return any(xml.get("from") == sender and xml.get("type") == type_ for xml in client.presences)


def announced(info, client, sender):
    """Whether the last presence that the client received from that account, or session, announces this info."""
    presences = client.presences_from(sender)
    c = presences[-1].find(f"{{{CAPS_0115}}}c") if presences else None
    return c is not None and c.get("ver") == info.ver()


@pytest.fixture
def compare(without_module, make_capsd, request):
    """Plays a scene on both servers and compares; returns what was heard by the asked clients beside the module."""

    async def play(scene, server):
        capsd = None
        if server is not without_module:
            capsd = make_capsd(server).start()
            await Beside(server, capsd).until_fed()
        stage = Stage(server, scene.__name__.replace("_", "-"), capsd)
        try:
            await scene(stage)
        finally:
            await log_out_all(stage.clients)
            if capsd:
                capsd.stop()
        return stage

    async def both(scene, server):
        bare = await play(scene, without_module)
        dressed = await play(scene, server)
        assert dressed.got == bare.got
        # What never reached the client without the module does not reach it with it; the rest is the scene's.
        assert not any(now and not then for now, then in zip(dressed.heard, bare.heard, strict=True))
        return bare, dressed

    return both


async def test_blocked_by_the_one_who_is_asked(compare, with_module):
    async def blocked_by_target(stage):
        target, asker = await stage.befriend(("target", sample("blocks")), ("asker", None))
        await stage.ask(asker, target)
        await target.block(asker.bare)
        await stage.ask(asker, target)
        await stage.ask(asker, target, target.info.node_0115())

    bare, dressed = await compare(blocked_by_target, with_module)
    assert [kind for kind, *_ in bare.got] == ["result", "error", "error"], "the block stops the question"
    assert dressed.heard[0] is False, "and before it the module answered"


async def test_blocked_though_it_was_told(compare, with_module):
    async def blocked_after_directed(stage):
        # No subscription: the server does not tell the asker that the target is gone for it.
        target, asker = await stage.enter("target"), await stage.enter("asker")
        target.info = sample("blocks-the-told")
        asker.announce_nothing()
        await stage.tell(target, asker, directed=True)
        await stage.learn(asker, target)
        await stage.ask(asker, target)
        await target.block(asker.bare)
        await stage.ask(asker, target, target.info.node_0115())

    bare, dressed = await compare(blocked_after_directed, with_module)
    assert [kind for kind, *_ in bare.got] == ["result", "error"]
    assert dressed.heard[0] is False


async def test_blocked_by_the_asker(compare, with_module):
    async def blocked_by_asker(stage):
        target, asker = await stage.befriend(("target", sample("is-blocked")), ("asker", None))
        await stage.ask(asker, target)
        await asker.block(target.bare)
        await stage.ask(asker, target)

    bare, dressed = await compare(blocked_by_asker, with_module)
    assert [kind for kind, *_ in bare.got] == ["result", "error"]
    assert dressed.heard[0] is False


async def test_a_privacy_list_of_the_one_who_is_asked_stops_queries(compare, with_module):
    async def list_of_target(stage):
        target, asker = await stage.befriend(("target", sample("lists")), ("asker", None))
        await stage.ask(asker, target)
        await target.refuse(asker.bare, "iq")
        await stage.ask(asker, target)
        await stage.ask(asker, target, target.info.node_0115())
        await target.refuse_nothing()
        await stage.ask(asker, target)

    bare, dressed = await compare(list_of_target, with_module)
    assert [kind for kind, *_ in bare.got] == ["result", "error", "error", "result"], "the list stops the question"
    assert not any(dressed.heard), "and else the module answers"


async def test_invisible_by_a_privacy_list(compare, with_module):
    async def list_hides(stage):
        target, asker = await stage.befriend(("target", None), ("asker", None))
        friend = await stage.enter("friend")
        friend.announce_nothing()
        await target.refuse(asker.bare, "presence-out")
        target.info = sample("hides")
        target.announce()
        await stage.tell(target, friend, directed=True)
        await stage.ask(friend, target)
        await stage.ask(asker, target)
        await stage.ask(asker, target, target.info.node_0115())
        assert not announced(target.info, asker, target.bare), "it is invisible"

    bare, dressed = await compare(list_hides, with_module)
    assert dressed.heard == [False, *bare.heard[1:]], "who was not told asks the client"


async def test_a_privacy_list_hides_a_change(compare, with_module):
    async def list_hides_change(stage):
        target, asker = await stage.befriend(("target", sample("shown")), ("asker", None))
        friend = await stage.enter("friend")
        friend.announce_nothing()
        await stage.ask(asker, target)
        await target.refuse(asker.bare, "presence-out")
        target.info = sample("hidden")
        target.announce()
        await stage.tell(target, friend, directed=True)
        await stage.ask(asker, target)
        await stage.ask(asker, target, target.info.node_0115())
        # What is not let in was not heard either.
        await target.refuse_nothing()
        await asker.refuse(target.bare, "presence-in")
        target.info = sample("unheard")
        target.announce()
        await stage.tell(target, friend, directed=True)
        await stage.ask(asker, target)

    bare, dressed = await compare(list_hides_change, with_module)
    assert dressed.heard == [False, *bare.heard[1:]]


async def test_a_stranger_who_knows_the_full_address(compare, with_module):
    async def stranger(stage):
        target, _ = await stage.befriend(("target", sample("stranger")), ("friend", None))
        asker = await stage.enter("asker")
        asker.announce_nothing()
        await stage.ask(asker, target)
        await stage.ask(asker, target, target.info.node_0115())
        # Nor does it help that the stranger announces the same.
        asker.info = target.info
        asker.announce()
        await stage.ask(asker, target, target.info.node_0115())
        # Nor that its question looks like one of Prosody's mod_pep, or of capsd.
        for id_ in ("disco", "0123456789abcdef0123456789abcdef"):
            await stage.ask(asker, target, id_=id_)
            await stage.ask(asker, target, target.info.node_0115(), id_=id_)

    bare, dressed = await compare(stranger, with_module)
    assert dressed.heard == bare.heard, "all of it goes its way"


async def by_unsubscribed(target, asker):
    """The one who is asked cancels the subscription."""
    target.send(f"<presence type='unsubscribed' to='{asker.bare}'/>")


async def by_unsubscribe(target, asker):
    """The asker cancels the subscription."""
    asker.send(f"<presence type='unsubscribe' to='{target.bare}'/>")


async def by_removal_from_the_roster(target, asker):
    """The one who is asked removes the asker altogether."""
    await target.iq(None, f"<query xmlns='jabber:iq:roster'><item jid='{asker.bare}' subscription='remove'/></query>", "set")


async def by_removal_from_the_askers_roster(target, asker):
    """The asker removes the one who is asked altogether."""
    await by_removal_from_the_roster(asker, target)


@pytest.mark.parametrize("cancel", [by_unsubscribed, by_unsubscribe, by_removal_from_the_roster, by_removal_from_the_askers_roster])
async def test_a_subscription_that_is_cancelled_in_mid_session(compare, with_module, cancel):
    async def cancelled(stage):
        stage.scene = cancel.__name__.replace("_", "-")
        target, asker = await stage.befriend(("target", sample(stage.scene)), ("asker", None))
        await stage.ask(asker, target)
        await cancel(target, asker)
        # By now the server is through with it: what it sends to both is in order.
        for one, other in ((target, asker), (asker, target), (target, asker)):
            one.send(f"<message to='{other.jid}'><body>{len(other.messages)}</body></message>")
            await until(lambda: other.messages and other.messages[-1].get("from") == one.jid, "a message arrives")
        await stage.ask(asker, target)
        await stage.ask(asker, target, target.info.node_0115())

    bare, dressed = await compare(cancelled, with_module)
    assert dressed.heard == [False, *bare.heard[1:]], "a stranger asks the client"


async def test_nobody_is_there(compare, with_module):
    async def gone(stage):
        target, asker = await stage.befriend(("target", sample("gone")), ("asker", None))
        await stage.ask(asker, target)
        await target.log_out()
        await until(lambda: has_seen(asker, target.jid, "unavailable"), "the asker is told")
        await stage.ask(asker, target)

    bare, dressed = await compare(gone, with_module)
    assert bare.got[1][0] == "error"
    assert dressed.heard == [False, False]


async def test_connected_but_unavailable(compare, with_module):
    async def unavailable(stage):
        target, asker = await stage.befriend(("target", sample("unavailable")), ("asker", None))
        await stage.ask(asker, target)
        target.become_unavailable()
        await until(lambda: has_seen(asker, target.jid, "unavailable"), "the asker is told")
        await stage.ask(asker, target)

    bare, dressed = await compare(unavailable, with_module)
    assert dressed.heard[1] == bare.heard[1]


async def test_who_was_told_by_directed_presence_and_who_was_not(compare, with_module):
    async def invisible(stage):
        # It never announces itself to all: it is visible to one.
        target = await stage.enter("target")
        target.info = sample("directed")
        told, other = await stage.enter("told"), await stage.enter("other")
        for client in (told, other):
            client.announce_nothing()
        await stage.tell(target, told, directed=True)
        await stage.learn(told, target)
        await stage.ask(told, target)
        await stage.ask(other, target)
        target.become_unavailable(to=told.jid)
        await until(lambda: has_seen(told, target.jid, "unavailable"), "it is told so")
        await stage.ask(told, target)

    bare, dressed = await compare(invisible, with_module)
    assert dressed.heard[0] is False
    assert dressed.heard[1:] == bare.heard[1:]


async def test_occupants_of_a_room(compare, with_module):
    async def room(stage):
        target, asker = await stage.enter("target"), await stage.enter("asker")
        target.info, asker.info = sample("occupant"), sample("asking-occupant")
        outsider = await stage.enter("outsider")
        await stage.join(target)
        await stage.join(asker, others=[target])
        address = nick("room", target)
        await stage.learn(asker, target, to=address)
        await stage.ask(asker, target, to=address)
        await stage.ask(asker, target, target.info.node_0115(), to=address)
        await stage.ask(outsider, target, to=address)
        # Out of the room is out of the secret.
        asker.send(f"<presence type='unavailable' to='{nick('room', asker)}'/>")
        await until(lambda: has_seen(asker, nick("room", asker), "unavailable"), "the asker has left")
        await stage.ask(asker, target, to=address)

    bare, dressed = await compare(room, with_module)
    assert [kind for kind, *_ in bare.got] == ["result", "result", "error", "error"]
    assert dressed.heard[:2] == [False, False]


async def test_two_sessions_under_one_nick(compare, with_module):
    async def shared_nick(stage):
        one, asker = await stage.enter("target"), await stage.enter("asker")
        one.info, asker.info = sample("one-of-the-nick"), sample("asks-the-nick")
        other = Client(stage.server, one.bare.split("@")[0], sample("other-of-the-nick"), resource="other")
        stage.clients.append(other)
        await other.log_in()
        await stage.join(asker)
        address = nick("room", one)
        for client in (one, other):
            client.announce()
            await stage.join(client, others=[asker])
            # What it announces is known by the time at which somebody asks.
            await stage.tell(client, asker, directed=True)
            await stage.learn(asker, client)

        async def ask():
            for node in (None, one.info.node_0115(), other.info.node_0115()):
                await stage.ask(asker, one, node, to=address)

        await ask()
        changed = len(asker.presences)
        one.info = sample("one-of-the-nick-changes")
        one.announce(to=address)
        await until(lambda: any(xml.get("from") == address for xml in asker.presences[changed:]), "it changes")
        await ask()
        other.info = sample("other-of-the-nick-changes")
        changed = len(asker.presences)
        other.announce(to=address)
        # Whether the room tells of that is its own affair.
        await stage.ask(other, asker, to=nick("room", asker))
        await ask()
        one.send(f"<presence type='unavailable' to='{address}'/>")
        await stage.ask(one, asker)
        await ask()

    await compare(shared_nick, with_module)


async def test_an_occupant_who_blocks_another(compare, with_module):
    async def room_block(stage):
        target, asker = await stage.enter("target"), await stage.enter("asker")
        target.info, asker.info = sample("blocking-occupant"), sample("blocked-occupant")
        await stage.join(target)
        await stage.join(asker, others=[target])
        await target.block(nick("room", asker))
        await stage.ask(asker, target, to=nick("room", target))

    bare, _ = await compare(room_block, with_module)
    assert bare.got[0][0] == "error"


async def test_a_change_in_mid_session(compare, with_module):
    async def change(stage):
        target, asker = await stage.befriend(("target", sample("before")), ("asker", None))
        old = target.info
        await stage.ask(asker, target)
        target.info = sample("after")
        await stage.tell(target, asker)
        await stage.ask(asker, target)
        await stage.ask(asker, target, target.info.node_0115())
        await stage.ask(asker, target, old.node_0115())

    bare, dressed = await compare(change, with_module)
    assert bare.got[1][3] == sample("after").covered()
    assert dressed.heard == [False, False, False, True], "the node of the older announcement goes its way"


async def test_a_resource_that_announced_nothing(compare, with_module):
    async def silent_resource(stage):
        target, asker = await stage.befriend(("target", None), ("asker", None))
        # Another resource of the account announces; this one does not.
        announcing = Client(stage.server, target.bare.split("@")[0], sample("another-resource"), resource="other")
        stage.clients.append(announcing)
        await announcing.log_in()
        await stage.tell(announcing, asker)
        await stage.ask(asker, announcing)
        target.info = sample("says-nothing")
        await stage.ask(asker, target)
        await stage.ask(asker, target, announcing.info.node_0115())

    bare, dressed = await compare(silent_resource, with_module)
    assert dressed.heard == [False, True, True]


async def test_another_session_of_the_same_account(compare, with_module):
    async def own_session(stage):
        target = await stage.enter("target", sample("own-session"))
        await until(lambda: announced(target.info, target, target.bare), "it is announced")
        await stage.learn(target, target)
        other = Client(stage.server, target.bare.split("@")[0], resource="other")
        stage.clients.append(other)
        await other.log_in()
        await stage.ask(other, target)
        await stage.ask(other, target, target.info.node_0115())
        other.announce_nothing()
        await until(lambda: announced(target.info, other, target.jid), "it hears of the other session")
        await stage.ask(other, target)

    bare, dressed = await compare(own_session, with_module)
    assert dressed.heard == [*bare.heard[:2], False], "before it has heard anything it asks the client"


async def test_narrowed_to_subscribers_and_rooms(compare, narrow_module):
    async def narrow(stage):
        target, friend = await stage.befriend(("target", sample("narrow")), ("friend", None))
        told, occupant = await stage.enter("told"), await stage.enter("occupant")
        occupant.info = sample("narrow-occupant")
        told.announce_nothing()
        await stage.tell(target, told, directed=True)
        await stage.join(target, room="room")
        await stage.join(occupant, room="room", others=[target])
        await stage.ask(friend, target)
        await stage.ask(told, target)
        await stage.ask(occupant, target, to=nick("room", target))

    bare, dressed = await compare(narrow, narrow_module)
    assert dressed.heard == [False, True, False], "who was told by directed presence alone asks the client itself"
