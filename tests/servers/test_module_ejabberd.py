"""What is ejabberd's own in mod_capsd: how it is installed, configured and switched off, and what it makes up for.
A scripted component stands in for capsd where a real one could not be made to behave like that."""

import asyncio
import subprocess
import time
import urllib.error
import xml.etree.ElementTree as ET
from shutil import copytree

import pytest

from harness.caps import DISCO_INFO, LANG, sample
from harness.client import Client
from harness.one_ejabberd import connect, patient, people, server, show, stats  # noqa: F401 (fixtures)
from harness.processes import until, wait_until
from harness.raw import RawSession, previous_id
from harness.scripted import ScriptedCapsd
from harness.servers import COMPONENT, DOMAIN, REPOSITORY, Ejabberd, compile_ejabberd_module, library_directory
from test_notifications import MOOD, publish


# Installation and options


def test_it_compiles_without_a_warning_and_calls_nothing_that_is_not_there(tmp_path):
    assert compile_ejabberd_module(tmp_path) == ""
    program = f"""
        {{ok, _}} = xref:start(x),
        xref:set_default(x, [{{warnings, false}}, {{verbose, false}}]),
        xref:set_library_path(x, [filename:dirname(F) || F <- filelib:wildcard("/usr/lib/erlang/lib/*/ebin/*.app")
            ++ filelib:wildcard("{library_directory()}/*/ebin/*.app")]),
        {{ok, Modules}} = xref:add_directory(x, "{tmp_path}"),
        io:format("~b ~p~n", [length(Modules), [xref:analyze(x, What) || What <- [undefined_function_calls, undefined_functions,
            locals_not_used, deprecated_function_calls]]]),
        halt()."""
    done = subprocess.run(["erl", "-noinput", "-eval", program], capture_output=True, text=True, timeout=100)
    modules = len(list(tmp_path.glob("*.beam")))
    assert modules >= 8 and done.stdout.split() == [str(modules), "[{ok,[]},{ok,[]},{ok,[]},{ok,[]}]"], done.stdout


async def test_it_is_installed_replaced_and_removed_as_ejabberd_does_it(tmp_path):
    server = Ejabberd(tmp_path / "ejabberd")
    copytree(REPOSITORY / "deploy/ejabberd/mod_capsd", server.contributed / "sources/mod_capsd")
    server.start()
    try:
        assert "mod_capsd" in str(server.command("modules_available"))
        assert server.command("module_install", module="mod_capsd") == 0
        server.module = True
        server.write_config()
        assert server.command("reload_config") == 0
        capsd = await ScriptedCapsd(server).start()
        await until(lambda: stats(server)["ready"], "the module finds the component")
        assert server.command("module_upgrade", module="mod_capsd") == 0
        await until(lambda: stats(server)["ready"], "the new one finds the component")
        server.module = False
        server.write_config()
        assert server.command("module_uninstall", module="mod_capsd") == 0
        with pytest.raises(urllib.error.HTTPError):
            stats(server)
        await capsd.stop()
        errors = [line for line in server.log.read_text().splitlines() if "[error]" in line or "[critical]" in line]
        # ejabberd's own way of replacing a module that the configuration names: it is unknown for a moment.
        assert all("unknown ejabberd module: mod_capsd" in line for line in errors), errors
    finally:
        server.kill()


@pytest.mark.parametrize(
    "option, value",
    [
        ("component", []),
        ("component", "not a domain"),
        ("component", [COMPONENT, COMPONENT]),
        ("enabled", "perhaps"),
        ("answer", "everybody"),
        ("hold", -1),
        ("hold", 5001),
        ("max_held", -1),
        ("retry", 0),
        ("feed_queue", 255),
        ("heard_per_session", 0),
        ("cache_size", 0),
        ("cache_bytes", 100),
        ("cache_life_time", "2 days"),
        ("no_such_option", 1),
    ],
)
def test_ejabberd_refuses_options_that_are_wrong(server, option, value):
    before, said = dict(server.options), len(server.log.read_text())
    try:
        server.options[option] = value
        server.write_config()
        with pytest.raises(urllib.error.HTTPError):
            server.command("reload_config")
        wait_until(
            lambda: any(name in server.log.read_text()[said:] for name in (f"mod_capsd->{option}", f"Unknown option: {option}")),
            lambda: f"{option} is said to be wrong: {server.log.read_text()[said:]}",
        )
        assert stats(server)["ready"] == 0, "what was in force stays"
    finally:
        server.options = before
        server.write_config()
        assert server.command("reload_config") == 0


