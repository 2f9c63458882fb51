"""Clients with windows."""

import base64
import contextlib
import json
import sqlite3

from client import DOMAIN, PASSWORD, Windowed
from purple import CERTIFICATE, account


class Pidgin(Windowed):
    name = "pidgin"
    source = "debian:pidgin"

    def command(self):
        self.write(".purple/accounts.xml", account("gtk-gaim", self))
        self.write(*CERTIFICATE)
        return ["pidgin", "-m"]


class Gajim(Windowed):
    name = "gajim"
    source = "debian:gajim"

    def command(self):
        path = self.directory / "config/gajim/settings.sqlite"
        self.start_once(["gajim"], lambda: has_table(path, "account_settings"))
        settings = {
            "name": self.user, "hostname": DOMAIN, "address": self.bare, "resource": "gajim", "password": PASSWORD, "savepass": True,
            "active": True, "autoconnect": True,
        }
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute(
                "insert into account_settings values (?, ?)",
                [DOMAIN, json.dumps({"account": settings, "contact": {}, "group_chat": {}})],
            )
            database.execute("update settings set settings = ? where name = 'app'", [json.dumps({"use_keyring": False})])
        return ["gajim"]


class Dino(Windowed):
    name = "dino"
    source = "debian:dino-im"

    def command(self):
        path = self.directory / "data/dino/dino.db"
        self.start_once(["dino-im"], lambda: has_table(path, "account"))
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute(
                "insert into account (bare_jid, resourcepart, password, alias, enabled) values (?, 'dino', ?, '', 1)",
                [self.bare, PASSWORD],
            )
        return ["dino-im"]


def has_table(path, name):
    """Whether an SQLite database is there and has a table."""
    if not path.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            return database.execute("select 1 from sqlite_master where name = ?", [name]).fetchone() is not None
    except sqlite3.OperationalError:
        return False


class Psi(Windowed):
    name = "psi"
    source = "debian:psi"
    profile = "psi"

    def command(self):
        # Psi stores a password so that it is not read in passing.
        hidden = "".join(f"{ord(letter) ^ ord(self.bare[i % len(self.bare)]):04x}" for i, letter in enumerate(PASSWORD))
        accounts = f"""<!DOCTYPE accounts>
<accounts version="1.5" xmlns="http://psi-im.org/options">
 <accounts>
  <a0>
   <name type="QString">{DOMAIN}</name>
   <jid type="QString">{self.bare}</jid>
   <password type="QString">{hidden}</password>
   <resource type="QString">{self.name}</resource>
   <automatic-resource type="bool">false</automatic-resource>
   <enabled type="bool">true</enabled>
   <auto type="bool">true</auto>
   <use-host type="bool">true</use-host>
   <host type="QString">127.0.0.1</host>
   <port type="int">{self.server.client_port}</port>
   <ssl type="QString">auto</ssl>
   <ignore-SSL-warnings type="bool">true</ignore-SSL-warnings>
  </a0>
 </accounts>
</accounts>
"""
        options = """<!DOCTYPE psi>
<psi version="1.0" xmlns="http://psi-im.org/options">
 <options><keychain><enabled type="bool">false</enabled></keychain></options>
</psi>
"""
        self.write(f"config/{self.profile}/profiles/default/options.xml", options)
        for place in ("data", "config"):
            self.write(f"{place}/{self.profile}/profiles/default/accounts.xml", accounts)
        return [self.name]


class PsiPlus(Psi):
    name = "psi-plus"
    source = "debian:psi-plus"
    profile = "psi+"


class Kaidan(Windowed):
    name = "kaidan"
    source = "debian:kaidan"

    def command(self):
        password = base64.b64encode(PASSWORD.encode()).decode()
        self.write("config/kaidan/kaidan.conf", f"[auth]\njid={self.bare}\npassword={password}\nonline=true\n")
        return ["kaidan"]


class Tkabber(Windowed):
    name = "tkabber"
    source = "debian:tkabber"

    def command(self):
        settings = {
            "user": self.user, "server": DOMAIN, "password": PASSWORD, "resource": "tkabber", "usealtserver": 1, "altserver": "127.0.0.1",
            "altport": self.server.client_port, "stream_options": "plaintext", "allowauthplain": 1,
        }
        text = "".join(f"set loginconf({name}) {value}\n" for name, value in settings.items()) + "set autologin 1\n"
        self.write(".tkabber/config.tcl", text)
        return ["tkabber"]


WINDOWS = [Dino, Gajim, Kaidan, Pidgin, Psi, PsiPlus, Tkabber]
