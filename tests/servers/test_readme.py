"""What README.md tells people to type or to send does what it says, and what it shows is what is printed. Every block is taken from README and run as
it stands, but for what differs from machine to machine: addresses, ports, and placeholders such as NODE#VER.

`TRIED` names the test of every block, here or elsewhere; a block that is not in it has none.
"""

import asyncio
import json
import os
import re
import subprocess
import tomllib
from base64 import b64encode
from hashlib import md5
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from harness import readme
from harness.caps import DISCO_INFO, Info, info_of, sample
from harness.client import CAPSD, Client, Reply, log_in_all, until_asked
from harness.daemon import binary
from harness.processes import Process, free_ports, until, wait_until
from harness.servers import COMPONENT, DOMAIN, KINDS, REPOSITORY, SECRET, Ejabberd, Prosody
from test_doctor import without_privilege

# The beginning of each block, in order: the file that runs it, and the test or the step there.
TRIED = [
    ("deploy/demo.sh", "tests/servers/test_deploy.py", "test_the_demonstration"),
    ("3. Five clients log in", "tests/servers/test_deploy.py", "test_the_demonstration"),
    ("tests/run.sh\n", ".ci/run", "exec tests/run.sh"),
    ("tests/fuzz/run.sh SECONDS", "tests/run.sh", "step fuzz tests/fuzz/run.sh"),
    ("cargo bench --bench throughput", "tests/run.sh", "step bench cargo bench --bench throughput\n"),
    ("tests/install.sh rust cargo-deb", "tests/package/reproducible.sh", "deploy/build.sh --deb"),
    ("apt install -y ./capsd_*.deb prosody-modules", "tests/package/test_machine.py", "test_the_trial_of_a_new_operator"),
    ("apt install -y ./capsd_*.deb\n", "tests/package/test_machine.py", "test_the_trial_of_a_new_operator"),
    ("[[component]]", "tests/servers/test_readme.py", "test_a_configuration_for_two_servers"),
    ("<iq type='get' to='caps.example.org' id='1'>", "tests/servers/test_readme.py", "test_the_requests"),
    ("[[component]]", "tests/servers/test_readme.py", "test_the_least_configuration"),
    ("curl 127.0.0.1:9116/readyz", "tests/servers/test_readme.py", "test_the_least_configuration"),
    ("install -d /usr/local/lib/prosody/modules", "tests/servers/test_readme.py", "test_the_lines_that_install_the_module"),
    ("install -d ~ejabberd/.ejabberd-modules/sources", "tests/servers/test_readme.py", "test_the_lines_that_install_the_module"),
    ("tests/crowd.sh", "tests/run.sh", "step crowd tests/crowd.sh"),
    ("tests/bench/servers.sh", "tests/run.sh", "step bench-servers tests/bench/servers.sh\n"),
    ("tests/clients/make.sh --install", "tests/clients/again.sh", "make"),
    ("[[deny]]", "tests/servers/test_readme.py", "test_deny_and_pin"),
    ("$ capsd reload", "tests/servers/test_readme.py", "test_what_a_reload_prints"),
    ("$ capsd doctor", "tests/servers/test_readme.py", "test_what_the_doctor_prints"),
    ("$ capsd import hashes/", "tests/servers/test_readme.py", "test_what_import_and_export_print"),
    ("$ capsd export database/", "tests/servers/test_readme.py", "test_what_import_and_export_print"),
    ("<iq type='get' to='caps.example.org' id='2'>", "tests/servers/test_readme.py", "test_the_requests"),
    ("curl http://127.0.0.1:9116/api/v1/status", "tests/page/test_api.py", "test_the_commands_of_the_readme_do_what_it_says"),
    ("scrape_configs:", "tests/watch/test_alerts.py", "test_the_configuration_in_readme_is_usable"),
    ("cargo run --example own_caps", "tests/servers/test_readme.py", "test_the_examples_of_the_library"),
]

