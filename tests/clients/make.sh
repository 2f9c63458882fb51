#!/usr/bin/env bash
# Makes config/trusted: runs the XMPP clients of Debian, PyPI and npm one after the other beside a Prosody and a capsd of their own, and
# keeps what capsd verified of them, with client, version and date.
#
#     tests/clients/make.sh [--install] [CLIENT…]
#
# --install first installs the clients that are missing: Debian packages without starting or reconfiguring any service (tests/install.sh),
# packages of PyPI and npm below target/clients. Without CLIENT all are recorded, in about five minutes; with some, the rows and contents of
# the others stay as they are. The clients run in a network of their own that has only a loopback interface (world.sh); root is not needed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
installed=$PWD/target/clients
here=tests/clients

install_clients() {
    tests/install.sh rust python node prosody tmux profanity mcabber poezio
    tests/install.sh $(sed -e '/^#/d' -e 's/^/deb:/' $here/debian-packages.txt)
    local package home
    for package in $(sed '/^#/d' $here/pypi-packages.txt); do
        home=$installed/${package%%==*}
        [ -x "$home/bin/python" ] || /usr/bin/python3 -m venv "$home"
        "$home/bin/python" -m pip install --quiet --disable-pip-version-check "$package" pytz greenlet
    done
}

if [ "${1-}" = --install ]; then
    shift
    install_clients
fi
[ -n "${CAPSD_BINARY-}" ] || cargo build --release --locked
world=$(mktemp -d "${TMPDIR:-/tmp}/capsd-world.XXXXXX")
trap 'rm -rf "$world"' EXIT
$here/world.sh "$world" timeout 3600 target/python/bin/python $here/record.py --world "$world" "$@"
