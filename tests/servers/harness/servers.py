"""Prosody and ejabberd in private directories on private loopback ports.

The part of their configuration that concerns capsd is read from `deploy/prosody` and `deploy/ejabberd`, which operators install: only
the secret and the port are filled in. All else is the least that lets clients log in on loopback.
"""

import functools
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from xml.sax.saxutils import escape

from .processes import Process, free_ports, wait_until

REPOSITORY = Path(__file__).resolve().parents[3]

# The names that stand in the snippets of deploy/.
DOMAIN = "example.org"
COMPONENT = "caps.example.org"
# A second virtual host of the same server, which capsd does not serve.
STRANGE_DOMAIN = "stranger.example"
# Rooms, where a server is told to have them.
ROOMS = "rooms.example.org"
DOMAINS = (DOMAIN, STRANGE_DOMAIN)

PASSWORD = "password"
SECRET = "the-secret-of-the-component"


def stream_header(domain):
    """What a client sends first."""
    return (
        f"<stream:stream to='{domain}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
    ).encode()


class Server:
    """What Prosody and ejabberd have in common.

    `language` is the default language of streams ('en' or 'de'); `own_caps` loads the modules by which the server itself asks clients
    for their caps; `conflict` is what Prosody does with a second connection of a component. `module` loads capsd's module for that
    server, with those options of it if it is a dictionary. `services` adds rooms (XEP-0045, at `ROOMS`), blocking (XEP-0191) and privacy lists (XEP-0016).
    """

    kind = ""

    def __init__(self, directory, language="en", own_caps=False, conflict="kick_new", snippet=None, module=False, services=False):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.language = language
        self.own_caps = own_caps
        self.conflict = conflict
        self.module = module
        self.services = services
        self.client_port, self.component_port = free_ports(2)
        self.log = self.directory / "server.log"
        self.users = set()
        self.snippet = snippet or self.read_snippet()
        self.process = self.prepare()

    def read_snippet(self):
        """What deploy/ offers to operators of this server."""
        raise NotImplementedError

    def prepare(self):
        """Writes the configuration and returns the process, not yet started."""
        raise NotImplementedError

    def start(self):
        """Starts the server and returns when clients can log in and the component can connect."""
        self.process.start()
        wait_until(self.answers, f"{self.kind} opens a stream on port {self.client_port}", timeout=30)
        # After a crash ejabberd may have lost the latest accounts.
        for domain in DOMAINS:
            self.register([name for name, of in self.users if of == domain], domain)
        return self

    def answers(self):
        """Whether a client would be offered a login; fails if the server has ended.

        A connection that is accepted says little: ejabberd listens long before it answers.
        """
        self.process.require_running()
        try:
            with socket.create_connection(("127.0.0.1", self.client_port), timeout=1) as stream:
                stream.sendall(stream_header(DOMAIN))
                received = b""
                while b"mechanism" not in received:
                    chunk = stream.recv(65536)
                    if not chunk:
                        return False
                    received += chunk
        except OSError:
            return False
        return True

    def stop(self):
        """Stops the server in an orderly way."""
        self.process.stop()

    def kill(self):
        """Stops the server as a crash does."""
        self.process.kill()

    def restart(self):
        """Stops and starts the server on the same ports with the same accounts."""
        self.stop()
        self.start()

    def add_users(self, names, domain=DOMAIN):
        """Makes accounts with the password `PASSWORD`; those that exist already are left alone."""
        self.register([name for name in names if (name, domain) not in self.users], domain)
        self.users.update((name, domain) for name in names)

    def register(self, names, domain):
        """Registers accounts in band (XEP-0077), all over one stream; a conflict means that the account exists."""
        if not names:
            return
        with socket.create_connection(("127.0.0.1", self.client_port), timeout=10) as stream:
            stream.sendall(stream_header(domain))
            for number, name in enumerate(names):
                stream.sendall(
                    f"<iq type='set' id='register-{number}'><query xmlns='jabber:iq:register'>"
                    f"<username>{escape(name)}</username><password>{PASSWORD}</password></query></iq>".encode()
                )
            received = ""
            while len(re.findall(r"<iq [^>]*type=['\"]result['\"]|<conflict ", received)) < len(names):
                chunk = stream.recv(65536).decode()
                received += chunk
                if not chunk:
                    raise AssertionError(f"{self.kind} did not register {names}: {received}")


