"""What stands in the private world beside the clients: a Prosody with what clients expect of a server, and a display."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "servers"))

from harness.servers import Ejabberd, Prosody  # noqa: E402


class FullProsody(Prosody):
    """Prosody on the standard ports, with TLS, WebSockets, rooms and the modules that a public server has."""

    modules = (
        *Prosody.modules, "tls", "pep", "carbons", "mam", "smacks", "csi", "blocklist", "bookmarks", "private", "vcard_legacy", "vcard4",
        "version", "time", "uptime", "websocket", "bosh", "server_contact_info",
    )
    has_rooms = True
    disabled = ("s2s", "s2s_auth_certs")
    more_hosts = 'Component "rooms.example.org" "muc"\n'

    def __init__(self, directory, world):
        self.global_settings = f"""
ssl = {{ certificate = "{world}/example.org.pem", key = "{world}/example.org.key" }}
archive_expires_after = "1d"
consider_websocket_secure = true
consider_bosh_secure = true
cross_domain_websocket = true
http_default_host = "example.org"
contact_info = {{ abuse = {{ "mailto:abuse@example.org" }}, admin = {{ "mailto:admin@example.org", "xmpp:admin@example.org" }} }}
"""
        super().__init__(directory)

    def prepare(self):
        self.client_port, self.http_port = 5222, 5280
        process = super().prepare()
        config = self.directory / "prosody.cfg.lua"
        config.write_text(config.read_text().replace("http_ports = {}", f"http_ports = {{ {self.http_port} }}"))
        return process


class FullEjabberd(Ejabberd):
    """ejabberd with contact addresses."""

    has_rooms = False

    def __init__(self, directory):
        super().__init__(directory, own_caps=True)

    def prepare(self):
        process = super().prepare()
        config = self.directory / "ejabberd.yml"
        addresses = '{modules: all, name: "abuse-addresses", urls: ["mailto:abuse@example.org"]}'
        config.write_text(config.read_text().replace("mod_disco: {}", f"mod_disco: {{ server_info: [{addresses}] }}"))
        return process


@contextlib.contextmanager
def display(directory):
    """An X server without a screen for the clients; its name is in DISPLAY meanwhile."""
    reading, writing = os.pipe()
    with open(directory / "xvfb.txt", "wb") as output:
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x900x24", "-nolisten", "tcp"],
            pass_fds=[writing], stdout=output, stderr=output,
        )
    os.close(writing)
    try:
        number = os.read(reading, 16).decode().strip()
        if not number:
            raise AssertionError(f"Xvfb did not start: {(directory / 'xvfb.txt').read_text()}")
        os.environ["DISPLAY"] = f":{number}"
        yield
    finally:
        os.close(reading)
        server.terminate()
        server.wait(10)
