"""One round: everybody logs in at once and enters the room; who was asked what, who learned what, how long it took."""

import asyncio
import contextlib
import logging
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

from harness.caps import CAPS_0390, sample
from harness.client import log_out_all
from harness.processes import until

from .member import STYLES, Member
from .real import REAL

# A round is over when everybody knows everybody and nobody was asked anything for so many seconds: longer than a server may hold a query.
QUIET = 1.0
# But it is given up after so many.
AT_MOST = 60

# slixmpp leaves a task behind whenever it disconnects.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


class Truth:
    """What each announced node stands for, by what clients themselves answered; and which announcements never verify."""

    def __init__(self):
        self.of = {}

    def told(self, node, info):
        """A client gave this answer for the node; it counts if the hash says so."""
        if node and has_content(node, info):
            self.of[node] = info

    def key(self, node):
        """The same word for all nodes of one content; None for what never verified."""
        return self.of[node].ver() if node in self.of else None


def has_content(node, info):
    """Whether that disco info has the hash in the node."""
    family, _, rest = node.rpartition("#")
    if family == CAPS_0390:
        algorithm, _, digest = rest.rpartition(".")
        return info.hash_0390(algorithm) == digest
    return info.ver() == rest


@dataclass
class Round:
    """What one round has shown."""

    name: str
    clients: int
    # Questions that reached clients: by verifying hash, and all those for announcements that never verify.
    by_hash: Counter = field(default_factory=Counter)
    never: int = 0
    # Bytes that the careful clients received, and seconds until they knew what every occupant can do.
    received: list = field(default_factory=list)
    knew: list = field(default_factory=list)
    # Answers that were compared with what the asked client would have said, and those that do not equal it.
    compared: int = 0
    wrong: list = field(default_factory=list)
    # Those for hashes of XEP-0390 that do not verify with the languages that they inherit, as what a client says itself may not.
    inheriting: list = field(default_factory=list)
    arrivals: list = field(default_factory=list)

    @property
    def questions(self):
        """Questions about hashes that verify."""
        return self.by_hash.total()

    @property
    def most(self):
        """Questions about the hash that was asked about most."""
        return max(self.by_hash.values(), default=0)

    def cells(self):
        """A row of the table."""
        return [
            self.name,
            f"{self.questions}",
            f"{self.most}",
            f"{self.never}",
            f"{statistics.median(self.received):,.0f}",
            f"{statistics.median(self.knew):.2f} s",
        ]


def missed(rounds, careful):
    """What these rounds with capsd, the first of them cold, do not show: one question for each hash and then none, and right answers, of which
    each careful client compared at least one."""
    found = []
    for one in rounds:
        if one.most > (1 if one is rounds[0] else 0):
            found.append(f"{one.name}: {one.most} questions for one hash: {one.by_hash}, {one.arrivals}")
        if one.wrong:
            found.append(f"{one.name}: wrong answers: {one.wrong}")
        # By then no answer is a client's own, and the modules say that none inherits a language.
        if one is not rounds[0] and one.inheriting:
            found.append(f"{one.name}: answers that do not verify with the languages that they inherit: {one.inheriting}")
        if one.compared < careful:
            found.append(f"{one.name}: {one.compared} answers were compared")
    return found


HEADINGS = ["", "questions that reached clients", "most for one hash", "for hashes that never verify", "bytes to one client", "one client knows all after"]


class Crowd:
    """The same people in each round: `careful` clients with slixmpp, that announce `hashes` contents, and real clients by name."""

    def __init__(self, server, careful, hashes, real=()):
        self.server = server
        self.infos = [sample(f"crowd-{number}") for number in range(hashes)]
        self.careful = [f"careful{number}" for number in range(careful)]
        self.real = [(f"{name.replace('.', '')}{number}", name) for number, name in enumerate(real)]
        self.truth = Truth()
        for info in self.infos:
            for node in (info.node_0115(), info.node_0390()):
                self.truth.told(node, info)

    @property
    def names(self):
        """All accounts."""
        return self.careful + [user for user, _ in self.real]

    def prepare(self):
        """Makes the accounts and subscribes them to each other."""
        self.server.add_users(self.names)
        self.server.befriend(self.names)
        return self

    async def round(self, name):
        """Everybody logs in at once with an empty cache, and leaves when all is quiet."""
        gate = asyncio.Event()
        members = [self.member(user, at % len(self.infos)) for at, user in enumerate(self.careful)]
        real = []
        try:
            for user, kind in self.real:
                client = await REAL[kind].behind_tap(self.server, user, gate)
                real.append(client)
                client.start()
            await asyncio.wait_for(asyncio.gather(*(client.tap.connected.wait() for client in real)), AT_MOST)
            gate.set()
            begin = time.monotonic()
            await asyncio.gather(*(self.enter(member) for member in members), *(self.join(client) for client in real))
            await self.settle(members, real)
            return self.judge(name, begin, members, [client.record for client in real])
        finally:
            await log_out_all(members)
            for client in real:
                await client.close()

    def member(self, user, content):
        """A careful client; one content is announced by XEP-0115, the next by both, the next by XEP-0390 alone."""
        return Member(self.server, user, self.infos[content], STYLES[content % len(STYLES)])

    async def enter(self, member):
        await member.log_in()
        member.enter(len(self.names))

    async def join(self, client):
        """Enters the room with a real client as soon as it has announced itself."""
        await until(lambda: client.record.announcements, lambda: f"{client.name} logs in; it shows:\n{client.screen()}", AT_MOST)
        client.join()
        await until(lambda: client.record.in_room, lambda: f"{client.name} enters the room; it shows:\n{client.screen()}", AT_MOST)

    async def settle(self, members, real):
        """Waits until everybody knows everybody, and nobody is asked any more."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(member.knows_everybody.wait() for member in members)), AT_MOST)
        for member in members:
            missing = [node for node in member.occupants.values() if node not in member.known]
            assert member.knew_at, f"{member.nick} sees {len(member.occupants)} occupants and does not know {missing}"
        count = lambda: sum(len(client.record.arrivals) for client in [*members, *real])
        seen, since = count(), time.monotonic()
        while time.monotonic() < since + QUIET:
            await asyncio.sleep(0.1)
            if count() > seen:
                seen, since = count(), time.monotonic()

    def judge(self, name, begin, members, real_records):
        """Counts, and compares each answer that was received with what the clients say themselves."""
        records = [member.record for member in members] + real_records
        for record in records:
            for node, info in record.answers:
                self.truth.told(node, info)
        result = Round(name, len(records), arrivals=[arrival for record in records for arrival in record.arrivals])
        for arrival in result.arrivals:
            key = self.truth.key(arrival.node)
            if key is None:
                result.never += 1
            else:
                result.by_hash[key] += 1
        result.received = [member.record.received_bytes for member in members]
        result.knew = [member.knew_at - begin for member in members]
        for record in records:
            for node, info in record.learned:
                own = self.truth.of.get(node)
                result.compared += own is not None
                if own is not None and own.covered() != info.covered():
                    result.wrong.append((record.name, node, info))
            for node, info in record.received:
                if node in self.truth.of and node.startswith(f"{CAPS_0390}#") and not has_content(node, info):
                    result.inheriting.append((record.name, node, info))
        return result


def table(rounds):
    """The rounds as a table of Markdown."""
    rows = [HEADINGS, ["---", *["---:"] * (len(HEADINGS) - 1)], *(one.cells() for one in rounds)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
