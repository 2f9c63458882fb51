"""A session without a library, for what libraries do by themselves (XEP-0198)."""

import asyncio
import base64
import re

from .servers import DOMAIN, PASSWORD, stream_header


class RawSession:
    """A session of which a test sees and writes every element: authenticated, and no more."""

    async def open(self, server, user):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", server.client_port)
        secret = base64.b64encode(f"\0{user}\0{PASSWORD}".encode()).decode()
        for said, until_read in (
            (stream_header(DOMAIN).decode(), "</stream:features>"),
            (f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>", "<success"),
            (stream_header(DOMAIN).decode(), "</stream:features>"),
        ):
            await self.say(said, until_read)
        return self

    async def say(self, xml, until_read):
        """Writes that and returns what was read up to that text and the end of its element."""
        self.writer.write(xml.encode())
        read = ""
        while until_read not in read or not read.endswith(">"):
            received = await asyncio.wait_for(self.reader.read(65536), 15)
            assert received, read
            read += received.decode()
        return read

    async def bind(self, resource):
        """Binds that resource."""
        bind = f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>"
        return await self.say(f"<iq type='set' id='b'>{bind}</iq>", "</iq>")


def previous_id(enabled):
    """What a session that is to be resumed is known by, from what the server said when that was enabled."""
    return re.search(r"\bid='([^']+)'", enabled)[1]