class Prosody(Server):
    """Prosody with mod_privilege.

    It has no setting for the default language of streams: it stamps the language of the client's stream, so the clients of these tests
    take theirs from the server's `language`.
    """

    kind = "prosody"
    modules = ("roster", "saslauth", "disco", "ping", "register_ibr", "presence", "message", "iq", "time")
    disabled = ("tls", "s2s", "s2s_auth_certs", "offline")
    # Where speed is measured, that of an installed Prosody, "info": to write down every stanza takes as long as to route it.
    log_level = "debug"
    # Configuration before the first host, and after the last.
    global_settings = ""
    more_hosts = ""

    def read_snippet(self):
        return (REPOSITORY / "deploy/prosody/capsd.cfg.lua").read_text()

    def prepare(self):
        snippet = self.directory / "capsd.cfg.lua"
        snippet.write_text(
            self.with_module(self.snippet).replace("CHANGE-ME", SECRET) + f'\tcomponent_conflict_resolve = "{self.conflict}"\n'
        )
        data = self.directory / "data"
        data.mkdir()
        modules = [*self.modules, *["pep"] * self.own_caps, *["blocklist", "privacy_lists"] * self.services]
        rooms = f'Component "{ROOMS}" "muc"\n' if self.services else ""
        config = self.directory / "prosody.cfg.lua"
        config.write_text(
            f"""
run_as_root = true
pidfile = "{self.directory}/prosody.pid"
data_path = "{data}"
installer_plugin_path = "{self.directory}/plugins"
plugin_paths = {{ "{REPOSITORY}/deploy/prosody" }}
log = {{ {self.log_level} = "{self.log}" }}
network_settings = {{ nagle = false }}
interfaces = {{ "127.0.0.1" }}
component_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {self.client_port} }}
component_ports = {{ {self.component_port} }}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
modules_enabled = {{ {quoted(modules)} }}
modules_disabled = {{ {quoted(self.disabled)} }}
authentication = "internal_plain"
allow_unencrypted_plain_auth = true
c2s_require_encryption = false
allow_registration = true
{self.global_settings}
VirtualHost "{DOMAIN}"
VirtualHost "{STRANGE_DOMAIN}"
Include "{snippet}"
{rooms}{self.more_hosts}
"""
        )
        program = shutil.which("prosody") or "/usr/bin/prosody"
        return Process("prosody", [program, "--config", str(config), "-F"], self.directory / "output.txt", directory=self.directory)

    def with_module(self, snippet):
        """The snippet with mod_capsd enabled on the virtual host, as its README says."""
        if not self.module:
            return snippet
        options = self.module if isinstance(self.module, dict) else {}
        lines = "".join(f"\tcapsd_{name} = {lua(value)}\n" for name, value in options.items())
        enabled = snippet.replace('modules_enabled = { "privilege" }', 'modules_enabled = { "privilege", "capsd" }', 1)
        host = f'VirtualHost "{DOMAIN}"\n'
        assert '"capsd"' in enabled and host in enabled
        return enabled.replace(host, host + lines)

    def set_option(self, name, value):
        """Gives an option of mod_capsd another value in the configuration file, and has the server read it again."""
        file = self.directory / "capsd.cfg.lua"
        host = f'VirtualHost "{DOMAIN}"\n'
        text = re.sub(rf"\tcapsd_{name} = .*\n", "", file.read_text())
        file.write_text(text.replace(host, f"{host}\tcapsd_{name} = {lua(value)}\n"))
        self.process.child.send_signal(signal.SIGHUP)


def lua(value):
    """That value in Lua."""
    if isinstance(value, list):
        return f"{{ {quoted(value)} }}"
    return json.dumps(value)


def quoted(names):
    """Those names as the items of a Lua table."""
    return ", ".join(f'"{name}"' for name in names)


