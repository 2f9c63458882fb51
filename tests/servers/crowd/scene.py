"""Two contacts beside a server with the module, and whatever stands in the place of capsd."""

import asyncio
import re
import time

from harness.caps import CAPS_0115, sample
from harness.processes import until

# A query is held for at most 0.8 s, and after one that was held in vain none is held. Twenty that are asked one after the other would take
# 16 s if each were held; this is far from both, also on a loaded machine.
TWENTY_UNHELD = 8.0
# What servers write about a fault of their own; that a private directory has no certificates is none.
TROUBLE = re.compile(r"traceback|(?<!certmanager)\terror\t|\[error\]|\[critical\]|crash report|badmatch|function_clause", re.IGNORECASE)


class Scene:
    """Two contacts, a server with the module, and whatever stands in the place of capsd."""

    def __init__(self, server, make_client):
        self.server = server
        self.talker, self.asker = make_client("talker", server=server), make_client("asker", server=server)
        server.befriend(["talker", "asker"])
        self.count = 0

    async def begin(self):
        await self.talker.log_in()
        await self.asker.log_in()
        self.asker.announce_nothing()
        return self

    async def announce_new(self):
        """The talker announces what nobody has heard of; the asker hears it."""
        self.count += 1
        self.talker.info = sample(f"new-{self.count}")
        self.talker.announce()
        ver = self.talker.info.ver()
        hears = lambda: any(
            c.get("ver") == ver for presence in self.asker.presences_from(self.talker.bare) for c in presence.findall(f"{{{CAPS_0115}}}c")
        )
        await until(hears, "the presence arrives")

    async def ask(self, with_node=True):
        """Asks the talker what it announced, and compares."""
        info = self.talker.info
        reply = await self.asker.ask(info.node_0115() if with_node else None, to=self.talker.jid)
        assert reply.kind == "result", reply.xml
        assert reply.sender == self.talker.jid
        assert reply.info.covered() == info.covered()
        assert reply.node == (info.node_0115() if with_node else None)

    async def ask_as_without_module(self):
        """Twenty new contents, each asked for at once; and what has nothing to do with caps."""
        await self.announce_new()
        await self.ask()
        begin = time.monotonic()
        for number in range(20):
            await self.announce_new()
            before = len(self.talker.questions)
            await self.ask(with_node=number % 2 == 0)
            assert len(self.talker.questions) > before, "the question reached the client"
        assert time.monotonic() - begin < TWENTY_UNHELD
        # Many at once are all answered.
        await self.announce_new()
        await asyncio.gather(*(self.ask() for _ in range(10)))
        await self.talk()

    async def talk(self):
        """A message and an unrelated question pass."""
        heard = len(self.asker.messages)
        self.talker.send(f"<message to='{self.asker.jid}' type='chat'><body>hello</body></message>")
        await until(lambda: len(self.asker.messages) > heard, "the message arrives")
        assert (await self.asker.iq(None, "<ping xmlns='urn:xmpp:ping'/>")).kind == "result"

    async def until_answered_by_capsd(self):
        """Waits until the server answers again in the place of the talker."""
        async def unasked():
            await self.announce_new()
            await self.ask()
            before = len(self.talker.questions)
            await self.ask()
            return len(self.talker.questions) == before

        for _ in range(100):
            if await unasked():
                return
            await asyncio.sleep(0.2)
        raise AssertionError("the module does not come back to capsd")

    def assert_no_trouble(self):
        """The server has logged no fault of its own."""
        self.server.process.require_running()
        lines = self.server.log.read_text(errors="replace").splitlines() + self.server.process.text().splitlines()
        assert [line for line in lines if TROUBLE.search(line)] == []
