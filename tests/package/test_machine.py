"""The Debian package on real Debian 12 machines with a real systemd: its life from installation to purge, and the trial of a new operator
beside a server that he has already. Runs with CAPSD_LONG=1 (tests/run.sh --long), as root, after deploy/build.sh --deb."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from harness import readme
from harness.processes import wait_until
from machine import REPOSITORY, Machine

# Where the package is; CAPSD_DIST names another directory.
DIST = Path(os.environ.get("CAPSD_DIST", REPOSITORY / "target/dist"))
# A content that does not come with the package: the example of XEP-0115 section 5.2.
EXODUS = REPOSITORY / "tests/caps/documents/xep0115-simple.xml"
NODE = "http://code.google.com/p/exodus#QgayPKawpkPSDYmwT/WM94uAlu0="


def package():
    """The package of this version."""
    found, = DIST.glob("capsd_*.deb")
    return found


@pytest.fixture
def machine(tmp_path):
    """Makes a machine of some kind with the package in /root, booted; it is removed after the test."""
    made = []

    def make(kind, *more):
        made.append(Machine(tmp_path, kind, [package(), *more]))
        return made[-1].boot()

    yield make
    for each in made:
        each.remove()


def test_lintian_has_nothing_to_say():
    """No error, no warning; each exception stands with its reason in deploy/debian/lintian-overrides."""
    judged = subprocess.run(["lintian", "--fail-on=error,warning", "--info", package()], capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    overrides = (REPOSITORY / "deploy/debian/lintian-overrides").read_text().splitlines()
    for before, line in zip([""] + overrides, overrides):
        assert not line or line.startswith("#") or before.startswith("#"), f"no reason stands before {line}"


def test_what_is_in_the_package():
    listed = subprocess.run(["dpkg-deb", "--contents", package()], capture_output=True, text=True, check=True).stdout
    paths = {line.split()[5]: line.split()[0] for line in listed.splitlines()}
    for path in [
        "usr/bin/capsd", "etc/capsd/capsd.toml", "usr/share/man/man1/capsd.1.gz", "usr/share/man/man5/capsd.toml.5.gz",
        "usr/share/bash-completion/completions/capsd", "usr/share/zsh/vendor-completions/_capsd", "usr/share/fish/vendor_completions.d/capsd.fish",
        "usr/share/capsd/prosody/capsd.cfg.lua", "usr/share/capsd/prosody/mod_capsd.lua", "usr/share/capsd/ejabberd/capsd.yml",
        "usr/share/capsd/ejabberd/mod_capsd/src/mod_capsd.erl", "usr/share/capsd/dashboards/overview.json", "usr/share/capsd/dashboards/alerts.yml", "usr/share/capsd/trusted/clients.tsv",
        "usr/share/doc/capsd/copyright", "usr/share/doc/capsd/privacy.md", "usr/lib/sysusers.d/capsd.conf",
    ]:
        assert f"./{path}" in paths, path
    trusted = {path.removeprefix("./usr/share/capsd/trusted/") for path in paths if "/trusted/hashes/" in path and not path.endswith("/")}
    for tree in ("prosody", "ejabberd"):
        sources = {str(file.relative_to(REPOSITORY / "deploy")) for file in (REPOSITORY / "deploy" / tree).rglob("*") if file.is_file()}
        assert sources <= {path.removeprefix("./usr/share/capsd/") for path in paths}
    assert trusted == {f"hashes/{file.name}" for file in (REPOSITORY / "config/trusted/hashes").iterdir()}
    # Nothing can be written by others, and nothing but the program can be run.
    assert {mode[5] + mode[8] for mode in paths.values()} == {"--"}
    assert [path for path, mode in paths.items() if mode[0] == "-" and "x" in mode] == ["./usr/bin/capsd"]


def test_install_upgrade_remove_purge(machine, tmp_path):
    newer = tmp_path / "newer.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", package(), tmp_path / "raw"], check=True)
    control = tmp_path / "raw/DEBIAN/control"
    control.write_text(re.sub(r"^Version: (.*)$", r"Version: \1+newer", control.read_text(), flags=re.MULTILINE))
    # Modes of the tree are those of the package as it was.
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tmp_path / "raw", newer], check=True, stdout=subprocess.DEVNULL)
    vm = machine("base", newer, EXODUS)

    # Installed: enabled and not started, for nobody knows domain and secret yet.
    told = vm.do(f"dpkg -i {package().name}")
    assert "/etc/capsd/secret" in told
    assert vm.do("systemctl is-enabled capsd").strip() == "enabled"
    assert vm.do("systemctl is-active capsd", expect=3).strip() == "inactive"
    assert vm.do("id -u capsd; stat -c %U:%a /etc/capsd/capsd.toml").split()[1] == "root:644"
    # Started without a secret it says what is missing, and is not started again and again.
    vm.do("systemctl start capsd", expect=1)
    assert "/etc/capsd/secret" in vm.journal()
    assert vm.do("systemctl show -P NRestarts capsd").strip() == "0"

    vm.do("(umask 077; echo secret > /etc/capsd/secret); echo '# edited' >> /etc/capsd/capsd.toml")
    # By a name, for confined as it is it must still be able to resolve one.
    vm.do("sed -i 's/127.0.0.1:5347/localhost:5347/' /etc/capsd/capsd.toml; systemctl start capsd")
    assert re.search("link caps.example.org: down: .*refused", vm.do("systemctl show -P StatusText capsd"))
    # What the process says of itself comes from /proc, of which it sees as much as it needs.
    read = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9116/metrics').read().decode())"
    metrics = vm.within_its_network(sys.executable, "-c", read)
    for name in ["start_time_seconds", "resident_memory_bytes", "open_fds", "max_fds", "threads"]:
        assert float(re.search(rf"^process_{name} (\S+)$", metrics, re.MULTILINE)[1]) > 0, name
    assert vm.do("stat -c %U:%a /var/lib/capsd /run/capsd /run/capsd/control.sock").split() == ["capsd:700", "capsd:750", "capsd:660"]
    assert vm.do("ps -o user= -C capsd").strip() == "capsd"
    # A user of the machine may not speak to the daemon, a member of its group may.
    vm.do("useradd somebody; runuser -u somebody capsd status", expect=2)
    vm.do("adduser --quiet somebody capsd; runuser -u somebody capsd status")
    # `capsd check` by the operator reads the same secret.
    vm.do("capsd check")
    vm.do("systemctl reload capsd")
    assert "configuration read again" in vm.journal()
    vm.do("cp /etc/capsd/capsd.toml good; echo nonsense >> /etc/capsd/capsd.toml")
    vm.do("systemctl reload capsd", expect=1)
    vm.do("cp good /etc/capsd/capsd.toml; systemctl is-active capsd")
    # Content that survives what follows.
    vm.do(f"mkdir contents; mv {EXODUS.name} contents/{quote('sha-1_' + NODE, safe='')}.xml; capsd import contents; capsd sync")
    look_up = f"capsd lookup '{NODE}'"
    assert "Exodus" in vm.do(look_up)

    # Upgraded: restarted with the store and the configuration as they were.
    first = vm.do("systemctl show -P MainPID capsd")
    vm.do("dpkg -i --force-confdef newer.deb")
    assert vm.do("systemctl is-active capsd").strip() == "active"
    assert vm.do("systemctl show -P MainPID capsd") != first
    assert "# edited" in vm.do("tail -1 /etc/capsd/capsd.toml")
    assert "Exodus" in vm.do(look_up)

    # Without the daemon its user exports, who may not read the secret, with the line of the README; root is told so.
    vm.do("systemctl stop capsd")
    (line,) = re.findall("`(runuser -u capsd -- capsd export [^`]+)`", (REPOSITORY / "README.md").read_text())
    assert "1 contents in" in vm.do(line)
    # It is whoever exports who keeps it.
    vm.do("rm -r /var/tmp/database")
    vm.do("capsd export /root/database", expect=2)
    user = vm.do("id -u capsd").strip()
    assert f"all in it belong to user {user}" in vm.do("capsd doctor", expect=1)

    # Removed: stopped, program gone; configuration, secret and what was learned stay.
    vm.do("dpkg -r capsd")
    assert vm.do("pgrep -x capsd", expect=1) == ""
    assert vm.do("ls /usr/bin/capsd", expect=2)
    vm.do("ls /etc/capsd/capsd.toml /etc/capsd/secret /var/lib/capsd/db")

    # Purged: nothing stays but the user.
    vm.do("dpkg -P capsd")
    left = vm.do("find / -xdev -name '*capsd*' -not -path '/proc/*' -not -path '/root/*' -not -path '/sys/*' -not -path '/var/log/*'").split()
    assert left == [], left


def test_a_hung_daemon_is_killed_and_started_again(machine):
    """The watchdog as systemd plays it: a daemon that stands still is aborted, and another one takes its place."""
    vm = machine("base")
    vm.do(f"dpkg -i {package().name}; (umask 077; echo secret > /etc/capsd/secret)")
    vm.do("mkdir /etc/systemd/system/capsd.service.d; printf '[Service]\\nWatchdogSec=2s\\n' > /etc/systemd/system/capsd.service.d/watchdog.conf")
    vm.do("systemctl daemon-reload; systemctl start capsd")
    first = vm.do("systemctl show -P MainPID capsd").strip()
    time.sleep(5)
    assert vm.do("systemctl show -P MainPID capsd").strip() == first
    vm.do(f"kill -STOP {first}")
    vm.do(f"timeout 40 sh -c 'until [ $(systemctl show -P NRestarts capsd) = 1 ] && systemctl is-active -q capsd; do sleep 0.2; done'")
    assert vm.do("systemctl show -P MainPID capsd").strip() not in ("0", first)
    assert "Watchdog timeout" in vm.do("journalctl --no-pager -o cat -u capsd")


REGISTER = {"prosody": "prosodyctl register {0} im.example.net password", "ejabberd": "ejabberdctl register {0} im.example.net password"}


@pytest.mark.parametrize("kind", ["prosody", "ejabberd"])
def test_the_trial_of_a_new_operator(machine, kind):
    """From a machine with nothing but a server to a capsd that answers clients: in under five minutes and ten typed lines, those of the
    README."""
    vm = machine(kind)
    vm.do(f"timeout 60 sh -c 'until ss -ltn 2>/dev/null | grep -q :5222 || grep -qi :1466 /proc/net/tcp /proc/net/tcp6; do sleep 0.2; done'")
    for user in ("anna", "ben"):
        vm.do(REGISTER[kind].format(user))
    lines = readme.typed(kind, "im.example.net")
    assert len(lines) <= 10
    begin = time.monotonic()
    for line in lines:
        vm.type(line)
    asked = vm.within_its_network(sys.executable, REPOSITORY / "tests/package/two_clients.py").strip()
    seconds = time.monotonic() - begin
    # The same answer, from the command line; and again after a restart, from the disk.
    vm.type(f"capsd lookup '{asked}' | head -c 300")
    print(vm.told())
    (DIST / f"trial-{kind}.txt").write_text(vm.told())
    wait_until(lambda: "link caps.im.example.net: up" in vm.do("systemctl show -P StatusText capsd"), "systemd has the status", timeout=5)
    vm.do("systemctl restart capsd; capsd lookup '" + asked + "'")
    assert seconds < 300, vm.told()
    # The module, by its lines in README.
    for line in readme.typed(f"{kind}-module", "im.example.net"):
        vm.type(line)
    fed = r'^capsd_operations_total\{[^}]*operation="feed"[^}]*\} [1-9]'
    read = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9116/metrics').read().decode())"
    wait_until(lambda: re.search(fed, vm.within_its_network(sys.executable, "-c", read), re.MULTILINE), "the module reports to capsd", timeout=60)
