"""What the tests of Prosody's module need besides: a Prosody that shows what other modules see, a contact that is no user of it, and a client
whose session is resumed."""

import asyncio
import base64
import re
import urllib.request

from .caps import DISCO_INFO, info_of
from .processes import free_ports, until, wait_until
from .scripted import ScriptedCapsd
from .servers import COMPONENT, DOMAIN, PASSWORD, REPOSITORY, SECRET, Prosody, stream_header

SECOND = "caps2.example.org"
# A component whose users are contacts that are no users of this server.
GATEWAY = "gateway.example.org"
# The same component may play contacts of this domain, whose stanzas go the ways of another server's.
FAR = "far.example"
SM = "urn:xmpp:sm:3"
# What mod_caps_watch of the tests answers.
WATCH = "urn:example:caps-watch"
MUC = "http://jabber.org/protocol/muc"
# Seconds for which sessions wait to be resumed.
HIBERNATION = 2


class WatchedProsody(Prosody):
    """Prosody with a second component, statistics, stream management, and a module that sees what other modules see."""

    modules = (*Prosody.modules, "smacks", "http_openmetrics", "caps_watch", "far_contact")
    global_settings = (
        f'plugin_paths = {{ "{REPOSITORY}/deploy/prosody", "{REPOSITORY}/tests/servers/prosody" }}\n'
        'statistics = "internal"\nstatistics_interval = "manual"\nmuc_room_locking = false\n'
        f"smacks_hibernation_time = {HIBERNATION}\n"
    )

    more_hosts = f'Component "{GATEWAY}"\n\tcomponent_secret = "{SECRET}"\n\tvalidate_from_addresses = false\n'

    def __init__(self, directory, **options):
        (self.http_port,) = free_ports(1)
        super().__init__(directory, **options)

    def read_snippet(self):
        """The snippet with two components."""
        snippet = super().read_snippet()
        privileges = snippet[snippet.index('\t\t["caps.') : snippet.index("\t}\n\nComponent")]
        component = snippet[snippet.index("Component ") :]
        return snippet.replace(privileges, privileges + privileges.replace(COMPONENT, SECOND)) + component.replace(COMPONENT, SECOND)

    def prepare(self):
        process = super().prepare()
        config = self.directory / "prosody.cfg.lua"
        http = f'http_ports = {{ {self.http_port} }}\nhttp_interfaces = {{ "127.0.0.1" }}\nhttp_default_host = "{DOMAIN}"'
        text = config.read_text().replace("http_ports = {}", http)
        config.write_text(re.sub(r'plugin_paths = .*\n', "", text, count=1))
        return process

    def statistics(self):
        """The module's statistics: (name, label value or None) to number."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=10) as response:
            text = response.read().decode()
        found = {}
        for name, labels, value in re.findall(r"^prosody_mod_capsd__(\w+)\{([^}]*)\} (\S+)", text, re.MULTILINE):
            label = [value for key, value in re.findall(r'(\w+)="([^"]*)"', labels) if key != "host"]
            found[name, label[0] if label else None] = float(value)
        return found

    def configure(self, name, value):
        """Changes an option of the module by a reload, and waits until it is in force."""
        in_force = lambda: self.log.read_text(errors="replace").count("works with new options")
        before = in_force()
        self.set_option(name, value)
        wait_until(lambda: in_force() > before, f"{name} is {value}")


class Gateway(ScriptedCapsd):
    """A contact beyond a component: it announces an info and answers disco#info with it."""

    def __init__(self, server, info, domain=GATEWAY):
        super().__init__(server, jid=GATEWAY)
        self.info = info
        self.contact = f"friend@{domain}/far"
        self.presences = []
        self.messages = []
        self.replies = {}

    def on_stanza(self, stanza):
        if stanza.tag.endswith("}presence"):
            self.presences.append(stanza)
        elif stanza.tag.endswith("}message"):
            self.messages.append(stanza)
        super().on_stanza(stanza)

    def on_iq(self, iq):
        if iq.get("type") in ("result", "error"):
            self.replies[iq.get("id")] = iq
        super().on_iq(iq)

    def send(self, xml):
        """Sends something as it is."""
        self.writer.write(xml.encode())

    async def befriend(self, client):
        """The contact subscribes to a client, which permits it; what the client announces has arrived."""
        contact = self.contact.split("/")[0]
        self.send(f"<presence type='subscribe' from='{contact}' to='{client.bare}'/>")
        await until(lambda: client.presences_from(contact, "subscribe"), "the client is asked")
        client.send(f"<presence type='subscribed' to='{contact}'/>")
        await self.hears(client)

    async def hears(self, client, to=None):
        """Waits until the last presence of the client to that address, by default the contact's account, is what it announces now."""
        to = to or self.contact.split("/")[0]
        told = lambda: [xml for xml in self.presences if xml.get("from") == client.jid and xml.get("to") == to][-1:]
        await until(lambda: any(c.get("ver") == client.info.ver() for xml in told() for c in xml), lambda: f"{to} hears it, but {[xml.attrib for xml in self.presences]}")

    async def ask(self, client, node=None, of=None):
        """The contact, or another address beyond the component, asks a client what it can do; returns the content that it is answered."""
        id_ = f"g{len(self.replies)}"
        self.send_question(client, id_, node, of)
        await until(lambda: id_ in self.replies, "the answer arrives")
        return info_of(self.replies[id_][0])

    def send_question(self, client, id_, node=None, of=None):
        """The question without waiting for the answer."""
        attribute = f" node='{node}'" if node else ""
        query = f"<query xmlns='{DISCO_INFO}'{attribute}/>"
        self.send(f"<iq type='get' id='{id_}' from='{of or self.contact}' to='{client.jid}'>{query}</iq>")

    def announce(self, to, bare=False):
        """The contact's presence, to one client or to the account."""
        self.send(f"<presence from='{self.contact}' to='{to.bare if bare else to.jid}'>{self.info.c_0115()}</presence>")

    async def tell(self, client, heard=True):
        """The contact's presence; the client has received it, or would have by now."""
        before = len(client.presences)
        self.announce(client)
        # From somewhere else, so that nothing stops it: it comes behind the other one.
        self.send(f"<presence from='marker@{GATEWAY}/m' to='{client.jid}' type='unavailable'/>")
        came = lambda: [xml.get("from", "") for xml in client.presences[before:]]
        await until(lambda: came() == [self.contact] * heard + [f"marker@{GATEWAY}/m"], lambda: f"the presence arrives, not {came()}")

    def show_out(self, who):
        """Tells a client that it is no longer in the room whose occupants are friend@gateway."""
        x = f"<x xmlns='{MUC}#user'><item affiliation='none' role='none'/><status code='110'/></x>"
        self.send(f"<presence from='friend@{GATEWAY}/me' to='{who.jid}' type='unavailable'>{x}</presence>")

    def answer(self, iq):
        query = self.info.query(iq[0].get("node"))
        self.send(f"<iq type='result' from='{self.contact}' to='{iq.get('from')}' id='{iq.get('id')}'>{query}</iq>")


