#!/usr/bin/env bash
# Builds a release: the program, its manual pages and completions, and with --deb the Debian package.
#
#     deploy/build.sh [--deb]
#
# Two builds of the same sources by the same compiler give the same bytes, wherever the sources, cargo's home and the target directory
# are: paths are left out of what is built, and the time is that of the release in CHANGELOG.md. What was built is in target/dist/.
# --deb needs cargo-deb: tests/install.sh cargo-deb installs it into target/tools/.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
case ${1-} in
    '' | --deb) ;;
    *)
        echo 'usage: deploy/build.sh [--deb]' >&2
        exit 2
        ;;
esac

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
released=$(sed -n "s/^## \[$version\] - //p" CHANGELOG.md)
[ -n "$released" ] || { echo "CHANGELOG.md has no heading for version $version" >&2; exit 1; }
SOURCE_DATE_EPOCH=$(date -ud "$released" +%s)
target=${CARGO_TARGET_DIR:-$root/target}
cargo_home=${CARGO_HOME:-$HOME/.cargo}
sysroot=$(rustc --print sysroot)
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC CARGO_INCREMENTAL=0
# The last one that fits counts, so the narrower comes later.
export RUSTFLAGS="--remap-path-prefix=$sysroot=/rust --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$root=/capsd --remap-path-prefix=$target=/target"
export CFLAGS="-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$root=/capsd -ffile-prefix-map=$target=/target"
# Files of the package have the modes of the sources, and those depend on whoever made them.
umask 022

cargo build --release --locked --bin capsd
# Not for the machine that it will run on, so it need not be the release.
env -u RUSTFLAGS -u CFLAGS -u CARGO_INCREMENTAL cargo run --quiet --locked --example manual -- "$root/target/package"

dist=$root/target/dist
rm -rf "$dist"
mkdir -p "$dist"
cp "$target/release/capsd" "$dist/"
cp -r target/package/man target/package/completions "$dist/"
if [ "${1-}" = --deb ]; then
    PATH=$target/tools/bin:$root/target/tools/bin:$PATH
    cargo deb --locked --no-build --strip --output "$dist/" >/dev/null
fi
(cd "$dist" && find . -maxdepth 1 -type f -exec sha256sum {} +)
