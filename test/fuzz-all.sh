#!/usr/bin/env bash
# Runs every Fuzz function of the module for the given time (30s) or number of
# inputs (10000x, the default) each. Fails when one finds something, and when
# there is none to run. With a time, Go before 1.27 sometimes reports "context
# deadline exceeded" on a busy machine without having found anything
# (go.dev/issue/75804); a number has no deadline to race with.
set -euo pipefail
cd "$(dirname "$0")/.."
budget=${1:-10000x}
count=0
while IFS=: read -r file name; do
	package=./$(dirname "$file")
	echo "fuzz $package $name $budget"
	go test "$package" -run '^$' -fuzz "^$name\$" -fuzztime "$budget" -parallel 2 >/tmp/lateen-fuzz.$$ 2>&1 || {
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
