"""The page in Debian's Chromium: what people see, in the light and in the dark, on a phone, by the keyboard, through a screen reader."""

import json
import re

import pytest
from browsing import PICTURES, browse, is_in_nobodys_way

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
async def seen(village):
    """What the browser saw; it looks once for all tests."""
    wanted = {
        "url": f"http://127.0.0.1:{village.capsd.http_port}/",
        "node": village.common.node_0115(),
        "query": village.common.query(),
        "hash": village.common.ver(),
    }
    return await browse("browse.mjs", wanted)


@pytest.mark.parametrize("look", ["light", "dark", "phone", "phone-dark"])
async def test_nothing_is_in_anybodys_way(seen, look):
    """axe finds nothing, unasked and with an answer of each box; nothing is wider than the screen."""
    assert len(seen["looks"][look]) > 1
    for state, judged in seen["looks"][look].items():
        is_in_nobodys_way(judged, state)
    assert (PICTURES / f"{look}.png").stat().st_size > 10_000


async def test_the_browser_has_nothing_to_complain_about(seen):
    """No console message, nothing that failed, nothing from elsewhere, and a policy that forbids it."""
    assert seen["console"] == []
    assert {request["status"] for request in seen["requests"]} == {200}
    paths = {re.sub(r"^http://127\.0\.0\.1:\d+|\?.*|#.*", "", request["url"]) for request in seen["requests"]}
    assert paths == {"/", "/style.css", "/icon.svg"}
    for request in seen["requests"]:
        if "css" not in request["url"] and "svg" not in request["url"]:
            assert request["policy"].startswith("default-src 'none';")
            assert "unsafe" not in request["policy"]


async def test_a_name_that_was_led_here_reads_nothing(seen):
    """A real browser, a real script, and a name of a stranger that leads to this machine."""
    assert len(seen["rebound"]) == 5
    for answer in seen["rebound"]:
        assert answer["status"] == 421, answer
        assert json.loads(answer["text"])["status"] == 421


async def test_a_page_of_another_site_cannot_tell_what_there_is(seen):
    """By whether it loads, it could find out which hashes are stored."""
    assert len(seen["loaded"]) == 4 and set(seen["loaded"].values()) == {False}


async def test_the_keyboard_reaches_everything_in_reading_order(seen):
    """Each stop has a name and can be seen."""
    names = [re.sub(r'^- (\w+):? "?(.*?)"?(?: \[.*|:.*)?$', r"\1 \2", stop["snapshot"].split("\n")[0]) for stop in seen["stops"]]
    assert names == [
        "link Refresh",
        "text The same as a table",
        "textbox Node or hash",
        "button Look up",
        "textbox The <query/> of a client",
        "textbox The hash that it should have (may be empty)",
        "button Check",
        "link /api/v1",
        "link /metrics",
        "link /readyz",
    ]
    assert {stop["outline"] for stop in seen["stops"]} == {"solid"}


async def test_a_screen_reader_is_told_what_is_where(seen):
    """Landmarks, headings in order, tables with headers, and the drawing in words."""
    tree = seen["tree"]
    for line in ["- banner", "- main", "- contentinfo", "- search \"Look up a hash\"", "- form \"Check a disco#info\""]:
        assert line in tree, tree
    headings = re.findall(r'- heading "(.*?)" \[level=(\d)\]', tree)
    assert headings[0] == ("capsd", "1")
    assert {level for _, level in headings[1:]} == {"2"}
    for name, _ in headings[1:]:
        assert f'- region "{name}"' in tree, tree
    for header in ["Component", "Link", "Hash", "Waiting", "Asked", "Tier", "Contents", "When", "Reason", "Times", "Client", "Feature", "Share"]:
        assert f'columnheader "{header}"' in tree, tree
    assert re.search(r"look-ups were answered from the cache at once: \d", tree), tree


async def test_the_boxes_answer_without_scripts(seen, village):
    """What a person types is answered, and what strangers wrote is shown as it is."""
    known = seen["known"]
    assert "Gajim & friends" in known
    assert "learned" in known and "hot" in known
    assert village.common.ver() in known
    for feature in village.common.features:
        assert feature in known
    checked = seen["checked"]
    assert checked.lstrip().startswith("verified")
    assert village.common.ver("sha-256") in checked and village.common.hash_0390() in checked


async def test_no_user_and_no_rare_hash_is_shown_unasked(seen, village):
    """What is rare is counted, not named."""
    tree = seen["tree"]
    assert "1 rare" in tree, tree
    for client in village.clients:
        assert client.bare not in tree
    for info in (village.rare, village.silent, village.false, village.common):
        assert info.ver() not in tree
    assert "Lone Wolf" not in tree
    assert "mismatch" in tree
    assert 'rowheader "Gajim & friends"' in tree and 'rowheader "Others"' in tree
