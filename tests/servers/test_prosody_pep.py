"""Prosody's own questions (mod_pep) to contacts that are no users of it: answered where the hash is known, and learned from."""

import os
import random

import pytest

from harness.caps import sample
from harness.client import Client, log_in_all, log_out_all
from harness.one_prosody import LONG_HOLD, by_user, configure, connect, people, server  # noqa: F401 (fixtures)
from harness.processes import until
from harness.scripted import ScriptedCapsd
from harness.servers import COMPONENT, Prosody
from harness.watched import FAR, GATEWAY, Gateway
from test_notifications import MOOD, publish

LONG = os.environ.get("CAPSD_LONG") == "1"


@pytest.fixture
async def befriended(server, people, request):
    """Connects the contact's server, whose contact is subscribed to two users and not yet available; it is disconnected after the test."""
    gateways = []

    async def make(info, domain):
        gateway = await Gateway(server, info, domain).start()
        gateways.append(gateway)
        name = f"{request.node.originalname}_{domain}".replace(".", "_")
        clients = await people(**{f"{name}_{number}": sample("subscribed-to") for number in range(2)})
        for client in clients:
            await gateway.befriend(client)
        return gateway, clients

    yield make
    for gateway in gateways:
        await gateway.stop()


def moods(gateway):
    """How many moods the contact was told, by account."""
    told = [message.get("from") for message in gateway.messages if message.find(f".//{{{MOOD}}}mood") is not None]
    return {account: told.count(account) for account in told}


async def test_a_contact_elsewhere_is_not_asked_for_what_is_known(server, connect, befriended):
    info = sample("far-known", [f"{MOOD}+notify"])
    await connect(known={info.node_0115(): info})
    gateway, clients = await befriended(info, FAR)
    for client in clients:
        gateway.announce(client, bare=True)
    for client in clients:
        await until(lambda: client.presences_from(gateway.contact.split("/")[0]), "the contact is there")
    for client in clients:
        await publish(client, "happy")
    await until(lambda: moods(gateway) == {client.bare: 1 for client in clients}, lambda: f"it is notified: {moods(gateway)}")
    assert gateway.requests == []


@pytest.mark.parametrize("domain, questions", [(FAR, 1), (GATEWAY, 2)])
async def test_what_a_contact_elsewhere_answers_is_learned(server, connect, befriended, configure, domain, questions):
    info = sample(f"learned-{domain}", [f"{MOOD}+notify"])
    configure(hold=LONG_HOLD)
    capsd = await connect()
    gateway, clients = await befriended(info, domain)
    answer = gateway.answer
    gateway.answer = lambda iq: None
    for client in clients:
        gateway.announce(client, bare=True)
    # A component is asked past everything by which a module could tell.
    await until(lambda: len(gateway.requests) >= questions, "it is asked")
    for iq in gateway.requests:
        answer(iq)
    await until(lambda: capsd.named("contribute"), "what it answers is handed over")
    assert [(given.get("jid"), given.get("node")) for given in capsd.named("contribute")[0]] == [(gateway.contact, info.node_0115())]
    for client in clients:
        await publish(client, "happy")
    await until(lambda: moods(gateway).keys() == {client.bare for client in clients}, lambda: f"it is notified: {moods(gateway)}")
    assert (await clients[0].ask(to=gateway.contact)).info.covered() == info.covered()
    assert len(gateway.requests) == questions
    assert all(by_user(client) == [] for client in clients)


class Linked(Prosody):
    """Prosody as the server of a domain that is an address, at which other servers find it without DNS."""

    modules = (*Prosody.modules, "s2s", "dialback")
    disabled = ("tls", "s2s_auth_certs", "offline")

    def __init__(self, directory, domain, host_settings=""):
        self.domain = domain
        self.more_hosts = f'VirtualHost "{domain}"\n{host_settings}'
        super().__init__(directory, own_caps=True)

    def prepare(self):
        process = super().prepare()
        config = self.directory / "prosody.cfg.lua"
        links = f's2s_ports = {{ 5269 }}\ns2s_interfaces = {{ "{self.domain}" }}\ns2s_require_encryption = false\n'
        config.write_text(config.read_text().replace("s2s_ports = {}\n", links))
        return process

    def client(self, name, info=None):
        """A user of that domain."""
        self.add_users([name], self.domain)
        return Client(self, name, info, domain=self.domain)


@pytest.fixture
async def two_servers(tmp_path):
    """A Prosody with the module and one without it, with a stream between them, and a scripted capsd that knows one content."""
    here, there = (f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{number}" for number in (2, 3))
    own = Linked(tmp_path / "own", here, f'\tmodules_enabled = {{ "capsd" }}\n\tcapsd_component = "{COMPONENT}"\n').start()
    other = Linked(tmp_path / "other", there).start()
    capsd = await ScriptedCapsd(own).start()
    await until(lambda: f"{COMPONENT} is used" in own.log.read_text(), "the module uses capsd")
    yield own, other, capsd
    await capsd.stop()
    own.kill()
    other.kill()


if LONG:
    # These need the port 5269, by which servers find each other.

    async def test_a_contact_on_another_server(two_servers):
        own, other, capsd = two_servers
        known, unknown = (sample(f"linked-{name}", [f"{MOOD}+notify"]) for name in ("known", "unknown"))
        capsd.known[known.node_0115()] = known
        user, contact = own.client("user"), other.client("contact")
        await log_in_all([user, contact])
        for client in (user, contact):
            client.announce_nothing()
        for one, to in ((user, contact), (contact, user)):
            one.send(f"<presence type='subscribe' to='{to.bare}'/>")
            await until(lambda: to.presences_from(one.bare, "subscribe"), "it is asked for a subscription")
            to.send(f"<presence type='subscribed' to='{one.bare}'/>")
            await until(lambda: one.presences_from(to.bare), "it is granted")

        from_here = lambda: [question.id for question in contact.questions if question.sender.startswith(user.bare)]
        notified = lambda: [message for message in contact.messages if message.find(f".//{{{MOOD}}}mood") is not None]
        contact.info = known
        contact.announce()
        await until(lambda: contact.jid in capsd.present(), "it is seen in passing")
        await publish(user, "happy")
        await until(notified, "it is notified")
        assert from_here() == []
        contact.info = unknown
        contact.announce()
        await until(lambda: capsd.named("contribute"), "what it answers is handed over")
        assert (await user.ask(to=contact.jid)).info.covered() == unknown.covered()
        assert from_here() == ["disco"], "Prosody asked, once"
        contact.send(f"<presence type='unsubscribed' to='{user.bare}'/>")
        await until(lambda: contact.jid not in capsd.present(), "nobody here hears it any longer")
        await log_out_all([user, contact])

    async def test_a_contact_elsewhere_that_does_not_answer_is_asked_as_without_the_module(server, connect, befriended):
        info = sample("far-silent")
        await connect()
        gateway, clients = await befriended(info, FAR)
        gateway.answer = lambda iq: None
        for client in clients:
            gateway.announce(client, bare=True)
        await until(lambda: {iq.get("from") for iq in gateway.requests} == {client.bare for client in clients}, "for each account", timeout=20)
        assert all((iq.get("id"), iq.get("to"), iq[0].get("node")) == ("disco", gateway.contact, info.node_0115()) for iq in gateway.requests)
