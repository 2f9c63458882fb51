"""Two measurements of each real server, by tests/bench/server_load.rs, which asks and answers; started by servers.sh.

- `unrelated`: pings between users, with capsd's module loaded and without. Two servers stand side by side, one with the module and one
  without; they are loaded one after the other, and the order changes from pair to pair.
- `interception`: disco#info of contacts. Without the module each goes to the contact and back, with it the server answers.
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

    def run(self, task, seconds):
        """Questions answered per second, how many of them the clients answered, and how busy load and server were."""
        program = REPOSITORY / "target/release/examples/server_load"
        before = processor_time(self.server.process)
        command = [str(program), str(self.server.client_port), str(ONLINE), str(seconds), task]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.stderr}")
        said = json.loads(done.stdout)
        # The server was busy before and after the seconds that count, too.
        busy = (processor_time(self.server.process) - before) / (said["seconds"] + 1.5)
        return said["answered"] / said["seconds"], said["reached"] / max(said["answered"], 1), said["cpu"] / said["seconds"], busy


def measure(task, with_module, without, pairs, seconds):
    """The alternating pairs of one task; the ratio of each."""
    ratios, rates = [], {True: [], False: []}
    for number in range(pairs):
        results = {}
        for module in (True, False) if number % 2 else (False, True):
            results[module] = (with_module if module else without).run(task, seconds)
            rates[module].append(results[module][0])
        ratios.append(results[True][0] / results[False][0])
        with_, bare = results[True], results[False]
        print(
            f"  pair {number + 1}: without {bare[0]:,.0f}/s, with {with_[0]:,.0f}/s, ratio {ratios[-1]:.3f};"
            f" answered by clients {bare[1]:.0%} and {with_[1]:.0%}; cores of the load {bare[2]:.2f} and {with_[2]:.2f},"
            f" of the server {bare[3]:.2f} and {with_[3]:.2f}",
            flush=True,
        )
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    print(
        f"  {task}: medians without {statistics.median(rates[False]):,.0f}/s, with {statistics.median(rates[True]):,.0f}/s; ratio"
        f" {statistics.median(ratios):.3f} (quartiles {low:.3f} to {high:.3f}, least {min(ratios):.3f}, most {max(ratios):.3f});"
        f" goal at least {GOALS[task]}",
        flush=True,
    )


def main(arguments):
    for kind in [arguments.server] if arguments.server else sorted(KINDS):
        print(f"{kind}: {ONLINE} askers and {ONLINE} answerers, {arguments.pairs} pairs of {arguments.seconds:g} s each", flush=True)
        with tempfile.TemporaryDirectory(prefix="capsd-servers-") as directory, contextlib.ExitStack() as stack:
            with_module = Loaded(kind, Path(directory), stack, True)
            without = Loaded(kind, Path(directory), stack, False)
            for task in GOALS:
                measure(task, with_module, without, arguments.pairs, arguments.seconds)


parser = argparse.ArgumentParser(prog="tests/bench/servers.sh")
parser.add_argument("--server", choices=sorted(KINDS), help="one kind of server; both by default")
parser.add_argument("--pairs", type=int, default=10)
parser.add_argument("--seconds", type=float, default=5.0)
main(parser.parse_args())
