"""capsd as an entity of its own: its disco#info, its caps, ping, version, time."""

import re

import pytest

from harness.caps import CAPS_0115, CAPS_0390, DISCO_INFO, DISCO_ITEMS, HASHES
from harness.processes import until
from harness.servers import COMPONENT, DOMAIN


@pytest.fixture
async def user(capsd, make_client):
    """A permitted user, logged in."""
    return await make_client("user").log_in()


async def test_its_own_disco_info(user):
    reply = await user.ask()
    info = reply.info
    assert len(info.identities) >= 1
    assert {DISCO_INFO, CAPS_0115, CAPS_0390, "urn:xmpp:ping", "jabber:iq:version", "urn:xmpp:time"} <= set(info.features)
    assert reply.node is None


async def test_its_own_items(user):
    reply = await user.iq(COMPONENT, f"<query xmlns='{DISCO_ITEMS}'/>")
    assert reply.kind == "result"
    assert len(reply.child) == 0


async def test_the_server_lists_it(user):
    reply = await user.iq(DOMAIN, f"<query xmlns='{DISCO_ITEMS}'/>")
    assert COMPONENT in [item.get("jid") for item in reply.child]


async def test_ping(user):
    assert (await user.iq(COMPONENT, "<ping xmlns='urn:xmpp:ping'/>")).kind == "result"


async def test_version(user):
    reply = await user.iq(COMPONENT, "<query xmlns='jabber:iq:version'/>")
    assert reply.kind == "result"
    assert reply.child.findtext("{jabber:iq:version}name") == "capsd"
    assert re.match(r"\d+\.\d+", reply.child.findtext("{jabber:iq:version}version"))


async def test_time(user):
    reply = await user.iq(COMPONENT, "<time xmlns='urn:xmpp:time'/>")
    assert reply.kind == "result"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", reply.child.findtext("{urn:xmpp:time}utc"))
    assert re.fullmatch(r"Z|[+-]\d\d:\d\d", reply.child.findtext("{urn:xmpp:time}tzo"))


async def test_contact_addresses(server, make_capsd, make_client):
    make_capsd(server, contact=f'admin = ["xmpp:admin@{DOMAIN}"]').start()
    user = await make_client("user").log_in()
    forms = dict((await user.ask()).info.forms)
    assert forms["http://jabber.org/network/serverinfo"]["admin-addresses"] == [f"xmpp:admin@{DOMAIN}"]


@pytest.mark.parametrize("child", ["<query xmlns='urn:example:nonsense'/>", "<query xmlns='jabber:iq:roster'/>", ""])
@pytest.mark.parametrize("type_", ["get", "set"])
async def test_what_it_does_not_know_is_answered_with_an_error(user, child, type_):
    reply = await user.iq(COMPONENT, child, type_=type_)
    assert reply.kind == "error"
    assert reply.condition in {"service-unavailable", "feature-not-implemented", "bad-request"}


async def test_its_presence_announces_caps_that_verify(user):
    user.announce()
    user.send(f"<presence type='subscribe' to='{COMPONENT}'/>")
    await until(lambda: user.presences_from(COMPONENT), "capsd's presence arrives")
    presence = user.presences_from(COMPONENT)[-1]
    own = (await user.ask()).info

    c = presence.find(f"{{{CAPS_0115}}}c")
    assert (c.get("hash"), c.get("ver")) == ("sha-1", own.ver())
    reply = await user.ask(f"{c.get('node')}#{c.get('ver')}")
    assert reply.info.covered() == own.covered()
    assert reply.node == f"{c.get('node')}#{c.get('ver')}"

    hashes = {element.get("algo"): element.text for element in presence.find(f"{{{CAPS_0390}}}c").findall(f"{{{HASHES}}}hash")}
    assert set(hashes) & {"sha-256", "sha3-256", "blake2b-512"}, "one of the functions that XEP-0414 requires"
    for algorithm, digest in hashes.items():
        assert digest == own.hash_0390(algorithm), algorithm
        assert (await user.ask(f"{CAPS_0390}#{algorithm}.{digest}")).info.covered() == own.covered()


async def test_it_stores_nothing_about_itself(capsd, user):
    await user.ask()
    assert capsd.metrics().total("capsd_cache_entries", tier="learned") == 0
    assert capsd.queries() == 0


async def test_subscribers_hear_of_changed_caps(capsd, user):
    """The contact addresses belong to what capsd's own hash covers: when they change, so does the hash."""
    user.announce()
    user.send(f"<presence type='subscribe' to='{COMPONENT}'/>")
    announced = lambda: [presence.find(f"{{{CAPS_0115}}}c").get("ver") for presence in user.presences_from(COMPONENT)]
    await until(announced, "capsd's presence arrives")
    vers = [announced()[-1]]
    infos = [(await user.ask()).info]
    for number in range(2):
        text = capsd.config.read_text().split("[contact]")[0]
        capsd.config.write_text(f'{text}[contact]\nadmin = ["xmpp:admin{number}@{DOMAIN}"]\n')
        capsd.reload()
        await until(lambda: announced()[-1] != vers[-1], lambda: f"the new caps arrive; the log ends: {capsd.log()[-2000:]}")
        vers.append(announced()[-1])
        infos.append((await user.ask()).info)
        assert infos[-1].ver() == vers[-1]
    for ver, info in zip(vers, infos):
        reply = await user.ask(f"urn:capsd:0#{ver}")
        assert reply.info.covered() == info.covered(), "the last three sets are answered"
