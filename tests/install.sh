#!/usr/bin/env bash
# Installs what the tests and the demonstration need, and nothing twice.
#
#     tests/install.sh [rust] [python] [node] [grafana-types] [page] [PROGRAM…] [deb:PACKAGE…]
#
# PROGRAM is one of prosody, ejabberd, prometheus, profanity, mcabber, poezio, tmux, minisign, g++, cargo-deb, cargo-deny,
# cargo-semver-checks; PACKAGE is any Debian package. Those of cargo are built into target/tools/, which takes minutes. Debian packages
# are installed only where they are missing. Their services are neither started, stopped nor reconfigured: while apt runs, a policy-rc.d
# forbids it, and one that was there before is put back unchanged. Python packages go into a private environment below target/, and so do
# those of npm (`node`: clients; `grafana-types`: Grafana's published types with the TypeScript compiler; `page`: what tests the page and the API, with Chromium).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/target/python
requirements=$root/tests/servers/requirements.txt
types=$root/target/grafana
types_wanted=$root/tests/watch/grafana
page_wanted=$root/tests/page
policy=/usr/sbin/policy-rc.d
saved_policy=/usr/sbin/policy-rc.d.before-capsd
policy_mark='# Put here by capsd tests/install.sh while apt runs.'

say() { printf 'install: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Forbids service starts until allow_services, keeping an existing policy under another name in the same directory.
forbid_services() {
    allow_services # what a run that was killed may have left behind
    if [ -e $policy ] || [ -L $policy ]; then
        ln -P $policy $saved_policy
    fi
    local new
    new=$(mktemp $policy.XXXXXX)
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$new"
    chmod 755 "$new"
    mv -fT "$new" $policy
}

allow_services() {
    if [ -e $saved_policy ] || [ -L $saved_policy ]; then
        mv -fT $saved_policy $policy
    elif grep -qsF "$policy_mark" $policy; then
        rm -f $policy
    fi
}

# Runs as root: `install_packages PACKAGE…`.
install_packages() {
    trap allow_services EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    forbid_services
    # needrestart would restart services whose libraries were replaced.
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l
    local apt=(apt-get install --yes --quiet --no-install-recommends --no-upgrade "$@")
    "${apt[@]}" || { apt-get update --quiet && "${apt[@]}"; }
}

if [ "${1-}" = --as-root ]; then
    shift
    install_packages "$@"
    exit
fi

packages=()
want() { # want PROGRAM PACKAGE…: the packages are missing if the program is
    command -v "$1" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || packages+=("${@:2}")
}

# The Python that makes private environments: Debian's own where it can, else the first on PATH that can.
can_make_venv() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}
python() {
    local candidate
    for candidate in /usr/bin/python3 "$(command -v python3 || true)"; do
        if [ -n "$candidate" ] && can_make_venv "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

check_rust() {
    local needed have
    needed=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$root/Cargo.toml")
    have=$(cargo --version 2>/dev/null | cut -d' ' -f2) || true
    if [ -z "$have" ]; then
        die "cargo is missing; capsd needs Rust $needed or later, from rustup (https://rustup.rs)"
    fi
    if [ "$(printf '%s\n%s\n' "$needed" "$have" | sort -V | head -1)" != "$needed" ]; then
        die "cargo $have is too old (Debian's is); capsd needs Rust $needed or later, from rustup (https://rustup.rs)"
    fi
    want cc gcc libc6-dev
}

# The versions of cargo's tools: another one may make another package of the same sources.
declare -A tool_versions=([cargo-deb]=3.8.0 [cargo-deny]=0.20.2 [cargo-semver-checks]=0.51.0)
tools=()

with_python=false
with_node=false
with_types=false
with_page=false
for part in "$@"; do
    case $part in
        rust) check_rust ;;
        python)
            with_python=true
            python >/dev/null || packages+=(python3 python3-venv)
            ;;
        page)
            with_page=true
            python >/dev/null || packages+=(python3 python3-venv)
            want chromium chromium fonts-dejavu-core
            want curl curl
            want node nodejs
            want npm npm
            ;;
        node)
            with_node=true
            want node nodejs
            want npm npm
            ;;
        grafana-types)
            with_types=true
            want node nodejs
            want npm npm
            ;;
        prosody)
            want prosody prosody
            [ -e /usr/lib/prosody/modules/mod_privilege/mod_privilege.lua ] || packages+=(prosody-modules)
            ;;
        ejabberd) want ejabberdctl ejabberd ;;
        cargo-deb | cargo-deny | cargo-semver-checks)
            [ "$("$root/target/tools/bin/$part" --version 2>/dev/null | grep -o '[0-9.]*$')" = "${tool_versions[$part]}" ] || tools+=("$part")
            ;;
        prometheus | profanity | mcabber | poezio | tmux | minisign | g++) want "$part" "$part" ;;
        deb:*)
            [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "${part#deb:}" 2>/dev/null)" = 'ii ' ] || packages+=("${part#deb:}")
            ;;
        *) die "unknown part \`$part\`; known are: rust python node grafana-types page prosody ejabberd prometheus profanity mcabber poezio tmux minisign g++ cargo-deb cargo-deny cargo-semver-checks, and deb:PACKAGE" ;;
    esac
