"""The browser, run by a script that prints what it saw."""

import asyncio
import json
import os

from conftest import REPOSITORY

MODULES = REPOSITORY / "target/page"
PICTURES = MODULES / "pictures"


async def browse(script, wanted):
    """What the browser saw: what `script` beside this file prints when it is given what is wanted."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    browser = await asyncio.create_subprocess_exec(
        "node",
        str(REPOSITORY / "tests/page" / script),
        str(MODULES),
        str(PICTURES),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"HOME": str(MODULES)},
    )
    try:
        async with asyncio.timeout(110):
            out, errors = await browser.communicate(json.dumps(wanted).encode())
    finally:
        if browser.returncode is None:
            browser.kill()
    assert browser.returncode == 0, errors.decode()
    return json.loads(out)


def is_in_nobodys_way(judged, state):
    """axe found nothing, left nothing undecided, and nothing is wider than the screen."""
    assert judged["violations"] == [], state
    # Such as a contrast that it cannot tell: none is, so none needs a reason here.
    assert judged["incomplete"] == [], state
    assert judged["passes"] > 20, "axe looked at nothing"
    assert judged["overflow"] <= 0, state