# The same for commands in the middle of a sentence, but for those of capsd, which tests/commands/readme.rs knows.
IN_SENTENCES = {
    "CAPSD_LONG=1 cargo test --test caps collisions -- --nocapture": ("tests/run.sh", "step rust-tests timeout $patience cargo test"),
    "adduser YOU capsd": ("tests/package/test_machine.py", "adduser --quiet"),
    "apt remove": ("tests/package/test_machine.py", "dpkg -r capsd"),
    "apt purge": ("tests/package/test_machine.py", "dpkg -P capsd"),
    "cargo bench --bench throughput -- flood": ("tests/run.sh", "step bench cargo bench --bench throughput\n"),
    "cargo build --release --locked": ("tests/run.sh", "step build cargo build --release --locked\n"),
    "cargo doc --open": ("tests/run.sh", "cargo doc --locked --no-deps"),
    "journalctl -u capsd": ("tests/package/test_machine.py", "journalctl --no-pager -o cat -u capsd"),
    "promtool test rules dashboards/alerts.test.yml": ("tests/watch/test_alerts.py", "alerts.test.yml"),
    "runuser -u capsd -- capsd export /var/tmp/database": ("tests/package/test_machine.py", "runuser -u capsd -- capsd export"),
    "sed '/^---$/q' NAME.capsd > head; sed -n '/^---$/,$p' NAME.capsd | sed -n 2,5p > head.minisig; minisign -Vm head -P KEY": ("tests/bundle/signatures.rs", "NAME.capsd"),
    "ssh -L 9116:127.0.0.1:9116 HOST": ("tests/servers/test_readme.py", "test_the_way_from_another_machine"),
    "systemctl reload capsd": ("tests/package/test_machine.py", "systemctl reload capsd"),
    "systemd-analyze security capsd": ("tests/servers/test_supervised.py", '"systemd-analyze", "security"'),
    "tests/clients/make.sh gajim dino": ("tests/clients/again.sh", "make"),
    "tests/semver.sh": ("tests/run.sh", "step semver tests/semver.sh\n"),
}

# An address where no server is.
NOBODY = SimpleNamespace(component_port=1)


def test_every_block_is_tried():
    blocks = readme.blocks()
    assert [block.splitlines()[0] for block in blocks] == [
        block.splitlines()[0] if block.startswith(beginning) else f"not {beginning}" for block, (beginning, _, _) in zip(blocks, TRIED, strict=True)
    ]
    for beginning, file, named in TRIED:
        assert named in (REPOSITORY / file).read_text(), f"{file} does not try {beginning}"


def test_every_command_in_a_sentence_is_tried():
    text = readme.TEXT
    for block in re.findall(r"^```.*?^```\n", text, re.DOTALL | re.MULTILINE):
        text = text.replace(block, "")
    programs = r"CAPSD_LONG=1|adduser|apt|cargo|curl|ejabberdctl|journalctl|minisign|promtool|prosodyctl|runuser|sed|ssh|systemctl|systemd-analyze|(?:deploy|tests)/\S+\.sh"
    found = set(re.findall(rf"`((?:{programs})(?: [^`]*)?)`", text))
    assert found == set(IN_SENTENCES)
    for command, (file, named) in IN_SENTENCES.items():
        assert named in (REPOSITORY / file).read_text(), f"{file} does not try {command}"


# What is typed elsewhere


@pytest.fixture
def remote(tmp_path):
    """The configuration of an ssh for which HOST is this machine; the sshd that it reaches has keys and a port of its own."""
    (port,) = free_ports(1)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    root = os.geteuid() == 0
    if root:
        Path("/run/sshd").mkdir(exist_ok=True)
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\nStrictModes no\nPidFile none\n"
        f"UsePAM {'yes' if root else 'no'}\nPermitRootLogin yes\n"
    )
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host HOST\nHostName 127.0.0.1\nPort {port}\nIdentityFile {tmp_path}/user\nIdentitiesOnly yes\nStrictHostKeyChecking no\n"
        f"UserKnownHostsFile {tmp_path}/known\nBatchMode yes\nExitOnForwardFailure yes\n"
    )
    sshd = Process("sshd", ["/usr/sbin/sshd", "-D", "-e", "-f", str(tmp_path / "sshd_config")], tmp_path / "sshd.log")
    sshd.start()
    wait_until(lambda: "Server listening" in sshd.text(), lambda: f"sshd listens:\n{sshd.text()}")
    yield config
    sshd.kill()


