"""Ad-hoc commands (XEP-0050): administrators use them with an ordinary client library; for everybody else there are none."""

import xml.etree.ElementTree as ET

import pytest
from slixmpp.exceptions import IqError

from harness.caps import DISCO_INFO, DISCO_ITEMS, info_of, sample
from harness.client import STANZA_ERRORS
from harness.processes import until
from harness.servers import COMPONENT, DOMAIN

COMMANDS = "http://jabber.org/protocol/commands"
PREFIX = "urn:capsd:0:"
ALL = {"status", "lookup", "resolve", "flush", "flush-all", "deny", "undeny", "pin", "unpin", "reload", "log-level", "export"}


class Admin:
    """An administrator with slixmpp's own XEP-0050."""

    def __init__(self, client):
        self.client = client
        for plugin in ("xep_0030", "xep_0004", "xep_0050"):
            client.xmpp.register_plugin(plugin)
        self.plugin = client.xmpp.plugin["xep_0050"]

    async def begin(self, command):
        """Executes a command; the `<command/>` that comes back."""
        return (await self.plugin.send_command(COMPONENT, PREFIX + command))["command"]

    async def submit(self, command, **values):
        """Executes a command, fills in its form, and submits that as the form's default action says."""
        first = await self.begin(command)
        assert first["status"] == "executing"
        assert first["actions"] == {"complete"}
        form = first["form"]
        assert form["title"] and form["instructions"]
        assert all(field["required"] and field["label"] for field in form.get_fields().values())
        answer = self.client.xmpp.plugin["xep_0004"].make_form(ftype="submit")
        for var, value in values.items():
            answer.add_field(var=var, value=value)
        reply = await self.plugin.send_command(COMPONENT, PREFIX + command, action="complete", payload=answer, sessionid=first["sessionid"])
        assert reply["command"]["sessionid"] == first["sessionid"]
        return reply["command"]


def note(command):
    """Type and text of the only note."""
    (one,) = command["notes"]
    return one


def result(command):
    """The lines that a finished command shows."""
    assert command["status"] == "completed"
    fields = command["form"].get_fields()
    assert {field["type"] for field in fields.values()} == {"fixed"}
    return "\n".join(field["value"] for field in fields.values())


@pytest.fixture
async def capsd(server, make_capsd):
    return make_capsd(server, component_settings=f'admins = ["other@{DOMAIN}", "admin@{DOMAIN}"]').start()


@pytest.fixture
async def admin(capsd, make_client):
    return Admin(await make_client("admin").log_in())


async def test_the_commands_are_listed_and_described(admin):
    listed = await admin.plugin.get_commands(COMPONENT)
    items = listed["disco_items"]["items"]
    assert {node for _, node, _ in items} == {PREFIX + name for name in ALL}
    assert all(jid == COMPONENT and name for jid, _, name in items)
    disco = admin.client.xmpp.plugin["xep_0030"]
    for node, kind in ((COMMANDS, "command-list"), (PREFIX + "flush", "command-node")):
        info = (await disco.get_info(COMPONENT, node=node))["disco_info"]
        assert {(category, type_) for category, type_, *_ in info["identities"]} == {("automation", kind)}
        assert {COMMANDS, "jabber:x:data"} <= set(info["features"])


async def test_status_lookup_and_flush(capsd, admin, make_client):
    info = sample("adhoc")
    holder = await make_client("holder", info).log_in()
    holder.announce()
    await capsd.until_metric("capsd_cache_entries", 1, tier="learned")
    status = result(await admin.begin("status"))
    assert any(line.startswith(f"link {COMPONENT}") and ": up" in line for line in status.splitlines())

    found = result(await admin.submit("lookup", key=info.node_0115()))
    assert info.features[0] in found and "learned" in found
    # Hot, and in front of that, too.
    await admin.client.ask(info.node_0115())
    await admin.client.ask(info.node_0115())
    asked = capsd.queries()
    flushed = await admin.submit("flush", key=info.node_0115())
    assert note(flushed) == ("info", "1 content is forgotten, in every tier")
    missing = await admin.submit("lookup", key=info.node_0115())
    assert note(missing) == ("error", "unknown: it is not stored")
    found = result(await admin.submit("resolve", key=info.node_0115()))
    assert info.features[0] in found
    assert capsd.queries() == asked + 1
    # Whoever asks after a flush has the client asked again.
    await admin.submit("flush-all", sure="1")
    assert (await admin.client.ask(info.node_0115())).info.covered() == info.covered()
    assert capsd.queries() == asked + 2
    exported = await admin.begin("export")
    assert "0 contents; that is all" in note(exported)[1]