async def test_the_switch_takes_effect_with_a_reload(server, connect, people):
    info = sample("switch")
    capsd = await connect(known={info.node_0115(): info})
    asker, holder = await people(switch_asker=sample("asker"), switch_holder=info)
    await show(holder, asker)
    assert (await asker.ask(info.node_0115(), to=holder.jid)).info.covered() == info.covered()
    assert not holder.questions

    server.set_option("enabled", False)
    assert stats(server) == {}
    await asyncio.sleep(0.2)
    before = len(capsd.requests)
    await show(holder, asker)
    assert (await asker.ask(info.node_0115(), to=holder.jid)).info.covered() == info.covered()
    assert [question.sender for question in holder.questions] == [asker.jid]
    assert len(capsd.requests) == before, "capsd hears nothing any more"

    server.set_option("enabled", True)
    await until(lambda: len(capsd.requests) > before and holder.jid in capsd.present(), "those who were there are told again")
    await show(holder, asker)
    assert (await asker.ask(info.node_0115(), to=holder.jid)).info.covered() == info.covered()
    assert len(holder.questions) == 1


async def test_what_is_held_goes_its_way_when_the_module_is_switched_off(server, connect, people):
    info = sample("held")
    capsd = await connect()
    asker, holder = await people(held_asker=sample("asker"), held_holder=info)
    await show(holder, asker)
    server.set_option("hold", 5000)
    try:
        await until(lambda: stats(server)["held_now"] == 0, "the server has learned what it asks itself")
        holder.questions.clear()
        capsd.silent = True
        other = sample("held-too")
        holder.info = other
        holder.announce()
        await show(holder, asker)
        answer = asyncio.create_task(asker.ask(other.node_0115(), to=holder.jid))
        await until(lambda: stats(server)["held_now"] >= 1, "the query is held")
        started = time.monotonic()
        server.set_option("enabled", False)
        assert (await answer).info.covered() == other.covered()
        assert time.monotonic() - started < 4 and asker.jid in [question.sender for question in holder.questions]
    finally:
        server.options |= {"enabled": True, "hold": 800}
        server.write_config()
        assert server.command("reload_config") == 0


async def test_nothing_is_held_when_nobody_is_there_any_more_to_let_it_go(server, connect):
    """A hook may be at work while the module is switched off."""
    await connect()
    hold = "mod_capsd_flights:hold(Capsd, <<\"node\">>, query)"
    server.evaluate(
        f"spawn(fun() -> process_flag(priority, max), Capsd = mod_capsd:find(<<\"{DOMAIN}\">>), monitor(process, 'mod_capsd_flights_{DOMAIN}'), "
        f"persistent_term:put(late_hook, waits), receive {{'DOWN', _, _, _, _}} -> persistent_term:put(late_hook, {hold}) end end)"
    )
    await until(lambda: server.evaluate("persistent_term:get(late_hook, none)") == "waits", "the hook is at work")
    server.set_option("enabled", False)
    try:
        await until(lambda: server.evaluate("persistent_term:get(late_hook)") != "waits", "the module is switched off")
        assert server.evaluate("persistent_term:get(late_hook)") == "false"
    finally:
        server.set_option("enabled", True)


# What ejabberd does not report by itself


