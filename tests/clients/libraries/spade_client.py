"""An agent with SPADE that does nothing but being there."""

import asyncio
import os

import spade


async def main():
    agent = spade.agent.Agent(os.environ["JID"] + "/spade", os.environ["PASSWORD"], verify_security=False)
    await agent.start(auto_register=False)
    agent.presence.set_available()
    await asyncio.sleep(300)


asyncio.run(main())
