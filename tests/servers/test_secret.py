"""The secret shows itself nowhere: not in the log at its most talkative, not in a command's output, not over HTTP or the control socket."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from harness.daemon import binary
from harness.processes import until
from harness.servers import SECRET

OTHER = "another-secret-which-is-wrong"


# What is said does not depend on the server; Prosody starts faster.
@pytest.mark.parametrize("kind", ["prosody"], indirect=True, scope="module")
async def test_the_secret_is_in_nothing_that_capsd_says(server, make_capsd, make_client):
    # Whatever there is to be logged, by capsd and by the libraries beneath it.
    capsd = make_capsd(server, environment={"CAPSD_LOG": "trace"}).start()
    said = []

    def run(*arguments):
        name, *rest = arguments
        ended = subprocess.run([binary(), name, "--config", str(capsd.config), *rest], capture_output=True, text=True, timeout=60, env=os.environ | {"CAPSD_LOG": "trace"})
        said.append(ended.stdout + ended.stderr)
        return ended.returncode

    for arguments in (("check",), ("check", "--json"), ("check", "--connect"), ("doctor",), ("doctor", "--json"), ("status", "--json"), ("top", "--once"), ("reload", "--json")):
        run(*arguments)
    # A wrong secret, read again, and tried when the link is lost.
    capsd.secret_file.write_text(OTHER + "\n")
    assert run("reload") == 0
    server.restart()
    await until(lambda: "wrong secret" in capsd.get("/readyz")[1], "the other secret was tried", 40)
    run("doctor")
    # Secrets that cannot be used, and one in the configuration itself.
    text = capsd.config.read_text()
    for content in (f"{OTHER}\n{SECRET}\n", OTHER + "\x07"):
        capsd.secret_file.write_text(content)
        assert run("reload") == 2 and run("check") == 2 and run("doctor") == 2
    capsd.config.write_text(text.replace(f'secret-file = "{capsd.secret_file}"', f'secret = "{SECRET}"'))
    assert run("reload") == 2 and run("check", "--json") == 2
    capsd.config.write_text(text)
    capsd.secret_file.write_text(SECRET + "\n")
    capsd.secret_file.chmod(0o644)
    assert run("check") == 2
    assert "every user of this machine can read" in said[-1]
    capsd.secret_file.chmod(0o600)
    assert run("reload") == 0
    await until(lambda: capsd.get("/readyz")[0] == 200, "the link is up again", 70)
    said += [capsd.get(path)[1] for path in ("/", "/metrics", "/readyz", "/api/v1/status")]
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(capsd.directory / "socket"))
        control.sendall(b'{"do":"status"}\n{"do":"examine"}\n{"do":"reload","secret":1}\n')
        control.settimeout(5)
        received = b""
        while received.count(b"\n") < 3:
            received += control.recv(65536)
        said.append(received.decode())
    capsd.stop()
    said.append(capsd.log())
    said += [path.read_bytes().decode(errors="replace") for path in Path(capsd.store).rglob("*") if path.is_file()]
    assert " DEBUG " in capsd.log() and len(said) > 20
    for secret in (SECRET, OTHER):
        assert not [text for text in said if secret in text]
    # What proves the secret would let it be guessed.
    assert not [text for text in said if "<handshake" in text and "</handshake" in text]