async def test_every_way_to_end_a_session_is_reported(server, connect, people):
    capsd = await connect()
    info = sample("ends")
    names = ["logs_out", "breaks", "is_kicked", "hides", "comes_again"]
    clients = dict(zip(names, await people(**dict.fromkeys(names, info))))
    addresses = {name: client.jid for name, client in clients.items()}
    await until(lambda: set(addresses.values()) <= set(capsd.present()), "all are reported")
    assert all(capsd.present().values()), "capsd may ask the server's own users"

    await clients["logs_out"].log_out()
    clients["breaks"].abort()
    server.command("kick_user", user="is_kicked", host=DOMAIN)
    clients["hides"].become_unavailable()
    gone = {addresses[name] for name in names[:4]}
    await until(lambda: not gone & set(capsd.present()), lambda: f"they are gone: {capsd.reports}")
    await until(lambda: stats(server)["sessions_announcing"] == 1, "and nothing is left of them")

    # The same resource logs in again: the old session ends after the new one began, and must not take it with it.
    again = Client(server, "comes_again", other := sample("again"))
    try:
        await again.log_in()
        again.announce()
        await until(lambda: not clients["comes_again"].connected, "the old session was replaced")
        await until(lambda: stats(server)["sessions_announcing"] == 1, "its rows are gone")
        await asyncio.sleep(0.3)
        assert capsd.present()[again.jid], capsd.reports
        capsd.known[other.node_0115()] = other
    finally:
        await again.log_out()
    await until(lambda: addresses["comes_again"] not in capsd.present(), "the new one is gone")


async def test_a_session_that_is_resumed_was_never_gone_and_has_forgotten_nothing(server, connect, people):
    info = sample("resumed")
    capsd = await connect(known={info.node_0115(): info})
    holder, = await people(resume_holder=info)
    server.add_users(["resumes"])
    session = await RawSession().open(server, "resumes")
    await session.bind("r")
    enabled = await session.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>", "<enabled")
    address = f"resumes@{DOMAIN}/r"
    await session.say(f"<presence>{sample('resumes').c_0115()}</presence>", "<presence")
    since = sample("resumes-since")
    session.writer.write(f"<presence to='{holder.jid}'>{since.c_0115()}</presence>".encode())
    await until(lambda: holder.presences_from(address.split("/")[0]), "it has said something else to one")
    holder.announce(to=address)
    await session.say("<r xmlns='urn:xmpp:sm:3'/>", f"from='{holder.jid}'")
    await until(lambda: address in capsd.present(), "it is reported")
    heard = stats(server)["announcements_heard"]

    session.writer.transport.abort()
    await until(lambda: capsd.present()[address] is False, "while nobody is connected, capsd does not ask it")
    session = await RawSession().open(server, "resumes")
    await session.say(f"<resume xmlns='urn:xmpp:sm:3' previd='{previous_id(enabled)}' h='0'/>", "<resumed")
    asked = f"<iq type='get' id='q' to='{holder.jid}'><query xmlns='http://jabber.org/protocol/disco#info' node='{info.node_0115()}'/></iq>"
    holder.questions.clear()
    answer = await session.say(asked, "id='q'")
    assert "urn:example:feature:resumed" in answer and not holder.questions, "what the old connection heard counts"
    await until(lambda: capsd.present()[address] is True, "now it may again")
    await asyncio.sleep(0.3)
    assert ("gone", address, False, 0) not in capsd.reports and stats(server)["announcements_heard"] == heard
    again = Client(server, "resumes", resource="again")
    await again.log_in()
    again.announce_nothing()
    await until(lambda: [xml for xml in again.presences if xml.get("from") == address], "what was sent to all is repeated")
    await again.log_out()
    last = [event for feed in capsd.named("feed") for event in feed if event.get("jid") == address][-1]
    assert [c.get("ver") for c in last] == [since.ver()], "and is no announcement, whichever process repeats it"
    await session.say("</stream:stream>", "</stream:stream>")
    await until(lambda: ("gone", address, False, 0) in capsd.reports, "its end is reported")


