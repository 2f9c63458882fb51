"""The demonstration that deploy/demo.sh starts: capsd beside a real server, with real clients, told step by step."""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/servers"))

from harness.caps import Info  # noqa: E402
from harness.client import Client, log_in_all, log_out_all  # noqa: E402
from harness.daemon import Capsd  # noqa: E402
from harness.processes import until  # noqa: E402
from harness.servers import COMPONENT, DOMAIN, KINDS, PASSWORD  # noqa: E402

PHONE = Info(
    [("client", "phone", "", "Pocket Chat")],
    ["http://jabber.org/protocol/caps", "http://jabber.org/protocol/disco#info", "urn:xmpp:jingle:1", "urn:xmpp:ping", "urn:xmpp:receipts"],
)
DESKTOP = Info(
    [("client", "pc", "", "Desk Chat")],
    ["http://jabber.org/protocol/caps", "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/muc", "urn:xmpp:ping"],
    [("urn:xmpp:dataforms:softwareinfo", {"os": ["Linux"], "software": ["Desk Chat"], "software_version": ["2.0"]})],
)
# How long the clients take to answer, as over a mobile network; it shows what a hit saves.
DELAY = 0.3
WIDTH = 100


def step(number, text):
    """A numbered paragraph for the reader."""
    print("\n" + textwrap.fill(text, WIDTH, initial_indent=f"{number}. ", subsequent_indent="   "), flush=True)


def say(text):
    """A further paragraph of the same step."""
    print(textwrap.fill(text, WIDTH, initial_indent="   ", subsequent_indent="   "), flush=True)


def show(text):
    """Something literal, indented."""
    print(textwrap.indent(text, "      "), flush=True)


def names(clients):
    """The addresses of clients in one line."""
    return ", ".join(client.jid for client in clients)


async def ask(capsd, asker, info):
    """Asks capsd, checks the answer by computing its hash here, and returns the milliseconds and how capsd counted the lookup."""
    before = capsd.metrics()
    begin = time.monotonic()
    reply = await asker.ask(info.node_0115())
    milliseconds = (time.monotonic() - begin) * 1000
    assert reply.info.ver() == info.ver(), "the answer does not have the hash"
    after = capsd.metrics()
    counted = [
        dict(pairs)["result"]
        for (name, pairs), value in after.items()
        if name == "capsd_lookups_total" and value > before.get((name, pairs), 0)
    ]
    return reply, milliseconds, "/".join(counted)


def report_questions(clients, what):
    """Says who was asked."""
    asked = [client for client in clients if client.caps_questions]
    say(f"capsd asked {names(asked)} and nobody else: {len(asked)} question for the {len(clients)} clients with {what}.")


def show_info(info):
    """The disco info in words."""
    for category, type_, _, name in info.identities:
        show(f"identity  {category}/{type_} {name}")
    for feature in info.features:
        show(f"feature   {feature}")
    for form_type, fields in info.forms:
        show(f"form      {form_type}: " + ", ".join(f"{var}={'|'.join(values)}" for var, values in fields.items()))


def show_metrics(capsd):
    """The counters that tell the story."""
    wanted = (
        "capsd_lookups_total", "capsd_upstream_queries_sent_total", "capsd_upstream_queries_total", "capsd_verifications_total",
        "capsd_announcements_total", "capsd_cache_entries",
    )
    for (name, pairs), value in sorted(capsd.metrics().items()):
        if name in wanted and value:
            labels = ", ".join(f'{label}="{word}"' for label, word in pairs)
            show(f"{name}{{{labels}}} {value:g}" if labels else f"{name} {value:g}")