def test_the_way_from_another_machine(remote, make_capsd, tmp_path):
    command = "ssh -L 9116:127.0.0.1:9116 HOST"
    assert f"From another machine: `{command}`" in readme.TEXT
    capsd = make_capsd(NOBODY).start(linked=False)
    (port,) = free_ports(1)
    # Two machines have the same port each; one has two.
    ssh, option, _, host = command.split()
    way = Process("ssh", [ssh, "-N", "-F", str(remote), option, f"{port}:127.0.0.1:{capsd.http_port}", host], tmp_path / "ssh.log")
    way.start()
    try:
        fetched = lambda: capsd.get("/", port=port)
        wait_until(lambda: way.require_running() or fetched()[0] == 200, lambda: f"the page comes over ssh: {fetched()}\n{way.text()}")
        assert "<h1" in fetched()[1]
    finally:
        way.kill()


# What is sent and installed


async def sent(client, xml) -> Reply:
    """Sends a request as it stands, and returns the reply."""
    id_ = re.search(r"id='(\w+)'", xml)[1]
    reply = asyncio.get_running_loop().create_future()
    client.waiting[id_] = (COMPONENT, reply)
    client.send(xml)
    return await asyncio.wait_for(reply, 15)


async def learned(capsd, make_client, name):
    """A content that capsd has learned from a client, and somebody else who may ask."""
    info = sample(name)
    client, asker = make_client(f"{name}-client", info), make_client(f"{name}-asker")
    await log_in_all([client, asker])
    client.announce()
    await until_asked(client)
    await capsd.until_idle()
    return info, asker


async def test_the_requests(capsd, make_client):
    info, asker = await learned(capsd, make_client, "requests")
    query, lookup = (readme.block(f"<iq type='get' to='{COMPONENT}' id='{number}'>") for number in "12")
    assert "NODE#VER" in query and {"NODE#VER", "urn:xmpp:caps#ALGO.BASE64"} <= set(re.findall(r"node='([^']+)'", lookup))
    fill = lambda xml: xml.replace("NODE#VER", info.node_0115()).replace("urn:xmpp:caps#ALGO.BASE64", info.node_0390())
    assert (await sent(asker, fill(query))).info.covered() == info.covered()
    # The other kind of node, as the text says.
    assert (await sent(asker, query.replace("NODE#VER", info.node_0390()))).info.covered() == info.covered()
    answer = await sent(asker, fill(lookup))
    assert answer.kind == "result", answer.xml
    keys = answer.child.findall(f".//{{{CAPSD}}}key")
    assert {info.node_0115(), info.node_0390()} <= {key.get("node") for key in keys}
    contents = [info_of(query) for query in answer.child.iter(f"{{{DISCO_INFO}}}query")]
    assert contents and all(content.covered() == info.covered() for content in contents)


def local(capsd):
    """The settings without which a capsd of the tests would meet others on this machine."""
    return f'[store]\npath = "{capsd.store}"\n[http]\nlisten = "127.0.0.1:{capsd.http_port}"\n[control]\nsocket = "{capsd.directory}/socket"\n'


def configuration(paragraph):
    """The configuration that a paragraph of README shows."""
    return re.search(rf"^\*\*{paragraph}\*\*.*?```toml\n(.*?)```", readme.TEXT, re.DOTALL | re.MULTILINE)[1]


async def test_the_least_configuration(server, make_capsd, make_client):
    """It is complete: with the places of this machine filled in, it serves, and says so."""
    capsd = make_capsd(server)
    text = configuration("Without the package")
    text = text.replace("127.0.0.1:5347", f"127.0.0.1:{server.component_port}").replace("/etc/capsd/secret", str(capsd.secret_file))
    capsd.config.write_text(text + local(capsd))
    command = readme.block("curl 127.0.0.1:9116/readyz").replace("9116", str(capsd.http_port))
    curl = lambda: subprocess.run(["bash", "-c", f"{command.strip()} --silent --fail"], capture_output=True, text=True)
    assert curl().returncode == 7, "nobody listens yet"
    capsd.start()
    info, asker = await learned(capsd, make_client, "least")
    assert (await asker.ask(info.node_0115())).info.covered() == info.covered()
    told = curl()
    assert told.returncode == 0 and told.stdout.startswith("ready"), told


