#!/usr/bin/env bash
# Runs the fuzz targets of tests/fuzz under libFuzzer, guided by coverage, on stable Rust.
#
#     tests/fuzz/run.sh SECONDS [TARGET…]
#
# SECONDS is for each target; without TARGET every one is run. Needs a C++ compiler (Debian: g++). It begins with the seeds of the tests
# (and of the corpus that CAPSD_CORPUS names), keeps what reached new code in target/fuzz/found/TARGET, and an input that failed in
# target/fuzz/failed/TARGET; a copy of that among tests/fuzz/seeds makes it a test. Exit code 1: something was found.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:?usage: tests/fuzz/run.sh SECONDS [TARGET…]}
shift
[ $# -gt 0 ] || set -- disco_info stream requests nodes bundle stored_value configuration overrides http
target=$PWD/target/fuzz

# What cargo-bolero passes for its engine libFuzzer without a sanitizer (there is no unsafe code here that one would watch). The flags
# are those of stable Rust; `--target` keeps them away from build scripts.
instrument='--cfg fuzzing --cfg fuzzing_libfuzzer -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-stack-depth'
host=$(rustc -vV | sed -n 's/^host: //p')
program=$(RUSTFLAGS=$(tr -s '\n ' ' ' <<<"$instrument") cargo test --locked --quiet --profile fuzz --target "$host" --target-dir "$target" \
    --example fuzz --no-run --message-format json | sed -n 's/.*"executable":"\([^"]*\/fuzz-[^"]*\)".*/\1/p' | tail -1)

CAPSD_FUZZ_SEEDS=$target/seeds "$program" --quiet --exact every_target_has_seeds

failed=0
for name in "$@"; do
    found=$target/found/$name failures=$target/failed/$name log=$target/$name.log
    mkdir -p "$found" "$failures"
    verdict=passed
    BOLERO_FUZZER=libfuzzer BOLERO_LIBTEST_HARNESS=1 BOLERO_TEST_NAME="$name" \
        BOLERO_LIBFUZZER_ARGS="$found $target/seeds/$name -artifact_prefix=$failures/ -timeout=10 -rss_limit_mb=1024 -max_len=65536 -max_total_time=$seconds -print_final_stats=1" \
        "$program" "$name" --exact --nocapture --quiet --test-threads 1 >"$log" 2>&1 || {
        verdict=FAILED
        failed=1
    }
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -oE 'cov: [0-9]+' "$log" | tail -1)
    printf '%-8s %-14s %10s executions, %s (%s)\n' "$verdict" "$name" "${executions:-?}" "${coverage:-no coverage}" "$log"
done
exit $failed
