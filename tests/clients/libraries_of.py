"""Libraries, each in a client of a few lines below libraries/."""

import json
import subprocess

from client import INSTALLED, LIBRARIES, PASSWORD, REPOSITORY, NotHere, Program, Recorded


def installed(path):
    """That path, which `make.sh --install` makes."""
    if not path.exists():
        raise NotHere(f"{path.relative_to(REPOSITORY)} is missing; run tests/clients/make.sh --install")
    return path


class PythonPackage(Recorded):
    """Something of PyPI in an environment of its own, named like the package."""

    def python(self):
        """The interpreter of that environment."""
        return installed(INSTALLED / self.package / "bin/python")

    def version(self):
        ask = f"import importlib.metadata as metadata; print(metadata.version({self.package!r}))"
        return subprocess.run([self.python(), "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


class Library(Program):
    """A library in a client of a few lines, `script`."""

    script = ""
    variables = {}

    def environment(self):
        return super().environment() | {
            "JID": self.bare,
            "PASSWORD": PASSWORD,
            "PORT": str(self.server.client_port),
            "WEBSOCKET": f"ws://127.0.0.1:{self.server.http_port}/xmpp-websocket",
        } | self.variables


class PythonLibrary(PythonPackage, Library):
    def command(self):
        return [str(self.python()), str(LIBRARIES / self.script)]


class Aioxmpp(PythonLibrary):
    name = "aioxmpp"
    source = "pypi:aioxmpp"
    script = "aioxmpp_client.py"
    variables = {"XEP0390": "no"}
    settings = "XEP-0390 switched off"


class AioxmppBoth(Aioxmpp):
    name = "aioxmpp-both"
    settings = "XEP-0390 switched on"
    variables = {"XEP0390": "yes"}


class Slixmpp(PythonLibrary):
    name = "slixmpp"
    source = "pypi:slixmpp"
    script = "slixmpp_client.py"
    settings = "plug-ins xep_0004, xep_0030, xep_0060, xep_0115, xep_0199, as in its example"


class DebianSlixmpp(Library):
    name = "slixmpp-debian"
    source = "debian:python3-slixmpp"
    settings = Slixmpp.settings

    def command(self):
        return ["/usr/bin/python3", str(LIBRARIES / Slixmpp.script)]


class Spade(PythonLibrary):
    name = "spade"
    source = "pypi:spade"
    script = "spade_client.py"
    settings = "an agent without behaviours"
    patience = 20


class NodeLibrary(Library):
    """Something of npm; `home` is the directory with its node_modules."""

    home = "node"

    def modules(self):
        """The directory of all modules."""
        return INSTALLED / self.home / "node_modules"

    def version(self):
        return json.loads(installed(self.modules() / self.package / "package.json").read_text())["version"]

    def environment(self):
        return super().environment() | {"NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/ca-certificates.crt"}

    def command(self):
        # Node looks for modules beside the script.
        (self.directory / "node_modules").symlink_to(self.modules())
        return ["node", str(self.write(self.script, (LIBRARIES / self.script).read_text()))]


class Stanza(NodeLibrary):
    name = "stanza"
    source = "npm:stanza"
    script = "stanza_client.cjs"


class XmppJs(NodeLibrary):
    name = "xmpp.js"
    source = "npm:@xmpp/client"
    script = "xmpp_js_client.mjs"
    patience = 15


class Strophe(NodeLibrary):
    name = "strophe.js"
    source = "npm:strophe.js"
    home = "strophe"
    script = "strophe_client.cjs"
    settings = "with strophejs-plugin-disco and strophejs-plugin-caps"


class Converse(NodeLibrary):
    name = "converse.js"
    source = "npm:@converse/headless"
    script = "converse_client.mjs"
    settings = "headless, in a page of jsdom"

    def place(self):
        """Where its package was unpacked."""
        return installed(INSTALLED / "converse/package")

    def version(self):
        return json.loads((self.place() / "package.json").read_text())["version"]

    def environment(self):
        return super().environment() | {"DIST": str(self.place() / "dist")}


class Gloox(Library):
    name = "gloox"
    source = "debian:libgloox-dev"
    settings = "a client with the library's defaults"

    def command(self):
        program = self.directory / "client"
        subprocess.run(["g++", "-o", str(program), str(LIBRARIES / "gloox_client.cpp"), "-lgloox"], check=True)
        return [str(program)]


LIBRARIES_OF = [Aioxmpp, AioxmppBoth, Slixmpp, DebianSlixmpp, Spade, Stanza, XmppJs, Strophe, Converse, Gloox]
