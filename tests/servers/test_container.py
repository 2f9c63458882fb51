"""The container and compose files: what they refer to is there, and what runs in them is tried outside of them. Where a container engine runs,
tests/package/container.sh builds and starts them (tests/run.sh --long); here that script is tried with an engine that is played."""

import json
import os
import re
import shlex
import subprocess

import pytest

from harness.daemon import binary
from harness.servers import REPOSITORY

CONTAINER = REPOSITORY / "deploy/container"


def compose():
    """The compose file, read by Debian's own YAML library, which yamllint brings."""
    read = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))"
    printed = subprocess.run(["/usr/bin/python3", "-c", read, CONTAINER / "compose.yaml"], capture_output=True, text=True, check=True)
    return json.loads(printed.stdout)


def instructions(name):
    """The instructions of a container file, with continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (CONTAINER / name).read_text())
    return [line.split(" ", 1) for line in text.splitlines() if line and line[0] != "#"]


def test_the_compose_file():
    rules = "{extends: default, rules: {line-length: {max: 140}, document-start: disable}}"
    subprocess.run(["yamllint", "--strict", "-d", rules, CONTAINER / "compose.yaml"], check=True)
    services = compose()["services"]
    capsd = services["capsd"]
    assert capsd["read_only"] and capsd["cap_drop"] == ["ALL"] and "no-new-privileges:true" in capsd["security_opt"]
    for service in services.values():
        build = service["build"]
        assert (CONTAINER / build["context"] / build["dockerfile"]).is_file()
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (CONTAINER / source).is_file() if source.startswith(".") else source in compose()["volumes"]
        # Nothing is offered to other machines unasked.
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_container_file():
    image = instructions("Containerfile")
    assert [word for word, _ in image].count("FROM") == 2
    users = [value for word, value in image if word == "USER"]
    assert users and re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    kept = {line[1:] for line in (CONTAINER / "Containerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    for name in ["Cargo.toml", "Cargo.lock", "src", "config", "tests"]:
        assert name in kept and (REPOSITORY / name).exists()
    # Whatever the program takes in when it is built lies below what is kept.
    for source in (REPOSITORY / "src").rglob("*.rs"):
        for path in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', source.read_text()):
            taken = (source.parent / path).resolve().relative_to(REPOSITORY)
            assert taken.parts[0] in kept, taken
    healthcheck = next(value for word, value in image if word == "HEALTHCHECK")
    command = json.loads(healthcheck.split("CMD ")[1])
    command[0] = binary()
    asked = subprocess.run(command[:3] + ["/nonexistent/socket"], capture_output=True, text=True)
    assert asked.returncode == 4, asked


def test_what_the_health_check_asks(capsd):
    command = [binary(), "status", "--socket", f"{capsd.directory}/socket"]
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_the_configurations_fit_together(tmp_path):
    environment = dict(os.environ, CAPSD_SECRET="secret")
    checked = subprocess.run([binary(), "check", "--config", CONTAINER / "capsd.toml"], capture_output=True, text=True, env=environment)
    assert checked.returncode == 0, checked.stderr
    assert 'server = "prosody:5347"' in checked.stdout
    # Checked where nothing of the machine's own Prosody is in the way.
    config = tmp_path / "prosody.cfg.lua"
    config.write_text((CONTAINER / "prosody.cfg.lua").read_text().replace("/run/prosody", str(tmp_path)) + f'\ndata_path = "{tmp_path}"\n')
    config.chmod(0o644)
    judged = subprocess.run(["prosodyctl", "--root", "--config", config, "check", "config"], capture_output=True, text=True, env=environment)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def build(tmp_path, engine):
    """Runs tests/package/container.sh with a docker of that script and no podman: exit code, what it printed, the commands of docker."""
    calls = tmp_path / "calls"
    calls.touch()
    programs = {"docker": f'printf "%s\\n" "$*" >>{shlex.quote(str(calls))}\n{engine}', "podman": "exit 1", "sleep": "exit 0"}
    for name, script in programs.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
    environment = dict(os.environ, PATH=f"{tmp_path}:{os.environ['PATH']}", TMPDIR=str(tmp_path))
    ended = subprocess.run([REPOSITORY / "tests/package/container.sh"], capture_output=True, text=True, timeout=60, env=environment)
    assert list(tmp_path.glob("capsd-compose.*")) == [], "the file is left behind"
    return ended.returncode, ended.stdout + ended.stderr, calls.read_text().splitlines()


@pytest.mark.parametrize("engine", ["exit 1", '[ "$1" = info ]'])
def test_without_an_engine_it_is_said_that_nothing_was_built(tmp_path, engine):
    """Neither with a client whose daemon does not run, nor with one that has no command compose."""
    code, said, calls = build(tmp_path, engine)
    assert (code, said.split(":")[0]) == (77, "skipped")
    assert not any(" up " in call for call in calls)


UP = '''
case "$*" in
    *compose\\ version* | info) ;;
    *" up "*) cat "$7" >"$TMPDIR/used.yaml"; [ -n "$CAPSD_SECRET" ] ;;
    *status*) echo "link caps.example.org (prosody:5347): up for 1s, 0 presences" ;;
    *sh\\ -c*) exit 126 ;;
esac
'''


def test_with_an_engine_both_services_are_started_and_removed(tmp_path):
    code, said, calls = build(tmp_path, UP)
    assert code == 0, said
    order = [next(place for place, call in enumerate(calls) if word in call) for word in (" up --build", "exec -T capsd /usr/bin/capsd status", "down --volumes")]
    assert order == sorted(order)
    used = (tmp_path / "used.yaml").read_text()
    # The file as it is, but for the ports of the machine.
    assert re.sub(r"127\.0\.0\.1::", "", used) == re.sub(r"127\.0\.0\.1:\d+:", "", (CONTAINER / "compose.yaml").read_text())
    assert len(re.findall(r"127\.0\.0\.1::\d+", used)) == 2


@pytest.mark.parametrize("fault", [('" up "*) ', '" up "*) exit 1; '), ("up for 1s", "down"), ("exit 126", "exit 0")])
def test_what_does_not_work_in_a_container_fails(tmp_path, fault):
    """Images that cannot be built, a link that stays down, a shell in the image."""
    before, after = fault
    assert before in UP
    code, said, calls = build(tmp_path, UP.replace(before, after))
    assert code not in (0, 77), said
    assert any("down --volumes" in call for call in calls)