async def test_a_configuration_for_two_servers(server, make_capsd, make_client, tmp_path):
    """Beside both servers; the second one has the same domain here."""
    other = KINDS["ejabberd" if server.kind == "prosody" else "prosody"](tmp_path / "other")
    capsd = make_capsd(server)
    text = configuration("Beside both").replace("caps.example.net", COMPONENT)
    for at, ours in [("5347", server), ("5348", other)]:
        assert text.count(f"127.0.0.1:{at}") == 1
        text = text.replace(f"127.0.0.1:{at}", f"127.0.0.1:{ours.component_port}")
    for name in re.findall(r'"/etc/capsd/([\w-]+)"', text):
        secret = capsd.directory / name
        secret.write_text(SECRET)
        secret.chmod(0o640)
        text = text.replace(f"/etc/capsd/{name}", str(secret))
    assert len({component["secret-file"] for component in tomllib.loads(text)["component"]}) == 2
    capsd.config.write_text(text + local(capsd))
    try:
        other.start()
        capsd.start(linked=False)
        await until(lambda: capsd.metrics().total("capsd_component_up") == 2, lambda: f"both links are up: {capsd.log()[-2000:]}")
        info, _ = await learned(capsd, make_client, "both")
        elsewhere = await make_client("elsewhere", server=other).log_in()
        assert (await elsewhere.ask(info.node_0115())).info.covered() == info.covered()
        assert capsd.queries() == 1
    finally:
        other.kill()


class WithModulesDirectory(Prosody):
    """Prosody that looks for modules of the machine's operator where the test has them instead of in /usr/local."""

    def prepare(self):
        process = super().prepare()
        config = self.directory / "prosody.cfg.lua"
        config.write_text(re.sub(r"plugin_paths = .*", f'plugin_paths = {{ "{self.directory}/of-the-operator/modules" }}', config.read_text()))
        return process


def as_packaged(server, line):
    """A line of README, for the private directory of a server instead of the machine's."""
    home = server.directory
    for place, here in [
        ("/usr/share/capsd", REPOSITORY / "deploy"),
        ("/usr/local/lib/prosody", home / "of-the-operator"),
        ("~ejabberd/.ejabberd-modules", home / "modules"),
        ("/etc/prosody/conf.d", home),
        ("/etc/ejabberd", home),
    ]:
        line = line.replace(place, str(here))
    left = re.findall(r"(?:/usr|/etc|~)\S*", line.replace(str(home), "").replace(str(REPOSITORY), ""))
    assert not left, f"this would change the machine that runs the tests: {left}"
    return line


async def test_the_lines_that_install_the_module(kind, make_capsd, tmp_path):
    """Each is run by a shell, or by the private server where it speaks to the machine's; at the end the module reports to capsd."""
    server = {"prosody": WithModulesDirectory, "ejabberd": Ejabberd}[kind](tmp_path / "server")
    capsd = make_capsd(server)
    by_the_server = {
        "systemctl restart prosody": server.restart,
        "ejabberdctl module_install mod_capsd": lambda: server.command("module_install", module="mod_capsd"),
        "ejabberdctl reload_config": lambda: server.command("reload_config"),
        # The private server runs as whoever runs the tests.
        "chown -R ejabberd: ~ejabberd/.ejabberd-modules": lambda: None,
    }
    try:
        server.start()
        capsd.start()
        operations = lambda: capsd.metrics().total("capsd_operations_total", operation="feed", result="ok")
        assert operations() == 0
        lines = readme.typed(f"{kind}-module", DOMAIN)
        assert set(by_the_server) & set(lines), lines
        for line in lines:
            if line in by_the_server:
                assert not by_the_server.pop(line)(), line
                continue
            ended = subprocess.run(["bash", "-ec", as_packaged(server, line)], capture_output=True, text=True)
            assert ended.returncode == 0, f"{line}: {ended.stderr}"
        await until(lambda: operations() > 0, lambda: f"the module reports to capsd: {server.log.read_text()[-3000:]}", timeout=30)
        said = re.search(r"^The fifth line writes `(.*?)` under", readme.TEXT, re.MULTILINE)[1].replace("YOUR.DOMAIN", DOMAIN)
        assert kind == "prosody" or f"\n  {said}\n" in (server.directory / "capsd.yml").read_text()
    finally:
        server.kill()


