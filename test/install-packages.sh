#!/usr/bin/env bash
# Installs the Debian packages that tests and benchmarks use, those that are
# missing. Needs root; without it, says what is missing and fails.
set -euo pipefail
declare -A provides=(
	[ip]=iproute2 [nft]=nftables [setpriv]=util-linux [curl]=curl [gcc]=gcc [python3]=python3
	[nginx]=nginx-light [haproxy]=haproxy
)
missing=()
for command in "${!provides[@]}"; do
	PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing+=("${provides[$command]}")
done
if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "install-packages: run as root, or install these Debian packages yourself: ${missing[*]}" >&2
	exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
