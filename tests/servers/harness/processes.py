"""Free ports, private processes, and waiting for conditions instead of for time."""

import asyncio
import itertools
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

# Below the range that the kernel gives to outgoing connections, so that a port stays free while its server restarts.
PORT_RANGE = range(20000, 32000)

# Each is given out once before any is given out again: one whose server has not started yet looks as free as the others.
PORTS = itertools.cycle(random.sample(PORT_RANGE, len(PORT_RANGE)))


def free_ports(count):
    """That many distinct loopback ports on which nothing listens; none of them is a standard one."""
    return list(itertools.islice(filter(nobody_listens, PORTS), count))


def nobody_listens(port):
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def attempts(condition, what, timeout):
    """What `condition` returns, each time it is tried, up to the first true value; fails after `timeout` seconds, saying `what` was
    awaited."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"after {timeout:g} s still not: {describe(what)}")
        yield value
    yield value


def wait_until(condition, what, timeout=15.0, interval=0.02):
    """Calls `condition` until it returns something true, and returns that; fails after `timeout` seconds, saying `what` was awaited."""
    for value in attempts(condition, what, timeout):
        if value:
            return value
        time.sleep(interval)


async def until(condition, what, timeout=15.0, interval=0.02):
    """`wait_until` for coroutines: other tasks go on meanwhile."""
    for value in attempts(condition, what, timeout):
        if value:
            return value
        await asyncio.sleep(interval)


def describe(what):
    """`what` may be a function, for descriptions that depend on the state at the end."""
    return what() if callable(what) else what


class Process:
    """A child process in the foreground, whose output goes to a file."""

    def __init__(self, name, command, output, environment=None, directory=None):
        self.name = name
        self.command = command
        self.output = output
        self.environment = environment
        self.directory = directory
        self.child = None

    def start(self):
        """Starts the process; what it prints is appended to the file."""
        with open(self.output, "ab") as output:
            self.child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                cwd=self.directory,
                start_new_session=True,
            )

    @property
    def running(self):
        """Whether the process was started and has not ended."""
        return self.child is not None and self.child.poll() is None

    def text(self):
        """Everything that the process has printed so far, over all its starts."""
        if not Path(self.output).exists():
            return ""
        with open(self.output, encoding="utf-8", errors="replace") as output:
            return output.read()

    def require_running(self):
        """Fails with the end of the output if the process has ended."""
        if not self.running:
            code = self.child.returncode if self.child else "not started"
            raise AssertionError(f"{self.name} ended ({code}); its output ends:\n{self.text()[-4000:]}")

    def stop(self, timeout=15.0):
        """Asks the process to end (SIGTERM) and returns its exit code; kills it and fails if it does not."""
        if not self.running:
            return self.child.returncode if self.child else None
        self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {timeout:g} s of SIGTERM") from None

    def kill(self):
        """Ends the process at once (SIGKILL)."""
        if self.running:
            self.child.kill()
            self.child.wait()
