"""What goes wrong with a real capsd makes a real Prometheus raise the alarm: with names, without gaps in the text.

The rules are those of the file; only how long they wait is shortened, and nothing of what they look at.
"""

import re
import resource

import pytest
import yaml
from conftest import DASHBOARDS
from harness.caps import sample
from harness.client import Client
from harness.daemon import Capsd
from harness.processes import until
from harness.servers import COMPONENT, KINDS, SECRET
from prometheus import Prometheus

pytestmark = pytest.mark.asyncio(loop_scope="module")

RULES = yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())
#: A component that the server does not have.
UNKNOWN = "caps.unknown.example"
LABEL = re.compile(r"\$labels\.(\w+)")


def impatient(rules):
    """The rules without patience."""
    groups = [group | {"rules": [{**rule, "for": "1s"} if "for" in rule else rule for rule in group["rules"]]} for group in rules["groups"]]
    return yaml.safe_dump({"groups": groups})


class Misfortune:
    """Prosody, capsd and Prometheus, of which nothing is spared to capsd."""

    def __init__(self, make):
        self.server = KINDS["prosody"](make("prosody"))
        more = f'[[component]]\njid = "{UNKNOWN}"\nserver = "127.0.0.1:{self.server.component_port}"\nsecret-env = "SECOND_SECRET"\n'
        self.capsd = Capsd(make("capsd"), self.server, more_components=more, environment={"SECOND_SECRET": SECRET})
        # A limit is to stand for the end of the disk.
        self.capsd.process.command = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh", *self.capsd.process.command]
        rules = make("rules") / "alerts.yml"
        rules.write_text(impatient(RULES))
        self.prometheus = Prometheus(make("prometheus"), self.capsd, rules)
        self.client = Client(self.server, "ann", sample("misfortune"))

    async def start(self):
        self.server.start()
        self.server.add_users(["ann"])
        # Everything that it kept is damaged.
        self.capsd.start(linked=False)
        self.capsd.stop()
        for file in self.capsd.store.rglob("*"):
            if file.is_file():
                file.write_bytes(b"\xff" * max(file.stat().st_size, 64))
        self.capsd.start(linked=False)
        await self.prometheus.start()
        await until(lambda: f"link {COMPONENT}: up" in self.capsd.get("/readyz")[1], "the link is up")
        # The disk takes no more.
        process = self.capsd.process.child.pid
        _, most = resource.prlimit(process, resource.RLIMIT_FSIZE)
        resource.prlimit(process, resource.RLIMIT_FSIZE, (0, most))
        await self.client.log_in()
        self.client.announce()
        # A slip of the pen.
        self.capsd.config.write_text(self.capsd.config.read_text() + "[limit]\n")
        self.capsd.reload()
        return self

    def firing(self):
        """The alerts that fire, by name."""
        alerts = (self.prometheus.get("alerts") or {"alerts": []})["alerts"]
        firing = {}
        for alert in alerts:
            if alert["state"] == "firing":
                firing.setdefault(alert["labels"]["alertname"], []).append(alert)
        return firing

    async def until_firing(self, *names):
        """Waits until all of them fire, and gives them."""
        firing = {}

        def missing():
            firing.clear()
            firing.update(self.firing())
            return set(names) - set(firing)

        await until(lambda: not missing(), lambda: f"{missing()} fire; the log of capsd:\n{self.capsd.log()[-3000:]}", 60, 0.2)
        return [alert for name in names for alert in firing[name]]

    async def end(self):
        await self.client.log_out()
        self.prometheus.stop()
        self.capsd.kill()
        self.server.kill()


@pytest.fixture(scope="module")
async def misfortune(tmp_path_factory):
    misfortune = Misfortune(tmp_path_factory.mktemp)
    try:
        yield await misfortune.start()
    finally:
        await misfortune.end()


def assert_told(alert):
    """The alert has what its rule promises, and its text has no gap."""
    rule, = (rule for group in RULES["groups"] for rule in group["rules"] if rule["alert"] == alert["labels"]["alertname"])
    labels = alert["labels"]
    assert labels["severity"] == rule["labels"]["severity"]
    assert labels["job"] == "capsd" and re.fullmatch(r"127\.0\.0\.1:\d+", labels["instance"]), labels
    assert all(labels.values()), labels
    for part, template in rule["annotations"].items():
        text = alert["annotations"][part]
        for name in LABEL.findall(template):
            # A label that the rule's expression drops is written as nothing.
            assert labels.get(name) and labels[name] in text, f"{part} of {labels}: {text}"
        assert not re.search(r"\{\{|\}\}|<no value>|\berror\b.*template", text), text
        assert text == re.sub(r"\{\{.*?\}\}", lambda hole: filled(hole[0], labels, text), template), text


def filled(hole, labels, text):
    """What stands in the text for a hole of the template; a number is not known here, so it is what stands there."""
    name = LABEL.search(hole)
    assert name, f"{hole}: no alert here has a number"
    return labels[name[1]]


async def test_each_misfortune_is_told_by_name(misfortune):
    """A damaged store, a disk that takes no more, a component that the server does not have, a configuration at fault."""
    alerts = await misfortune.until_firing(
        "CapsdStoreSetAside", "CapsdStoreInMemory", "CapsdStoreErrors", "CapsdLinkDown", "CapsdLinkRefused", "CapsdReloadFailed"
    )
    for alert in alerts:
        assert_told(alert)
    told = {alert["labels"]["alertname"]: alert["labels"] for alert in alerts}
    assert told["CapsdLinkDown"]["component"] == UNKNOWN
    assert (told["CapsdLinkRefused"]["component"], told["CapsdLinkRefused"]["result"]) == (UNKNOWN, "host-unknown")
    # Nothing else does: the other link is up.
    await until(lambda: set(misfortune.firing()) == set(told), lambda: f"{set(told)} fire alone, but {set(misfortune.firing())}", 10, 0.2)
    assert [alert["labels"]["component"] for alert in alerts if alert["labels"]["alertname"] == "CapsdLinkDown"] == [UNKNOWN]


async def test_a_server_and_a_capsd_that_are_gone_are_missed(misfortune):
    misfortune.server.stop()
    down = lambda: {alert["labels"]["component"] for alert in misfortune.firing().get("CapsdLinkDown", [])}
    await until(lambda: down() == {COMPONENT, UNKNOWN}, lambda: f"both links are missed, but {down()}", 30, 0.2)
    misfortune.capsd.kill()
    gone, = await misfortune.until_firing("CapsdDown")
    assert_told(gone)
