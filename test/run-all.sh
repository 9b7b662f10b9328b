#!/usr/bin/env bash
# All that CI runs, on a clean machine: installs what it needs, then lints,
# tests, fuzzes a little and runs the demo's own checks, as root and as an
# ordinary user. Any step that cannot run fails.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "install what the tests need"
./test/install-packages.sh
./test/install-envoy.sh

step "lint"
make --no-print-directory lint

step "unit and scenario tests with the race detector"
CGO_ENABLED=1 go test -race -timeout 15m ./...

step "fuzz smoke"
./test/fuzz-all.sh 2s

step "build"
make --no-print-directory build

step "the demo's checks as an ordinary user, then as root"
./test/demo-check.sh
