"""The rounds that are shown, one after the other: cold, warm, and after restarts; with capsd and its module, and the same without."""

from harness.processes import until


class Beside:
    """A server whose module talks to a capsd, and what restarting either of them means."""

    def __init__(self, server, capsd):
        self.server = server
        self.capsd = capsd

    def fed(self):
        """How many requests the server has sent to capsd since that started; a module begins with a `<feed/>`."""
        return self.capsd.metrics().total("capsd_component_stanzas_total", direction="in", kind="iq")

    async def until_fed(self, before=0):
        """Waits until the module has found capsd."""
        await until(lambda: self.fed() > before, lambda: f"the module feeds capsd, whose log ends:\n{self.capsd.log()[-3000:]}", timeout=30)
        await self.capsd.until_idle()

    async def restart_capsd(self):
        """Stops and starts capsd."""
        self.capsd.restart()
        await self.until_fed()

    async def restart_server(self):
        """Stops and starts the server; capsd comes back to it by itself."""
        before = self.fed()
        self.server.restart()
        await self.until_fed(before)

    async def restart_both(self):
        """Stops both and starts both."""
        self.capsd.stop()
        self.server.restart()
        self.capsd.start()
        await self.until_fed()


async def with_capsd(crowd, server, capsd, every_restart=True):
    """All rounds beside a capsd that knows nothing at first; without `every_restart`, both are restarted together and not one by one."""
    beside = Beside(server, capsd)
    await beside.until_fed()
    rounds = [await crowd.round("cold, with capsd"), await crowd.round("warm, with capsd")]
    restarts = [("capsd restarted", beside.restart_capsd), ("server restarted", beside.restart_server), ("both restarted", beside.restart_both)]
    for name, restart in restarts if every_restart else restarts[-1:]:
        await restart()
        rounds.append(await crowd.round(name))
    return rounds


async def without_capsd(crowd, server):
    """The same as far as there is something to restart."""
    rounds = [await crowd.round("cold, without capsd"), await crowd.round("warm, without capsd")]
    server.restart()
    return [*rounds, await crowd.round("server restarted, without capsd")]
