#!/usr/bin/env bash
# Runs every test: formatting, lints, the Rust tests, capsd watched by a real Prometheus and looked at in a real Chromium, and capsd
# beside a real Prosody and a real ejabberd.
#
#     tests/run.sh [--long]
#
# Installs what is missing first (tests/install.sh) and fails if it cannot; of all that the tests need, only the corpus of real answers
# may be absent (CAPSD_CORPUS names its directory). --long tries many more generated cases in the Rust tests, kills
# the store and the daemon 200 times each, fuzzes every parser for 75 seconds under libFuzzer, lets crowds of 50 clients log in at once, repeats the
# tests beside real servers three times, builds the release twice and compares the bytes, checks licences and advisories of all libraries and
# whether the library of capsd breaks programs that use the last release, builds and starts the containers where an engine runs, takes the
# package through its life on Debian 12 machines of its own, as root, records today's clients anew, and runs the benchmarks, which want a machine
# with nothing else to do. What each step printed is kept in target/tests/.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
repeat=1
more=()
patience=1200
case ${1-} in
    '') ;;
    --long)
        repeat=3
        more=(g++ node cargo-deb cargo-deny cargo-semver-checks deb:zsh deb:fish deb:lintian deb:debootstrap deb:systemd-container)
        patience=7200
        export CAPSD_LONG=1 PROPTEST_CASES=${PROPTEST_CASES-20000}
        ;;
    *)
        echo 'usage: tests/run.sh [--long]' >&2
        exit 2
        ;;
esac

logs=$PWD/target/tests
mkdir -p "$logs"
results=()
failed=0

# step NAME COMMAND…: runs one step, shows and keeps its output, and goes on if it fails.
step() {
    local name=$1 begin=$SECONDS verdict=passed
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" 2>&1 | tee "$logs/$name.log" || case $? in
        # It says why itself.
        77) verdict=skipped ;;
        *)
            verdict=FAILED
            failed=1
            ;;
    esac
    results+=("$(printf '%-8s %-14s %4d s' "$verdict" "$name" $((SECONDS - begin)))")
}

tests/install.sh rust python grafana-types page prosody ejabberd prometheus profanity mcabber poezio tmux minisign deb:libfaketime deb:openssh-client deb:openssh-server deb:lua-check deb:systemd deb:man-db deb:mandoc deb:yamllint "${more[@]}"

step format cargo fmt --check
step lints cargo clippy --locked --all-targets -- -D warnings
step luacheck luacheck --no-color deploy/prosody/mod_capsd.lua deploy/prosody/mod_capsd tests/servers/prosody
# A test that hangs must not hang everything that comes after it.
step rust-tests timeout $patience cargo test --locked --no-fail-fast
if [ ${#more[@]} -gt 0 ]; then
    step docs env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
    step fuzz tests/fuzz/run.sh 75
fi
step build cargo build --release --locked
step watch target/python/bin/python -m pytest tests/watch --durations=5
step page target/python/bin/python -m pytest tests/page --durations=5
for ((round = 1; round <= repeat; round++)); do
    step "servers-$round" target/python/bin/python -m pytest tests/servers --durations=5
done

# shellcheck disable=SC2317 # It is called by its name, as a step.
advisories() {
    if ! cargo deny fetch db; then
        echo 'skipped: the database of advisories is on a host that this machine does not reach'
        return 77
    fi
    cargo deny check advisories
}
if [ ${#more[@]} -gt 0 ]; then
    PATH=$PWD/target/tools/bin:$PATH step libraries cargo deny check licenses bans sources
    PATH=$PWD/target/tools/bin:$PATH step advisories advisories
    step semver tests/semver.sh
    step reproducible tests/package/reproducible.sh
    step container tests/package/container.sh
    step machines tests/package/debian12.sh target/debian12
    step package target/python/bin/python -m pytest -c tests/package/pytest.ini tests/package --durations=5
    step crowd tests/crowd.sh
    step clients tests/clients/again.sh
    step bench cargo bench --bench throughput
    step bench-servers tests/bench/servers.sh
fi

printf '\n== Summary (what was printed is in target/tests/)\n'
[ -n "${CAPSD_CORPUS-}" ] || echo 'note     the corpus of real answers was not checked: CAPSD_CORPUS is not set'
printf '%s\n' "${results[@]}"
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
     END { printf "cargo test: %d passed, %d failed, %d ignored\n", passed, failed, ignored }' "$logs/rust-tests.log"
for name in watch page; do
    printf 'pytest: %s (%s)\n' "$(tail -n 1 "$logs/$name.log")" $name
done
for ((round = 1; round <= repeat; round++)); do
    printf 'pytest: %s\n' "$(tail -n 1 "$logs/servers-$round.log")"
done
exit $failed
