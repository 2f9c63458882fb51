"""A component that speaks urn:capsd:0 as it is told to, for what a real capsd would do once in a year: silence, another instance in the
middle, answers that are late. It keeps every request that it received."""

import asyncio
import contextlib
import hashlib
import xml.etree.ElementTree as ET
from xml.sax.saxutils import quoteattr

from .caps import DISCO_INFO, info_of
from .client import CAPSD
from .processes import until
from .servers import COMPONENT, SECRET

STREAMS = "http://etherx.jabber.org/streams"


class ScriptedCapsd:
    """One connection of a component.

    `known` maps caps nodes to the disco info that look-ups are answered with; a node that is not in it has `reasons[node]`, else 'unknown'.
    What is contributed becomes known if `verify(node, info)` says so. While `silent`, requests are kept and not answered; so are those whose
    name is in `slow`.
    """

    def __init__(self, server, jid=COMPONENT, instance="one", known=None, verify=lambda node, info: True):
        self.server = server
        self.jid = jid
        self.instance = instance
        self.known = dict(known or {})
        self.reasons = {}
        self.verify = verify
        self.silent = False
        self.slow = set()
        self.max_age = 300
        self.requests = []
        self.task = None
        self.writer = None

    async def start(self):
        """Connects and returns when the handshake is done."""
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.server.component_port)
        self.writer.write(f"<stream:stream to='{self.jid}' xmlns='jabber:component:accept' xmlns:stream='{STREAMS}'>".encode())
        parser = ET.XMLPullParser(["start", "end"])
        ready = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self.read(reader, parser, ready))
        await asyncio.wait_for(ready, 10)
        return self

    async def stop(self):
        """Closes the connection."""
        if self.task:
            self.task.cancel()
            self.writer.close()
            # Whoever connects next under this address must not be the second.
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()
            self.task = None

    async def read(self, reader, parser, ready):
        depth = 0
        while data := await reader.read(65536):
            parser.feed(data)
            for event, element in parser.read_events():
                if event == "start":
                    depth += 1
                    if depth == 1:
                        digest = hashlib.sha1((element.get("id") + SECRET).encode()).hexdigest()
                        self.writer.write(f"<handshake>{digest}</handshake>".encode())
                    continue
                depth -= 1
                if depth == 1 and element.tag.endswith("}handshake"):
                    ready.set_result(None)
                elif depth == 1:
                    self.on_stanza(element)

    def on_stanza(self, stanza):
        if stanza.tag.endswith("}iq"):
            self.on_iq(stanza)

    def on_iq(self, iq):
        if iq.get("type") not in ("get", "set") or not len(iq):
            return
        self.requests.append(iq)
        if not self.silent and iq[0].tag.split("}")[1] not in self.slow:
            self.answer(iq)

    def answer(self, iq):
        """Answers a request, now or later."""
        request = iq[0]
        name = request.tag.split("}")[1]
        content = {"lookup": self.keys, "contribute": self.infos, "feed": lambda _: ""}.get(name, lambda _: "")(request)
        age = f" max-age='{self.max_age}'" if name == "lookup" else ""
        self.writer.write(
            f"<iq type='result' from='{self.jid}' to={quoteattr(iq.get('from'))} id={quoteattr(iq.get('id'))}>"
            f"<{name} xmlns='{CAPSD}' instance='{self.instance}'{age}>{content}</{name}></iq>".encode()
        )

    def ask(self, jid, node):
        """Asks a client, as capsd does."""
        query = f"<query xmlns='{DISCO_INFO}' node={quoteattr(node)}/>"
        self.writer.write(f"<iq type='get' from='{self.jid}' to={quoteattr(jid)} id='question'>{query}</iq>".encode())

    def keys(self, lookup):
        answers = ""
        for key in lookup:
            node = key.get("node")
            if node in self.known:
                answers += f"<key node={quoteattr(node)}>{self.known[node].query(node)}</key>"
            else:
                answers += f"<key node={quoteattr(node)} reason='{self.reasons.get(node, 'unknown')}'/>"
        return answers

    def infos(self, contribute):
        answers = ""
        for info in contribute:
            node = info.get("node")
            content = info_of(info[0])
            verified = self.verify(node, content)
            if verified:
                self.known[node] = content
            answers += f"<info node={quoteattr(node)}" + ("/>" if verified else " reason='mismatch'/>")
        return answers

    # What was asked

    def named(self, name):
        """The requests of that name."""
        return [iq[0] for iq in self.requests if iq[0].tag == f"{{{CAPSD}}}{name}"]

    @property
    def lookups(self):
        """The nodes that were looked up."""
        return [key.get("node") for request in self.named("lookup") for key in request]

    @property
    def reports(self):
        """What the feeds said, in order: (word, address, askable, number of announcements)."""
        return [
            (event.tag.split("}")[1], event.get("jid"), event.get("askable") == "true", len(event))
            for request in self.named("feed")
            for event in request
        ]

    def present(self):
        """Who is there, as the feeds told since the connection: address to askable."""
        there = {}
        for request in self.named("feed"):
            feeder = request.get("feeder")
            if request.get("anew") == "true":
                there = {jid: told for jid, told in there.items() if told[0] != feeder}
            for event in request:
                if event.tag.endswith("}gone"):
                    there.pop(event.get("jid"), None)
                elif len(event):
                    there[event.get("jid")] = (feeder, event.get("askable") == "true")
        return {jid: askable for jid, (_, askable) in there.items()}

    async def until_fed(self, times=1):
        """Waits until that many feeds have arrived."""
        await until(lambda: len(self.named("feed")) >= times, f"{times} feeds arrive")


@contextlib.asynccontextmanager
async def connections(server, usable):
    """Makes connected components of a server whose module says by `usable()` whether one is in use; all are disconnected at the end."""
    connected = []

    async def make(**options):
        component = ScriptedCapsd(server, **options)
        connected.append(component)
        await component.start()
        await until(lambda: usable() == 1, "the module uses a component")
        return component

    yield make
    for component in connected:
        await component.stop()
    await until(lambda: usable() == 0, "the module notices that nobody is there")
