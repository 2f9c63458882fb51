#!/usr/bin/env bash
# Makes empty Debian 12 machines for the tests of the package, each a directory that systemd-nspawn boots: `base` has nothing but systemd,
# `prosody` and `ejabberd` have an XMPP server for im.example.net that knows nothing of capsd.
#
#     tests/package/debian12.sh DIRECTORY
#
# What is there already is kept. Needs root, debootstrap and systemd-container; nothing outside of the directory is changed.
set -euo pipefail

directory=$(realpath -m "$1")
mkdir -p "$directory"
mirror=${DEBIAN_MIRROR-http://deb.debian.org/debian}

# within MACHINE COMMAND…: runs a command in a machine that is not booted, with the network of this one.
within() {
    local machine=$1
    shift
    systemd-nspawn --quiet --directory="$machine" --register=no --keep-unit --as-pid2 --setenv=DEBIAN_FRONTEND=noninteractive "$@" </dev/null
}

# make NAME FROM PACKAGE…: a machine with packages, or without FROM an empty one.
make() {
    local name=$1 from=$2 new=$directory/$1.new
    shift 2
    [ ! -d "$directory/$name" ] || return 0
    rm -rf "$new"
    if [ -z "$from" ]; then
        debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps bookworm "$new" "$mirror"
    else
        cp -a "$directory/$from" "$new"
        within "$new" apt-get install --yes --quiet --no-install-recommends "$@"
    fi
    rm -f "$new"/var/cache/apt/archives/*.deb
    setup_"$name" "$new"
    mv "$new" "$directory/$name"
}

# As the installer of Debian writes it.
setup_base() { echo '127.0.0.1 localhost' >"$1/etc/hosts"; }

# Clients of the tests log in without TLS, over loopback.
setup_prosody() {
    sed -i '1i c2s_require_encryption = false\nallow_unencrypted_plain_auth = true' "$1/etc/prosody/prosody.cfg.lua"
    echo 'VirtualHost "im.example.net"' >"$1/etc/prosody/conf.d/im.example.net.cfg.lua"
}

setup_ejabberd() {
    sed -i 's/^  - localhost$/  - im.example.net/; s/starttls_required: true/starttls_required: false/' "$1/etc/ejabberd/ejabberd.yml"
}

make base ''
make prosody base prosody prosody-modules
make ejabberd base ejabberd
