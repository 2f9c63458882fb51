"""Runs a service as its systemd unit says, where systemd itself does not run: command, environment, credentials, directories, user, notify
socket, watchdog and restarts are read from the unit, and nothing that matters here is taken from elsewhere."""

import os
import pwd
import re
import resource
import shlex
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from .processes import wait_until

SECONDS = {"": 1, "s": 1, "ms": 0.001, "min": 60, "h": 3600}
# What is judged elsewhere (by `systemd-analyze security`) or concerns other units.
NOT_PLAYED = re.compile(r"^(Protect|Private|Restrict(?!$)|SystemCall|Capability|Ambient|NoNew|Lock|MemoryDeny|RemoveIPC|Keyring|Device|MemoryMax|TasksMax|Timeout)")
PLAYED = {
    "Type", "ExecStart", "ExecReload", "WatchdogSec", "Restart", "RestartSec", "RestartPreventExitStatus", "LoadCredential", "SetCredential",
    "User", "Group", "ConfigurationDirectory", "StateDirectory", "StateDirectoryMode", "RuntimeDirectory", "RuntimeDirectoryMode", "UMask",
    "LimitCORE", "Environment",
}


def seconds(text):
    """A time span of systemd: one number and one unit."""
    number, unit = re.fullmatch(r"([\d.]+)\s*([a-z]*)", text).groups()
    return float(number) * SECONDS[unit]


class Unit:
    """The settings of a unit's [Service] section, in order; drop-ins are read after it."""

    def __init__(self, *files):
        self.settings = []
        for file in files:
            section = None
            for line in Path(file).read_text().splitlines():
                line = line.strip()
                if line.startswith("["):
                    section = line
                elif section == "[Service]" and line and line[0] not in "#;":
                    key, value = line.split("=", 1)
                    self.settings.append((key, value))
        unknown = {key for key, _ in self.settings if key not in PLAYED and not NOT_PLAYED.match(key)}
        assert not unknown, f"the supervisor does not play {sorted(unknown)}"

    def all(self, key):
        """Every value of a setting; an empty one forgets those before it."""
        values = []
        for name, value in self.settings:
            if name == key:
                values = values + [value] if value else []
        return values

    def one(self, key, default=None):
        """The last value of a setting."""
        return (self.all(key) or [default])[-1]


