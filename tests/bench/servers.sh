#!/usr/bin/env bash
# What capsd's module costs a server, and what it saves: questions per second, in alternating pairs with the module and without.
#
#     tests/bench/servers.sh [--server prosody|ejabberd|ejabberd-debian] [--pairs N] [--seconds S]
#
# Some minutes, on a machine with nothing else to do.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
"$root/tests/install.sh" rust python prosody ejabberd
cargo build --release --locked --manifest-path "$root/Cargo.toml" --bin capsd --example server_load
exec "$root/target/python/bin/python" "$root/tests/bench/servers.py" "$@"
