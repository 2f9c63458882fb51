"""Two clients of im.example.net: one announces what it can do, the other asks capsd. Run in the network of a machine of the tests."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "servers"))

from harness.caps import sample  # noqa: E402
from harness.client import Client, log_in_all, log_out_all  # noqa: E402

DOMAIN = "im.example.net"


async def main():
    server = SimpleNamespace(client_port=5222, language="en")
    info = sample("trial")
    anna, ben = (Client(server, user, info, domain=DOMAIN) for user in ("anna", "ben"))
    await log_in_all([anna, ben])
    anna.announce()
    for _ in range(20):
        reply = await ben.ask(info.node_0115(), to=f"caps.{DOMAIN}")
        if reply.kind == "result":
            break
        await asyncio.sleep(0.2)
    assert reply.info.covered() == info.covered()
    print(info.node_0115())
    await log_out_all([anna, ben])


asyncio.run(main())