async def test_a_session_that_nobody_resumes_is_gone_when_its_time_is_over(server, connect, people):
    capsd = await connect()
    witness, = await people(witness=None)
    server.add_users(["expires"])
    session = await RawSession().open(server, "expires")
    await session.bind("r")
    await session.say("<enable xmlns='urn:xmpp:sm:3' resume='true' max='1'/>", "<enabled")
    address = f"expires@{DOMAIN}/r"
    await session.say(f"<presence>{sample('expires').c_0115()}</presence>", "<presence")
    witness.announce(sample("witness").c_0115(), to=address)
    await session.say("<r xmlns='urn:xmpp:sm:3'/>", f"from='{witness.jid}'")
    await until(lambda: capsd.present().get(address), "it is reported")
    heard = stats(server)["announcements_heard"]
    session.writer.transport.abort()
    await until(lambda: capsd.present().get(address) is False, "while nobody is connected, capsd does not ask it")
    await until(lambda: address not in capsd.present(), "its end is reported")
    await until(lambda: stats(server)["announcements_heard"] < heard, "and what it heard is forgotten")


async def test_what_passes_by_is_reported_once_and_never_to_be_asked(server, connect, people):
    capsd = await connect()
    info = sample("room")
    first, second = await people(room_first=info, room_second=info)
    room = "hall@rooms.example.org"
    for client in (first, second):
        client.send(f"<presence to='{room}/{client.jid[5:6]}'><x xmlns='http://jabber.org/protocol/muc'/>{info.c_0115()}</presence>")
    occupants = {f"{room}/f": False, f"{room}/s": False}
    await until(lambda: capsd.present().items() >= occupants.items(), lambda: f"both occupants are reported: {capsd.reports}")
    assert [jid for _, jid, _, _ in capsd.reports].count(f"{room}/f") == 1
    second.send(f"<presence to='{room}/s' type='unavailable'/>")
    await until(lambda: f"{room}/s" not in capsd.present(), "who left is reported")
    assert f"{room}/f" in capsd.present()
    first.abort()
    await until(lambda: f"{room}/f" not in capsd.present(), "nobody hears the other one any more")


async def test_all_is_told_when_capsd_comes_one_feed_at_a_time(server, connect, people):
    # Each takes 16 KB of a feed, which takes 64 KB.
    many = "".join(f"<hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>{'x' * 1000}{number}</hash>" for number in range(16))
    clients = await people(**{f"replayed_{number}": None for number in range(8)})
    for client in clients:
        client.announce(f"<c xmlns='urn:xmpp:caps'>{many}</c>")
    await until(lambda: stats(server)["sessions_announcing"] == 8, "all have announced")

    capsd = ScriptedCapsd(server)
    capsd.silent = True
    await capsd.start()
    try:
        await until(lambda: capsd.requests, "an empty feed arrives")
        assert len(capsd.requests[0][0]) == 0
        capsd.silent = False
        capsd.answer(capsd.requests[0])
        capsd.silent = True
        await until(lambda: len(capsd.requests) == 2, "the first part arrives")
        await asyncio.sleep(0.5)
        assert len(capsd.requests) == 2, "the next part waits for the answer"
        assert 0 < len(capsd.requests[1][0]) < 8
        capsd.silent = False
        capsd.answer(capsd.requests[1])
        await until(lambda: set(capsd.present()) >= {client.jid for client in clients}, "all are told")
        assert len(capsd.reports) == 8, "each once"
    finally:
        await capsd.stop()


# mod_caps and PEP


async def test_mod_caps_asks_nobody_and_notifications_arrive_right_after_login(server, connect, people):
    info = sample("pep", [f"{MOOD}+notify"])
    await connect(known={info.node_0115(): info})
    publisher, = await people(pep_publisher=sample("publisher"))
    await publish(publisher, "happy")
    # The same account elsewhere is told of what was published, because its announcement says that it wants to know.
    reader = Client(server, "pep_publisher", info, resource="elsewhere")
    before = stats(server)["answered"]
    try:
        await reader.log_in()
        reader.announce()
        heard = lambda: [message for message in reader.messages if message.find(f".//{{{MOOD}}}happy") is not None]
        await until(lambda: stats(server)["answered"] > before, "mod_caps has its answer")
        # What it makes of that takes a moment.
        for _ in range(100):
            await publish(publisher, "happy")
            if heard():
                break
            await asyncio.sleep(0.1)
        assert heard(), "a notification arrives"
        assert not reader.questions
        await reader.log_out()
        # From now on right after login.
        second = Client(server, "pep_publisher", info, resource="later")
        await second.log_in()
        second.announce()
        try:
            await until(lambda: [m for m in second.messages if m.find(f".//{{{MOOD}}}happy") is not None], "the last item arrives after login")
            assert not second.questions
        finally:
            await second.log_out()
    finally:
        await reader.log_out()


