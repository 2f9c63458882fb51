"""What deploy/privacy.md claims: no address of a user leaves the memory of capsd, and what is held of him ends with his presence."""

import itertools
import re
import subprocess

from harness.caps import sample
from harness.client import log_in_all, until_asked
from harness.processes import until
from harness.servers import DOMAIN, REPOSITORY

# Names that stand nowhere by chance.
USERS = ["quixotania", "zwetschgelbert", "yggdrasilka"]
RESOURCE = "balcony-of-verona"


async def test_nothing_that_capsd_writes_names_a_user(server, make_capsd, make_client, tmp_path):
    """Not its store, its log at `debug`, its metrics, its status, its exports: after announcements, questions, answers, refusals, a
    subscription, a reload and a restart."""
    capsd = make_capsd(server, log='level = "debug"').start()
    info, rare = sample("private"), sample("private-rare")
    people = [make_client(user, info, resource=RESOURCE) for user in USERS]
    odd = make_client(USERS[0], rare, resource=RESOURCE + "-2")
    liar = make_client(USERS[1], sample("private-lie"), resource=RESOURCE + "-3", mode="lying", liar_info=sample("private-other"))
    await log_in_all([*people, odd, liar])
    for client in [*people, odd, liar]:
        client.announce()
    for client in (odd, liar):
        await until_asked(client)
    people[0].send("<presence type='subscribe' to='caps.example.org'/>")
    assert (await people[1].ask(info.node_0115())).kind == "result"
    assert (await people[1].ask(rare.node_0115())).kind == "result"
    assert (await people[2].ask(liar.info.node_0115())).kind == "error"
    assert (await people[2].ask("nonsense")).kind == "error"
    capsd.reload()
    await capsd.until_idle()
    capsd.command("sync")
    capsd.command("export", "--all", tmp_path / "all.capsd")
    export, search = re.search(r"    runuser -u capsd -- capsd (.*)\n    (.*)\n", (REPOSITORY / "deploy/privacy.md").read_text()).groups()
    assert export.endswith(" /var/tmp/everything")
    capsd.command(*export.split()[:-1], tmp_path / "everything")
    found = lambda text: subprocess.run(["sh", "-c", search.replace("ADDRESS", text).replace("/var/tmp", str(tmp_path))], capture_output=True).returncode == 0
    assert found("urn:example:feature:private-rare") and found("https%3A%2F%2Fclient.example")
    assert not any(found(name) for name in [*USERS, RESOURCE])
    printed = [capsd.command("status"), capsd.command("status", "--json"), capsd.command("lookup", info.node_0115())]
    printed += [capsd.get(path)[1] for path in ["/metrics", "/readyz", "/healthz", "/"]]
    capsd.restart()
    printed.append(capsd.get("/metrics")[1])
    capsd.stop()
    files = [path for path in itertools.chain(capsd.directory.rglob("*"), tmp_path.rglob("*")) if path.is_file()]
    # What is looked for would be found: a node is in the store, the domain is in the log.
    assert any(b"client.example" in path.read_bytes() for path in capsd.store.rglob("*") if path.is_file())
    assert "example.org" in capsd.log()
    for name in [*USERS, RESOURCE]:
        for path in files:
            assert name.encode() not in path.read_bytes(), (name, path)
            assert name not in path.name
        for text in printed:
            assert name not in text, (name, text)


async def test_only_the_level_trace_names_who_causes_trouble(server, make_capsd, make_client):
    """Accounts beyond a quota, clients whose answers prove nothing, domains that push others out: none at `debug`, each at `trace`."""
    capsd = make_capsd(server, log='level = "debug"', limits='new-keys-per-account = "1/h"\nqueries-per-asker = "2/h"', holders="max = 2").start()

    async def trouble(liar, flooder, asker):
        """What those accounts cause; returns what the log says of it."""
        before = len(capsd.log())
        infos = [sample(f"{flooder}-{number}") for number in range(2)]
        lying = make_client(liar, sample(f"{liar}-lie"), resource=RESOURCE, mode="lying", liar_info=sample(f"{liar}-truth"))
        flooding, asking = make_client(flooder, infos[0], resource=RESOURCE), make_client(asker, resource=RESOURCE)
        await log_in_all([lying, flooding, asking])
        lying.announce()
        await until_asked(lying)
        flooding.announce()
        await until_asked(flooding)
        limited, full = (capsd.metrics().total(*name) for name in (("capsd_rate_limited_total",), ("capsd_holders_evicted_total",)))
        flooding.announce(infos[1].c_0115())
        await capsd.until_metric("capsd_rate_limited_total", limited + 1)
        asking.announce(sample(asker).c_0115())
        await capsd.until_metric("capsd_holders_evicted_total", full + 1)
        for _ in range(2):
            await asking.ask("nonsense")
        assert (await asking.ask("nonsense")).reason == "rate-limited"
        return capsd.log()[before:]

    quiet = await trouble(*(f"{name}-quiet" for name in USERS))
    assert "does not prove" in quiet, "the level is debug"
    assert not any(name in quiet for name in (*USERS, RESOURCE, DOMAIN))
    capsd.command("log-level", "trace")
    told = await trouble(*USERS)
    lines = [line for line in told.splitlines() if " TRACE " in line]
    liar, flooder, asker = (f"{name}@{DOMAIN}" for name in USERS)
    one = lambda *parts: [line for line in lines if all(part in line for part in parts)]
    assert one(f"from={liar}/{RESOURCE}", "does not prove its key", "reason=mismatch", "key=0115:sha-1:")
    assert one(f'account="{flooder}"', 'quota="account"')
    assert len(one(f'account="{asker}"', 'quota="asker"')) == 1
    assert one(f'domain="{DOMAIN}"', "no room among the holders")
    assert len([line for line in lines if RESOURCE in line]) == len(one("does not prove its key")), "elsewhere the account is enough"
    capsd.command("log-level", "debug")
    assert "TRACE" not in await trouble(*(f"{name}-again" for name in USERS))


async def test_who_goes_offline_is_forgotten(server, capsd, make_client):
    """At once, and not after a time; but ejabberd tells of no more than what clients say themselves before they go."""
    people = [make_client(user, sample("leaving")) for user in USERS]
    await log_in_all(people)
    before = capsd.metrics().total("capsd_holders")
    for client in people:
        client.announce()
    await until(lambda: capsd.metrics().total("capsd_holders") == before + 3, "all are held")
    people[0].become_unavailable()
    if server.kind == "ejabberd":
        people[1].become_unavailable()
    await people[1].log_out()
    await until(lambda: capsd.metrics().total("capsd_holders") == before + 1, "two are forgotten")
