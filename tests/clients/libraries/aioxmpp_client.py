"""A client with aioxmpp as its documentation shows it, with XEP-0390 switched on or off."""

import asyncio
import os

import aioxmpp


async def main():
    client = aioxmpp.PresenceManagedClient(
        aioxmpp.JID.fromstr(os.environ["JID"] + "/aioxmpp"),
        aioxmpp.make_security_layer(os.environ["PASSWORD"], no_verify=True),
        # It does without the server where names cannot be looked up in the DNS.
        override_peer=[("127.0.0.1", int(os.environ["PORT"]), aioxmpp.connector.STARTTLSConnector())],
    )
    caps = client.summon(aioxmpp.EntityCapsService)
    caps.xep390_support = os.environ["XEP0390"] == "yes"
    async with client.connected():
        await asyncio.sleep(300)


asyncio.run(main())
