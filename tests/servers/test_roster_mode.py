"""Servers that grant the presence of contacts too (`roster` instead of `managed_entity`): more stanzas, nothing more to be asked."""

import pytest

from harness.caps import sample
from harness.client import log_in_all, until_asked
from harness.processes import until
from harness.servers import KINDS, STRANGE_DOMAIN


@pytest.fixture(scope="module")
def server(kind, make_server, tmp_path_factory):
    snippet = KINDS[kind](tmp_path_factory.mktemp("unused")).snippet
    granted = {
        "prosody": snippet.replace('presence = "managed_entity";', 'presence = "roster"; roster = "get";'),
        "ejabberd": snippet.replace("managed_entity: caps_privileges", "roster: caps_privileges\n    roster:\n      get: caps_privileges"),
    }[kind]
    assert granted != snippet
    return make_server(snippet=granted)


async def befriend(one, other):
    """Two clients subscribe to each other."""
    for asking, asked in ((one, other), (other, one)):
        asking.send(f"<presence type='subscribe' to='{asked.bare}'/>")
        await until(lambda: asked.presences_from(asking.bare, "subscribe"), f"{asked.bare} is asked for a subscription")
        asked.send(f"<presence type='subscribed' to='{asking.bare}'/>")
        await until(lambda: asking.presences_from(asked.bare), f"{asking.bare} sees {asked.bare}")


async def test_contacts_that_are_seen_in_passing_are_not_asked(server, make_capsd, make_client):
    member, friend = make_client("member", sample("member")), make_client("friend", sample("friend"))
    stranger = make_client("stranger", sample("passing-stranger"), domain=STRANGE_DOMAIN)
    await log_in_all([member, friend, stranger])
    for client in (member, friend, stranger):
        client.announce_nothing()
    await befriend(member, friend)
    await befriend(member, stranger)
    capsd = make_capsd(server).start()
    for client in (stranger, member, friend):
        client.announce()
    await until_asked(member)
    await until_asked(friend)
    await capsd.until_idle()
    assert (await friend.ask(member.info.node_0115())).info.covered() == member.info.covered()
    assert (await member.ask(stranger.info.node_0115())).reason == "unknown"
    assert stranger.caps_questions == []
    assert [len(client.caps_questions) for client in (member, friend)] == [1, 1], "each once, however many copies were seen"
