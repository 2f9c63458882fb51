"""What an operator sees: metrics without names of people, health, and a log that keeps quiet about users."""

import json
import re

from harness.caps import sample
from harness.client import log_in_all, until_asked
from harness.servers import COMPONENT, DOMAIN


async def busy(capsd, make_client):
    """A little of everything: learned, failed, refused."""
    users = [make_client("anna", sample("seen-1")), make_client("ben", sample("seen-2"), mode="error"), make_client("carla")]
    await log_in_all(users)
    for user in users[:2]:
        user.announce()
        await until_asked(user)
    await users[2].ask(sample("seen-1").node_0115())
    await users[2].ask(sample("seen-2").node_0115())
    await users[2].ask("nonsense")
    await users[0].log_out()
    await capsd.until_idle()
    return users


async def test_metrics_name_nobody(capsd, make_client):
    await busy(capsd, make_client)
    text = capsd.get("/metrics")[1]
    series = [line for line in text.splitlines() if line.startswith("capsd_")]
    assert 50 < len(series) < 500
    assert not re.search("anna|ben|carla|seen-1", text)
    assert "@" not in text
    assert sample("seen-1").ver() not in text
    for name in ("capsd_lookups_total", "capsd_upstream_queries_total", "capsd_lookup_failures_total", "capsd_build_info"):
        assert any(line.startswith(name) for line in series), name


async def test_health_and_readiness(capsd):
    assert capsd.get("/healthz")[0] == 200
    assert capsd.get("/readyz")[0] == 200
    assert capsd.get("/nothing")[0] == 404


async def test_the_log_names_nobody(server, make_capsd, make_client):
    capsd = make_capsd(server).start()
    await busy(capsd, make_client)
    capsd.stop()
    log = capsd.log()
    assert not re.search(r"anna|ben@|carla|@" + re.escape(DOMAIN), log), log
    assert COMPONENT in log


async def test_the_log_as_json(server, make_capsd, make_client):
    capsd = make_capsd(server, log='format = "json"').start()
    await busy(capsd, make_client)
    capsd.stop()
    lines = [json.loads(line) for line in capsd.log().splitlines()]
    assert len(lines) >= 2
    assert all({"level", "timestamp"} <= set(line) for line in lines)