class WithModulesOfItsOwn(Prosody):
    """Prosody with a virtual host that enables a module by itself, in another file than README's."""

    own = 'modules_enabled = { "lastactivity" }'

    def prepare(self):
        process = super().prepare()
        config = self.directory / "prosody.cfg.lua"
        host = f'VirtualHost "{DOMAIN}"\n'
        assert host in config.read_text()
        config.write_text(config.read_text().replace(host, f"{host}\t{self.own}\n"))
        return process


async def has_its_module(server):
    """Whether what the operator's own lines enable is there: XEP-0012."""
    server.add_users(["resident"])
    resident = await Client(server, "resident").log_in()
    found = "jabber:iq:last" in (await resident.ask(to=DOMAIN)).info.features
    await resident.log_out()
    return found


@pytest.mark.parametrize("followed", [True, False])
async def test_a_host_with_modules_of_its_own(followed, make_capsd, tmp_path):
    """As README says, both work; else one of them is lost."""
    snippet, line = (REPOSITORY / "deploy/prosody/capsd.cfg.lua").read_text(), '\tmodules_enabled = { "privilege" }\n'
    server = WithModulesOfItsOwn(tmp_path / "server", snippet=snippet.replace(line, "", 1) if followed else snippet)
    if followed:
        config = server.directory / "prosody.cfg.lua"
        config.write_text(config.read_text().replace(server.own, 'modules_enabled = { "lastactivity", "privilege" }'))
    capsd = make_capsd(server)
    try:
        server.start()
        capsd.start(linked=followed)
        await until(lambda: capsd.get("/readyz")[0] == 200, "the link is up")
        told = json.loads(capsd.command("status", "--json"))["links"][0]["domains"][0]["told"]
        assert (told and await has_its_module(server)) == followed
    finally:
        server.kill()


async def test_another_file_is_included_already(make_capsd, tmp_path):
    """README's block is written behind one of the same name."""
    server = Ejabberd(tmp_path / "server")
    other = tmp_path / "other.yml"
    other.write_text("modules:\n  mod_last: {}\n")
    ours = f"{server.directory}/capsd.yml"
    assert ours in server.config.read_text()
    server.config.write_text(server.config.read_text().replace(ours, str(other)))
    (line,) = (line for line in readme.typed("ejabberd", DOMAIN) if "include_config_file" in line)
    typed = line.replace("/etc/ejabberd/capsd.yml", ours).replace("/etc/ejabberd/ejabberd.yml", str(server.config))
    try:
        subprocess.run(["sh", "-ec", typed], check=True)
        server.start()
        make_capsd(server).start()
        assert await has_its_module(server)
    finally:
        server.kill()


# What the commands print


def ended(capsd, command, expect, directory):
    """Runs a command as it stands, with the configuration of that capsd; what it printed."""
    program, name, *rest = command.split()
    assert program == "capsd"
    run = subprocess.run([binary(), name, "--config", str(capsd.config), *rest], cwd=directory, capture_output=True, text=True, timeout=60)
    assert run.returncode == expect, f"{command}: {run.returncode}\n{run.stdout}{run.stderr}"
    return run.stdout


def test_deny_and_pin(make_capsd, tmp_path):
    """The rules of README, put in force by a reload."""
    psi = tmp_path / "psi.xml"
    psi.write_text((REPOSITORY / "tests/caps/documents/xep0115-complex.xml").read_text())
    overrides = tmp_path / "overrides.toml"
    overrides.write_text("")
    capsd = make_capsd(NOBODY, trusted=f'directories = []\noverrides = "{overrides}"').start(linked=False)
    text = readme.block("[[deny]]").replace("/etc/capsd/pinned/psi.xml", str(psi))
    (denied,), (pinned,) = tomllib.loads(text)["deny"], tomllib.loads(text)["pin"]
    ended(capsd, f"capsd lookup {denied['key']}", 1, tmp_path)
    overrides.write_text(text)
    ended(capsd, "capsd reload", 0, tmp_path)
    look_up = lambda key: subprocess.run([binary(), "lookup", "--config", capsd.config, key], capture_output=True, text=True)
    wait_until(lambda: f"denied: {denied['reason']}" in look_up(denied["key"]).stderr, "the key is denied, and the reason said")
    shown = look_up(pinned["key"])
    assert shown.returncode == 0 and "Psi" in shown.stdout, shown
    assert "http://jabber.org/protocol/muc" in shown.stdout


