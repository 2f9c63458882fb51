"""The link: a wrong secret, an unknown host and a conflict are told apart in words that say what to change."""

import pytest

from harness.caps import sample
from harness.client import log_in_all, until_asked
from harness.processes import until, wait_until
from harness.servers import COMPONENT, DOMAIN, KINDS, SECRET

UNKNOWN = "unknown.example.org"


def until_refused(capsd, results):
    """Waits until capsd has been refused, for one of the causes."""
    wait_until(
        lambda: sum(capsd.metrics().total("capsd_component_connects_total", result=result) for result in results),
        lambda: f"capsd is refused for {results}; its log: {capsd.log()[-3000:]}",
    )
    return capsd.log().lower()


async def test_a_wrong_secret(server, make_capsd):
    capsd = make_capsd(server, secret="not-the-secret").start(linked=False)
    log = until_refused(capsd, ["auth"])
    assert "secret" in log
    assert COMPONENT in log
    assert "not-the-secret" not in log and SECRET not in log
    assert capsd.get("/healthz")[0] == 200
    assert capsd.metrics().total("capsd_component_up") == 0


async def test_an_unknown_host(server, make_capsd):
    """ejabberd says the same to an unknown host as to a wrong secret, so there the words name both causes."""
    capsd = make_capsd(server, jid=UNKNOWN).start(linked=False)
    log = until_refused(capsd, ["host-unknown"] if server.kind == "prosody" else ["auth", "host-unknown"])
    assert UNKNOWN in log
    assert {"prosody": "component", "ejabberd": "hosts"}[server.kind] in log


async def test_a_component_named_as_a_virtual_host(server, make_capsd):
    capsd = make_capsd(server, jid=DOMAIN).start(linked=False)
    log = until_refused(capsd, ["host-unknown", "conflict"])
    assert DOMAIN in log


async def test_a_wrong_secret_is_put_right_without_a_restart_of_the_server(server, make_capsd):
    capsd = make_capsd(server, secret="wrong-at-first").start(linked=False)
    until_refused(capsd, ["auth"])
    capsd.secret_file.write_text(SECRET + "\n")
    capsd.restart()
    assert capsd.metrics().total("capsd_component_up") == 1


@pytest.mark.parametrize("kind", ["prosody"], indirect=True)
async def test_a_second_connection_is_refused_and_gets_in_when_the_first_has_gone(server, make_capsd):
    first = make_capsd(server).start()
    second = make_capsd(server).start(linked=False)
    log = until_refused(second, ["conflict"])
    assert "already" in log or "another" in log
    assert first.metrics().total("capsd_component_up") == 1
    first.stop()
    second.wait_linked(timeout=10)


@pytest.mark.parametrize("kind", ["prosody"], indirect=True)
async def test_a_connection_that_is_replaced_says_so_and_tries_again(make_server, make_capsd):
    server = make_server(conflict="kick_old")
    first = make_capsd(server).start()
    make_capsd(server).start()
    await until(lambda: "conflict" in first.log(), "the log names the conflict")
    assert first.process.running
    assert first.get("/healthz")[0] == 200


@pytest.mark.parametrize("kind", ["ejabberd"], indirect=True)
async def test_two_connections_that_the_server_accepts_both_go_on(server, make_capsd, make_client):
    """ejabberd spreads stanzas at random over two connections of one component; whoever gets a query answers it."""
    # ejabberd tells its privileges at random, too, so one of them may wait in vain for that word.
    capsds = [make_capsd(server).start(linked=False) for _ in range(2)]
    for capsd in capsds:
        await until(lambda: capsd.metrics().total("capsd_component_up") == 1, "the link is up")
    asker = await make_client("asker").log_in()
    replies = [await asker.ask(sample("nothing").node_0115()) for _ in range(20)]
    assert {reply.reason for reply in replies} == {"unknown"}
    assert all(capsd.metrics().total("capsd_component_up") == 1 for capsd in capsds)


async def test_one_cache_beside_two_different_servers(server, make_capsd, make_client, tmp_path):
    """What was learned beside one server is a hit beside the other."""
    other = KINDS["ejabberd" if server.kind == "prosody" else "prosody"](tmp_path / "other")
    second = f"""
[[component]]
jid = "{COMPONENT}"
server = "127.0.0.1:{other.component_port}"
secret-env = "SECOND_SECRET"
domains = ["{DOMAIN}"]
"""
    try:
        other.start()
        capsd = make_capsd(server, more_components=second, environment={"SECOND_SECRET": SECRET}).start()
        await until(lambda: capsd.metrics().total("capsd_component_up") == 2, lambda: f"both links are up: {capsd.log()[-2000:]}")
        info = sample("shared")
        client, asker = make_client("client", info), make_client("asker", server=other)
        await log_in_all([client, asker])
        client.announce()
        await until_asked(client)
        await capsd.until_idle()
        assert (await asker.ask(info.node_0115())).info.covered() == info.covered()
        assert capsd.queries() == 1
    finally:
        other.kill()
