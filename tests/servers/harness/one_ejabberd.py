"""Fixtures of the tests of ejabberd's module alone: one ejabberd with it, scripted components in the place of capsd, and people."""

import socket
from xml.sax.saxutils import quoteattr

import pytest

from .caps import DISCO_INFO
from .client import Client, log_in_all, log_out_all
from .processes import free_ports, until
from .scripted import ScriptedCapsd, connections
from .servers import COMPONENT, DOMAIN, REPOSITORY, Ejabberd

SECOND = "caps2.example.org"
# A component that stands for another server: what goes to its addresses leaves this one.
ELSEWHERE = "elsewhere.example"


# Evaluates one line of Erlang for each connection.
SHELL = """
spawn(fun() ->
    {ok, Listener} = gen_tcp:listen(PORT, [binary, {packet, line}, {buffer, 65536}, {active, false}, {reuseaddr, true}, {ip, {127, 0, 0, 1}}]),
    Serve = fun Again() ->
        {ok, Socket} = gen_tcp:accept(Listener),
        {ok, Line} = gen_tcp:recv(Socket, 0),
        {ok, Tokens, _} = erl_scan:string(binary_to_list(Line)),
        {ok, Expressions} = erl_parse:parse_exprs(Tokens),
        {value, Value, _} = erl_eval:exprs(Expressions, []),
        gen_tcp:send(Socket, io_lib:format("~0p", [Value])),
        gen_tcp:close(Socket),
        Again()
    end,
    Serve()
end).
"""


