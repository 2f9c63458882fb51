"""What today's servers and their services answer, as capsd sees it: by which rule, if any, each is refused."""

import json
import subprocess
import xml.etree.ElementTree as ET

import pytest

from harness.daemon import binary
from harness.servers import DOMAIN, KINDS

# Services that come with each server, by what is appended to capsd's own snippet.
MORE = {
    "prosody": f"""
Component "rooms.{DOMAIN}" "muc"
Component "pubsub.{DOMAIN}" "pubsub"
Component "proxy.{DOMAIN}" "proxy65"
	proxy65_ports = {{}}
""",
    "ejabberd": f"""
modules:
  mod_muc: {{ host: "rooms.{DOMAIN}" }}
  mod_vcard: {{ host: "users.{DOMAIN}", search: true }}
""",
}
ADDRESSES = {
    "prosody": [DOMAIN, f"rooms.{DOMAIN}", f"room@rooms.{DOMAIN}", f"pubsub.{DOMAIN}", f"proxy.{DOMAIN}", f"asker@{DOMAIN}"],
    "ejabberd": [DOMAIN, f"rooms.{DOMAIN}", f"room@rooms.{DOMAIN}", f"pubsub.{DOMAIN}", f"users.{DOMAIN}", f"asker@{DOMAIN}"],
}

# Which of these are refused, and why: an empty field of a room, and the empty contact form that ejabberd sends where no contact is
# configured (`server_info` of mod_disco). Nobody else's content is accepted in their place (`caps::ambiguity`); everything else is verified.
NO_VALUE, NO_FIELD = "has no value", "has no field"
REFUSED = {
    "prosody": {f"room@rooms.{DOMAIN}": NO_VALUE},
    "ejabberd": {DOMAIN: NO_FIELD, f"rooms.{DOMAIN}": NO_FIELD, f"pubsub.{DOMAIN}": NO_FIELD, f"room@rooms.{DOMAIN}": NO_VALUE},
}


@pytest.fixture(scope="module")
def server(make_server, kind):
    snippet = KINDS[kind].read_snippet(None)
    return make_server(snippet=snippet + MORE[kind], own_caps=True)


def judged(tmp_path, info, query):
    """The verdict on an answer under its own 0115 hash, which is computed here."""
    file = tmp_path / "answer.xml"
    file.write_text(query)
    command = [binary(), "verify", "--json", "--hash", "sha-1", "--ver", info.ver(), str(file)]
    return json.loads(subprocess.run(command, capture_output=True, text=True).stdout)


async def test_what_services_answer_is_accepted_or_the_rule_is_known(kind, server, make_client, tmp_path):
    client = await make_client("asker").log_in()
    client.announce_nothing()
    client.send(f"<presence to='room@rooms.{DOMAIN}/me'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    refused = {}
    for address in ADDRESSES[kind]:
        reply = await client.ask(to=address)
        verdict = judged(tmp_path, reply.info, ET.tostring(reply.child, encoding="unicode"))
        print(f"{kind} {address}: {verdict['verdict']} {verdict['detail'] or ''}")
        if verdict["verdict"] != "verified":
            assert (verdict["verdict"], verdict["reason"]) == ("quarantined", "ambiguous")
            refused[address] = verdict["detail"]
    expected = REFUSED[kind]
    assert refused.keys() == expected.keys()
    assert all(detail.endswith(expected[address]) for address, detail in refused.items()), refused
