"""What operators and newcomers are given: the snippets, the demonstration, the pages. What stands in README is run by test_readme."""

import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from harness import readme
from harness.caps import sample
from harness.client import log_in_all, until_asked
from harness.processes import Process, wait_until
from harness.servers import COMPONENT, DOMAIN, REPOSITORY, Ejabberd

STANDARD_PORTS = {4369, 5222, 5223, 5269, 5270, 5280, 5281, 5347, 5443, 9116}


def listening_ports(pid):
    """(address, port) in hexadecimal, as /proc shows them, for every TCP socket on which this process listens."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.add((address, int(port, 16)))
    return found


def test_private_servers_listen_on_their_own_loopback_ports_only(server):
    ports = listening_ports(server.process.child.pid)
    own = {server.client_port, server.component_port}
    if server.kind == "ejabberd":
        # Where its commands and WebSockets are served.
        own.add(server.command_port)
    assert {port for _, port in ports} == own
    assert {address for address, _ in ports} == {"0100007F"}
    assert not {port for _, port in ports} & STANDARD_PORTS


def test_the_snippets_ask_for_the_least_privilege():
    prosody = (REPOSITORY / "deploy/prosody/capsd.cfg.lua").read_text()
    ejabberd = (REPOSITORY / "deploy/ejabberd/capsd.yml").read_text()
    in_force = re.sub(r"(--|#).*", "", prosody.replace("disco#info", "disco-info") + ejabberd)
    assert in_force.count("managed_entity") == 2
    assert not re.search(r"\broster\b|\bmessage\b|outgoing|both", in_force)


async def test_the_snippet_grants_what_capsd_needs(server, capsd, make_client):
    """Beside Prosody capsd may ask from the user's own account; beside ejabberd before 24.10 it asks as itself."""
    info = sample("granted")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce()
    await until_asked(client)
    assert (await asker.ask(info.node_0115())).info.covered() == info.covered()
    sender = client.caps_questions[0].sender
    assert sender == ({"prosody": client.bare, "ejabberd": COMPONENT}[server.kind])


@pytest.mark.parametrize("kind", ["ejabberd"], indirect=True)
def test_the_line_for_later_versions_of_ejabberd(kind, tmp_path):
    """Without the comment sign it is well-formed, and older versions refuse it by name, as the comment says."""
    snippet = (REPOSITORY / "deploy/ejabberd/capsd.yml").read_text().replace("# iq: ", "iq: ")
    assert "\n    iq: {" in snippet
    version = tuple(int(part) for part in re.findall(r"\d+", max(Path("/usr/lib").glob("*/ejabberd-*")).name)[:2])
    server = Ejabberd(tmp_path, snippet=snippet)
    try:
        if version >= (24, 10):
            server.start()
            return
        server.process.start()
        wait_until(lambda: not server.process.running, "ejabberd refuses to start")
        assert re.search(r"unknown.*iq", server.process.text().lower())
    finally:
        server.kill()


def demonstration(kind, directory, *options):
    """deploy/demo.sh as a process of its own group, with its files below `directory`."""
    environment = dict(os.environ, TMPDIR=str(directory))
    command = [str(REPOSITORY / "deploy/demo.sh"), "--server", kind, *options]
    return Process("deploy/demo.sh", command, directory / "output.txt", environment)


def left_behind(directory):
    """Processes whose command line mentions the directory, and what is left in it."""
    processes = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in words:
            processes.append(words)
    return processes, [path.name for path in directory.iterdir() if path.name != "output.txt"]


def test_the_demonstration(kind, tmp_path):
    demo = demonstration(kind, tmp_path)
    demo.start()
    code = demo.child.wait(timeout=100)
    text = demo.text()
    assert code == 0, text
    told = " ".join(text.split())
    if kind == "prosody":
        # Whom capsd asks is not always the same.
        anybody = lambda text: re.sub(r"asked \w+@", "asked anna@", text)
        readme.assert_told(anybody(text), anybody(readme.block("3. Five clients log in")))
    assert "1 question for the 3 clients with this hash" in told
    assert "1 question for the 2 clients with this hash" in told
    assert re.search(r"a second time: [\d.]+ ms, a `hit`", told)
    assert "Questions to clients since the start: 0." in told
    assert "capsd_lookups_total" in told
    assert left_behind(tmp_path) == ([], [])


def test_the_demonstration_kept_running_until_ctrl_c(kind, tmp_path):
    demo = demonstration(kind, tmp_path, "--keep")
    demo.start()
    try:
        wait_until(lambda: "Ctrl-C" in demo.text() or not demo.running, "the demonstration has been told", timeout=100)
        url = re.search(r"http://127\.0\.0\.1:\d+/metrics", demo.text())
        assert url, demo.text()
        with urllib.request.urlopen(url[0], timeout=5) as response:
            assert b"capsd_build_info" in response.read()
        os.killpg(demo.child.pid, signal.SIGINT)
        assert demo.child.wait(timeout=30) == 0, demo.text()
    finally:
        demo.kill()
    assert "Traceback" not in demo.text()
    assert left_behind(tmp_path) == ([], [])
    assert DOMAIN in demo.text()


async def test_the_readme_names_metrics_and_keys_that_exist(capsd):
    # A histogram is known by the name that its series begin with.
    names = {name.removesuffix("_bucket") for name, _ in capsd.metrics()}
    assert set(re.findall(r"capsd_\w+", readme.section("Watch"))) <= names

    example = (REPOSITORY / "config/capsd.toml").read_text()
    offered = set(re.findall(r"^#?([a-z0-9-]+) = ", example, re.MULTILINE)) | {"secret-env"}
    rows = [row.split("|") for row in readme.section("Configuration").splitlines() if row.startswith("|")][2:]
    described = {key for row in rows for key in re.findall(r"`([a-z0-9-]+)`", row[2])}
    assert described | {"secret-env"} == offered


@pytest.mark.parametrize(("name", "least"), [("threat-model.md", 80), ("privacy.md", 10)])
def test_the_pages_name_tests_that_exist(name, least):
    """Each name in the column of tests is that of a function of ours, where the module is named in that module, or of a scenario."""
    page = (REPOSITORY / "deploy" / name).read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("|")]
    names = {name for row in rows if len(row) == 6 for name in re.findall(r"`([a-z0-9_.:-]+)`", row[3])}
    assert len(names) > least
    functions = {}
    for source in [*REPOSITORY.glob("tests/**/*.rs"), *REPOSITORY.glob("src/**/*.rs"), *REPOSITORY.glob("tests/*/test_*.py")]:
        for function in re.findall(r"\b(?:fn|def) ([a-z0-9_]+)\(", source.read_text()):
            functions.setdefault(function, set()).add(source.stem)
    for name in names:
        if name.endswith(".scenario"):
            assert (REPOSITORY / "tests/scenarios/scripts" / name).exists(), name
            continue
        *modules, function = name.split("::")
        assert function in functions, name
        assert set(modules[-1:]) <= functions[function], name
