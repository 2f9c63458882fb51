#!/usr/bin/env bash
# Runs every test: formatting, lints, the Rust tests, capsd watched by a real Prometheus, and capsd beside a real Prosody and a real
# ejabberd.
#
#     tests/run.sh [--long]
#
# Installs what is missing first (tests/install.sh) and fails if it cannot; of all that the tests need, only the corpus of real answers
# may be absent (CAPSD_CORPUS names its directory). --long tries many more generated cases in the Rust tests, kills
# the store and the daemon 200 times each, fuzzes every parser for 75 seconds under libFuzzer, lets crowds of 50 clients log in at once, and
# repeats the tests beside real servers three times. What each step printed is kept in target/tests/.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
repeat=1
more=()
patience=1200
case ${1-} in
    '') ;;
    --long)
        repeat=3
        more=(g++ node)
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
    "$@" 2>&1 | tee "$logs/$name.log" || {
        verdict=FAILED
        failed=1
    }
    results+=("$(printf '%-8s %-14s %4d s' "$verdict" "$name" $((SECONDS - begin)))")
}

tests/install.sh rust python grafana-types prosody ejabberd prometheus profanity mcabber poezio tmux minisign deb:lua-check deb:systemd deb:man-db deb:mandoc "${more[@]}"

step format cargo fmt --check
step lints cargo clippy --locked --all-targets -- -D warnings
step luacheck luacheck --no-color deploy/prosody/mod_capsd.lua deploy/prosody/mod_capsd tests/servers/prosody
# A test that hangs must not hang everything that comes after it.
step rust-tests timeout $patience cargo test --locked --no-fail-fast
[ ${#more[@]} -eq 0 ] || step fuzz tests/fuzz/run.sh 75
step build cargo build --release --locked
step watch target/python/bin/python -m pytest tests/watch --durations=5
for ((round = 1; round <= repeat; round++)); do
    step "servers-$round" target/python/bin/python -m pytest tests/servers --durations=5
done

printf '\n== Summary (what was printed is in target/tests/)\n'
[ -n "${CAPSD_CORPUS-}" ] || echo 'note     the corpus of real answers was not checked: CAPSD_CORPUS is not set'
printf '%s\n' "${results[@]}"
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
     END { printf "cargo test: %d passed, %d failed, %d ignored\n", passed, failed, ignored }' "$logs/rust-tests.log"
printf 'pytest: %s (watch)\n' "$(tail -n 1 "$logs/watch.log")"
for ((round = 1; round <= repeat; round++)); do
    printf 'pytest: %s\n' "$(tail -n 1 "$logs/servers-$round.log")"
done
exit $failed
