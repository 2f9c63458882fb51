"""Prosody's own questions (mod_pep) to contacts that are no users of it: answered where the hash is known, and learned from."""

import os

import pytest

from harness.caps import sample
from harness.one_prosody import LONG_HOLD, by_user, configure, connect, people, server  # noqa: F401 (fixtures)
from harness.processes import until
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


if LONG:

    async def test_a_contact_elsewhere_that_does_not_answer_is_asked_as_without_the_module(server, connect, befriended):
        info = sample("far-silent")
        await connect()
        gateway, clients = await befriended(info, FAR)
        gateway.answer = lambda iq: None
        for client in clients:
            gateway.announce(client, bare=True)
        await until(lambda: {iq.get("from") for iq in gateway.requests} == {client.bare for client in clients}, "for each account", timeout=20)
        assert all((iq.get("id"), iq.get("to"), iq[0].get("node")) == ("disco", gateway.contact, info.node_0115()) for iq in gateway.requests)
