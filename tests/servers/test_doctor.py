"""`capsd doctor` finds each fault of a deployment, and says what to do; on real servers, with the daemon and without it."""

import json
import re
import resource
import socket
import socketserver
import threading
import time
from pathlib import Path

import pytest

from harness.caps import sample
from harness.processes import until
from harness.servers import COMPONENT, DOMAIN

ALWAYS = {"configuration", "daemon", "store", "http"}
LINKED = {"server", "privilege", "presence", "query", "listed", "clock"}


class Diagnosis:
    """What the doctor says."""

    def __init__(self, capsd, exit_code):
        self.found = json.loads(capsd.command("doctor", "--json", expect=exit_code))
        assert self.found["healthy"] == (exit_code == 0)
        self.findings = self.found["findings"]

    def of(self, check):
        """The only finding of a check."""
        (one,) = [finding for finding in self.findings if finding["check"] == check]
        return one

    @property
    def states(self):
        """Check to state."""
        return {finding["check"]: finding["state"] for finding in self.findings}

    def problems(self):
        """The checks that found a problem; each has a cause and a remedy."""
        found = [finding for finding in self.findings if finding["state"] == "problem"]
        assert all(finding["symptom"] and finding["cause"] and finding["remedy"] for finding in found), found
        return {finding["check"] for finding in found}


def without_privilege(kind, server_class_snippet):
    """The snippet without what grants anything: for Prosody the silent case."""
    if kind == "prosody":
        head, component = server_class_snippet.split("Component ")
        without = component.replace('modules_enabled = { "privilege" }', "")
        assert without != component
        return f"{head}Component {without}"
    return server_class_snippet.split("modules:\n")[0]


def with_domain(capsd, domain):
    text = capsd.config.read_text()
    capsd.config.write_text(text.replace(f'domains = ["{DOMAIN}"]', f'domains = ["{domain}"]'))


async def test_a_healthy_deployment(server, capsd, make_client):
    holder = await make_client("holder", sample("healthy")).log_in()
    heard = capsd.presences_heard()
    holder.announce()
    await capsd.until_heard(heard)
    diagnosis = Diagnosis(capsd, 0)
    assert diagnosis.states == dict.fromkeys(ALWAYS | LINKED, "fine")
    text = capsd.command("doctor")
    assert text.endswith("\n0 problems, 0 warnings\n")
    assert f"ok      query: a query to {COMPONENT} went through the server and back in" in text
    assert capsd.metrics().total("capsd_lookup_failures_total") == 0, "its own query is nobody's that was refused"


async def test_nobody_has_logged_in_yet(capsd):
    diagnosis = Diagnosis(capsd, 0)
    assert diagnosis.of("presence")["state"] == "warning"
    assert "log in with a client" in diagnosis.of("presence")["remedy"]


async def test_before_the_daemon_is_started(server, make_capsd):
    capsd = make_capsd(server)
    diagnosis = Diagnosis(capsd, 1)
    assert diagnosis.problems() == {"daemon"}
    assert "start it" in diagnosis.of("daemon")["remedy"]
    assert diagnosis.states["privilege"] == diagnosis.states["query"] == diagnosis.states["listed"] == "fine"
    # The visit left nothing behind.
    capsd.start()
    assert Diagnosis(capsd, 0).states["server"] == "fine"


@pytest.mark.parametrize("running", [True, False])
async def test_the_secret_is_wrong(server, make_capsd, running):
    capsd = make_capsd(server, secret="wrong")
    if running:
        capsd.start(linked=False)
        await until(lambda: "wrong secret" in capsd.get("/readyz")[1], "the link is refused")
    diagnosis = Diagnosis(capsd, 1)
    assert diagnosis.problems() == {"secret"} | (set() if running else {"daemon"})
    assert "component_secret" in diagnosis.of("secret")["remedy"]


