#!/usr/bin/env bash
# Shows what capsd does, beside a real XMPP server that is started for it and stopped afterwards.
#
#     deploy/demo.sh [--server prosody|ejabberd] [--keep]
#
# Installs the server if it is missing, builds capsd, starts both on private loopback ports, logs in clients and asks capsd about them.
# --keep leaves everything running until Ctrl-C and says how to look further. No server that runs on this machine is touched.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
usage() {
    sed -n '4s/^# */usage: /p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

server=prosody
keep=()
while [ $# -gt 0 ]; do
    case $1 in
        --server)
            server=${2-}
            shift 2 || usage
            ;;
        --server=*)
            server=${1#*=}
            shift
            ;;
        --keep)
            keep=(--keep)
            shift
            ;;
        *) usage ;;
    esac
done
case $server in prosody | ejabberd) ;; *) usage ;; esac

"$root/tests/install.sh" rust python "$server"
echo 'Building capsd (the first time takes some minutes) …'
cargo build --quiet --release --locked --manifest-path "$root/Cargo.toml"
exec "$root/target/python/bin/python" "$root/deploy/demo.py" --server "$server" "${keep[@]}"
