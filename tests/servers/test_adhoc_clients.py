"""Administrators use the ad-hoc commands from clients that people have: profanity and poezio, at their own keyboards."""

from urllib.parse import quote

import pytest

from harness.caps import sample
from harness.processes import wait_until
from harness.servers import COMPONENT, DOMAIN
from harness.terminals import Poezio, Profanity

INFO = sample("adhoc-client")
# Two pages of an export.
INFOS = [INFO, *(sample(f"adhoc-client-{number}") for number in range(9))]


@pytest.fixture
def terminal(request, server, make_capsd, tmp_path):
    """An administrator at a client, logged in, beside a capsd that knows some contents."""
    for info in INFOS:
        (tmp_path / f"sha-1_{quote('#' + info.ver(), safe='')}.xml").write_text(info.query())
    capsd = make_capsd(server, component_settings=f'admins = ["keeper@{DOMAIN}"]', resolver='resolve = "on-demand"').start()
    capsd.command("import", tmp_path)
    server.add_users(["keeper"])
    terminal = request.param(server, "keeper")
    terminal.capsd = capsd
    try:
        terminal.start()
        terminal.wait_for("keeper@")
        yield terminal
    finally:
        terminal.stop()


@pytest.mark.parametrize("terminal", [Profanity], ids=["profanity"], indirect=True)
def test_profanity_lists_and_executes_them(terminal):
    terminal.wait_for("logged in successfully")

    def order(line, *expected):
        terminal.type(line)
        terminal.press("Enter")
        terminal.wait_for(*expected)

    def listed():
        # It says no before it has heard what there is on its server.
        terminal.type(f"/cmd list {COMPONENT}")
        terminal.press("Enter")
        return all(f"urn:capsd:0:{name}" in terminal.screen() for name in ("status", "lookup", "export"))

    wait_until(listed, lambda: f"profanity lists the commands; it shows:\n{terminal.screen()}")
    order(f"/cmd exec urn:capsd:0:status {COMPONENT}", f"link {COMPONENT}", "learned: 10 contents")
    order(f"/cmd exec urn:capsd:0:lookup {COMPONENT}", "Look up a hash", "[field1] Hash: NODE#VER")
    order(f"/field1 {INFO.node_0115()}", "Field updated")
    order("/form submit", "learned, and proven by its hash", INFO.features[-1])
    # Profanity shows no note beside a form.
    order(f"/cmd exec urn:capsd:0:deny {COMPONENT}", "Deny a hash")
    order("/form submit", "Not done yet: the hash is missing")
    order(f"/field1 {INFO.node_0115()}", "Field updated")
    order('/field2 "tried from a client"', "(required): tried from a client")
    order("/form submit", "urn:capsd:0:deny completed", "done; it is kept over a restart")
    assert f"admin 1 of {COMPONENT}" in terminal.capsd.log()
    # The form of a page goes back whole, and the next one comes; the first one is longer than the screen.
    order(f"/cmd exec urn:capsd:0:export {COMPONENT}", "[field8]", "Use '/form submit'")
    order("/form submit", "2 contents; that is all")


@pytest.mark.parametrize("terminal", [Poezio], ids=["poezio"], indirect=True)
def test_poezio_lists_and_executes_them(terminal):
    terminal.wait_for("Your JID is")
    # The first key opens the line for commands.
    terminal.press("/")
    terminal.type(f"ad-hoc {COMPONENT}")
    terminal.press("Enter")
    terminal.wait_for("urn:capsd:0:status", "Look up a hash", "execute selected command")
    terminal.press("Enter")
    terminal.wait_for(f"link {COMPONENT}", "learned: 10 contents", "Ctrl+G: cancel")
    terminal.press("C-g")
    terminal.wait_for("execute selected command")
    terminal.press("Down", "Enter")
    terminal.wait_for("Hash: NODE#VER", "Ctrl+Y: send form")
    terminal.type(INFO.node_0115())
    terminal.press("C-y")
    terminal.wait_for("learned, and proven by its hash", INFO.features[-1])