@pytest.mark.parametrize("running", [True, False])
async def test_the_server_does_not_know_the_component(kind, server, make_capsd, running):
    capsd = make_capsd(server, jid=f"other.{DOMAIN}")
    if running:
        capsd.start(linked=False)
        await until(lambda: "refused the handshake" in capsd.get("/readyz")[1] or "unknown host" in capsd.get("/readyz")[1], "the link is refused")
    diagnosis = Diagnosis(capsd, 1)
    # ejabberd says the same as of a wrong secret.
    check = "component" if kind == "prosody" else "secret"
    assert diagnosis.problems() == {check} | (set() if running else {"daemon"})
    assert f"other.{DOMAIN}" in diagnosis.of(check)["remedy"]


@pytest.mark.parametrize("running", [True, False])
async def test_the_server_cannot_be_reached(server, make_capsd, running):
    capsd = make_capsd(server)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        capsd.config.write_text(capsd.config.read_text().replace(f":{server.component_port}", f":{port}"))
        if running:
            capsd.start(linked=False)
            await until(lambda: "network" in capsd.get("/readyz")[1], "the link is down")
        diagnosis = Diagnosis(capsd, 1)
    assert diagnosis.problems() == {"server"} | (set() if running else {"daemon"})
    assert "see whether the server runs" in diagnosis.of("server")["remedy"]


@pytest.fixture(scope="module")
def silent(kind, server, make_server):
    """A server that grants nothing."""
    return make_server(snippet=without_privilege(kind, server.snippet))


@pytest.mark.parametrize("running", [True, False])
async def test_nothing_is_granted(silent, make_capsd, running):
    capsd = make_capsd(silent)
    if running:
        capsd.start(linked=False)
        await until(lambda: capsd.get("/readyz")[0] == 200, "the link is up")
    diagnosis = Diagnosis(capsd, 1)
    assert diagnosis.problems() == {"privilege"} | (set() if running else {"daemon"})
    assert diagnosis.states["query"] == "fine"
    assert "`privilege` is missing in `modules_enabled` of Component" in diagnosis.of("privilege")["cause"]
    assert "/usr/share/capsd/prosody/capsd.cfg.lua" in diagnosis.of("privilege")["remedy"]


@pytest.mark.parametrize("kind", ["prosody"], indirect=True, scope="module")
async def test_the_virtual_host_lacks_privilege(server, make_server, make_capsd):
    """Prosody's other silent case."""
    line = '\tmodules_enabled = { "privilege" }\n'
    assert server.snippet.count(line) == 2
    capsd = make_capsd(make_server(snippet=server.snippet.replace(line, "", 1))).start(linked=False)
    await until(lambda: capsd.get("/readyz")[0] == 200, "the link is up")
    diagnosis = Diagnosis(capsd, 1)
    assert diagnosis.problems() == {"privilege"}
    assert f'or of VirtualHost "{DOMAIN}"' in diagnosis.of("privilege")["cause"]


async def test_presence_is_not_granted(kind, server, make_server, make_capsd):
    before, after = {"prosody": ('presence = "managed_entity"', 'presence = "none"'), "ejabberd": ("    presence:\n      managed_entity: caps_privileges\n", "    message:\n      outgoing: caps_privileges\n")}[kind]
    assert before in server.snippet
    capsd = make_capsd(make_server(snippet=server.snippet.replace(before, after))).start()
    diagnosis = Diagnosis(capsd, 1)
    assert diagnosis.problems() == {"privilege"}
    assert "does not grant presence" in diagnosis.of("privilege")["symptom"]


async def test_questions_are_not_granted(kind, server, make_server, make_capsd):
    """All works; what could be granted besides is named for each server."""
    before = {"prosody": 'iq = { ["http://jabber.org/protocol/disco#info"] = "get" };', "ejabberd": ""}[kind]
    assert before in server.snippet
    capsd = make_capsd(make_server(snippet=server.snippet.replace(before, ""))).start()
    privilege = Diagnosis(capsd, 0).of("privilege")
    assert privilege["state"] == "fine" and f"asked from {COMPONENT} itself" in privilege["symptom"]
    for words in ('`iq = { ["http://jabber.org/protocol/disco#info"] = "get" };`', f'VirtualHost "{DOMAIN}"', "ejabberd from 24.10 on"):
        assert words in privilege["remedy"]


