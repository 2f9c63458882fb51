"""Fixtures: every test that takes `server` runs once beside Prosody and once beside ejabberd."""

import pytest

from crowd.servers import CROWD_KINDS
from harness.client import Client, log_out_all
from harness.daemon import Capsd
from harness.servers import DOMAIN, KINDS


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request):
    """'prosody' or 'ejabberd'."""
    return request.param


@pytest.fixture(scope="module")
def make_server(kind, tmp_path_factory):
    """Starts a server of that kind, with options; it is stopped after the module."""
    servers = []

    def make(**options):
        server = KINDS[kind](tmp_path_factory.mktemp(kind), **options)
        servers.append(server)
        return server.start()

    yield make
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def server(make_server):
    """A server for the whole module."""
    return make_server()


@pytest.fixture
def make_crowd_server(kind, tmp_path_factory):
    """Starts a server with rooms, PEP and rosters (crowd/servers.py), with options; it is stopped after the test."""
    servers = []

    def make(**options):
        servers.append(CROWD_KINDS[kind](tmp_path_factory.mktemp(kind), **options))
        return servers[-1].start()

    yield make
    for server in servers:
        server.kill()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Shows with a failure what each capsd of the test has logged."""
    report = yield
    if report.failed:
        for daemon in getattr(item, "daemons", []):
            report.sections.append((f"log of {daemon.config}", daemon.log()[-5000:]))
    return report


@pytest.fixture
def make_capsd(request, tmp_path_factory):
    """Makes a capsd beside a server, not yet started; it is killed after the test."""
    daemons = request.node.daemons = []

    def make(server, **options):
        daemon = Capsd(tmp_path_factory.mktemp("capsd"), server, **options)
        daemons.append(daemon)
        return daemon

    yield make
    for daemon in daemons:
        daemon.kill()


@pytest.fixture
def capsd(server, make_capsd):
    """A fresh capsd, linked to `server`."""
    return make_capsd(server).start()


@pytest.fixture
async def make_client(server):
    """Makes clients of `server` whose accounts exist, not yet logged in; they are logged out after the test."""
    clients = []

    def make(user, info=None, server=server, **options):
        server.add_users([user], options.get("domain", DOMAIN))
        client = Client(server, user, info, **options)
        clients.append(client)
        return client

    yield make
    await log_out_all(clients)
