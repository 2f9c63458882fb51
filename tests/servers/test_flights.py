"""`capsd flights` and `capsd top` while something is being resolved: what an operator reads, and which hashes are not named to him unasked."""

import asyncio
import json
import re

import pytest

from harness.caps import sample
from harness.client import log_in_all
from harness.daemon import binary
from harness.processes import until
from harness.terminals import Shell

#: Nothing is given up while the test looks.
PATIENT = {"resolver": 'deadline = "1m"\nholder-timeout = "50s"'}
ROW = re.compile(r" *(\d+) ms  (\d+) waiting  (\d+) asked  (\d+) may answer  (.*)")


@pytest.fixture
def shell():
    shell = Shell(None, "nobody")
    shell.start()
    yield shell
    shell.stop()


def key_of(info):
    """The hash as it is told: without a node URL, which any client may make up."""
    return info.node_0115(url="")


def rows(printed):
    """The first line, and of each flight how many wait, were asked and may answer, and its keys; they are the oldest first."""
    first, *lines = printed.splitlines()
    flights = [ROW.fullmatch(line).groups() for line in lines]
    ages = [int(age) for age, *_ in flights]
    assert ages == sorted(ages, reverse=True) and all(age < 60_000 for age in ages)
    return first, [(*map(int, numbers), keys) for _, *numbers, keys in flights]


async def test_what_is_being_resolved_is_told_and_rare_hashes_are_not(server, make_capsd, make_client, shell):
    capsd = make_capsd(server, **PATIENT).start()
    lone, shared = sample("flight-lone"), sample("flight-shared")
    lonely = make_client("lonely", lone, mode="silent")
    sharers = [make_client(user, shared, mode="silent") for user in ("sue", "sid", "sam")]
    asker = make_client("wonder")
    await log_in_all([lonely, *sharers, asker])

    lonely.announce()
    await capsd.until_metric("capsd_flights", 1)
    for client in sharers[:2]:
        client.announce()
    await capsd.until_metric("capsd_holders", 3)
    await capsd.until_metric("capsd_upstream_queries_sent_total", 2)
    waiting = [asyncio.create_task(asker.ask(info.node_0115(), timeout=60)) for info in (shared, shared, lone)]
    try:
        await capsd.until_metric("capsd_waiters", 3)
        # Two accounts have it: that is still rare.
        assert rows(capsd.command("flights")) == ("2 in progress, 0 looking in the store, 3 waiting", [(1, 1, 1, "1 rare"), (2, 1, 1, "1 rare")])
        assert rows(capsd.command("flights", "--all"))[1] == [(1, 1, 1, key_of(lone)), (2, 1, 1, key_of(shared))]

        sharers[2].announce()
        await capsd.until_metric("capsd_holders", 4)
        expected = [(1, 1, 1, "1 rare"), (2, 1, 1, key_of(shared))]
        await until(lambda: rows(capsd.command("flights"))[1] == expected, "a third account makes it common")
        flights = json.loads(capsd.command("flights", "--json"))
        assert [(flight["keys"], flight["rare-keys"]) for flight in flights["flights"]] == [([], 1), ([key_of(shared)], 0)]
        flights = json.loads(capsd.command("flights", "--all", "--json"))
        assert [(flight["keys"], flight["rare-keys"]) for flight in flights["flights"]] == [([key_of(lone)], 0), ([key_of(shared)], 0)]

        # The same in the report of top, in one and kept up to date.
        overview, list_ = capsd.command("top", "--once").rstrip("\n").split("\n\n")
        assert rows(list_) == ("2 in progress, 0 looking in the store, 3 waiting", expected)
        assert "now: 2 being resolved, 3 waiting, 4 clients known" in overview
        top = json.loads(capsd.command("top", "--once", "--json"))
        assert [flight["keys"] for flight in top["flights"]["flights"]] == [[], [key_of(shared)]]
        shell.order(f"{binary()} top --config {capsd.config} --interval 1")
        shell.wait_for("2 in progress, 0 looking in the store, 3 waiting", "may answer  1 rare", f"may answer  {key_of(shared)}", "lately: ")
        # A flight that ends is gone from it.
        lonely.mode = "honest"
        for question in lonely.caps_questions:
            lonely.answer(question)
        await until(lambda: waiting[2].done(), "the lone one has answered")
        shell.wait_for("1 in progress, 0 looking in the store, 2 waiting")
        assert lone.ver() not in shell.screen()
        shell.press("q")
        printed = capsd.command("flights") + capsd.command("top", "--once") + shell.screen()
        for client in (lonely, *sharers, asker):
            assert client.bare not in printed
    finally:
        for task in waiting:
            task.cancel()
