"""What capsd learns from presence: which announcements count, when they end, and that it never asks for a subscription."""

import asyncio

import pytest

from harness.caps import CAPS_0115, CAPS_0390, HASHES, sample
from harness.client import log_in_all, until_asked
from harness.processes import until
from harness.servers import COMPONENT


async def announced(capsd, client, *caps, **options):
    """Announces, and waits until capsd has heard it."""
    before = capsd.presences_heard()
    client.announce(*caps, **options)
    await capsd.until_heard(before)


async def test_both_families_in_one_presence_are_one_question(capsd, make_client):
    info = sample("linked")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce(info.c_0115(), info.c_0390("sha-256", "sha3-256", "blake2b-512", "sha-512"))
    await until_asked(client)
    nodes = [info.node_0115()] + [info.node_0390(name) for name in ("sha-256", "sha3-256", "blake2b-512", "sha-512")]
    replies = await asyncio.gather(*(asker.ask(node) for node in nodes))
    for node, reply in zip(nodes, replies):
        assert reply.info.covered() == info.covered(), node
        assert reply.node == node
    await capsd.until_idle()
    assert len(client.caps_questions) == 1
    assert capsd.queries() == 1
    assert capsd.metrics().total("capsd_announcements_total", kind="both") == 1


async def test_0390_alone_is_learned(capsd, make_client):
    info = sample("only-0390")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce(info.c_0390("sha3-512"))
    await until_asked(client)
    assert client.caps_questions[0].node == info.node_0390("sha3-512")
    assert (await asker.ask(info.node_0390("sha3-512"))).info.covered() == info.covered()


async def test_a_presence_without_caps_changes_nothing(server, make_capsd, make_client):
    """XEP-0115 section 8.4: no `<c/>` means that nothing has changed. So the holder of the key can still be asked."""
    capsd = make_capsd(server, resolver='resolve = "on-demand"').start()
    info = sample("optimised")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    await announced(capsd, client)
    before = capsd.presences_heard()
    client.announce_nothing("<show>away</show>")
    await capsd.until_heard(before)
    assert client.caps_questions == []
    assert (await asker.ask(info.node_0115())).info.covered() == info.covered()
    assert len(client.caps_questions) == 1


async def test_a_change_in_mid_session_replaces_what_was_announced(server, make_capsd, make_client):
    capsd = make_capsd(server, resolver='resolve = "on-demand"').start()
    early, late = sample("version-1"), sample("version-2")
    client, asker = make_client("client", early), make_client("asker")
    await log_in_all([client, asker])
    await announced(capsd, client)
    client.info = late
    await announced(capsd, client)
    assert (await asker.ask(late.node_0115())).info.covered() == late.covered()
    reply = await asker.ask(early.node_0115())
    assert (reply.condition, reply.reason) == ("item-not-found", "unknown")
    assert [question.node for question in client.caps_questions] == [late.node_0115()], "nobody announces the old hash any more"


async def test_who_has_left_is_not_asked(server, make_capsd, make_client):
    capsd = make_capsd(server, resolver='resolve = "on-demand"').start()
    info = sample("gone")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    await announced(capsd, client)
    before = capsd.presences_heard()
    client.become_unavailable()
    await capsd.until_heard(before)
    reply = await asker.ask(info.node_0115())
    assert (reply.condition, reply.reason) == ("item-not-found", "unknown")
    assert client.caps_questions == []


async def test_the_same_resource_logs_in_again_with_other_caps(server, make_capsd, make_client):
    """Prosody reports that the first session ended, ejabberd does not: the later announcement counts."""
    capsd = make_capsd(server, resolver='resolve = "on-demand"').start()
    early, late = sample("first-login"), sample("second-login")
    first, asker = make_client("client", early), make_client("asker")
    await log_in_all([first, asker])
    await announced(capsd, first)
    second = make_client("client", late)
    await second.log_in()
    await until(lambda: not first.connected, "the first session is replaced")
    # The end of the first session may be heard later than this.
    before = capsd.metrics().total("capsd_announcements_total")
    second.announce()
    await capsd.until_metric("capsd_announcements_total", before + 1)
    assert (await asker.ask(late.node_0115())).info.covered() == late.covered()
    assert (await asker.ask(early.node_0115())).reason == "unknown"
    assert len(second.caps_questions) == 1