# One question for all


async def test_of_many_queries_one_goes_its_way_and_the_others_are_answered_from_it(server, connect, people, patient):
    info = sample("one")
    capsd = await connect(verify=lambda node, content: content.ver() == info.ver() and node == info.node_0115())
    holder, *askers = await people(one_holder=None, **{f"one_asker_{number}": None for number in range(10)})
    # By directed presence alone, so that mod_caps asks nothing.
    holder.info, holder.delay = info, 0.2
    await show(holder, *askers)
    replies = await asyncio.gather(*(asker.ask(info.node_0115(), to=holder.jid) for asker in askers))
    assert all(reply.info.covered() == info.covered() and reply.sender == holder.jid for reply in replies)
    assert len(holder.questions) == 1 and capsd.lookups == [info.node_0115()] * 2
    contributed, = capsd.named("contribute")
    assert contributed[0].get("jid") == holder.jid


async def test_the_language_of_a_stanza_that_passes_by_is_handed_over(server, connect, people):
    """By XEP-0390 a hash counts the language that identities inherit, here from the stream."""
    info = sample("inherits")
    capsd = await connect()
    holder, asker = await people(inherits_holder=None, inherits_asker=None)
    holder.info = info
    await show(holder, asker)
    assert (await asker.ask(info.node_0115(), to=holder.jid)).info.covered() == info.covered()
    await until(lambda: capsd.named("contribute"), "it is handed over")
    contributed, = capsd.named("contribute")
    assert contributed[0][0].get(LANG) == server.language


async def test_an_answer_that_does_not_verify_is_passed_on_to_its_asker_alone(server, connect, people):
    info, lie = sample("honest"), sample("lie")
    await connect(verify=lambda node, content: content.ver() == info.ver())
    holder, *askers = await people(lie_holder=None, **{f"lie_asker_{number}": None for number in range(3)})
    holder.info, holder.mode, holder.liar_info = info, "lying", lie
    await show(holder, *askers)
    replies = await asyncio.gather(*(asker.ask(info.node_0115(), to=holder.jid) for asker in askers))
    assert all(reply.info.covered() == lie.covered() for reply in replies)
    assert sorted(question.sender for question in holder.questions) == sorted(asker.jid for asker in askers), "each has asked for itself"


async def test_nobody_waits_for_a_client_that_answers_by_an_error(server, connect, people, patient):
    info = sample("refuses")
    await connect()
    holder, *askers = await people(refuses=None, **{f"refused_{number}": None for number in range(3)})
    # So that all are held before it answers.
    holder.info, holder.mode, holder.delay = info, "error", 0.2
    await show(holder, *askers)
    timeouts = stats(server)["hold_timeouts"]
    replies = await asyncio.gather(*(asker.ask(info.node_0115(), to=holder.jid) for asker in askers))
    assert [reply.kind for reply in replies] == ["error"] * 3
    assert sorted(question.sender for question in holder.questions) == sorted(asker.jid for asker in askers), "each has asked for itself"
    assert stats(server)["hold_timeouts"] == timeouts, "and at once"


@pytest.fixture
async def hold(server, connect, people):
    """Has a query held; returns who is asked, who asks, the answer to come, capsd, and what makes capsd say that it knows the content."""

    async def make(name):
        info = sample(f"held-{name}")
        capsd = await connect(known={info.node_0115(): info})
        holder, asker = await people(**{f"{name}_holder": None, f"{name}_asker": None})
        # By directed presence alone, so that mod_caps asks nothing.
        holder.info, holder.mode, capsd.slow = info, "silent", {"lookup"}
        await show(holder, asker)
        answer = asyncio.create_task(asker.ask(info.node_0115(), to=holder.jid))
        await until(lambda: stats(server)["held_now"] == 1, "the query is held")

        def capsd_answers():
            capsd.slow = set()
            capsd.answer(next(iq for iq in capsd.requests if iq[0].tag.endswith("}lookup")))

        return holder, asker, answer, capsd, capsd_answers

    return make


