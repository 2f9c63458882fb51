"""Runs clients beside a Prosody and a capsd of their own, and writes what capsd verified of them to config/trusted.

Started by make.sh, inside the private world of world.sh. Nothing here decides what is true: a content is kept because capsd serves it, and
only if `capsd verify` and hashlib agree. The files are those of `capsd export`.
"""

import argparse
import asyncio
import base64
import contextlib
import datetime
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from client import DOMAIN, NotHere, debian_version
from libraries_of import LIBRARIES_OF
from table import NOT_RUN, SILENT, TRUSTED, VERIFIED, Row
from terminals import PROGRAMS, TERMINALS
from windows import WINDOWS
from world import FullEjabberd, FullProsody, display

import services
import table
from harness.caps import CAPS_0115, CAPS_0390, HASHES, info_of
from harness.client import Client
from harness.daemon import Capsd, binary
from harness.processes import until

CLIENTS = sorted([*TERMINALS, *PROGRAMS, *WINDOWS, *LIBRARIES_OF], key=lambda client: client.name)
# A client that has announced nothing new for so many seconds is taken to be done; but it is not waited for longer than the second.
QUIET, AT_MOST = 6, 60
# How long a client has to answer a question.
PATIENCE = 8

# slixmpp leaves a task behind whenever it disconnects.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Announced:
    """A key in a presence; `algorithm` is empty where a 0115 element names none."""

    address: str
    family: str
    algorithm: str
    hash: str
    url: str

    @property
    def node(self):
        """The node to ask for."""
        return f"{self.url}#{self.hash}" if self.family == "0115" else f"{CAPS_0390}#{self.algorithm}.{self.hash}"

    def has_content(self, info):
        """Whether that content has this key, by hashlib."""
        return self.hash == (info.ver(self.algorithm) if self.family == "0115" else info.hash_0390(self.algorithm))


def announced_in(presence):
    """Every key that a presence announces."""
    for c in presence.findall(f"{{{CAPS_0115}}}c"):
        yield Announced(presence.get("from"), "0115", c.get("hash", ""), c.get("ver", ""), c.get("node", ""))
    for c in presence.findall(f"{{{CAPS_0390}}}c"):
        for digest in c.findall(f"{{{HASHES}}}hash"):
            yield Announced(presence.get("from"), "0390", digest.get("algo", ""), (digest.text or "").strip(), "")


def verify(key, query):
    """What `capsd verify` says of a `<query/>` for a key: `verified`, or a verdict and its reason; and the explanation."""
    command = [binary(), "verify", "--family", key.family, "--hash", key.algorithm, "--ver", key.hash, "-"]
    done = subprocess.run(command, input=query, capture_output=True, text=True, timeout=30)
    return done.stdout.strip(), done.stderr.strip().removeprefix("capsd: ")


def why_not(key, own):
    """The verdict and the remark on a key that capsd serves nothing for, by what the client itself answers for it."""
    if not key.algorithm:
        return "legacy", "the announcement names no hash function, so nothing can be proved"
    if own is None:
        return "timeout", f"the client did not answer within {PATIENCE} s"
    if own.kind == "error":
        return "unreachable", f"the client answers with {own.condition}"
    verdict, explanation = verify(key, ElementTree.tostring(own.child, encoding="unicode"))
    return verdict.split(": ")[-1], f"the client answers, but {explanation}" if explanation else verdict


def file_of(key):
    """Where the content of a key is kept, below config/trusted: in the layout of aioxmpp's database."""
    if key.family == "0115":
        return f"hashes/{key.algorithm}_{quote(key.node, safe='')}.xml"
    digest = base64.b32encode(base64.b64decode(key.hash)).decode().rstrip("=").lower()
    return f"caps2/{key.algorithm}/{digest[:2]}/{digest[2:4]}/{digest[4:]}.xml"


