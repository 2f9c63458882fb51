"""A holder that fails: the next one is asked under the same deadline, and a failure leaves nothing behind."""

import asyncio
import time

import pytest

from harness.caps import Info, sample
from harness.client import log_in_all, until_asked
from harness.processes import until

DEADLINE = 4.0
# Silence costs one holder's time, not the whole deadline.
RESOLVER = f'deadline = "{DEADLINE:g}s"\nholder-timeout = "1s"'
FAULTS = ["silent", "error", "lying", "disconnect"]


def stored(capsd):
    """How many entries have been learned."""
    return capsd.metrics().total("capsd_cache_entries", tier="learned")


@pytest.fixture
def capsd(server, make_capsd):
    return make_capsd(server, resolver=RESOLVER).start()


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_second_holder_answers_within_the_deadline(capsd, make_client, fault):
    info = sample(f"second-after-{fault}")
    bad = make_client("bad", info, mode=fault, delay=0.3, liar_info=sample("somebody-else"))
    good, asker = make_client("good", info), make_client("asker")
    await log_in_all([bad, good, asker])
    bad.announce()
    await until_asked(bad)
    good.announce()  # while the question to the first is open
    begin = time.monotonic()
    reply = await asker.ask(info.node_0115())
    assert time.monotonic() - begin < DEADLINE
    assert reply.info.covered() == info.covered()
    await capsd.until_idle()
    assert len(good.caps_questions) == 1
    assert len(bad.caps_questions) == 1


@pytest.mark.parametrize("fault, reasons", [
    ("silent", {"unreachable", "timeout"}),
    ("error", {"unreachable"}),
    ("lying", {"mismatch"}),
    ("disconnect", {"unreachable", "timeout"}),
])
async def test_without_an_honest_holder_there_is_an_error_and_nothing_is_stored(capsd, make_client, fault, reasons):
    info = sample(f"nobody-honest-{fault}")
    holders = [make_client(f"bad{i}", info, mode=fault, delay=0.3, liar_info=sample("somebody-else")) for i in range(2)]
    asker = make_client("asker")
    await log_in_all([*holders, asker])
    before = capsd.presences_heard()
    for holder in holders:
        holder.announce()
    await capsd.until_heard(before, 2)
    await until(lambda: any(holder.caps_questions for holder in holders), "somebody is asked")
    begin = time.monotonic()
    replies = await asyncio.gather(*(asker.ask(info.node_0115()) for _ in range(10)))
    assert time.monotonic() - begin < DEADLINE + 0.5
    for reply in replies:
        assert reply.reason in reasons, reply.xml
        expected = ("remote-server-timeout", "wait") if reply.reason == "timeout" else ("item-not-found", "cancel")
        assert (reply.condition, reply.error_type) == expected
    await capsd.until_idle()
    assert stored(capsd) == 0
    again = await asker.ask(info.node_0115())
    assert again.kind == "error"
    assert all(len(holder.caps_questions) <= 1 for holder in holders), "a failure is remembered against its holder"


async def test_a_holder_that_died_without_a_word_is_passed_over(server, make_capsd, make_client):
    """ejabberd does not report a broken connection, so capsd goes on to believe in that holder until it asks."""
    capsd = make_capsd(server, resolver=RESOLVER + '\nresolve = "on-demand"').start()
    info = sample("dead-holder")
    dead, good, asker = make_client("dead", info), make_client("good", info), make_client("asker")
    await log_in_all([dead, good, asker])
    before = capsd.presences_heard()
    dead.announce()
    good.announce()
    await capsd.until_heard(before, 2)
    dead.abort()
    begin = time.monotonic()
    reply = await asker.ask(info.node_0115())
    assert time.monotonic() - begin < DEADLINE
    assert reply.info.covered() == info.covered()
    assert len(good.caps_questions) == 1


async def test_a_new_holder_is_asked_after_the_others_have_failed(capsd, make_client):
    info = sample("late-honesty")
    bad, good, asker = make_client("bad", info, mode="error"), make_client("good", info), make_client("asker")
    await log_in_all([bad, good, asker])
    bad.announce()
    await until_asked(bad)
    await capsd.until_idle()
    assert (await asker.ask(info.node_0115())).kind == "error"
    good.announce()
    await until_asked(good)
    assert (await asker.ask(info.node_0115())).info.covered() == info.covered()


async def test_a_mismatch_that_verifies_under_another_announced_hash_is_stored_there(capsd, make_client):
    """As profanity does: it announces one hash, then another at once, and answers for either with what it can do now."""
    early, late = sample("early"), sample("late", extra=["urn:example:added"])
    client, asker = make_client("changing", late, delay=0.2), make_client("asker")
    await log_in_all([client, asker])
    client.announce(early.c_0115())
    await until_asked(client)
    client.announce(late.c_0115())
    await capsd.until_metric("capsd_verifications_total", 1, result="ok")
    await capsd.until_idle()
    reply = await asker.ask(late.node_0115())
    assert reply.info.covered() == late.covered()
    missing = await asker.ask(early.node_0115())
    assert (missing.kind, missing.condition) == ("error", "item-not-found")
    assert capsd.metrics().total("capsd_verifications_total", result="mismatch") >= 1


async def test_an_honest_answer_after_a_mismatch_is_accepted_from_the_same_client(capsd, make_client):
    """A mismatch blacklists nobody: the next announcement gives the holder another chance."""
    info, other = sample("second-chance"), sample("not-yet")
    client, asker = make_client("client", info, mode="lying", liar_info=other), make_client("asker")
    await log_in_all([client, asker])
    client.announce()
    await until_asked(client)
    await capsd.until_idle()
    client.mode = "honest"
    client.announce(other.c_0115())
    await until_asked(client, 2)
    client.announce()
    await until_asked(client, 3)
    assert (await asker.ask(info.node_0115())).info.covered() == info.covered()


DUPLICATE = Info([("client", "pc", "", "Twice")], ["urn:example:once", "urn:example:twice", "urn:example:twice"])
# `a=[b], c=[d]` and `a=[b,c,d]` are one verification string.
TWO_READINGS = Info(
    [("client", "pc", "", "Two readings")], ["urn:example:one"], [("urn:example:unknown-form", {"a": ["b"], "c": ["d"]})]
)


@pytest.mark.parametrize("info, reason", [(DUPLICATE, "ill-formed"), (TWO_READINGS, "ambiguous")], ids=["ill-formed", "ambiguous"])
async def test_content_that_breaks_a_rule_is_told_and_not_stored(capsd, make_client, info, reason):
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce()
    await until_asked(client)
    await capsd.until_idle()
    reply = await asker.ask(info.node_0115())
    assert (reply.condition, reply.error_type, reply.reason) == ("item-not-found", "cancel", reason)
    assert stored(capsd) == 0
    assert capsd.metrics().total("capsd_verifications_total", result=reason) == 1
