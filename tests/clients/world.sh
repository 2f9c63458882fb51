#!/usr/bin/env bash
# Runs a command in a private world: a network that has a loopback interface and nothing else, where example.org is 127.0.0.1 and the only
# certificate authority is one made here; process ids of its own, so that nothing outlives the command. Needs no root.
#
#     tests/clients/world.sh DIRECTORY COMMAND…
#
# DIRECTORY receives ca.pem, example.org.pem and example.org.key. Nothing that the command does reaches the machine's network, its files in
# /etc, or its services.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${1-} in
    --inside)
        directory=$2
        shift 2
        ip link set lo up
        # Resolvers look nothing up on a machine that has no other address than 127.0.0.1.
        ip address add 192.0.2.1/32 dev lo
        for name in hosts resolv.conf passwd nsswitch.conf; do
            [ ! -e "/etc/$name" ] || mount --bind "$directory/etc/$name" "$(realpath "/etc/$name")"
        done
        mount --bind "$directory/etc/certs" /etc/ssl/certs
        # Many clients refuse to run as root.
        exec unshare --user --map-user=1000 --map-group=1000 -- "$@"
        ;;
    '' | -*)
        echo "usage: tests/clients/world.sh DIRECTORY COMMAND…" >&2
        exit 2
        ;;
esac

directory=$(mkdir -p "$1" && cd "$1" && pwd)
shift
etc=$directory/etc
mkdir -p "$etc/certs"
printf '127.0.0.1 localhost %s\n' 'example.org proxy.example.org rooms.example.org upload.example.org stranger.example' >"$etc/hosts"
# Nobody listens there: every question fails at once.
echo 'nameserver 127.0.0.1' >"$etc/resolv.conf"
echo 'hosts: files dns' >"$etc/nsswitch.conf"
printf 'somebody:x:1000:1000::%s:/bin/sh\n' "$directory" >"$etc/passwd"

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=capsd client recording' \
    -keyout "$directory/ca.key" -out "$directory/ca.pem" 2>/dev/null
openssl req -new -newkey rsa:2048 -nodes -subj /CN=example.org \
    -keyout "$directory/example.org.key" -out "$directory/example.org.csr" 2>/dev/null
openssl x509 -req -days 2 -in "$directory/example.org.csr" -CA "$directory/ca.pem" -CAkey "$directory/ca.key" -CAcreateserial \
    -extfile <(echo 'subjectAltName=DNS:example.org,DNS:*.example.org') -out "$directory/example.org.pem" 2>/dev/null
cp "$directory/ca.pem" "$etc/certs/ca-certificates.crt"
cp "$directory/ca.pem" "$etc/certs/$(openssl x509 -hash -noout -in "$directory/ca.pem").0"

exec unshare --user --map-root-user --net --mount --pid --fork --kill-child --mount-proc -- "$here/world.sh" --inside "$directory" "$@"
