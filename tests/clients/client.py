"""Clients that are recorded: how each is told who it is, started, and ended."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "servers"))

from harness.processes import Process, wait_until  # noqa: E402
from harness.servers import DOMAIN, PASSWORD, REPOSITORY  # noqa: E402, F401
from harness.terminals import Terminal  # noqa: E402

# Where `make.sh --install` puts packages of PyPI and npm.
INSTALLED = REPOSITORY / "target/clients"
LIBRARIES = Path(__file__).resolve().parent / "libraries"


class NotHere(Exception):
    """The client cannot be run here; the text says why."""


def debian_version(package):
    """The version of an installed Debian package."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", package], capture_output=True, text=True)
    if not done.stdout.startswith("ii"):
        raise NotHere(f"the Debian package {package} is not installed; run tests/clients/make.sh --install")
    return done.stdout[3:].strip()


class Recorded:
    """What every client that is recorded has; `source` is `debian:PACKAGE`, `pypi:PACKAGE` or `npm:PACKAGE`."""

    source = ""
    # What is not the default in this run.
    settings = ""
    # Seconds until it must have announced something.
    patience = 40

    @property
    def package(self):
        """The name of its package."""
        return self.source.split(":", 1)[1]

    def version(self):
        """The version of its package that is installed here."""
        return debian_version(self.package)

    def write(self, path, text, mode=0o600):
        """Writes a file below the client's home directory."""
        path = self.directory / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path


class InTerminal(Recorded, Terminal):
    """A client for terminals."""


class Program(Recorded):
    """A client that is one process, with a home directory of its own and nothing of the caller's environment."""

    name = ""

    def __init__(self, server, user):
        self.server = server
        self.user = user
        self.bare = f"{user}@{DOMAIN}"
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.process = None
        for part in ("config", "data", "cache", "runtime"):
            (self.directory / part).mkdir(mode=0o700)

    def command(self):
        """Writes the client's configuration and returns its command line."""
        raise NotImplementedError

    def environment(self):
        """All that the client finds in its environment."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/games:/usr/sbin:/sbin",
            "HOME": str(self.directory),
            "USER": "somebody",
            "LOGNAME": "somebody",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.directory),
            "XDG_CONFIG_HOME": str(self.directory / "config"),
            "XDG_DATA_HOME": str(self.directory / "data"),
            "XDG_CACHE_HOME": str(self.directory / "cache"),
            "XDG_RUNTIME_DIR": str(self.directory / "runtime"),
        }

    def run(self, command):
        """Starts a command as the client is started."""
        self.process = Process(self.name, command, self.directory / "output.txt", self.environment(), self.directory)
        self.process.start()

    def start(self):
        """Starts the client, which logs in by itself."""
        self.run(self.command())

    def screen(self):
        """What the client has said."""
        return self.process.text()[-3000:] if self.process else ""

    def end(self):
        """Ends the client and whatever it started in its process group."""
        if not self.process or not self.process.child:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.child.pid, number)
                self.process.child.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass

    def stop(self):
        """Ends the client and removes its directory."""
        self.end()
        shutil.rmtree(self.directory, ignore_errors=True)


class Windowed(Program):
    """A client with windows: it gets the display of the run and a message bus of its own."""

    def environment(self):
        return super().environment() | {
            "DISPLAY": os.environ["DISPLAY"],
            "GDK_BACKEND": "x11",
            "GSETTINGS_BACKEND": "memory",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "NO_AT_BRIDGE": "1",
            "QT_QPA_PLATFORM": "xcb",
            "QT_QUICK_BACKEND": "software",
        }

    def run(self, command):
        super().run(["dbus-run-session", "--", *command])

    def start_once(self, command, made):
        """Starts the client until `made()`, that is until it has made its files, and ends it."""
        self.run(command)
        try:
            wait_until(lambda: made() or self.process.require_running(), f"{self.name} has made its files", timeout=60)
        finally:
            self.end()

    def screen(self):
        """What it has said; with CAPSD_SNAPSHOTS, a directory, also what its windows show goes there."""
        if "CAPSD_SNAPSHOTS" in os.environ:
            subprocess.run(["import", "-window", "root", f"{os.environ['CAPSD_SNAPSHOTS']}/{self.name}.png"], timeout=20)
        return super().screen()
