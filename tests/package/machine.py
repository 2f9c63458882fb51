"""A Debian 12 machine with a systemd of its own: a directory that systemd-nspawn boots, with a network of its own that has nothing but a
loopback interface. It is a copy, thrown away afterwards; the machine that runs the tests is not changed."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from harness.processes import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGES = REPOSITORY / "target/debian12"


class Machine:
    """A machine of that kind (tests/package/debian12.sh makes them), below `directory`; `files` are copied into /root."""

    def __init__(self, directory, kind, files=()):
        self.directory = Path(directory)
        self.root = self.directory / "machine"
        subprocess.run(["cp", "-a", "--reflink=auto", IMAGES / kind, self.root], check=True)
        for file in files:
            shutil.copy(file, self.root / "root")
        self.transcript = []
        self.booted = None

    def boot(self):
        """Starts the machine and waits until it is up."""
        command = ["systemd-nspawn", "--quiet", f"--directory={self.root}", "--machine=capsd-test", "--register=no", "--keep-unit", "--private-network", "--boot"]
        console = open(self.directory / "console", "ab")
        self.booted = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True)
        wait_until(self._leader, self._console, timeout=60)
        up = "until systemctl is-system-running 2>&1 | grep -Eq 'running|degraded'; do sleep 0.1; done"
        self.do(f"timeout 100 sh -c \"{up}\"", timeout=120)
        return self

    def _console(self):
        return "the machine boots: " + (self.directory / "console").read_text(errors="replace")[-2000:]

    def _leader(self):
        """The process that is process 1 of the machine."""
        assert self.booted.poll() is None, self._console()
        children = Path(f"/proc/{self.booted.pid}/task/{self.booted.pid}/children").read_text().split()
        self.leader = children[0] if children else None
        # Before it has become systemd, its namespaces are not there.
        return self.leader and Path(f"/proc/{self.leader}/comm").read_text().strip() == "systemd"

    def do(self, line, expect=0, timeout=120):
        """Runs a shell line as root of the machine; what it printed. Fails if it ends otherwise than expected (None: anyhow)."""
        command = ["nsenter", f"--target={self.leader}", "--all", "--wdns=/root", "/bin/bash", "-c", line]
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", "PAGER": "cat"}
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, env=environment)
        assert expect is None or ended.returncode == expect, f"{line}: {ended.returncode}\n{ended.stdout}\n{self.journal()}"
        return ended.stdout

    def type(self, line):
        """`do`, as a person types it: it goes into the transcript with what came back and how long it took."""
        begin = time.monotonic()
        output = self.do(line)
        self.transcript.append((line, output, time.monotonic() - begin))
        return output

    def told(self):
        """The transcript, for people to read."""
        text = "".join(f"# {line}\n{output}" for line, output, _ in self.transcript)
        seconds = sum(duration for _, _, duration in self.transcript)
        return f"{text}({len(self.transcript)} lines, {seconds:.0f} s for the machine)\n"

    def journal(self):
        """What capsd and systemd about it wrote; empty before the machine is up."""
        return self.do("journalctl --no-pager --output=cat --unit=capsd 2>&1 | tail -n 60", expect=None)

    def within_its_network(self, *command, timeout=120):
        """Runs a program of this machine in the network of that one; what it printed."""
        ended = subprocess.run(["nsenter", f"--target={self.leader}", "--net", *command], capture_output=True, text=True, timeout=timeout)
        assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}{self.journal()}"
        return ended.stdout

    def remove(self):
        """Ends the machine and removes it."""
        if self.booted and self.booted.poll() is None:
            # The whole machine dies with its process 1.
            self.booted.send_signal(signal.SIGTERM)
            try:
                self.booted.wait(20)
            except subprocess.TimeoutExpired:
                os.kill(self.booted.pid, signal.SIGKILL)
                self.booted.wait()
        shutil.rmtree(self.root, ignore_errors=True)
