"""A client with slixmpp and the plug-ins that its own examples register."""

import asyncio
import os

from slixmpp import ClientXMPP


class Client(ClientXMPP):
    def __init__(self):
        super().__init__(os.environ["JID"] + "/slixmpp", os.environ["PASSWORD"])
        for plugin in ("xep_0030", "xep_0004", "xep_0060", "xep_0199", "xep_0115"):
            self.register_plugin(plugin)
        self.add_event_handler("session_start", self.begin)

    async def begin(self, _):
        await self["xep_0115"].update_caps(jid=self.boundjid)
        self.send_presence()
        await self.get_roster()


client = Client()
client.connect()
client.loop.run_until_complete(asyncio.sleep(300))
