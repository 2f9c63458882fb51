"""One question per hash, for everybody: however many announce it, however many ask for it meanwhile."""

import asyncio

import pytest

from harness.caps import sample
from harness.client import log_in_all
from harness.processes import until


def questions(clients):
    """How many questions of capsd have arrived at these clients."""
    return sum(len(client.caps_questions) for client in clients)


async def ask_at_once(clients, node, count):
    """`count` queries for the node, spread over the clients, all sent before the first answer."""
    return await asyncio.gather(*(clients[i % len(clients)].ask(node) for i in range(count)))


@pytest.mark.parametrize("count", [8, 50])
@pytest.mark.parametrize("resolve", ["on-announce", "on-demand"])
async def test_logins_at_once_with_one_unknown_hash(server, make_capsd, make_client, count, resolve):
    capsd = make_capsd(server, resolver=f'resolve = "{resolve}"\nholder-timeout = "20s"\ndeadline = "30s"').start()
    info = sample(f"burst-{count}")
    # Nobody answers before everybody has asked.
    clients = await log_in_all([make_client(f"user{i}", info, mode="silent") for i in range(count)])
    before = capsd.presences_heard()
    for client in clients:
        client.announce()
    await capsd.until_heard(before, count)
    if resolve == "on-announce":
        await until(lambda: questions(clients), "somebody is asked")
    else:
        assert questions(clients) == 0, "nobody is asked before somebody wants to know"

    asking = asyncio.create_task(ask_at_once(clients, info.node_0115(), 100))
    await capsd.until_metric("capsd_waiters", 100)
    await until(lambda: questions(clients), "somebody is asked")
    for client in clients:
        client.mode = "honest"
        for question in client.caps_questions:
            client.answer(question)
    replies = await asking

    assert [reply.info.covered() for reply in replies] == [info.covered()] * 100
    assert {reply.node for reply in replies} == {info.node_0115()}
    await capsd.until_idle()
    assert questions(clients) == 1
    metrics = capsd.metrics()
    assert metrics.total("capsd_upstream_queries_total") == 1
    assert metrics.total("capsd_upstream_queries_total", result="ok") == 1
    assert metrics.total("capsd_lookups_total", frontend="xmpp", result="coalesced") >= 99


async def test_twenty_hashes_among_a_hundred_sessions_and_none_after_a_restart(server, make_capsd, make_client):
    capsd = make_capsd(server).start()
    infos = [sample(f"crowd-{i}") for i in range(20)]
    clients = await log_in_all([make_client(f"user{i}", infos[i % 20]) for i in range(100)])
    before = capsd.presences_heard()
    for client in clients:
        client.announce()
    await capsd.until_heard(before, 100)
    await capsd.until_metric("capsd_upstream_queries_total", 20)
    await capsd.until_idle()
    assert questions(clients) == 20
    assert capsd.queries() == 20

    capsd.restart()

    # ejabberd does not say who was online already; so that both know all holders, everybody announces again.
    before = capsd.presences_heard()
    for client in clients:
        client.announce()
    await capsd.until_heard(before, 100)
    for info in infos:
        reply = await clients[0].ask(info.node_0115())
        assert reply.info.covered() == info.covered()
    await capsd.until_idle()
    assert questions(clients) == 20, "after the restart nobody was asked"
    assert capsd.queries() == 0
    assert capsd.metrics().total("capsd_lookups_total", frontend="xmpp", result="hit") == 20


async def test_with_a_server_that_asks_for_caps_itself(make_server, make_capsd, make_client):
    """mod_pep and mod_caps put their own questions to clients; that disturbs nothing and is not counted as capsd's."""
    server = make_server(own_caps=True)
    capsd = make_capsd(server).start()
    info = sample("pep")
    clients = await log_in_all([make_client(f"user{i}", info, server=server) for i in range(8)])
    before = capsd.presences_heard()
    for client in clients:
        client.announce()
    await capsd.until_heard(before, 8)
    reply = await clients[3].ask(info.node_0115())
    assert reply.info.covered() == info.covered()
    await capsd.until_idle()
    assert capsd.queries() == 1
