#!/usr/bin/env bash
# Builds the release with its Debian package twice, here and in another directory with another home of cargo, and compares the bytes.
#
#     tests/package/reproducible.sh
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
other=$(mktemp -d "${TMPDIR:-/tmp}/capsd-built-elsewhere.XXXXXX")
trap 'rm -rf "$other"' EXIT

deploy/build.sh --deb
sources=$other/with/a/longer/name
mkdir -p "$sources" "$other/cargo"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --create | tar --extract --directory="$sources"
# Another path to the same sources of libraries: they are not fetched twice.
ln -s "${CARGO_HOME:-$HOME/.cargo}/registry" "$other/cargo/registry"
mkdir -p "$sources/target"
ln -s "$root/target/tools" "$sources/target/tools"
# Files that were made with other rights and at another time, too.
chmod -R go-rwx "$sources"
CARGO_HOME=$other/cargo "$sources/deploy/build.sh" --deb

cd "$root/target/dist"
for file in capsd ./*.deb; do
    cmp "$file" "$sources/target/dist/$file"
done
echo "the same bytes in both: $(sha256sum capsd ./*.deb | tr '\n' ' ')"