class Supervisor:
    """A service that runs by its unit. `root` stands before the directories that the manager makes, `program` in place of the
    unit's program where that is not installed, `arguments` after those of the unit; `user` false leaves the user as he is."""

    def __init__(self, directory, *files, root="/", program=None, arguments=(), watchdog=None, user=True):
        self.directory = Path(directory)
        self.unit = Unit(*files)
        assert self.unit.one("Type") == "notify"
        self.root = Path(root)
        self.program, self.arguments = program, list(arguments)
        self.watchdog = watchdog or seconds(self.unit.one("WatchdogSec"))
        self.account = pwd.getpwnam(self.unit.one("User")) if user else None
        self.output = self.directory / "journal"
        self.child = None
        self.starts = 0
        self.messages = []
        self.beats = []
        self.status = ""
        self.ready_since = None
        self.watchdog_hits = 0
        self.lock = threading.Lock()

    def _own(self, path, mode):
        path.mkdir(parents=True, exist_ok=True)
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)
        path.chmod(mode)
        return path

    def _directories(self):
        environment = {}
        for kind, parent in [("State", "var/lib"), ("Runtime", "run")]:
            for name in self.unit.all(f"{kind}Directory"):
                mode = int(self.unit.one(f"{kind}DirectoryMode", "0755"), 8)
                path = self._own(self.root / parent / name, mode)
                environment[f"{kind.upper()}_DIRECTORY"] = str(path)
        for name in self.unit.all("ConfigurationDirectory"):
            (self.root / "etc" / name).mkdir(parents=True, exist_ok=True)
        return environment

    def _credentials(self):
        place = self.directory / "credentials"
        self._own(place, 0o700)
        for setting, load in [("SetCredential", False), ("LoadCredential", True)]:
            for value in self.unit.all(setting):
                name, value = value.split(":", 1)
                source = self.root / value.lstrip("/")
                if load and not source.exists():
                    continue  # what SetCredential= says stands in for it
                content = source.read_bytes() if load else value.encode().decode("unicode_escape").encode()
                file = place / name
                file.unlink(missing_ok=True)
                file.write_bytes(content)
                file.chmod(0o400)
                if self.account:
                    os.chown(file, self.account.pw_uid, self.account.pw_gid)
        return str(place)

    def command(self, key):
        """A command of the unit; the unit's program and what lies below /run are those of this supervisor."""
        words = shlex.split(self.unit.one(key))
        assert words[0] == shlex.split(self.unit.one("ExecStart"))[0]
        words = [self.program or words[0], *(str(self.root / word.lstrip("/")) if word.startswith("/run/") else word for word in words[1:])]
        return [*words, *self.arguments]

    def start(self):
        """Starts the service and returns at once; `wait_ready` is what `systemctl start` waits for."""
        self.stopped = False
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = self.directory / "notify"
        path.unlink(missing_ok=True)
        self.socket.bind(str(path))
        path.chmod(0o777)
        self.socket.settimeout(0.02)
        self._spawn()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def _spawn(self):
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8"}
        environment |= self._directories()
        environment |= dict(word.split("=", 1) for line in self.unit.all("Environment") for word in shlex.split(line))
        environment |= {
            "CREDENTIALS_DIRECTORY": self._credentials(),
            "NOTIFY_SOCKET": str(self.directory / "notify"),
            "WATCHDOG_USEC": str(int(self.watchdog * 1e6)),
        }
        core = int(self.unit.one("LimitCORE", "0"))
        as_user = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []} if self.account else {}
        with open(self.output, "ab") as output:
            self.child = subprocess.Popen(
                self.command("ExecStart"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd="/",
                umask=int(self.unit.one("UMask", "0022"), 8),
                start_new_session=True,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (core, core)),
                **as_user,
            )
        self.ready_since = None
        self.starts += 1

    def _watch(self):
        while not self.stopped:
            try:
                self._heard(self.socket.recv(65536).decode())
            except TimeoutError:
                pass
            last = self.beats[-1] if self.beats else 0
            if self.ready_since and time.monotonic() - max(self.ready_since, last) > self.watchdog and self.child.poll() is None:
                self.watchdog_hits += 1
                self.child.send_signal(signal.SIGABRT)
                self.ready_since = None
            code = self.child.poll()
            if code is not None and not self.stopped:
                self._ended(code)

    def _heard(self, datagram):
        for line in datagram.splitlines():
            if line == "WATCHDOG=1":
                self.beats.append(time.monotonic())
                continue
            self.messages.append(line)
            if line == "READY=1":
                self.ready_since = time.monotonic()
            if line.startswith("STATUS="):
                self.status = line[len("STATUS="):]

    def _ended(self, code):
        final = code == 0 or str(code) in self.unit.one("RestartPreventExitStatus", "").split()
        if final or self.unit.one("Restart") != "on-failure":
            self.stopped = True
            return
        time.sleep(seconds(self.unit.one("RestartSec")))
        if not self.stopped:
            self._spawn()

    def wait_ready(self, timeout=20):
        """Waits until the service has said that it is ready; fails if it has ended for good."""

        def ready():
            assert not self.stopped, f"ended with {self.child.returncode}:\n{self.log()[-3000:]}"
            return self.ready_since

        wait_until(ready, lambda: f"the service is ready:\n{self.log()[-3000:]}", timeout)
        return self

    def log(self):
        """What the service wrote."""
        return self.output.read_text(errors="replace")

    def reload(self):
        """`systemctl reload`: how its command ended."""
        return subprocess.run(self.command("ExecReload"), capture_output=True, text=True, timeout=30, env={"PATH": os.environ["PATH"]})

    def stop(self, timeout=15):
        """`systemctl stop`; the exit code."""
        self.child.send_signal(signal.SIGTERM)
        try:
            code = self.child.wait(timeout)
            # What it said last is still to be read.
            wait_until(lambda: self.stopped, "the end was noticed")
            return code
        finally:
            self.kill()

    def kill(self):
        """Ends it at once, and for good."""
        self.stopped = True
        if self.child and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
