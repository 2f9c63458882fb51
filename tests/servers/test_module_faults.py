"""The module beside a capsd that is stopped, hung, restarted or of another version: clients notice nothing but their own questions."""

import os

import pytest

from crowd.campaign import Beside
from crowd.pretender import Pretender
from crowd.scene import Scene
from harness.caps import sample
from harness.processes import until

LONG = os.environ.get("CAPSD_LONG") == "1"


@pytest.fixture
async def scene(make_crowd_server, make_client):
    scene = await Scene(make_crowd_server(module=True), make_client).begin()
    yield scene
    scene.assert_no_trouble()


@pytest.fixture
async def working(scene, make_capsd):
    """A capsd that answers, in `scene`."""
    capsd = make_capsd(scene.server, limits='new-keys-per-account = "1000/h"').start()
    await Beside(scene.server, capsd).until_fed()
    await scene.until_answered_by_capsd()
    return capsd


async def test_no_capsd_at_all(scene):
    await scene.ask_as_without_module()


@pytest.mark.parametrize("end", ["stop", "kill"] if LONG else ["stop"])
async def test_capsd_ends_and_comes_back(scene, working, end):
    getattr(working, end)()
    await scene.ask_as_without_module()
    working.start()
    await scene.until_answered_by_capsd()


async def test_capsd_hangs_and_goes_on(scene, working):
    working.hang()
    try:
        await scene.ask_as_without_module()
    finally:
        working.go_on()
    await scene.until_answered_by_capsd()


@pytest.mark.parametrize("manner", ["other-version", "garbage", *["silent"] * LONG])
async def test_something_else_under_the_address_of_capsd(scene, make_capsd, manner):
    pretender = await Pretender(scene.server, manner).start()
    await until(lambda: pretender.requests, "the module asks it")
    await scene.ask_as_without_module()
    await pretender.stop()
    make_capsd(scene.server, limits='new-keys-per-account = "1000/h"').start()
    await scene.until_answered_by_capsd()


async def test_the_server_forgets_whom_it_told_of(make_crowd_server, make_client, make_capsd):
    """A server that crashes cannot say who is gone; when it tells everything anew, nobody else is believed to be there."""
    server = make_crowd_server(module=True)
    capsd = make_capsd(server, limits='new-keys-per-account = "1000/h"').start()
    await Beside(server, capsd).until_fed()
    clients = [make_client("told", sample("told"), server=server, resource=f"r{number}") for number in range(3)]
    for client in clients:
        await client.log_in()
        client.announce()
    await capsd.until_metric("capsd_holders", 3)
    await capsd.until_metric("capsd_verifications_total", 1, result="ok")
    fed = Beside(server, capsd).fed()
    server.kill()
    server.start()
    await Beside(server, capsd).until_fed(fed)
    await until(lambda: capsd.metrics().total("capsd_holders") == 0, "nobody is there")
    back = make_client("told", sample("told-again"), server=server, resource="back")
    await back.log_in()
    back.announce()
    await capsd.until_metric("capsd_verifications_total", 2, result="ok")
    await until(lambda: capsd.metrics().total("capsd_holders") == 1, "the one who came back is there alone")
