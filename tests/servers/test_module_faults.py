"""The module beside a capsd that is stopped, hung, restarted or of another version: clients notice nothing but their own questions."""

import os

import pytest

from crowd.campaign import Beside
from crowd.pretender import Pretender
from crowd.scene import Scene
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
