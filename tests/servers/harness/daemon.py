"""capsd as an operator runs it: a configuration file, a process, its metrics and its log."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from .processes import Process, free_ports, until, wait_until
from .servers import COMPONENT, DOMAIN, REPOSITORY, SECRET

SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def binary():
    """The program under test: `CAPSD_BINARY`, else the release build of this repository."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    path = Path(os.environ.get("CAPSD_BINARY", target / "release/capsd")).resolve()
    if not path.exists():
        raise AssertionError(f"{path} does not exist; run: cargo build --release --locked")
    return str(path)


class Metrics(dict):
    """The samples of `/metrics`: (name, ((label, value), …)) to number."""

    def total(self, name, **labels):
        """The sum over all samples of that name that carry those labels; 0 where there is none."""
        return sum(
            value
            for (sample, pairs), value in self.items()
            if sample == name and all((label, wanted) in pairs for label, wanted in labels.items())
        )


def parse_metrics(text):
    """Reads the Prometheus text format."""
    metrics = Metrics()
    for line in text.splitlines():
        sample = SAMPLE.match(line)
        if sample:
            metrics[sample[1], tuple(sorted(LABEL.findall(sample[2] or "")))] = float(sample[3])
    return metrics


class Capsd:
    """One capsd beside one server (or several), with a directory of its own that outlives restarts.

    `settings` are tables of the configuration, as text: {"resolver": 'deadline = "2s"'}; those given here replace the defaults below.
    """

    def __init__(self, directory, server, secret=SECRET, jid=COMPONENT, component_settings="", more_components="", flush_interval="200ms", environment=None, **settings):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.http_port, = free_ports(1)
        self.store = self.directory / "store"
        self.jid = jid
        self.secret_file = self.directory / "secret"
        self.secret_file.write_text(secret + "\n")
        self.secret_file.chmod(0o600)
        self.config = self.directory / "capsd.toml"
        tables = {
            "store": f'path = "{self.store}"\nflush-interval = "{flush_interval}"',
            "http": f'listen = "127.0.0.1:{self.http_port}"',
            "control": f'socket = "{self.directory}/socket"',
        } | settings
        self.config.write_text(
            f"""[[component]]
jid = "{jid}"
server = "127.0.0.1:{server.component_port}"
secret-file = "{self.secret_file}"
domains = ["{DOMAIN}"]
{component_settings}
{more_components}
"""
            + "\n".join(f"[{name}]\n{text}\n" for name, text in tables.items())
        )
        self.process = Process("capsd", [binary(), "run", "--config", str(self.config)], self.directory / "capsd.log", environment and os.environ | environment)

    # Process

    def start(self, linked=True):
        """Starts capsd and waits until it answers over HTTP; with `linked`, until it is ready and was told its privileges."""
        self.process.start()
        wait_until(self.alive, "capsd answers over HTTP", timeout=20)
        if linked:
            self.wait_linked()
        return self

    def alive(self):
        """Whether /healthz says yes; fails if capsd has ended."""
        self.process.require_running()
        return self.get("/healthz")[0] == 200

    def linked(self):
        """Whether capsd is ready and the server's word about privileges has come.

        A message is the only stanza that carries it, and no test sends capsd another one before it is linked.
        """
        self.process.require_running()
        if self.get("/readyz")[0] != 200:
            return False
        return self.messages_heard() > 0

    def wait_linked(self, timeout=15):
        """Waits until `linked`."""
        wait_until(self.linked, lambda: f"capsd is linked; its log ends:\n{self.log()[-3000:]}", timeout)

    def stop(self, timeout=15):
        """SIGTERM; returns the exit code and the seconds that it took."""
        begin = time.monotonic()
        return self.process.stop(timeout), time.monotonic() - begin

    def kill(self):
        """SIGKILL."""
        self.process.kill()

    def hang(self):
        """SIGSTOP; returns when every thread stands still."""
        self.process.child.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self.process.child.pid}/task")
        stands = lambda thread: (thread / "stat").read_text().rsplit(") ", 1)[1].startswith("T")
        wait_until(lambda: all(stands(thread) for thread in threads.iterdir()), "capsd stands still")

    def go_on(self):
        """SIGCONT, after `hang`."""
        self.process.child.send_signal(signal.SIGCONT)

    def reload(self):
        """SIGHUP: capsd reads its configuration again."""
        self.process.child.send_signal(signal.SIGHUP)

    def restart(self, linked=True):
        """Stops and starts again with the same store."""
        self.stop()
        self.start(linked)

    def command(self, *arguments, expect=0):
        """Runs another command of capsd with this one's configuration; returns what it printed. Fails on any other exit code; `None` stands for any."""
        name, *rest = map(str, arguments)
        ended = subprocess.run([binary(), name, "--config", str(self.config), *rest], capture_output=True, text=True, timeout=60)
        assert expect is None or ended.returncode == expect, f"{ended.returncode}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def log(self):
        """What capsd wrote to stderr so far, over all its starts."""
        return self.process.text()

    # HTTP

    def get(self, path, port=None):
        """Status and body of a GET, over another port if one is given; (None, …) where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.http_port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return None, str(error)

    def metrics(self):
        """The metrics now; empty where capsd does not answer."""
        status, text = self.get("/metrics")
        return parse_metrics(text) if status == 200 else Metrics()

    def queries(self):
        """How many disco#info queries have left capsd since it started."""
        return int(self.metrics().total("capsd_upstream_queries_sent_total"))

    def messages_heard(self):
        """How many messages the server has sent to capsd since it started; servers tell privileges by them."""
        return self.metrics().total("capsd_component_stanzas_total", direction="in", kind="message")

    def presences_heard(self):
        """How many presences the server has sent to capsd since it started."""
        return self.metrics().total("capsd_component_stanzas_total", direction="in", kind="presence")

    async def until_heard(self, before, more=1):
        """Waits until `more` presences have arrived after `before` was read from `presences_heard`."""
        await self.until_metric("capsd_component_stanzas_total", before + more, direction="in", kind="presence")

    async def until_idle(self):
        """Waits until nothing is being resolved or looked up. The gauges of that lag behind."""
        await until(self.idle, "no flight is in progress")

    def idle(self):
        """Whether nothing is being resolved or looked up now."""
        status, text = self.get("/api/v1/flights")
        flights = json.loads(text) if status == 200 else {}
        return flights.get("in-progress") == flights.get("looking") == 0

    async def until_metric(self, name, value, timeout=15, **labels):
        """Waits until the sum of a metric is at least `value`."""
        await until(
            lambda: self.metrics().total(name, **labels) >= value,
            lambda: f"{name}{labels or ''} is {value}, but {self.metrics().total(name, **labels)}; the log ends:\n{self.log()[-3000:]}",
            timeout,
        )
