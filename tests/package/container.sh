#!/usr/bin/env bash
# Builds the images of deploy/container and starts both services as its compose file says, but on ports that are free; waits until capsd is
# linked to Prosody, and removes everything. Where no container engine runs, it says so and ends with 77, which tests/run.sh counts as skipped.
#
#     tests/package/container.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
engine=
for candidate in docker podman; do
    if "$candidate" info >/dev/null 2>&1 && "$candidate" compose version >/dev/null 2>&1; then
        engine=$candidate
        break
    fi
done
if [ -z "$engine" ]; then
    echo 'skipped: neither docker nor podman runs here with its command compose, so no image was built; the files were linted (test_container)'
    exit 77
fi

CAPSD_SECRET=$(head -c 18 /dev/urandom | base64)
export CAPSD_SECRET
file=$(mktemp "${TMPDIR:-/tmp}/capsd-compose.XXXXXX")
# Another port of the machine, chosen by the engine, for each that is published.
sed 's/"127\.0\.0\.1:[0-9]*:/"127.0.0.1::/' deploy/container/compose.yaml >"$file"
compose() { "$engine" compose --project-name capsd-test --project-directory deploy/container --file "$file" "$@"; }
ended() {
    compose logs --tail 50 || true
    compose down --volumes --rmi local || true
    rm -f "$file"
}
trap ended EXIT

compose up --build --detach
for ((attempt = 1; ; attempt++)); do
    status=$(compose exec -T capsd /usr/bin/capsd status 2>&1) && [[ $status == *': up'* ]] && break
    [ $attempt -lt 60 ] || { echo "after 60 attempts capsd is not linked: $status" >&2; exit 1; }
    sleep 1
done
printf '%s\n' "$status"
# What runs has no shell.
! compose exec -T capsd /bin/sh -c true 2>/dev/null || { echo 'there is a shell in the image' >&2; exit 1; }
echo "built and started by $engine"
