"""Servers for two capsd under two addresses, and an ejabberd of two nodes."""

import subprocess
import urllib.error

from harness.processes import free_ports, wait_until
from harness.servers import COMPONENT, REPOSITORY

from .servers import CROWD_KINDS, CrowdEjabberd

SECOND = "caps2.example.org"


def snippet_for_two(kind):
    """What deploy/ offers for one component, written out for two."""
    if kind == "prosody":
        text = (REPOSITORY / "deploy/prosody/capsd.cfg.lua").read_text()
        begin, end = text.index(f'\t\t["{COMPONENT}"]'), text.index("\n\t}", text.index("privileged_entities"))
        text = text[:end] + "\n" + text[begin:end].replace(COMPONENT, SECOND) + text[end:]
        component = text[text.index("\nComponent ") :]
        return text + component.replace(COMPONENT, SECOND)
    text = (REPOSITORY / "deploy/ejabberd/capsd.yml").read_text()
    host = f'      {COMPONENT}:\n        password: "CHANGE-ME"\n'
    assert host in text and f"server: {COMPONENT}" in text
    text = text.replace(host, host + host.replace(COMPONENT, SECOND)).replace(f"server: {COMPONENT}", f"server: [{COMPONENT}, {SECOND}]")
    # Otherwise each connection would receive what is for both.
    return text if "global_routes" in text else text.replace("    access: all\n", "    access: all\n    global_routes: false\n", 1)


def server_for_two(kind, directory):
    """A server whose module knows two components, in order."""
    return CROWD_KINDS[kind](directory, snippet=snippet_for_two(kind), module={"component": [COMPONENT, SECOND], "retry": 1})


class EjabberdNode(CrowdEjabberd):
    """A node of an ejabberd cluster on this machine alone: each node has a loopback address of its own, and all the same port for
    Erlang's distribution, so that no epmd is needed."""

    def __init__(self, directory, name, address, distribution_port):
        self.node = f"{name}@{address}"
        self.address = address
        self.distribution_port = distribution_port
        super().__init__(directory, snippet=snippet_for_two("ejabberd"), module={"component": [COMPONENT, SECOND], "retry": 1})

    def write_config(self):
        """With sessions that may be resumed (XEP-0198)."""
        super().write_config()
        self.config.write_text(self.config.read_text().replace("\nmodules:\n", "\nmodules:\n  mod_stream_mgmt: {}\n"))

    def distribution(self, node, address):
        """The options by which an Erlang node finds the others. The cookie is worth nothing outside of the loopback interface."""
        return [
            "-name", node, "-setcookie", "capsd-tests", "-start_epmd", "false", "-erl_epmd_port", str(self.distribution_port),
            "-kernel", "inet_dist_use_interface", f"{{{address.replace('.', ',')}}}",
        ]  # fmt: skip

    def prepare(self):
        process = super().prepare()
        process.command[1:1] = self.distribution(self.node, self.address)
        return process

    def join(self, other):
        """Joins the cluster of another node; what this one has stored is forgotten. By a node of its own, as `ejabberdctl join_cluster`:
        no process of this one outlives that."""
        call = f"R = rpc:call('{self.node}', ejabberd_cluster, join, ['{other.node}']), io:format(\"~p\", [R]), halt()."
        command = ["erl", "-noinput", "-hidden", *self.distribution("join@127.0.0.3", "127.0.0.3"), "-eval", call]
        said = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=90).stdout
        assert said == "ok", said
        wait_until(lambda: self.is_with(other), f"{self.node} is in the cluster of {other.node}", timeout=60)
        wait_until(self.answers, f"{self.node} serves clients again", timeout=30)

    def is_with(self, other):
        """Whether this node serves, with the other one."""
        try:
            return other.node in self.command("list_cluster")
        except (urllib.error.URLError, ConnectionError, ValueError):
            return False


def cluster(directory):
    """Two nodes of one ejabberd."""
    (port,) = free_ports(1)
    first, second = (EjabberdNode(directory / name, name, address, port) for name, address in (("one", "127.0.0.1"), ("two", "127.0.0.2")))
    return first, second


