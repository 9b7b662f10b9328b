#!/usr/bin/env bash
# Runs every Fuzz function of the module for the given time each (default 2s).
# Fails when one finds something, and when there is none to run.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-2s}
count=0
while IFS=: read -r file name; do
	package=./$(dirname "$file")
	echo "fuzz $package $name $time"
	go test "$package" -run '^$' -fuzz "^$name\$" -fuzztime "$time" -parallel 2 >/tmp/lateen-fuzz.$$ 2>&1 || {
		cat /tmp/lateen-fuzz.$$
		rm -f /tmp/lateen-fuzz.$$
		echo "fuzz: $package $name failed" >&2
		exit 1
	}
	rm -f /tmp/lateen-fuzz.$$
	count=$((count + 1))
done < <(git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/:func /:/')
if [ "$count" -eq 0 ]; then
	echo "fuzz: no fuzzer was found" >&2
	exit 1
fi
echo "fuzz: $count fuzzers, nothing found"