class Pages:
    """The pages of an export: each form is sent back whole, as it was received (XEP-0004 section 3.2), to see the next one."""

    def __init__(self, admin):
        self.admin = admin

    async def next(self, page=None):
        """The page after that one; the first one without."""
        if page is None:
            return await self.admin.begin("export")
        form = page["form"]
        form["type"] = "submit"
        reply = await self.admin.plugin.send_command(COMPONENT, PREFIX + "export", action="next", payload=form, sessionid=page["sessionid"])
        return reply["command"]

    @staticmethod
    def contents(page):
        """What is shown on a page: keys to documents. Fields are told apart by their names, as clients do."""
        fields = page["form"].get_fields()
        assert len(fields) == len(page["form"].xml.findall("{jabber:x:data}field")), "two fields have the same name"
        text = lambda value: value if isinstance(value, str) else "\n".join(value)
        return {field["label"]: text(field["value"]) for var, field in fields.items() if var != "from"}


async def test_an_export_is_read_page_by_page(server, make_capsd, make_client, tmp_path):
    # Forty contents of usual size, and some of 40 KB, of which a stanza does not hold many.
    infos = [sample(f"page-{number}") for number in range(40)]
    infos += [sample(f"large-{number}", [f"urn:example:{part}:{'x' * 100}" for part in range(350)]) for number in range(3)]
    for number, info in enumerate(infos):
        (tmp_path / f"sha-1_%23{info.ver().replace('/', '%2F').replace('+', '%2B').replace('=', '%3D')}.xml").write_text(info.query())
    settings = {"component_settings": f'admins = ["admin@{DOMAIN}"]', "limits": 'max-disco-bytes = "64KiB"\nmax-features = 500'}
    capsd = make_capsd(server, **settings).start()
    capsd.command("import", tmp_path)
    pages = Pages(Admin(await make_client("admin").log_in()))
    page, seen = await pages.next(), {}
    while True:
        shown = pages.contents(page)
        assert len(shown) <= 8 and not shown.keys() & seen.keys()
        seen |= shown
        if page["status"] == "completed":
            break
        assert note(page) == ("info", f"{len(shown)} content{'s' * (len(shown) > 1)}; there are more")
        assert page["form"].xml.find("{jabber:x:data}field").get("var") == "from", "whoever reads the first fields alone can go on"
        page = await pages.next(page)
    read = {info_of(ET.fromstring(document)).ver(): keys for keys, document in seen.items()}
    assert read.keys() == {info.ver() for info in infos}
    assert all(ver in keys for ver, keys in read.items())
    assert len(seen) == len(infos)


async def test_a_page_without_its_form_is_not_the_first_one_again(capsd, admin):
    for action in ("next", "execute"):
        lost = (await admin.plugin.send_command(COMPONENT, PREFIX + "export", action=action, sessionid="x"))["command"]
        assert lost["status"] == "completed" and note(lost)[0] == "error" and "begin anew" in note(lost)[1]


