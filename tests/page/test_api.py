"""The API as its OpenAPI file describes it: schemathesis tries a real daemon, and a program asks what people see on the page."""

import asyncio
import base64
import collections
import json
import os
import re
import subprocess
import urllib.parse
import urllib.request

import pytest
from conftest import REPOSITORY

SCHEMATHESIS = REPOSITORY / "target/schemathesis/bin/schemathesis"
SECONDS = 120 if os.environ.get("CAPSD_LONG") else 10

pytestmark = pytest.mark.asyncio(loop_scope="module")


def get(village, path, **headers):
    """Status, headers and body of a GET."""
    request = urllib.request.Request(f"http://127.0.0.1:{village.capsd.http_port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=5) as response:
        return response.status, response.headers, response.read().decode()


async def test_what_a_client_announced_can_be_had_as_json_and_xml(village):
    """The answer of a client that was asked over XMPP, over HTTP."""
    hash_ = base64.urlsafe_b64encode(base64.b64decode(village.common.ver())).decode().rstrip("=")
    path = f"/api/v1/caps/0115/sha-1/{hash_}"
    _, _, body = get(village, path)
    content = json.loads(body)
    assert content["tier"] == "learned" and content["common"] is True
    assert content["disco-info"]["features"] == sorted(village.common.features)
    assert content["disco-info"]["identities"][0]["name"] == village.common.identities[0][3]
    _, headers, body = get(village, path, Accept="application/xml")
    assert headers["Content-Type"] == "application/xml"
    assert all(feature in body for feature in village.common.features)


async def test_status_and_flights_are_those_of_the_page(village):
    """One server, one question without an answer, and nobody's name."""
    _, _, body = get(village, "/api/v1/status")
    status = json.loads(body)
    assert [link["down"] for link in status["links"]] == [None]
    # The first ones may have waited for the answer.
    assert status["lookups"]["hit"] >= 30
    assert {"mismatch", "malformed-node"} <= {refusal["reason"] for refusal in status["refusals"]}
    _, _, flights = get(village, "/api/v1/flights")
    flight, = json.loads(flights)["flights"]
    assert (flight["keys"], flight["rare-keys"], flight["waiters"], flight["asked"]) == ([], 1, 1, 1)
    # What `capsd status` prints is part of it.
    printed = json.loads(village.capsd.command("status", "--json"))
    moving = {"uptime-seconds", "counts", "links"}
    assert moving < printed.keys() <= status.keys()
    assert all(status[name] == value for name, value in printed.items() if name not in moving)
    _, _, population = get(village, "/api/v1/population")
    online = json.loads(population)
    assert online["clients"] == [{"client": "Gajim & friends", "sessions": 5}]
    assert {"feature": "urn:xmpp:receipts", "sessions": 5} in online["features"]
    for client in village.clients:
        assert client.bare not in body + flights + population


async def test_the_commands_of_the_readme_do_what_it_says(village, tmp_path):
    """Each is run as it stands, but for what stands for something else."""
    section = (REPOSITORY / "README.md").read_text().split("## Look and ask")[1].split("\n## ")[0]
    block, = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    in_url = base64.urlsafe_b64encode(base64.b64decode(village.common.ver())).decode().rstrip("=")
    (tmp_path / "query.xml").write_text(village.common.query())
    for placeholder, value in [
        ("127.0.0.1:9116", f"127.0.0.1:{village.capsd.http_port}"),
        ("BASE64URL", in_url),
        ("NODE#VER", village.common.node_0115()),
        ("urn:xmpp:caps#sha-256.HASH", village.common.node_0390()),
    ]:
        assert placeholder in section
        block = block.replace(placeholder, value)
    answers = []
    for command in block.strip().splitlines():
        ended = subprocess.run(["bash", "-c", f"{command} --fail --silent --show-error"], cwd=tmp_path, capture_output=True, text=True, timeout=20)
        assert ended.returncode == 0, f"{command}: {ended.stderr}"
        answers.append(ended.stdout)
    status, flights, population, content, xml, many, checked = answers
    assert json.loads(status)["ready"] is True
    assert json.loads(flights)["in-progress"] == 1
    assert json.loads(population)["total"] > 0
    assert json.loads(content)["hash"] == village.common.ver()
    assert xml.startswith("<query xmlns=")
    assert [result["found"] for result in json.loads(many)["results"]] == [True, True]
    hashes = {hash_["hash"]: hash_["verdict"] for hash_ in json.loads(checked)["hashes"]}
    assert hashes[village.common.ver()] == hashes[village.common.hash_0390()] == "verified"


# After the others, for which a flight waits that ends with its deadline.
@pytest.mark.timeout(SECONDS + 60)
async def test_it_is_what_its_description_says(village, tmp_path):
    """Generated requests, right and wrong ones: no answer that is not described, none of the server's own faults."""
    _, _, text = get(village, "/api/v1/openapi.json")
    # From a file: what serves the description is left out by schemathesis where it is read from there.
    description = tmp_path / "openapi.json"
    description.write_text(text)
    run = await asyncio.create_subprocess_exec(
        str(SCHEMATHESIS),
        "--config-file",
        str(REPOSITORY / "tests/page/schemathesis.toml"),
        "run",
        str(description),
        "--url",
        f"http://127.0.0.1:{village.capsd.http_port}",
        "--max-time",
        str(SECONDS),
        "--phases=examples,coverage,fuzzing",
        "--continue-on-failure",
        "--generation-database=none",
        "--report-har-path=tried.har",
        "--report-json-path=report.json",
        "--no-color",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS + 45):
            out, _ = await run.communicate()
    finally:
        if run.returncode is None:
            run.kill()
    said = out.decode()
    assert run.returncode == 0, said
    assert village.capsd.process.running
    operations = [(method.upper(), path) for path, item in json.loads(text)["paths"].items() for method in item]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["operations"]["tested"] == len(operations) > 0, said
    # Nothing was missing that a request could have found. That many hashes are refused is meant: a schema cannot say which are none.
    warnings = {name for name, about in report["warnings"].items() if about}
    assert warnings <= {"validation_mismatch"}, said
    answers = tried(json.loads((tmp_path / "tried.har").read_text()))
    for method, path in operations:
        assert any((method, status) == (answered, 200) for answered, status, _, _ in answers[path]), f"{method} {path} never succeeded"
    # The answers that matter were judged, the content in both forms.
    content = {(status, media_type) for _, status, media_type, _ in answers["/api/v1/caps/{family}/{algorithm}/{hash}"]}
    assert content > {(200, "application/json"), (200, "application/xml"), (304, "application/json")}
    looked_up = [json.loads(body)["results"] for _, status, _, body in answers["/api/v1/lookup"] if status == 200]
    assert {result["found"] for results in looked_up for result in results} == {True, False}
    judged = [json.loads(body)["expected"] for _, status, _, body in answers["/api/v1/verify"] if status == 200]
    assert "verified" in {expected["verdict"] for expected in judged if expected}


def tried(archive):
    """What was answered, by the path as it is described: (method, status, media type, body)."""
    answers = collections.defaultdict(list)
    for entry in archive["log"]["entries"]:
        path = urllib.parse.urlsplit(entry["request"]["url"]).path
        path = re.sub("^/api/v1/caps/.*", "/api/v1/caps/{family}/{algorithm}/{hash}", path)
        response = entry["response"]
        answers[path].append((entry["request"]["method"], response["status"], response["content"].get("mimeType"), response["content"].get("text")))
    return answers
