"""`capsd export` and `import` with aioxmpp at the other end, and what three accounts must have announced before it leaves the machine."""

import base64
import json
import os
from pathlib import Path

import aioxmpp.disco
import aioxmpp.forms  # makes data forms known to aioxmpp's disco#info
import aioxmpp.xml
import pytest
from aioxmpp.entitycaps import caps115, caps390
from aioxmpp.entitycaps.service import Cache, writeback

from harness.caps import NODE_URL, sample
from harness.client import log_in_all
from harness.daemon import Capsd


def database(path):
    """aioxmpp's cache with that directory as its database."""
    cache = Cache()
    cache.set_user_db_path(Path(path))
    return cache


def key_0115(info, url=NODE_URL):
    """aioxmpp's key of a 0115 hash."""
    return caps115.Key("sha-1", info.node_0115(url=url))


def key_0390(info, algorithm="sha-256"):
    """aioxmpp's key of a 0390 hash."""
    return caps390.Key(algorithm, base64.b64decode(info.hash_0390(algorithm)))


def covered(query):
    """Identities and features of aioxmpp's disco#info, for comparison with those of the sample."""
    identities = sorted((i.category, i.type_, str(i.lang or ""), i.name or "") for i in query.identities)
    return identities, sorted(query.features)


def is_there(cache, key, info):
    """Whether aioxmpp finds the key in its database; what it finds must verify, and be what was announced."""
    try:
        found = cache.lookup_in_database(key)
    except KeyError:
        return False
    assert key.verify(found), key
    assert covered(found) == info.covered()[:2]
    return True


async def test_what_three_accounts_announce_is_exported(capsd, make_client, tmp_path):
    """Three devices of one account, or two accounts, are not three; a node that one account made up stays here."""
    common, rare, own = sample("common"), sample("rare"), sample("own")
    people = [make_client(user, common) for user in ("anna", "ben", "carla")]
    two = [make_client("dora", rare, resource=str(n)) for n in range(3)] + [make_client("emil", rare)]
    odd = [make_client(user, own) for user in ("fred", "gina", "hans")]
    await log_in_all(people + two + odd)
    for client in people:
        client.announce(common.c_0115(), common.c_0390())
    for client in two:
        client.announce()
    for number, client in enumerate(odd):
        client.announce(own.c_0115(url=f"urn:of:{number}"))
    await capsd.until_heard(0, 10)
    await capsd.until_idle()
    assert json.loads(capsd.command("status", "--json"))["entries"] == 3

    def check(target):
        report = json.loads(capsd.command("export", target, "--json"))
        assert (report["contents"], report["left-out"]["rare"]) == (2, 1)
        cache = database(target)
        assert is_there(cache, key_0115(common), common)
        for algorithm in ("sha-256", "sha3-256", "blake2b-512"):
            assert is_there(cache, key_0390(common, algorithm), common)
            assert is_there(cache, key_0390(own, algorithm), own)
            assert not is_there(cache, key_0390(rare, algorithm), rare)
        assert not is_there(cache, key_0115(rare), rare)
        assert not any(is_there(cache, key_0115(own, f"urn:of:{number}"), own) for number in range(3))

    check(tmp_path / "running")
    capsd.command("export", tmp_path / "all", "--all")
    cache = database(tmp_path / "all")
    assert is_there(cache, key_0115(rare), rare)
    assert any(is_there(cache, key_0115(own, f"urn:of:{number}"), own) for number in range(3))
    # The fact is on disk; by whom it was is not, neither there nor in what was exported.
    capsd.stop()
    check(tmp_path / "stopped")
    for directory in (capsd.store, tmp_path):
        for path in directory.rglob("*"):
            text = path.read_bytes() if path.is_file() else b""
            assert not any(name in text for name in (b"anna", b"dora", b"fred", b"@example.org")), path
    capsd.start()
    check(tmp_path / "restarted")


@pytest.fixture
def stopped(tmp_path):
    """A capsd that does not run; its commands open the store themselves."""

    class Nowhere:
        component_port = 1

    return Capsd(tmp_path / "capsd", Nowhere())


def corpus():
    """Directories of contents by announced node: real answers where they are at hand, else those of the tests."""
    if "CAPSD_CORPUS" in os.environ:
        return Path(os.environ["CAPSD_CORPUS"])
    print("CAPSD_CORPUS is not set: aioxmpp was not tried with the corpus")
    return None


def test_aioxmpp_takes_an_export_as_its_database(stopped, tmp_path):
    """Every 0115 key that was imported is found under its node and verifies, and so are its 0390 keys."""
    source = corpus() or made_up(tmp_path)
    report = json.loads(stopped.command("import", source, "--json", expect=1 if corpus() else 0))
    refused = {Path(refused["file"]).name for refused in report["list"]}
    target = tmp_path / "database"
    stopped.command("export", target)
    cache = database(target)
    found = 0
    for path in sorted(source.rglob("*.xml")):
        if path.name in refused:
            continue
        algorithm, node = aioxmpp_name(path)
        key = caps115.Key(algorithm, node)
        query = cache.lookup_in_database(key)
        assert key.verify(query), path
        hash_input = caps390._get_hash_input(query)
        for algorithm in ("sha-256", "sha3-256", "blake2b-512"):
            key = caps390.Key(algorithm, caps390._calculate_hash(algorithm, hash_input))
            assert key.verify(cache.lookup_in_database(key)), path
        found += 1
    print(f"{found} contents found under their node, each also under three hashes of XEP-0390")
    assert found == report["verified"]
    # And aioxmpp has no other names for files than we have.
    assert {path.name for path in (target / "hashes").iterdir()} <= {path.name for path in source.rglob("*.xml")}


def aioxmpp_name(path):
    """Algorithm and node in the name of a file, by the path that aioxmpp gives to them."""
    from urllib.parse import unquote

    algorithm, node = path.stem.split("_", 1)
    assert caps115.Key(algorithm, unquote(node)).path.name == path.name
    return algorithm, unquote(node)


def made_up(directory):
    """Files of some samples, in the layout of aioxmpp."""
    root = directory / "samples"
    for number in range(20):
        info = sample(f"made-up-{number}")
        path = root / key_0115(info).path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(info.query())
    return root


def test_what_aioxmpp_has_saved_is_imported(stopped, tmp_path):
    """The user database as aioxmpp writes it, both families."""
    root = tmp_path / "database"
    infos = [sample(f"saved-{number}") for number in range(10)]
    for number, info in enumerate(infos):
        source = tmp_path / "query.xml"
        source.write_text(info.query(info.node_0115()))
        with source.open("rb") as file:
            query = aioxmpp.xml.read_single_xso(file, aioxmpp.disco.xso.InfoQuery)
        key = key_0115(info) if number % 2 else key_0390(info, "sha3-256")
        assert key.verify(query)
        writeback(root / key.path.parent / key.path.name, query.captured_events)
    assert json.loads(stopped.command("import", root, "--json"))["new"] == len(infos)
    stopped.command("export", tmp_path / "exported")
    cache = database(tmp_path / "exported")
    for number, info in enumerate(infos):
        assert is_there(cache, key_0390(info), info)
        assert is_there(cache, key_0115(info), info) == bool(number % 2)
