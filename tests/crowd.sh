#!/usr/bin/env bash
# Lets 50 clients log in at once to a real Prosody and a real ejabberd, with capsd and without, and counts what they are asked.
#
#     tests/crowd.sh [--server prosody|ejabberd] [--careful N] [--hashes N] [--real NAME,…]
#
# Installs what is missing as tests/run.sh does, and packages of npm below target/. The table is printed and kept in target/crowd.md.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/tests/install.sh" rust python prosody ejabberd profanity poezio tmux node
[ -n "${CAPSD_BINARY-}" ] || cargo build --release --locked --manifest-path "$root/Cargo.toml"
PYTHONPATH=$root/tests/servers exec "$root/target/python/bin/python" -m crowd "$@"
