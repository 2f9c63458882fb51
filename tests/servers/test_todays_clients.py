"""config/trusted, the contents of today's clients: they are what their names say, the table says what there is, and capsd serves them first.

The hashes are computed here with hashlib and the names with urllib and base64, not by capsd.
"""

import base64
import csv
import xml.etree.ElementTree as ET
from urllib.parse import quote

import pytest

from harness.caps import CAPS_0390, info_of
from harness.servers import REPOSITORY

TRUSTED = REPOSITORY / "config/trusted"


def rows():
    """The rows of clients.tsv, read as any program would."""
    with open(TRUSTED / "clients.tsv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


KEPT = [row for row in rows() if row["file"]]


def node(row):
    """The node to ask for."""
    return f"{row['node']}#{row['hash']}" if row["family"] == "0115" else f"{CAPS_0390}#{row['algorithm']}.{row['hash']}"


def file_name(row):
    """Where aioxmpp would look for that key in its database."""
    if row["family"] == "0115":
        return f"hashes/{row['algorithm']}_{quote(node(row), safe='')}.xml"
    digest = base64.b32encode(base64.b64decode(row["hash"], validate=True)).decode().rstrip("=").lower()
    return f"caps2/{row['algorithm']}/{digest[:2]}/{digest[2:4]}/{digest[4:]}.xml"


def hash_of(info, row):
    """The hash of that content under the family and algorithm of a row."""
    return info.ver(row["algorithm"]) if row["family"] == "0115" else info.hash_0390(row["algorithm"])


@pytest.mark.parametrize("row", KEPT, ids=lambda row: f"{row['client']}-{row['family']}-{row['algorithm']}")
def test_a_file_has_the_hash_in_its_name_and_nothing_else(row):
    assert row["verdict"] == "verified"
    assert row["file"] == file_name(row)
    text = (TRUSTED / row["file"]).read_text(encoding="utf-8")
    query = ET.fromstring(text)
    info = info_of(query)
    assert hash_of(info, row) == row["hash"]
    # What no hash covers would be lost by reading and writing it again.
    again = info.query(query.get("node"))
    assert ET.canonicalize(text, rewrite_prefixes=True, strip_text=True) == ET.canonicalize(again, rewrite_prefixes=True, strip_text=True)


def test_the_table_names_every_file_and_no_other():
    files = {str(path.relative_to(TRUSTED)) for path in TRUSTED.rglob("*.xml")}
    assert files == {row["file"] for row in KEPT}
    assert len(KEPT) >= 20


def test_every_row_says_what_was_run_and_what_came_of_it():
    for row in rows():
        assert all(row[column] for column in ("client", "package", "date", "verdict")), row
        assert row["version"] or row["verdict"] == "not-run", row
        assert row["file"] or row["remark"], "what is not kept has a reason"


@pytest.mark.parametrize("family", ["0115", "0390"])
async def test_a_new_installation_knows_them_at_the_first_question(family, server, make_capsd, make_client):
    # A capsd that has never heard of anybody, for each family: one family must not be known by the questions about the other.
    capsd = make_capsd(server, trusted=f'directories = ["{TRUSTED}"]').start()
    asker = await make_client("asker").log_in()
    asked = [row for row in KEPT if row["family"] == family]
    assert asked
    for row in asked:
        reply = await asker.ask(node(row))
        assert hash_of(reply.info, row) == row["hash"], row["client"]
        assert reply.node == node(row)
    metrics = capsd.metrics()
    assert capsd.queries() == 0
    assert metrics.total("capsd_lookups_total", result="override") + metrics.total("capsd_lookups_total", result="hit") == len(asked)
    assert metrics.total("capsd_lookups_total", result="miss") == 0
    assert asker.caps_questions == []
