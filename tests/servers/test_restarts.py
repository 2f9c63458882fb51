"""Servers and capsd go away and come back: it serves again by itself, and what was learned stays."""

import asyncio
import time

import pytest

from harness.caps import sample
from harness.client import log_in_all, until_asked
from harness.processes import until


async def learn(capsd, client, asker):
    """Lets capsd learn the caps of `client`."""
    client.announce()
    await until_asked(client)
    assert (await asker.ask(client.info.node_0115())).info.covered() == client.info.covered()


def flushed(capsd, contents):
    """Whether so many contents were learned, and a crash would lose none of them."""
    metrics = capsd.metrics()
    return metrics.total("capsd_cache_entries", tier="learned") >= contents and metrics.total("capsd_store_unconfirmed") == 0


async def served_again(capsd, asker, info):
    """Asks until capsd answers; the server may say meanwhile that it is not there."""
    end = time.monotonic() + 15
    while True:
        reply = await asker.ask(info.node_0115())
        if reply.kind == "result":
            assert reply.info.covered() == info.covered()
            return
        assert time.monotonic() < end, reply.xml
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("ending", ["restart", "crash"])
async def test_the_server_is_restarted_under_capsd(make_server, make_capsd, make_client, ending):
    server = make_server()
    capsd = make_capsd(server).start()
    info = sample("server-restart")
    client, asker = make_client("client", info, server=server), make_client("asker", server=server)
    await log_in_all([client, asker])
    await learn(capsd, client, asker)
    told = capsd.messages_heard()
    server.stop() if ending == "restart" else server.kill()
    await until(lambda: capsd.metrics().total("capsd_component_up") == 0, "capsd notices")
    assert capsd.get("/healthz")[0] == 200, "HTTP works meanwhile"
    server.start()
    asker = await make_client("asker", server=server).log_in()
    await served_again(capsd, asker, info)
    # It learns again, too, once the server has told it its privileges anew.
    await until(lambda: capsd.messages_heard() > told, "the server has told capsd its privileges")
    fresh = make_client("client", sample("after-server-restart"), server=server)
    await fresh.log_in()
    await learn(capsd, fresh, asker)
    assert capsd.queries() == 2


async def test_capsd_is_killed_and_started_again(server, make_capsd, make_client):
    capsd = make_capsd(server).start()
    infos = [sample(f"kill-{i}") for i in range(10)]
    clients, asker = [make_client(f"client{i}", info) for i, info in enumerate(infos)], make_client("asker")
    await log_in_all([*clients, asker])
    for client in clients:
        await learn(capsd, client, asker)
    await until(lambda: flushed(capsd, 10), "all is on disk")
    capsd.kill()
    capsd.start()
    for info in infos:
        await served_again(capsd, asker, info)
    assert sum(len(client.caps_questions) for client in clients) == 10
    assert capsd.queries() == 0


async def test_capsd_is_killed_in_mid_flight(server, make_capsd, make_client):
    """Its holder was asked and the answer lost; the next announcement starts over."""
    capsd = make_capsd(server).start()
    info = sample("kill-in-flight")
    client, asker = make_client("client", info, mode="silent"), make_client("asker")
    await log_in_all([client, asker])
    client.announce()
    await until_asked(client)
    capsd.kill()
    client.mode = "honest"
    capsd.start()
    client.announce()
    await until_asked(client, 2)
    await served_again(capsd, asker, info)


async def test_an_orderly_stop_flushes_and_answers_waiters(server, make_capsd, make_client):
    # Only the flush at the end can have written anything.
    capsd = make_capsd(server, flush_interval="60s").start()
    info = sample("flushed-at-the-end")
    client, asker = make_client("client", info), make_client("asker")
    silent = make_client("silent", sample("never-answered"), mode="silent")
    await log_in_all([client, asker, silent])
    await learn(capsd, client, asker)
    silent.announce()
    await until_asked(silent)
    waiting = asyncio.create_task(asker.ask(silent.info.node_0115()))
    await until(lambda: capsd.metrics().total("capsd_waiters") == 1, "somebody waits")

    stopping = asyncio.create_task(asyncio.to_thread(capsd.stop))
    reply = await waiting
    assert (reply.kind, reply.error_type) == ("error", "wait"), "a waiter is told"
    code, seconds = await stopping
    assert code == 0
    assert seconds < 5
    await silent.log_out()
    capsd.start()
    await served_again(capsd, asker, info)
    assert len(client.caps_questions) == 1
    assert capsd.queries() == 0


async def test_new_queries_during_the_stop_are_told_to_wait(server, make_capsd, make_client):
    # However often somebody asks until the end begins.
    capsd = make_capsd(server, limits='queries-per-asker = "10000/s"').start()
    asker = make_client("asker")
    silent = make_client("silent", sample("holds-the-stop"), mode="silent")
    await log_in_all([asker, silent])
    silent.announce()
    await until_asked(silent)
    stopping = asyncio.create_task(asyncio.to_thread(capsd.stop))
    # A question that crosses the end of the stream is lost in both servers, so nobody asks up to the very end.
    reply = await asker.ask(sample("anything").node_0115())
    while reply.reason == "unknown":
        await asyncio.sleep(0.005)
        reply = await asker.ask(sample("anything").node_0115())
    assert (reply.kind, reply.condition, reply.error_type) == ("error", "service-unavailable", "wait")
    code, seconds = await stopping
    assert (code, seconds < 5) == (0, True)


@pytest.mark.parametrize("when", ["never-linked", "linked"])
async def test_sigterm_ends_it_within_five_seconds(server, make_capsd, when):
    capsd = make_capsd(server)
    if when == "never-linked":
        capsd.config.write_text(capsd.config.read_text().replace(f"127.0.0.1:{server.component_port}", "127.0.0.1:1"))
    capsd.start(linked=when == "linked")
    code, seconds = capsd.stop()
    assert code == 0
    assert seconds < 5
    assert "panicked" not in capsd.log()


async def test_it_waits_for_a_server_that_is_not_up_yet(make_server, make_capsd, make_client):
    server = make_server()
    server.stop()
    capsd = make_capsd(server).start(linked=False)
    assert capsd.get("/healthz")[0] == 200
    status, text = capsd.get("/readyz")
    assert status != 200 or "down" in text, "a link that is down is said to be down"
    assert capsd.metrics().total("capsd_component_up") == 0
    await until(lambda: "refused" in capsd.log(), "the log says why there is no link")
    assert "127.0.0.1" in capsd.log()
    server.start()
    capsd.wait_linked(timeout=10)
    info = sample("late-server")
    client, asker = make_client("client", info, server=server), make_client("asker", server=server)
    await log_in_all([client, asker])
    await learn(capsd, client, asker)


async def test_who_was_online_before_capsd_is_known_as_far_as_the_server_tells(server, make_capsd, make_client):
    """Prosody replays the presence of who is online; ejabberd does not, so there the next presence counts."""
    info = sample("online-before")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce()
    capsd = make_capsd(server).start()
    if server.kind == "ejabberd":
        client.announce()
    await until_asked(client)
    assert (await asker.ask(info.node_0115())).info.covered() == info.covered()
    assert capsd.queries() == 1
