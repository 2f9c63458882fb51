"""A crowd logs in at once: at most one question for each hash reaches a client, and none once capsd knows it; counted at the clients."""

import os

import pytest

from crowd.campaign import with_capsd, without_capsd
from crowd.real import REAL
from crowd.rounds import Crowd, missed

LONG = os.environ.get("CAPSD_LONG") == "1"
# Careful clients, contents that they announce, and clients that people use.
CROWDS = {"careful": (50, 5, []), "real": (42, 1, [name for name in sorted(REAL) for _ in range(2)])} if LONG else {"short": (18, 4, ["poezio", "profanity"])}

# Fifty careful clients meet the defaults. With clients that people use it is about counts alone, also on a machine that is busy with other
# things, or with these very clients, so that they answer late: queries are held for longer, and capsd asks the next client later.
HOLD = {"prosody": {"hold": 5}, "ejabberd": {"hold": 5000}}
LATER = {"resolver": 'holder-timeout = "10s"\ndeadline = "20s"'}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("crowd", sorted(CROWDS))
async def test_with_capsd_one_question_for_each_hash_and_then_none(kind, make_crowd_server, make_capsd, crowd):
    by_default = crowd == "careful"
    server = make_crowd_server(module=True if by_default else HOLD[kind])
    crowd = Crowd(server, *CROWDS[crowd]).prepare()
    capsd = make_capsd(server, **{} if by_default else LATER).start()
    rounds = await with_capsd(crowd, server, capsd, every_restart=LONG)
    assert missed(rounds, len(crowd.careful)) == []


if LONG:

    @pytest.mark.timeout(300)
    async def test_without_capsd_everybody_asks_everybody(make_crowd_server):
        server = make_crowd_server()
        for one in await without_capsd(Crowd(server, *CROWDS["careful"]).prepare(), server):
            assert one.wrong == []
            assert one.most >= 40, one.by_hash
