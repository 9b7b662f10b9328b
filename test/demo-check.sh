#!/usr/bin/env bash
# Runs `lateen demo --check` from a copy that any user can read: as an
# ordinary user and, if this is root, as root. Twice in a row for the ordinary
# user, since nothing may be in the way of the second start.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/tree"
cp -r bin samples "$work/tree/"
chmod -R a+rX "$work/tree"

as_user() {
	if [ "$(id -u)" -ne 0 ]; then
		"$@"
		return
	fi
	mkdir -p "$work/home"
	chown 65534:65534 "$work/home"
	setpriv --reuid 65534 --regid 65534 --clear-groups env -i PATH="$PATH" HOME="$work/home" TMPDIR="$work/home" "$@"
}

for round in 1 2; do
	echo "-- ordinary user, round $round"
	as_user "$work/tree/bin/lateen" demo --check
done
if [ "$(id -u)" -eq 0 ]; then
	echo "-- root"
	HOME=$work/root "$work/tree/bin/lateen" demo --check
fi
