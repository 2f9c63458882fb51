"""A client that changes its caps while it is asked about them: nobody is told the old ones once the new presence is there."""

import asyncio
import os

import pytest

from crowd.campaign import Beside
from harness.caps import CAPS_0115, DISCO_INFO, info_of, sample
from harness.processes import until
from harness.servers import ROOMS

FLIPS = 600 if os.environ.get("CAPSD_LONG") == "1" else 60
QUERY = f"{{{DISCO_INFO}}}query"
GENEROUS = 'new-keys-per-account = "10000/h"\nquestions-per-account = "100000/h"\nqueries-per-asker = "10000/s"'


class Watcher:
    """Looks at what reaches a client in the order in which it comes: presences of one contact, and answers in its name."""

    def __init__(self, client, target, infos):
        self.target = target
        self.number_of = {info.ver(): number for number, info in enumerate(infos)}
        self.now = None
        # How many contents were announced by now, if each came after the one before it.
        self.changes = 0
        self.answers = 0
        self.stale = []
        look = client.xmpp.incoming_filter

        def incoming_filter(xml):
            self.look(xml)
            return look(xml)

        client.xmpp.incoming_filter = incoming_filter

    def look(self, xml):
        if xml.get("from") != self.target:
            return
        c = xml.find(f"{{{CAPS_0115}}}c")
        query = xml.find(QUERY)
        if c is not None and xml.get("type") is None:
            self.now = self.number_of[c.get("ver")]
            self.changes += (self.now - self.changes) % len(self.number_of)
        elif query is not None and xml.get("type") == "result":
            self.answers += 1
            said = self.number_of[info_of(query).ver()]
            # What comes next is permitted: the client may have been asked between its change and its presence.
            if (self.now - said) % len(self.number_of) == 1:
                self.stale.append((self.now, said, query.get("node")))


@pytest.fixture
async def friends(make_crowd_server, make_capsd, make_client):
    """A client that changes and one that asks, beside a capsd that knows nothing yet."""
    server = make_crowd_server(module=True)
    capsd = make_capsd(server, limits=GENEROUS).start()
    await Beside(server, capsd).until_fed()
    changing, asking = make_client("changing", server=server), make_client("asking", server=server)
    server.befriend(["changing", "asking"])
    return await changing.log_in(), await asking.log_in()


async def flip(changing, watcher, infos, times, to=None):
    """Announces one content after the other, each as soon as the one before has reached the watcher and was asked about."""
    for number in range(times):
        changing.info = infos[number % len(infos)]
        answers = watcher.answers
        changing.announce(to=to)
        await until(lambda: watcher.now == number % len(infos) and watcher.answers > answers, f"change {number} arrives", interval=0.001)


async def race(changing, asking, infos, times):
    """Asks without end, with and without nodes, while the other one changes; returns what was seen and how often was asked."""
    asking.announce_nothing()
    watcher = Watcher(asking, changing.jid, infos)
    done = asyncio.Event()

    async def ask(pause):
        asked = 0
        while not done.is_set():
            if watcher.now is not None:
                node = infos[watcher.now].node_0115() if asked % 2 else None
                assert (await asking.ask(node, to=changing.jid)).kind == "result"
                asked += 1
            await asyncio.sleep(pause)
        return asked

    askers = [asyncio.create_task(ask(pause)) for pause in (0, 0, 0.001, 0.003)]
    await flip(changing, watcher, infos, times)
    done.set()
    return watcher, sum(await asyncio.gather(*askers))


async def test_between_known_contents(friends):
    changing, asking = friends
    watcher, asked = await race(changing, asking, [sample(f"known-{number}") for number in range(3)], FLIPS)
    assert watcher.stale == []
    assert asked - len(changing.questions) >= FLIPS / 2, "many answers are the server's, or this test shows nothing"


async def test_within_a_room(friends):
    """A room of ejabberd lets presence and answers overtake each other, also without the module. But what is asked once a change was seen is
    never answered by what was before it."""
    changing, asking = friends
    asking.announce_nothing()
    room, infos = f"changes@{ROOMS}", [sample(f"room-{number}") for number in range(10)]
    for client in (asking, changing):
        enters = f"<x xmlns='http://jabber.org/protocol/muc'/>{infos[-1].c_0115() if client == changing else ''}"
        client.send(f"<presence to='{room}/{client.bare.split('@')[0]}'>{enters}</presence>")
        await until(lambda: client.presences_from(room), "it is in the room")
    occupant = f"{room}/changing"
    watcher = Watcher(asking, occupant, infos)
    stale, asked, done = [], [], asyncio.Event()

    async def ask(pause):
        while not done.is_set():
            if watcher.now is not None:
                seen = watcher.changes
                reply = await asking.ask(infos[watcher.now].node_0115() if len(asked) % 2 else None, to=occupant)
                said = watcher.number_of[reply.info.ver()]
                asked.append(said)
                # The client may be one ahead.
                if all(number % len(infos) != said for number in range(seen, watcher.changes + 2)):
                    stale.append((seen, watcher.changes, said, reply.node))
            await asyncio.sleep(pause)

    askers = [asyncio.create_task(ask(pause)) for pause in (0, 0, 0.001, 0.003)]
    await flip(changing, watcher, infos, FLIPS, to=occupant)
    done.set()
    await asyncio.gather(*askers)
    assert stale == []
    questions = [question for question in changing.questions if question.sender.startswith(room)]
    assert len(asked) - len(questions) >= FLIPS / 2, f"{len(questions)} of {len(asked)}: many answers are the server's, or this test shows nothing"


async def test_to_unknown_contents_that_take_a_while(friends):
    changing, asking = friends
    changing.delay = 0.02
    watcher, _ = await race(changing, asking, [sample(f"unknown-{number}") for number in range(FLIPS)], FLIPS)
    assert watcher.stale == []


async def test_the_node_of_an_older_announcement_goes_its_way(friends):
    changing, asking = friends
    old, new = sample("old"), sample("new")
    asking.announce_nothing()
    for info in (old, new):
        changing.info = info
        changing.announce()
        await until(lambda: any(p.find(f"{{{CAPS_0115}}}c").get("ver") == info.ver() for p in asking.presences_from(changing.bare)), "it arrives")
        assert (await asking.ask(info.node_0115(), to=changing.jid)).info.covered() == info.covered()
    asked = len(changing.questions)
    reply = await asking.ask(old.node_0115(), to=changing.jid)
    assert reply.info.covered() == new.covered(), "it is the client that answers, as it thinks right"
    assert len(changing.questions) == asked + 1
