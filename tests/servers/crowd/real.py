"""Clients that people use, in the crowd's room, each behind a tap."""

import sys
from pathlib import Path

from harness.servers import REPOSITORY
from harness.terminals import Poezio, Profanity

from .member import ROOM
from .wire import Tap

sys.path.insert(0, str(REPOSITORY / "tests/clients"))

from libraries_of import Converse, XmppJs  # noqa: E402

HERE = Path(__file__).resolve().parent


class InRoom:
    """What a real client of the crowd has besides: a tap in the place of its server."""

    tap = None

    @classmethod
    async def behind_tap(cls, server, user, gate):
        """A client, not yet started, that talks to the server through a tap as soon as the gate is open."""
        tap = await Tap(user, server.client_port, server.http_port, gate).open()
        client = cls(tap, user)
        client.tap = tap
        return client

    @property
    def record(self):
        """What it received and said."""
        return self.tap.record

    def join(self):
        """What makes it enter the room once it is logged in, where it does not do so by itself."""

    async def close(self):
        """Ends the client, then the tap."""
        self.stop()
        await self.tap.close()


class ProfanityInRoom(InRoom, Profanity):
    def join(self):
        self.tmux("send-keys", f"/join {ROOM} nick {self.bare.split('@')[0]}", "Enter")


class PoezioInRoom(InRoom, Poezio):
    def command(self):
        command = super().command()
        config = self.directory / "config/poezio/poezio.cfg"
        config.write_text(config.read_text() + f"rooms = {ROOM}/{self.bare.split('@')[0]}\n")
        return command


class Script(InRoom):
    """A script for node."""

    def script_text(self):
        raise NotImplementedError

    def environment(self):
        return super().environment() | {"ROOM": ROOM}

    def command(self):
        (self.directory / "node_modules").symlink_to(self.modules())
        return ["node", str(self.write(self.script, self.script_text()))]


class XmppJsInRoom(Script, XmppJs):
    def script_text(self):
        return (HERE / "xmpp_js_member.mjs").read_text()


class ConverseInRoom(Script, Converse):
    def script_text(self):
        text = (REPOSITORY / "tests/clients/libraries" / self.script).read_text()
        nick = self.bare.split("@")[0]
        return text.replace("auto_login: true,", f'auto_login: true,\n  auto_join_rooms: ["{ROOM}"],\n  nickname: "{nick}",')


REAL = {"profanity": ProfanityInRoom, "poezio": PoezioInRoom, "xmpp.js": XmppJsInRoom, "converse.js": ConverseInRoom}
