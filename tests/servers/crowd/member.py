"""A careful client (slixmpp): it asks what each hash means that it does not know, once for each node, at whom it heard it from."""

import asyncio
import time
import xml.etree.ElementTree as ET

from harness.caps import CAPS_0115, info_of
from harness.client import Client
from harness.servers import ROOMS
from .wire import QUERY, Record, announced, local_name

ROOM = f"crowd@{ROOMS}"


# By which specifications a client announces itself.
STYLES = (("0115",), ("0115", "0390"), ("0390",))


def announcement(info, style):
    """The `<c/>` elements by which that content is announced, and the nodes to ask for."""
    parts = {"0115": (info.c_0115(), info.node_0115()), "0390": (info.c_0390(), info.node_0390())}
    return "".join(parts[family][0] for family in style), [parts[family][1] for family in style]


class Member(Client):
    """One member of the crowd; what it was asked is in `record`, what it knows in `known`."""

    def __init__(self, server, user, info, style):
        super().__init__(server, user, info, resource="crowd")
        self.nick = user
        self.elements, self.nodes = announcement(info, style)
        self.record = Record(user)
        # By node: what was answered, or None where an error was.
        self.known = dict.fromkeys(self.nodes, info)
        self.asking = {}
        self.occupants = {}
        self.everybody = 0
        self.knows_everybody = asyncio.Event()
        self.knew_at = None
        self.watch()

    def watch(self):
        """Looks at every byte and stanza before slixmpp does."""
        feed, look, send = self.xmpp.data_received, self.xmpp.incoming_filter, self.xmpp.send_raw

        def data_received(data):
            self.record.received_bytes += len(data)
            feed(data)

        def incoming_filter(xml):
            self.record.incoming(xml)
            self.look(xml)
            return look(xml)

        self.xmpp.data_received, self.xmpp.incoming_filter = data_received, incoming_filter

    def enter(self, everybody):
        """Announces itself and enters the room, in which so many will be."""
        self.everybody = everybody
        self.record.announcements.append(self.nodes)
        self.send(f"<presence>{self.elements}</presence>")
        room = "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x>"
        self.send(f"<presence to='{ROOM}/{self.nick}'>{self.elements}{room}</presence>")

    def look(self, xml):
        """What a careful client does about a stanza."""
        name = local_name(xml)
        if name == "presence":
            self.look_at_presence(xml)
        elif name == "iq" and xml.get("id") in self.asking and xml.get("type") in ("result", "error"):
            node = self.asking.pop(xml.get("id"))
            query = xml.find(QUERY)
            self.known[node] = info_of(query) if xml.get("type") == "result" and query is not None else None
            self.count()

    def look_at_presence(self, xml):
        sender = xml.get("from", "")
        in_room = sender.startswith(f"{ROOM}/")
        if xml.get("type") == "unavailable" and in_room:
            self.occupants.pop(sender, None)
        if xml.get("type") is not None:
            return
        nodes = announced(xml)
        if in_room and nodes:
            self.occupants[sender] = nodes[0]
        if nodes and nodes[0] not in self.known and nodes[0] not in self.asking.values():
            id_ = f"careful{next(self.ids)}"
            self.asking[id_] = nodes[0]
            self.record.asked += 1
            element = ET.Element("query", {"xmlns": "http://jabber.org/protocol/disco#info", "node": nodes[0]})
            iq = ET.Element("iq", {"type": "get", "to": sender, "id": id_})
            iq.append(element)
            self.send(ET.tostring(iq, encoding="unicode"))
        self.count()

    def count(self):
        """Notes the moment from which on it knows what everybody can do."""
        if self.knew_at is None and len(self.occupants) >= self.everybody and all(node in self.known for node in self.occupants.values()):
            self.knew_at = time.monotonic()
            self.knows_everybody.set()