class Ejabberd(Server):
    """ejabberd with mod_privilege, as an Erlang node without distribution: no epmd, no port but those that it is given.

    Commands (`ejabberdctl` elsewhere) go through mod_http_api on a loopback port of their own.
    """

    kind = "ejabberd"
    # More of the configuration, as whole sections.
    more_settings = ""

    def read_snippet(self):
        return (REPOSITORY / "deploy/ejabberd/capsd.yml").read_text()

    def prepare(self):
        snippet = self.directory / "capsd.yml"
        snippet.write_text(self.snippet.replace("CHANGE-ME", SECRET).replace("port: 5347", f"port: {self.component_port}"))
        (self.directory / "spool").mkdir()
        self.contributed = self.directory / "modules"
        self.command_port, = free_ports(1)
        self.options = dict(self.module) if isinstance(self.module, dict) else {}
        self.config = self.directory / "ejabberd.yml"
        self.write_config()
        if self.module:
            shutil.copytree(build_ejabberd_module(), self.contributed / "mod_capsd")
        # Erlang's own settings: no distribution (no -name), so neither epmd nor a cookie is touched.
        command = ["erl", "-noinput", "-mnesia", "dir", f'"{self.directory}/spool"', "-s", "ejabberd"]
        return Process("ejabberd", command, self.directory / "output.txt", self.environment(), self.directory)

    def environment(self):
        """The environment of the Erlang node."""
        return {
            "PATH": os.environ["PATH"] + ":/usr/bin:/bin",
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "ERL_LIBS": library_directory(),
            "ERL_CRASH_DUMP_BYTES": "0",
            "EJABBERD_CONFIG_PATH": str(self.config),
            "EJABBERD_LOG_PATH": str(self.log),
            "CONTRIB_MODULES_PATH": str(self.contributed),
        }

    def write_config(self):
        """Writes the configuration file with the options of mod_capsd as they are now."""
        own_caps = "  mod_caps: {}\n  mod_pubsub: { plugins: [flat, pep] }\n" if self.own_caps else ""
        services = f'  mod_muc: {{ host: "{ROOMS}" }}\n  mod_blocking: {{}}\n  mod_privacy: {{}}\n' if self.services else ""
        # On the virtual host that capsd serves, and not on the other.
        module = ""
        if self.module:
            options = {"component": COMPONENT} | self.options
            module = f"append_host_config:\n  {DOMAIN}:\n    modules:\n      mod_capsd: {json.dumps(options)}\n"
        self.config.write_text(
            f"""
hosts: [{", ".join(DOMAINS)}]
language: {self.language}
loglevel: info
include_config_file:
  - {self.directory}/capsd.yml
listen:
  - {{ port: {self.client_port}, ip: 127.0.0.1, module: ejabberd_c2s, access: all, starttls: false }}
  - {{ port: {self.command_port}, ip: 127.0.0.1, module: ejabberd_http, request_handlers: {{ /api: mod_http_api }} }}
api_permissions:
  loopback: {{ from: mod_http_api, who: {{ ip: 127.0.0.1 }}, what: "*" }}
s2s_access: none
auth_method: internal
auth_password_format: plain
registration_timeout: infinity
{module}{self.more_settings}
modules:
  mod_disco: {{}}
  mod_roster: {{}}
  mod_ping: {{}}
  mod_time: {{}}
  mod_register: {{ access: all, ip_access: all, password_strength: 0 }}
{own_caps}{services}"""
        )

    def command(self, name, **arguments):
        """What a command of ejabberd returns."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.command_port}/api/{name}", json.dumps(arguments).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def set_option(self, name, value):
        """Gives an option of mod_capsd another value in the configuration file, and has the server read it again."""
        self.options[name] = value
        self.write_config()
        self.command("reload_config")


@functools.cache
def build_ejabberd_module():
    """mod_capsd compiled, laid out as `ejabberdctl module_install` does; in a directory below target/."""
    source = REPOSITORY / "deploy/ejabberd/mod_capsd"
    built = REPOSITORY / "target/tests/mod_capsd"
    shutil.rmtree(built, ignore_errors=True)
    (built / "ebin").mkdir(parents=True)
    shutil.copy(source / "mod_capsd.spec", built)
    compile_ejabberd_module(built / "ebin")
    return built


def compile_ejabberd_module(directory):
    """Compiles mod_capsd into a directory with every warning; returns what the compiler printed."""
    sources = sorted((REPOSITORY / "deploy/ejabberd/mod_capsd/src").glob("*.erl"))
    ejabberd = sorted(Path(library_directory()).glob("ejabberd-*"))[-1]
    includes = [ejabberd / "include", *Path("/usr/lib/erlang/lib").glob("p1_xm*/include")]
    command = ["erlc", "-Wall", "+debug_info", "-pa", ejabberd / "ebin", "-o", directory]
    for include in includes:
        command += ["-I", include]
    done = subprocess.run([*command, *sources], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def library_directory():
    """Where Debian keeps ejabberd and the Erlang libraries that it uses."""
    found = sorted(glob.glob("/usr/lib/*/ejabberd-*"))
    if not found:
        raise AssertionError("ejabberd is not installed; run tests/install.sh ejabberd")
    return str(Path(found[-1]).parent)


KINDS = {"prosody": Prosody, "ejabberd": Ejabberd}