def test_what_a_reload_prints(make_capsd, tmp_path):
    limits, hot = 'queries-per-asker = "40/s"', 'max-bytes = "16MiB"'
    capsd = make_capsd(NOBODY, limits=limits, hot=hot).start(linked=False)
    text = capsd.config.read_text()
    assert limits in text and hot in text
    capsd.config.write_text(text.replace(limits, limits.replace("4", "6")).replace(hot, hot.replace("16", "8")))
    block = readme.block("$ capsd reload")
    (command,) = readme.commands(block)
    assert ended(capsd, command, 0, tmp_path) == block.split("\n", 1)[1]


async def test_what_the_doctor_prints(tmp_path, make_capsd):
    """Beside a Prosody that grants nothing."""
    snippet = (REPOSITORY / "deploy/prosody/capsd.cfg.lua").read_text()
    server = Prosody(tmp_path / "server", snippet=without_privilege("prosody", snippet))
    try:
        server.start()
        capsd = make_capsd(server).start(linked=False)
        await until(lambda: capsd.get("/readyz")[0] == 200, "the link is up")
        block = readme.block("$ capsd doctor")
        (command,) = readme.commands(block)
        readme.assert_printed(ended(capsd, command, 1, tmp_path), block)
    finally:
        server.kill()


def collected(directory):
    """A few contents as others would have collected them: some are in order, one of each kind is not."""
    directory.mkdir()
    write = lambda algorithm, node, xml: (directory / f"{algorithm}_{quote(node, safe='')}.xml").write_text(xml)
    twice = sample("twice")
    twice.features += ["urn:xmpp:time", "urn:xmpp:time"]
    # Of these fields `c` could be a value of `a` as well.
    ambiguous = Info([("client", "pc", "", "n")], ["urn:x"], [("f", {"a": ["b"], "c": ["d"]})])
    for info in [sample("one"), sample("two"), sample("three"), twice, ambiguous]:
        write("sha-1", info.node_0115(), info.query())
    write("md5", f"n#{b64encode(md5(b'').digest()).decode()}", sample("four").query())


@pytest.mark.parametrize("collection", ["small", "corpus"])
def test_what_import_and_export_print(make_capsd, tmp_path, collection):
    """Beside a small collection the words are compared; beside the one that README speaks of, the numbers are as well."""
    corpus = os.environ.get("CAPSD_CORPUS")
    if collection == "corpus" and not corpus:
        pytest.skip("CAPSD_CORPUS is not set")
    if collection == "corpus":
        (tmp_path / "hashes").symlink_to(Path(corpus) / "hashes")
    else:
        collected(tmp_path / "hashes")
    subprocess.run(["minisign", "-G", "-W", "-p", "minisign.pub", "-s", "minisign.key"], cwd=tmp_path, check=True, capture_output=True)
    capsd = make_capsd(NOBODY, trusted="directories = []")
    imported, exported = readme.block("$ capsd import"), readme.block("$ capsd export")
    (command,) = readme.commands(imported)
    told = ended(capsd, command, 1, tmp_path)
    anyhow = lambda text: text if collection == "corpus" else re.sub(r"hashes/\S+\.xml", "FILE", text)
    readme.assert_printed(anyhow(told), anyhow(imported))
    commands = readme.commands(exported)
    assert len(commands) == 2
    written = "".join(ended(capsd, command, 0, tmp_path) for command in commands)
    readme.assert_printed(written, exported)
    if collection == "corpus":
        counted = [line for line in (imported + exported).splitlines() if re.match(r" +\d", line)]
        assert set(counted) <= set((told + written).splitlines()), told[-1000:] + written


def test_the_examples_of_the_library():
    own, question = readme.block("cargo run --example own_caps").splitlines()
    told = {}
    for command in [own, question]:
        run = subprocess.run(command.split(), cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
        assert run.returncode == 0, f"{command}: {run.stderr}"
        told[command] = run.stdout
    # XEP-0115 section 5.2.
    assert "ver='QgayPKawpkPSDYmwT/WM94uAlu0='" in told[own]
    assert "asked juliet@example.org/balcony" in told[question] and "Exodus 0.9.1" in told[question]