async def test_the_component_is_no_subdomain(server, make_server, make_capsd):
    other = "caps.elsewhere.test"
    capsd = make_capsd(make_server(snippet=server.snippet.replace(COMPONENT, other)), jid=other).start()
    diagnosis = Diagnosis(capsd, 0)
    assert diagnosis.of("listed")["state"] == "warning"
    assert f"{DOMAIN} does not list {other}" in diagnosis.of("listed")["symptom"]
    assert diagnosis.states["privilege"] == diagnosis.states["query"] == "fine"


async def test_two_have_the_same_name(kind, server, make_server, make_capsd):
    if kind == "prosody":
        server = make_server(conflict="kick_old")
        make_capsd(server).start()
        other = make_capsd(server).start(linked=False)
        await until(lambda: "conflict" in other.get("/readyz")[1], "the second one is refused")
        diagnosis = Diagnosis(other, 1)
        assert diagnosis.problems() == {"server"}
        assert "stop the other capsd" in diagnosis.of("server")["remedy"]
        return
    # ejabberd lets both in, and shares out what is sent to them: one of several queries comes back to the other one.
    one, other = make_capsd(server).start(), make_capsd(server).start(linked=False)
    await until(lambda: other.get("/readyz")[0] == 200, "both are up")
    lost = lambda: "query" in {f["check"] for f in json.loads(one.command("doctor", "--json", expect=None))["findings"] if f["state"] == "problem"}
    assert any(lost() for _ in range(20)), "nothing was noticed"


async def test_the_store_has_no_place(server, make_capsd):
    capsd = make_capsd(server, store='path = "/dev/null/store"')
    diagnosis = Diagnosis(capsd, 1)
    assert diagnosis.problems() == {"daemon", "store"}
    assert "make /dev/null/store for the user that capsd runs as" in diagnosis.of("store")["remedy"]


async def test_the_port_of_http_is_taken(server, make_capsd):
    capsd = make_capsd(server)
    with socket.socket() as other:
        other.bind(("127.0.0.1", capsd.http_port))
        other.listen()
        diagnosis = Diagnosis(capsd, 1)
        assert diagnosis.problems() == {"daemon", "http"}
        assert "choose another http.listen" in diagnosis.of("http")["remedy"]


async def test_the_clock_of_this_machine_is_wrong(server, make_capsd):
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    wrong = {"LD_PRELOAD": str(library), "FAKETIME": "-2h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    capsd = make_capsd(server, environment=wrong).start()
    diagnosis = Diagnosis(capsd, 1)
    assert diagnosis.problems() == {"clock"}
    apart = re.search(r"(\d+) seconds apart", diagnosis.of("clock")["symptom"])
    assert 7195 <= int(apart[1]) <= 7205
    assert "timedatectl" in diagnosis.of("clock")["remedy"]


async def test_the_store_takes_no_more(server, make_capsd, make_client):
    """A limit stands for the end of the disk: files of the daemon cannot grow."""
    capsd = make_capsd(server)
    capsd.process.command = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh", *capsd.process.command]
    capsd.start()
    process = capsd.process.child.pid
    _, most = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (0, most))
    holder = await make_client("filling", sample("filling")).log_in()
    holder.announce()
    await until(lambda: "ready, degraded" in capsd.get("/readyz")[1], "the store takes no more")
    diagnosis = Diagnosis(capsd, 1)
    assert diagnosis.problems() == {"store"}
    assert "File too large" in diagnosis.of("store")["cause"]
    assert f"see to the disk of {capsd.store}" in diagnosis.of("store")["remedy"]
    resource.prlimit(process, resource.RLIMIT_FSIZE, (most, most))
    await until(lambda: "degraded" not in capsd.get("/readyz")[1], "the daemon has tried again by itself", timeout=60)
    assert Diagnosis(capsd, 0).of("store")["symptom"].startswith("1 contents on disk")