async def test_what_is_missing_is_asked_for_again(admin):
    again = await admin.submit("deny", key="", reason="because")
    assert again["status"] == "executing"
    assert note(again) == ("error", "the hash is missing")
    assert "the hash is missing" in again["form"]["instructions"], "where no note is shown beside a form"
    assert again["form"].get_fields()["reason"]["value"] == "because"
    not_sure = await admin.submit("flush-all", sure="0")
    assert not_sure["status"] == "executing" and note(not_sure)[0] == "error"
    noisy = await admin.submit("log-level", level="noisy")
    assert note(noisy) == ("error", "the level is none of those that there are")
    labels = {word: (await admin.begin(word))["form"].get_fields()["reason"]["label"] for word in ("deny", "pin")}
    assert labels == {"deny": "Why; whoever asks for the hash is told", "pin": "Why"}
    wrong = await admin.submit("lookup", key="nonsense")
    assert wrong["status"] == "completed" and note(wrong)[0] == "error"
    canceled = await admin.plugin.send_command(COMPONENT, PREFIX + "deny", action="cancel", sessionid="x")
    assert canceled["command"]["status"] == "canceled"
    for node, action, condition in (("no-such", "execute", "item-not-found"), ("deny", "prev", "bad-request")):
        with pytest.raises(IqError) as refused:
            await admin.plugin.send_command(COMPONENT, PREFIX + node, action=action)
        assert refused.value.iq["error"]["condition"] == condition


async def test_deny_pin_reload_and_log_level(capsd, admin, make_client):
    info = sample("denied-adhoc")
    node = info.node_0115()
    await admin.submit("deny", key=node, reason="a broken bot")
    refused = await admin.client.ask(node)
    assert refused.reason == "denied" and "a broken bot" in refused.xml
    await admin.submit("undeny", key=node)
    pinned = await admin.submit("pin", key=node, query=info.query().splitlines(), reason="mine")
    assert pinned["status"] == "completed" and note(pinned)[0] == "info", note(pinned)
    assert (await admin.client.ask(node)).info.covered() == info.covered()
    await admin.submit("unpin", key=node)
    assert (await admin.client.ask(node)).reason == "unknown"
    text = capsd.config.read_text()
    capsd.config.write_text(text + '\n[limits]\nqueries-per-asker = "1000/s"\n[hot]\nmax-bytes = "16MiB"\n')
    lines = result(await admin.begin("reload")).splitlines()
    assert "applied: limits.queries-per-asker" in lines and "needs a restart: hot.max-bytes" in lines
    capsd.config.write_text(text + "\nnonsense = 1\n")
    assert note(await admin.begin("reload"))[0] == "error"
    capsd.config.write_text(text)
    await admin.submit("log-level", level="debug")
    log = capsd.log()
    for act in ("denial of 0115:sha-1:", "pin of 0115:sha-1:", "reload", "log level debug"):
        line = next(line for line in log.splitlines() if f"carried out: {act}" in line)
        assert f"admin 2 of {COMPONENT}" in line
    assert f"admin@{DOMAIN}" not in log


async def test_nobody_else_sees_that_there_are_commands(capsd, admin, make_client):
    stranger = await make_client("stranger").log_in()
    unknown = "urn:example:no-such-thing"
    ask = {
        "items": lambda node: f"<query xmlns='{DISCO_ITEMS}' node='{node}'/>",
        "info": lambda node: f"<query xmlns='{DISCO_INFO}' node='{node}'/>",
    }
    for what in ask.values():
        for node in (COMMANDS, PREFIX + "status"):
            told, other = [await stranger.iq(COMPONENT, what(asked)) for asked in (node, unknown)]
            assert (told.kind, told.condition, told.reason, told.child is None or len(told.child)) == (
                other.kind, other.condition, other.reason, other.child is None or len(other.child))
    for xml in (f"<command xmlns='{COMMANDS}' node='{PREFIX}status' action='execute'/>", "<anything xmlns='urn:example:x'/>"):
        reply = await stranger.iq(COMPONENT, xml, type_="set")
        assert (reply.kind, reply.error_type, reply.condition) == ("error", "cancel", "service-unavailable")
    # What it is does not depend on who asks.
    assert (await stranger.ask()).info.features == (await admin.client.ask()).info.features


async def test_who_is_an_administrator_changes_with_a_reload(capsd, admin, make_client):
    late = Admin(await make_client("late").log_in())
    with pytest.raises(IqError):
        await late.begin("status")
    text = capsd.config.read_text().replace(f'"admin@{DOMAIN}"', f'"late@{DOMAIN}"')
    capsd.config.write_text(text)
    assert f"component.admins ({COMPONENT})" in capsd.command("reload")
    assert (await late.begin("status"))["status"] == "completed"
    with pytest.raises(IqError):
        await admin.begin("status")
