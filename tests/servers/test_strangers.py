"""Who may ask, who is listened to, and that nobody else learns anything."""

import re

from harness.caps import CAPS_0115, DISCO_ITEMS, sample
from harness.client import log_in_all, until_asked
from harness.servers import COMPONENT, STRANGE_DOMAIN


def without_id(reply):
    """The reply as text, without what differs between any two replies to one asker."""
    attributes = re.sub(r' (id|node)="[^"]*"', "", reply.xml)
    return re.sub(r"ns\d+", "ns", " ".join(sorted(attributes.split())))


async def test_a_stranger_learns_nothing_whatever_is_asked(capsd, make_client):
    known, unknown = sample("known"), sample("unknown")
    member = make_client("member", known)
    stranger = make_client("stranger", domain=STRANGE_DOMAIN)
    await log_in_all([member, stranger])
    member.announce()
    await until_asked(member)
    assert (await member.ask(known.node_0115())).info.covered() == known.covered()

    replies = [
        await stranger.ask(known.node_0115()),
        await stranger.ask(known.node_0390()),
        await stranger.ask(unknown.node_0115()),
        await stranger.ask(unknown.node_0390()),
        await stranger.ask("no caps node"),
        await stranger.ask("x" * 2000),
        await stranger.ask(f"{CAPS_0115}#"),
        await stranger.ask(),
    ]
    for reply in replies:
        assert (reply.kind, reply.condition, reply.error_type, reply.reason) == ("error", "forbidden", "auth", None), reply.xml
    assert len({without_id(reply) for reply in replies}) == 1, "no reply differs from another"
    for child in (
        f"<query xmlns='{DISCO_ITEMS}'/>",
        "<query xmlns='jabber:iq:version'/>",
        "<time xmlns='urn:xmpp:time'/>",
        "<ping xmlns='urn:xmpp:ping'/>",
        "<query xmlns='urn:example:nonsense'/>",
    ):
        reply = await stranger.iq(COMPONENT, child)
        assert (reply.kind, reply.condition) == ("error", "forbidden"), reply.xml
    metrics = capsd.metrics()
    assert metrics.total("capsd_lookup_failures_total", reason="forbidden") >= 8
    assert capsd.queries() == 1


async def test_a_strangers_presence_is_not_learned_from(server, make_capsd, make_client):
    """Prosody tells a privileged component, when it connects, who is online on every virtual host; only the link's own domains count."""
    info = sample("of-a-stranger")
    stranger, asker = make_client("stranger", info, domain=STRANGE_DOMAIN), make_client("asker", sample("of-a-member"))
    await log_in_all([stranger, asker])
    stranger.announce()
    asker.announce()
    capsd = make_capsd(server).start()
    stranger.announce()
    asker.announce()
    await until_asked(asker)
    await capsd.until_idle()
    reply = await asker.ask(info.node_0115())
    assert (reply.condition, reply.reason) == ("item-not-found", "unknown")
    assert stranger.caps_questions == []


async def test_the_same_asker_is_limited(server, make_capsd, make_client):
    capsd = make_capsd(server, limits='queries-per-asker = "1/s"').start()
    asker, other = make_client("asker"), make_client("other")
    await log_in_all([asker, other])
    replies = [await asker.ask(sample("nothing").node_0115()) for _ in range(20)]
    assert {reply.reason for reply in replies} == {"unknown", "rate-limited"}
    limited = next(reply for reply in replies if reply.reason == "rate-limited")
    assert (limited.condition, limited.error_type) == ("resource-constraint", "wait")
    assert (await other.ask(sample("nothing").node_0115())).reason == "unknown", "others are not affected"
    assert capsd.metrics().total("capsd_rate_limited_total") >= 1