async def test_all_connections_of_http_are_taken(server, make_capsd):
    capsd = make_capsd(server)
    listens = f'listen = "127.0.0.1:{capsd.http_port}"'
    capsd.config.write_text(capsd.config.read_text().replace(listens, f'{listens}\nconnections = 2\ntimeout = "60s"'))
    capsd.start()
    with socket.create_connection(("127.0.0.1", capsd.http_port)), socket.create_connection(("127.0.0.1", capsd.http_port)):
        await until(lambda: not answers(capsd), "all connections are taken")
        diagnosis = Diagnosis(capsd, 1)
        assert diagnosis.problems() == {"http"}
        assert f"http://127.0.0.1:{capsd.http_port}/ does not answer" in diagnosis.of("http")["symptom"]
        assert "as many connections as http.connections allows are open" in diagnosis.of("http")["cause"]
    await until(lambda: answers(capsd), "connections are free again")
    assert Diagnosis(capsd, 0).of("http")["state"] == "fine"


def answers(capsd):
    """Whether HTTP answers."""
    try:
        return capsd.get("/healthz")[0] == 200
    except OSError:
        return False


async def test_the_configuration_is_at_fault_while_the_daemon_runs(capsd):
    capsd.config.write_text(capsd.config.read_text() + "\n[limits]\nflights = 0\nnonsense = 1\n")
    diagnosis = Diagnosis(capsd, 2)
    faults = [finding for finding in diagnosis.findings if finding["check"] == "configuration"]
    assert len(faults) == 2 and "`limits.flights` is 0" in faults[0]["symptom"]
    assert diagnosis.states["daemon"] == diagnosis.states["privilege"] == "fine"


class Pretender(socketserver.ThreadingUnixStreamServer):
    """A daemon that says what the test wants it to."""

    daemon_threads = True

    def __init__(self, path, **changes):
        self.answers = {
            "status": {
                "is": "status", "version": "0.1.0", "process": 1, "store": "/srv/store", "memory-only": None, "entries": 0, "bytes": 0,
                "trusted": 0, "denied": 0, "pinned": 0, "uptime-seconds": 99,
                "links": [{"name": COMPONENT, "jid": COMPONENT, "server": "127.0.0.1:1", "down": None, "up-seconds": 99, "presences": 1,
                           "domains": [{"name": DOMAIN, "told": True, "presence": True, "disco-info": True}]}],
                "counts": {"lookups": {}, "questions": 0, "flights": 0, "waiters": 0, "holders": 0, "hot-entries": 0, "hot-bytes": 0},
            },
            "examine": {"is": "examined", "clock": int(time.time()), "http": "127.0.0.1:1",
                        "links": [{"round-trip-ms": 1, "listed": True, "server-clock": int(time.time())}]},
        }
        for name, change in changes.items():
            change(self.answers[name])
        super().__init__(str(path), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                answer = self.server.answers[json.loads(line)["do"]]
                self.wfile.write(json.dumps(answer).encode() + b"\n")


@pytest.mark.parametrize(
    "check, state, said, changes",
    [
        ("clock", "fine", "load `time`", {"examine": lambda a: a["links"][0].update({"server-clock": None})}),
        ("daemon", "warning", "version 0.0.7 runs", {"status": lambda a: a.update(version="0.0.7")}),
        ("query", "problem", "another connection holds", {"examine": lambda a: a["links"][0].update({"round-trip-ms": None})}),
        ("listed", "warning", "extra_domains", {"examine": lambda a: a["links"][0].update(listed=False)}),
        ("listed", "warning", "look with a client", {"examine": lambda a: a["links"][0].update(listed=None)}),
        ("http", "problem", "does not answer", {}),
    ],
)
def test_what_a_daemon_tells(server, make_capsd, check, state, said, changes):
    """What cannot be had on a healthy machine is told by a pretended daemon."""
    capsd = make_capsd(server)
    with Pretender(capsd.directory / "socket", **changes) as pretender:
        diagnosis = Diagnosis(capsd, 1)
        pretender.shutdown()
    one = diagnosis.of(check)
    assert one["state"] == state and said in " ".join(one.values()), one
    # Nobody listens at the port that it names.
    assert diagnosis.problems() == {"http"} | ({check} if state == "problem" else set())
