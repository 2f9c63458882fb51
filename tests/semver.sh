#!/usr/bin/env bash
# Whether the library breaks programs that use the last release of it (cargo-semver-checks): if it does, the version in Cargo.toml must say so.
#
#     tests/semver.sh
#
# Of the crate those rooms count for which src/lib.rs promises semantic versioning; the others are left out of what is compared. The last
# release is the highest tag `v*`; as long as there is none, what is committed takes its place. Nice, and with files below target/semver/ alone.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tests/install.sh rust python cargo-semver-checks
home=$PWD/target/semver
# As stable releases of the compiler write this output only if told to.
export CARGO_TARGET_DIR=$home/target RUSTC_BOOTSTRAP=1

promise=$(sed -n '/^\/\/! # In other programs/,/semantic versioning/p' src/lib.rs)
# Rooms are small; what begins with a capital is a type.
rooms=$(grep -o '\[.[a-z]*.\]' <<<"$promise" | tr -cd 'a-z\n' | sort -u | tr '\n' ' ')
[ -n "$rooms" ] || { echo 'semver: src/lib.rs does not say which rooms keep to semantic versioning' >&2; exit 1; }

# surface DIRECTORY FILE: what the sources there offer to other programs, as the JSON of rustdoc with the promised rooms alone.
surface() {
    nice -n 15 cargo rustdoc --quiet --locked --lib --manifest-path "$1/Cargo.toml" -- \
        -Z unstable-options --output-format json --document-private-items --document-hidden-items --cap-lints allow
    target/python/bin/python - "$CARGO_TARGET_DIR/doc/capsd.json" "$2" "$rooms" <<'PYTHON'
import json, sys
source, target, rooms = sys.argv[1:]
rooms = rooms.split()
with open(source) as file:
    crate = json.load(file)
index = crate["index"]
root = index[str(crate["root"])]["inner"]["module"]
root["items"] = [item for item in root["items"] if index[str(item)]["name"] in rooms]
found = {index[str(item)]["name"] for item in root["items"]}
if found != set(rooms):
    sys.exit(f"semver: src/lib.rs promises rooms that there are not: {set(rooms) - found}")
with open(target, "w") as file:
    json.dump(crate, file)
PYTHON
}

release=$(git tag --list 'v*' --sort=-version:refname | head -1)
if [ -n "$release" ]; then
    echo "the library ($rooms) is compared with that of the release $release"
else
    echo "there is no release yet (no tag v*): the library ($rooms) is compared with what is committed"
fi
rm -rf "$home/before"
mkdir -p "$home/before"
git archive "${release:-HEAD}" | tar --extract --directory="$home/before"
surface "$home/before" "$home/before.json"
surface . "$home/now.json"
compared() { # compared FILE: that surface with the one before
    target/tools/bin/cargo-semver-checks semver-checks --baseline-rustdoc "$home/before.json" --current-rustdoc "$1"
}
compared "$home/now.json"

# A comparison that finds nothing shows something only if it would find what is missing.
sed -i 's/^pub use hashes::{Hashed, hashes};/pub use hashes::Hashed;\npub(crate) use hashes::hashes;/' "$home/before/src/caps/mod.rs"
surface "$home/before" "$home/less.json"
if found=$(compared "$home/less.json" 2>&1) || ! grep -q 'caps.*hashes' <<<"$found"; then
    printf 'semver: that a public function is missing is not noticed:\n%s\n' "$found" >&2
    exit 1
fi
echo 'that a public function is missing would be noticed'
