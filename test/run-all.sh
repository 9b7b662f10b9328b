#!/usr/bin/env bash
# All that CI runs, on a clean machine: installs what it needs, then lints,
# tests, fuzzes a little, measures the control plane's delivery in short and runs
# the demo's own checks, as root and as an ordinary user. Any step that cannot
# run fails.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "install what the tests need"
./test/install-packages.sh
./test/install-envoy.sh

step "lint"
make --no-print-directory lint

step "unit tests with the race detector"
# The packages below test/ start whole meshes: they come afterwards, one at a
# time, so that none of them slows another down.
CGO_ENABLED=1 go test -race -timeout 15m $(go list ./... | grep -v '/test/')

step "scenarios, end to end, conformance and documentation"
# Not from the cache: several build and run the programs, which the cache knows nothing of.
CGO_ENABLED=1 go test -count=1 -race -p 1 -timeout 20m ./test/...

step "fuzz smoke"
./test/fuzz-all.sh 10000x

step "build"
make --no-print-directory build

step "the control plane's delivery, in short, against limits relative to this machine's speed"
make --no-print-directory bench-control ARGS=-short

step "the demo's checks as an ordinary user, then as root"
./test/demo-check.sh
