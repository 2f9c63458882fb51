"""A component under capsd's address that is not capsd as the module knows it."""

import asyncio
import itertools
import os
from unittest import mock
from xml.sax.saxutils import quoteattr

from slixmpp.componentxmpp import ComponentXMPP

from harness.client import CAPSD, STANZA_ERRORS
from harness.servers import COMPONENT, SECRET

# What no capsd would answer, in turn: each is the content of a result.
GARBAGE = [
    "",
    f"<lookup xmlns='{CAPSD}'/>",
    f"<feed xmlns='{CAPSD}' instance='{'x' * 5000}'/>",
    f"<lookup xmlns='{CAPSD}' max-age='-1' instance=''><key/><key node=''/><key node='a#b' reason='no such word'/></lookup>",
    f"<lookup xmlns='{CAPSD}' max-age='soon'><key node='a#b'><query xmlns='jabber:iq:roster'/></key></lookup>",
    f"<lookup xmlns='urn:capsd:1'><key node='a#b'><meaning xmlns='urn:capsd:1'/></key></lookup>",
    "<query xmlns='http://jabber.org/protocol/disco#info'><feature/><identity/><x xmlns='jabber:x:data'><field/></x></query>",
    "some text",
]


class Pretender(ComponentXMPP):
    """Connects as capsd does, and answers each request of `urn:capsd:0` by its manner.

    `manner` is 'other-version' (service-unavailable), 'garbage' (results that make no sense) or 'silent'.
    """

    def __init__(self, server, manner):
        with mock.patch.dict(os.environ, SSL_CERT_FILE=os.devnull):
            super().__init__(COMPONENT, SECRET, "127.0.0.1", server.component_port)
        self.manner = manner
        self.requests = 0
        self.garbage = itertools.cycle(GARBAGE)
        self.auto_reconnect = False

    async def begin(self):
        """Connects; returns when the server has accepted it."""
        started = asyncio.get_running_loop().create_future()
        self.add_event_handler("session_start", lambda _: started.done() or started.set_result(None))
        self.connect()
        await asyncio.wait_for(started, 20)
        return self

    def incoming_filter(self, xml):
        """Answers what a module asks."""
        if xml.tag.endswith("}iq") and any(child.tag.startswith(f"{{{CAPSD}}}") for child in xml):
            self.requests += 1
            head = f"id={quoteattr(xml.get('id'))} from={quoteattr(xml.get('to'))} to={quoteattr(xml.get('from'))}"
            if self.manner == "other-version":
                self.send_raw(f"<iq type='error' {head}><error type='cancel'><service-unavailable xmlns='{STANZA_ERRORS}'/></error></iq>")
            elif self.manner == "garbage":
                self.send_raw(f"<iq type='result' {head}>{next(self.garbage)}</iq>")
        return xml