done

if [ ${#packages[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || die "missing: ${packages[*]} (names of Debian packages); there is no apt-get here to install them"
    installing="installing ${packages[*]}; their services are not started"
    if [ "$(id -u)" = 0 ]; then
        say "$installing"
        bash "${BASH_SOURCE[0]}" --as-root "${packages[@]}" >&2 || die "apt-get could not install ${packages[*]}"
    elif command -v sudo >/dev/null; then
        say "$installing (with sudo)"
        sudo bash "${BASH_SOURCE[0]}" --as-root "${packages[@]}" >&2 || die "apt-get could not install ${packages[*]} through sudo"
    else
        die "missing: ${packages[*]}; neither root nor sudo is at hand, so run as root: apt-get install ${packages[*]}"
    fi
fi

for tool in "${tools[@]}"; do
    say "building $tool ${tool_versions[$tool]} into target/tools/"
    cargo install --quiet --locked --no-track --force --root "$root/target/tools" --target-dir "$root/target/tools/build" \
        --version "${tool_versions[$tool]}" "$tool" >&2 || die "$tool could not be built; see what cargo says above"
done
[ ${#tools[@]} = 0 ] || rm -rf "$root/target/tools/build"

# python_environment DIRECTORY REQUIREMENTS: a private environment with exactly those packages.
python_environment() {
    local interpreter stamp
    interpreter=$(python) || die "no python3 of version 3.11 or later with the venv module was found (Debian: python3-venv)"
    stamp=$("$interpreter" -V; sha256sum <"$2")
    [ "$(cat "$1/stamp" 2>/dev/null)" != "$stamp" ] || return 0
    say "making the private Python environment $1"
    rm -rf "$1"
    "$interpreter" -m venv "$1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$2" >&2 ||
        die "the Python packages of $2 could not be installed; see what pip says above"
    printf '%s\n' "$stamp" >"$1/stamp"
}

# npm_packages DIRECTORY SOURCE: exactly the packages of package-lock.json in the directory SOURCE.
npm_packages() {
    local stamp
    stamp=$(cat "$2"/package*.json | sha256sum)
    [ "$(cat "$1/stamp" 2>/dev/null)" != "$stamp" ] || return 0
    say "fetching the npm packages of ${2#"$root/"} into $1"
    rm -rf "$1"
    mkdir -p "$1"
    cp "$2"/package*.json "$1"
    (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
        die "the packages of $2/package.json could not be installed; see what npm says above"
    printf '%s\n' "$stamp" >"$1/stamp"
}

if $with_python; then python_environment "$venv" "$requirements"; fi
if $with_types; then npm_packages "$types" "$types_wanted"; fi
if $with_page; then
    npm_packages "$root/target/page" "$page_wanted"
    python_environment "$root/target/schemathesis" "$page_wanted/requirements.txt"
fi

if $with_node; then
    clients=$root/target/clients
    for home in node strophe; do
        mkdir -p "$clients/$home"
        cmp -s "$root/tests/clients/$home-packages.json" "$clients/$home/installed.json" && continue
        cp "$root/tests/clients/$home-packages.json" "$clients/$home/package.json"
        npm install --prefix "$clients/$home" --no-audit --no-fund --ignore-scripts --silent >&2 || die "npm could not install the packages of $home-packages.json"
        cp "$root/tests/clients/$home-packages.json" "$clients/$home/installed.json"
    done
    # Its package asks for a package that npm does not have; what it runs needs none.
    if [ ! -e "$clients/converse/package" ]; then
        mkdir -p "$clients/converse"
        (cd "$clients/converse" && tar xzf "$(npm pack --silent @converse/headless@14.0.0)") || die "npm could not fetch @converse/headless"
    fi
fi
