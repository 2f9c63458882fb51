"""What servers and rooms say of themselves.

They announce it in no presence, so capsd is not asked for it, and nothing of it is kept. They are looked at all the same, because they send
forms that clients do not send: the table says which of them the ambiguity rule would refuse.
"""

from harness.client import Client
from harness.servers import DOMAIN

ROOM = "room@rooms.example.org"


async def answers(server):
    """What the server itself, and a room where there are rooms, answer to disco#info: (what, hash, `<query/>`)."""
    server.add_users(["asker"])
    asker = await Client(server, "asker").log_in()
    try:
        found = [(server.kind, await asker.ask(to=DOMAIN))]
        if server.has_rooms:
            asker.send(f"<presence to='{ROOM}/asker'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
            await asker.iq(ROOM, "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>", "set")
            found.append((f"{server.kind}-room", await asker.ask(to=ROOM)))
    finally:
        await asker.log_out()
    return [(what, reply.info.ver(), reply.child) for what, reply in found]