class Recording:
    """One run: the server, capsd, and the table that grows."""

    def __init__(self, server, capsd, date):
        self.server = server
        self.capsd = capsd
        self.date = date

    async def record(self, client):
        """The rows of one client."""
        row = Row(client.name, client.version(), client.source, client.settings, self.date)
        observer = await Client(self.server, client.user_name, resource="observer").log_in()
        observer.announce_nothing()
        keys = lambda: list(
            dict.fromkeys(key for presence in observer.presences if presence.get("from") != observer.jid for key in announced_in(presence))
        )
        try:
            await asyncio.get_running_loop().run_in_executor(None, client.start)
            await self.settle(client, keys)
            if keys():
                return [await self.judge(row, key, observer) for key in keys()]
            if any(presence.get("from") != observer.jid for presence in observer.presences):
                return [replace(row, verdict=SILENT, remark="it logs in, and its presence has no caps")]
            print(client.screen())
            return [replace(row, verdict=NOT_RUN, remark=f"it did not log in within {client.patience} s")]
        finally:
            client.stop()
            await observer.log_out()

    async def settle(self, client, keys):
        """Waits until the client has announced what it will announce, and capsd is done with it."""
        with contextlib.suppress(AssertionError):
            await until(keys, "", timeout=client.patience)
        loop = asyncio.get_running_loop()
        begin = since = loop.time()
        seen = len(keys())
        while seen and loop.time() < min(since + QUIET, begin + AT_MOST):
            await asyncio.sleep(0.1)
            if len(keys()) > seen:
                seen, since = len(keys()), loop.time()
        await self.capsd.until_idle()

    async def judge(self, row, key, observer):
        """The row of one key, which names a file if capsd serves a content for it."""
        row = replace(row, family=key.family, algorithm=key.algorithm, hash=key.hash, node=key.url)
        served = await observer.ask(key.node)
        if served.kind != "result":
            own = None
            with contextlib.suppress(AssertionError):
                own = await observer.ask(key.node, to=key.address, timeout=PATIENCE)
            verdict, remark = why_not(key, own)
            return replace(row, verdict=verdict, remark=remark)
        info = info_of(served.child)
        query = info.query()
        said, _ = verify(key, query)
        assert said == VERIFIED and key.has_content(info), f"capsd serves {query} for {key}, but: {said}"
        if os.uname().release in query:
            return replace(row, verdict=VERIFIED, remark="not kept: it names the kernel, so it is known on this machine alone")
        return replace(row, verdict=VERIFIED, file=file_of(key))


async def record_services(directory, world, date):
    """The rows of servers and rooms."""
    rows = []
    for server, package in ((FullProsody(directory / "prosody", world), "prosody"), (FullEjabberd(directory / "ejabberd"), "ejabberd")):
        try:
            server.start()
            for what, ver, query in await services.answers(server):
                key = Announced(DOMAIN, "0115", "sha-1", ver, "")
                verdict, explanation = verify(key, ElementTree.tostring(query, encoding="unicode"))
                rows.append(
                    Row(
                        what, debian_version(package), f"debian:{package}", "with contact addresses", date, "0115", "sha-1", ver,
                        verdict=verdict.split(": ")[-1],
                        remark=": ".join(filter(None, ["not kept, since no presence announces it", explanation])),
                    )
                )
        finally:
            server.kill()
    return rows


def export(capsd, rows):
    """Copies the contents that rows name out of what `capsd export` writes; capsd must have been stopped."""
    with tempfile.TemporaryDirectory(prefix="capsd-export-") as directory:
        database = Path(directory) / "database"
        subprocess.run([binary(), "export", "--config", str(capsd.config), "--all", str(database)], check=True, timeout=60)
        for row in rows:
            if row.file:
                exported = database / row.file
                if not exported.exists():
                    # A content that capsd knew already by another node has that node's name alone.
                    exported = next(database.glob(f"hashes/{row.algorithm}_*{quote('#' + row.hash, safe='')}.xml"))
                (TRUSTED / row.file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(exported, TRUSTED / row.file)


def keep(rows, new):
    """The rows of all clients, those that were recorded now in place of the old ones; contents that no row names are removed."""
    recorded = {row.client for row in new}
    rows = sorted([row for row in rows if row.client not in recorded] + new, key=lambda row: row.client)
    table.write(rows)
    named = {row.file for row in rows}
    for path in TRUSTED.rglob("*.xml"):
        if str(path.relative_to(TRUSTED)) not in named:
            path.unlink()
    return rows


async def main(arguments):
    """Records the clients that were named, or all."""
    unknown = set(arguments.clients) - {client.name for client in CLIENTS}
    if unknown:
        sys.exit(f"unknown: {' '.join(sorted(unknown))}; known are: {' '.join(client.name for client in CLIENTS)}")
    chosen = [client for client in CLIENTS if not arguments.clients or client.name in arguments.clients]
    TRUSTED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="capsd-clients-") as directory, contextlib.ExitStack() as stack:
        server = FullProsody(Path(directory) / "prosody", arguments.world)
        stack.callback(server.kill)
        server.start()
        capsd = Capsd(Path(directory) / "capsd", server)
        stack.callback(capsd.kill)
        capsd.start()
        stack.enter_context(display(Path(directory)))
        recording = Recording(server, capsd, datetime.date.today().isoformat())
        new = []
        for client_class in chosen:
            user = f"{client_class.name}-user"
            server.add_users([user])
            client = client_class(server, user)
            client.user_name = user
            try:
                new += await recording.record(client)
            except (NotHere, AssertionError, OSError, sqlite3.Error, subprocess.SubprocessError) as error:
                new.append(Row(client.name, "", client.source, client.settings, recording.date, verdict=NOT_RUN, remark=str(error)))
            for row in new:
                if row.client == client.name:
                    print(f"{row.client} {row.version}: {row.verdict} {row.family} {row.algorithm} {row.hash} {row.remark}".rstrip(), flush=True)
        capsd.stop()
        export(capsd, new)
        server.stop()
        if not arguments.clients:
            new += await record_services(Path(directory) / "services", arguments.world, recording.date)
        keep(table.read(), new)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", type=Path, required=True, help="the directory with the key and the certificate of the server")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="the clients to record; all by default")
    asyncio.run(main(parser.parse_args()))
