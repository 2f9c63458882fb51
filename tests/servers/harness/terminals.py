"""Real clients for terminals, under a tmux of their own, logged in to a server of the tests."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .processes import wait_until
from .servers import DOMAIN, PASSWORD


class Terminal:
    """One client in one private tmux server."""

    name = ""

    def __init__(self, server, user):
        # Directly below the directory for temporary files: the path of a socket is short, and other users may pass.
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.server = server
        self.bare = f"{user}@{DOMAIN}"
        self.socket = self.directory / "tmux"
        self.process = None
        for part in ("config", "data", "cache"):
            (self.directory / part).mkdir()

    def command(self):
        """Writes the client's configuration and returns its command line."""
        raise NotImplementedError

    def start(self):
        """Starts the client, which logs in by itself."""
        command = self.command()
        environment = {
            "PATH": os.environ["PATH"] + ":/usr/bin:/bin",
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "XDG_CONFIG_HOME": str(self.directory / "config"),
            "XDG_DATA_HOME": str(self.directory / "data"),
            "XDG_CACHE_HOME": str(self.directory / "cache"),
        }
        size = ("-x", "120", "-y", "40")
        shown = self.tmux("-f", "/dev/null", "new-session", "-d", "-P", "-F", "#{pane_pid}", *size, *command, environment=environment)
        self.process = os.pidfd_open(int(shown))
        # A client that ends keeps its last words on the screen.
        self.tmux("set-option", "-g", "remain-on-exit", "on")

    def tmux(self, *arguments, environment=None):
        """A command to the private tmux server."""
        command = ["tmux", "-S", str(self.socket), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def screen(self):
        """What the client shows."""
        return self.tmux("capture-pane", "-p")

    def press(self, *keys):
        """Presses keys one after the other, by the names that tmux has for them. Clients take what comes at once for a paste."""
        for key in keys:
            self.tmux("send-keys", key)
            time.sleep(0.3)

    def type(self, text):
        """Types a text."""
        self.tmux("send-keys", "-l", text)

    def wait_for(self, *texts):
        """Waits until the client shows all those texts."""
        shown = lambda: all(text in self.screen() for text in texts)
        wait_until(shown, lambda: f"{self.name} shows {texts}; it shows:\n{self.screen()}")

    def stop(self):
        """Ends the client and its tmux server."""
        if self.socket.exists():
            subprocess.run(["tmux", "-S", str(self.socket), "kill-server"], capture_output=True, timeout=20)
            wait_until(lambda: not self.alive(), f"the tmux of {self.name} has ended")
        # Without its terminal, poezio may go on for ever, and use a whole core for it.
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.process, signal.SIGKILL)
            os.close(self.process)
            self.process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def alive(self):
        """Whether the tmux server still runs."""
        return subprocess.run(["tmux", "-S", str(self.socket), "list-sessions"], capture_output=True).returncode == 0


class Shell(Terminal):
    """A shell."""

    name = "shell"

    def command(self):
        return ["bash", "--norc", "--noprofile"]

    def order(self, line):
        """Types a line, and ends it."""
        self.type(line)
        self.press("Enter")


class Profanity(Terminal):
    """profanity 0.13: it announces one hash before its plugins and settings are complete, and another at once."""

    name = "profanity"

    def command(self):
        account = self.directory / "data/profanity/accounts"
        account.parent.mkdir()
        account.write_text(
            f"[main]\nenabled=true\njid={self.bare}\nresource={self.name}\npassword={PASSWORD}\n"
            f"server=127.0.0.1\nport={self.server.client_port}\ntls.policy=disable\n"
        )
        return ["profanity", "-a", "main"]


class Mcabber(Terminal):
    """mcabber 1.1."""

    name = "mcabber"

    def command(self):
        config = self.directory / "mcabberrc"
        config.write_text(
            f"set jid = {self.bare}\nset resource = {self.name}\nset password = {PASSWORD}\nset server = 127.0.0.1\n"
            f"set port = {self.server.client_port}\nset tls = 0\nset ssl = 0\nset disable_random_resource = 1\n"
        )
        config.chmod(0o600)
        return ["mcabber", "-f", str(config)]


class Poezio(Terminal):
    """poezio 0.14."""

    name = "poezio"

    def command(self):
        config = self.directory / "config/poezio/poezio.cfg"
        config.parent.mkdir()
        config.write_text(
            f"[Poezio]\njid = {self.bare}/{self.name}\npassword = {PASSWORD}\ncustom_host = 127.0.0.1\n"
            f"custom_port = {self.server.client_port}\nforce_encryption = false\nuse_remote_bookmarks = false\n"
            "plugins_autoload = \nauto_reconnect = false\n"
        )
        command = ["poezio", "--file", str(config)]
        if os.geteuid() != 0:
            return command
        # poezio refuses to run as root.
        for path in (self.directory, *self.directory.rglob("*")):
            shutil.chown(path, "nobody", "nogroup")
        return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]


TERMINALS = [Profanity, Mcabber, Poezio]
