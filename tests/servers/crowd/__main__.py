"""Shows what a crowd sees with capsd and without, as a table.

    tests/crowd.sh [--server prosody|ejabberd] [--careful N] [--hashes N] [--real NAME,…]

By default 42 clients with slixmpp, two each of profanity, poezio, xmpp.js and converse.js: five programs, five hashes.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

from harness.daemon import Capsd
from harness.servers import REPOSITORY

from .campaign import with_capsd, without_capsd
from .real import REAL
from .rounds import Crowd, missed, table
from .servers import CROWD_KINDS


async def show(kind, arguments, directory):
    """The rounds beside one kind of server: their table, and what they do not show."""
    make = lambda server: Crowd(server, arguments.careful, arguments.hashes, arguments.real).prepare()
    with contextlib.ExitStack() as stack:
        bare = CROWD_KINDS[kind](directory / "without")
        stack.callback(bare.kill)
        rounds = await without_capsd(make(bare.start()), bare)
        bare.stop()
        server = CROWD_KINDS[kind](directory / "with", module=True)
        stack.callback(server.kill)
        capsd = Capsd(directory / "capsd", server.start())
        stack.callback(capsd.kill)
        beside = await with_capsd(make(server), server, capsd.start())
    faults = missed(beside, arguments.careful) + [f"{one.name}: wrong answers: {one.wrong}" for one in rounds if one.wrong]
    return f"{kind}, {rounds[0].clients} clients:\n\n{table(rounds + beside)}\n", faults


async def main(arguments):
    written = REPOSITORY / "target/crowd.md"
    parts, faults = [], []
    for kind in [arguments.server] if arguments.server else sorted(CROWD_KINDS):
        with tempfile.TemporaryDirectory(prefix="capsd-crowd-") as directory:
            part, found = await show(kind, arguments, Path(directory))
        print(part, flush=True)
        parts.append(part)
        faults += [f"{kind}: {one}" for one in found]
    written.parent.mkdir(exist_ok=True)
    written.write_text("\n".join(parts))
    for one in faults:
        print(f"missed: {one}")
    return 1 if faults else 0


parser = argparse.ArgumentParser(prog="tests/crowd.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--server", choices=sorted(CROWD_KINDS), help="one kind of server; both by default")
parser.add_argument("--careful", type=int, default=42, help="how many clients with slixmpp")
parser.add_argument("--hashes", type=int, default=1, help="how many contents these announce")
parser.add_argument(
    "--real", type=lambda text: [name for name in text.split(",") if name], metavar="NAME,…", default=[name for name in sorted(REAL) for _ in range(2)],
    help=f"clients that people use, of {', '.join(sorted(REAL))}; two of each by default",
)
sys.exit(asyncio.run(main(parser.parse_args())))
