"""A proof counts for its own key: forged readings of a popular 0115 hash, together with their own correct 0390 hash."""

import pytest

from harness.caps import DISCO_INFO, Info
from harness.client import log_in_all, until_asked

FEATURES = ["http://jabber.org/protocol/caps", DISCO_INFO, "urn:example:a", "urn:example:b", "urn:xmpp:ping"]
ME = ("client", "pc", "en", "/Popular")


def honest():
    """What the popular client can do."""
    return Info([ME], list(FEATURES))


# Other contents with the same 0115 string as `honest`.
FORGERIES = {
    "features as a form": Info([ME], FEATURES[:2], [(FEATURES[2], {FEATURES[3]: [FEATURES[4]]})]),
    "features as a form of many values": Info([ME], FEATURES[:1], [(FEATURES[1], {FEATURES[2]: FEATURES[3:]})]),
    "features as an empty form": Info([ME], FEATURES[:3], [(FEATURES[3], {FEATURES[4]: []})]),
    "the identity as a feature": Info([], ["/".join(ME), *FEATURES]),
    "a feature as an identity": Info([ME, ("http:", "", "jabber.org", "protocol/caps")], FEATURES[1:]),
    "a slash moved": Info([("client", "pc/en", "", "Popular")], list(FEATURES)),
    "two features in one": Info([ME], ["<".join(FEATURES[:2]), *FEATURES[2:]]),
}


def both(info):
    """The announcement of both hashes."""
    return info.c_0115(), info.c_0390()


async def assert_honest_content_is_served(asker, forged):
    """Under every key of the honest content that content; under the forgery's own key that or nothing."""
    info = honest()
    for node in (info.node_0115(), info.node_0390()):
        reply = await asker.ask(node)
        assert reply.info.covered() == info.covered(), reply.xml
    own = await asker.ask(forged.node_0390())
    assert own.kind == "error" or own.info.covered() == forged.covered(), own.xml


@pytest.fixture(params=FORGERIES)
def forged(request):
    info = FORGERIES[request.param]
    assert info.ver() == honest().ver() and info.covered() != honest().covered()
    assert info.hash_0390() != honest().hash_0390()
    return info


async def test_a_forgery_before_the_honest_client_gains_nothing(capsd, make_client, forged):
    attacker, client, asker = make_client("attacker", forged), make_client("client", honest()), make_client("asker")
    await log_in_all([attacker, client, asker])
    attacker.announce(*both(forged))
    await until_asked(attacker)
    await capsd.until_idle()
    refused = await asker.ask(honest().node_0115())
    assert refused.kind == "error" and refused.reason in ("ambiguous", "ill-formed"), refused.xml
    client.announce(honest().c_0115())
    await until_asked(client)
    await capsd.until_idle()
    await assert_honest_content_is_served(asker, forged)


async def test_a_forgery_after_the_honest_client_gains_nothing(capsd, make_client, forged):
    attacker, client, asker = make_client("attacker", forged), make_client("client", honest()), make_client("asker")
    await log_in_all([attacker, client, asker])
    client.announce(honest().c_0115())
    await until_asked(client)
    await capsd.until_idle()
    before = capsd.presences_heard()
    attacker.announce(*both(forged))
    await capsd.until_heard(before)
    await capsd.until_idle()
    # Asked for its own key, so that whatever the forgery can do is done.
    await asker.ask(forged.node_0390())
    assert len(attacker.caps_questions) == 1
    await assert_honest_content_is_served(asker, forged)


async def test_who_waits_while_a_forger_is_asked_receives_the_honest_content(capsd, make_client):
    forged = FORGERIES["features as a form"]
    attacker, client, asker = make_client("attacker", forged, delay=0.5), make_client("client", honest()), make_client("asker")
    await log_in_all([attacker, client, asker])
    attacker.announce(*both(forged))
    await until_asked(attacker)
    client.announce(honest().c_0115())
    reply = await asker.ask(honest().node_0115())
    assert reply.info.covered() == honest().covered()
    await assert_honest_content_is_served(asker, forged)


async def test_the_honest_content_survives_a_restart_and_the_forger(capsd, make_client):
    forged = FORGERIES["features as a form"]
    attacker, client, asker = make_client("attacker", forged), make_client("client", honest()), make_client("asker")
    await log_in_all([attacker, client, asker])
    attacker.announce(*both(forged))
    await until_asked(attacker)
    client.announce(honest().c_0115())
    await until_asked(client)
    await capsd.until_idle()
    capsd.restart()
    await assert_honest_content_is_served(asker, forged)
