"""A component under capsd's address that is not capsd as the module knows it."""

import itertools
from xml.sax.saxutils import quoteattr

from harness.client import CAPSD, STANZA_ERRORS
from harness.scripted import ScriptedCapsd

# What no capsd would answer, in turn: each is the content of a result.
GARBAGE = [
    "",
    f"<lookup xmlns='{CAPSD}'/>",
    f"<feed xmlns='{CAPSD}' instance='{'x' * 5000}'/>",
    f"<lookup xmlns='{CAPSD}' max-age='-1' instance=''><key/><key node=''/><key node='a#b' reason='no such word'/></lookup>",
    f"<lookup xmlns='{CAPSD}' max-age='soon'><key node='a#b'><query xmlns='jabber:iq:roster'/></key></lookup>",
    "<lookup xmlns='urn:capsd:1'><key node='a#b'><meaning xmlns='urn:capsd:1'/></key></lookup>",
    "<query xmlns='http://jabber.org/protocol/disco#info'><feature/><identity/><x xmlns='jabber:x:data'><field/></x></query>",
    "some text",
]


class Pretender(ScriptedCapsd):
    """Answers each request of `urn:capsd:0` by its manner: 'other-version' (service-unavailable), 'garbage' (results that make no
    sense) or 'silent'."""

    def __init__(self, server, manner):
        super().__init__(server)
        self.manner = manner
        self.silent = manner == "silent"
        self.garbage = itertools.cycle(GARBAGE)

    def answer(self, iq):
        head = f"id={quoteattr(iq.get('id'))} from='{self.jid}' to={quoteattr(iq.get('from'))}"
        if self.manner == "garbage":
            self.writer.write(f"<iq type='result' {head}>{next(self.garbage)}</iq>".encode())
        else:
            error = f"<error type='cancel'><service-unavailable xmlns='{STANZA_ERRORS}'/></error>"
            self.writer.write(f"<iq type='error' {head}>{error}</iq>".encode())
