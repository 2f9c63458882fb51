"""What an operator trusts, pins and denies: a file is edited, capsd gets a SIGHUP, and the next question is answered by it."""

import subprocess
import urllib.parse

import pytest

from harness.caps import Info, sample
from harness.client import log_in_all, until_asked
from harness.daemon import binary
from harness.processes import until

REASON = "sent by a broken bot"


class Operator:
    """The files of an operator, and the capsd that reads them."""

    def __init__(self, directory, make_capsd, server):
        self.trusted = directory / "trusted"
        self.trusted.mkdir()
        self.overrides = directory / "overrides.toml"
        self.overrides.write_text("# nothing yet\n")
        self.directory = directory
        settings = f'directories = ["{self.trusted}"]\noverrides = "{self.overrides}"'
        self.capsd = make_capsd(server, trusted=settings).start()

    def install(self, info):
        """Writes a trusted file under the 0115 key of that disco info, in the layout of aioxmpp."""
        name = "sha-1_" + urllib.parse.quote(info.node_0115(), safe="") + ".xml"
        (self.trusted / name).write_text(info.query())

    def deny(self, *nodes):
        """Denies these keys and no others."""
        self.overrides.write_text("".join(f'[[deny]]\nkey = "{node}"\nreason = "{REASON}"\n' for node in nodes))

    def pin(self, node, info):
        """Pins that content to that key, and nothing else."""
        file = self.directory / "pinned.xml"
        file.write_text(info.query())
        self.overrides.write_text(f'[[pin]]\nkey = "{node}"\nfile = "{file}"\nreason = "the true reading"\n')

    async def reload(self):
        """SIGHUP; returns when what was read is in force."""
        said = "trusted content and overrides are in force"
        before = self.capsd.log().count(said)
        self.capsd.reload()
        await until(lambda: self.capsd.log().count(said) > before, lambda: f"it is in force; the log ends: {self.capsd.log()[-2000:]}")

    async def reload_in_vain(self):
        """SIGHUP with a faulty file; returns when capsd has said so, with the words of the log."""
        said = "the old ones stay in force"
        before = self.capsd.log().count(said)
        self.capsd.reload()
        await until(lambda: self.capsd.log().count(said) > before, "the fault is said")
        return self.capsd.log().rsplit(said, 1)[1]

    def reloaded(self):
        """What /metrics says of the last reload."""
        return self.capsd.metrics()["capsd_config_last_reload_successful", ()]


@pytest.fixture
def operator(tmp_path, make_capsd, server):
    return Operator(tmp_path, make_capsd, server)


async def test_a_key_is_denied_and_allowed_again(operator, make_client):
    info, other = sample("denied"), sample("not-denied")
    client, friend, asker = make_client("client", info), make_client("friend", other), make_client("asker")
    await log_in_all([client, friend, asker])
    for holder in (client, friend):
        holder.announce()
        await until_asked(holder)
    for _ in range(3):
        assert (await asker.ask(info.node_0115())).info.covered() == info.covered()
    operator.deny(info.node_0115())
    await operator.reload()
    reply = await asker.ask(info.node_0115())
    assert (reply.error_type, reply.condition, reply.reason) == ("cancel", "item-not-found", "denied"), reply.xml
    assert REASON in reply.xml
    # The denial is of the key: neither other clients nor the other hashes of the content are touched, and no link is lost.
    assert (await asker.ask(other.node_0115())).info.covered() == other.covered()
    assert (await asker.ask(info.node_0390())).info.covered() == info.covered()
    client.announce()
    assert (await asker.ask(info.node_0115())).reason == "denied"
    operator.deny()
    await operator.reload()
    assert (await asker.ask(info.node_0115())).info.covered() == info.covered()
    assert operator.capsd.queries() == 2
    connects = operator.capsd.metrics().total("capsd_component_connects_total")
    assert connects == 1, "no link was dropped"


async def test_nobody_is_asked_for_a_denied_key(operator, make_client):
    info = sample("never-asked")
    operator.deny(info.node_0115())
    await operator.reload()
    client, asker = make_client("client", info), make_client("asker")
    await log_in_all([client, asker])
    heard = operator.capsd.presences_heard()
    client.announce()
    await operator.capsd.until_heard(heard)
    assert (await asker.ask(info.node_0115())).reason == "denied"
    assert operator.capsd.queries() == 0 and not client.caps_questions


async def test_one_of_two_readings_is_pinned(operator, make_client):
    # One 0115 string, two contents: a form with two fields, or one field whose values look like them.
    honest = sample("two-readings")
    honest.forms = [("urn:example:form", {"a": ["b"], "c": ["d"]})]
    forged = Info(honest.identities, honest.features, [("urn:example:form", {"a": ["b", "c", "d"]})])
    assert honest.ver() == forged.ver()
    attacker, client, asker = make_client("attacker", forged), make_client("client", honest), make_client("asker")
    await log_in_all([attacker, client, asker])
    for holder in (attacker, client):
        holder.announce()
        await until_asked(holder)
    assert (await asker.ask(honest.node_0115())).reason == "ambiguous"
    operator.pin(honest.node_0115(), honest)
    await operator.reload()
    questions = operator.capsd.queries()
    for _ in range(2):
        assert (await asker.ask(honest.node_0115())).info.covered() == honest.covered()
    attacker.announce()
    assert (await asker.ask(honest.node_0115())).info.covered() == honest.covered()
    assert operator.capsd.queries() == questions


async def test_a_content_without_the_hash_cannot_be_pinned(operator, make_client):
    info, other = sample("honest-hash"), sample("another-hash")
    operator.deny(info.node_0115())
    await operator.reload()
    operator.pin(info.node_0115(), other)
    words = await operator.reload_in_vain()
    for word in (str(operator.overrides), ":3", "`pin.file`", "mismatch", "hint: "):
        assert word in words, words
    assert operator.reloaded() == 0
    asker = await make_client("asker").log_in()
    assert (await asker.ask(info.node_0115())).reason == "denied", "the old rules stay in force"
    # capsd does not start with such a file, and `check` says the same.
    for command in ("check", "run"):
        done = subprocess.run([binary(), command, "--config", operator.capsd.config], capture_output=True, text=True, timeout=20)
        assert done.returncode == 2 and "`pin.file`" in done.stderr, done
    operator.pin(info.node_0115(), info)
    await operator.reload()
    assert operator.reloaded() == 1
    assert (await asker.ask(info.node_0115())).info.covered() == info.covered()


async def test_trusted_files_come_and_go(operator, make_client):
    info = sample("installed")
    asker = await make_client("asker").log_in()
    assert (await asker.ask(info.node_0115())).reason == "unknown"
    operator.install(info)
    await operator.reload()
    for node in (info.node_0115(), info.node_0390()):
        assert (await asker.ask(node)).info.covered() == info.covered()
    assert operator.capsd.metrics().total("capsd_lookups_total", result="override") >= 1
    for file in operator.trusted.iterdir():
        file.unlink()
    await operator.reload()
    assert (await asker.ask(info.node_0115())).reason == "unknown"
    assert operator.capsd.queries() == 0
