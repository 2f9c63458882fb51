"""capsd beside a real Prosody, with clients that ask it things: what the page shows and the API tells."""

import asyncio
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

sys.path.insert(0, str(REPOSITORY / "tests/servers"))

from harness.caps import Info, sample  # noqa: E402
from harness.client import Client, log_in_all, log_out_all, until_asked  # noqa: E402
from harness.daemon import Capsd  # noqa: E402
from harness.servers import KINDS  # noqa: E402

FEATURES = ["urn:xmpp:receipts", "urn:xmpp:ping", "urn:xmpp:jingle:1", "urn:xmpp:message-correct:0", "jabber:iq:version"]


def software(name, kind="pc", more=0):
    """What a client of that name can do."""
    return Info([("client", kind, "", name)], sorted(FEATURES[more:]))

#: The first example of XEP-0115 (section 5.2), which the examples of the API's description ask for.
EXODUS = Info(
    [("client", "pc", "", "Exodus 0.9.1")],
    [f"http://jabber.org/protocol/{feature}" for feature in ("caps", "disco#info", "disco#items", "muc")],
)


class Village:
    """Prosody, capsd, and clients: five with one content, two with one of their own each, one that answers falsely, one never."""

    def __init__(self, make):
        self.server = KINDS["prosody"](make("prosody"))
        self.capsd = Capsd(make("capsd"), self.server, resolver='deadline = "1m"\nholder-timeout = "50s"')
        self.common = software("Gajim & friends")
        self.rare = software("Lone Wolf 3", "phone", 1)
        self.silent = sample("page-silent")
        self.false = sample("page-false")
        self.clients = []

    def client(self, user, info=None, **options):
        """An account and its client, not logged in yet."""
        self.server.add_users([user])
        client = Client(self.server, user, info, **options)
        self.clients.append(client)
        return client

    async def start(self):
        """Everything runs, and something of everything has happened."""
        self.server.start()
        self.capsd.start()
        honest = [self.client(user, self.common) for user in ("ann", "ben", "cem", "dea", "eve")]
        lone = self.client("hal", self.rare)
        exodus = self.client("exo", EXODUS)
        liar = self.client("liar", self.false, mode="lying", liar_info=sample("page-other"))
        mute = self.client("mute", self.silent, mode="silent")
        asker = self.client("asker")
        await log_in_all(self.clients)
        for client in [*honest, lone, exodus, liar, mute]:
            client.announce()
        for client in [lone, exodus, liar, mute]:
            await until_asked(client)
        for _ in range(40):
            await asker.ask(self.common.node_0115())
        await asker.ask(self.rare.node_0115())
        await asker.ask(EXODUS.node_0115())
        await asker.ask(self.false.node_0115())
        await asker.ask("no node at all")
        # Waits, as those do who look at the page meanwhile.
        self.waiting = asyncio.create_task(asker.ask(self.silent.node_0115(), timeout=60))
        await self.capsd.until_metric("capsd_waiters", 1)
        await self.capsd.until_metric("capsd_population_clients", 5, client="Gajim & friends")
        return self

    async def stop(self):
        """Ends everything."""
        self.waiting.cancel()
        await log_out_all(self.clients)
        self.capsd.kill()
        self.server.kill()


@pytest.fixture(scope="module")
async def village(tmp_path_factory):
    """The same for all tests of a module: none of them changes it."""
    village = Village(tmp_path_factory.mktemp)
    try:
        yield await village.start()
    finally:
        await village.stop()