class Resuming(Ejabberd):
    """ejabberd whose sessions may be resumed (XEP-0198), and into which a test can look."""

    def prepare(self):
        (self.shell_port,) = free_ports(1)
        process = super().prepare()
        process.command += ["-eval", " ".join(SHELL.replace("PORT", str(self.shell_port)).split())]
        return process

    def evaluate(self, expression):
        """What an Erlang expression within the server comes to, as text."""
        with socket.create_connection(("127.0.0.1", self.shell_port), timeout=10) as stream:
            stream.sendall(f"{expression}.\n".encode())
            return stream.makefile().read()

    def write_config(self):
        super().write_config()
        self.config.write_text(self.config.read_text().replace("\nmodules:\n", "\nmodules:\n  mod_stream_mgmt: {}\n"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """ejabberd with the module, and two components more beside the first."""
    snippet = (REPOSITORY / "deploy/ejabberd/capsd.yml").read_text()
    first = f'      {COMPONENT}:\n        password: "CHANGE-ME"\n'
    assert first in snippet
    server = Resuming(
        tmp_path_factory.mktemp("ejabberd"),
        module={"component": [COMPONENT, SECOND], "retry": 1},
        own_caps=True,
        services=True,
        # Without `global_routes: false` each connection would receive what is for both.
        snippet=snippet.replace(first, first + first.replace(COMPONENT, SECOND) + first.replace(COMPONENT, ELSEWHERE)).replace(
            "    access: all\n", "    access: all\n    global_routes: false\n"
        ),
    )
    yield server.start()
    server.kill()


@pytest.fixture
async def connect(server):
    """Connects scripted components and returns when the module uses one of them; they are disconnected after the test."""
    async with connections(server, lambda: stats(server)["ready"]) as make:
        yield make


@pytest.fixture
def patient(server):
    """Queries are held for so long that no slow machine lets them go."""
    server.set_option("hold", 5000)
    yield
    del server.options["hold"]
    server.set_option("enabled", True)


@pytest.fixture
async def people(server):
    """Logs clients in under names that no other test has; each announces what its name is given."""
    clients = []

    async def make(**infos):
        server.add_users(infos)
        made = [Client(server, name, info) for name, info in infos.items()]
        clients.extend(made)
        await log_in_all(made)
        for client in made:
            client.announce()
        return made

    yield make
    await log_out_all(clients)


def stats(server):
    """The module's statistics."""
    return {one["statistic"]: one["count"] for one in server.command("capsd_stats", host=DOMAIN)}


async def show(holder, *clients, to=None):
    """Sends directed presence, so that those clients have received the announcement."""
    for client in clients:
        before = len(client.presences_from(holder.bare))
        holder.announce(to=client.jid)
        await until(lambda: len(client.presences_from(holder.bare)) > before, "the announcement arrives")


async def befriend(target, subscriber):
    """The second one is subscribed to the first."""
    subscriber.send(f"<presence type='subscribe' to='{target.bare}'/>")
    await until(lambda: target.presences_from(subscriber.bare, "subscribe"), "a subscription is asked for")
    target.send(f"<presence type='subscribed' to='{subscriber.bare}'/>")
    await until(lambda: subscriber.presences_from(target.bare, "subscribed"), "it is granted")


class Elsewhere(ScriptedCapsd):
    """Another server, with contacts and rooms of whatever names; it keeps what it is asked, and answers when it is told to."""

    def __init__(self, server):
        super().__init__(server, jid=ELSEWHERE)
        self.silent = True
        self.replies = []
        self.messages = []
        self.presences = []

    def contact(self, name):
        """The full address of somebody there."""
        return f"{name}@{ELSEWHERE}/r"

    def on_stanza(self, stanza):
        super().on_stanza(stanza)
        if stanza.tag.endswith("}message"):
            self.messages.append(stanza)
        elif stanza.tag.endswith("}presence"):
            self.presences.append(stanza)
        elif stanza.tag.endswith("}iq") and stanza.get("type") in ("result", "error"):
            self.replies.append(stanza)

    def send(self, xml):
        """Sends a stanza as it is."""
        self.writer.write(xml.encode())

    async def announce(self, contact, client, caps="", extra=""):
        """Presence of a contact, or of an occupant, for a client; it has received it."""
        before = len(client.presences)
        self.send(f"<presence from='{contact}' to='{client.jid}'>{caps}{extra}</presence>")
        await until(lambda: len(client.presences) > before, f"{client.bare} receives the presence of {contact}")

    async def leave(self, contact, client, extra=""):
        """Unavailable presence, likewise."""
        before = len(client.presences)
        self.send(f"<presence type='unavailable' from='{contact}' to='{client.jid}'>{extra}</presence>")
        await until(lambda: len(client.presences) > before, f"{client.bare} receives that {contact} is gone")

    def questions(self, contact=None):
        """The disco#info questions that arrived for a contact."""
        return [iq for iq in self.requests if iq[0].tag == f"{{{DISCO_INFO}}}query" and contact in (None, iq.get("to"))]

    async def until_asked(self, contact, times=1):
        """Waits until a contact was asked that often; returns the last question."""
        await until(lambda: len(self.questions(contact)) >= times, lambda: f"{contact} is asked {times} times: {len(self.questions(contact))}")
        return self.questions(contact)[times - 1]

    async def until_handled(self, contact, client):
        """Waits until the client's session has handled what that contact has sent to it: a question after that is answered, if by an error."""
        await self.answer_to(contact, client)

    async def answer_to(self, contact, client, node=None):
        """What the contact is answered when it asks that client for its disco info: a result or an error."""
        id_ = f"asks-{len(self.replies)}"
        self.ask(contact, client, node, id_)
        answers = lambda: [iq for iq in self.replies if iq.get("id") == id_]
        await until(answers, f"{contact} is answered")
        return answers()[0]

    def reply(self, question, info, node=None):
        """What the contact answers."""
        head = f"from={quoteattr(question.get('to'))} to={quoteattr(question.get('from'))} id={quoteattr(question.get('id'))}"
        self.send(f"<iq type='result' {head}>{info.query(node)}</iq>")

    def ask(self, contact, client, node=None, id_="q"):
        """A contact asks a client."""
        node = f" node={quoteattr(node)}" if node else ""
        self.send(f"<iq type='get' id='{id_}' from='{contact}' to='{client.jid}'><query xmlns='{DISCO_INFO}'{node}/></iq>")


@pytest.fixture
async def elsewhere(server):
    """Another server; it is gone after the test."""
    component = await Elsewhere(server).start()
    yield component
    await component.stop()
