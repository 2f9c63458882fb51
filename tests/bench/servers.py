"""Two measurements of each real server, by tests/bench/server_load.rs, which asks and answers; started by servers.sh.

- `ping`, unrelated traffic: pings between users, with capsd's module loaded and without.
- `disco`, interception: disco#info of contacts. Without the module each goes to the contact and back, with it the server answers.

Two servers stand side by side, one with the module and one without. They are loaded in turns of a fifth of a second, so that whatever else
the machine does meets both alike: in turns of seconds the ratio of two servers without any module went from 0.89 to 1.08. Each pair has
newly started servers: of two equal processes of Prosody one is up to 10 % faster for as long as it runs.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import typing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "servers"))

from crowd.campaign import Beside  # noqa: E402
from crowd.servers import CrowdEjabberd, CrowdProsody  # noqa: E402
from harness.daemon import Capsd  # noqa: E402
from harness.servers import REPOSITORY  # noqa: E402

# What Debian 12's ejabberd.yml loads and those servers do not have already: as most ejabberd run.
DEBIAN = """adhoc announce avatar blocking client_state configure last offline ping pres_counter privacy private push push_keepalive
shared_roster sic stream_mgmt vcard vcard_xupdate version""".split()


class DebianEjabberd(CrowdEjabberd):
    """ejabberd with the modules of Debian's configuration."""

    def write_config(self):
        super().write_config()
        text = self.config.read_text()
        missing = [f"mod_{name}" for name in DEBIAN if f"mod_{name}:" not in text]
        lines = "".join(f"  {name}: {{{'count: 5, interval: 60' if name == 'mod_pres_counter' else ''}}}\n" for name in missing)
        self.config.write_text(text.replace("\nmodules:\n", f"\nmodules:\n{lines}", 1))


KINDS = {"prosody": CrowdProsody, "ejabberd": CrowdEjabberd, "ejabberd-debian": DebianEjabberd}
# Pairs of an asker and an answerer that are online at once.
ONLINE = 4
GOALS = {"ping": 0.97, "disco": 2.0}
# Of a core: below that, neither who asks nor who answers is the limit.
MOST_LOAD = 0.5


def processor_time(process):
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process.child.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Loaded:
    """A server under load; with a capsd if its module is loaded."""

    def __init__(self, kind, directory, stack, module):
        self.server = KINDS[kind](directory / f"module-{module}", module=module)
        stack.callback(self.server.kill)
        self.server.start()
        users = [f"{role}{number}" for role in ("asker", "answerer") for number in range(ONLINE)]
        self.server.add_users(users)
        self.server.befriend(users)
        if module:
            capsd = Capsd(directory / "capsd", self.server)
            stack.callback(capsd.kill)
            asyncio.run(Beside(self.server, capsd.start()).until_fed())


def run(task, servers, seconds):
    """One pair: for each server the questions answered per second, and how many of them the clients answered; and how many cores the load
    used, and each server for a question, in microseconds."""
    program = REPOSITORY / "target/release/examples/server_load"
    before = [processor_time(loaded.server.process) for loaded in servers]
    ports = ",".join(str(loaded.server.client_port) for loaded in servers)
    command = [str(program), ports, str(ONLINE), str(seconds), task]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * seconds + 60)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}")
    said = json.loads(done.stdout)
    used = [processor_time(loaded.server.process) - time for loaded, time in zip(servers, before)]
    total = sum(counts["seconds"] for counts in said["servers"])
    return Pair(
        [counts["answered"] / counts["seconds"] for counts in said["servers"]],
        [counts["reached"] / max(counts["answered"], 1) for counts in said["servers"]],
        said["cpu"] / total,
        # Logging in and warming up included: the same for both.
        [1e6 * time / counts["answered"] for time, counts in zip(used, said["servers"])],
    )


class Pair(typing.NamedTuple):
    """What one pair showed; each list is of the server with the module and of the other."""

    rates: list
    reached: list
    load: float
    cost: list


def spread(values):
    """The quartiles of some values."""
    return statistics.quantiles(values, n=4) if len(values) > 1 else values * 3


class Measured:
    """The alternating pairs of one task."""

    def __init__(self, task):
        self.task = task
        self.ratios = []
        self.costs = []
        self.loads = []
        self.rates = ([], [])

    def add(self, with_module, without, seconds):
        """One more pair; which server is loaded first alternates as well."""
        forward = len(self.ratios) % 2 == 0
        pair = run(self.task, (with_module, without) if forward else (without, with_module), seconds)
        if not forward:
            pair = Pair(pair.rates[::-1], pair.reached[::-1], pair.load, pair.cost[::-1])
        for which in (0, 1):
            self.rates[which].append(pair.rates[which])
        self.ratios.append(pair.rates[0] / pair.rates[1])
        self.costs.append(pair.cost[0] / pair.cost[1])
        self.loads.append(pair.load)
        print(
            f"  {self.task} {len(self.ratios)}: without {pair.rates[1]:,.0f}/s, with {pair.rates[0]:,.0f}/s, ratio {self.ratios[-1]:.3f};"
            f" answered by clients {pair.reached[1]:.0%} and {pair.reached[0]:.0%}; processor time of the server for a question"
            f" {pair.cost[1]:.1f} and {pair.cost[0]:.1f} us; cores of the load {pair.load:.2f}",
            flush=True,
        )

    def is_met(self):
        """Whether the median is what it should be, and was not held down by the load."""
        return statistics.median(self.ratios) >= GOALS[self.task] and max(self.loads) < MOST_LOAD

    def __str__(self):
        low, middle, high = spread(self.ratios)
        without, with_module = (statistics.median(self.rates[which]) for which in (1, 0))
        return (
            f"  {self.task}: medians without {without:,.0f}/s, with {with_module:,.0f}/s; ratio {middle:.3f} (quartiles {low:.3f} to"
            f" {high:.3f}, least {min(self.ratios):.3f}, most {max(self.ratios):.3f}), of the processor time"
            f" {statistics.median(self.costs):.3f}; goal at least {GOALS[self.task]}"
        )


def main(arguments):
    """Returns the exit code: 1 if something cost too much, or saved too little."""
    missed = []
    for kind in [arguments.server] if arguments.server else sorted(KINDS):
        print(f"{kind}: {ONLINE} askers and {ONLINE} answerers, {arguments.pairs} pairs of {arguments.seconds:g} s each", flush=True)
        tasks = [Measured(task) for task in GOALS]
        for number in range(arguments.pairs):
            with tempfile.TemporaryDirectory(prefix="capsd-servers-") as directory, contextlib.ExitStack() as stack:
                # Which server is started first alternates in a rhythm of its own.
                loaded = {module: Loaded(kind, Path(directory), stack, module) for module in (number % 4 < 2, number % 4 >= 2)}
                for task in tasks:
                    task.add(loaded[True], loaded[False], arguments.seconds)
        for task in tasks:
            print(task, flush=True)
        missed += [f"{kind}: {task.task}" for task in tasks if not task.is_met()]
    if missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if missed else 0


parser = argparse.ArgumentParser(prog="tests/bench/servers.sh")
parser.add_argument("--server", choices=sorted(KINDS), help="one kind of server; both by default")
parser.add_argument("--pairs", type=int, default=30)
parser.add_argument("--seconds", type=float, default=2.0)
sys.exit(main(parser.parse_args()))
