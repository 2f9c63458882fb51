"""Clients that people use: what capsd serves for each equals what the client itself answers, in everything that the hash covers."""

from pathlib import Path

import pytest
from slixmpp import ClientXMPP

from harness.caps import CAPS_0115
from harness.processes import until, wait_until
from harness.servers import PASSWORD
from harness.terminals import TERMINALS, Shell


def announcements(observer):
    """What the other session of the observer's account has announced, in order: (address, `<c/>` element)."""
    found = [(presence.get("from"), presence.find(f"{{{CAPS_0115}}}c")) for presence in observer.presences]
    return [(address, c) for address, c in found if c is not None and address != observer.jid]


async def compare(capsd, observer):
    """Asks capsd for the latest hash that was announced, asks the client itself, and compares."""
    await until(lambda: announcements(observer), "the client announces caps")
    await capsd.until_metric("capsd_verifications_total", 1, result="ok")
    await capsd.until_idle()
    address, c = announcements(observer)[-1]
    node = f"{c.get('node')}#{c.get('ver')}"
    served = await observer.ask(node)
    own = await observer.ask(node, to=address)
    assert served.info.covered() == own.info.covered()
    assert served.info.ver() == c.get("ver")


@pytest.fixture
def terminal(request, server):
    server.add_users([f"{request.param.name}-user"])
    terminal = request.param(server, f"{request.param.name}-user")
    yield terminal
    terminal.stop()


@pytest.mark.parametrize("terminal", TERMINALS, ids=lambda terminal: terminal.name, indirect=True)
async def test_a_client_for_terminals(capsd, make_client, terminal):
    # Another session of the same account is told what the client announces.
    observer = await make_client(f"{terminal.name}-user", resource="observer").log_in()
    observer.announce_nothing()
    terminal.start()
    try:
        await compare(capsd, observer)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{terminal.screen()}") from error
    if terminal.name == "profanity":
        assert len({c.get("ver") for _, c in announcements(observer)}) >= 2, "it announces two hashes, one after the other"
        assert capsd.metrics().total("capsd_announcements_unverified_total") >= 1
    else:
        assert capsd.metrics().total("capsd_announcements_unverified_total") == 0


async def test_slixmpp(capsd, server, make_client):
    observer = await make_client("slixmpp-user", resource="observer").log_in()
    observer.announce_nothing()
    options = {"feature_mechanisms": {"use_mech": "PLAIN", "unencrypted_plain": True}}
    client = ClientXMPP(f"{observer.bare}/slixmpp", PASSWORD, plugin_config=options)
    client.auto_reconnect = client.enable_direct_tls = client.enable_starttls = False
    client.enable_plaintext = True
    for plugin in ("xep_0030", "xep_0115", "xep_0199", "xep_0092"):
        client.register_plugin(plugin)

    async def begin(_):
        await client.plugin["xep_0115"].update_caps(jid=client.boundjid)
        client.send_presence()

    client.add_event_handler("session_start", begin)
    client.connect("127.0.0.1", server.client_port)
    try:
        await compare(capsd, observer)
    finally:
        await client.disconnect()


def test_a_terminal_leaves_no_client_behind():
    """Not one either that goes on without its terminal, as poezio does at times."""
    shell = Shell(None, "nobody")
    try:
        shell.start()
        process = Path("/proc", shell.tmux("display-message", "-p", "#{pane_pid}").strip())
        shell.order("trap '' HUP; exec sleep 1000")
        wait_until(lambda: (process / "comm").read_text() == "sleep\n", "it sleeps and ignores that its terminal is gone")
    finally:
        shell.stop()
    wait_until(lambda: not process.exists(), "it is gone", timeout=10)
