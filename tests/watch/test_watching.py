"""A real Prometheus scrapes a real capsd, which works beside a real Prosody: every query of every panel shows something."""

import asyncio
import json
import math
import random
import re
import subprocess
import urllib.request

import pytest
import yaml
from conftest import DASHBOARDS, NAMES, dashboard, panels
from harness.caps import Info, sample
from harness.client import Client, log_in_all, log_out_all
from harness.daemon import Capsd, parse_metrics
from harness.processes import until
from harness.servers import DOMAIN, KINDS
from prometheus import Prometheus

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Every client that is not a lone one has these.
COMMON = ("urn:xmpp:receipts", "urn:xmpp:ping")


def software(name, *features):
    """What a client of that name announces."""
    return Info([("client", "pc", "", name)], [*COMMON, *features])


class Town:
    """Prosody, capsd, Prometheus, and clients: four of Gajim in two versions, three of Dino, one lone one, a liar and a silent one."""

    def __init__(self, make):
        self.server = KINDS["prosody"](make("prosody"))
        self.capsd = Capsd(make("capsd"), self.server, resolver='deadline = "1s"\nholder-timeout = "500ms"', limits='queries-per-asker = "20/s"')
        self.prometheus = Prometheus(make("prometheus"), self.capsd)
        self.contents = [software("Gajim 1.7.3"), software("Gajim 1.8.4", "urn:xmpp:reactions:0"), software("Dino"), software("Lone Wolf 3")]
        self.clients = []
        self.noise = None

    def client(self, user, info, **options):
        self.server.add_users([user], DOMAIN)
        client = Client(self.server, user, info, **options)
        self.clients.append(client)
        return client

    async def start(self):
        self.server.start()
        self.capsd.start()
        await self.prometheus.start()
        first, second, third, lone = self.contents
        users = [("ann", first), ("ben", first), ("cem", second), ("dea", second), ("eve", third), ("fay", third), ("gus", third), ("hal", lone)]
        citizens = [self.client(user, info) for user, info in users]
        citizens.append(self.client("ann", first, resource="second"))
        false = sample("watch-false")
        liar = self.client("liar", false, mode="lying", liar_info=sample("watch-other"))
        silent = self.client("mute", sample("watch-silent"), mode="silent")
        asker = self.client("asker", None)
        await log_in_all(self.clients)
        for client in [*citizens, liar, silent]:
            client.announce()
        self.noise = asyncio.create_task(self.ask(asker, false, silent.info))
        return self

    async def ask(self, asker, false, silent):
        """Hits, misses, queries that wait for one flight, refusals: until it is cancelled."""
        known = [content.node_0115() for content in self.contents]
        rejected = 0
        while True:
            await asyncio.gather(*(asker.ask(random.choice(known)) for _ in range(3)), asker.ask(false.node_0115()), *(asker.ask(silent.node_0115()) for _ in range(2)))
            fresh = sample(f"watch-{rejected}")
            self.clients[0].info = fresh
            self.clients[0].announce()
            await asker.ask(fresh.node_0115())
            self.clients[0].info = self.contents[0]
            self.clients[0].announce()
            await asker.ask("no node at all")
            rejected += 1
            await asyncio.sleep(0.1)

    async def end(self):
        if self.noise:
            self.noise.cancel()
            await asyncio.gather(self.noise, return_exceptions=True)
        await log_out_all(self.clients)
        self.prometheus.stop()
        self.capsd.kill()
        self.server.kill()


@pytest.fixture(scope="module")
async def town(tmp_path_factory):
    """A town that has been watched for a quarter of a minute."""
    town = Town(tmp_path_factory.mktemp)
    try:
        await town.start()
        counted = 'count_over_time(capsd_lookups_total{result="hit",frontend="xmpp"}[5m])'
        await until(lambda: (town.prometheus.value(counted) or 0) >= 12, "twelve scrapes", 40)
        yield town
    finally:
        await town.end()


def as_grafana_asks(expression):
    """The query with the variables of the dashboard filled in, everything chosen."""
    expression = expression.replace("$__rate_interval", "4s").replace("$job", ".+").replace("$instance", ".+")
    assert "$" not in expression
    return expression


@pytest.mark.parametrize("name", NAMES)
async def test_every_panel_shows_something(town, name):
    for panel in panels(dashboard(name)):
        for target in panel["targets"]:
            expression = as_grafana_asks(target["expr"])

            def shown():
                assert not town.noise.done(), town.noise.exception()
                return [value for _, value in town.prometheus.query(expression) if not math.isnan(value)]

            await until(shown, f"{panel['title']}: {expression} gives a number", 10)


async def test_the_numbers_are_those_of_what_happens(town):
    """Of the panels that matter most also what they show."""
    expected = {
        "overview": {"Ready": 1, "Links down": 0, "Store on disk": 1, "Configuration in order": 1},
        "stores": {"On disk": 1, "Set aside": 0},
    }
    for name, values in expected.items():
        queries = {panel["title"]: as_grafana_asks(panel["targets"][0]["expr"]) for panel in panels(dashboard(name))}
        for title, value in values.items():
            assert town.prometheus.value(queries[title]) == value, title
    moving = ['result="hit"', 'result="coalesced"', 'result="miss"', 'result="rejected"']
    for result in moving:
        rate = f"rate(capsd_lookups_total{{{result},frontend='xmpp'}}[10s])"
        await until(lambda: (town.prometheus.value(rate) or 0) > 0, result)