async def test_it_waits_for_the_answer_from_when_capsd_asks(server, hold):
    """However long capsd's question took to come."""
    server.set_option("hold", 3000)
    try:
        holder, asker, answer, capsd, capsd_answers = await hold("questioned")
        await asyncio.sleep(2)
        capsd.ask(holder.jid, holder.info.node_0115())
        await until(lambda: holder.questions, "it arrives")
        await asyncio.sleep(1.5)
        capsd_answers()
        assert (await answer).info.covered() == holder.info.covered()
        assert asker.jid not in [question.sender for question in holder.questions]
    finally:
        server.set_option("hold", 800)


async def test_it_waits_for_an_answer_that_a_busy_server_has_not_read(server, hold):
    """Of the time in which the process that holds it does nothing, a tick counts."""
    holder, asker, answer, _, capsd_answers = await hold("busy")
    process = f'gen_mod:get_module_proc(<<"{DOMAIN}">>, mod_capsd_flights)'
    server.evaluate(f"sys:suspend({process})")
    try:
        await asyncio.sleep(1)
        unread = lambda: server.evaluate(f"element(2, process_info(whereis({process}), message_queue_len))")
        before = unread()
        capsd_answers()
        await until(lambda: unread() != before, "capsd's answer waits to be read")
    finally:
        server.evaluate(f"sys:resume({process})")
    assert (await answer).info.covered() == holder.info.covered()
    assert holder.questions == []


async def test_it_waits_longer_while_the_server_is_late(server, hold):
    """The process that holds it gets its turn three times later than it wants to, all the time."""
    holder, asker, answer, _, capsd_answers = await hold("late")
    process = f'gen_mod:get_module_proc(<<"{DOMAIN}">>, mod_capsd_flights)'
    late = "fun(State) -> timer:sleep(15), State end"
    begin = time.monotonic()
    await asyncio.to_thread(server.evaluate, f"[sys:replace_state({process}, {late}) || _ <- lists:seq(1, 80)], ok")
    assert time.monotonic() - begin > 1.2
    assert holder.questions == []
    capsd_answers()
    assert (await answer).info.covered() == holder.info.covered()
    assert holder.questions == []


async def test_who_comes_later_is_held_as_well(server, connect, people):
    """Each for its own time: the first one has gone its way before the second one came."""
    info = sample("comes-later")
    capsd = await connect(known={info.node_0115(): info})
    holder, first, second = await people(later_holder=None, later_first=None, later_second=None)
    holder.info, holder.mode, capsd.slow = info, "silent", {"lookup"}
    await show(holder, first, second)
    early = asyncio.create_task(first.ask(info.node_0115(), to=holder.jid))
    await until(lambda: holder.questions, "the first one was held for long enough")
    server.set_option("hold", 5000)
    try:
        late = asyncio.create_task(second.ask(info.node_0115(), to=holder.jid))
        await until(lambda: stats(server)["held_now"] == 1, "the second one is held")
        capsd.slow = set()
        capsd.answer(next(iq for iq in capsd.requests if iq[0].tag.endswith("}lookup")))
        assert (await late).info.covered() == info.covered()
        holder.mode = "honest"
        holder.answer(holder.questions[0])
        assert (await early).info.covered() == info.covered()
        assert [question.sender for question in holder.questions] == [first.jid]
    finally:
        server.set_option("hold", 800)


async def test_a_query_that_was_held_is_not_answered_by_an_announcement_that_has_been_replaced(server, connect, people, patient):
    old, new = sample("old"), sample("new")
    capsd = await connect(known={old.node_0115(): old})
    holder, asker = await people(changes=None, waits=None)
    holder.info = old
    await show(holder, asker)
    capsd.silent = True
    answer = asyncio.create_task(asker.ask(old.node_0115(), to=holder.jid))
    await until(lambda: old.node_0115() in capsd.lookups, "the query is held")
    holder.info = new
    await show(holder, asker)
    capsd.silent = False
    capsd.answer(next(iq for iq in capsd.requests if iq[0].tag.endswith("}lookup")))
    assert (await answer).info.covered() == new.covered(), "the client itself has answered"
    assert [question.sender for question in holder.questions] == [asker.jid]