async def story(server, capsd, clients):
    """What is shown, in order; the clients that it makes are appended to `clients`."""
    users = ["anna", "ben", "carla", "dora", "emil", "frank"]
    server.add_users(users)
    phones = [Client(server, user, PHONE, resource="phone", delay=DELAY) for user in users[:3]]
    desktops = [Client(server, user, DESKTOP, resource="desktop", delay=DELAY) for user in users[3:5]]
    asker = Client(server, users[5], resource="asking")
    clients += [*phones, *desktops, asker]
    await log_in_all(clients)

    step(3, f"Five clients log in and announce what they can do, each by a hash in its presence: {names(phones)} with")
    show(f"{PHONE.ver()}   (sha-1, XEP-0115)")
    say(f"and {names(desktops)} with")
    show(DESKTOP.ver())
    for client in phones + desktops:
        client.announce()

    step(4, f"{asker.jid} meets the first hash. Instead of asking each of the three clients, it asks capsd what the hash means:")
    show(f"<iq type='get' to='{COMPONENT}'>\n  <query xmlns='http://jabber.org/protocol/disco#info'\n         node='{PHONE.node_0115()}'/>\n</iq>")
    await until(lambda: any(client.caps_questions for client in phones), "a client is asked")
    reply, milliseconds, counted = await ask(capsd, asker, PHONE)
    say("The answer, which has that hash (capsd has proved it, and this program has computed it again):")
    show_info(reply.info)
    say(
        f"It took {milliseconds:.1f} ms: the answer of a client was under way (these clients take {DELAY * 1000:.0f} ms), and "
        f"{asker.jid} waited for it. capsd counts such a lookup as `{counted}`."
    )
    report_questions(phones, "this hash")

    _, milliseconds, counted = await ask(capsd, asker, PHONE)
    step(5, f"The same question a second time: {milliseconds:.1f} ms, a `{counted}`. Nobody was asked.")

    await capsd.until_idle()
    reply, milliseconds, counted = await ask(capsd, asker, DESKTOP)
    step(6, f"The other hash: {milliseconds:.1f} ms, a `{counted}`, because capsd asked as soon as the hash was announced.")
    report_questions(desktops, "this hash")

    step(7, "The metrics until here:")
    show_metrics(capsd)

    await asyncio.to_thread(capsd.restart)
    _, milliseconds, counted = await ask(capsd, asker, PHONE)
    sent = capsd.queries()
    step(8, f"capsd was stopped and started again. The first hash: {milliseconds:.1f} ms, a `{counted}`: it was kept on disk. "
        f"Questions to clients since the start: {sent}.")


def tell_how_to_look(server, capsd):
    """What --keep prints."""
    print()
    say("Everything goes on running until you press Ctrl-C. To look further, in another terminal:")
    show(f"curl http://127.0.0.1:{capsd.http_port}/metrics     # also /healthz, /readyz")
    show(f"less {capsd.config}     # the whole configuration of capsd")
    show(f"less {capsd.process.output}     # its log")
    show(f"less {server.log}     # the log of {server.kind}")
    say(
        f"Or log in with a client of your own, unencrypted, to 127.0.0.1 port {server.client_port} as anna@{DOMAIN} with the password "
        f"`{PASSWORD}`, and ask {COMPONENT} yourself."
    )


async def demonstrate(options, directory):
    """Starts everything, tells the story, and stops everything in the opposite order."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: (interrupted.set(), task.cancel()))

    server, capsd, clients = None, None, []
    try:
        server = KINDS[options.server](directory / "server")
        await asyncio.to_thread(server.start)
        step(1, f"{server.kind} runs privately in {directory}: clients on 127.0.0.1:{server.client_port}, components on "
            f"127.0.0.1:{server.component_port}. What it must know of capsd is the file in deploy/{server.kind}/.")
        capsd = Capsd(directory / "capsd", server)
        await asyncio.to_thread(capsd.start)
        step(2, f"capsd runs beside it as {COMPONENT}. The server tells it who comes online with which hash, and nothing else.")
        await story(server, capsd, clients)
        if options.keep:
            tell_how_to_look(server, capsd)
            await interrupted.wait()
    except asyncio.CancelledError:
        print("\nStopping …", flush=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        await log_out_all(clients)
        for part in (capsd and capsd.process, server and server.process):
            if part:
                await asyncio.to_thread(part.stop)
    return 130 if interrupted.is_set() and not options.keep else 0


def main():
    """Runs the demonstration in a directory of its own, which is removed at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=sorted(KINDS), default="prosody")
    parser.add_argument("--keep", action="store_true")
    directory = Path(tempfile.mkdtemp(prefix="capsd-demo-"))
    try:
        return asyncio.run(demonstrate(parser.parse_args(), directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