async def subscription(client):
    """What the client's roster says about capsd; servers do not show every step of a subscription to clients."""
    reply = await client.iq(None, "<query xmlns='jabber:iq:roster'/>")
    return {item.get("jid"): item.get("subscription") for item in reply.child}.get(COMPONENT)


async def test_a_subscription_is_approved_and_none_is_asked_for_first(capsd, make_client):
    client, bystander = make_client("subscriber", sample("subscriber")), make_client("bystander", sample("bystander"))
    await log_in_all([client, bystander])
    client.announce()
    bystander.announce()
    await until_asked(client)
    await until_asked(bystander)
    await capsd.until_idle()
    assert client.presences_from(COMPONENT, "subscribe") == []
    client.send(f"<presence type='subscribe' to='{COMPONENT}'/>")
    await until(lambda: client.presences_from(COMPONENT), "capsd's own presence arrives")
    assert await subscription(client) == "to"
    client.send(f"<presence type='unsubscribe' to='{COMPONENT}'/>")
    # Nothing has come to who asked for nothing, until the end.
    await bystander.ask(bystander.info.node_0115())
    assert bystander.presences_from(COMPONENT) == []
    assert bystander.presences_from(COMPONENT, "subscribe") == []


async def test_directed_presence_is_learned_without_any_other(capsd, make_client):
    """An invisible user who shows itself to capsd alone."""
    info = sample("directed")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce(to=COMPONENT)
    await until_asked(client)
    assert (await asker.ask(info.node_0115())).info.covered() == info.covered()
    client.become_unavailable(to=COMPONENT)
    await capsd.until_idle()
    assert capsd.queries() == 1


@pytest.mark.parametrize("caps, counted_as, node, reason", [
    (f"<c xmlns='{CAPS_0115}' node='http://psi-im.org/caps' ver='0.9' ext='cs ep'/>", "legacy", "http://psi-im.org/caps#0.9", "legacy"),
    (f"<c xmlns='{CAPS_0115}' hash='whirlpool' node='urn:x' ver='AAAA'/>", "unsupported", "urn:x#AAAA", "unsupported-algorithm"),
    (
        f"<c xmlns='{CAPS_0390}'><hash xmlns='{HASHES}' algo='whirlpool'>AAAA</hash></c>",
        "unsupported",
        f"{CAPS_0390}#whirlpool.AAAA",
        "unsupported-algorithm",
    ),
    (
        f"<c xmlns='{CAPS_0115}' hash='md5' node='urn:x' ver='1B2M2Y8AsgTpgAmY7PhCfg=='/>",
        "unsupported",
        "urn:x#1B2M2Y8AsgTpgAmY7PhCfg==",
        "unsupported-algorithm",
    ),
], ids=["legacy", "unsupported-0115", "unsupported-0390", "md5"])
async def test_what_cannot_be_verified_is_counted_and_not_stored(capsd, make_client, caps, counted_as, node, reason):
    client, asker = make_client("client", sample(counted_as)), make_client("asker")
    await log_in_all([client, asker])
    await announced(capsd, client, caps)
    await capsd.until_idle()
    reply = await asker.ask(node)
    assert reply.kind == "error"
    assert reply.reason == reason
    metrics = capsd.metrics()
    assert metrics.total("capsd_announcements_total", kind=counted_as) == 1
    assert metrics.total("capsd_cache_entries", tier="learned") == 0


async def test_ext_beside_a_hash_changes_nothing(capsd, make_client):
    info = sample("ext")
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    client.announce(info.c_0115().replace("/>", " ext='a b c'/>"))
    await until_asked(client)
    assert (await asker.ask(info.node_0115())).info.covered() == info.covered()
    await capsd.until_idle()
    assert capsd.queries() == 1