async def test_the_population_is_that_of_the_town(town):
    def clients():
        found = town.prometheus.query("capsd_population_clients")
        return {labels["client"]: value for labels, value in found if value}

    # One of five sessions of Gajim announces something else now and then, for the load.
    await until(lambda: clients().get("Gajim") == 5 and clients().get("Dino") == 3, lambda: f"Gajim and Dino are online, but {clients()}", 20)
    assert set(clients()) <= {"Gajim", "Dino", "other"}, "a lone client is not shown"
    assert not town.prometheus.query('capsd_population_clients{client=~".*Lone.*"}')
    features = {labels["feature"]: value for labels, value in town.prometheus.query("capsd_population_features")}
    assert features["urn:xmpp:receipts"] >= 8
    # Two accounts have it, and two are not shown.
    assert features["urn:xmpp:reactions:0"] == 0
    assert town.prometheus.value('capsd_population_uncounted{reason="unknown"}') >= 2, "the liar and the silent one"
    assert town.prometheus.value("sum(capsd_population_clients) + sum(capsd_population_uncounted)") == town.prometheus.value("capsd_holders") == 11


async def test_no_metric_names_a_user_or_a_hash(town):
    _, text = town.capsd.get("/metrics")
    for client in town.clients:
        assert client.bare not in text
        if client.info:
            assert client.info.ver() not in text
    assert "@" not in text


async def test_the_alert_rules_are_evaluated_and_silent(town):
    groups = town.prometheus.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 10
    for rule in rules:
        assert rule["health"] == "ok", rule
    firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
    assert firing == []


SERIES = re.compile(r"\b((?:capsd|process)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(!?=~?)"([^"]*)"')


def exported(town):
    """By the name of each metric what its labels are, and by each label the values that it has; Prometheus adds two of its own."""
    _, text = town.capsd.get("/metrics")
    found = {}
    for name, labels in parse_metrics(text):
        values = found.setdefault(name, {"job": {"capsd"}, "instance": None})
        for label, value in labels:
            values.setdefault(label, set()).add(value)
    return found


async def test_the_series_that_alerts_are_tried_with_are_those_of_a_real_scrape(town):
    """Made-up series prove nothing about labels that capsd does not have. A component and an instance may have any name."""
    real = exported(town)
    tests = yaml.safe_load((DASHBOARDS / "alerts.test.yml").read_text())["tests"]
    series = {series["series"] for test in tests for series in test["input_series"]}
    compared = 0
    for made_up in sorted(series):
        name, labels = SERIES.fullmatch(made_up).groups() if not made_up.startswith("up{") else (None, "")
        if not name:
            continue
        labels = {label: value for label, _, value in MATCHER.findall(labels)}
        assert name in real, made_up
        assert labels.keys() == real[name].keys(), f"{made_up}, but capsd exports {sorted(real[name])}"
        for label, value in labels.items():
            if label not in ("instance", "component") and labels["job"] == "capsd":
                assert value in real[name][label], f"{made_up}: {label} is one of {sorted(real[name][label])}"
                compared += 1
    assert compared > 60


async def test_what_alerts_select_is_in_a_real_scrape(town):
    """Each value of a label that a rule looks for, and each label that it keeps, joins by, or names in its text."""
    real = exported(town)
    rules = [rule for group in yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
    for rule in rules:
        kept = {label.strip() for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", rule["expr"]) for label in labels.split(",")}
        named = set(re.findall(r"\$labels\.(\w+)", "".join(rule["annotations"].values())))
        selected = SERIES.findall(rule["expr"])
        known = {label for name, _ in selected for label in real[name]} | {"job", "instance"}
        assert kept | named <= known, rule["alert"]
        assert named <= (kept or known), f"{rule['alert']} names a label that its expression drops"
        for name, matchers in selected:
            for label, operator, values in MATCHER.findall(matchers):
                for value in values.split("|") if "~" in operator else [values]:
                    assert value in real[name][label], f"{rule['alert']}: {name} has no {label} {value}"


async def test_promtool_finds_nothing_to_say_about_the_metrics(town):
    """Names, types, units and help, of everything that is exported under load."""
    _, text = town.capsd.get("/metrics")
    ended = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    # It can tell.
    faulty = text.replace("capsd_lookups_total", "capsd_lookups_ms")
    ended = subprocess.run(["promtool", "check", "metrics"], input=faulty, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 3 and "capsd_lookups_ms" in ended.stderr


async def test_prometheus_takes_every_series(town):
    """What capsd exports is what Prometheus stores, and it is far below the bound for one link."""
    _, text = town.capsd.get("/metrics")
    series = [line for line in text.splitlines() if not line.startswith("#")]
    # `up` and the four others that Prometheus itself adds to a job.
    stored = town.prometheus.value('count({job="capsd"})')
    assert abs(stored - len(series) - 5) <= 2, (stored, len(series))
    assert len(series) < 280
