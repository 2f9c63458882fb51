"""Fixtures of the tests of Prosody's module alone: one Prosody with it, scripted components in the place of capsd, and people."""

import pytest

from .caps import CAPS_0115
from .client import Client, log_in_all, log_out_all
from .processes import until
from .scripted import connections
from .servers import COMPONENT
from .watched import SECOND, WatchedProsody

# A hold, in seconds, that no test waits for.
LONG_HOLD = 10
DEFAULTS = {"0115": True, "enabled": True, "hold": 0.8, "cache_size": 500, "stanza_size": 65536}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = WatchedProsody(
        tmp_path_factory.mktemp("prosody"), module={"component": [COMPONENT, SECOND], "retry": 1}, own_caps=True, services=True
    )
    yield server.start()
    server.kill()


@pytest.fixture
async def connect(server):
    """Connects scripted components; they are disconnected after the test."""
    async with connections(server, lambda: server.statistics()["usable", None]) as make:
        yield make


@pytest.fixture
def configure(server):
    """Gives an option of the module another value until the test ends."""
    changed = {}

    def change(**option):
        for name, value in option.items():
            server.configure(name, value)
            changed[name] = value

    yield change
    for name, value in changed.items():
        if value != DEFAULTS[name]:
            server.configure(name, DEFAULTS[name])


@pytest.fixture
async def people(server):
    """Logs clients in under names that no other test has; each announces the info that its name is given, to all and to `to`."""
    clients = []

    async def make(to=None, **infos):
        server.add_users(infos)
        made = [Client(server, name, info) for name, info in infos.items()]
        clients.extend(made)
        await log_in_all(made)
        for client in made:
            if client.info:
                client.announce()
            else:
                client.announce_nothing()
        return made

    yield make
    await log_out_all(clients)


async def show(client, to, info):
    """The client announces the info to all, and by directed presence to another one, who has received it."""
    client.info = info
    before = len(to.presences)
    client.announce()
    client.announce(to=to.jid)
    ver = info.ver()
    await until(lambda: any(c.get("ver") == ver for xml in to.presences[before:] for c in xml.iter(f"{{{CAPS_0115}}}c")), "it arrives")


async def asked(asker, target, node=None):
    """Asks, and returns how many questions of users reached the target for that; the answer is what it announces."""
    before = len(by_user(target))
    reply = await asker.ask(node, to=target.jid)
    assert reply.info.covered() == target.info.covered()
    assert (reply.sender, reply.node) == (target.jid, node)
    return len(by_user(target)) - before


def by_user(client):
    """The questions that came from users; Prosody's own have the id 'disco', and capsd asks as well."""
    return [question for question in client.questions if question.id != "disco" and question.sender != COMPONENT]