class Resumable:
    """A client that speaks just enough to have its session resumed (XEP-0198)."""

    def __init__(self, server, user):
        self.server, self.user = server, user
        self.jid = f"{user}@{DOMAIN}/r"
        self.received = ""

    async def connect(self):
        """Authenticates on a new connection."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.server.client_port)
        await self.exchange(stream_header(DOMAIN).decode(), "</stream:features>")
        secret = base64.b64encode(f"\0{self.user}\0{PASSWORD}".encode()).decode()
        await self.exchange(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>", "<success")
        await self.exchange(stream_header(DOMAIN).decode(), "</stream:features>")

    async def log_in(self):
        """Binds the resource and enables resumption."""
        await self.connect()
        await self.exchange("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind></iq>", "</iq>")
        enabled = await self.exchange(f"<enable xmlns='{SM}' resume='true'/>", "<enabled[^>]*>")
        self.previous = re.search(r" id='([^']*)'", re.search("<enabled[^>]*>", enabled)[0])[1]
        return self

    async def resume(self):
        """Takes the session over on a new connection."""
        await self.connect()
        await self.exchange(f"<resume xmlns='{SM}' previd='{self.previous}' h='0'/>", "<resumed")

    async def exchange(self, xml, awaited):
        """Sends, and returns what came up to what is awaited."""
        self.writer.write(xml.encode())
        received = ""
        while not re.search(awaited, received):
            chunk = await asyncio.wait_for(self.reader.read(65536), 10)
            assert chunk, f"the stream ended; it said: {received}"
            received += chunk.decode()
        return received

    def abort(self):
        """Breaks the connection without a word."""
        self.writer.transport.abort()
