"""capsd under a service manager, by the unit that is shipped: what it tells the manager, and what the manager then does."""

import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from harness import readme
from harness.daemon import binary
from harness.hanging import hanging
from harness.processes import free_ports, wait_until
from harness.servers import REPOSITORY, SECRET
from harness.supervisor import Supervisor

UNIT = REPOSITORY / "deploy/systemd/capsd.service"


@pytest.fixture
def supervise(tmp_path):
    """Makes a capsd that runs by the unit, in directories below `tmp_path` and as the user of the tests; its secret is a credential."""
    made = []

    def make(component_port=1, secret=SECRET, control="run/capsd/control.sock", **options):
        if secret is not None:
            (tmp_path / "etc/capsd").mkdir(parents=True)
            (tmp_path / "etc/capsd/secret").write_text(secret + "\n")
            (tmp_path / "etc/capsd/secret").chmod(0o600)
        port, = free_ports(1)
        config = tmp_path / "capsd.toml"
        config.write_text(
            f'[[component]]\njid = "caps.example.org"\nserver = "127.0.0.1:{component_port}"\n'
            f'[store]\npath = "{tmp_path}/var/lib/capsd"\n[http]\nlisten = "127.0.0.1:{port}"\n'
            f'[trusted]\ndirectories = []\n[control]\nsocket = "{tmp_path}/{control}"\n'
        )
        supervisor = Supervisor(tmp_path, UNIT, root=tmp_path, program=binary(), arguments=["--config", str(config)], user=False, **options)
        supervisor.http_port, supervisor.config = port, config
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        supervisor.kill()


def answers(supervisor):
    with urllib.request.urlopen(f"http://127.0.0.1:{supervisor.http_port}/healthz", timeout=5) as response:
        return response.status == 200


def test_the_unit_is_confined():
    """At most 1.5 of 10, and no setting that systemd does not know or cannot read."""
    judged = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT], capture_output=True, text=True)
    score = re.search(r"exposure level for capsd.service: ([\d.]+)", judged.stdout)
    assert score, judged
    assert float(score[1]) <= 1.5
    assert f"(`systemd-analyze security capsd`: {score[1]})" in readme.TEXT
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", UNIT], capture_output=True, text=True)
    complaints = [line for line in verified.stderr.splitlines() if "capsd" in line and "/usr/bin/capsd is not executable" not in line]
    assert not complaints, complaints


def test_a_service_is_ready_once_it_serves(server, supervise):
    supervisor = supervise(server.component_port).start().wait_ready()
    assert answers(supervisor)
    assert supervisor.messages[0] == "READY=1"
    assert supervisor.status.startswith("ready; store: on disk; link caps.example.org: up")
    state, runtime = (supervisor.root / path for path in ["var/lib/capsd", "run/capsd"])
    assert (state.stat().st_mode & 0o777, runtime.stat().st_mode & 0o777) == (0o700, 0o750)
    assert {path.stat().st_mode & 0o077 for path in state.rglob("*") if path.is_file()} == {0}
    assert (runtime / "control.sock").stat().st_mode & 0o777 == 0o660
    server.process.child.send_signal(signal.SIGSTOP)  # It hangs, and capsd does not wait for it
    try:
        assert supervisor.stop() == 0
    finally:
        server.process.child.send_signal(signal.SIGCONT)
    assert "STOPPING=1" in supervisor.messages


def test_a_server_that_is_not_there_holds_up_no_start(supervise):
    supervisor = supervise().start().wait_ready(timeout=4)
    assert supervisor.status.startswith("not ready; store: on disk; link caps.example.org: down: ")
    assert "not connected yet" not in supervisor.status


def test_a_server_that_says_nothing_holds_up_a_start_for_five_seconds(supervise):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        supervisor = supervise(silent.getsockname()[1]).start()
        began = time.monotonic()
        supervisor.wait_ready()
    assert 4 < time.monotonic() - began < 12
    assert "link caps.example.org: down: not connected yet" in supervisor.status


def test_a_reload_is_told_and_so_is_its_end(supervise):
    supervisor = supervise().start().wait_ready()
    heard = len(supervisor.messages)
    supervisor.child.send_signal(signal.SIGHUP)
    wait_until(lambda: "READY=1" in supervisor.messages[heard:], "the reload has ended")
    said = [line for line in supervisor.messages[heard:] if not line.startswith("STATUS=")]
    assert [line.split("=")[0] for line in said] == ["RELOADING", "MONOTONIC_USEC", "READY"]
    assert "configuration read again" in supervisor.log()


def test_the_units_reload_fails_where_the_configuration_is_at_fault(supervise):
    supervisor = supervise().start().wait_ready()
    assert supervisor.reload().returncode == 0
    supervisor.config.write_text(supervisor.config.read_text() + "[log]\nlevel = 'loud'\n")
    refused = supervisor.reload()
    assert refused.returncode == 2 and "log.level" in refused.stderr, refused
    assert answers(supervisor) and supervisor.starts == 1


def test_the_units_reload_finds_a_control_socket_that_is_elsewhere(supervise):
    supervisor = supervise(control="run/capsd/elsewhere.sock").start().wait_ready()
    supervisor.config.write_text(supervisor.config.read_text() + "[log]\nlevel = 'debug'\n")
    reloaded = supervisor.reload()
    assert reloaded.returncode == 0 and "applied: log.level" in reloaded.stdout, reloaded
    assert "control.sock" not in supervisor.unit.one("ExecReload")


def test_an_http_port_that_is_taken_is_waited_for(supervise):
    """As an address that comes late: the service is started again until it can listen."""
    supervisor = supervise()
    with socket.create_server(("127.0.0.1", supervisor.http_port)):
        supervisor.start()
        wait_until(lambda: supervisor.starts >= 2, "it is started again")
        assert not supervisor.stopped and "READY=1" not in supervisor.messages
    supervisor.wait_ready()
    assert answers(supervisor)
    assert f"http.listen: 127.0.0.1:{supervisor.http_port} cannot be listened on" in supervisor.log()


def test_a_fault_in_the_configuration_ends_the_service_for_good(supervise):
    supervisor = supervise(secret=None).start()
    wait_until(lambda: supervisor.stopped, "the service has ended")
    assert (supervisor.child.returncode, supervisor.starts) == (2, 1)
    assert "READY=1" not in supervisor.messages
    assert "which is empty" in supervisor.log() and "/etc/capsd/secret" in supervisor.log()


@pytest.mark.parametrize("name", ["tiers", "tokio-rt-worker"])
def test_a_hung_thread_misses_the_watchdog(supervise, name):
    """One that hangs for a while is missed for that while; one that goes on hanging costs the process, and another one is started."""
    supervisor = supervise(watchdog=3).start().wait_ready()
    wait_until(lambda: len(supervisor.beats) >= 3, "the watchdog is told")
    first = supervisor.child.pid
    with hanging(first, name):
        time.sleep(0.3)
        held = time.monotonic()
        # One was due; with it the watchdog is missed by far not yet.
        time.sleep(1.2)
        assert supervisor.beats[-1] < held, "beats go on while the thread hangs"
    wait_until(lambda: supervisor.beats[-1] > held, "the watchdog is told again")
    assert (supervisor.watchdog_hits, supervisor.starts) == (0, 1)
    with hanging(first, name):
        # Seized threads die with their process all the same.
        wait_until(lambda: supervisor.watchdog_hits == 1, "the watchdog is missed")
    wait_until(lambda: supervisor.starts == 2 and supervisor.ready_since, "another one is ready", timeout=20)
    assert supervisor.child.pid != first and answers(supervisor)
