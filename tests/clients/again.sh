#!/usr/bin/env bash
# Makes config/trusted anew as README says, in a copy of the sources, and fails unless every client that has a verified hash there has one
# again. Versions may differ, and with them hashes.
#
#     tests/clients/again.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command=$(sed -n 's|^    \(tests/clients/make\.sh .*\)|\1|p' README.md)
[ -n "$command" ] || { echo 'README.md does not say how config/trusted is made anew' >&2; exit 1; }
tests/install.sh rust
[ -n "${CAPSD_BINARY-}" ] || cargo build --release --locked
export CAPSD_BINARY=${CAPSD_BINARY-$PWD/target/release/capsd}

copy=$(mktemp -d "${TMPDIR:-/tmp}/capsd-clients-again.XXXXXX")
trap 'rm -rf "$copy"' EXIT
# Clients run as a user who is not the one that makes the copy.
chmod 755 "$copy"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar --extract --directory="$copy"
mkdir -p target
ln -s "$PWD/target" "$copy/target"
(cd "$copy" && bash -c "$command")

# verified FILE: the clients with a verified hash.
verified() { awk -F '\t' '$10 == "verified" { print $1 }' "$1" | sort -u; }
lost=$(comm -23 <(verified config/trusted/clients.tsv) <(verified "$copy/config/trusted/clients.tsv"))
if [ -n "$lost" ]; then
    echo "no verified hash this time: $lost" >&2
    exit 1
fi
echo "$(verified config/trusted/clients.tsv | wc -l) clients have a verified hash again"
