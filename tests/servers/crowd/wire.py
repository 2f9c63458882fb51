"""What passes on one client's stream: its bytes, the questions that reach it, and what it answers.

A tap stands between a client that cannot be looked into and its server. It passes everything on as it is, and reads along.
"""

import asyncio
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from harness.caps import CAPS_0115, CAPS_0390, DISCO_INFO, HASHES, info_as_received, info_of

QUERY = f"{{{DISCO_INFO}}}query"


@dataclass(frozen=True)
class Arrival:
    """A disco#info get that reached a client; one without a node asks for what was announced last."""

    client: str
    sender: str
    node: str | None
    id: str


def local_name(element):
    """The name of an element without its namespace."""
    return element.tag.split("}")[-1]


def announced(presence):
    """The nodes that a presence announces, each as it would be asked for; the one of XEP-0115 first."""
    nodes = [f"{c.get('node')}#{c.get('ver')}" for c in presence.findall(f"{{{CAPS_0115}}}c")]
    for c in presence.findall(f"{{{CAPS_0390}}}c"):
        nodes += [f"{CAPS_0390}#{digest.get('algo')}.{digest.text}" for digest in c.findall(f"{{{HASHES}}}hash")]
    return nodes


class Record:
    """What one client received and said."""

    def __init__(self, name):
        self.name = name
        self.received_bytes = 0
        self.arrivals = []
        # What it answered, and what it was answered: (node, disco info).
        self.answers = []
        self.learned = []
        # The latter, with inherited languages: a stream may have any.
        self.received = []
        self.asked = 0
        # What it announced to everybody, in order.
        self.announcements = []
        self.in_room = False

    def incoming(self, stanza):
        """A stanza that reached the client."""
        kind = local_name(stanza)
        query = stanza.find(QUERY) if kind == "iq" else None
        if query is not None and stanza.get("type") == "get":
            node = query.get("node") or (self.announcements[-1][0] if self.announcements else None)
            self.arrivals.append(Arrival(self.name, stanza.get("from", ""), node, stanza.get("id")))
        elif query is not None and stanza.get("type") == "result":
            self.learned.append((query.get("node"), info_of(query)))
            self.received.append((query.get("node"), info_as_received(query, stanza, "x-of-the-stream")))
        elif kind == "presence" and any(status.get("code") == "110" for status in stanza.iter() if local_name(status) == "status"):
            self.in_room = stanza.get("type") is None

    def outgoing(self, stanza):
        """A stanza that the client sent."""
        kind = local_name(stanza)
        query = stanza.find(QUERY) if kind == "iq" else None
        if query is not None and stanza.get("type") == "result":
            self.answers.append((query.get("node"), info_of(query)))
        elif query is not None and stanza.get("type") == "get":
            self.asked += 1
        elif kind == "presence" and stanza.get("to") is None and announced(stanza):
            self.announcements.append(announced(stanza))


class Stanzas:
    """The stanzas in one direction of a TCP stream (XEP-0114 and RFC 6120), or of a WebSocket (RFC 7395)."""

    def __init__(self, found):
        self.found = found
        self.parser = None
        self.depth = 0
        self.root = None
        self.buffer = b""
        self.framed = None

    def feed(self, data):
        """Takes what has arrived."""
        if self.framed is None:
            self.buffer += data
            if self.buffer.startswith((b"GET ", b"HTTP/")):
                if b"\r\n\r\n" not in self.buffer:
                    return
                data = self.buffer.split(b"\r\n\r\n", 1)[1]
                self.framed = True
            else:
                data = self.buffer
                self.framed = False
            self.buffer = b""
        if self.framed:
            self.buffer += data
            self.read_frames()
        else:
            self.read_stream(data)

    def read_frames(self):
        """Takes whole frames out of the buffer; nobody sends a stanza in several."""
        while len(self.buffer) >= 2:
            opcode, length, begin = self.buffer[0] & 15, self.buffer[1] & 127, 2
            if length >= 126:
                begin = 4 if length == 126 else 10
                length = int.from_bytes(self.buffer[2:begin], "big")
            mask = b""
            if self.buffer[1] & 128:
                mask = self.buffer[begin : begin + 4]
                begin += 4
            if len(self.buffer) < begin + length:
                return
            payload = self.buffer[begin : begin + length]
            self.buffer = self.buffer[begin + length :]
            if mask:
                payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            if opcode == 1:
                self.found(ET.fromstring(payload))

    def read_stream(self, data):
        """Takes the stanzas out of a stream; after authentication it begins anew with another header."""
        for piece in self.pieces(data):
            if self.parser is None:
                self.parser, self.depth = ET.XMLPullParser(("start", "end")), 0
            self.parser.feed(piece)
            for event, element in self.parser.read_events():
                if event == "start":
                    self.root = element if self.depth == 0 else self.root
                    self.depth += 1
                    continue
                self.depth -= 1
                if self.depth == 1:
                    self.found(element)
                    self.root.clear()

    def pieces(self, data):
        """The data, split where a stream begins anew."""
        for mark in (b"<?xml", b"<stream:stream"):
            at = data.find(mark)
            if at >= 0:
                if at > 0:
                    yield data[:at]
                self.parser = None
                yield data[at:]
                return
        yield data


class Tap:
    """Listens in the place of the server. What a client says first waits until `gate` is opened."""

    def __init__(self, name, port, websocket_port, gate):
        self.record = Record(name)
        self.ports = (port, websocket_port)
        self.gate = gate
        self.connected = asyncio.Event()
        self.servers = []
        self.tasks = set()

    async def open(self):
        """Listens; `client_port` and `http_port` are where."""
        for port in self.ports:
            accept = lambda reader, writer, port=port: self.accept(reader, writer, port)
            self.servers.append(await asyncio.start_server(accept, "127.0.0.1", 0))
        self.client_port, self.http_port = (server.sockets[0].getsockname()[1] for server in self.servers)
        return self

    async def accept(self, reader, writer, port):
        self.connected.set()
        await self.gate.wait()
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        for way in (
            self.carry(reader, server_writer, Stanzas(self.record.outgoing), False),
            self.carry(server_reader, writer, Stanzas(self.record.incoming), True),
        ):
            task = asyncio.create_task(way)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def carry(self, reader, writer, stanzas, incoming):
        """Passes bytes on until the end."""
        try:
            while data := await reader.read(65536):
                # A server that may not compress sends text that can be read along.
                if data.startswith(b"GET "):
                    lines = data.split(b"\r\n")
                    data = b"\r\n".join(line for line in lines if not line.lower().startswith(b"sec-websocket-extensions"))
                if incoming:
                    self.record.received_bytes += len(data)
                writer.write(data)
                stanzas.feed(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def close(self):
        """Stops listening and ends what goes on."""
        for server in self.servers:
            server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
