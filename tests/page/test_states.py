"""The page when not all is well, and when nothing has happened yet, in Debian's Chromium."""

import resource

import pytest
from browsing import browse, is_in_nobodys_way
from conftest import EXODUS
from harness.daemon import Capsd
from harness.played import PlayedServer
from harness.processes import free_ports, until
from harness.servers import COMPONENT, DOMAIN, SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOKS = ("light", "dark", "phone", "phone-dark")
STATES = ("fresh", "degraded", "troubled")
#: As long as names of hosts may be, and without a place to break a line.
LONG = f"caps.{'w' * 60}.{'i' * 60}.{'m' * 60}.example.org"
LONG_NODE = f"https://{LONG}/{'x' * 300}#{EXODUS.ver('sha-512')}"
#: What is asked for, and the word for why it is refused.
REFUSED = {
    "no node at all": "malformed-node",
    EXODUS.node_0115("sha-256"): "unknown",
    "urn:xmpp:caps#sha-999.AAAA": "unsupported-algorithm",
    "http://client.example#" + "x" * 2000: "too-large",
}


class Loner:
    """capsd beside a server that the test plays."""

    def __init__(self, directory, **more):
        self.server = PlayedServer()
        self.capsd = Capsd(directory, self.server, **more)
        # A limit is to stand for the end of the disk.
        self.capsd.process.command = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh", *self.capsd.process.command]
        self.capsd.start(linked=False)

    async def link(self):
        """The link comes up."""
        self.server.connect()
        await until(lambda: "link caps.example.org: up" in self.capsd.get("/readyz")[1], "the link is up")

    async def refuse(self):
        """Users ask for what they are refused; each has its answer."""
        for number, node in enumerate(REFUSED):
            query = f"<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>"
            self.server.send(f"<iq type='get' id='{number}' from='ann@{DOMAIN}/x' to='{COMPONENT}'>{query}</iq>")
            answer = self.server.next()
            while answer.get("id") != str(number):
                answer = self.server.next()
            assert answer.get("type") == "error"
        await until(lambda: self.capsd.get("/")[1].count("A look-up: ") == len(REFUSED), "the refusals are shown")

    async def fill_the_disk(self, file):
        """What is learned cannot be written any more."""
        process = self.capsd.process.child.pid
        _, most = resource.prlimit(process, resource.RLIMIT_FSIZE)
        resource.prlimit(process, resource.RLIMIT_FSIZE, (0, most))
        file.write_text(EXODUS.query())
        self.capsd.command("import", file, expect=None)
        await until(lambda: "ready, degraded" in self.capsd.get("/readyz")[1], "the store takes no more")

    def stop(self):
        self.capsd.kill()
        self.server.close()


def link_to(jid, server):
    """A block of the configuration."""
    return f'[[component]]\njid = "{jid}"\nserver = "{server}"\nsecret-env = "SECOND_SECRET"\n'


@pytest.fixture(scope="module")
async def seen(tmp_path_factory):
    """What the browser saw of each state."""
    make = tmp_path_factory.mktemp
    nobody, = free_ports(1)
    more = link_to(LONG, f"127.0.0.1:{nobody}") + link_to("caps.example.net", f"{LONG}.invalid:5347")
    loners = []
    try:
        loners += [Loner(make("fresh")), Loner(make("degraded")), Loner(make("troubled"), more_components=more, environment={"SECOND_SECRET": SECRET})]
        fresh, degraded, troubled = loners
        for loner in loners:
            await loner.link()
        await degraded.refuse()
        await degraded.fill_the_disk(make("import") / "exodus.xml")
        await until(lambda: "not connected yet" not in troubled.capsd.get("/readyz")[1], "every link was tried", 30)
        wanted = {name: {"url": f"http://127.0.0.1:{loner.capsd.http_port}/"} for name, loner in zip(STATES, loners)}
        wanted["unknown"] = wanted["fresh"] | {"node": LONG_NODE}
        yield await browse("states.mjs", wanted)
    finally:
        for loner in loners:
            loner.stop()


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("state", [*STATES, "unknown"])
async def test_nothing_is_in_anybodys_way(seen, state, look):
    is_in_nobodys_way(seen["states"][f"{state}, {look}"], state)


@pytest.mark.parametrize("look", LOOKS)
async def test_each_state_says_what_is_the_matter(seen, look):
    """In words, whatever the colours are."""
    fresh, degraded, troubled = (seen["states"][f"{state}, {look}"] for state in STATES)
    assert (fresh["title"], degraded["title"], troubled["title"]) == ("capsd: Ready", "capsd: Degraded", "capsd: Not ready")
    for words in ["Nobody has looked anything up yet.", "Nothing was refused since the start.", "Nothing is being resolved.", "Nobody is online"]:
        assert words in fresh["text"], fresh["text"]
    assert "What is learned is in memory only, and a restart loses it" in degraded["text"]
    assert "File too large" in degraded["text"] and "Next step: see to the disk of " in degraded["text"]
    assert "in memory only for now" in degraded["text"] and "on disk" in fresh["text"]
    for reason in REFUSED.values():
        assert reason in degraded["text"]
    assert "2 of 3 links are down." in troubled["text"]
    assert LONG in troubled["text"] and f"{LONG}.invalid" in troubled["text"]
    assert troubled["text"].count("Down") == 2 and troubled["text"].count("Up") == 1


async def test_the_browser_has_nothing_to_complain_about(seen):
    assert seen["console"] == []
