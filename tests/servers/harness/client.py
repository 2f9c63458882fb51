"""A real client (slixmpp) that announces chosen caps, answers disco#info as it is told to, and asks capsd."""

import asyncio
import itertools
import logging
import os
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from unittest import mock
from xml.sax.saxutils import quoteattr

from slixmpp import ClientXMPP
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from .caps import DISCO_INFO, info_of
from .processes import until
from .servers import COMPONENT, DOMAIN, PASSWORD

STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
CAPSD = "urn:capsd:0"
BLOCKING = "urn:xmpp:blocking"
PRIVACY = "jabber:iq:privacy"

logging.getLogger("slixmpp").setLevel(logging.CRITICAL)


@dataclass
class Reply:
    """What came back for an iq: `result` or `error`, with the parts that tests look at."""

    kind: str
    sender: str
    child: ET.Element | None = None
    node: str | None = None
    condition: str | None = None
    error_type: str | None = None
    reason: str | None = None
    xml: str = ""

    @property
    def info(self):
        """The disco info of a result."""
        assert self.kind == "result", self.xml
        return info_of(self.child)


@dataclass
class Question:
    """A disco#info get that arrived at the client."""

    sender: str
    node: str | None
    id: str


class Client:
    """One session of one account.

    `mode` says how it answers: 'honest', 'silent', 'error', 'lying' (with `liar_info`) or 'disconnect' (its connection breaks on the
    question), each after `delay` seconds. `questions` holds every disco#info get that arrived, `unasked` the answers to what it never asked.
    """

    def __init__(self, server, user, info=None, resource="r", mode="honest", delay=0.0, domain=DOMAIN, liar_info=None):
        self.server = server
        self.jid = f"{user}@{domain}/{resource}"
        self.bare = f"{user}@{domain}"
        self.info = info
        self.mode = mode
        self.delay = delay
        self.liar_info = liar_info
        self.questions = []
        self.unasked = []
        self.presences = []
        self.messages = []
        self.connected = False
        self.ids = itertools.count(1)
        self.waiting = {}
        plain = {"feature_mechanisms": {"use_mech": "PLAIN", "unencrypted_plain": True}}
        # Loading the machine's certificates would take 40 ms for each client; there is no TLS on loopback here.
        with mock.patch.dict(os.environ, SSL_CERT_FILE=os.devnull):
            self.xmpp = ClientXMPP(self.jid, PASSWORD, lang=server.language, plugin_config=plain)
        self.xmpp.auto_reconnect = False
        self.xmpp.enable_direct_tls = False
        self.xmpp.enable_starttls = False
        self.xmpp.enable_plaintext = True
        self.xmpp.auto_authorize = None
        self.xmpp.auto_subscribe = None
        for name, path, handler in (
            ("disco", f"{{jabber:client}}iq/{{{DISCO_INFO}}}query", self.on_disco),
            ("replies", "{jabber:client}iq", self.on_iq),
            ("presences", "{jabber:client}presence", self.on_presence),
            ("messages", "{jabber:client}message", self.on_message),
        ):
            self.xmpp.register_handler(Callback(name, MatchXPath(path), handler))
        self.xmpp.add_event_handler("disconnected", self.on_disconnected)

    # Session

    async def log_in(self):
        """Connects, authenticates and binds the resource; no presence is sent."""
        started = asyncio.get_running_loop().create_future()
        finish = lambda error: started.done() or (started.set_exception(AssertionError(error)) if error else started.set_result(None))
        self.xmpp.add_event_handler("session_start", lambda _: finish(None), disposable=True)
        self.xmpp.add_event_handler("failed_all_auth", lambda _: finish(f"{self.jid}: wrong password"), disposable=True)
        self.xmpp.add_event_handler("connection_failed", lambda error: finish(f"{self.jid}: {error}"), disposable=True)
        self.xmpp.connect("127.0.0.1", self.server.client_port)
        await asyncio.wait_for(started, 20)
        self.connected = True
        return self

    async def log_out(self):
        """Says goodbye and closes the stream."""
        if self.connected:
            await self.xmpp.disconnect(wait=2.0)
            self.connected = False

    def abort(self):
        """Breaks the connection without a word."""
        self.connected = False
        self.xmpp.abort()

    def on_disconnected(self, _):
        self.connected = False

    # Presence

    def announce(self, *caps, to=None, extra=""):
        """Sends presence with those `<c/>` elements; by default the 0115 one of the client's info."""
        if not caps and self.info:
            caps = (self.info.c_0115(),)
        self.send(f"<presence{address(to)}>{extra}{''.join(caps)}</presence>")

    def announce_nothing(self, show=""):
        """Sends presence without any `<c/>`."""
        self.send(f"<presence>{show}</presence>")

    def become_unavailable(self, to=None):
        """Sends unavailable presence, staying connected."""
        self.send(f"<presence type='unavailable'{address(to)}/>")

    def send(self, xml):
        """Sends any stanza as it is."""
        self.xmpp.send_raw(xml)

    def on_presence(self, stanza):
        self.presences.append(stanza.xml)

    def on_message(self, stanza):
        self.messages.append(stanza.xml)

    def presences_from(self, sender, type_=None):
        """The presences received from that bare or full JID with that type."""
        is_from = lambda address: sender in (address, address.split("/")[0])
        return [xml for xml in self.presences if is_from(xml.get("from", "")) and xml.get("type") == type_]

    # Answering

    def on_disco(self, stanza):
        if stanza["type"] != "get":
            return
        query = stanza.xml.find(f"{{{DISCO_INFO}}}query")
        question = Question(stanza.xml.get("from", ""), query.get("node"), stanza.xml.get("id"))
        self.questions.append(question)
        asyncio.get_running_loop().call_later(self.delay, self.answer, question)

    def answer(self, question):
        """Does what the mode says about a question."""
        head = f"id={quoteattr(question.id)}{address(question.sender)}"
        if self.mode == "disconnect":
            self.abort()
        elif self.mode == "error":
            self.send(f"<iq type='error' {head}><error type='cancel'><service-unavailable xmlns='{STANZA_ERRORS}'/></error></iq>")
        elif self.mode != "silent" and self.connected:
            info = self.liar_info if self.mode == "lying" else self.info
            self.send(f"<iq type='result' {head}>{info.query(question.node)}</iq>")

    @property
    def caps_questions(self):
        """The questions that capsd asked: all but those that the server asked for itself (Prosody's carry the id 'disco')."""
        return [q for q in self.questions if q.id != "disco" and q.sender.split("/")[0] in ("", self.bare, COMPONENT)]

    # Asking

    async def iq(self, to, child, type_="get", timeout=15, id_=None):
        """Sends an iq with that child and returns the `Reply`; fails if there is none in time. Without `to`, to the own server."""
        id_ = id_ or f"q{next(self.ids)}"
        reply = asyncio.get_running_loop().create_future()
        self.waiting[id_] = (to, reply)
        self.send(f"<iq type='{type_}' id='{id_}'{address(to)}>{child}</iq>")
        try:
            return await asyncio.wait_for(reply, timeout)
        except asyncio.TimeoutError:
            raise AssertionError(f"{self.jid}: no reply from {to} within {timeout} s to {child}") from None
        finally:
            del self.waiting[id_]

    async def block(self, jid, word="block"):
        """Blocks an address, or unblocks it (XEP-0191)."""
        reply = await self.iq(None, f"<{word} xmlns='{BLOCKING}'><item jid='{jid}'/></{word}>", "set")
        assert reply.kind == "result", reply.xml

    async def set_privacy(self, content):
        """Sends something about privacy lists (XEP-0016)."""
        reply = await self.iq(None, f"<query xmlns='{PRIVACY}'>{content}</query>", "set")
        assert reply.kind == "result", reply.xml

    async def make_privacy_list(self, name, jid, *kinds):
        """Makes a privacy list that denies such stanzas ('presence-in', 'presence-out', 'iq', 'message'), or all; it is not in force by that."""
        stopped = "".join(f"<{kind}/>" for kind in kinds)
        await self.set_privacy(f"<list name='{name}'><item type='jid' value='{jid}' action='deny' order='1'>{stopped}</item></list>")

    async def refuse(self, jid, *kinds, name="refused"):
        """Has the server stop such stanzas for this session by a privacy list."""
        await self.make_privacy_list(name, jid, *kinds)
        await self.set_privacy(f"<active name='{name}'/>")

    async def refuse_nothing(self):
        """Takes the privacy list out of force."""
        await self.set_privacy("<active/>")

    async def ask(self, node=None, to=COMPONENT, timeout=15, id_=None):
        """Asks for the disco#info of a node, of capsd by default."""
        attribute = f" node={quoteattr(node)}" if node is not None else ""
        return await self.iq(to, f"<query xmlns='{DISCO_INFO}'{attribute}/>", timeout=timeout, id_=id_)

    def on_iq(self, stanza):
        xml = stanza.xml
        to, reply = self.waiting.get(xml.get("id"), (None, None))
        if reply is None and xml.get("type") in ("result", "error"):
            self.unasked.append(xml)
        if xml.get("type") not in ("result", "error") or reply is None or reply.done() or not self.is_reply_from(to, xml.get("from")):
            return
        answer = Reply(xml.get("type"), xml.get("from"), xml=ET.tostring(xml, encoding="unicode"))
        for child in xml:
            if child.tag != "{jabber:client}error":
                answer.child = child
                answer.node = child.get("node")
                continue
            answer.error_type = child.get("type")
            for part in child:
                if part.tag == f"{{{CAPSD}}}reason":
                    answer.reason = part.text
                elif part.tag.startswith(f"{{{STANZA_ERRORS}}}") and not part.tag.endswith("}text"):
                    answer.condition = part.tag.split("}")[1]
        reply.set_result(answer)

    def is_reply_from(self, to, sender):
        """Whether that sender may answer an iq that was sent to `to`."""
        return sender == to or (to is None and sender == self.bare) or sender is None


def address(to):
    """The attribute `to`, if there is one."""
    return f" to={quoteattr(to)}" if to else ""


async def log_in_all(clients, at_once=25):
    """Logs the clients in, a few at a time, without presence."""
    places = asyncio.Semaphore(at_once)

    async def one(client):
        async with places:
            await client.log_in()

    await asyncio.gather(*(one(client) for client in clients))
    return clients


async def log_out_all(clients):
    """Closes whatever is still open."""
    await asyncio.gather(*(client.log_out() for client in clients))


async def until_asked(client, times=1, timeout=15):
    """Waits until the client was asked that often by capsd."""
    await until(lambda: len(client.caps_questions) >= times, f"{client.jid} is asked {times} times", timeout)
