"""A session without a library, for what libraries do by themselves (XEP-0198)."""

import asyncio
import base64

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
