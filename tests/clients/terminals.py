"""Clients for terminals, and programs that are clients without showing anything."""

import socket

from client import DOMAIN, INSTALLED, PASSWORD, InTerminal, Program
from libraries_of import PythonPackage
from purple import CERTIFICATE, account

from harness import terminals
from harness.processes import free_ports, wait_until


class Profanity(InTerminal, terminals.Profanity):
    source = "debian:profanity"


class Mcabber(InTerminal, terminals.Mcabber):
    source = "debian:mcabber"


class Poezio(InTerminal, terminals.Poezio):
    source = "debian:poezio"


class NewPoezio(PythonPackage, Poezio):
    name = "poezio-pypi"
    source = "pypi:poezio"

    def command(self):
        return [str(INSTALLED / "poezio/bin/poezio"), *super().command()[1:]]


class Finch(InTerminal):
    name = "finch"
    source = "debian:finch"

    def command(self):
        self.write(".purple/accounts.xml", account("gnt-purple", self))
        self.write(*CERTIFICATE)
        return ["finch"]


class Irssi(InTerminal):
    name = "irssi-xmpp"
    source = "debian:irssi-plugin-xmpp"

    def command(self):
        self.write(
            ".irssi/startup",
            f"load xmpp\nxmppconnect -host 127.0.0.1 -port {self.server.client_port} {self.bare}/irssi {PASSWORD}\n",
        )
        return ["irssi", "--home", str(self.directory / ".irssi")]


class EmacsJabber(InTerminal):
    name = "emacs-jabber"
    source = "debian:elpa-jabber"
    patience = 20

    def command(self):
        init = self.write(
            "init.el",
            f"""
(require 'jabber)
(setq jabber-account-list
  '(("{self.bare}/emacs" (:password . "{PASSWORD}") (:network-server . "127.0.0.1") (:port . {self.server.client_port})
     (:connection-type . starttls))))
(setq network-security-level 'low)
(jabber-connect-all)
""",
        )
        return ["emacs", "-nw", "-q", "-l", str(init)]


class GoSendxmpp(Program):
    name = "go-sendxmpp"
    source = "debian:go-sendxmpp"
    patience = 15

    def command(self):
        return ["go-sendxmpp", "-u", self.bare, "-p", PASSWORD, "-j", f"{DOMAIN}:{self.server.client_port}", "-l"]


class Bitlbee(Program):
    """A gateway from IRC, told by an IRC client what to do."""

    name = "bitlbee"
    source = "debian:bitlbee"
    connection = None

    def command(self):
        (self.port,) = free_ports(1)
        config = self.write(
            "bitlbee.conf", f"[settings]\nConfigDir = {self.directory}\nCAfile = /etc/ssl/certs/ca-certificates.crt\n"
        )
        return ["bitlbee", "-n", "-F", "-i", "127.0.0.1", "-p", str(self.port), "-d", str(self.directory), "-c", str(config)]

    def start(self):
        super().start()
        wait_until(self.connect, "bitlbee takes IRC clients")
        for line in (
            "NICK somebody",
            "USER somebody * * :somebody",
            "PRIVMSG &bitlbee :register secret",
            f"PRIVMSG &bitlbee :account add jabber {self.bare} {PASSWORD}",
            f"PRIVMSG &bitlbee :account jabber set server {DOMAIN}",
            "PRIVMSG &bitlbee :account on",
        ):
            self.connection.sendall(line.encode() + b"\r\n")

    def connect(self):
        """Whether the IRC connection is open."""
        try:
            self.connection = socket.create_connection(("127.0.0.1", self.port))
        except OSError:
            return False
        return True

    def stop(self):
        if self.connection:
            self.connection.close()
        super().stop()


TERMINALS = [Profanity, Mcabber, Poezio, NewPoezio, Finch, Irssi, EmacsJabber]
PROGRAMS = [GoSendxmpp, Bitlbee]