async def test_capsd_itself_asks_the_client(server, connect, people):
    info = sample("asked")
    capsd = await connect(known={info.node_0115(): info})
    holder, asker = await people(asked=info, asking=None)
    await show(holder, asker)
    assert (await asker.ask(info.node_0115(), to=holder.jid)).info.covered() == info.covered() and not holder.questions
    capsd.writer.write(f"<iq type='get' from='{COMPONENT}' to='{holder.jid}' id='x'>{info.query(info.node_0115())}</iq>".encode())
    await until(lambda: holder.questions, "the question arrives")
    assert holder.questions[0].sender == COMPONENT


async def test_a_query_that_was_held_in_vain_is_what_it_was(server, connect, people):
    info = sample("unchanged")
    capsd = await connect()
    holder, asker = await people(unchanged_holder=None, unchanged_asker=None)
    holder.info = info
    arrived = []
    look = holder.xmpp.incoming_filter
    holder.xmpp.incoming_filter = lambda xml: arrived.append(canonical(xml)) if xml.get("id") == "same" else None or look(xml)
    query = f"<query xmlns='{DISCO_INFO}' node='{info.node_0115()}' x='1'> <a xmlns='urn:example:a' b='&lt;&apos;'>text<c/></a>\n</query>"
    for silent in (False, True):
        if silent:
            await show(holder, asker)
            capsd.silent = True
        held = stats(server)["held"]
        asker.send(f"<iq type='get' id='same' xml:lang='el' to='{holder.jid}'>{query}</iq>")
        await until(lambda: len(arrived) == 1 + silent, "it arrives")
        assert stats(server)["held"] == held + silent
    assert arrived[0] == arrived[1]


def canonical(xml):
    """That element as canonical XML."""
    return ET.canonicalize(ET.tostring(xml))


# Bounds


async def test_the_answers_that_are_kept_are_bounded_and_the_oldest_goes(server, connect, people):
    infos = [sample(f"bound-{number}") for number in range(4)]
    capsd = await connect(known={info.node_0115(): info for info in infos})
    holder, asker = await people(bound_holder=None, bound_asker=None)
    server.set_option("cache_size", 3)
    try:
        server.set_option("enabled", False)
        server.set_option("enabled", True)
        await until(lambda: stats(server)["ready"], "the module has begun anew")
        for info in [infos[0], infos[1], infos[0], infos[2], infos[0], infos[3]]:
            holder.info = info
            await show(holder, asker)
            assert (await asker.ask(info.node_0115(), to=holder.jid)).info.covered() == info.covered()
        now = stats(server)
        assert now["answers_kept"] <= 3 and now["answers_dropped"] >= 1
        assert 0 < now["answers_kept_bytes"] < 20000
        before = len(capsd.lookups)
        holder.info = infos[0]
        await show(holder, asker)
        await asker.ask(infos[0].node_0115(), to=holder.jid)
        assert len(capsd.lookups) == before, "what was used is there still"
        assert not holder.questions
    finally:
        del server.options["cache_size"]
        server.set_option("enabled", True)


async def test_what_a_session_was_told_is_bounded(server, connect, people):
    info = sample("heard")
    await connect(known={info.node_0115(): info})
    asker, *holders = await people(heard_asker=None, **{f"heard_holder_{number}": None for number in range(3)})
    server.set_option("heard_per_session", 2)
    try:
        before = stats(server)["heard_full"]
        for holder in holders:
            holder.info = info
            await show(holder, asker)
        assert stats(server)["heard_full"] == before + 1
        for holder in holders:
            assert (await asker.ask(info.node_0115(), to=holder.jid)).info.covered() == info.covered()
        assert [len(holder.questions) for holder in holders] == [0, 0, 1]
    finally:
        del server.options["heard_per_session"]
        server.set_option("enabled", True)
