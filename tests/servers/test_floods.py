"""Whoever overdoes it gets what the quotas allow, and nobody else notices."""

from xml.sax.saxutils import quoteattr

import pytest

from harness.caps import DISCO_INFO, sample
from harness.client import Client, log_in_all, log_out_all, until_asked
from harness.servers import COMPONENT, STRANGE_DOMAIN

# The default of `new-keys-per-account`.
NEW_KEYS = 20
MIB = 1 << 20


class Flooder(Client):
    """Announces ever new caps, and answers truly for each of them."""

    def __init__(self, server, user, infos):
        server.add_users([user])
        super().__init__(server, user)
        self.infos = {info.node_0115(): info for info in infos}

    def flood(self, infos):
        for info in infos:
            self.announce(info.c_0115())

    def answer(self, question):
        self.info = self.infos[question.node]
        super().answer(question)


class Trickler(Client):
    """Begins to answer, and never comes to the end."""

    def answer(self, question):
        self.send(f"<iq type='result' id={quoteattr(question.id)} to={quoteattr(question.sender)}><query xmlns='{DISCO_INFO}'><identity ")


def size_of(directory):
    """The bytes of the files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


async def test_a_flooding_client_among_honest_ones(server, capsd, make_client):
    infos = [sample(f"flood-{i}") for i in range(2000)]
    flooder = Flooder(server, "flooder", infos)
    known, fresh = sample("honest-known"), sample("honest-fresh")
    regular, newcomer, asker = make_client("regular", known), make_client("newcomer", fresh), make_client("asker")
    await log_in_all([flooder, regular, newcomer, asker])
    try:
        regular.announce()
        await until_asked(regular)
        assert (await asker.ask(known.node_0115())).info.covered() == known.covered()
        disk, memory = size_of(capsd.store), capsd.metrics().total("process_resident_memory_bytes")
        before = capsd.presences_heard()
        for first in range(0, 2000, 100):
            flooder.flood(infos[first : first + 100])
            assert (await asker.ask(known.node_0115())).info.covered() == known.covered()
        newcomer.announce()
        assert (await asker.ask(fresh.node_0115())).info.covered() == fresh.covered()
        await capsd.until_heard(before, 2001)
        await capsd.until_idle()

        assert len(flooder.caps_questions) <= NEW_KEYS
        stored = "capsd_cache_entries"
        await capsd.until_metric(stored, 2, tier="learned")
        assert capsd.metrics().total(stored, tier="learned") <= NEW_KEYS + 2
        assert capsd.metrics().total("capsd_rate_limited_total", scope="account") > 0
        assert size_of(capsd.store) - disk <= 2 * MIB
        assert capsd.metrics().total("process_resident_memory_bytes") - memory <= 16 * MIB

        # What it announces is served all the same to whoever wants to know, and then it is worth keeping.
        last = infos[-1]
        asked = len(flooder.caps_questions)
        assert (await asker.ask(last.node_0115())).info.covered() == last.covered()
        assert len(flooder.caps_questions) == asked + 1
        capsd.restart()
        assert (await asker.ask(last.node_0115())).info.covered() == last.covered()
        assert capsd.queries() == 0
    finally:
        await log_out_all([flooder])


async def test_only_the_second_use_reaches_the_disk(server, make_capsd, make_client):
    capsd = make_capsd(server, limits='new-keys-per-account = "1/h"').start()
    infos = [sample(f"rare-{i}") for i in range(3)]
    flooder = Flooder(server, "rare", infos)
    asker = make_client("asker")
    await log_in_all([flooder, asker])
    try:
        flooder.announce(infos[0].c_0115())
        await until_asked(flooder)
        # Its own look-ups are no second use.
        flooder.announce(infos[1].c_0115())
        assert (await flooder.ask(infos[1].node_0115())).info.covered() == infos[1].covered()
        flooder.announce(infos[2].c_0115())
        assert (await flooder.ask(infos[2].node_0115())).info.covered() == infos[2].covered()
        assert capsd.metrics().total("capsd_cache_admission_deferred_total", reason="account") == 2
        assert (await asker.ask(infos[2].node_0390())).info.covered() == infos[2].covered()
        flooder.become_unavailable()
        capsd.restart()
        replies = [await asker.ask(info.node_0115()) for info in infos]
        assert [reply.kind for reply in replies] == ["result", "error", "result"]
        assert replies[1].reason == "unknown"
    finally:
        await log_out_all([flooder])


async def test_a_holder_that_never_comes_to_the_end(server, capsd, make_client):
    info = sample("trickle")
    server.add_users(["trickler"])
    slow, asker, honest = Trickler(server, "trickler", info), make_client("asker"), make_client("honest", info)
    await log_in_all([slow, asker, honest])
    try:
        slow.announce()
        await until_asked(slow)
        honest.announce()
        assert (await asker.ask(info.node_0115())).info.covered() == info.covered()
        assert capsd.metrics().total("capsd_upstream_queries_total", result="timeout") == 1
    finally:
        slow.abort()


@pytest.mark.parametrize("size", [9_000, 200_000])
async def test_a_long_attribute_does_not_cost_the_link(capsd, make_client, size):
    stranger, member = make_client("stranger", domain=STRANGE_DOMAIN), make_client("member")
    await log_in_all([stranger, member])
    long = "x" * size
    assert (await stranger.ask(long)).condition == "forbidden"
    assert (await member.ask(long)).reason == "too-large"
    member.send(f"<presence to='{COMPONENT}' {long}=''/>")
    member.send(f"<message to='{COMPONENT}'><{long}/></message>")
    assert (await member.ask("still there?")).reason == "malformed-node"
    assert capsd.metrics().total("capsd_component_connects_total") == 1
